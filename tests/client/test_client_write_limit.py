# ruff: noqa: ASYNC220, S603 - the program that runs here is ours
"""A request for a ledger: it leaves in time or not at all, in one piece, and nothing of it arrives after its sender."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvloop
from raw_servers import Peer, answering, forwarding, http, raw_server

from smspilot_async import Client, ConnectionFailed, Message, OutcomeUnknown, Packet, SmsPilotError
from smspilot_async._network import base, transport
from smspilot_async._network.connection import Stream
from smspilot_async._network.http11 import Connection
from smspilot_async._tools.clock import boot_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from tls import Tls

MESSAGES = [Message("79087964781", "Ready", id=7)]
SENT = (
    b'{"send":[{"id":"7","server_id":"10005","to":"79087964781","status":0,"error":0}],'
    b'"server_packet_id":"1","balance":"1","cost":"1"}'
)
BALANCE = b'{"balance":"1.50","currency":"RUR"}'


async def send(client: Client, *, within: float = 10.0) -> Packet | SmsPilotError:
    return await client._send_once(MESSAGES, not_after=boot_time() + within, nonce_of=lambda _: b"")


class Wire:
    """What was written on every connection, each write by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes: list[bytes] = []
        self.sockets: list[Any] = []
        made = Stream.connection_made

        def connection_made(stream: Stream, raw: Any) -> None:
            made(stream, raw)
            self.sockets.append(raw.get_extra_info("socket"))
            write = raw.write

            def writing(data: bytes) -> None:
                self.writes.append(bytes(data))
                write(data)

            stream.transport = _Recorded(raw, writing)  # type: ignore[assignment]

        monkeypatch.setattr(Stream, "connection_made", connection_made)


class _Recorded:
    def __init__(self, raw: Any, write: Callable[[bytes], None]) -> None:
        self._raw = raw
        self.write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


# --- in time, or not at all ----------------------------------------------------------------------


async def test_what_is_late_at_any_look_does_not_leave(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Packet | SmsPilotError] = []
    async with raw_server(answering(http(SENT))) as server:
        while not any(isinstance(result, Packet) for result in results):
            looks = iter([0.0] * len(results))
            monkeypatch.setattr(base, "boot_time", lambda looks=looks: boot_time() + next(looks, 100.0))
            async with Client("API-KEY", url=server.url) as client:
                results.append(await send(client))
    assert len(results) == 3  # before a connection is opened, and last of all before the write
    assert all(isinstance(result, ConnectionFailed) for result in results[:-1])
    assert len(server.requests) == len(wire.writes) == 1


async def test_an_idle_connection_that_turns_out_to_be_closed_is_dropped_and_another_one_takes_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Connection] = []
    harden = Connection._harden

    def hardening(connection: Connection, limit: base.WriteLimit) -> None:
        asked.append(connection)
        if len(asked) == 1:
            raise base.NotBegun("the connection was closed")
        harden(connection, limit)

    monkeypatch.setattr(Connection, "_harden", hardening)
    async with (
        raw_server(answering(http(BALANCE), http(SENT))) as server,
        Client("API-KEY", url=server.url) as client,
    ):
        await client.balance()
        assert isinstance(await send(client), Packet)
        first, second = asked
        assert first._transport.is_closing()
        assert second is not first


