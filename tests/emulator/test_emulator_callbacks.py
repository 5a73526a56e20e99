"""Status callbacks, called over HTTP at a real application."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
from raw_servers import Peer, raw_server

from smspilot_async.emulator import Emulator, Unknowns
from smspilot_async.emulator import _callbacks as callbacks
from smspilot_async.emulator._callbacks import CallbackCall
from smspilot_async.emulator.gateway._callback_faults import CallbackFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

PHONE = "79087964781"


@attrs.define
class Application:
    """A user's application: it notes the calls and answers ``OK``, or as configured."""

    url: str = ""
    answer: bytes = b"OK"
    status: int = 200
    content_type: str = "text/plain"
    calls: list[tuple[str, str, dict[str, str]]] = attrs.Factory(list)
    gate: threading.Event = attrs.Factory(threading.Event)
    came: threading.Semaphore = attrs.Factory(partial(threading.Semaphore, 0))

    async def called(self, times: int = 1) -> None:
        """Return when so many more calls have come in, whether or not they are answered yet."""
        for _ in range(times):
            assert await asyncio.to_thread(self.came.acquire, timeout=5)

    def statuses(self, server_id: str) -> list[str]:
        return [fields["status"] for _, _, fields in self.calls if fields["server_id"] == server_id]


@pytest.fixture
def application() -> Iterator[Application]:
    app = Application()
    app.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(urlsplit(self.path).query)

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["content-length"])).decode())

        def answer(self, form: str) -> None:
            app.came.release()
            app.gate.wait(5)
            fields = {name: values[0] for name, values in parse_qs(form).items()}
            app.calls.append((self.command, urlsplit(self.path).path, fields))
            with suppress(OSError):  # the caller may have lost patience
                self.send_response(app.status)
                self.send_header("content-type", app.content_type)
                self.send_header("content-length", str(len(app.answer)))
                self.end_headers()
                self.wfile.write(app.answer)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    app.url = f"http://127.0.0.1:{server.server_port}/status"
    yield app
    app.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("method", ["get", "post"])
async def test_each_change_of_status_is_called(
    method: str, emulator: Emulator, desk: Any, application: Application
) -> None:
    server_id = desk.one(callback=f"{application.url}/a?token=1", callback_method=method)["server_id"]
    await emulator.settled()
    assert application.calls == []
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    extra = {"token": "1"} if method == "get" else {}
    assert application.calls == [
        (method.upper(), "/status/a", {**extra, "server_id": server_id, "status": status, "error": "0"})
        for status in ("1", "2")
    ]
    assert [(call.status, call.answer_status, call.answer, call.acknowledged) for call in emulator.callbacks] == [
        (1, 200, "OK", True),
        (2, 200, "OK", True),
    ]
    assert [call.at for call in emulator.callbacks] == [change.at for change in emulator.messages[0].history[1:]]


