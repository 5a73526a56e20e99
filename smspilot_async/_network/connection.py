"""One connection to the gateway, without an http proxy: httpcore's HTTP/1.1 over asyncio's own TCP and TLS.

httpcore would take anyio's, which give the event loop a turn at every read and write, and do TLS in Python: an exchange
of 200 messages over TLS then takes half as much CPU again (measured: 707 µs against 481). Nothing here keeps a
time-out: the transport has one for the whole exchange.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import select
import socket
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import httpcore

from smspilot_async._network.base import NotBegun

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

Function = TypeVar("Function", bound="Callable[..., Any]")

_HEAD_START: Final = 0.25  # seconds that an address has before the next one is tried beside it (RFC 8305)
_MUCH: Final = 256 * 1024  # bytes that may wait to be read before the other end has to wait


def genuine(method: Function, package: str) -> Function | None:
    """Return a method as its package defines it; ``None`` where a test's mock stands in its place already."""
    return method if method.__module__.partition(".")[0] == package else None


_POOL: Final = genuine(httpcore.AsyncConnectionPool.handle_async_request, "httpcore")


class Connection:
    """A connection for one request at a time: opened when it is needed.

    It is opened anew if it was closed, was idle for long, or was left in the middle of an answer. It stands in
    the place of httpcore's pool, which has nothing to choose from where each request has a connection of its own.

    Args:
        context: For TLS.
        network: The way to sockets: straight, or through a SOCKS proxy.
        longest_idle: Seconds for which it may be idle and is still used again.
    """

    def __init__(self, context: ssl.SSLContext, network: Network, *, longest_idle: float) -> None:
        self._context = context
        self._network = network
        self._longest_idle = longest_idle
        self._current: httpcore.AsyncHTTPConnection | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request; the response is to be closed before the next one.

        Raises:
            NotBegun: The other end was gone, or spoke unasked, as soon as the connection stood.
        """
        if httpcore.AsyncConnectionPool.handle_async_request is not _POOL:
            return await self._by_pool(request)
        current = self._current
        if current is not None and current.is_idle() and not current.has_expired():
            with suppress(NotBegun):  # it went in the very last moment
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
        """Send a request by httpcore's own pool, since a test has put a mock in its place."""
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
        """The open ones, if there are any: so httpcore's pool names its own."""
        open_ones: list[httpcore.AsyncConnectionInterface] = [] if self._current is None else [self._current]
        return open_ones if self._pool is None else open_ones + self._pool.connections

    async def aclose(self) -> None:
        """Close it. The next request opens it again."""
        current, self._current = self._current, None
        pool, self._pool = self._pool, None
        if current is not None:
            await current.aclose()
        if pool is not None:
            await pool.aclose()


