"""The emulator without a socket: a transport for ``httpx.AsyncClient``.

It plays the faults as a real connection shows them, and emits httpcore's trace events in their order, so that a
client that judges by them whether its request went out gets the truth.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import httpx

from smspilot_async.emulator.server._http import API_PATH, Ending, HttpRequest, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from smspilot_async.emulator._core import EmulatorCore

    Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


@attrs.frozen
class TracedRequest:
    """What a trace event shows of a request."""

    method: bytes
    url: httpx.URL = attrs.field(repr=False)
    headers: list[tuple[bytes, bytes]] = attrs.field(repr=False)


@attrs.define
class _Tracer:
    """Emits trace events to whoever listens."""

    trace: Trace | None

    async def started(self, event: str, info: dict[str, Any] | None = None) -> None:
        await self._emit(f"{event}.started", info or {})

    async def complete(self, event: str, value: Any = None) -> None:
        await self._emit(f"{event}.complete", {"return_value": value})

    async def both(self, event: str, info: dict[str, Any] | None = None, value: Any = None) -> None:
        await self.started(event, info)
        await self.complete(event, value)

    async def fail(self, event: str, failure: Exception) -> None:
        await self._emit(f"{event}.failed", {"exception": failure})
        await self.both("http11.response_closed")

    async def _emit(self, name: str, info: dict[str, Any]) -> None:
        if self.trace is not None:
            await self.trace(name, info)


class InProcessTransport(httpx.AsyncBaseTransport):
    """Reaches an emulator within the process. Each request is a connection of its own."""

    def __init__(self, emulator: EmulatorCore) -> None:
        self._emulator = emulator

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand a request to the emulator.

        Raises:
            httpx.ReadError: A fault resets the connection.
            httpx.RemoteProtocolError: A fault closes it without an answer.
            httpx.ReadTimeout: A held answer takes longer than the request's read timeout.
        """
        tracer = _Tracer(request.extensions.get("trace"))
        await self._connect(request, tracer)
        sent = {"request": TracedRequest(request.method.encode(), request.url, request.headers.raw)}
        await tracer.both("http11.send_request_headers", sent)
        await tracer.started("http11.send_request_body", sent)
        body = await request.aread()
        await tracer.complete("http11.send_request_body")
        await tracer.started("http11.receive_response_headers", sent)
        try:
            reply = await self._reply(request, body)
        except httpx.TransportError as failure:
            await tracer.fail("http11.receive_response_headers", failure)
            raise
        headers = self._headers(reply)
        await tracer.complete("http11.receive_response_headers", (b"HTTP/1.1", reply.status, b"", headers))
        stream = _ResponseStream(reply, tracer, sent)
        return httpx.Response(reply.status, headers=headers, stream=stream, extensions={"http_version": b"HTTP/1.1"})

    async def _connect(self, request: httpx.Request, tracer: _Tracer) -> None:
        await asyncio.sleep(0)  # a real connection yields to the loop, and so must its double
        await tracer.both("connection.connect_tcp", {"host": request.url.host, "port": request.url.port})
        if request.url.scheme == "https":
            await tracer.both("connection.start_tls", {"server_hostname": request.url.host})

    async def _reply(self, request: httpx.Request, body: bytes) -> Reply:
        if self._emulator.resets_unread():
            raise httpx.ReadError("connection reset by peer")
        if request.url.path != API_PATH:
            return Reply.page(404, "Not Found")
        reply = self._emulator.exchange(
            HttpRequest(
                method=request.method,
                query=request.url.query,
                content_type=request.headers.get("content-type", ""),
                body=body,
            )
        )
        await _held(reply, request.extensions.get("timeout", {}).get("read"))
        if reply.ending is Ending.RESET:
            raise httpx.ReadError("connection reset by peer")
        if reply.ending is Ending.CLOSE:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return reply

    def _headers(self, reply: Reply) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in self._emulator.headers_of(reply)]


async def _held(reply: Reply, patience: float | None) -> None:
    if reply.hold is None:
        return
    try:
        async with asyncio.timeout(patience):
            await reply.hold.wait()
    except TimeoutError:
        raise httpx.ReadTimeout("the answer is held back") from None


class _ResponseStream(httpx.AsyncByteStream):
    """An answer's body, or the half of it that comes."""

    def __init__(self, reply: Reply, tracer: _Tracer, sent: dict[str, Any]) -> None:
        self._reply = reply
        self._tracer = tracer
        self._sent = sent
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._reply.body
        await self._tracer.started("http11.receive_response_body", self._sent)
        if self._reply.ending is Ending.HALF_ANSWER:
            half = body[: len(body) // 2]
            yield half
            failure = httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {len(half)} bytes, expected {len(body)})"
            )
            self._closed = True
            await self._tracer.fail("http11.receive_response_body", failure)
            raise failure
        yield body
        await self._tracer.complete("http11.receive_response_body")

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._tracer.both("http11.response_closed")
