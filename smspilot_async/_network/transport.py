"""HTTP exchanges over httpx: connections, their limits and timeouts, caps on answers, and what a failure proves.

A request ends as a :class:`Reply` or a :class:`Failure`, never as an exception, so that no error references an httpx
object, and with it the request's body. Measured reasons for this design: httpx's pool slows down quadratically with its
size, so each connection is separate, behind this library's own limiter; a request on a keep-alive connection that the
server has already abandoned is lost, so none is used after four idle seconds. And a connection is reused only after a
complete answer with nothing after it: a task that is cancelled while httpcore returns a connection to its pool, which
its shield does not prevent, leaves that connection in use for ever, and data after an answer would be read as the next
one.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from smspilot_async._network.base import Failure, Progress, Reply, free_frames
from smspilot_async._network.connection import USER_TIMEOUT, Connection, Network, genuine, keeps_more
from smspilot_async._network.proxies import (
    _host_and_port,
    check_proxy,
    default_context,
    proxy_from_environment,
)
from smspilot_async._network.socks import Socks
from smspilot_async._version import __version__
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from smspilot_async._tools.clock import Clock
    from smspilot_async.wire import Envelope

_LONGEST_IDLE: Final = 4.0
_HEADERS: Final = {
    "User-Agent": f"smspilot-async/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # an uncompressed answer cannot be a decompression bomb
    "Connection": "keep-alive",
}
_AUTODETECT_GZIP: Final = zlib.MAX_WBITS | 32
_ROUTE: Final = genuine(httpx.AsyncClient._transport_for_url, "httpx")  # noqa: SLF001 - which respx replaces


def late_bytes(url: str, proxy: str | None, user_transport: httpx.AsyncBaseTransport | None) -> str | None:
    """Return why a request with a :class:`WriteLimit` may arrive long after its sender's death, if it may.

    Args:
        url: The endpoint.
        proxy: The proxy's URL; by default that of the environment.
        user_transport: A transport to use instead of this library's connections.
    """
    if user_transport is not None:
        return "the client sends by a transport of its own, which may deliver a request late"
    if proxy is not None or proxy_from_environment(url) is not None:
        return "a proxy stands between, which may deliver a request late"
    if USER_TIMEOUT is None:
        return "this system has no TCP_USER_TIMEOUT, and may deliver a request late"
    return None


class Transport:
    """Connections to the gateway, for the event loop in which it was created.

    Args:
        url: The endpoint, for its scheme and host.
        max_connections: The maximum number of connections to the gateway.
        timeout: Seconds for one exchange, connecting included.
        proxy: A proxy's URL; by default that of the environment (``HTTPS_PROXY``, ``NO_PROXY``).
        ssl_context: For TLS; by default with certifi's roots.
        user_transport: A transport to use instead; it is not closed here.
        clock: For the timeouts.
    """

    def __init__(
        self,
        *,
        url: str,
        max_connections: int,
        timeout: float,
        proxy: str | None,
        ssl_context: ssl.SSLContext | None,
        user_transport: httpx.AsyncBaseTransport | None,
        clock: Clock,
    ) -> None:
        self._url = url
        self._max_connections = max_connections
        self._timeout = timeout
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._user_transport = user_transport
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.Lock()
        self._endpoint: httpx.URL | None = None
        self._free: list[httpx.AsyncBaseTransport] | None = None
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self._pool_of_one: Callable[[], httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport
        self._proxy_note = ""
        self._opened: set[httpx.AsyncBaseTransport] = set()
        self._closing: set[asyncio.Future[None]] = set()
        self._under_way: set[Progress] = set()

    async def exchange(
        self,
        envelope: Envelope,
        *,
        largest: int,
        progress: Progress,
        answer_until: float | None = None,
    ) -> Reply | Failure:
        """Send one request and read its answer. The caller ensures that at most ``max_connections`` are under way.

        Args:
            envelope: The request.
            largest: The maximum size of its answer, in bytes.
            progress: Kept up to date, also for a caller that cancels.
            answer_until: When to stop waiting for the answer, in the clock's monotonic seconds; the timeout applies,
                too.
        """
        free = self._free
        if free is None:
            opened = await self._open()
            if isinstance(opened, Failure):
                return opened
            free = opened
        if progress.limit is not None and progress.limit.is_over:  # a transport of the user's does not compare it
            return Failure(Reason.TIMEOUT, "its time was over before it began", request_started=False)
        transport = free.pop()
        outcome: Reply | Failure | None = None
        self._under_way.add(progress)
        try:
            progress.has_connection = True
            until = self._clock.monotonic() + self._timeout
            until = until if answer_until is None else min(until, answer_until)
            outcome = await self._guarded(transport, envelope, largest, progress, until)
            return outcome
        finally:
            self._under_way.discard(progress)
            is_sound = transport is self._user_transport or (isinstance(outcome, Reply) and _is_fully_read(transport))
            # Last in, first out: so few connections are used, and they stay warm.
            free.append(transport if is_sound else self._new_pool())
            if not is_sound:
                self._let_go(transport)

    async def _guarded(
        self,
        transport: httpx.AsyncBaseTransport,
        envelope: Envelope,
        largest: int,
        progress: Progress,
        until: float,
    ) -> Reply | Failure:
        try:
            request = self._request(envelope, progress)
        except (httpx.InvalidURL, ValueError):
            return Failure(Reason.DISCONNECTED, "the request cannot be written as HTTP", request_started=False)
        try:
            async with self._clock.timeout_at(until):
                return await _roundtrip(transport, request, largest)
        except (TimeoutError, httpx.TimeoutException) as error:
            free_frames(error)
            reason = Reason.TIMEOUT
            detail = "no connection in time" if not progress.request_started else "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the request's fate is the question
            free_frames(error)
            if self._loop.is_closed():  # this coroutine is being dropped, and a cleanup replaced its GeneratorExit
                raise GeneratorExit from None
            reason, detail = Reason.DISCONNECTED, _in_words(error, with_text=not progress.request_started)
        finally:
            await progress.hang_up()
        if not progress.request_started:
            detail += self._proxy_note
        return Failure(reason, detail, request_started=progress.request_started)

    def _request(self, envelope: Envelope, progress: Progress) -> httpx.Request:
        headers = _HEADERS if envelope.content_type is None else {**_HEADERS, "Content-Type": envelope.content_type}
        timeouts = {"connect": self._timeout, "read": self._timeout, "write": self._timeout, "pool": None}
        return httpx.Request(
            envelope.method,
            self._parsed(envelope.url),
            headers=headers,
            content=envelope.body or None,
            extensions={"timeout": timeouts, "trace": progress},
        )

    def _parsed(self, url: str) -> httpx.URL | str:
        """Parse the endpoint once; a URL that contains a document, and with it the key, is not cached."""
        if url != self._url:
            return url
        if self._endpoint is None:
            self._endpoint = httpx.URL(url)
        return self._endpoint

    # --- opening and closing ---------------------------------------------------------------------

    async def _open(self) -> list[httpx.AsyncBaseTransport] | Failure:
        async with self._opening:
            if self._free is not None:
                return self._free
            if self._user_transport is not None:
                self._free = [self._user_transport] * self._max_connections
                return self._free
            try:
                pools = await self._pools()
            except (OSError, ValueError) as error:
                detail = f"the connection cannot be set up: {_in_words(error, with_text=True)}"
                return Failure(Reason.DISCONNECTED, detail, request_started=False)
            self._free = pools
            self._end_of_loop = _close_with_the_loop(self._opened)
            await anext(self._end_of_loop)
            return self._free

    async def _pools(self) -> list[httpx.AsyncBaseTransport]:
        proxy = self._proxy or proxy_from_environment(self._url)
        check_proxy(proxy)
        context = self._ssl_context or await default_context(self._url, proxy)
        self._pool_of_one = partial(_pool_of_one, context, proxy)
        self._proxy_note = "" if proxy is None else f" (by the proxy {_host_and_port(proxy)})"
        return [self._new_pool() for _ in range(self._max_connections)]

    def _new_pool(self) -> httpx.AsyncBaseTransport:
        pool = self._pool_of_one()
        self._opened.add(pool)
        return pool

    def _let_go(self, pool: httpx.AsyncBaseTransport) -> None:
        """Close a pool in a separate task: cancelling the current one does not stop that, nor lose the answer."""
        if self._loop.is_closed():
            return
        self._aside(pool.aclose()).add_done_callback(partial(self._let_gone, pool))

    def _let_gone(self, pool: httpx.AsyncBaseTransport, closing: asyncio.Future[None]) -> None:
        if not closing.cancelled() and closing.exception() is None:
            self._opened.discard(pool)

    def _aside(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Close something in a separate task, which :meth:`aclose` awaits."""
        closing = asyncio.ensure_future(work)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    async def aclose(self) -> None:
        """Close all connections, even if this is cancelled. The next request opens new ones."""
        self._free = None
        for progress in self._under_way:
            self._aside(progress.call_off())
        for pool in self._opened:
            self._let_go(pool)
        if self._closing:
            await asyncio.wait(self._closing)
        if self._end_of_loop is not None:
            await self._end_of_loop.aclose()
            self._end_of_loop = None

    def abandon(self) -> None:
        """Forget connections whose event loop was closed before they could be: nothing uses them again."""
        self._free = None
        self._end_of_loop = None
        self._opened, self._closing = set(), set()

    def drop(self) -> None:
        """Have the event loop close all connections, from any thread: it closes generators that are dropped."""
        self._free = None
        self._end_of_loop = None


