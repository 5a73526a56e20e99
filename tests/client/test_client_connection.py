"""Connections without a proxy: TCP and TLS by asyncio itself, under httpx and httpcore."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from typing import TYPE_CHECKING, Any

import attrs
import httpcore
import httpx
import pytest
import respx
import uvloop
from manual_clock import idle
from raw_servers import Peer, answering, http, raw_server

from smspilot_async import Client, _connection
from smspilot_async._connection import Connection, Network, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tls import Tls

SENT = (
    b'{"send":[{"id":"7","server_id":"10005","to":"79087964781","status":0,"error":0}],'
    b'"server_packet_id":"1","balance":"1","cost":"1"}'
)
A_LOT = 16 * 1024 * 1024  # bytes: more than the buffers of the system hold


# --- whose calls these are -----------------------------------------------------------------------


async def test_what_respx_puts_in_the_place_of_httpcore_keeps_requests_at_home() -> None:
    async with Client("API-KEY", url="http://127.0.0.1:9/api2.php") as client:
        with respx.mock as router:
            route = router.post("http://127.0.0.1:9/api2.php").respond(content=SENT)
            sent = await client.send("79087964781", "text", id=7)
    assert (sent.server_id, route.call_count) == ("10005", 1)


async def test_what_a_test_puts_in_the_place_of_httpx_keeps_requests_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: object, __: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=SENT)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    async with Client("API-KEY", url="http://127.0.0.1:9/api2.php") as client:
        assert (await client.send("79087964781", "text", id=7)).server_id == "10005"


# --- connecting ----------------------------------------------------------------------------------


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name mean these addresses."""

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[Any, ...]]:
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        pairs = zip(families, addresses, strict=True)
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in pairs]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.fixture
async def deaf() -> AsyncIterator[int]:
    """A port of 127.0.0.2 that takes no connection, and refuses none."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        first.connect(listener.getsockname())  # there is room for no other
        yield listener.getsockname()[1]


async def said_by(stream: httpcore.AsyncNetworkStream) -> bytes:
    try:
        return await stream.read(100)
    finally:
        await stream.aclose()


async def greet(peer: Peer) -> None:
    await peer.send(b"welcome")
    await peer.hang()


async def test_an_address_that_refuses_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(greet) as server:
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        assert await said_by(await Network().connect_tcp("gateway.example", server.port)) == b"welcome"


async def test_an_address_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, deaf: int) -> None:
    monkeypatch.setattr(_connection, "_HEAD_START", 0.0)
    async with raw_server(greet, port=deaf) as server:
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        assert await said_by(await Network().connect_tcp("gateway.example", server.port)) == b"welcome"


async def test_of_two_addresses_that_answer_one_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Stream] = []
    loop = asyncio.get_running_loop()
    connect = loop.create_connection
    both = asyncio.Barrier(2)

    async def create_connection(factory: Callable[[], Stream], _: str, port: int) -> tuple[Any, Stream]:
        made = await connect(factory, "127.0.0.1", port)
        streams.append(made[1])
        await both.wait()
        return made

    monkeypatch.setattr(loop, "create_connection", create_connection)
    monkeypatch.setattr(_connection, "_HEAD_START", 0.0)
    async with raw_server(greet) as server:
        resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
        stream = await Network().connect_tcp("gateway.example", server.port)
        await idle()
        assert [each._transport.is_closing() for each in streams].count(True) == 1
        assert await said_by(stream) == b"welcome"


async def test_all_addresses_that_fail_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(greet) as server:
        port = server.port
    resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
    with pytest.raises(httpcore.ConnectError, match=r"127\.0\.0\.1.*; .*127\.0\.0\.2"):
        await Network().connect_tcp("gateway.example", port)


async def test_whoever_is_cancelled_while_connecting_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, deaf: int
) -> None:
    resolving(monkeypatch, "127.0.0.2")
    connecting = asyncio.create_task(Network().connect_tcp("gateway.example", deaf))
    await idle()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await idle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()  # an open socket would warn


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        (["::1", "::2", "127.0.0.1", "127.0.0.2"], ["::1", "127.0.0.1", "::2", "127.0.0.2"]),
        (["127.0.0.1", "::1", "::2"], ["127.0.0.1", "::1", "::2"]),
        (["127.0.0.1", "127.0.0.1"], ["127.0.0.1"]),
    ],
)
async def test_ipv6_and_ipv4_take_turns(found: list[str], tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, *found)
    attempts: list[str] = []

    async def create_connection(_: object, host: str, __: int) -> None:
        attempts.append(host)
        raise OSError("no way")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    with pytest.raises(httpcore.ConnectError):
        await Network().connect_tcp("gateway.example", 80)
    assert attempts == tried


async def test_small_writes_do_not_wait_for_each_other() -> None:
    async with raw_server(greet) as server:
        stream = await Network().connect_tcp("127.0.0.1", server.port)
        sock = stream.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await stream.aclose()


# --- reading and writing -------------------------------------------------------------------------


@attrs.frozen
class Line:
    """Both ends of a connection: bare TCP, or TLS over it."""

    server: ssl.SSLContext | None
    client: ssl.SSLContext | None

    async def connect(self, port: int) -> httpcore.AsyncNetworkStream:
        stream = await Network().connect_tcp("127.0.0.1", port)
        return stream if self.client is None else await stream.start_tls(self.client, server_hostname="127.0.0.1")


@pytest.fixture(params=["tcp", "tls"])
def line(request: pytest.FixtureRequest, tls: Tls) -> Line:
    return Line(None, None) if request.param == "tcp" else Line(tls.server(), tls.client())


async def test_a_large_write_waits_for_the_other_end() -> None:
    begin, received = asyncio.Event(), 0

    async def take_late(peer: Peer) -> None:
        nonlocal received
        await begin.wait()
        while received < A_LOT:
            received += len(await peer.reader.read(1024 * 1024))
        await peer.send(b"all")
        await peer.hang()

    async with raw_server(take_late) as server:
        stream = await Network().connect_tcp("127.0.0.1", server.port)
        writing = asyncio.create_task(stream.write(bytes(A_LOT)))
        await idle()
        assert not writing.done()
        begin.set()
        await writing
        assert await said_by(stream) == b"all"


async def test_what_nobody_reads_is_not_taken_in(line: Line) -> None:
    sent = asyncio.Event()

    async def give(peer: Peer) -> None:
        await peer.send(bytes(A_LOT))
        sent.set()

    async with raw_server(give, tls=line.server) as server:
        stream = await line.connect(server.port)
        assert isinstance(stream, Stream)
        await server.has_connection.wait()
        await idle()
        assert sent.is_set() is (line.server is not None)  # a server's TLS takes all, and keeps it
        assert len(stream._received) < A_LOT // 4
        received = 0
        while some := await stream.read(1024 * 1024):
            received += len(some)
        assert received == A_LOT
        await stream.aclose()


async def test_writing_to_a_connection_that_was_closed_is_an_error(line: Line) -> None:
    async with raw_server(close, tls=line.server) as server:
        stream = await line.connect(server.port)
        assert await stream.read(1) == b""
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"anybody there?")
        await stream.aclose()


async def test_a_connection_that_closes_under_a_large_write_ends_it() -> None:
    ready = asyncio.Event()

    async def reset_when_told(peer: Peer) -> None:
        await ready.wait()
        peer.reset()

    async with raw_server(reset_when_told) as server:
        stream = await Network().connect_tcp("127.0.0.1", server.port)
        writing = asyncio.create_task(stream.write(bytes(A_LOT)))
        await idle()
        ready.set()
        with pytest.raises(httpcore.WriteError):
            await writing
        await stream.aclose()


async def test_a_reset_is_an_error_for_whoever_reads(line: Line) -> None:
    async with raw_server(reset_when_spoken_to, tls=line.server) as server:
        stream = await line.connect(server.port)
        await stream.write(b"hello")
        with pytest.raises(httpcore.ReadError):
            await stream.read(1)
        await stream.aclose()


async def test_an_empty_write_is_nothing(line: Line) -> None:
    async with raw_server(greet, tls=line.server) as server:
        stream = await line.connect(server.port)
        await stream.write(b"")
        assert await said_by(stream) == b"welcome"


async def close(peer: Peer) -> None:
    del peer  # which is closed at the end of its script


async def reset_when_spoken_to(peer: Peer) -> None:
    await peer.reader.read(1)
    peer.reset()


async def test_a_peer_that_goes_away_in_the_handshake_leaves_nothing_open(tls: Tls) -> None:
    async with raw_server(close) as server:
        stream = await Network().connect_tcp("127.0.0.1", server.port)
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(tls.client(), server_hostname="127.0.0.1")
        assert stream._transport.is_closing()  # type: ignore[attr-defined]


# --- one request after another -------------------------------------------------------------------


def asking(port: int) -> httpcore.Request:
    return httpcore.Request("POST", f"http://127.0.0.1:{port}/", headers={"Host": "x", "Content-Length": "0"})


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    connection = Connection(ssl.create_default_context(), Network(), longest_idle=4.0)
    yield connection
    await connection.aclose()


async def test_a_connection_serves_one_request_after_another(connection: Connection) -> None:
    async with raw_server(answering(http(b"one"), http(b"two"))) as server:
        for expected in (b"one", b"two"):
            response = await connection.handle_async_request(asking(server.port))
            assert await response.aread() == expected
            await response.aclose()
        assert server.connections == 1


async def test_a_connection_left_in_the_middle_of_an_answer_is_not_used_again(connection: Connection) -> None:
    async with raw_server(answering(http(b"one"), http(b"two"))) as server:
        await connection.handle_async_request(asking(server.port))
        response = await connection.handle_async_request(asking(server.port))
        assert await response.aread() == b"two"
        await response.aclose()
        assert server.connections == 2


async def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_request(connection: Connection) -> None:
    is_read = asyncio.Event()

    async def answer_twice(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(b"one"))
        await is_read.wait()
        await peer.send(http(b"never asked for"))
        await peer.hang()

    async def script(peer: Peer) -> None:
        await (answer_twice if server.connections == 1 else answering(http(b"two")))(peer)

    async with raw_server(script) as server:
        response = await connection.handle_async_request(asking(server.port))
        assert await response.aread() == b"one"
        await response.aclose()
        is_read.set()
        await idle()
        response = await connection.handle_async_request(asking(server.port))
        assert await response.aread() == b"two"
        await response.aclose()


@pytest.mark.parametrize("news", ["bytes", "the end"])
async def test_what_the_loop_has_not_told_yet_is_seen(news: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await Network().connect_tcp("127.0.0.1", listener.getsockname()[1])
        with listener.accept()[0] as peer:
            assert not stream.get_extra_info("is_readable")
            if news == "bytes":
                peer.sendall(b"never asked for")
        assert stream.get_extra_info("is_readable")  # there was no turn of the loop in between
        await stream.aclose()


async def test_it_runs_on_uvloop(tls: Tls) -> None:
    async def send(url: str) -> str | None:
        async with Client("API-KEY", url=url, ssl_context=tls.client()) as client:
            return (await client.send("79087964781", "text", id=7)).server_id

    def run(url: str) -> str | None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(send(url))

    async with raw_server(answering(http(SENT)), tls=tls.server()) as server:
        assert await asyncio.to_thread(run, server.https_url) == "10005"
