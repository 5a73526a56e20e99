"""Connections: TCP and TLS by asyncio itself, opened, used by one request after another, and lost."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import attrs
import pytest
import uvloop
from manual_clock import idle
from raw_servers import Peer, RawServer, answering, forwarding, hang_after_request, hang_at_once, http, raw_server

from smspilot_async import Client, ConnectionFailed, Reason, Retry, SmsPilotError
from smspilot_async._network import connection as _connection
from smspilot_async._network import socks, ways
from smspilot_async._network.base import Failure, NotBegun, Progress, Reply, Unreachable, WriteLimit
from smspilot_async._network.connection import Stream, connect
from smspilot_async._network.http11 import Connection
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from manual_clock import ManualClock
    from tls import Tls

SENT = (
    b'{"send":[{"id":"7","server_id":"10005","to":"79087964781","status":0,"error":0}],'
    b'"server_packet_id":"1","balance":"1","cost":"1"}'
)
BALANCE = b'{"balance":"1.50","currency":"RUR"}'
A_LOT = 16 * 1024 * 1024  # bytes: more than the buffers of the system hold


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


async def said_by(stream: Stream) -> bytes:
    try:
        return await stream.read_exactly(len(b"welcome"))
    finally:
        stream.abort()


async def has_heard(stream: Stream) -> None:
    """Wait until whatever the other end does next has arrived and the stream knows of it."""
    with suppress(NotBegun):
        while True:
            stream.check_untouched()
            await asyncio.sleep(0)
    await idle()


async def greet(peer: Peer) -> None:
    await peer.send(b"welcome")
    await peer.hang()


async def test_an_address_that_refuses_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(greet) as server:
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        assert await said_by(await connect("gateway.example", server.port)) == b"welcome"


async def test_an_address_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, deaf: int) -> None:
    monkeypatch.setattr(_connection, "_HEAD_START", 0.0)
    async with raw_server(greet, port=deaf) as server:
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        assert await said_by(await connect("gateway.example", server.port)) == b"welcome"


async def test_of_two_addresses_that_answer_one_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Stream] = []
    loop = asyncio.get_running_loop()
    create = loop.create_connection
    both = asyncio.Barrier(2)

    async def create_connection(factory: Callable[[], Stream], _: str, port: int) -> tuple[Any, Stream]:
        made = await create(factory, "127.0.0.1", port)
        streams.append(made[1])
        await both.wait()
        return made

    monkeypatch.setattr(loop, "create_connection", create_connection)
    monkeypatch.setattr(_connection, "_HEAD_START", 0.0)
    async with raw_server(greet) as server:
        resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
        stream = await connect("gateway.example", server.port)
        await idle()
        assert [each.transport.is_closing() for each in streams].count(True) == 1
        assert await said_by(stream) == b"welcome"


async def test_all_addresses_that_fail_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(greet) as server:
        port = server.port
    resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*; .*127\.0\.0\.2"):
        await connect("gateway.example", port)


async def test_a_task_cancelled_while_connecting_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, deaf: int
) -> None:
    resolving(monkeypatch, "127.0.0.2")
    connecting = asyncio.create_task(connect("gateway.example", deaf))
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
    with pytest.raises(Unreachable):
        await connect("gateway.example", 80)
    assert attempts == tried


async def test_small_writes_do_not_wait_for_each_other() -> None:
    async with raw_server(greet) as server:
        stream = await connect("127.0.0.1", server.port)
        sock = stream.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        stream.abort()


# --- reading and writing -------------------------------------------------------------------------


@attrs.frozen
class Line:
    """Both ends of a connection: bare TCP, or TLS over it."""

    server: ssl.SSLContext | None
    client: ssl.SSLContext | None

    async def connect(self, port: int) -> Stream:
        stream = await connect("127.0.0.1", port)
        if self.client is not None:
            await stream.start_tls(self.client, "127.0.0.1")
        return stream


@pytest.fixture(params=["tcp", "tls"])
def line(request: pytest.FixtureRequest, tls: Tls) -> Line:
    return Line(None, None) if request.param == "tcp" else Line(tls.server(), tls.client())


def post(body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def ask(connection: Connection, request: bytes = b"", largest: int = 100_000) -> asyncio.Future[Reply | Failure]:
    progress = Progress()
    answer = connection.ask(request or post(), progress, largest)
    assert progress.request_started is progress.has_begun is True
    return answer


def body_of(answer: Reply | Failure) -> bytes:
    assert isinstance(answer, Reply), answer
    return answer.body


async def test_a_large_request_arrives_as_fast_as_the_other_end_takes_it(line: Line) -> None:
    async with raw_server(answering(http(b"all")), tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        assert body_of(await ask(connection, post(bytes(A_LOT)))) == b"all"
        assert connection.is_usable
        assert server.requests == [post(bytes(A_LOT))]
        connection.abort()


async def test_an_answer_before_the_request_is_wholly_written_counts_and_ends_the_connection(line: Line) -> None:
    async def answer_at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(http(b"no", status="413 Too Large"))
        await peer.writer.drain()
        await asyncio.Event().wait()

    async with raw_server(answer_at_once, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        assert body_of(await ask(connection, post(bytes(A_LOT)))) == b"no"
        assert not connection.may_stay
        connection.abort()


async def test_of_a_large_answer_no_more_is_taken_in_than_may_be(line: Line) -> None:
    async def give(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            await peer.send(bytes(65536))
            await asyncio.sleep(0)

    async with raw_server(give, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        failure = await ask(connection, largest=1_000_000)
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.TOO_LARGE
        assert not connection.may_stay
        connection.abort()


@pytest.mark.parametrize("then", ["closes", "resets", "speaks"])
async def test_a_request_on_a_connection_that_is_known_to_be_lost_is_not_begun(line: Line, then: str) -> None:
    async def script(peer: Peer) -> None:
        if then == "resets":
            peer.reset()
        elif then == "speaks":
            await peer.send(b"\r\n")
            await peer.hang()

    async with raw_server(script, tls=line.server) as server:
        stream = await line.connect(server.port)
        stream.check_untouched()
        connection = Connection(stream)
        while connection.may_stay:  # noqa: ASYNC110 - sockets set no event
            await asyncio.sleep(0)
        progress = Progress()
        progress.has_connection = True
        progress.report()
        with pytest.raises(NotBegun):
            connection.ask(post(), progress, 1000)
        assert not progress.request_started
        connection.abort()


@pytest.mark.parametrize("limit", [None, WriteLimit(not_after=float("inf"), unacknowledged=1.0)])
async def test_a_connection_that_was_closed_here_is_not_written_to(line: Line, limit: WriteLimit | None) -> None:
    async with raw_server(hang_at_once, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        connection.abort()
        with pytest.raises(NotBegun):
            connection.ask(post(), Progress(limit), 1000)
        await idle()
        with pytest.raises(NotBegun):
            connection.ask(post(), Progress(limit), 1000)


@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_a_connection_that_is_lost_under_a_large_request_ends_it(line: Line, ending: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        if ending == "resets":
            peer.reset()

    async with raw_server(script, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        failure = await ask(connection, post(bytes(A_LOT)))
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.request_started) == (Reason.DISCONNECTED, True)
        connection.abort()


async def close(peer: Peer) -> None:
    del peer  # which is closed at the end of its script


async def test_a_peer_that_goes_away_in_the_handshake_leaves_nothing_open(tls: Tls) -> None:
    async with raw_server(close) as server:
        stream = await connect("127.0.0.1", server.port)
        with pytest.raises((NotBegun, Unreachable)):
            await stream.start_tls(tls.client(), "127.0.0.1")
        stream.abort()
        assert stream.transport.is_closing()


# --- one request after another -------------------------------------------------------------------


async def test_a_connection_serves_one_request_after_another(line: Line) -> None:
    async with raw_server(answering(http(b"one"), http(b"two")), tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        for expected in (b"one", b"two"):
            assert connection.is_usable
            assert body_of(await ask(connection)) == expected
        connection.abort()


async def test_a_connection_left_in_the_middle_of_an_answer_is_not_used_again(line: Line) -> None:
    async with raw_server(hang_after_request, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        answer = ask(connection)
        assert not connection.is_usable
        connection.time_out()
        failure = await answer
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.TIMEOUT
        assert not connection.is_usable
        connection.abort()


async def test_unsolicited_bytes_spoil_a_connection(line: Line) -> None:
    is_read = asyncio.Event()

    async def answer_twice(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(b"one"))
        await is_read.wait()
        await peer.send(http(b"never asked for"))
        await peer.hang()

    async with raw_server(answer_twice, tls=line.server) as server:
        connection = Connection(await line.connect(server.port))
        assert body_of(await ask(connection)) == b"one"
        assert connection.is_usable
        is_read.set()
        while connection.is_usable:  # noqa: ASYNC110 - sockets set no event
            await asyncio.sleep(0)
        await idle()
        with pytest.raises(NotBegun, match=r"sent data before the request|was closed"):
            ask(connection)
        connection.abort()


async def cancel_in_the_middle_of_closing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    abort = Connection.abort

    def abort_while_that_is_cancelled(connection: Connection) -> None:
        closing.cancel()
        abort(connection)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "abort", abort_while_that_is_cancelled)
        closing = asyncio.create_task(client.aclose())
        await asyncio.wait([closing])
        assert closing.cancelled()
        await idle()


async def test_closing_that_is_cancelled_leaves_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http(BALANCE))) as server:
        client = Client("API-KEY", url=server.url)
        await asyncio.gather(*(client.balance() for _ in range(5)))
        assert (server.connections, server.gone) == (5, 0)
        await cancel_in_the_middle_of_closing(client, monkeypatch)
        assert server.gone == 5
        await client.aclose()


async def test_a_client_whose_closing_was_cancelled_can_be_entered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http(BALANCE))) as server:
        client = Client("API-KEY", url=server.url)
        await client.balance()
        await cancel_in_the_middle_of_closing(client, monkeypatch)
        async with client:
            assert await client.balance() == Decimal("1.50")


@pytest.mark.parametrize("way", ["https", "http", "socks5"])
async def test_a_question_that_had_no_connection_yet_when_the_client_was_closed_leaves_none(tls: Tls, way: str) -> None:
    goes_on = asyncio.Event()

    async def lead_on(peer: Peer) -> None:
        await goes_on.wait()
        if way == "http":
            await peer.request()
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if way == "socks5":
            await peer.reader.readexactly(3)
            await peer.send(b"\x05\x00")
            await peer.reader.readexactly(10)
            await peer.send(b"\x05\x00\x00\x01" + bytes(6))
        await peer.splice(server.port)

    async with raw_server(answering(http(BALANCE)), tls=tls.server()) as server, raw_server(lead_on) as before:
        proxy = None if way == "https" else f"{way}://127.0.0.1:{before.port}"
        client = Client("API-KEY", url=before.https_url, ssl_context=tls.client(), proxy=proxy)
        question = asyncio.create_task(client.balance())
        await before.has_connection.wait()
        await client.aclose()
        goes_on.set()
        with pytest.raises(ConnectionFailed):
            await question
        async with asyncio.timeout(5):
            while before.gone < before.connections:  # noqa: ASYNC110 - sockets set no event
                await asyncio.sleep(0)
        assert server.requests == []


async def test_a_question_in_the_middle_of_a_handshake_ends_when_the_client_is_closed() -> None:
    async with raw_server(hang_at_once) as server, asyncio.timeout(5):
        client = Client("API-KEY", url=server.https_url)
        question = asyncio.create_task(client.balance())
        await server.has_connection.wait()
        await idle()
        await client.aclose()
        with pytest.raises(ConnectionFailed):
            await question


async def test_a_gateway_that_closes_every_connection_behind_its_answer_is_sent_to_all_the_same() -> None:
    async with Emulator.serve() as emulator, Client(emulator.api_key, url=emulator.url) as client:
        emulator.unknowns.connection_close = True
        for number in range(5):  # one after another: each of them might take the connection of the last
            await client.send("79087964781", f"text {number}")
        await asyncio.gather(*(client.send("79087964782", f"text {number}", id=number) for number in range(50)))
        assert len(await client.check([message.server_id for message in emulator.messages])) == 55
    assert len(emulator.messages) == 55


# --- more than an answer -------------------------------------------------------------------------

FIRST = b'{"send":[{"id":0,"server_id":"10005","status":0,"error":0}]}'
SECOND = b'{"send":[{"id":0,"server_id":"10006","status":0,"error":0}]}'
REFUSAL = b'{"error":{"code":"106","description":"blocked"}}'


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@asynccontextmanager
async def saying_at_first(answer: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[RawServer]:
    """A server that says all this at once to its first request, and answers those on other connections as it should."""

    async def say(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.hang()

    async def script(peer: Peer) -> None:
        await (say if server.connections == 1 else answering(http(SECOND)))(peer)

    async with raw_server(script, tls=tls) as server:
        yield server


async def two_sends(url: str, **options: Any) -> list[str | None]:
    """Send two messages, one after the other; return the gateway's numbers for them, or what it said instead."""
    told = []
    async with Client("API-KEY", url=url, max_connections=1, timeout=5.0, retry=Retry(attempts=1), **options) as client:
        for text in ("first", "second"):
            try:
                told.append((await client.send("79087964781", text)).server_id)
            except SmsPilotError as error:
                told.append(type(error).__name__)
    return told


