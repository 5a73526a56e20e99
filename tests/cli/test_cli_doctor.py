"""``smspilot doctor``, against real sockets: each thing that can be wrong is made so, and is named with what to do."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trustme
from cli_running import KEY, run
from raw_servers import (
    Peer,
    RawServer,
    answering,
    forwarding,
    hang_after_request,
    hang_at_once,
    http,
    raw_server,
)
from socks_servers import socks

from smspilot_async import ConnectionFailed
from smspilot_async.cli._connection import Mode
from smspilot_async.cli.doctor import _account, _route
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from raw_servers import Script
    from tls import Tls

CHECKS = "dns|tcp|proxy|tls|http|key|address|sender|balance|clock|test mode|version"
LOCAL = "127.0.0.1"


@attrs.frozen
class Report:
    """What the doctor said, for a program and for a person."""

    exit_code: int
    checks: dict[str, dict[str, Any]]
    text: str

    def state(self, check: str) -> str:
        return str(self.checks[check]["state"])

    def says(self, check: str) -> str:
        return str(self.checks[check]["says"])

    def advice(self, check: str) -> str:
        return str(self.checks[check]["advice"])

    @property
    def failed(self) -> list[str]:
        return [name for name, check in self.checks.items() if check["state"] == "failed"]


def examine(*arguments: str) -> Report:
    data = run("doctor", *arguments, "--json")
    assert data.stderr == ""
    assert data.json["ok"] is (data.exit_code == 0)
    checks = {check["check"]: check for check in data.json["checks"]}
    assert "|".join(checks) == CHECKS
    assert all(check["advice"] for check in checks.values() if check["state"] in {"failed", "warning"})
    return Report(data.exit_code, checks, data.stdout)


async def examined(*arguments: str) -> Report:
    """The same, while this loop serves."""
    return await asyncio.to_thread(examine, *arguments)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", KEY)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch, tls: Tls, tmp_path: Path) -> None:
    """The tests' authority is trusted by this machine."""
    tls.authority.cert_pem.write_to_path(str(tmp_path / "roots.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))


def port_of(emulator: Emulator) -> int:
    return int(emulator.url.split(":")[2].split("/")[0])


def passing_on_to(emulator: Emulator) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        await peer.splice(port_of(emulator))

    return script


# --- all is well ------------------------------------------------------------------------------------


def test_a_person_reads_a_line_for_each_check_and_a_summary(gateway: Emulator) -> None:
    ran = run("doctor")
    lines = ran.stdout.splitlines()
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line[:11].strip() for line in lines[:-1]] == CHECKS.split("|")
    assert [line[11:22].strip() for line in lines[:-1]] == ["ok"] * 12
    assert lines[-1] == "All is well."
    assert gateway.messages == gateway.test_messages == ()


@pytest.mark.usefixtures("gateway")
def test_a_program_reads_the_same_with_its_numbers() -> None:
    report = examine()
    assert report.exit_code == 0
    assert report.checks["balance"]["facts"] == {"balance": "1000000.00", "currency": "RUB"}
    assert abs(report.checks["clock"]["facts"]["skew_seconds"]) <= 60
    assert set(report.checks["version"]["facts"]) == {"smspilot", "python", "httpx", "json"}


def test_it_asks_one_question_that_costs_nothing(gateway: Emulator) -> None:
    gateway.fail_next("*", Fault.BUSY, times=2)
    report = examine()
    assert report.state("http") == "ok"
    assert "110" in report.says("key")
    assert gateway.account.balance == gateway.account.opening_balance
    assert examine().failed == ["key"]  # the second fault was still there: nothing had been repeated
    assert examine().exit_code == 0


def test_nothing_secret_is_printed(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:1")
    text = run("doctor").stdout + run("doctor", "--json").stdout
    monkeypatch.delenv("HTTP_PROXY")
    text += run("doctor").stdout + run("doctor", "--json").stdout
    for secret in (KEY, "hunter2", "me:", gateway.account.phone, gateway.account.email):
        assert secret not in text


# --- the way ------------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_fails_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_URL", "https://gateway.invalid/api2.php")
    report = examine()
    assert (report.exit_code, report.failed) == (4, ["dns"])
    assert "gateway.invalid:443" in report.says("dns")
    assert {report.state(check) for check in ("tcp", "tls", "http", "key", "balance")} == {"not checked"}
    assert report.state("version") == "ok"


def test_a_name_of_this_machine_resolves(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_URL", gateway.url.replace(LOCAL, "localhost"))
    report = examine()
    assert report.exit_code == 0
    assert LOCAL in report.checks["dns"]["facts"]["addresses"]


def test_where_nothing_listens_tcp_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_URL", "http://127.0.0.1:1/api2.php")
    report = examine()
    assert (report.exit_code, report.failed) == (4, ["tcp"])
    assert "refused" in report.says("tcp").lower()


@pytest.mark.usefixtures("trusting")
async def test_tls_that_is_as_it_should_be_names_its_end(tls: Tls, gateway: Emulator) -> None:
    async with raw_server(passing_on_to(gateway), tls=tls.server()) as server:
        report = await examined("--url", server.https_url)
    assert report.exit_code == 0
    assert "TLSv1" in report.says("tls")
    assert datetime.fromisoformat(report.checks["tls"]["facts"]["expires"]) > datetime.now(UTC)


async def _tls_failure(server_tls: Any) -> Report:
    async with raw_server(hang_at_once, tls=server_tls) as server:
        report = await examined("--url", server.https_url)
    assert (report.exit_code, report.failed) == (4, ["tls"])
    assert report.state("http") == report.state("key") == "not checked"
    return report


@pytest.mark.usefixtures("trusting")
async def test_a_certificate_for_another_name_fails_tls(tls: Tls) -> None:
    report = await _tls_failure(tls.server("gateway.example"))
    assert "IP address mismatch" in report.says("tls")
    assert "SMSPILOT_URL" in report.advice("tls")


@pytest.mark.usefixtures("trusting")
async def test_a_certificate_that_has_expired_fails_tls(tls: Tls) -> None:
    context = tls.server()
    expired = tls.authority.issue_cert(LOCAL, not_after=datetime.now(UTC) - timedelta(days=1))
    expired.configure_cert(context)
    report = await _tls_failure(context)
    assert "expired" in report.says("tls")
    assert "clock" in report.advice("tls")


@pytest.mark.usefixtures("trusting")
async def test_a_certificate_that_expires_soon_is_a_warning(tls: Tls, gateway: Emulator) -> None:
    context = tls.server()
    tls.authority.issue_cert(LOCAL, not_after=datetime.now(UTC) + timedelta(days=3, hours=1)).configure_cert(context)
    async with raw_server(passing_on_to(gateway), tls=context) as server:
        report = await examined("--url", server.https_url)
    assert (report.exit_code, report.state("tls")) == (0, "warning")
    assert "3 days" in report.says("tls")


async def test_an_unknown_authority_fails_tls(tls: Tls) -> None:
    report = await _tls_failure(tls.server())
    assert "unable to get local issuer" in report.says("tls")
    assert "SSL_CERT_FILE" in report.advice("tls")


@pytest.mark.usefixtures("trusting")
async def test_a_certificate_that_signs_itself_fails_tls(tls: Tls) -> None:
    lonely = trustme.CA()
    context = tls.server()
    lonely_key, lonely_certificate = lonely.private_key_pem, lonely.cert_pem
    with lonely_key.tempfile() as key_file, lonely_certificate.tempfile() as certificate_file:
        context.load_cert_chain(certificate_file, key_file)
    report = await _tls_failure(context)
    assert "self" in report.says("tls")
    assert "SSL_CERT_FILE" in report.advice("tls")


async def test_a_server_without_tls_fails_tls() -> None:
    async def answer_in_clear(peer: Peer) -> None:
        await peer.reader.read(1024)
        await peer.send(http(b"", status="400 Bad Request"))

    async with raw_server(answer_in_clear) as server:
        report = await examined("--url", server.https_url)
    assert report.failed == ["tls"]
    assert "does not speak TLS" in report.says("tls")


async def test_a_handshake_that_never_ends_has_its_own_time_limit() -> None:
    async with raw_server(hang_at_once) as server:
        report = await examined("--url", server.https_url, "--timeout", "0.2")
    assert report.failed == ["tls"]
    assert "within 0.2 s" in report.says("tls")


def test_roots_that_cannot_be_read_fail_tls(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "no-such-file.pem")
    report = examine("--url", gateway.url.replace("http:", "https:"))
    assert report.failed == ["tls"]
    assert "SSL_CERT_FILE" in report.advice("tls")


# --- the proxy ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusting")
async def test_a_proxy_that_lets_through_is_named_with_its_reason(
    tls: Tls, gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        raw_server(passing_on_to(gateway), tls=tls.server("gateway.test")) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.test/api2.php")
    assert report.exit_code == 0
    assert f"the proxy 127.0.0.1:{proxy.port} is used, since HTTPS_PROXY says so" in report.says("proxy")
    assert report.checks["proxy"]["facts"] == {"used": True, "variable": "HTTPS_PROXY"}
    assert _credentials(proxy) == "me:hunter2"
    assert "hunter2" not in report.text


@pytest.mark.usefixtures("trusting")
async def test_a_proxy_that_speaks_tls_itself_is_gone_through_to_the_gateways_own_tls(
    tls: Tls, gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        raw_server(passing_on_to(gateway), tls=tls.server("gateway.test")) as server,
        raw_server(forwarding(server.port), tls=tls.server()) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.test/api2.php")
    assert (report.exit_code, report.failed) == (0, [])
    assert "the certificate is for gateway.test" in report.says("tls")


def test_an_emulator_on_this_machine_is_reached_without_the_proxy(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    report = examine("--url", gateway.url)
    assert report.failed == []
    assert "HTTP_PROXY names one, but it is not used for this machine itself" in report.says("proxy")


@pytest.mark.usefixtures("trusting")
async def test_a_socks_proxy_that_lets_through_is_gone_through_to_the_gateways_own_tls(
    tls: Tls, gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        raw_server(passing_on_to(gateway), tls=tls.server("gateway.test")) as server,
        raw_server(socks(server.port, login=("me", "hunter2"))) as proxy,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5://me:hunter2@127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.test/api2.php")
    assert (report.exit_code, report.failed) == (0, [])
    assert {report.state(check) for check in ("dns", "tcp", "proxy", "tls", "http")} == {"ok"}
    assert report.says("proxy") == f"the proxy 127.0.0.1:{proxy.port} is used, since ALL_PROXY says so"
    assert report.checks["proxy"]["facts"] == {"used": True, "variable": "ALL_PROXY"}
    assert "the certificate is for gateway.test" in report.says("tls")
    assert set(proxy.requests) == {b"gateway.test 443"}
    assert "hunter2" not in report.text


async def test_a_socks_proxy_is_asked_for_a_gateway_without_tls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(hang_at_once) as server, raw_server(socks(server.port)) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
        route = _route.Route("http://gateway.test/api2.php", timeout=5)
        found = {check: str((await step()).state) for check, step in route.steps}
        await route.aclose()
    assert found == dict.fromkeys(("dns", "tcp", "proxy", "tls"), "ok")
    assert proxy.requests == [b"gateway.test 80"]


async def _answers_in_http(peer: Peer) -> None:
    await peer.reader.read(1024)
    await peer.send(http(b"", status="400 Bad Request"))


async def _hangs_up(peer: Peer) -> None:
    await peer.reader.read(1024)


@pytest.mark.parametrize(
    ("script", "says", "advice"),
    [
        (
            socks(9, reply=5),
            "did not connect to gateway.invalid, port 443: the connection was refused",
            "Ask its operator",
        ),
        (socks(9, login=("you", "hunter3")), "refused the user or the password", "Put a user and password"),
        (_answers_in_http, "does not speak SOCKS5", "Ask its operator"),
        (_hangs_up, "hung up", "Ask its operator"),
    ],
)
async def test_a_socks_proxy_that_refuses_fails(
    script: Script, says: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://me:hunter2@127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.invalid/api2.php")
    assert (report.exit_code, report.failed) == (4, ["proxy"])
    assert f"the proxy 127.0.0.1:{proxy.port} is used, since HTTPS_PROXY says so, but it refuses the connection: " in (
        report.says("proxy")
    )
    assert says in report.says("proxy")
    assert "Ask its operator" not in report.says("proxy")  # that is what to do
    assert report.advice("proxy").startswith(advice)
    assert "HTTPS_PROXY" in report.advice("proxy")
    assert "hunter" not in report.text


async def test_a_socks_proxy_that_wants_a_password_is_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(socks(9, login=("me", "hunter2"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.invalid/api2.php")
    assert report.failed == ["proxy"]
    assert report.advice("proxy").startswith("Put a user and password")


async def test_a_socks_proxy_that_says_nothing_has_its_own_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(hang_at_once) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.invalid/api2.php", "--timeout", "0.2")
    assert report.failed == ["proxy"]
    assert "no answer within 0.2 s" in report.says("proxy")


async def test_behind_a_socks_proxy_an_unknown_certificate_fails_tls(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        raw_server(hang_at_once, tls=tls.server("gateway.test")) as server,
        raw_server(socks(server.port)) as proxy,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.test/api2.php")
    assert report.failed == ["tls"]
    assert "unable to get local issuer" in report.says("tls")
    assert "SSL_CERT_FILE" in report.advice("tls")


async def test_behind_a_socks_proxy_a_gateway_that_hangs_up_fails_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(_hangs_up) as server, raw_server(socks(server.port)) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.test/api2.php")
    assert report.failed == ["tls"]
    assert "gateway.test does not speak TLS there" in report.says("tls")
    assert "HTTP" not in report.says("tls")


def _credentials(proxy: RawServer) -> str:
    [line] = [line for line in proxy.requests[0].split(b"\r\n") if line.startswith(b"Proxy-Authorization: Basic ")]
    return base64.b64decode(line.split()[-1]).decode()


@pytest.mark.parametrize(
    ("status", "advice"),
    [("407 Proxy Authentication Required", "user and password that it accepts"), ("403 Forbidden", "Ask its operator")],
)
async def test_a_proxy_that_refuses_fails(status: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http(b"", status=status))) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        report = await examined("--url", "https://gateway.invalid/api2.php")
    assert (report.exit_code, report.failed) == (4, ["proxy"])
    assert status in report.says("proxy")
    assert report.advice("proxy").startswith(("Put", "Ask"))
    assert advice in report.advice("proxy")
    assert "https_proxy" in report.advice("proxy")


async def test_a_proxy_that_says_nothing_has_its_own_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(hang_after_request) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.proxy_url)
        report = await examined("--url", "https://gateway.invalid/api2.php", "--timeout", "0.2")
    assert report.failed == ["proxy"]
    assert "no answer within 0.2 s" in report.says("proxy")


async def test_an_invalid_proxy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(b"220 mail.example ESMTP\r\n\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.proxy_url)
        report = await examined("--url", "https://gateway.invalid/api2.php")
    assert report.failed == ["proxy"]


def test_a_proxy_that_is_not_listening_fails_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:1")
    report = examine("--url", "https://gateway.invalid/api2.php")
    assert report.failed == ["tcp"]
    assert "the proxy 127.0.0.1:1" in report.says("tcp")
    assert "HTTPS_PROXY" in report.advice("tcp")
    assert "hunter2" not in report.text


async def test_a_proxy_that_no_proxy_exempts_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "gateway.invalid")
    finding = await _route.Route("https://gateway.invalid/api2.php", timeout=5).proxy()
    assert str(finding.state) == "ok"
    assert "NO_PROXY exempts" in finding.says


def test_a_proxy_of_a_kind_that_there_is_not_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://me:hunter2@127.0.0.1:1")
    report = examine("--url", "https://gateway.invalid/api2.php")
    assert (report.exit_code, report.failed) == (4, ["dns"])
    assert "HTTPS_PROXY" in report.advice("dns")
    assert "hunter2" not in report.text


def test_a_request_that_does_not_arrive_where_the_steps_did_is_to_be_tried_again() -> None:
    finding = _account.http(ConnectionFailed("info: the proxy refused. Nothing was sent."), 0.1)
    assert finding.says == "no connection: the proxy refused. Nothing was sent."
    assert finding.advice.startswith("Try again")


# --- what answers -------------------------------------------------------------------------------------


async def test_a_page_of_html_is_not_the_gateway() -> None:
    async with raw_server(answering(http(b"<html>Welcome</html>"))) as server:
        report = await examined("--url", server.url)
    assert (report.exit_code, report.failed) == (4, ["http"])
    assert "https://smspilot.ru/api2.php" in report.advice("http")
    assert report.state("key") == "not checked"


def test_a_wrong_path_is_not_the_gateway(gateway: Emulator) -> None:
    gateway.fail_next("info", Fault.NOT_FOUND)
    assert "HTTP 404" in examine().says("http")


def test_a_slow_gateway_has_its_own_time_limit(gateway: Emulator) -> None:
    gateway.fail_next("info", Fault.SLOW)
    report = examine("--timeout", "0.3")
    gateway.release()
    assert (report.exit_code, report.failed) == (4, ["http"])
    assert "no answer came" in report.says("http")
    assert "--timeout" in report.advice("http")


# --- the key and the account --------------------------------------------------------------------------


@pytest.mark.usefixtures("gateway")
def test_a_wrong_key_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "W" * 64)
    report = examine()
    assert (report.exit_code, report.failed) == (4, ["key"])
    assert report.checks["key"]["facts"] == {"code": 101}
    assert report.state("http") == report.state("clock") == "ok"
    assert report.state("address") == report.state("balance") == "not checked"


@pytest.mark.parametrize("code", [105, 106, 107, 122])
def test_a_blocked_key_fails(gateway: Emulator, code: int) -> None:
    gateway.account.blocked = code
    report = examine()
    assert report.failed == ["key"]
    assert f"error {code}, APIKEY is" in report.says("key")


def test_an_unknown_code_is_shown_as_it_is(gateway: Emulator) -> None:
    gateway.account.blocked = 999
    assert "error 999" in examine().says("key")


async def test_an_unknown_code_is_shown_with_the_gateways_words() -> None:
    document = b'{"error":{"code":799,"description":"Quota is used up"}}'
    async with raw_server(answering(http(document))) as server:
        report = await examined("--url", server.url)
    assert "error 799: Quota is used up" in report.says("key")


def test_an_address_that_is_not_let_in_fails_and_says_nothing_of_the_key(gateway: Emulator) -> None:
    gateway.account.allowed_ips = ["192.0.2.1"]
    report = examine()
    assert (report.exit_code, report.failed) == (4, ["address"])
    assert report.state("key") == "not checked"
    assert "vendor's cabinet" in report.advice("address")


def test_a_sender_that_is_not_registered_fails(gateway: Emulator) -> None:
    gateway.account.any_sender = False
    report = examine("--from", "SHOP")
    assert (report.exit_code, report.failed) == (4, ["sender"])
    assert report.checks["sender"]["facts"] == {"code": 204}
    assert "as it is registered" in examine("--from", "smspilot").advice("sender")
    assert examine("--from", "SMSPILOT").exit_code == 0


def test_a_sender_may_be_any_where_the_account_may_use_any(gateway: Emulator) -> None:
    assert gateway.account.any_sender
    assert "any name" in examine("--from", "SHOP").says("sender")


def test_an_account_without_a_default_sender_is_a_warning(gateway: Emulator) -> None:
    gateway.account.default_sender = ""
    report = examine()
    assert (report.exit_code, report.state("sender")) == (0, "warning")


def test_a_sender_that_could_be_none_is_wrong_use(gateway: Emulator) -> None:
    ran = run("doctor", "--from", "no such name!")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert gateway.url


async def test_what_the_gateway_does_not_say_is_not_claimed() -> None:
    async with raw_server(answering(http(b'{"info":{"id":1}}'))) as server:
        report, named = await examined("--url", server.url), await examined("--url", server.url, "--from", "SHOP")
    assert report.exit_code == 0
    assert {report.state(check) for check in ("sender", "balance", "clock")} == {"not checked"}
    assert named.state("sender") == "not checked"


@pytest.mark.parametrize(("left", "state", "code"), [("0.00", "failed", 4), ("99.99", "warning", 0), ("100", "ok", 0)])
def test_a_low_balance_is_a_warning_and_none_fails(gateway: Emulator, left: str, state: str, code: int) -> None:
    gateway.account.balance = Decimal(left)
    report = examine()
    assert (report.exit_code, report.state("balance")) == (code, state)
    assert "Top up" in report.advice("balance") or state == "ok"


@pytest.mark.parametrize(("skew", "words"), [(300, "behind"), (-300, "ahead of")])
def test_a_clock_that_is_wrong_is_a_warning(gateway: Emulator, skew: int, words: str) -> None:
    gateway.clock.set(datetime.now(UTC) + timedelta(seconds=skew))
    report = examine()
    assert (report.exit_code, report.state("clock")) == (0, "warning")
    assert words in report.says("clock")
    assert abs(report.checks["clock"]["facts"]["skew_seconds"] + skew) < 60
    assert "It works; see the warnings above." in run("doctor").stdout


@pytest.mark.usefixtures("gateway")
def test_test_mode_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    report = examine()
    assert (report.exit_code, report.state("test mode")) == (0, "warning")
    assert "SMSPILOT_TEST" in report.advice("test mode")


def test_of_an_emulator_it_does_not_say_that_messages_are_sent_for_real(gateway: Emulator) -> None:
    report = examine("--url", gateway.url)
    assert report.says("test mode").startswith("off, but the address is not smspilot.ru's")
    assert "for real" not in report.text
    assert report.checks["test mode"]["facts"] == {"on": False, "mode": "other"}


@pytest.mark.parametrize(
    ("mode", "state", "words"),
    [
        (Mode.LIVE, "ok", "off: messages are sent for real"),
        (Mode.TEST, "warning", "on: no message reaches a phone"),
        (Mode.TEST_KEY, "warning", "off, but with the vendor's test key nothing is sent or paid for"),
    ],
)
def test_only_of_the_vendor_s_own_address_it_says_that_messages_are_sent_for_real(
    mode: Mode, state: str, words: str
) -> None:
    finding = _account.test_mode(mode)
    assert (str(finding.state), finding.says) == (state, words)


def test_without_a_key_it_says_where_one_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMSPILOT_API_KEY")
    ran = run("doctor")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "SMSPILOT_API_KEY_FILE" in ran.stderr
