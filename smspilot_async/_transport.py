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
import ssl
import zlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import attrs
import httpcore
import httpx

from smspilot_async._connection import Connection, Network, NotBegun, genuine, keeps_more
from smspilot_async._settings import Secret, is_loopback, of_type
from smspilot_async._socks import Socks
from smspilot_async._version import __version__
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from smspilot_async._clock import Clock
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


@attrs.frozen
class Reply:
    """An HTTP answer, whole."""

    status: int
    body: bytes = attrs.field(repr=False)
    retry_after: str | None = None
    date: str | None = None


@attrs.frozen
class Failure:
    """No whole HTTP answer.

    Attributes:
        reason: What happened.
        detail: The same in words, with nothing of the request.
        nothing_left: There is evidence that not a byte of the request left this machine.
        http_status: The status, where one arrived.
    """

    reason: Reason
    detail: str
    nothing_left: bool = False
    http_status: int | None = None


class Progress:
    """How far one request has come, as httpcore reports it.

    A CONNECT to a proxy is not our request. A transport that reports nothing proves nothing.

    Attributes:
        has_connection: It waits for no place in the pool any more.
    """

    __slots__ = ("_headers_left", "_is_called_off", "_is_reported", "_socket", "has_connection")

    def __init__(self) -> None:
        self.has_connection = False
        self._is_reported = False
        self._headers_left = False
        self._is_called_off = False
        self._socket: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Take one event of httpcore's trace.

        Raises:
            httpcore.ConnectError: The request was called off before it began.
        """
        self._is_reported = True
        if event.endswith("connect_tcp.complete"):
            self._socket = info.get("return_value")
        if self._is_called_off and self.nothing_left:
            raise httpcore.ConnectError("the client was closed")
        if event.endswith("send_request_headers.started"):
            method = getattr(info.get("request"), "method", b"")
            self._headers_left = self._headers_left or method != b"CONNECT"
        elif event.endswith("send_request_headers.failed") and isinstance(info.get("exception"), NotBegun):
            self._headers_left = False

    @property
    def nothing_left(self) -> bool:
        """There is evidence that not a byte of the request left this machine."""
        return not self.has_connection or (self._is_reported and not self._headers_left)

    async def call_off(self) -> None:
        """Let it end where it has not begun: httpcore closes no connection that is only just being made."""
        self._is_called_off = True
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close a connection that never came to a request: cancelled in the middle of TLS, httpcore forgets it."""
        if self._socket is not None and self.nothing_left:
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._socket.aclose()


