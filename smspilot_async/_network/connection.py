"""One connection to the gateway, without an HTTP proxy: httpcore's HTTP/1.1 over asyncio's own TCP and TLS.

httpcore would use anyio, which yields to the event loop at every read and write, and does TLS in Python: an exchange of
200 messages over TLS then takes half as much CPU again (measured: 707 µs against 481). There are no timeouts here: the
transport has one for the whole exchange.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import select
import socket
import struct
import sys
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import httpcore

from smspilot_async._network.base import NotBegun, Progress

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from smspilot_async._network.base import WriteLimit

Function = TypeVar("Function", bound="Callable[..., Any]")

_HEAD_START: Final = 0.25  # seconds before the next address is tried concurrently (RFC 8305)
_MUCH: Final = 256 * 1024  # bytes that are buffered before reading is paused
USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)
"""How long the system tries to deliver what was written: an option of Linux."""
_LINGER: Final = "hh" if sys.platform == "win32" else "ii"
_HARD, _SOFT = struct.pack(_LINGER, 1, 0), struct.pack(_LINGER, 0, 0)  # hard: closing forgets what was not delivered


def genuine(method: Function, package: str) -> Function | None:
    """Return a method as its package defines it; ``None`` if a test has already mocked it."""
    return method if method.__module__.partition(".")[0] == package else None


_POOL: Final = genuine(httpcore.AsyncConnectionPool.handle_async_request, "httpcore")


class Connection:
    """A connection for one request at a time, opened when needed.

    It is reopened if it was closed, idle for too long, or left in the middle of an answer. It replaces httpcore's pool,
    which has nothing to choose from here, since each concurrent request has its own connection.

    Args:
        context: For TLS.
        network: Opens sockets, directly or through a SOCKS proxy.
        longest_idle: Seconds for which an idle connection may be reused.
    """

    def __init__(self, context: ssl.SSLContext, network: Network, *, longest_idle: float) -> None:
        self._context = context
        self._network = network
        self._longest_idle = longest_idle
        self._current: httpcore.AsyncHTTPConnection | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; the response must be closed before the next one.

        Raises:
            NotBegun: The peer closed the new connection, or sent data unasked, before the request.
        """
        progress = request.extensions.get("trace")
        self._network.limit = progress.limit if isinstance(progress, Progress) else None
        if httpcore.AsyncConnectionPool.handle_async_request is not _POOL:
            return await self._by_pool(request)
        current = self._current
        if current is not None and current.is_idle() and not current.has_expired():
            with suppress(NotBegun):  # it was closed at the last moment
                return await current.handle_async_request(request)
        await self.aclose()
        self._current = httpcore.AsyncHTTPConnection(
            request.url.origin,
            ssl_context=self._context,
            keepalive_expiry=self._longest_idle,
            network_backend=self._network,
        )
        return await self._current.handle_async_request(request)

    async def _by_pool(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request by httpcore's own pool, since a test has mocked that."""
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._context,
                max_connections=1,
                keepalive_expiry=self._longest_idle,
                network_backend=self._network,
            )
        return await self._pool.handle_async_request(request)

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        """The open connections, like the attribute of httpcore's pool."""
        open_ones: list[httpcore.AsyncConnectionInterface] = [] if self._current is None else [self._current]
        return open_ones if self._pool is None else open_ones + self._pool.connections

    async def aclose(self) -> None:
        """Close it. The next request reopens it."""
        current, self._current = self._current, None
        pool, self._pool = self._pool, None
        if current is not None:
            if current.is_idle():
                self._network.limit = None  # it was answered
            await current.aclose()
        if pool is not None:
            await pool.aclose()