async def _close_with_the_loop(pools: set[httpx.AsyncBaseTransport]) -> AsyncGenerator[None, None]:
    """Close the pools when this generator is closed; a loop that ends closes its generators itself."""
    try:
        yield
    finally:
        while pools:
            await pools.pop().aclose()


def _pool_of_one(context: ssl.SSLContext, proxy: str | None) -> httpx.AsyncHTTPTransport:
    if proxy is None:
        return _Direct(context, Network())
    if proxy.lower().startswith("socks5"):
        return _Direct(context, Socks.at(proxy))
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_LONGEST_IDLE)
    through = httpx.Proxy(proxy, ssl_context=context if proxy.startswith("https:") else None)
    return httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=through, trust_env=False)


def _is_fully_read(pool: httpx.AsyncBaseTransport) -> bool:
    connections = getattr(getattr(pool, "_pool", None), "connections", None)
    return connections is not None and not any(map(keeps_more, connections))


class _Direct(httpx.AsyncHTTPTransport):
    """httpx's transport over a :class:`Connection` instead of httpcore's pool.

    Its class is still httpx's, and the method it calls httpcore's, so that mocks in users' tests catch its requests.
    """

    def __init__(self, context: ssl.SSLContext, network: Network) -> None:
        connection = Connection(context, network, longest_idle=_LONGEST_IDLE)
        self._pool = connection  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]


