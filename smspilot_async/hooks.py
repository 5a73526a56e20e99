"""Events of a client that an application can observe: subclass :class:`Hooks`, pass ``Client(hooks=[...])``."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from smspilot_async.errors import SmsPilotError
from smspilot_async.wire import WireFormat

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from smspilot_async._health import Health
    from smspilot_async.models import Message, SendResult

__all__ = ["Hooks", "Observed", "RequestInfo", "RequestOutcome"]


@attrs.frozen(eq=False, kw_only=True)
class RequestInfo:
    """One HTTP request to the gateway, without its content: no key, phone, text or URL query.

    Each request has its own object, the same in ``before_request`` and ``after_request``.

    Attributes:
        command: The gateway's command: ``"send"``, ``"cost"``, ``"check"``, ``"balance"``, ``"info"``, ``"inbound"``.
        wire: The format of the document.
        messages: How many messages or ids it carries; 1 for commands that carry none.
        attempt: 1 for the first request, higher for a retry.
        size: Size in bytes of the body or, if the document travels in the URL, of the URL.
        method: ``"POST"`` or ``"GET"``.
        url: The endpoint, without a query.
        contexts: The context variables of the callers it serves, one for each :meth:`Client.send` call that shares the
            packet. Requests run in separate tasks, so the current context is not the caller's.
    """

    command: str
    wire: WireFormat
    messages: int
    attempt: int
    size: int
    method: Literal["GET", "POST"]
    url: str
    contexts: Sequence[Context] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RequestOutcome:
    """How one HTTP request ended.

    Attributes:
        error: Why there is no usable answer; ``None`` if there is one. Single messages of an answered packet may still
            be refused: ``on_result`` is called with those.
        http_status: The HTTP status, if one arrived.
        seconds: From the start of the request until its answer was read.
    """

    error: SmsPilotError | None
    http_status: int | None
    seconds: float

    @property
    def kind(self) -> str:
        """``"answered"``, or the error's outcome: ``"refused"``, ``"not_sent"`` or ``"unknown"``."""
        return "answered" if self.error is None else self.error.outcome.value


class Observed(Protocol):
    """The part of a client that hooks may use, from any thread."""

    def health(self) -> Health:
        """Return the client's health."""
        raise NotImplementedError


class Hooks:
    """Base class of hooks. It does nothing; only the methods that you override are called.

    Hooks run in the event loop and must not block it. The type of an exception that an observer raises is logged, and
    the exception changes nothing; only :meth:`veto` and :meth:`before_packet` can stop a message. A hook that hangs
    delays its packet, the end of a bulk run, and the closing of the client (unless that has a timeout): it is not
    cancelled, since it may be storing a result that is recorded nowhere else. After 30 seconds a WARNING names it. Set
    a timeout on everything that a hook awaits.
    """

    def on_client(self, client: Observed) -> None:
        """Called once for each client created with this hook; ``client.health()`` may be called from any thread."""

    def veto(self, message: Message) -> str | Awaitable[str | None] | None:
        """Refuse a message before it is queued: opt-outs, quiet hours.

        It may be a coroutine function; it is called for all messages of a packet concurrently. For a vetoed message,
        which is not sent, the caller gets :class:`~smspilot_async.MessageVetoed`, and a bulk run yields ``Refused``. If
        the hook raises, or does not answer by the call's deadline (in a bulk run: the client's), the message is not
        sent either: the caller gets :class:`~smspilot_async.VetoFailed`, and a bulk run yields ``NotSent`` with it.

        Args:
            message: The message that is about to be sent.

        Returns:
            Why it must not be sent, in your own words, without phone or text; ``None`` or ``""`` to allow it.
        """

    def before_packet(self, messages: Sequence[Message]) -> Awaitable[None] | None:
        """Record the intent to send: awaited before the first byte of every send, single, packed or bulk.

        Each message is passed once, before its first request; retries and halves of its packet belong to the same
        intent. It may be a coroutine function. If it raises, or does not answer by the call's deadline (in a bulk run:
        the client's), the packet is not sent, and each of its messages is ``not_sent`` with
        :class:`~smspilot_async.VetoFailed`. A message passed here may still not be sent, as when the connection fails.

        Args:
            messages: The messages that are about to be sent in one request, as the caller passed them, without vetoed
                ones.
        """

    def before_request(self, request: RequestInfo) -> None:
        """Called before each request. It must not be a coroutine function: the request does not wait for it."""

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        """Called when a request has ended, also if it was cancelled. It must not be a coroutine function."""

    def on_result(self, result: SendResult[Message]) -> Awaitable[None] | None:
        """Called with the result of each message that was passed to a send, once.

        After ``Unknown`` it may be called once more, with ``Accepted``: when a status callback proves that the message
        was accepted (:class:`~smspilot_async.callbacks.CallbackInbox`).

        It is also called if the caller was cancelled, or its deadline passed, while the message was on the wire: then
        this is the only place where the result arrives. It may be a coroutine function.

        Args:
            result: ``Accepted``, ``Refused``, ``Unknown`` or ``NotSent``; its ``item`` is the message.
        """

    async def aclose(self) -> None:
        """Release resources: awaited each time a client has closed, after the last :meth:`on_result`."""
