"""Opening connections: TCP to the address that answers first, and TLS, both by asyncio itself.

A :class:`Stream` lasts until the way to the gateway is made (a proxy's tunnel, TLS); requests are then written and
answers read by :mod:`smspilot_async._network.http11`, which takes its place. There are no timeouts here: the transport
has one for the whole exchange.

Addresses are tried as RFC 8305 has it, with code of our own: asyncio's ``happy_eyeballs_delay`` is refused by uvloop,
and aiohappyeyeballs, a dependency more, opens bare sockets (this library leaves sockets to the event loop) and, where
all addresses fail, raises the last error; here each address is named with its own.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, cast

from smspilot_async._network.base import NotBegun, Unreachable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

_HEAD_START: Final = 0.25  # seconds before the next address is tried concurrently (RFC 8305)
_LONGEST_UNREAD: Final = 256 * 1024  # bytes: no proxy says as much before the tunnel is up


async def connect(host: str, port: int) -> Stream:
    """Connect to the address of a host that answers first.

    Raises:
        Unreachable: None answered.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the codec of international names has limits of its own
        why = error.strerror if isinstance(error, OSError) else "it is not a host's name"
        raise Unreachable(f"{host} cannot be resolved: {why}") from error
    if not found:
        raise Unreachable(f"{host} cannot be resolved: it has no address")
    try:
        return await _first_to_answer(_in_turn(found), port)
    except OSError as error:
        raise Unreachable(str(error)) from error


class Stream(asyncio.Protocol):
    """A connected socket on which the way to the gateway is being made.

    Attributes:
        transport: asyncio's; another one after :meth:`start_tls`.
        transports: That, and those below it, each of which buffers what it is given.
    """

    transport: asyncio.Transport
    transports: list[asyncio.Transport]

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._has_ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    # --- called by asyncio -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transports = [self.transport]

    def data_received(self, data: bytes) -> None:
        """Buffer data until it is read."""
        self._received += data
        if len(self._received) > _LONGEST_UNREAD:
            self.abort()
        self._wake()

    def eof_received(self) -> None:
        """Treat an end of input as the end of the connection: asyncio closes the socket."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection was closed or lost."""
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        self._has_ended = True
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- called while the way is made ------------------------------------------------------------

    def check_untouched(self) -> None:
        """Check that the peer has neither closed the connection nor sent anything that was not read.

        Raises:
            NotBegun: It has.
        """
        if self._error is not None:
            raise NotBegun(str(self._error))
        if self._has_ended:
            raise NotBegun("the connection was closed")
        if self._received:
            raise NotBegun("the other end sent data before the request")

    def write(self, data: bytes) -> None:
        """Write a few bytes to a proxy.

        Raises:
            NotBegun: The connection is closed, or data arrived that cannot be the answer.
        """
        self.check_untouched()
        self.transport.write(data)

    async def read_exactly(self, count: int) -> bytes:
        """Read ``count`` bytes, in however many pieces they arrive.

        Raises:
            EOFError: The connection ended first.
        """
        while len(self._received) < count:
            await self._more()
        return self._take(count)

    async def read_until(self, end: bytes, most: int) -> bytes:
        """Read up to and including ``end``, at most ``most`` bytes.

        Raises:
            EOFError: The connection ended first, or more came.
        """
        while (at := self._received.find(end)) < 0:
            if len(self._received) >= most:
                raise EOFError
            await self._more()
        return self._take(at + len(end))

    async def _more(self) -> None:
        if self._has_ended:
            raise EOFError
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader

    def _take(self, count: int) -> bytes:
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Do the TLS handshake.

        Raises:
            NotBegun: The peer was gone before it, or had sent data in clear.
            Unreachable: The peer's certificate is invalid, or it hung up, or does not speak TLS.
        """
        # Data that came in clear, from anyone on the way, would be read as if it had come over TLS; and with the
        # connection closed, asyncio would still wait for the handshake.
        self.check_untouched()
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self.transport, self, context, server_hostname=host)
        except OSError as error:
            raise Unreachable(str(error)) from error
        if secured is None:  # asyncio's way to say that the peer closed the connection at the last moment
            raise Unreachable("the connection was closed in the TLS handshake")
        self.transport = secured
        self.transports.append(secured)

    def abort(self) -> None:
        """Close it at once; buffered data is not written."""
        if not self._loop.is_closed():  # otherwise it ended with its event loop
            self.transport.abort()


def _in_turn(found: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return addresses with IPv6 and IPv4 alternating; the system's first one stays first."""
    by_family: defaultdict[int, list[str]] = defaultdict(list)
    for family, _, _, _, address in found:
        by_family[family].append(address[0])
    turns = itertools.zip_longest(*by_family.values())
    return list(dict.fromkeys(address for turn in turns for address in turn if address is not None))


async def _connected(address: str, port: int) -> Stream:
    try:
        _, stream = await asyncio.get_running_loop().create_connection(Stream, address, port)
    except OSError as error:
        # Each event loop words it differently; users search for the system's words.
        number = error.errno or 0
        why = os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
        there = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise OSError(f"no connection to {there}: {why}") from error
    return stream


async def _first_to_answer(addresses: list[str], port: int) -> Stream:
    """Try addresses one by one, concurrently with those that do not answer quickly; the first to answer wins.

    Raises:
        OSError: None answered.
    """
    if len(addresses) == 1:
        return await _connected(addresses[0], port)
    loop = asyncio.get_running_loop()
    untried = deque(addresses)
    attempts: set[asyncio.Task[Stream]] = set()
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
                    return attempt.result()
                except OSError as error:
                    failures.append(str(error))
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_hang_up)
    raise OSError("; ".join(failures))


def _hang_up(attempt: asyncio.Task[Stream]) -> None:
    """Close a connection that came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()
