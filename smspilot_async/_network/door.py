"""The door for httpx: requests go by it where the user's own transport, a test's mock or telemetry wants them.

A request that escapes a mock is a real SMS. So each method and class of httpx and httpcore that is known to be replaced
(by respx, pytest-httpx, vcrpy, OpenTelemetry) is compared, before each request, with the package's own. While one is
replaced, requests take the way on which they meet all of them: from an ``httpx.AsyncHTTPTransport`` through httpcore's
pool. Below that, this library's connections come into play again, for what a mock lets pass and telemetry only watches.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpcore
import httpx

from smspilot_async._network.answer import decompressor
from smspilot_async._network.base import Failure, Reply
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Ask = Callable[[httpcore.Request], Awaitable[httpcore.Response]]


def _module_of(thing: object) -> str:
    """Return where a function or class was written; nothing of any other object, such as a mock."""
    # A decorator can claim a module for itself, but its function's globals are its own; wrapt's claims even the type.
    if type(thing) is FunctionType:
        return str(thing.__globals__.get("__name__", ""))
    return thing.__module__ if type(thing) is type else ""


@attrs.define
class _Watched:
    """A method, or a class, that others replace.

    Attributes:
        owner: Its class, or its package.
        name: Its name.
        known: The package's own, as found there.
        methods: A view of the owner.
    """

    owner: type | ModuleType
    name: str = "handle_async_request"
    known: Any = ()
    methods: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.methods = self.owner.__dict__

    @property
    def is_replaced(self) -> bool:
        method = self.methods.get(self.name)
        if method is self.known:
            return False
        package = getattr(self.owner, "__module__", self.owner.__name__).partition(".")[0]
        is_genuine = method is None or _module_of(method).partition(".")[0] == package
        if is_genuine:
            self.known = method
        return not is_genuine


_ROUTE: Final = _Watched(httpx.AsyncClient, "_transport_for_url")
_CLASSES: Final = (_Watched(httpx, "AsyncHTTPTransport"), _Watched(httpcore, "AsyncConnectionPool"))
_ABOVE: Final = (_ROUTE, _Watched(httpx.AsyncHTTPTransport), _Watched(httpcore.AsyncConnectionPool))
_BELOW: Final = (
    *map(_Watched, (httpcore.AsyncHTTPConnection, httpcore.AsyncHTTPProxy, httpcore.AsyncHTTP11Connection)),
    _Watched(httpcore.AnyIOBackend, "connect_tcp"),
)
_ALL: Final = _CLASSES + _ABOVE + _BELOW


def is_patched() -> bool:
    """Return whether something has replaced what requests would go through in httpx or httpcore."""
    for watched in _ALL:  # noqa: SIM110 - at every request, and a generator takes three times as long
        if watched.methods.get(watched.name) is not watched.known and watched.is_replaced:
            return True
    return False


def is_patched_below() -> bool:
    """Return whether requests may not go by this library's connections: something has replaced httpcore's."""
    return any(watched.is_replaced for watched in _CLASSES + _BELOW)


class Failed(Exception):
    """A request that came through this door failed on one of this library's connections."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class Door(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool of httpcore's, through which requests come back to this library's connections."""

    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool


def door(ask: Ask, url: httpx.URL, context: ssl.SSLContext, proxy: str | None) -> httpx.AsyncBaseTransport:
    """Return a transport for one request.

    Args:
        ask: Makes a request over this library's connections.
        url: The endpoint that they lead to.
        context: For TLS.
        proxy: A proxy's URL.
    """
    if any(watched.is_replaced for watched in _CLASSES):
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy, trust_env=False)
    if not is_patched_below():
        return Door(_Pool(ask, url, context))
    if proxy is None:
        return Door(httpcore.AsyncConnectionPool(ssl_context=context, max_connections=1))
    through = httpx.Proxy(proxy)
    if through.url.scheme.startswith("socks"):
        return Door(httpcore.AsyncConnectionPool(ssl_context=context, network_backend=_NoNetwork()))
    return Door(
        httpcore.AsyncHTTPProxy(
            proxy_url=str(through.url),
            proxy_auth=through.raw_auth,
            proxy_ssl_context=context if through.url.scheme == "https" else None,
            ssl_context=context,
            max_connections=1,
        )
    )


class _Pool(httpcore.AsyncConnectionPool):
    """httpcore's pool, whose connections to the endpoint are this library's."""

    def __init__(self, ask: Ask, url: httpx.URL, context: ssl.SSLContext) -> None:
        super().__init__(ssl_context=context, max_connections=1)
        self._ask = ask
        self._origin = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/").origin

    def create_connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """Return a connection; httpcore's own to a server that something has put in the gateway's place."""
        return _Connection(self._ask) if origin == self._origin else super().create_connection(origin)


class _Connection(httpcore.AsyncConnectionInterface):
    """One of this library's connections, for one request, as httpcore's pool sees it."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._is_used = False

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        self._is_used = True
        return await self._ask(request)

    async def aclose(self) -> None:
        self._is_used = True

    def info(self) -> str:
        return "a connection of smspilot_async"

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        del origin
        return not self._is_used

    def is_available(self) -> bool:
        return not self._is_used

    def has_expired(self) -> bool:
        return False

    def is_idle(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return self._is_used


async def pieces(request: httpcore.Request) -> AsyncIterator[bytes]:
    """Yield a request's body."""
    stream = request.stream
    if not isinstance(stream, AsyncIterable):
        raise TypeError("a request whose body is not asynchronous")
    async for piece in stream:
        yield piece


def response(reply: Reply) -> httpcore.Response:
    """Return an answer as httpcore would; its body is decoded already."""
    headers = {"Retry-After": reply.retry_after, "Date": reply.date}
    return httpcore.Response(
        reply.status,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value is not None],
        content=reply.body,
        extensions={"http_version": b"HTTP/1.1"},
    )


class _NoNetwork(httpcore.AsyncNetworkBackend):
    """Opens nothing: what replaced httpcore's connections answers by itself, or the request does not leave."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del host, port, timeout, local_address, socket_options
        raise httpcore.ConnectError("something has replaced httpcore's connections, which know no SOCKS proxy")


# --- answers -------------------------------------------------------------------------------------


async def roundtrip(transport: httpx.AsyncBaseTransport, request: httpx.Request, largest: int) -> Reply | Failure:
    """Send a request by a transport of httpx, and read its answer, of ``largest`` bytes at most."""
    if _ROUTE.is_replaced:
        transport = _as_routed(transport, request.url)
    response = await transport.handle_async_request(request)
    try:
        return await _read(response, largest)
    finally:
        await response.aclose()


def _as_routed(transport: httpx.AsyncBaseTransport, url: httpx.URL) -> httpx.AsyncBaseTransport:
    """Return the transport that a test's mock gives to an ``httpx.AsyncClient``, which there is none of here."""
    return httpx.AsyncClient(transport=transport)._transport_for_url(url)  # noqa: SLF001 - it was replaced


async def _read(response: httpx.Response, largest: int) -> Reply | Failure:
    decompress = decompressor(response.headers.get("content-encoding", ""))
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
