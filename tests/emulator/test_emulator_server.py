"""The emulator on a socket, for clients that others wrote."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from manual_clock import idle

from smspilot_async import Client
from smspilot_async.emulator import Clock, Emulator, run
from smspilot_async.emulator.server._http import LARGEST_BODY
from smspilot_async.emulator.server._server import _Server

if TYPE_CHECKING:
    from pathlib import Path

PHONE = "79087964781"


def talk(emulator: Emulator, *requests: bytes) -> bytes:
    """Send raw bytes over one connection, and return all that comes until it is closed."""
    address = urlsplit(emulator.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        for request in requests:
            connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def post(emulator: Emulator, *headers: str, target: str = "/api2.php", body: bytes | None = None) -> bytes:
    if body is None:
        body = json.dumps({"apikey": emulator.api_key, "balance": "rur"}).encode()
    lines = [f"POST {target} HTTP/1.1", "Host: smspilot.ru", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run_pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder, as their owner would."""
    scope = "asyncio_default_fixture_loop_scope=function"
    return subprocess.run(  # noqa: S603 - the interpreter that runs this
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-o", scope, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("SMSPILOT")},
    )


class TestForeignClients:
    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "text/xml", "application/x-www-form-urlencoded", "image/png", "multipart/form-data", None],
    )
    async def test_any_content_type(self, content_type: str | None, served: Emulator, http: httpx.AsyncClient) -> None:
        headers = {"content-type": content_type} if content_type else {}
        body = json.dumps({"apikey": served.api_key, "balance": "rur"})
        assert (await http.post(served.url, content=body, headers=headers)).json() == {"balance": 1000000.00}

    async def test_every_request_style(self, served: Emulator, http: httpx.AsyncClient) -> None:
        document = json.dumps({"apikey": served.api_key, "send": [{"to": PHONE, "text": "Привет + &="}]})
        served.account.loop_protection = None
        answers = [
            await http.post(served.url, content=document),
            await http.post(served.url, data={"json": document}),
            await http.post(served.url, files={"json": (None, document)}),
            await http.get(served.url, params={"json": document, "debug": "a@example.com"}),
            await http.post(served.url, params={"json": document}),
        ]
        assert {answer.json()["send"][0]["text"] for answer in answers} == {"Привет + &="}
        assert len(served.messages) == 5

    async def test_xml_in_every_style(self, served: Emulator, http: httpx.AsyncClient) -> None:
        document = f'<?xml version="1.0" encoding="utf-8"?><balance apikey="{served.api_key}"/>'
        answers = [
            await http.post(served.url, content=document),
            await http.post(served.url, data={"xml": document}),
            await http.get(served.url, params={"xml": document}),
        ]
        assert {answer.text for answer in answers} == {
            '<?xml version="1.0" encoding="utf-8"?>\n<balance>1000000.00</balance>'
        }
        assert answers[0].headers["content-type"] == "text/xml; charset=utf-8"

    def test_keep_alive_and_close(self, served: Emulator) -> None:
        answer = talk(served, post(served), post(served), post(served, "Connection: close"))
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.lower().count(b"connection: close") == 1

    def test_http_1_0(self, served: Emulator) -> None:
        assert b"1000000.00" in talk(served, post(served).replace(b"HTTP/1.1", b"HTTP/1.0"))

    def test_a_chunked_body(self, served: Emulator) -> None:
        head = b"POST /api2.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        body = json.dumps({"apikey": served.api_key, "balance": "rur"}).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:5], body[5:]))
        assert b"1000000.00" in talk(served, head, chunks, b"0\r\n\r\n")

    def test_expect_continue(self, served: Emulator) -> None:
        answer = talk(served, post(served, "Expect: 100-continue", "Connection: close"))
        assert b"200 OK" in answer

    @pytest.mark.parametrize("target", ["http://smspilot.ru/api2.php", "http://smspilot.ru:80/api2.php?debug=a"])
    def test_an_absolute_target(self, target: str, served: Emulator) -> None:
        assert b"1000000.00" in talk(served, post(served, "Connection: close", target=target))

    async def test_it_stands_as_a_proxy(self, served: Emulator) -> None:
        proxy = served.url.removesuffix("/api2.php")
        async with httpx.AsyncClient(proxy=proxy, trust_env=False) as http:
            response = await http.post("http://smspilot.ru/api2.php", json={"apikey": served.api_key, "balance": "sms"})
        assert response.json() == {"balance": 800000}

    def test_a_tunnel_is_refused(self, served: Emulator) -> None:
        request = b"CONNECT smspilot.ru:443 HTTP/1.1\r\nHost: smspilot.ru:443\r\nConnection: close\r\n\r\n"
        assert b"HTTP/1.1 404" in talk(served, request)

    @pytest.mark.parametrize(
        ("method", "status"), [("HEAD", 200), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405), ("PATCH", 405)]
    )
    async def test_other_methods_do_nothing(
        self, method: str, status: int, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        document = json.dumps({"apikey": served.api_key, "send": [{"to": PHONE, "text": "x"}]})
        response = await http.request(method, f"{served.url}?json={quote(document)}")
        assert response.status_code == status
        assert response.headers.get("allow") == (None if status == 200 else "GET, POST")
        assert served.messages == ()

    @pytest.mark.parametrize("path", ["/", "/api2.php/", "/api.php"])
    async def test_wrong_paths_are_pages(self, path: str, served: Emulator, http: httpx.AsyncClient) -> None:
        response = await http.post(served.url.replace("/api2.php", path), content=b"{}")
        assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "404 Not Found" in response.text

    async def test_a_huge_body_is_refused(self, served: Emulator, http: httpx.AsyncClient) -> None:
        response = await http.post(served.url, content=b"x" * (LARGEST_BODY + 1))
        assert response.status_code == 413
        assert (await http.post(served.url, json={"apikey": served.api_key, "info": True})).status_code == 200

    def test_half_a_request_is_none(self, served: Emulator) -> None:
        body = json.dumps({"apikey": served.api_key, "send": [{"to": PHONE, "text": "x"}]}).encode()
        with socket.create_connection((urlsplit(served.url).hostname, urlsplit(served.url).port)) as connection:
            connection.sendall(post(served, body=body + b" ")[:-1])
        assert b"200 OK" in talk(served, post(served, "Connection: close"))
        assert served.messages == ()

    def test_nonsense_is_answered(self, served: Emulator) -> None:
        assert b"400 Bad Request" in talk(served, b"nonsense\r\n\r\n")


class TestServing:
    async def test_the_date_is_the_clock_s(self, http: httpx.AsyncClient) -> None:
        async with Emulator.serve(clock=Clock(datetime(2026, 1, 31, 12, tzinfo=UTC))) as emulator:
            emulator.clock.advance(days=1)
            response = await http.post(emulator.url, content=b"")
        assert response.headers.get_list("date") == ["Sun, 01 Feb 2026 12:00:00 GMT"]
        assert "server" not in response.headers

    async def test_an_idle_connection_is_closed_after_its_time(self) -> None:
        async with Emulator.serve(keep_alive=0.01) as emulator:
            assert b"200 OK" in await asyncio.to_thread(talk, emulator, post(emulator))

    async def test_connections_can_be_dropped(self, served: Emulator, http: httpx.AsyncClient) -> None:
        await http.post(served.url, content=b"")
        served.drop_connections()
        assert (await http.post(served.url, content=b"")).status_code == 200

    def test_without_a_socket_nothing_is_dropped(self, emulator: Emulator) -> None:
        emulator.drop_connections()

    def test_leaving_ends_the_thread_and_open_requests(self) -> None:
        before = threading.active_count()
        with Emulator.serve() as emulator:
            emulator.fail_next("*", "slow")
            asker = threading.Thread(target=talk, args=(emulator, post(emulator)))
            asker.start()
            while emulator.state()["pending_faults"]:
                pass
        asker.join(5)
        assert threading.active_count() == before

    def test_a_port_in_use_says_so(self, served: Emulator) -> None:
        port = urlsplit(served.url).port or 0
        with pytest.raises(OSError, match=rf"cannot listen at 127\.0\.0\.1:{port} \(Address already in use\)"):
            Emulator.serve(port=port).__enter__()

    def test_it_can_be_entered_again(self) -> None:
        served = Emulator.serve()
        with served as emulator:
            assert b"200 OK" in talk(emulator, post(emulator, "Connection: close"))
        with served as again:
            assert again is emulator
            assert b"200 OK" in talk(emulator, post(emulator, "Connection: close"))
        emulator.drop_connections()
        served.stop()

    def test_the_logs_of_other_servers_are_left_alone(self, served: Emulator) -> None:
        logger = logging.getLogger("uvicorn.access")
        assert logger.propagate
        assert b"200 OK" in talk(served, post(served, "Connection: close"))

    async def test_ipv6(self, http: httpx.AsyncClient) -> None:
        try:
            served = Emulator.serve(host="::1")
            emulator = served.start()
        except OSError:
            pytest.skip("no IPv6 here")
        response = await http.post(emulator.url, json={"apikey": emulator.api_key, "info": True})
        served.stop()
        assert emulator.url.startswith("http://[::1]:")
        assert response.status_code == 200

    async def test_a_running_clock_moves_statuses_by_itself(self, http: httpx.AsyncClient) -> None:
        async with Emulator.serve(clock=Clock(speed=100_000)) as emulator:
            await http.post(emulator.url, json={"apikey": emulator.api_key, "send": [{"to": PHONE, "text": "x"}]})
            assert (await emulator.wait_for(status=2)).to == PHONE

    async def test_many_clients_at_once(self, served: Emulator) -> None:
        async def send(number: int, http: httpx.AsyncClient) -> None:
            rows = [{"to": PHONE, "text": f"{number} {row}"} for row in range(20)]
            await http.post(served.url, json={"apikey": served.api_key, "send": rows})

        async with httpx.AsyncClient(trust_env=False) as http:
            await asyncio.gather(*(send(number, http) for number in range(50)))
        assert len({message.server_id for message in served.messages}) == 1000

    async def test_nothing_secret_is_logged(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.WARNING, "httpx")  # this test's own client is not the point
        caplog.set_level(logging.WARNING, "httpcore")
        with Emulator.serve() as emulator:
            document = json.dumps({"apikey": emulator.api_key, "send": [{"to": PHONE, "text": "geheim"}]})
            await asyncio.to_thread(httpx.get, emulator.url, params={"json": document}, trust_env=False)
            talk(emulator, f"GET /{emulator.api_key}\x00 {PHONE} geheim\r\n\r\n".encode())
        shown = caplog.text + "".join(capfd.readouterr())
        assert [secret for secret in (emulator.api_key, PHONE, "geheim") if secret in shown] == []
        assert len(emulator.messages) == 1


class TestControl:
    def url(self, emulator: Emulator, path: str) -> str:
        return emulator.url.replace("/api2.php", f"/_emulator/{path}")

    async def test_a_test_in_any_language_can_drive_it(self, served: Emulator, http: httpx.AsyncClient) -> None:
        url = partial(self.url, served)
        assert (await http.get(url("health"))).json() == {"ok": True}
        await http.post(served.url, json={"apikey": served.api_key, "send": [{"to": PHONE, "text": "x", "id": 5}]})
        assert (await http.post(url("inbound"), json={"phone": PHONE, "text": "STOP"})).json() == {"id": 1}
        await http.post(url("inbound"), content=b'{"phone": 79087964782, "text": "x", "num": "79020000000"}')
        assert [sms.num for sms in served.inbound_messages] == ["79021121075", "79020000000"]
        assert (await http.post(url("fail-next"), json={"fault": "server-error", "times": 2})).json() == {"ok": True}
        assert (await http.post(served.url, content=b"{}")).status_code == 503
        assert (await http.post(url("clock"), json={"set": "2030-01-01T00:00:00+00:00"})).json() == {
            "now": "2030-01-01T00:00:00+00:00",
            "speed": 0,
        }
        assert (await http.post(url("clock"), json={"advance": 90})).json()["now"] == "2030-01-01T00:01:30+00:00"
        assert (await http.get(url("state"))).json() == {
            "now": "2030-01-01T00:01:30+00:00",
            "messages": 1,
            "test_messages": 0,
            "inbound": 2,
            "requests": 2,
            "refusals": 0,
            "callbacks": 0,
            "pending_faults": 1,
            "settled": True,
        }
        assert (await http.post(url("release"))).json() == {"ok": True}
        assert (await http.post(url("reset"))).json() == {"ok": True}
        assert served.messages == ()

    async def test_messages_are_shown_and_filtered(self, served: Emulator, http: httpx.AsyncClient) -> None:
        rows = [{"to": PHONE, "text": "x", "id": 5}, {"to": "79087964782", "text": "y"}]
        await http.post(served.url, json={"apikey": served.api_key, "send": rows})
        served.clock.advance(minutes=1)
        shown = (await http.get(self.url(served, "messages"))).json()["messages"]
        assert [message["to"] for message in shown] == [PHONE, "79087964782"]
        assert shown[0]["price"] == "1.25"
        assert [change["status"] for change in shown[0]["history"]] == [0, 1, 2]
        for query, found in [
            ({"to": PHONE}, 1),
            ({"id": "5", "status": "2"}, 1),
            ({"test": "false"}, 2),
            ({"id": "null"}, 1),
            ({"status": "0"}, 0),
        ]:
            assert len((await http.get(self.url(served, "messages"), params=query)).json()["messages"]) == found

    @pytest.mark.parametrize(
        ("path", "body", "error"),
        [
            ("fail-next", b'{"fault": "nonsense"}', "there is no fault 'nonsense'; there are reset-before-read, "),
            ("fail-next", b'{"fault": ["busy"]}', "there is no fault ['busy']"),
            ("fail-next", b"{}", "fault is missing"),
            (
                "fail-next",
                b'{"fault": "busy", "command": "sned"}',
                "there is no command 'sned'; there are *, send, ",
            ),
            (
                "fail-next",
                b'{"fault": "busy", "time": 2}',
                "there is no field 'time'; there are fault, command, ",
            ),
            ("fail-next", b'{"fault": "busy", "times": "x"}', "times must be a whole number from 1 to 1000000"),
            ("fail-next", b'{"fault": "busy", "times": 1e9}', "times must be a whole number"),
            ("fail-next", b'{"fault": "busy", "times": true}', "times must be a whole number"),
            ("fail-next", b'{"fault": "slow", "delay": "x"}', "delay must be seconds, 0 or more"),
            ("fail-next", b'{"fault": "slow", "delay": Infinity}', "delay must be seconds, 0 or more"),
            ("fail-next", b'{"fault": "slow", "delay": NaN}', "delay must be seconds, 0 or more"),
            ("fail-next", b'{"fault": "server-error", "status": 5}', "status must be a whole number from 100 to 599"),
            ("fail-next", b'{"fault": "busy-message", "row": -1}', "row must be a whole number from 0"),
            ("fail-next", b'{"fault": "busy", "retry_after": null}', "retry_after must be a whole number from 0"),
            ("inbound", b'{"text": "x"}', "phone is missing"),
            ("inbound", b'{"phone": "79087964781"}', "text is missing"),
            ("inbound", b'{"phone": "79087964781", "text": null}', "text must be a string"),
            ("inbound", b'{"phone": {}, "text": "x"}', "phone must be a string"),
            ("status", b'{"status": 2}', "server_id is missing"),
            ("status", b'{"server_id": "5", "status": "delivered"}', "status must be a whole number from -2 to 3"),
            ("status", b'{"server_id": "5", "status": 9}', "status must be a whole number from -2 to 3"),
            ("status", b'{"server_id": "5", "status": 2, "error": []}', "error must be a whole number"),
            ("clock", b"{}", "advance, set or speed is missing"),
            (
                "clock",
                b'{"set": "2030-01-01"}',
                "set must be a time with its zone, such as 2026-01-31T",
            ),
            ("clock", b'{"set": "soon"}', "set must be a time with its zone"),
            ("clock", b'{"set": 5}', "set must be a time with its zone"),
            ("clock", b'{"advance": "x"}', "advance must be seconds, 0 or more"),
            ("clock", b'{"advance": -1}', "advance must be seconds, 0 or more"),
            ("clock", b'{"advance": 1e300}', "that time is out of range"),
            ("clock", b'{"advance": 1e12}', "that time is out of range"),
            ("reset", b'{"all": true}', "there is no field 'all'; there is none here"),
            ("reset", b"[]", "the body must be a JSON object"),
            ("reset", b"{", "the body is not JSON (line 1, column 2)"),
            ("reset", b"\xff", "the body is not JSON"),
            ("reset", b"[" * 100_000, "the body is not JSON"),
        ],
    )
    async def test_a_mistake_is_explained(
        self, path: str, body: bytes, error: str, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        before = served.overview()
        response = await http.post(self.url(served, path), content=body)
        assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
        assert response.json()["error"].startswith(error)
        assert served.overview() == before

    async def test_a_message_that_is_not_there_is_not_found(self, served: Emulator, http: httpx.AsyncClient) -> None:
        answers = [
            await http.get(self.url(served, "messages/5")),
            await http.post(self.url(served, "status"), json={"server_id": "5", "status": 2}),
            await http.post(self.url(served, "status"), json={"server_id": 5, "status": 2}),
        ]
        assert {(answer.status_code, answer.json()["error"]) for answer in answers} == {(404, "there is no message 5")}

    @pytest.mark.parametrize("path", ["nothing", "health/", "messages/1/2", ""])
    async def test_a_path_that_is_not_there_names_those_that_are(
        self, path: str, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        answer = await http.post(self.url(served, path))
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        error = answer.json()["error"]
        assert error.startswith(f"there is no /_emulator/{path}; there are GET /_emulator/health, ")
        assert "GET /_emulator/messages/{server_id}, GET /_emulator/test-messages, " in error

    async def test_a_method_that_does_not_do_names_the_one_that_does(
        self, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        for method, path, right in [
            ("POST", "state", "GET"),
            ("GET", "reset", "POST"),
            ("PUT", "inbound", "GET or POST"),
        ]:
            answer = await http.request(method, self.url(served, path))
            assert (answer.status_code, answer.headers["allow"]) == (405, right.replace(" or ", ", "))
            assert answer.json() == {"error": f"/_emulator/{path} takes {right}, not {method}"}

    async def test_an_unknown_field_is_explained(self, served: Emulator, http: httpx.AsyncClient) -> None:
        response = await http.get(self.url(served, "messages"), params={"phone": PHONE})
        assert response.status_code == 400
        assert response.json()["error"].startswith("a message has no field 'phone'; it has accepted_at, account, ")

    async def test_a_huge_body_is_refused(self, served: Emulator, http: httpx.AsyncClient) -> None:
        response = await http.post(self.url(served, "inbound"), content=b" " * 2_000_000)
        assert response.status_code == 413

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"origin": "http://evil.example"}, 403),
            ({"host": "evil.example"}, 403),
            ({"host": "localhost"}, 200),
            ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ],
    )
    async def test_foreign_pages_are_turned_away(
        self, headers: dict[str, str], status: int, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        assert (await http.post(self.url(served, "reset"), headers=headers)).status_code == status


class TestProgram:
    def start(self, *options: str) -> subprocess.Popen[str]:
        program = (
            "from datetime import timedelta; from decimal import Decimal; from smspilot_async.emulator import *; "
            f"run(port=0, {', '.join(options)})"
        )
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
    def test_it_says_when_it_listens_and_ends_cleanly(self, ending: int) -> None:
        with self.start("key='K' * 64") as process:
            assert process.stdout is not None
            line, page = process.stdout.readline(), process.stdout.readline().split()[-1]
            assert line.endswith(f"with the key {'K' * 64}\n")
            url = line.split()[4]
            answer = httpx.post(url, json={"apikey": "K" * 64, "balance": "sms"}, trust_env=False)
            assert "<title>SMSPILOT emulator</title>" in httpx.get(page, trust_env=False).text
            process.send_signal(ending)
            lines, errors = process.communicate(timeout=10)
        assert re.fullmatch(r"\d\d:\d\d:\d\d  balance +OK  [\d.]+ ms\n", lines)
        assert errors == ""
        assert answer.json() == {"balance": 800000}
        assert process.returncode == 0

    def test_a_quiet_one_says_no_more_than_where_it_listens(self) -> None:
        with self.start("key='K' * 64", "quiet=True") as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[4]
            httpx.post(url, json={"apikey": "K" * 64, "balance": "sms"}, trust_env=False)
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10) == ("", "")

    def test_an_output_that_is_not_read_holds_up_neither_the_gateway_nor_its_end(self) -> None:
        with self.start("key='K' * 64") as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[4]
            if hasattr(fcntl, "F_SETPIPE_SZ"):  # of Linux
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            with httpx.Client(trust_env=False) as client:
                for _ in range(200):  # more lines than that pipe holds
                    client.post(url, json={"apikey": "K" * 64, "balance": "sms"})
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0

    def test_json_lines_report_messages(self) -> None:
        with self.start("json=True", "seed=1", "speed=1000") as process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            document = {"apikey": ready["api_key"], "send": [{"to": PHONE, "text": "Привет"}]}
            httpx.post(ready["url"], json=document, trust_env=False)
            told = json.loads(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10) == ("", "")
        assert ready["event"] == "listening"
        assert (told["event"], told["to"], told["text"], told["status"]) == ("accepted", PHONE, "Привет", 0)

    def test_it_is_set_up_as_it_is_asked(self) -> None:
        login = "Account(login='a@example.com', password='secret')"
        options = (
            "balance=Decimal('2.50')",
            "loop_protection=None",
            f"accounts=[{login}]",
            "delivery=timedelta(hours=1)",
        )
        with self.start("key='K' * 64", "speed=0", *options) as process:
            assert process.stdout is not None
            url = process.stdout.readline().split()[4]
            control = url.replace("api2.php", "_emulator")
            settings = httpx.get(f"{control}/settings", trust_env=False).json()["settings"]
            accounts = httpx.get(f"{control}/accounts", trust_env=False).json()["accounts"]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)
        assert (settings["loop_protection"], settings["delivery"]) == (None, 3600)
        assert [(account["api_key"], account["login"], account["balance"]) for account in accounts] == [
            ("K" * 64, None, "2.50"),
            (None, "a@example.com", "1000000.00"),
        ]

    def test_others_are_not_let_in_unasked(self) -> None:
        with pytest.raises(ValueError, match=r"0\.0\.0\.0 can be reached from other machines"):
            run(host="0.0.0.0")  # noqa: S104

    @pytest.mark.parametrize("as_json", [0, 1])
    def test_it_runs_in_this_process_too(self, as_json: int, monkeypatch: pytest.MonkeyPatch) -> None:
        class Out(io.StringIO):
            def flush(self) -> None:
                text = self.getvalue()
                if "accepted" in text or not as_json:
                    os.kill(os.getpid(), signal.SIGTERM)
                elif text:
                    ready = json.loads(text)
                    document = {"apikey": ready["api_key"], "send": [{"to": PHONE, "text": "x"}]}
                    threading.Thread(target=httpx.post, args=(ready["url"],), kwargs={"json": document}).start()

        out, before = Out(), signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "stdout", out)
        run(host="127.0.0.1", port=0, json=bool(as_json), allow_remote=True)
        assert len(out.getvalue().splitlines()) == 2
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_reader_that_left_does_not_matter(self) -> None:
        class Closed(io.StringIO):
            def write(self, _text: str) -> int:
                os.kill(os.getpid(), signal.SIGINT)
                raise BrokenPipeError

        run(port=0, out=Closed())

    def test_outside_the_main_thread_signals_are_left_alone(self, served: Emulator) -> None:
        failures: list[OSError] = []

        def attempt() -> None:
            try:
                run(port=urlsplit(served.url).port or 0)
            except OSError as failure:
                failures.append(failure)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join(5)
        assert len(failures) == 1


