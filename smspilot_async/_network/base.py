"""The result of an HTTP exchange, and how far a request got: the types that the network layer returns."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
import attrs

from smspilot_async._tools.clock import boot_time
from smspilot_async.errors import Reason


class NotWritten(Exception):
    """A request was not begun: no byte of it was written. The text contains nothing of the request."""


class Unreachable(NotWritten):
    """No connection to the gateway could be opened."""


class ProxyRefused(Unreachable):
    """The proxy did not connect to the gateway."""


class NotBegun(NotWritten):
    """The peer had closed the connection, or sent data unasked, before the request began."""


class TooLate(NotWritten):
    """The request may not begin any more."""


_LONGEST_UNACKNOWLEDGED: Final = 10.0


def longest_unacknowledged(timeout: float) -> float:
    """Return the seconds for which the system tries to deliver a limited request of a client with this timeout."""
    return min(timeout, _LONGEST_UNACKNOWLEDGED)


@attrs.frozen(kw_only=True)
class WriteLimit:
    """Limits a request that must neither leave late nor arrive late: its sender may be dead or stopped by then.

    Attributes:
        not_after: Its first byte is not written later, in :func:`boot_time`.
        unacknowledged: Seconds for which the system tries to deliver what was written, where it has the option.
    """

    not_after: float
    unacknowledged: float

    def check(self) -> None:
        """Check that the request may still begin, just before it does.

        Raises:
            TooLate: It may not.
        """
        if self.is_over:
            raise TooLate("its time was over before it began")

    @property
    def is_over(self) -> bool:
        """The request may not begin any more."""
        return boot_time() >= self.not_after


@attrs.frozen
class Reply:
    """A complete HTTP answer."""

    status: int
    body: bytes = attrs.field(repr=False)
    retry_after: str | None = None
    date: str | None = None


@attrs.frozen
class Failure:
    """No complete HTTP answer.

    Attributes:
        reason: What happened.
        detail: The same in words, without anything of the request.
        request_started: A byte of the request may have been sent; false only if there is evidence that none was.
        http_status: The status, if one arrived.
    """

    reason: Reason
    detail: str
    request_started: bool = True
    http_status: int | None = None


_CONNECT_FAILED: Final = ("connect_tcp.failed", "connect_unix_socket.failed", "start_tls.failed")


class Abortable(Protocol):
    """A connection that can be closed at once."""

    def abort(self) -> None:
        """Close it."""


class Progress:
    """How far a request got, as the connection reports it, or httpcore where the request goes by httpx.

    A CONNECT to a proxy does not count as the request. A transport that reports nothing proves nothing.

    Args:
        limit: How late the request may leave, and arrive.

    Attributes:
        has_connection: It does not wait for a connection any more.
        has_begun: It was reported to have begun.
    """

    __slots__ = (
        "_has_failed",
        "_is_called_off",
        "_is_reported",
        "_opening",
        "_socket",
        "has_begun",
        "has_connection",
        "limit",
    )

    def __init__(self, limit: WriteLimit | None = None) -> None:
        self.limit = limit
        self.has_connection = False
        self._is_reported = False
        self._has_failed = False  # to connect: a transport of the user's may try another, which reports nothing
        self.has_begun = False
        self._is_called_off = False
        self._opening: Abortable | None = None
        self._socket: Any = None  # httpcore's

    @property
    def request_started(self) -> bool:
        """A byte of the request may have been sent; false only if there is evidence that none was."""
        return self.has_begun or (self.has_connection and (self._has_failed or not self._is_reported))

    # --- reported by this library's connections --------------------------------------------------

    def report(self, opening: Abortable | None = None) -> None:
        """Report that nothing was written yet.

        Args:
            opening: The connection that is being opened for the request.

        Raises:
            NotWritten: The request was called off.
        """
        self._is_reported = True
        self._opening = opening
        if self._is_called_off:
            raise NotWritten("the client was closed")

    def begin(self) -> None:
        """Report that the request is written in this very step.

        Raises:
            NotWritten: It was called off.
            TooLate: Its time was over before it began.
        """
        self.report()
        if self.limit is not None:
            self.limit.check()
        self.has_begun = True

    # --- reported by httpcore --------------------------------------------------------------------

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Process an event of httpcore's trace.

        Raises:
            NotWritten: The request was cancelled before it began.
            TooLate: Its time was over before it began.
        """
        self._is_reported = True
        # Cancelled while it connects, nothing follows: that is no Exception.
        self._has_failed = event.endswith(_CONNECT_FAILED) and isinstance(info.get("exception"), Exception)
        if event.endswith("connect_tcp.complete"):
            self._socket = info.get("return_value")
        if self._is_called_off and not self.request_started:
            raise NotWritten("the client was closed")
        if event.endswith("send_request_headers.started") and getattr(info.get("request"), "method", b"") != b"CONNECT":
            if self.limit is not None:
                self.limit.check()
            self.has_begun = True

    def end_unconnected(self) -> None:
        """Report that the request ended because httpcore could not connect, and nothing followed."""
        self._has_failed = False

    # --- ended before its time -------------------------------------------------------------------

    async def call_off(self) -> None:
        """End a request that has not begun."""
        self._is_called_off = True
        if self._opening is not None and not self.request_started:
            self._opening.abort()
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close a connection that no request was sent on: if it is cancelled during TLS, httpcore forgets it."""
        if self._socket is not None and not self.request_started:
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._socket.aclose()


def free_frames(error: BaseException | None) -> None:
    """Release the frames of a failure, and with them the request: since Python 3.13 httpx leaves them in a cycle."""
    seen = set[int]()  # an exception may be its own cause
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