BEHIND = [
    pytest.param(http(REFUSAL), id="a whole answer"),
    pytest.param(http(REFUSAL)[:9], id="half an answer"),
    pytest.param(b"\r\n", id="an end of line"),
]


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("framed", [http, chunked])
@pytest.mark.parametrize(("answer", "told"), [(FIRST, "10005"), (REFUSAL, "AccountBlocked")])
async def test_what_comes_in_one_piece_with_an_answer_is_no_answer_to_the_next_request(
    line: Line, answer: bytes, told: str, framed: Callable[[bytes], bytes], behind: bytes
) -> None:
    async with saying_at_first(framed(answer) + behind, tls=line.server) as server:
        url = server.url if line.server is None else server.https_url
        assert await two_sends(url, ssl_context=line.client) == [told, "10006"]
        assert server.connections == len(server.requests) == 2


@pytest.mark.parametrize("behind", BEHIND)
async def test_the_same_through_a_tunnel(tls: Tls, behind: bytes) -> None:
    async with (
        saying_at_first(http(FIRST) + behind, tls=tls.server()) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        told = await two_sends(server.https_url, ssl_context=tls.client(), proxy=proxy.proxy_url)
        assert told == ["10005", "10006"]
        assert server.connections == len(server.requests) == 2


@asynccontextmanager
async def saying_twice_at_first(tls: ssl.SSLContext) -> AsyncGenerator[RawServer]:
    """A server that answers its first request twice: at once, and each time in a TLS record of its own."""

    async def say(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(http(FIRST))
        peer.writer.write(http(REFUSAL))
        await peer.hang()

    async def script(peer: Peer) -> None:
        await (say if server.connections == 1 else answering(http(SECOND)))(peer)

    async with raw_server(script, tls=tls) as server:
        yield server


@pytest.mark.parametrize(("by_https", "piece"), [(False, 65536), (True, 65536), (True, 1)])
async def test_a_second_answer_in_a_tls_record_of_its_own_is_no_answer_to_the_next_request(
    tls: Tls, *, by_https: bool, piece: int
) -> None:
    async with (
        saying_twice_at_first(tls.server()) as server,
        raw_server(forwarding(server.port, piece), tls=tls.server() if by_https else None) as proxy,
    ):
        url = f"https://127.0.0.1:{proxy.port}" if by_https else proxy.proxy_url
        assert await two_sends(server.https_url, ssl_context=tls.client(), proxy=url) == ["10005", "10006"]
        assert server.connections == len(server.requests) == 2


async def test_the_same_from_an_https_proxy_and_without_one(tls: Tls) -> None:
    async with saying_twice_at_first(tls.server()) as proxy:
        by_proxy = {"allow_http": True, "proxy": f"https://127.0.0.1:{proxy.port}", "ssl_context": tls.client()}
        assert await two_sends("http://gateway.test/api2.php", **by_proxy) == ["10005", "10006"]
        assert proxy.connections == len(proxy.requests) == 2
    async with saying_twice_at_first(tls.server()) as server:
        assert await two_sends(server.https_url, ssl_context=tls.client()) == ["10005", "10006"]
        assert server.connections == len(server.requests) == 2


@pytest.mark.parametrize("behind", BEHIND)
async def test_the_same_from_a_proxy(behind: bytes) -> None:
    async with saying_at_first(http(FIRST) + behind) as proxy:
        told = await two_sends("http://gateway.test/api2.php", allow_http=True, proxy=proxy.proxy_url)
        assert told == ["10005", "10006"]
        assert proxy.connections == len(proxy.requests) == 2


async def test_closing_such_a_connection_does_not_hold_its_answer_up(monkeypatch: pytest.MonkeyPatch) -> None:
    abort = Connection.abort

    def abort_while_the_caller_is_cancelled(connection: Connection) -> None:
        asyncio.get_running_loop().call_soon(question.cancel)
        abort(connection)

    monkeypatch.setattr(Connection, "abort", abort_while_the_caller_is_cancelled)
    async with saying_at_first(http(BALANCE) + b"\r\n") as server, Client("API-KEY", url=server.url) as client:
        question = asyncio.create_task(client.balance())
        assert await question == Decimal("1.50")


async def test_after_nothing_but_an_answer_a_connection_is_used_again(line: Line) -> None:
    async with raw_server(answering(http(FIRST), chunked(SECOND)), tls=line.server) as server:
        url = server.url if line.server is None else server.https_url
        assert await two_sends(url, ssl_context=line.client) == ["10005", "10006"]
        assert server.connections == 1


async def test_a_tunnel_is_used_again_too(tls: Tls) -> None:
    async with (
        raw_server(answering(http(FIRST), chunked(SECOND)), tls=tls.server()) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        told = await two_sends(server.https_url, ssl_context=tls.client(), proxy=proxy.proxy_url)
        assert told == ["10005", "10006"]
        assert server.connections == proxy.connections == 1


async def test_a_tunnel_by_an_https_proxy_is_used_again_too(tls: Tls) -> None:
    async with (
        raw_server(answering(http(FIRST), chunked(SECOND)), tls=tls.server()) as server,
        raw_server(forwarding(server.port), tls=tls.server()) as proxy,
    ):
        url = f"https://127.0.0.1:{proxy.port}"
        assert await two_sends(server.https_url, ssl_context=tls.client(), proxy=url) == ["10005", "10006"]
        assert server.connections == proxy.connections == 1


async def test_a_connection_to_a_proxy_is_used_again_too() -> None:
    async with raw_server(answering(http(FIRST), chunked(SECOND))) as proxy:
        told = await two_sends("http://gateway.test/api2.php", allow_http=True, proxy=proxy.proxy_url)
        assert told == ["10005", "10006"]
        assert proxy.connections == 1


# --- gone, or heard of, before the first byte ----------------------------------------------------


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes on an idle connection comes in the moment after it was looked for."""
    monkeypatch.setattr(Connection, "is_usable", property(lambda _: True))


async def speak(peer: Peer) -> None:
    await peer.send(http(REFUSAL, status="408 Request Timeout"))
    await peer.hang()


async def reset(peer: Peer) -> None:
    peer.reset()


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("then", [close, reset, speak])
async def test_a_connection_that_is_lost_as_a_request_begins_makes_room_for_another(
    line: Line, then: Callable[[Peer], Awaitable[None]]
) -> None:
    is_answered = asyncio.Event()

    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(FIRST))
        await is_answered.wait()
        await then(peer)

    async def script(peer: Peer) -> None:
        await (answer_once if server.connections == 1 else answering(http(SECOND)))(peer)

    async with raw_server(script, tls=line.server) as server:
        url = server.url if line.server is None else server.https_url
        retry = Retry(attempts=1)
        async with Client("API-KEY", url=url, ssl_context=line.client, max_connections=1, retry=retry) as client:
            await client.send("79087964781", "first")
            is_answered.set()
            await idle()
            assert (await client.send("79087964781", "second")).server_id == "10006"
        assert server.connections == len(server.requests) == 2


@pytest.mark.usefixtures("unseen")
async def test_where_no_other_can_be_had_nothing_was_sent() -> None:
    async with raw_server(answering_once) as server:
        client = Client("API-KEY", max_connections=1, retry=Retry(attempts=1), url=server.url)
        await client.send("79087964781", "first")
    with pytest.raises(ConnectionFailed):
        await client.send("79087964781", "second")
    await client.aclose()


async def answering_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(http(FIRST))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other end does first has arrived before anything is done with a new connection."""

    async def connecting(host: str, port: int) -> Stream:
        stream = await connect(host, port)
        await has_heard(stream)
        return stream

    monkeypatch.setattr(ways, "connect", connecting)
    monkeypatch.setattr(socks, "connect", connecting)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("first", [close, reset, speak])
async def test_a_server_that_is_gone_or_speaks_before_it_is_asked_was_sent_nothing(
    first: Callable[[Peer], Awaitable[None]],
) -> None:
    async with raw_server(first) as server:
        assert await two_sends(server.url) == ["ConnectionFailed", "ConnectionFailed"]
        assert server.requests == []


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("first", [close, reset])
async def test_a_socks_proxy_that_is_gone_before_it_is_asked_is_named(
    first: Callable[[Peer], Awaitable[None]],
) -> None:
    async with raw_server(first) as proxy:
        client = Client("API-KEY", proxy=f"socks5://127.0.0.1:{proxy.port}", retry=Retry(attempts=1))
        with pytest.raises(ConnectionFailed, match="the SOCKS proxy hung up"):
            await client.send("79087964781", "text")
        await client.aclose()


@pytest.mark.usefixtures("late")
async def test_what_somebody_on_the_way_says_in_the_clear_is_not_taken_for_the_servers_answer(tls: Tls) -> None:
    async def meddle(peer: Peer) -> None:
        await peer.send(http(FIRST))
        await peer.splice(server.port)

    async with (
        raw_server(answering(http(SECOND)), tls=tls.server()) as server,
        raw_server(meddle) as meddler,
        Client("API-KEY", url=meddler.https_url, ssl_context=tls.client(), retry=Retry(attempts=1)) as client,
    ):
        with pytest.raises(ConnectionFailed, match="sent data before the request"):
            await client.send("79087964781", "text")
    assert server.requests == []


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("first", [close, reset, speak])
async def test_a_server_that_is_gone_or_speaks_before_the_handshake_is_not_waited_for(
    tls: Tls, first: Callable[[Peer], Awaitable[None]]
) -> None:
    async with raw_server(first) as server, asyncio.timeout(10):  # a handshake with no peer would take longer
        stream = await connect("127.0.0.1", server.port)
        await has_heard(stream)
        with pytest.raises(NotBegun):
            await stream.start_tls(tls.client(), "127.0.0.1")


# --- what the loop does not tell -----------------------------------------------------------------


@pytest.mark.parametrize("news", ["bytes", "the end"])
async def test_what_the_loop_has_not_reported_yet_is_seen(news: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(await connect("127.0.0.1", listener.getsockname()[1]))
        with listener.accept()[0] as peer:
            assert connection.is_usable
            if news == "bytes":
                peer.sendall(b"never asked for")
        assert not connection.is_usable  # there was no turn of the loop in between
        connection.abort()


async def test_a_context_that_offers_another_protocol_gets_this_one(tls: Tls) -> None:
    context, server_context = tls.client(), tls.server()
    context.set_alpn_protocols(["h2", "http/1.1"])
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(http(SENT))(peer)

    async with (
        raw_server(script, tls=server_context) as server,
        Client("API-KEY", url=server.https_url, ssl_context=context) as client,
    ):
        await client.send("79087964781", "text", id=7)
    assert chosen == ["http/1.1"]


async def test_a_connection_whose_write_was_interrupted_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as by Ctrl+C: its answer is still to come, and would be read as that of the next request."""
    made = Stream.connection_made
    writes: list[bytes] = []

    def connection_made(stream: Stream, raw: Any) -> None:
        def write(data: bytes) -> None:
            raw.write(data)
            writes.append(data)
            if len(writes) == 1:
                raise RuntimeError("interrupted")

        transport = Mock(wraps=raw, write=write)
        made(stream, transport)

    monkeypatch.setattr(Stream, "connection_made", connection_made)
    async with raw_server(answering(http(BALANCE))) as server, Client("API-KEY", url=server.url) as client:
        assert await client.balance() == Decimal("1.50")  # a free question is asked again
        assert (len(writes), server.connections) == (2, 2)


async def test_it_runs_on_uvloop(tls: Tls) -> None:
    async def send(url: str) -> str | None:
        async with Client("API-KEY", url=url, ssl_context=tls.client()) as client:
            return (await client.send("79087964781", "text", id=7)).server_id

    def run(url: str) -> str | None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(send(url))

    async with raw_server(answering(http(SENT)), tls=tls.server()) as server:
        assert await asyncio.to_thread(run, server.https_url) == "10005"


# --- which one is used ---------------------------------------------------------------------------


async def test_the_idle_connection_that_was_used_last_is_used_next_and_the_others_end_in_time(
    manual_clock: ManualClock,
) -> None:
    users: list[Peer] = []
    are_three = asyncio.Barrier(3)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            users.append(peer)
            if len(users) <= 3:
                await are_three.wait()
            await peer.send(http(BALANCE))

    async with raw_server(script) as server, Client("API-KEY", url=server.url) as client:
        await asyncio.gather(*(client.balance() for _ in range(3)))
        await manual_clock.advance(3)
        for _ in range(3):
            await client.balance()
        assert len(set(users[3:])) == 1
        assert (server.connections, server.gone) == (3, 0)
        await manual_clock.advance(2)  # the two others were idle for five seconds
        await client.balance()
        await idle()
        assert users[-1] is users[-2]
        assert (server.connections, server.gone) == (3, 2)
