"""What a client takes, from its arguments and from the environment, and what it refuses before anything is sent."""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from outcomes import PHONE, TEXT, failure_of
from raw_servers import answering, forwarding, http, raw_server

from smspilot_async import Client, ConnectionFailed, ExposureWarning, InvalidMessage, Message, Retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tls import Tls

    from smspilot_async.emulator import Emulator

KEY = "K" * 64
ONCE = Retry(attempts=1)
ACCEPTED = b'{"send":[{"id":"0","server_id":"10001","status":"0","error":"0"}],"server_packet_id":"7"}'


class Gateway(httpx.AsyncBaseTransport):
    """Takes every message, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200, content=ACCEPTED)

    @property
    def documents(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


async def asked(gateway: Gateway, *args: Any, **options: Any) -> dict[str, Any]:
    """Send with a client that is made so, and return the document."""
    async with Client(*args, transport=gateway, **options) as client:
        await client.send(PHONE, TEXT)
    document: dict[str, Any] = gateway.documents[-1]
    return document


# --- who asks ------------------------------------------------------------------------------------


async def test_the_key_comes_from_the_argument(gateway: Gateway) -> None:
    assert (await asked(gateway, KEY))["apikey"] == KEY


async def test_the_key_comes_from_the_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", f" {KEY}\n")

    assert (await asked(gateway))["apikey"] == KEY


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"\ufeff {KEY}\r\n"])
async def test_the_key_comes_from_a_file_that_the_environment_names(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "key").write_text(content, encoding="utf-8", newline="")
    monkeypatch.setenv("SMSPILOT_API_KEY_FILE", str(tmp_path / "key"))

    assert (await asked(gateway))["apikey"] == KEY


async def test_the_variable_beats_the_file(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "A")
    monkeypatch.setenv("SMSPILOT_API_KEY_FILE", str(tmp_path / "missing"))

    assert (await asked(gateway))["apikey"] == "A"


async def test_explicit_credentials_beat_the_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "environment")

    assert (await asked(gateway, KEY))["apikey"] == KEY
    by_login = await asked(gateway, login="me@example.com", password="p4ssw0rd")
    assert (by_login["login"], by_login["password"]) == ("me@example.com", "p4ssw0rd")
    assert "apikey" not in by_login


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"login": "me"},
        {"password": "p4ssw0rd"},
        {"login": "", "password": "p4ssw0rd"},
        {"login": "me", "password": ""},
        {"api_key": KEY, "login": "me", "password": "p4ssw0rd"},
        {"api_key": KEY, "password": "p4ssw0rd"},
        {"api_key": ""},
        {"api_key": 64},
        {"api_key": f"{KEY}\n"},
        {"api_key": b"bytes"},
        {"login": "me\n", "password": "p4ssw0rd"},
    ],
    ids=str,
)
def test_none_half_or_two_kinds_of_credentials_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"api_key|API key|login|password"):
        Client(**given)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00key", b""])
def test_a_key_file_that_holds_no_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("SMSPILOT_API_KEY_FILE", str(tmp_path / "key"))

    with pytest.raises(ValueError, match=r"SMSPILOT_API_KEY_FILE|non-empty"):
        Client()


async def test_a_key_that_rotates_is_asked_for_at_every_request(gateway: Gateway) -> None:
    keys = iter("ABC")
    async with Client(lambda: next(keys), transport=gateway) as client:
        for _ in range(3):
            await client.send(PHONE, TEXT)

    assert [document["apikey"] for document in gateway.documents] == ["A", "B", "C"]


@pytest.mark.parametrize("call", ["send", "send_packet", "cost", "balance"])
@pytest.mark.parametrize("gives", [LookupError("the vault is sealed"), "", None, "two\nlines"])
async def test_a_key_that_cannot_be_had_sends_nothing(gateway: Gateway, call: str, gives: Any) -> None:
    def key() -> Any:
        if isinstance(gives, Exception):
            raise gives
        return gives

    client = Client(key, transport=gateway, retry=ONCE)
    works: dict[str, Any] = {
        "send": lambda: client.send(PHONE, TEXT),
        "send_packet": lambda: client.send_packet([Message(PHONE, TEXT)]),
        "cost": lambda: client.cost([Message(PHONE, TEXT)]),
        "balance": client.balance,
    }
    error = await failure_of(works[call]())

    assert type(error) is ConnectionFailed
    assert "vault" not in str(error)
    assert gateway.requests == []


# --- where to ------------------------------------------------------------------------------------


async def test_the_endpoint_is_the_vendors_unless_told_otherwise(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(gateway, KEY)
    monkeypatch.setenv("SMSPILOT_URL", "https://other.example/api")
    await asked(gateway, KEY)
    await asked(gateway, KEY, url="https://third.example")

    assert [str(request.url) for request in gateway.requests] == [
        "https://smspilot.ru/api2.php",
        "https://other.example/api",
        "https://third.example/",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "smspilot.ru/api2.php",
        "ftp://smspilot.ru/",
        "https:///api2.php",
        "https://smspilot.ru/#top",
        "https://user:word@smspilot.ru/",
        "https://user@smspilot.ru/",
        "https://:@smspilot.ru/",
        "http://smspilot.ru/api2.php",
        "http://192.168.0.1/api2.php",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "https://smspilot.ru:port/",
        "https://smspilot.ru\n/",
        "https://[::1/",
    ],
)
def test_an_endpoint_that_is_invalid_or_exposes_the_key_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"url|http|URL|port|IPv6"):
        Client(KEY, url=url)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8025/api2.php", "http://127.0.0.1/", "http://127.9.9.9/", "http://[::1]:8025/", "https://x/"],
)
def test_this_machine_may_be_asked_in_clear(url: str) -> None:
    Client(KEY, url=url)


def test_others_may_be_asked_in_clear_where_that_is_said() -> None:
    Client(KEY, url="http://192.168.0.1/api2.php", allow_http=True)


def test_a_variable_says_so_where_the_emulator_is_in_another_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_URL", "http://emulator:8025/api2.php")
    for value in (None, "", "0"):
        if value is not None:
            monkeypatch.setenv("SMSPILOT_ALLOW_HTTP", value)
        with pytest.raises(ValueError, match="in clear"):
            Client(KEY)
    monkeypatch.setenv("SMSPILOT_ALLOW_HTTP", "1")
    assert Client(KEY).url == "http://emulator:8025/api2.php"
    monkeypatch.setenv("SMSPILOT_ALLOW_HTTP", "perhaps")
    with pytest.raises(ValueError, match="SMSPILOT_ALLOW_HTTP must be 1 or 0"):
        Client(KEY)


def test_a_client_shows_its_endpoint_without_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client(KEY).url == "https://smspilot.ru/api2.php"
    assert Client(KEY, url="https://x.example:8443/api2?token=T-55").url == "https://x.example:8443/api2"
    monkeypatch.setenv("SMSPILOT_URL", "http://127.0.0.1:8025/api2.php")
    assert Client(KEY).url == "http://127.0.0.1:8025/api2.php"


# --- numbers and words ---------------------------------------------------------------------------


NUMBERS = ["max_connections", "packet_size", "max_pending", "timeout", "deadline", "rate_limit"]
WHOLE = NUMBERS[:3]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Client(KEY, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [1.5, float("inf"), None])
def test_counts_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Client(KEY, **{name: value})


@pytest.mark.parametrize("value", ["5", timedelta(seconds=5)])
def test_what_is_no_number_is_called_so(value: Any) -> None:
    with pytest.raises(ValueError, match="deadline must be a number above 0"):
        Client(KEY, deadline=value)


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_nothing_waits_for_ever(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Client(KEY, **{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_linger_is_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="linger"):
        Client(KEY, linger=value)


@pytest.mark.parametrize(("name", "value"), [("wire", "yaml"), ("request_style", "carrier pigeon")])
def test_words_are_among_those_that_are_known(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Client(KEY, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
async def test_the_deadline_of_a_call_is_above_zero(gateway: Gateway, deadline: float) -> None:
    client = Client(KEY, transport=gateway)

    with pytest.raises(ValueError, match="deadline"):
        await client.send(PHONE, TEXT, deadline=deadline)
    with pytest.raises(ValueError, match="deadline"):
        await client.balance(deadline=deadline)
    assert gateway.requests == []


# --- what goes with every message ----------------------------------------------------------------


async def test_the_default_sender_is_for_messages_that_name_none(gateway: Gateway) -> None:
    async with Client(KEY, sender="SHOP", transport=gateway) as client:
        await client.send(PHONE, TEXT)
        await client.send(PHONE, TEXT, sender="OTHER")

    assert [document["send"][0]["from"] for document in gateway.documents] == ["SHOP", "OTHER"]


def test_an_invalid_default_sender_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="sender"):
        Client(KEY, sender="Ш")


@pytest.mark.parametrize(
    ("environment", "argument", "sent"),
    [
        (None, False, False),
        (None, True, True),
        ("1", False, True),
        ("true", False, True),
        ("YES", False, True),
        ("on", False, True),
        ("0", True, True),
        ("0", False, False),
        ("off", False, False),
        ("", True, True),
    ],
)
async def test_a_machine_can_be_kept_from_sending(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, *, environment: str | None, argument: bool, sent: bool
) -> None:
    if environment is not None:
        monkeypatch.setenv("SMSPILOT_TEST", environment)
    async with Client(emulator.api_key, url=emulator.url, test=argument) as client:
        assert client.is_test is sent
        await client.send(PHONE, "1")
        await client.send_packet([Message(PHONE, "2")])

    assert (len(emulator.test_messages), len(emulator.messages)) == ((2, 0) if sent else (0, 2))


async def test_one_packet_can_be_a_test(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url) as client:
        await client.send_packet([Message(PHONE, TEXT)], test=True)

    assert (len(emulator.test_messages), len(emulator.messages)) == (1, 0)


def test_a_test_variable_that_says_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "maybe")
    with pytest.raises(ValueError, match="SMSPILOT_TEST"):
        Client(KEY)


async def test_the_parameters_go_with_every_request(gateway: Gateway) -> None:
    with pytest.warns(ExposureWarning):
        client = Client(KEY, referral=1234, debug_email="dev@example.com", transport=gateway)
    await client.send(PHONE, TEXT)

    assert gateway.requests[0].url.query == b"debug=dev%40example.com&r=1234"


# --- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "words"),
    [({"request_style": "query"}, "puts the key"), ({"debug_email": "dev@example.com"}, "every request, with the key")],
    ids=["query", "debug_email"],
)
def test_a_setting_that_shows_the_key_warns_at_the_callers_line(option: dict[str, Any], words: str) -> None:
    with pytest.warns(ExposureWarning, match=words) as caught:
        Client(KEY, **option)

    assert [warning.filename for warning in caught] == [__file__]


def test_nothing_else_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client(KEY, wire="xml", request_style="form", referral=1, allow_http=True, test=True, linger=0.1)


# --- proxies and TLS -----------------------------------------------------------------------------


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment, to put proxies into."""
    monkeypatch.setenv("NO_PROXY", "unrelated.example")
    return monkeypatch  # type: ignore[return-value]


