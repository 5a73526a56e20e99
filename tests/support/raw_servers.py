"""TCP servers that follow a script in the test's own loop: they answer, half answer, reset, close or hang."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

import attrs
from manual_clock import idle

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Script: TypeAlias = "Callable[[Peer], Awaitable[None]]"


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read a request's line and headers, and not its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.server.heads.append(head)
        self.server.has_head.set()
        return head

    async def request(self) -> bytes:
        """Read a whole request."""
        head = await self.head()
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        self.server.requests.append(head + body)
        self.server.has_request.set()
        return head + body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Send a RST, as a crashing peer or a firewall does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()

    async def hang(self) -> None:
        """Do nothing until the client goes away."""
        while await self.reader.read(65536):
            pass

    async def splice(self, port: int, piece: int = 65536) -> None:
        """Pass bytes to and fro between the client and a port of this machine, as a tunnel does, by pieces."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pump(self.reader, writer, piece), _pump(reader, self.writer, piece))
        finally:
            writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, piece: int) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            for start in range(0, len(data), piece):
                target.write(data[start : start + piece])  # over TLS: a record of its own
            await target.drain()
    target.close()


@attrs.define(eq=False)
class RawServer:
    """A listening server.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        heads, requests: What was read of requests, in order.
        connections: How many were accepted.
        gone: How many of them are over.
        has_head, has_request: Set once the first was read.
    """

    port: int = 0
    heads: list[bytes] = attrs.Factory(list)
    requests: list[bytes] = attrs.Factory(list)
    connections: int = 0
    gone: int = 0
    has_connection: asyncio.Event = attrs.Factory(asyncio.Event)
    has_head: asyncio.Event = attrs.Factory(asyncio.Event)
    has_request: asyncio.Event = attrs.Factory(asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api2.php"

    @property
    def https_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/api2.php"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def raw_server(
    script: Script, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncGenerator[RawServer, None]:
    """Listen on a port of 127.0.0.1, a free one by default, and play the script to every connection."""
    server = RawServer()
    plays: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def play(peer: Peer) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(peer)
        finally:
            peer.writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.has_connection.set()
        writers.append(writer)
        task = asyncio.ensure_future(play(Peer(server, reader, writer)))
        plays.add(task)
        task.add_done_callback(forget)

    def forget(task: asyncio.Task[None]) -> None:
        plays.discard(task)
        server.gone += 1
        if not task.cancelled():
            task.result()

    listener = await asyncio.start_server(accept, "127.0.0.1", port, ssl=tls, backlog=2048)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await idle()  # asyncio forgets to close a socket that it has accepted if its server is closed at once
        listener.close()
        for task in tuple(plays):
            task.cancel()
        await asyncio.gather(*plays, return_exceptions=True)
        for writer in writers:
            with suppress(AttributeError):  # asyncio's own, if the transport is closed already
                writer.transport.abort()
        await idle()


# --- scripts -------------------------------------------------------------------------------------


def http(body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> bytes:
    """Write an HTTP answer down."""
    return (
        b"HTTP/1.1 " + status.encode() + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n" + headers + b"\r\n"
    ) + body


def answering(*answers: bytes) -> Script:
    """Answer each request of a connection in turn, then close it; the last answer goes for all later connections."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(left.pop(0) if len(left) > 1 else left[0])

    return script


async def reset_at_once(peer: Peer) -> None:
    peer.reset()


async def reset_after_head(peer: Peer) -> None:
    await peer.head()
    peer.reset()


async def reset_after_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def close_after_request(peer: Peer) -> None:
    await peer.request()


async def hang_after_request(peer: Peer) -> None:
    await peer.request()
    await peer.hang()


async def hang_at_once(peer: Peer) -> None:
    await peer.hang()


def forwarding(port: int, piece: int = 65536) -> Script:
    """An HTTP proxy for CONNECT: whatever host is asked for, the tunnel leads to a port of this machine, by pieces."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await peer.splice(port, piece)

    return script
