"""What an application may listen to: subclass :class:`Hooks` and pass instances as ``Client(hooks=[...])``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from smspilot_async.models import Message, SendResult

__all__ = ["Hooks"]


class Hooks:
    """Does nothing; override what you want to hear of."""

    def on_result(self, result: SendResult[Message]) -> Awaitable[None] | None:
        """Hear what became of one message: called once for each message that was handed to a send.

        Of one whose result is ``Unknown`` it may be called once more: with ``Accepted``, when a status callback proves
        that it was (:class:`~smspilot_async.callbacks.CallbackInbox`).

        It is called also when nobody waits for the result any more, because the caller was cancelled or ran out of
        time while the message was on the wire: then this is the only place where the truth arrives. It may be a
        coroutine function. An exception raised here is logged by its type and goes nowhere.

        Args:
            result: ``Accepted``, ``Refused``, ``Unknown`` or ``NotSent``; its ``item`` is the message.
        """