async def send_through(**options: Any) -> object:
    async with Client(KEY, retry=ONCE, **options) as client:
        try:
            return await client.send(PHONE, TEXT)
        except ConnectionFailed as error:
            return error


@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_environment_names_the_proxy(proxied: pytest.MonkeyPatch, name: str, scheme: str) -> None:
    async with raw_server(answering(http(ACCEPTED))) as proxy:
        proxied.setenv(name, proxy.proxy_url.replace("http://", scheme))
        await send_through(url="http://gateway.test/api2.php", allow_http=True)

    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"POST http://gateway.test/api2.php HTTP/1.1"]


async def test_the_proxy_for_https_is_asked_for_a_tunnel(proxied: pytest.MonkeyPatch, tls: Tls) -> None:
    async with (
        raw_server(answering(http(ACCEPTED)), tls=tls.server("gateway.test")) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        proxied.setenv("HTTPS_PROXY", proxy.proxy_url)
        await send_through(url="https://gateway.test/api2.php", ssl_context=tls.client())

    assert len(server.requests) == 1
    assert proxy.heads[0].startswith(b"CONNECT ")


@pytest.mark.parametrize("value", ["gateway.test", ".test", "*", "other.example, gateway.test"])
async def test_no_proxy_means_none(proxied: pytest.MonkeyPatch, value: str) -> None:
    async with raw_server(answering(http(ACCEPTED))) as proxy:
        proxied.setenv("HTTP_PROXY", proxy.proxy_url)
        proxied.setenv("NO_PROXY", value)
        proxied.setattr("socket.getaddrinfo", lambda *_, **__: [])
        error = await send_through(url="http://gateway.test/", allow_http=True)

    assert isinstance(error, ConnectionFailed)
    assert proxy.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_reached_without_the_environments_proxy(proxied: pytest.MonkeyPatch, host: str) -> None:
    async with raw_server(answering(http(ACCEPTED))) as emulator, raw_server(answering(http(ACCEPTED))) as proxy:
        proxied.setenv("HTTP_PROXY", proxy.proxy_url)
        await send_through(url=f"http://{host}:{emulator.port}/api2.php")
        assert (len(emulator.requests), proxy.connections) == (1, 0)
        await send_through(url=f"http://{host}:{emulator.port}/api2.php", proxy=proxy.proxy_url)
        assert (len(emulator.requests), proxy.connections) == (1, 1)


async def test_an_explicit_proxy_beats_the_environment(proxied: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http(ACCEPTED))) as wanted, raw_server(answering(http(ACCEPTED))) as other:
        proxied.setenv("HTTP_PROXY", other.proxy_url)
        await send_through(url="http://gateway.test/", allow_http=True, proxy=wanted.proxy_url)

    assert (wanted.connections, other.connections) == (1, 0)