# --- answers -------------------------------------------------------------------------------------


async def _roundtrip(transport: httpx.AsyncBaseTransport, request: httpx.Request, largest: int) -> Reply | Failure:
    if httpx.AsyncClient._transport_for_url is not _ROUTE:  # noqa: SLF001 - the same
        transport = _as_routed(transport, request.url)
    response = await transport.handle_async_request(request)
    try:
        return await _read(response, largest)
    finally:
        await response.aclose()


def _as_routed(transport: httpx.AsyncBaseTransport, url: httpx.URL) -> httpx.AsyncBaseTransport:
    """Return the transport that a test's mock gives to an ``httpx.AsyncClient``.

    There is no such client here; but a request that escapes a mock is a real SMS.
    """
    return httpx.AsyncClient(transport=transport)._transport_for_url(url)  # noqa: SLF001 - as above


async def _read(response: httpx.Response, largest: int) -> Reply | Failure:
    decompress = _decompressor(response.headers.get("content-encoding", ""))
    too_large = Failure(Reason.TOO_LARGE, f"an answer of over {largest} bytes", http_status=response.status_code)
    body = bytearray()
    if decompress is None:
        return Failure(Reason.UNREADABLE, "an encoding that was not requested", http_status=response.status_code)
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        return Failure(Reason.UNREADABLE, "a transport that is not asynchronous", http_status=response.status_code)
    async for chunk in stream:
        try:
            body += decompress(chunk, largest + 1 - len(body))
        except zlib.error:
            return Failure(Reason.UNREADABLE, "broken compression", http_status=response.status_code)
        if len(body) > largest:
            return too_large
    headers = response.headers
    return Reply(response.status_code, bytes(body), headers.get("retry-after"), headers.get("date"))


class _Inflate:
    """Decompresses gzip or deflate that was not requested, to at most the given number of bytes."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_AUTODETECT_GZIP)

    def __call__(self, chunk: bytes, room: int) -> bytes:
        if self._zlib.eof:
            return b""  # zlib would buffer everything after the end
        return self._zlib.decompress(chunk, room)


def _plain(chunk: bytes, _room: int) -> bytes:
    return chunk


def _decompressor(encoding: str) -> Any:
    match encoding.strip().lower():
        case "" | "identity":
            return _plain
        case "gzip" | "x-gzip" | "deflate":
            return _Inflate()
    return None


def _in_words(error: Exception, *, with_text: bool) -> str:
    """Return the failure in words, with its own text only while connecting: then it has no part of a request."""
    text = " ".join(_number.sub("", str(error)).split()) if with_text else ""
    return text or _WORDS.get(type(error).__name__) or f"the transport raised {type(error).__name__}"


_number = re.compile(r"\[Errno -?\d+\] ")
_WORDS: Final = {
    "ConnectError": "could not connect",
    "ReadError": "the connection broke",
    "WriteError": "the connection broke",
    "CloseError": "the connection broke",
    "ProxyError": "the proxy refused the connection",
    "LocalProtocolError": "the request cannot be written as HTTP",
    "RemoteProtocolError": "the connection was closed in the middle of the answer",
}