class Network(httpcore.AsyncNetworkBackend):
    """How httpcore gets at sockets."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host, as :meth:`connect` does."""
        del timeout, local_address, socket_options
        return await self.connect(host, port)

    async def connect(self, host: str, port: int) -> Stream:
        """Connect to whichever address of a host answers first.

        Raises:
            httpcore.ConnectError: None did.
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
    """A connected socket: what asyncio tells of it on one side, what httpcore asks on the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._has_ended = False
        self._error: Exception | None = None
        self._is_paused = False  # the other end has to wait until something is read
        self._is_full = False  # the system has no room for what we write
        self._is_asking = False  # a part of a request was written since something was read
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # --- what asyncio tells ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what has come until it is read."""
        self._received += data
        if len(self._received) > _MUCH and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Take the end for the end of both directions: asyncio closes the socket."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, for good or for a reason."""
        self._end(exc)

    def pause_writing(self) -> None:
        """Wait with what else is to be written."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on writing."""
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
        return "the connection was closed" if self._has_ended else "the other end spoke before it was asked"

    # --- what httpcore asks ----------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        """Return what has come, once something has; nothing at the end.

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
        """Hand bytes to the system, and wait while it has no room for more.

        Raises:
            httpcore.WriteError: The connection is closed, or broke.
            NotBegun: It was closed before the request began, or something has come that can be no answer to it.
        """
        del timeout
        if not buffer:
            return
        if not self._is_asking and (self._received or self._has_ended):
            raise NotBegun(self._why_not())
        self._is_asking = True
        if not self._has_ended:  # afterwards asyncio would drop them in silence
            self._transport.write(buffer)
        while self._is_full and not self._has_ended:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        if self._has_ended:
            raise httpcore.WriteError(self._why_not())

    async def aclose(self) -> None:
        """Close it at once; what was not written is not written any more."""
        if self._loop.is_closed():
            return  # it goes with its event loop, which can wait for nothing
        self._transport.abort()
        await asyncio.sleep(0)  # in which asyncio closes the socket

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands.

        Raises:
            httpcore.ConnectError: The other end is not who it should be, went away, or speaks no TLS.
        """
        del timeout
        if self._received or self._has_ended:
            # What came in the clear, from anybody on the way, would be read as if it had come over TLS; and with nobody
            # there asyncio would wait for the handshake all the same.
            failure = httpcore.ConnectError(self._why_not())
            await self.aclose()
            raise failure
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        if secured is None:  # so asyncio tells that the other end went away in the last moment
            raise httpcore.ConnectError("the connection was closed in the TLS handshake")
        self._transport = secured
        return self

    def get_extra_info(self, info: str) -> Any:
        """Tell whether there is something to be read, an end among it, and what else asyncio knows."""
        if info == "is_readable":
            return bool(self._received) or self._has_ended or _is_readable(self._transport)
        return self._transport.get_extra_info(info)


def keeps_more(connection: Any) -> bool:
    """Tell whether bytes that came in one piece with an answer are kept, and would be taken for the next one.

    Neither httpcore nor anyio, whose TLS it takes on the way through a proxy, has a public word for them. Where they
    are not found in what these keep to themselves, the connection is not trusted.
    """
    while hasattr(connection, "_connection"):
        connection = connection._connection  # noqa: SLF001
    kept = getattr(getattr(connection, "_h11_state", None), "trailing_data", None)
    return kept is None or bool(kept[0]) or _keeps_records(getattr(connection, "_network_stream", None))


def _keeps_records(stream: Any) -> bool:
    """Tell whether TLS has records that it has not opened yet: anyio opens one at a time, and no socket shows the rest.

    asyncio opens all of them at once, and has handed them to a :class:`Stream`.
    """
    layer: Any = getattr(stream, "_stream", None)
    while hasattr(layer, "transport_stream"):  # anyio's TLS, which to import would cost each start some milliseconds
        records = getattr(layer, "_read_bio", None)
        if records is None or records.pending:
            return True
        layer = layer.transport_stream  # an https proxy's, which carries the gateway's
    return False


def _in_turn(found: Iterable[tuple[Any, ...]]) -> list[str]:
    """Bring addresses into an order in which IPv6 and IPv4 take turns; the system's first stays the first."""
    by_family: defaultdict[int, list[str]] = defaultdict(list)
    for family, _, _, _, address in found:
        by_family[family].append(address[0])
    turns = itertools.zip_longest(*by_family.values())
    return list(dict.fromkeys(address for turn in turns for address in turn if address is not None))


async def _connected(address: str, port: int) -> tuple[asyncio.Transport, Stream]:
    try:
        return await asyncio.get_running_loop().create_connection(Stream, address, port)
    except OSError as error:
        # Each event loop has words of its own for it; the system's are the ones to look for.
        number = error.errno or 0
        why = os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
        there = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise OSError(f"no connection to {there}: {why}") from error


async def _first_to_answer(addresses: Iterable[str], port: int) -> Stream:
    """Try address after address, each beside those that have not answered after a moment; the first one wins.

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
    """Close what was connected too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def _is_readable(transport: asyncio.BaseTransport) -> bool:
    """Look whether something came of which the event loop has not told yet."""
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