class Transport:
    """Connections to the gateway, for the event loop it was made in.

    Args:
        url: The endpoint, for its scheme and host.
        max_connections: To the gateway, at most.
        timeout: Seconds for one exchange, connecting included.
        proxy: A proxy's URL; without it the environment decides (``HTTPS_PROXY``, ``NO_PROXY``).
        ssl_context: For TLS; without it the system's and certifi's roots.
        foreign: A transport to use in place of all that; whoever made it closes it.
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
        foreign: httpx.AsyncBaseTransport | None,
        clock: Clock,
    ) -> None:
        self._url = url
        self._max_connections = max_connections
        self._timeout = timeout
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._foreign = foreign
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.Lock()
        self._endpoint: httpx.URL | None = None
        self._free: list[httpx.AsyncBaseTransport] | None = None
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self._pool_of_one: Callable[[], httpx.AsyncBaseTransport] = httpx.AsyncHTTPTransport
        self._by_proxy = ""
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
            is_sound = transport is self._foreign or (isinstance(outcome, Reply) and _has_said_all(transport))
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
            return Failure(Reason.DISCONNECTED, "the request can not be written as HTTP", nothing_left=True)
        try:
            async with self._clock.timeout_at(until):
                return await _roundtrip(transport, request, largest)
        except (TimeoutError, httpx.TimeoutException) as error:
            free_frames(error)
            reason = Reason.TIMEOUT
            detail = "no connection in time" if progress.nothing_left else "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the request's fate is the question
            free_frames(error)
            if self._loop.is_closed():  # this coroutine is being dropped, and who cleaned up on its way out missed it
                raise GeneratorExit from None
            reason, detail = Reason.DISCONNECTED, _in_words(error, with_text=progress.nothing_left)
        finally:
            await progress.hang_up()
        if progress.nothing_left:
            detail += self._by_proxy
        return Failure(reason, detail, nothing_left=progress.nothing_left)

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
            if self._foreign is not None:
                self._free = [self._foreign] * self._max_connections
                return self._free
            try:
                pools = await self._pools()
            except (OSError, ValueError) as error:
                detail = f"the connection can not be set up: {_in_words(error, with_text=True)}"
                return Failure(Reason.DISCONNECTED, detail, nothing_left=True)
            self._free = pools
            self._end_of_loop = _close_with_the_loop(self._opened)
            await anext(self._end_of_loop)
            return self._free

    async def _pools(self) -> list[httpx.AsyncBaseTransport]:
        proxy = self._proxy or proxy_from_environment(self._url)
        check_proxy(proxy)
        context = self._ssl_context or await default_context(self._url, proxy)
        self._pool_of_one = partial(_pool_of_one, context, proxy)
        self._by_proxy = "" if proxy is None else f" (by the proxy {_host_and_port(proxy)})"
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


def _has_said_all(pool: httpx.AsyncBaseTransport) -> bool:
    connections = getattr(getattr(pool, "_pool", None), "connections", None)
    return connections is not None and not any(map(keeps_more, connections))


class _Direct(httpx.AsyncHTTPTransport):
    """httpx's transport over a connection of ours, in the place of httpcore's pool.

    It stays httpx's, and what it calls httpcore's, so that whatever users' tests put there keeps requests at home.
    """

    def __init__(self, context: ssl.SSLContext, network: Network) -> None:
        connection = Connection(context, network, longest_idle=_LONGEST_IDLE)
        self._pool = connection  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]


async def default_context(url: str, proxy: str | None) -> ssl.SSLContext:
    """Make the TLS context of a client that was given none: certifi's roots, or ``SSL_CERT_FILE``'s."""
    if not url.startswith("https:") and not (proxy or "").startswith("https:"):
        return httpx.create_ssl_context(verify=False)  # no TLS on the way; spares reading the roots
    return await asyncio.to_thread(httpx.create_ssl_context)


def proxy_from_environment(url: str) -> str | None:
    """Find the proxy that the environment names for this endpoint; none has a way to an emulator on this machine."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def check_network(
    proxy: Secret[str | None], ssl_context: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
) -> None:
    """Refuse settings of the network that could only fail later.

    Raises:
        ValueError: see :func:`check_proxy`.
        TypeError: a proxy, context or transport that is none.
    """
    of_type(str, proxy=proxy.reveal())
    check_proxy(proxy.reveal())
    of_type(ssl.SSLContext, ssl_context=ssl_context)
    of_type(httpx.AsyncBaseTransport, transport=transport)


def check_url(url: str) -> None:
    """Refuse an endpoint that httpx can not use.

    Raises:
        ValueError: without the URL.
    """
    is_usable = _is_usable(url)
    del url  # a traceback would show it
    if not is_usable:
        raise ValueError("url is not an address that a connection can be made to")


def check_proxy(proxy: str | None) -> None:
    """Refuse a proxy that httpx can not use.

    Raises:
        ValueError: naming what is wrong, without the proxy's credentials.
    """
    if proxy is None:
        return
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https", "socks5", "socks5h"} or not _is_usable(proxy):
        del proxy, scheme  # a traceback would show its password
        raise ValueError("proxy needs a URL that begins with http:, https: or socks5:")


def _host_and_port(url: str) -> str:
    """Name a proxy without its user and password."""
    return httpx.URL(url).netloc.decode()


def _is_usable(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, ValueError):
        return False


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


def free_frames(error: BaseException | None) -> None:
    """Free the frames of a failure, and with them the request: since Python 3.13 httpx leaves them in a cycle."""
    seen = set[int]()  # whatever raised it may have made it its own cause
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


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
