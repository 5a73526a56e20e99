"""What a request ends as, and how far it came: the words in which the network speaks to those above it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import attrs
import httpcore

from smspilot_async.errors import Reason


class NotBegun(httpcore.ConnectError):
    """The other end was gone, or spoke unasked, before a request began: not a byte of it was written."""


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
        request_started: A byte of the request may have left; false only where there is evidence that none did.
        http_status: The status, where one arrived.
    """

    reason: Reason
    detail: str
    request_started: bool = True
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
        if self._is_called_off and not self.request_started:
            raise httpcore.ConnectError("the client was closed")
        if event.endswith("send_request_headers.started"):
            method = getattr(info.get("request"), "method", b"")
            self._headers_left = self._headers_left or method != b"CONNECT"
        elif event.endswith("send_request_headers.failed") and isinstance(info.get("exception"), NotBegun):
            self._headers_left = False

    @property
    def request_started(self) -> bool:
        """A byte of the request may have left; false only where there is evidence that none did."""
        return self.has_connection and (not self._is_reported or self._headers_left)

    async def call_off(self) -> None:
        """Let it end where it has not begun: httpcore closes no connection that is only just being made."""
        self._is_called_off = True
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close a connection that never came to a request: cancelled in the middle of TLS, httpcore forgets it."""
        if self._socket is not None and not self.request_started:
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._socket.aclose()


def free_frames(error: BaseException | None) -> None:
    """Free the frames of a failure, and with them the request: since Python 3.13 httpx leaves them in a cycle."""
    seen = set[int]()  # whatever raised it may have made it its own cause
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
