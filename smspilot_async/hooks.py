"""What an application may listen to: subclass :class:`Hooks` and pass instances as ``Client(hooks=[...])``."""

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

__all__ = ["Hooks", "RequestInfo", "RequestOutcome"]


@attrs.frozen(eq=False, kw_only=True)
class RequestInfo:
    """One HTTP request to the gateway, with nothing of its content: no key, phone, text or URL query.

    Each request has an object of its own, the same in ``before_request`` and ``after_request``.

    Attributes:
        command: The gateway's command: ``"send"``, ``"cost"``, ``"check"``, ``"balance"``, ``"info"``, ``"inbound"``.
        wire: The document's language.
        messages: How many messages or ids it carries; 1 for commands that carry none.
        attempt: 1 for the first, more where the same is tried again after a failure.
        size: Bytes of the body, or, where the document travels in the URL, of the URL.
        method: ``"POST"`` or ``"GET"``.
        url: The endpoint, without a query.
        contexts: The context variables of the callers it serves: calls of :meth:`Client.send` that share a packet have
            one each. Requests run in tasks of their own, so the current context is not the caller's.
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
        error: Why there is no answer to use; ``None`` where there is one. The messages of a packet that was answered
            may still be refused one by one: that is told to ``on_result``.
        http_status: The HTTP status, where one arrived.
        seconds: From its start until its answer was read.
    """

    error: SmsPilotError | None
    http_status: int | None
    seconds: float

    @property
    def kind(self) -> str:
        """``"answered"``, or the error's outcome: ``"refused"``, ``"not_sent"`` or ``"unknown"``."""
        return "answered" if self.error is None else self.error.outcome.value


class Observed(Protocol):
    """What a hook may ask of its client, from any thread."""

    def health(self) -> Health:
        """Return how the client is doing."""


class Hooks:
    """Does nothing; override what you want to hear of, and nothing else is called.

    All of them run in the event loop and must not block it. What an observer raises is logged by its type and changes
    nothing; only :meth:`veto` and :meth:`before_packet` have a say in what is sent. A hook that hangs holds up its
    packet, the end of a bulk run, and the closing of the client, unless that has a timeout: it may be writing down what
    is known nowhere else, so it is not cut off. After 30 seconds a WARNING names it. Give what it waits for a timeout
    of its own.
    """

    def on_client(self, client: Observed) -> None:
        """Hear of a client that was made with this hook; ``client.health()`` may be asked from any thread."""

    def veto(self, message: Message) -> str | Awaitable[str | None] | None:
        """Refuse a message before it is queued: opt-outs, quiet hours.

        It may be a coroutine function; the messages of a packet are asked about at the same time. Who sends is
        told :class:`~smspilot_async.MessageVetoed`, and a bulk run says ``Refused``: nothing left. Where it raises, or
        has not answered at the call's deadline (in a bulk run: the client's), nothing leaves either, and the error is
        :class:`~smspilot_async.VetoFailed`, in a bulk run in ``NotSent``.

        Args:
            message: What is about to be sent.

        Returns:
            Why it must not be sent, in your own words, without phone or text; nothing (``None`` or ``""``) if it may.
        """

    def before_packet(self, messages: Sequence[Message]) -> Awaitable[None] | None:
        """Write an intent down: awaited before the first byte of every send, alone, packed or in bulk.

        Each message is named once, before its first request; repeats and halves of its packet are part of the same
        intent. It may be a coroutine function. Where it raises, or has not answered at the call's deadline (in a bulk
        run: the client's), the packet does not leave, and each of its messages is ``not_sent`` with
        :class:`~smspilot_async.VetoFailed`. What it named may still not leave, as when the connection fails.

        Args:
            messages: The messages that are about to leave in one request, as they were handed in; vetoed ones are not
                among them.
        """

    def before_request(self, request: RequestInfo) -> None:
        """Hear of a request that is about to be made. No coroutine function: the request does not wait."""

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        """Hear how a request ended, also when it was cancelled. No coroutine function."""

    def on_result(self, result: SendResult[Message]) -> Awaitable[None] | None:
        """Hear what became of one message: called once for each message that was handed to a send.

        Of one whose result is ``Unknown`` it may be called once more: with ``Accepted``, when a status callback proves
        that it was (:class:`~smspilot_async.callbacks.CallbackInbox`).

        It is called also when nobody waits for the result any more, because the caller was cancelled or ran out of
        time while the message was on the wire: then this is the only place where the truth arrives. It may be a
        coroutine function.

        Args:
            result: ``Accepted``, ``Refused``, ``Unknown`` or ``NotSent``; its ``item`` is the message.
        """

    async def aclose(self) -> None:
        """Finish: awaited each time when a client has closed, after its last result was told."""