class Network(httpcore.AsyncNetworkBackend):
    """Opens sockets for httpcore.

    Attributes:
        limit: Of the request that is under way.
    """

    limit: WriteLimit | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host by :meth:`connect`."""
        del timeout, local_address, socket_options
        stream = await self.connect(host, port)
        stream.network = self
        return stream

    async def connect(self, host: str, port: int) -> Stream:
        """Connect to the address of a host that answers first.

        Raises:
            httpcore.ConnectError: None answered.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # the codec of international names has limits of its own
            why = error.strerror if isinstance(error, OSError) else "it is not a host's name"
            raise httpcore.ConnectError(f"{host} cannot be resolved: {why}") from error
        if not found:
            raise httpcore.ConnectError(f"{host} cannot be resolved: it has no address")
        try:
            return await _first_to_answer(_in_turn(found), port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error


class Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A connected socket: an asyncio protocol with the interface that httpcore expects.

    A request with a :class:`WriteLimit` is written in one piece, in the step that compares the time: httpcore writes
    head and body apart, and this process could be stopped between them. Until it is answered, closing the socket in
    whatever way, also by a kill, forgets what was not delivered. Measured without that: a request that had been written
    into a cut path arrived 26 s after its sender was killed.

    Attributes:
        network: Knows the limit of the request that is under way; ``None`` while connecting.
    """

    network: Network | None = None

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._has_ended = False
        self._error: Exception | None = None
        self._is_paused = False  # reading is paused until the buffer is consumed
        self._is_full = False  # the system's send buffer is full
        self._is_asking = False  # part of a request was written since the last read
        self._unwritten = bytearray()  # of a request with a limit
        self._is_hard = False  # closing forgets what was not delivered
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # --- called by asyncio -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Buffer data until it is read."""
        self._received += data
        if len(self._received) > _MUCH and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Treat an end of input as the end of the connection: asyncio closes the socket."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection was closed or lost."""
        self._end(exc)

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Wake waiting writers."""
        self._is_full = False
        _wake(self._writer)

    def _end(self, error: Exception | None) -> None:
        self._has_ended = True
        self._error = self._error or error
        _wake(self._reader)
        _wake(self._writer)

    def _why_not(self) -> str:
        if self._error is not None:
            return str(self._error)
        return "the connection was closed" if self._has_ended else "the other end sent data before the request"

    # --- called by httpcore ----------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        """Return the buffered data, once there is some; empty at the end.

        Raises:
            httpcore.ReadError: The connection broke.
        """
        del timeout
        self._is_asking = False
        while not self._received and not self._has_ended:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        if not self._received and self._error is not None:
            raise httpcore.ReadError(str(self._error))
        data, self._received = self._received, bytearray()
        if len(data) > max_bytes:
            self._received = data[max_bytes:]
            del data[max_bytes:]
        if self._is_paused and len(self._received) <= _MUCH:
            self._is_paused = False
            self._transport.resume_reading()
        return bytes(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        """Write bytes, and wait while the system's send buffer is full.

        Raises:
            httpcore.WriteError: The connection is closed, or broke.
            NotBegun: It was closed before the request began, or data arrived that cannot be its answer.
            TooLate: The request's time is over.
        """
        del timeout
        if (limit := self._limit) is not None:
            self._unwritten += buffer
            if buffer:  # httpcore writes nothing at the end of a request
                return
            buffer, self._unwritten = bytes(self._unwritten), bytearray()
        if not buffer:
            return
        if not self._is_asking and (self._received or self._has_ended):
            raise NotBegun(self._why_not())
        if limit is not None:
            self._harden(limit)
            limit.check()  # last: nothing may come between it and the write
        self._is_asking = True
        if not self._has_ended:  # otherwise asyncio would silently drop them
            self._transport.write(buffer)
        while self._is_full and not self._has_ended:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        if self._has_ended:
            raise httpcore.WriteError(self._why_not())

    @property
    def _limit(self) -> WriteLimit | None:
        return None if self.network is None else self.network.limit

    def _harden(self, limit: WriteLimit) -> None:
        """Have the system forget what it does not deliver soon, and everything once the socket is closed.

        Raises:
            NotBegun: The socket is closed already.
        """
        self._is_hard = True
        sock = self._transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD)
            if USER_TIMEOUT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, int(limit.unacknowledged * 1000))
        except OSError as error:
            raise NotBegun("the connection was closed") from error

    async def aclose(self) -> None:
        """Close it at once; buffered data is not written."""
        if self._loop.is_closed():
            return  # it ended with its event loop, in which nothing can be awaited
        if self._is_hard and self._limit is None:
            with suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SOFT)
        self._transport.abort()
        await asyncio.sleep(0)  # in which asyncio closes the socket

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """Do the TLS handshake.

        Raises:
            httpcore.ConnectError: The peer's certificate is invalid, or it hung up, or does not speak TLS.
        """
        del timeout
        if self._received or self._has_ended:
            # Data that came in clear, from anyone on the way, would be read as if it had come over TLS; and with the
            # connection closed, asyncio would still wait for the handshake.
            failure = httpcore.ConnectError(self._why_not())
            await self.aclose()
            raise failure
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        if secured is None:  # asyncio's way to say that the peer closed the connection at the last moment
            raise httpcore.ConnectError("the connection was closed in the TLS handshake")
        self._transport = secured
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return whether there is something to read, including an end of input, or other information of asyncio's."""
        if info == "is_readable":
            return bool(self._received) or self._has_ended or _is_readable(self._transport)
        return self._transport.get_extra_info(info)


def keeps_more(connection: Any) -> bool:
    """Return whether bytes that arrived together with an answer are buffered, and would be read as the next answer.

    Neither httpcore nor anyio, whose TLS it uses through a proxy, makes them public. If their private buffers are not
    found, the connection is not trusted.
    """
    while hasattr(connection, "_connection"):
        connection = connection._connection  # noqa: SLF001
    kept = getattr(getattr(connection, "_h11_state", None), "trailing_data", None)
    return kept is None or bool(kept[0]) or _keeps_records(getattr(connection, "_network_stream", None))


def _keeps_records(stream: Any) -> bool:
    """Return whether TLS has records that are not decrypted: anyio decrypts one at a time; no socket shows the rest.

    asyncio decrypts all of them at once, and has passed them to a :class:`Stream`.
    """
    layer: Any = getattr(stream, "_stream", None)
    while hasattr(layer, "transport_stream"):  # anyio's TLS; importing it would cost each start some milliseconds
        records = getattr(layer, "_read_bio", None)
        if records is None or records.pending:
            return True
        layer = layer.transport_stream  # that of an https proxy, below the gateway's
    return False


def _in_turn(found: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return addresses with IPv6 and IPv4 alternating; the system's first one stays first."""
    by_family: defaultdict[int, list[str]] = defaultdict(list)
    for family, _, _, _, address in found:
        by_family[family].append(address[0])
    turns = itertools.zip_longest(*by_family.values())
    return list(dict.fromkeys(address for turn in turns for address in turn if address is not None))


async def _connected(address: str, port: int) -> tuple[asyncio.Transport, Stream]:
    try:
        return await asyncio.get_running_loop().create_connection(Stream, address, port)
    except OSError as error:
        # Each event loop words it differently; users search for the system's words.
        number = error.errno or 0
        why = os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
        there = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise OSError(f"no connection to {there}: {why}") from error


async def _first_to_answer(addresses: Iterable[str], port: int) -> Stream:
    """Try addresses one by one, concurrently with those that do not answer quickly; the first to answer wins.

    Raises:
        OSError: None answered.
    """
    loop = asyncio.get_running_loop()
    untried = deque(addresses)
    attempts: set[asyncio.Task[tuple[asyncio.Transport, Stream]]] = set()
    failures: list[str] = []
    try:
        while untried or attempts:
            if untried:
                attempts.add(loop.create_task(_connected(untried.popleft(), port)))
            head_start = _HEAD_START if untried else None
            done, _ = await asyncio.wait(attempts, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                attempts.remove(attempt)
                try:
                    return attempt.result()[1]
                except OSError as error:
                    failures.append(str(error))
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_hang_up)
    raise OSError("; ".join(failures))


def _hang_up(attempt: asyncio.Task[tuple[asyncio.Transport, Stream]]) -> None:
    """Close a connection that came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def _is_readable(transport: asyncio.BaseTransport) -> bool:
    """Return whether data has arrived that the event loop has not delivered yet."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _wake(sleeper: asyncio.Future[None] | None) -> None:
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)