async def test_a_proxy_is_given_its_user_and_password() -> None:
    async with raw_server(answering(http(ACCEPTED))) as proxy:
        url = proxy.proxy_url.replace("http://", "http://user:word@")
        await send_through(url="http://gateway.test/", allow_http=True, proxy=url)

    assert b"proxy-authorization: basic dxnlcjp3b3jk\r\n" in proxy.heads[0].lower()


async def test_a_proxy_may_itself_speak_tls(tls: Tls) -> None:
    async with raw_server(answering(http(ACCEPTED)), tls=tls.server()) as proxy:
        url = proxy.proxy_url.replace("http:", "https:")
        await send_through(url="http://gateway.test/", allow_http=True, proxy=url, ssl_context=tls.client())

    assert len(proxy.requests) == 1


@pytest.mark.parametrize("proxy", ["127.0.0.1:3128", "gopher://127.0.0.1", "http://", "", "http://user:word@host:port"])
def test_an_invalid_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy"):
        Client(KEY, proxy=proxy)


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1", "http://user:word@host:port", "socks4://127.0.0.1"])
async def test_an_invalid_proxy_in_the_environment_sends_nothing(proxied: pytest.MonkeyPatch, proxy: str) -> None:
    proxied.setenv("HTTP_PROXY", proxy)

    error = await send_through(url="http://gateway.test/", allow_http=True)

    assert isinstance(error, ConnectionFailed)
    assert "word" not in str(error)