async def test_a_failure_says_why(emulator: Emulator, desk: Any, application: Application) -> None:
    emulator.fail_delivery(code=602)
    desk.one(callback=application.url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert [(fields["status"], fields["error"]) for _, _, fields in application.calls] == [("1", "0"), ("-1", "602")]


async def test_an_answer_in_no_encoding_ends_no_other_call(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.content_type = "text/plain; charset=hex"
    desk.one(callback=application.url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert [(call.status, call.answer_status, call.answer) for call in emulator.callbacks] == [
        (1, 200, "OK"),
        (2, 200, "OK"),
    ]


async def test_a_scheduled_message_shows_its_start(emulator: Emulator, desk: Any, application: Application) -> None:
    due = int(emulator.clock.now().timestamp()) + 600
    server_id = desk.one(callback=application.url, send_datetime=due)["server_id"]
    emulator.clock.advance(hours=1)
    await emulator.settled()
    assert application.statuses(server_id) == ["0", "1", "2"]


async def test_the_calls_for_one_message_keep_their_order(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    rows = [{"to": PHONE, "text": str(number), "callback": application.url} for number in range(60)]
    answer = desk.send(*rows)
    emulator.clock.advance(seconds=10)
    emulator.clock.advance(seconds=50)
    await emulator.settled()
    assert all(application.statuses(row["server_id"]) == ["1", "2"] for row in answer["send"])
    assert len(emulator.callbacks) == 120


async def test_a_call_waits_behind_an_earlier_one(emulator: Emulator, desk: Any, application: Application) -> None:
    application.gate.clear()
    server_id = desk.one(callback=application.url)["server_id"]
    emulator.clock.advance(seconds=10)
    emulator.clock.advance(seconds=50)
    other = desk.one(text="other", callback=application.url)["server_id"]
    emulator.clock.advance(seconds=10)
    assert not emulator.state()["settled"]
    application.gate.set()
    await emulator.settled()
    assert application.statuses(server_id) == ["1", "2"]
    assert application.statuses(other) == ["1"]
    assert emulator.state()["settled"]


async def test_they_may_be_repeated(emulator: Emulator, desk: Any, application: Application) -> None:
    emulator.unknowns.callbacks_repeated = 1
    server_id = desk.one(callback=application.url)["server_id"]
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert application.statuses(server_id) == ["1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("mishap", "called"),
    [
        ("callbacks_lost", []),
        ("callbacks_doubled", ["1", "1", "2", "2"]),
        ("callbacks_late", ["2", "1"]),
    ],
)
async def test_they_may_be_lost_doubled_or_overtaken(
    mishap: str, called: list[str], emulator: Emulator, desk: Any, application: Application
) -> None:
    setattr(emulator.unknowns, mishap, 1.0)
    server_id = desk.one(callback=application.url)["server_id"]
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert application.statuses(server_id) == called


def test_the_seed_decides_what_befalls_them() -> None:
    def befallen(seed: int) -> list[int]:
        unknowns = Unknowns(callbacks_lost=0.2, callbacks_doubled=0.2, callbacks_late=0.2)
        faults = CallbackFaults(unknowns, Random(seed))
        calls = [
            CallbackCall(server_id=str(number), url="", method="get", status=status, error=0, at=datetime.now(UTC))
            for number in range(1000)
            for status in (1, 2)
        ]
        return [len(faults.calls_now(call)) for call in calls]

    assert befallen(1) == befallen(1) != befallen(2)
    assert sum(befallen(1)) == pytest.approx(2000, rel=0.05)  # as many doubled as lost
    assert befallen(1)[::2].count(0) == pytest.approx(400, rel=0.1)  # lost, or late


async def test_another_answer_than_ok_is_noted(emulator: Emulator, desk: Any, application: Application) -> None:
    application.answer, application.status = b"x" * 1000, 503
    desk.one(callback=application.url)
    emulator.clock.advance(seconds=10)
    await emulator.settled()
    (call,) = emulator.callbacks
    assert (call.answer_status, call.answer, call.acknowledged, call.failure) == (503, "x" * 200, False, None)


async def test_no_answer_is_noted(
    emulator: Emulator, desk: Any, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE", 0.05)
    application.gate.clear()
    desk.one(callback=application.url)
    emulator.clock.advance(seconds=10)
    await emulator.settled()
    [call] = emulator.callbacks
    assert call.failure == "TimeoutError"


async def test_a_callback_that_reaches_no_server_is_recorded(emulator: Emulator, desk: Any) -> None:
    desk.one(callback="http://127.0.0.1:1/")
    emulator.clock.advance(seconds=10)
    await emulator.settled()
    [call] = emulator.callbacks
    assert call.failure == "ConnectError"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_without_an_end_is_read_for_a_while(encoding: str, emulator: Emulator, desk: Any) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode()
    written = 0

    async def endless(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(head)
        with suppress(ConnectionError):
            while True:
                await peer.send(b"x" * 65536)
                written += 65536

    async with raw_server(endless) as application:
        desk.one(callback=f"http://127.0.0.1:{application.port}/")
        emulator.clock.advance(seconds=10)
        await emulator.settled()
    [call] = emulator.callbacks
    assert (call.answer_status, call.answer, call.acknowledged, call.failure) == (200, "x" * 200, False, None)
    assert written < 64 * 1024 * 1024  # what fits into the buffers of the two sockets


@pytest.mark.parametrize("url", ["http://example.com/", "http://10.0.0.1/", "http://localhost.example.com/"])
async def test_others_are_not_called_unasked(url: str, emulator: Emulator, desk: Any) -> None:
    desk.one(callback=url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert [call.failure for call in emulator.callbacks] == ["not loopback", "not loopback"]


async def test_others_are_called_where_that_is_allowed(desk_of: Any, application: Application) -> None:
    emulator = Emulator(allow_remote_callbacks=True)
    desk_of(emulator).one(callback=application.url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert [call.acknowledged for call in emulator.callbacks] == [True, True]


async def test_a_served_emulator_calls_too(desk_of: Any, application: Application) -> None:
    async with Emulator.serve() as emulator:
        desk_of(emulator).one(callback=application.url.replace("127.0.0.1", "localhost"))
        emulator.clock.advance(minutes=1)
        await emulator.settled()
        assert len(application.calls) == 2


async def test_a_reset_forgets_them(emulator: Emulator, desk: Any, application: Application) -> None:
    desk.one(callback=application.url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    emulator.reset()
    assert emulator.callbacks == ()


async def test_a_call_that_is_on_the_wire_at_a_reset_is_not_recorded_for_the_next_message_of_that_number(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.gate.clear()
    old = desk.one(text="old", callback=f"{application.url}/old")["server_id"]
    emulator.clock.advance(minutes=1)
    await application.called()
    emulator.reset()
    new = desk.one(text="new", callback=f"{application.url}/new")["server_id"]
    emulator.clock.advance(seconds=10)
    application.gate.set()
    await emulator.settled()
    assert new == old
    assert [(call.url[-3:], call.status) for call in emulator.callbacks] == [("new", 1)]
    assert sorted(path[-3:] for _, path, _ in application.calls) == ["new", "old"]


async def test_a_call_that_waits_at_a_reset_is_not_made(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.gate.clear()
    desk.send(*({"to": PHONE, "text": str(number), "callback": application.url} for number in range(20)))
    emulator.clock.advance(seconds=10)
    await application.called(callbacks._AT_A_TIME)
    emulator.reset()
    application.gate.set()
    await emulator.settled()
    assert len(application.calls) == callbacks._AT_A_TIME
    assert emulator.callbacks == ()


async def test_a_page_is_sent_nothing_of_a_call_from_before_a_reset(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.gate.clear()
    desk.one(callback=application.url)
    emulator.clock.advance(seconds=10)
    await application.called()
    emulator.reset()
    application.gate.set()
    await emulator.settled()
    assert emulator.feed.after("").server_ids == ()


async def test_no_thread_is_left_behind(emulator: Emulator, desk: Any, application: Application) -> None:
    before = set(threading.enumerate())
    desk.one(callback=application.url)
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    for thread in set(threading.enumerate()) - before:  # the emulator's, and those in which the application answers
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_the_address_is_not_logged(
    emulator: Emulator, desk: Any, application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    desk.one(callback=f"{application.url}/secret?token=secret")
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert application.calls[0][1] == "/status/secret"
    assert "HTTP Request: GET" in caplog.text
    assert "secret" not in caplog.text


def test_the_address_is_not_shown(emulator: Emulator, desk: Any) -> None:
    desk.one(callback="http://10.0.0.1/secret")
    emulator.clock.advance(minutes=1)
    assert "secret" not in repr(emulator.callbacks) + repr(emulator.messages)
