"""HTTP exchanges with the gateway: connections kept and opened, their timeout, and what a failure proves.

A request ends as a :class:`Reply` or a :class:`Failure`, never as an exception, so that no error references the
request's body. It goes over this library's own connections (:mod:`smspilot_async._network.http11`), unless the client
has a transport of the user's, or something has replaced a method of httpx or httpcore: then by httpx
(:mod:`smspilot_async._network.door`).

A connection that was idle for more than four seconds is not used: a request on one that the server has already
abandoned is lost. And it is used again only after a complete answer with nothing after it: data after an answer would
be read as the next one.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import httpx

from smspilot_async._network import door
from smspilot_async._network.base import Failure, NotBegun, Progress, Reply, free_frames
from smspilot_async._network.http11 import USER_TIMEOUT
from smspilot_async._network.proxies import _host_and_port, check_proxy, default_context, proxy_from_environment
from smspilot_async._network.ways import Way
from smspilot_async._version import __version__
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Coroutine
    from typing import Any

    import httpcore

    from smspilot_async._network.http11 import Connection
    from smspilot_async._tools.clock import Clock
    from smspilot_async.wire import Envelope

_LONGEST_IDLE: Final = 4.0
_HEADERS: Final = {
    "User-Agent": f"smspilot-async/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # an uncompressed answer cannot be a decompression bomb
    "Connection": "keep-alive",
}
_CANNOT_BE_WRITTEN: Final = Failure(Reason.DISCONNECTED, "the request cannot be written as HTTP", request_started=False)


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
    if door.is_patched_below():
        return "something has replaced httpcore's connections, and may deliver a request late"
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
        self._endpoint = httpx.URL(url)
        self._way: Way | None = None
        self._heads: dict[str | None, bytes] = {}  # of requests with a body, by its type
        self._idle: deque[Connection] = deque()
        self._connections: set[Connection] = set()
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self._proxy_note = ""
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
        self._under_way.add(progress)  # first: closing the client calls it off also while the roots are being read
        try:
            way = self._way
            if way is None and self._user_transport is None:
                opened = await self._open()
                if isinstance(opened, Failure):
                    return opened
                way = opened
            if progress.limit is not None and progress.limit.is_over:  # a transport of the user's does not compare it
                return Failure(Reason.TIMEOUT, "its time was over before it began", request_started=False)
            progress.has_connection = True
            until = self._clock.monotonic() + self._timeout
            until = until if answer_until is None else min(until, answer_until)
            if way is None or door.is_patched():
                return await self._by_httpx(way, envelope, progress, largest, until)
            try:
                request = self._written(way, envelope)
            except (httpx.InvalidURL, ValueError):
                return _CANNOT_BE_WRITTEN
            return await self._ask(way, request, progress, largest, until)
        finally:
            self._under_way.discard(progress)

    def _written(self, way: Way, envelope: Envelope) -> bytes:
        """Return a request's bytes. Heads are kept, except those that contain a document, and with it the key.

        Raises:
            ValueError: HTTP has no form for it; also ``httpx.InvalidURL``.
        """
        if envelope.url != self._url or envelope.method != "POST":
            url = self._endpoint if envelope.url == self._url else httpx.URL(envelope.url)
            head = way.head(envelope.method.encode(), url.raw_path, _headers(url, envelope))
        elif (kept := self._heads.get(envelope.content_type)) is not None:
            head = kept
        else:
            head = way.head(b"POST", self._endpoint.raw_path, _headers(self._endpoint, envelope))
            self._heads[envelope.content_type] = head
        if not envelope.body and envelope.method == "GET":
            return head + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(envelope.body), envelope.body)

    async def _ask(self, way: Way, request: bytes, progress: Progress, largest: int, until: float) -> Reply | Failure:
        """Make a request over a connection of this library's, opened if none is idle."""
        connection = self._take_idle()
        answer: asyncio.Future[Reply | Failure] | None = None
        try:
            progress.report()
            if connection is not None:
                try:
                    answer = connection.ask(request, progress, largest)
                except NotBegun:  # it was closed at the last moment
                    self._drop(connection)
            if connection is None or answer is None:
                connection = await self._opened_by(way, progress, until)
                answer = connection.ask(request, progress, largest)
            timer = self._clock.call_at(until, connection.time_out)
            try:
                return await answer
            finally:
                timer.cancel()
        except Exception as error:  # noqa: BLE001 - the answer has none: the connection could not be opened
            free_frames(error)
            if self._loop.is_closed():  # this coroutine is being dropped, and a cleanup replaced its GeneratorExit
                raise GeneratorExit from None
            if isinstance(error, TimeoutError):
                reason, detail = Reason.TIMEOUT, "no connection in time"
            else:
                reason, detail = Reason.DISCONNECTED, _in_words(error, with_text=not progress.request_started)
            return Failure(reason, detail + self._proxy_note, request_started=progress.request_started)
        finally:
            if connection is not None:
                self._put_back(connection)

    async def _opened_by(self, way: Way, progress: Progress, until: float) -> Connection:
        """Open a connection.

        Raises:
            NotWritten: That failed, or was called off.
            TimeoutError: It took too long.
        """
        async with self._clock.timeout_at(until):
            connection = await way.open(progress)
        self._connections.add(connection)
        return connection

    # --- connections that are kept ---------------------------------------------------------------

    def _take_idle(self) -> Connection | None:
        """Take the idle connection that was used last: so few are used, and they stay warm."""
        while self._idle:
            connection = self._idle.pop()
            if self._clock.monotonic() < connection.idle_until and connection.is_usable:
                return connection
            self._drop(connection)
        return None

    def _put_back(self, connection: Connection) -> None:
        if not connection.may_stay:
            self._drop(connection)
            return
        now = self._clock.monotonic()
        connection.idle_until = now + min(_LONGEST_IDLE, connection.longest_idle)
        idle = self._idle
        idle.append(connection)
        while idle and idle[0].idle_until <= now:
            self._drop(idle.popleft())

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._connections.discard(connection)

    # --- by httpx --------------------------------------------------------------------------------

    async def _by_httpx(
        self, way: Way | None, envelope: Envelope, progress: Progress, largest: int, until: float
    ) -> Reply | Failure:
        try:
            request = self._request(envelope, progress)
        except (httpx.InvalidURL, ValueError):
            return _CANNOT_BE_WRITTEN
        transport, own = self._user_transport, None
        if transport is None:
            assert way is not None  # noqa: S101 - it is there unless the transport is the user's
            ask = partial(self._ask_for_httpx, way, progress, largest, until)
            transport = own = door.door(ask, self._endpoint, way.context, way.proxy)
        try:
            async with self._clock.timeout_at(until):
                return await _roundtrip(transport, request, largest, progress)
        except (TimeoutError, httpx.TimeoutException) as error:
            free_frames(error)
            reason = Reason.TIMEOUT
            detail = "no connection in time" if not progress.request_started else "no answer in time"
        except door.Failed as failed:
            free_frames(failed)
            return failed.failure
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the request's fate is the question
            free_frames(error)
            if self._loop.is_closed():  # this coroutine is being dropped, and a cleanup replaced its GeneratorExit
                raise GeneratorExit from None
            reason, detail = Reason.DISCONNECTED, _in_words(error, with_text=not progress.request_started)
        finally:
            await progress.hang_up()
            if own is not None and not self._loop.is_closed():
                self._aside(_close(own))
        if not progress.request_started:
            detail += self._proxy_note
        return Failure(reason, detail, request_started=progress.request_started)

    def _request(self, envelope: Envelope, progress: Progress) -> httpx.Request:
        timeouts = {"connect": self._timeout, "read": self._timeout, "write": self._timeout, "pool": None}
        headers = _HEADERS if envelope.content_type is None else {**_HEADERS, "Content-Type": envelope.content_type}
        return httpx.Request(
            envelope.method,
            self._endpoint if envelope.url == self._url else envelope.url,
            headers=headers,
            content=envelope.body or None,
            extensions={"timeout": timeouts, "trace": progress},
        )

    async def _ask_for_httpx(
        self, way: Way, progress: Progress, largest: int, until: float, request: httpcore.Request
    ) -> httpcore.Response:
        """Make a request that a mock has let pass, or that telemetry watches.

        Raises:
            door.Failed: It failed, or was made before: no wrapper may repeat it.
        """
        if progress.has_begun:
            raise door.Failed(Failure(Reason.DISCONNECTED, "something has repeated the request"))
        body = bytearray()
        async for piece in door.pieces(request):
            body += piece
        try:
            head = way.head(request.method, request.url.target, request.headers)
        except ValueError:
            raise door.Failed(_CANNOT_BE_WRITTEN) from None
        reply = await self._ask(way, head + b"\r\n" + body, progress, largest, until)
        if isinstance(reply, Failure):
            raise door.Failed(reply)
        return door.response(reply)

    # --- opening and closing ---------------------------------------------------------------------

    async def _open(self) -> Way | Failure:
        async with self._opening:
            if self._way is not None:
                return self._way
            try:
                proxy = self._proxy or proxy_from_environment(self._url)
                check_proxy(proxy)
                context = self._ssl_context or await default_context(self._url, proxy)
            except (OSError, ValueError) as error:
                detail = f"the connection cannot be set up: {_in_words(error, with_text=True)}"
                return Failure(Reason.DISCONNECTED, detail, request_started=False)
            self._proxy_note = "" if proxy is None else f" (by the proxy {_host_and_port(proxy)})"
            self._way = Way(self._endpoint, context, proxy)
            self._end_of_loop = _close_with_the_loop(self._connections)
            await anext(self._end_of_loop)
            return self._way

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Close something in a separate task, which :meth:`aclose` awaits."""
        closing = asyncio.ensure_future(work)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections, even if this is cancelled. The next request opens new ones."""
        self._way = None
        self._idle.clear()
        for progress in self._under_way:
            self._aside(progress.call_off())
        while self._connections:
            self._connections.pop().abort()
        if self._closing:
            await asyncio.wait(self._closing)
        await asyncio.sleep(0)  # in which asyncio closes the sockets
        if self._end_of_loop is not None:
            await self._end_of_loop.aclose()
            self._end_of_loop = None

    def abandon(self) -> None:
        """Forget connections whose event loop was closed before they could be: nothing uses them again."""
        self._way = None
        self._end_of_loop = None
        self._connections, self._closing = set(), set()
        self._idle.clear()

    def drop(self) -> None:
        """Have the event loop close all connections, from any thread: it closes generators that are dropped."""
        self._way = None
        self._end_of_loop = None


def _headers(url: httpx.URL, envelope: Envelope) -> list[tuple[bytes, bytes]]:
    headers = {"Host": url.netloc.decode("ascii"), **_HEADERS}
    if envelope.content_type is not None:
        headers["Content-Type"] = envelope.content_type
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


async def _roundtrip(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, largest: int, progress: Progress
) -> Reply | Failure:
    try:
        return await door.roundtrip(transport, request, largest)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        progress.end_unconnected()
        raise


async def _close(transport: httpx.AsyncBaseTransport) -> None:
    with suppress(Exception):  # a mock may not even have this
        await transport.aclose()


async def _close_with_the_loop(connections: set[Connection]) -> AsyncGenerator[None, None]:
    """Close the connections when this generator is closed; a loop that ends closes its generators itself."""
    try:
        yield
    finally:
        while connections:
            connections.pop().abort()
        await asyncio.sleep(0)  # in which asyncio closes the sockets


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