async def test_the_ssl_context_that_is_given_is_used(tls: Tls) -> None:
    async with raw_server(answering(http(ACCEPTED)), tls=tls.server()) as server:
        trusted = await send_through(url=server.https_url, ssl_context=tls.client())
        untrusted = await send_through(url=server.https_url)

    assert getattr(trusted, "server_id", None) == "10001"
    assert isinstance(untrusted, ConnectionFailed)


async def test_roots_that_are_missing_send_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: Tls) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    async with raw_server(answering(http(ACCEPTED)), tls=tls.server()) as server:
        assert isinstance(await send_through(url=server.https_url), ConnectionFailed)

    assert server.connections == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("retry", 3),
        ("transport", 5),
        ("ssl_context", 5),
        ("callbacks", "https://app.example"),
        ("proxy", 5),
        ("url", b"https://gateway.test/"),
    ],
    ids=["retry", "transport", "context", "callbacks", "proxy", "url"],
)
def test_what_could_only_fail_in_the_middle_of_a_send_is_refused_at_once(setting: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{setting} must be"):
        Client(KEY, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"), [("timeout", "3"), ("linger", None), ("max_connections", True), ("deadline", True)]
)
def test_a_setting_that_is_not_a_number_is_named(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting):
        Client(KEY, **{setting: value})