async def test_nothing_comes_between_the_last_look_and_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the event loop does in between, such as waiting, would be seen here."""
    order: list[str] = []
    check = base.WriteLimit.check

    def checking(limit: base.WriteLimit) -> None:
        check(limit)
        order.append("looked")
        asyncio.get_running_loop().call_soon(order.append, "something else")

    made = Stream.connection_made

    def connection_made(stream: Stream, raw: Any) -> None:
        made(stream, raw)

        def writing(data: bytes) -> None:
            order.append("written")
            raw.write(data)

        stream.transport = _Recorded(raw, writing)  # type: ignore[assignment]

    monkeypatch.setattr(base.WriteLimit, "check", checking)
    monkeypatch.setattr(Stream, "connection_made", connection_made)
    async with raw_server(answering(http(SENT))) as server, Client("API-KEY", url=server.url) as client:
        assert isinstance(await send(client), Packet)
    assert order[:2] == ["looked", "written"]


@pytest.mark.parametrize("proxy", [False, True])
async def test_a_connection_that_took_too_long_is_not_written_to(*, proxy: bool, tls: Tls) -> None:
    is_late = asyncio.Event()

    async def hesitate(peer: Peer) -> None:
        await is_late.wait()
        await (forwarding(server.port)(peer) if proxy else peer.splice(server.port))

    async with raw_server(answering(http(SENT)), tls=tls.server()) as server, raw_server(hesitate) as before:
        url = (server if proxy else before).https_url
        async with Client(
            "API-KEY", url=url, ssl_context=tls.client(), proxy=before.proxy_url if proxy else None
        ) as client:
            asyncio.get_running_loop().call_later(0.2, is_late.set)
            assert isinstance(await send(client, within=0.1), ConnectionFailed)
        assert not server.requests


async def test_a_transport_of_the_users_is_not_asked_late() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=SENT)

    async with Client("API-KEY", transport=httpx.MockTransport(answer)) as client:
        assert isinstance(await send(client, within=-0.01), ConnectionFailed)
        assert not asked
        assert isinstance(await send(client), Packet)


# --- in one piece, and gone with its sender ------------------------------------------------------


async def test_a_request_is_written_in_one_piece(wire: Wire) -> None:
    async with raw_server(answering(http(SENT))) as server, Client("API-KEY", url=server.url) as client:
        assert isinstance(await send(client), Packet)
        assert isinstance(await send(client), Packet)
    assert wire.writes == server.requests
    assert (len(server.requests), server.connections) == (2, 1)


async def ending_of(peer: Peer) -> str:
    try:
        return "closed" if await peer.reader.read() == b"" else "spoke"
    except ConnectionResetError:
        return "reset"


@pytest.mark.parametrize("answers", [True, False])
async def test_only_what_was_not_answered_is_closed_hard(*, answers: bool) -> None:
    endings: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        if answers:
            await peer.send(http(SENT))
        endings.append(await ending_of(peer))

    async with raw_server(script) as server:
        async with Client("API-KEY", url=server.url, timeout=0.2) as client:
            assert isinstance(await send(client), Packet if answers else OutcomeUnknown)
        async with asyncio.timeout(5):
            while not endings:  # noqa: ASYNC110 - sockets set no event
                await asyncio.sleep(0.01)
    assert endings == ["closed" if answers else "reset"]


async def test_a_free_question_on_the_same_connection_has_no_limit(wire: Wire) -> None:
    async with raw_server(answering(http(SENT), http(BALANCE))) as server, Client("API-KEY", url=server.url) as client:
        await send(client)
        await client.balance()
        assert wire.writes == server.requests
        assert server.connections == 1


@pytest.mark.parametrize(("patience", "milliseconds"), [(2.5, 2500), (60.0, 10_000)])
async def test_the_system_gives_up_in_time_what_it_cannot_deliver(
    wire: Wire, patience: float, milliseconds: int, tls: Tls
) -> None:
    async with (
        raw_server(answering(http(SENT)), tls=tls.server()) as server,
        Client("API-KEY", url=server.https_url, ssl_context=tls.client(), timeout=patience) as client,
    ):
        assert isinstance(await send(client), Packet)
        (sock,) = wire.sockets
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds


SENDER = """
import asyncio, sys
from smspilot_async import Client, Message
from smspilot_async._tools.clock import boot_time

async def main():
    async with Client("API-KEY", url=sys.argv[1]) as client:
        message = Message("79087964781", "Ready", id=7)
        await client._send_once([message], not_after=boot_time() + 10, nonce_of=lambda _: b"")

asyncio.run(main())
"""


async def test_a_killed_sender_leaves_nothing_to_deliver() -> None:
    endings: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        os.kill(process.pid, signal.SIGKILL)
        endings.append(await ending_of(peer))

    async with raw_server(script) as server:
        with subprocess.Popen([sys.executable, "-c", SENDER, server.url]) as process:
            assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
        async with asyncio.timeout(5):
            while not endings:  # noqa: ASYNC110 - sockets set no event
                await asyncio.sleep(0.01)
    assert endings == ["reset"]


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_is_written_is_the_systems_at_once(
    make_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the end of the event loop's step: the process may be stopped before."""
    ask = Connection.ask
    arrived = b""

    def asking(connection: Connection, *args: Any) -> Any:
        nonlocal arrived
        answer = ask(connection, *args)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(0.0)
            with contextlib.suppress(BlockingIOError):
                arrived = peer.recv(100_000)
        return answer

    async def main() -> None:
        async with Client("API-KEY", url=f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
            await send(client)

    monkeypatch.setattr(Connection, "ask", asking)
    with socket.create_server(("127.0.0.1", 0)) as listener, asyncio.Runner(loop_factory=make_loop) as runner:
        listener.settimeout(0.0)
        runner.run(main())
    assert arrived.endswith(b"}")


# --- where that cannot be promised ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, None),
        ({"proxy": "http://127.0.0.1:3128"}, "a proxy"),
        ({"proxy": "socks5://127.0.0.1:1080"}, "a proxy"),
        ({"transport": httpx.MockTransport(lambda _: httpx.Response(200))}, "a transport of its own"),
    ],
)
def test_why_bytes_may_come_late_is_said(options: dict[str, Any], why: str | None) -> None:
    late = Client("API-KEY", **options)._late_bytes
    assert late is None if why is None else why in (late or "")


def test_a_proxy_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    assert "a proxy" in (Client("API-KEY")._late_bytes or "")


def test_a_system_without_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "USER_TIMEOUT", None)
    assert "TCP_USER_TIMEOUT" in (Client("API-KEY")._late_bytes or "")