class TestExtras:
    def run_python(self, program: str) -> str:
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout

    def test_importing_brings_in_no_extras(self) -> None:
        program = "import sys, smspilot_async.emulator; print({'starlette', 'uvicorn'} & set(sys.modules))"
        assert self.run_python(program) == "set()\n"

    def test_serving_needs_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        monkeypatch.delitem(sys.modules, "smspilot_async.emulator.server._server", raising=False)
        with pytest.raises(ImportError, match=r"needs uvicorn.*pip install 'smspilot-async\[emulator\]'"):
            Emulator.serve()

    @pytest.mark.parametrize("missing", ["starlette", "uvicorn", "uvicorn.protocols.http.h11_impl", "click"])
    def test_a_missing_one_names_its_install_line(self, missing: str) -> None:
        program = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from smspilot_async.emulator import Emulator, run\n"
            "Emulator(callbacks_to=lambda *_: None).transport\n"
            "try: run(port=0)\n"
            "except ImportError as error: print(error)\n"
        )
        assert self.run_python(program) == (
            f"the emulator's server needs {missing.partition('.')[0]}, which this brings: "
            "pip install 'smspilot-async[emulator]'\n"
        )

    def test_one_that_is_there_and_broken_is_not_called_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.h11_impl", ModuleType("h11_impl"))
        monkeypatch.delitem(sys.modules, "smspilot_async.emulator.server._server", raising=False)
        with pytest.raises(ImportError, match="cannot import name 'H11Protocol'"):
            Emulator.serve()

    def test_the_fixture_says_so_in_one_line(self, tmp_path: Path) -> None:
        tmp_path.joinpath("conftest.py").write_text("import sys; sys.modules['starlette'] = None\n")
        tmp_path.joinpath("test_it.py").write_text("def test_it(smspilot_emulator):\n    pass\n")
        result = run_pytest(tmp_path)
        _, _, shown = result.stdout.partition("ERROR at setup of test_it")
        assert shown.partition("=")[0].split("\n", 1)[1].strip() == (
            "smspilot_emulator: the emulator's server needs starlette, which this brings: "
            "pip install 'smspilot-async[emulator]'"
        )


