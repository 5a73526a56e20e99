"""The one file that knows httpx: connections, their limits and time-outs, caps on answers, and what a failure proves.

A request ends as a :class:`Reply` or a :class:`Failure`, never as an exception, so that no httpx object, and with it no
request body, hangs on to an error. Measured reasons for its shape: httpx's pool slows down quadratically with its
size, so each connection stands for itself, behind a limiter of ours; a keep-alive connection that the server has given
up swallows a request, so none is used after four idle seconds. And one is used again only after a whole answer, with
nothing behind it: a task that is cancelled while httpcore puts a connection back, which its shield does not keep off,
leaves it taken for ever, and what follows an answer in the same piece would be taken for the next one.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from smspilot_async._network.base import Failure, Progress, Reply, free_frames
from smspilot_async._network.connection import Connection, Network, genuine, keeps_more
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
    "Accept-Encoding": "identity",  # what is not compressed can not be a bomb
    "Connection": "keep-alive",
}
_AUTODETECT_GZIP: Final = zlib.MAX_WBITS | 32
_ROUTE: Final = genuine(httpx.AsyncClient._transport_for_url, "httpx")  # noqa: SLF001 - which respx replaces


class Transport:
    """Connections to the gateway, for the event loop it was made in.

    Args:
        url: The endpoint, for its scheme and host.
        max_connections: To the gateway, at most.
        timeout: Seconds for one exchange, connecting included.
        proxy: A proxy's URL; without it the environment decides (``HTTPS_PROXY``, ``NO_PROXY``).
        ssl_context: For TLS; without it the system's and certifi's roots.
        user_transport: A transport to use in place of all that; whoever made it closes it.
        clock: For the time-outs.
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
        """Send one request and read its answer. At most ``max_connections`` may be under way; the caller counts them.

        Args:
            envelope: The request.
            largest: The most bytes its answer may have.
            progress: Is kept up to date, also for a caller that cancels.
            answer_until: How long it may wait for the answer, in the clock's monotonic seconds; the time-out holds
                besides.
        """
        free = self._free
        if free is None:
            opened = await self._open()
            if isinstance(opened, Failure):
                return opened
            free = opened
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
            # To be the next one that is used: so few connections stay in use, and warm.
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
            return Failure(Reason.DISCONNECTED, "the request can not be written as HTTP", request_started=False)
        try:
            async with self._clock.timeout_at(until):
                return await _roundtrip(transport, request, largest)
        except (TimeoutError, httpx.TimeoutException) as error:
            free_frames(error)
            reason = Reason.TIMEOUT
            detail = "no connection in time" if not progress.request_started else "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the request's fate is the question
            free_frames(error)
            if self._loop.is_closed():  # this coroutine is being dropped, and who cleaned up on its way out missed it
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
        """Parse the endpoint once; a URL that holds a document, and the key with it, is not kept."""
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
                detail = f"the connection can not be set up: {_in_words(error, with_text=True)}"
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
        """Close a pool in a task of its own: a cancellation of this one does not stop it, nor lose the answer to it."""
        if self._loop.is_closed():
            return
        self._aside(pool.aclose()).add_done_callback(partial(self._let_gone, pool))

    def _let_gone(self, pool: httpx.AsyncBaseTransport, closing: asyncio.Future[None]) -> None:
        if not closing.cancelled() and closing.exception() is None:
            self._opened.discard(pool)

    def _aside(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Close something in a task of its own, for which closing everything waits."""
        closing = asyncio.ensure_future(work)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    async def aclose(self) -> None:
        """Close all connections, also if this is cancelled. The next request opens new ones."""
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
        """Let go of connections whose event loop was closed without a chance to close them: nothing uses them again."""
        self._free = None
        self._end_of_loop = None
        self._opened, self._closing = set(), set()

    def drop(self) -> None:
        """Have the event loop close all connections, from any thread: it closes generators that nobody holds."""
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
    """httpx's transport over a connection of ours, in the place of httpcore's pool.

    It stays httpx's, and what it calls httpcore's, so that whatever users' tests put there keeps requests at home.
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
    """Return what a test's mock has an ``httpx.AsyncClient`` take in place of its transport.

    There is no such client here; but a request that escapes a mock is a real SMS.
    """
    return httpx.AsyncClient(transport=transport)._transport_for_url(url)  # noqa: SLF001 - as above


async def _read(response: httpx.Response, largest: int) -> Reply | Failure:
    decompress = _decompressor(response.headers.get("content-encoding", ""))
    too_large = Failure(Reason.TOO_LARGE, f"an answer of over {largest} bytes", http_status=response.status_code)
    body = bytearray()
    if decompress is None:
        return Failure(Reason.UNREADABLE, "an encoding nobody asked for", http_status=response.status_code)
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
    """Undo gzip or deflate that was not asked for, never by more than the caller still has room for."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_AUTODETECT_GZIP)

    def __call__(self, chunk: bytes, room: int) -> bytes:
        if self._zlib.eof:
            return b""  # zlib would keep all that follows the end
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
    """Name the failure, with its own text only while connecting: then it may tell a host, but nothing of a request."""
    text = " ".join(_number.sub("", str(error)).split()) if with_text else ""
    return text or _WORDS.get(type(error).__name__) or f"the transport raised {type(error).__name__}"


_number = re.compile(r"\[Errno -?\d+\] ")
_WORDS: Final = {
    "ConnectError": "could not connect",
    "ReadError": "the connection broke",
    "WriteError": "the connection broke",
    "CloseError": "the connection broke",
    "ProxyError": "the proxy does not let through",
    "LocalProtocolError": "the request cannot be written as HTTP",
    "RemoteProtocolError": "the connection was closed in the middle of the answer",
}