def test_the_fixture_points_the_environment_at_an_emulator(tmp_path: Path) -> None:
    tmp_path.joinpath("test_it.py").write_text(
        "import os, httpx\n"
        "def test_it(smspilot_emulator):\n"
        "    document = {'apikey': os.environ['SMSPILOT_API_KEY'], 'send': [{'to': '79087964781', 'text': 'x'}]}\n"
        "    httpx.post(os.environ['SMSPILOT_URL'], json=document, trust_env=False)\n"
        "    assert len(smspilot_emulator.messages) == 1\n"
        "def test_it_is_gone():\n"
        "    assert 'SMSPILOT_URL' not in os.environ\n"
    )
    assert "2 passed" in run_pytest(tmp_path).stdout


@pytest.fixture
def kept_from_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "1")


@pytest.mark.usefixtures("kept_from_sending")
async def test_the_fixture_takes_messages_on_a_machine_that_is_kept_from_sending(
    request: pytest.FixtureRequest,
) -> None:
    emulator: Emulator = request.getfixturevalue("smspilot_emulator")
    async with Client() as client:
        await client.send("79087964781", "text")
    assert len(emulator.messages) == 1


def test_the_fixture_works_here(smspilot_emulator: Any) -> None:
    assert os.environ["SMSPILOT_URL"] == smspilot_emulator.url
    assert os.environ["SMSPILOT_API_KEY"] == smspilot_emulator.api_key


@pytest.mark.parametrize("turns", range(8))
async def test_a_peer_that_connects_while_it_stops_is_not_left_connected(turns: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = _Server(Emulator(), keep_alive=5)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await idle()
        assert server.started
        with socket.create_connection(listening.getsockname()) as late:
            for _ in range(turns):
                await asyncio.sleep(0)
            server.stop()
            await serving
            await idle()
            late.setblocking(False)  # noqa: FBT003 - its only argument
            with suppress(ConnectionResetError):
                assert late.recv(1) == b""
