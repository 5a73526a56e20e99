"""A message on its way through the client, from the caller to its outcome."""

from __future__ import annotations

import itertools
import math
import random
from copy import copy
from typing import TYPE_CHECKING, Final, TypeGuard, TypeVar

from smspilot_async.errors import (
    ConnectionFailed,
    MessageVetoed,
    Outcome,
    OutcomeUnknown,
    SmsPilotError,
    VetoFailed,
    set_send_nonce,
)
from smspilot_async.models import Accepted, NotSent, Refused, SentMessage, Unknown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from contextvars import Context

    from smspilot_async.models import Message, SendResult

Item = TypeVar("Item")
Error = TypeVar("Error", bound=SmsPilotError)
_NEW_IDS: Final = (1_000_000_000, 2_000_000_000)


class PendingMessage:
    """A message on its way through the client, from the caller to its result.

    Args:
        message: The message.
        id: The id it is sent with.
        sender: For a message without one, instead of the client's.
        until: No attempt starts after this moment, in the clock's monotonic seconds.
        waiter: The caller's future, if the caller waits for this message alone. Cancelling it withdraws the message,
            unless it was already sent.

    Attributes:
        outcome: Once settled: the gateway's answer about it, or why there is none.
        row: The last answer about it, also while it is being sent again.
        error: The last reason why there was no answer about it.
        is_withdrawn: It must not be sent any more.
        is_reported: Hooks were called with its outcome.
        lingers_until: When it stops waiting for more messages, in the clock's monotonic seconds.
        nonce: Distinguishes this send, for the inbox, from others with the same id; the inbox chooses it, unless it is
            set before the message is sent.
        context: The caller's context variables, if the packet has its own task and a hook observes requests.
    """

    # Of most messages these stay as they are, and only what is set costs time.
    attempts: int = 0
    context: Context | None = None
    error: SmsPilotError | None = None
    is_reported: bool = False
    lingers_until: float = math.inf
    nonce: bytes | None = None

    def __init__(
        self,
        message: Message,
        id: int,  # noqa: A002 - the gateway's own word for it
        sender: str | None = None,
        *,
        until: float = math.inf,
        waiter: asyncio.Future[SentMessage | SmsPilotError] | None = None,
    ) -> None:
        self.message = message
        self.id = id
        self.sender = sender
        self.until = until
        self.waiter = waiter
        self.is_withdrawn = False
        self.outcome: SentMessage | SmsPilotError | None = None
        self.row: SentMessage | None = None

    @property
    def is_taken_back(self) -> bool:
        """It must not be sent any more."""
        return self.is_withdrawn or (self.waiter is not None and self.waiter.cancelled())

    @property
    def is_late(self) -> bool:
        """It was settled after its caller had gone, or was answered that it is unknown."""
        return self.is_taken_back or (self.waiter is not None and self.waiter.result() is not self.outcome)

    def settle(self, outcome: SentMessage | SmsPilotError) -> None:
        """Set its outcome, and answer its caller."""
        self.outcome = outcome
        if self.nonce is not None and (failure := failure_of(outcome)) is not None and failure.message_id is not None:
            set_send_nonce(failure, self.nonce)
        if self.waiter is not None:
            self.answer_caller(outcome)

    def answer_caller(self, outcome: SentMessage | SmsPilotError) -> None:
        """Answer its caller, possibly before it is settled."""
        if self.waiter is not None and not self.waiter.done():
            try:
                self.waiter.set_result(outcome)
            except RuntimeError:  # its event loop was closed, and the caller is gone
                return

    def give_up(self) -> None:
        """Settle it with the result of the last attempt or, if there was none, as not sent."""
        self.settle(self.row or self.error or _not_sent(self.id))

    def result(self) -> SendResult[Message]:
        """Return its result, for hooks: the error has the message's id, even if it is about a whole packet."""
        outcome = self.outcome
        if isinstance(outcome, SmsPilotError) and outcome.message_id is None:
            outcome = about(outcome, self)
        return result_of(self.message, outcome)

    def as_row(self) -> SentMessage:
        """Return its outcome as a row of a packet."""
        if isinstance(self.outcome, SentMessage):
            return self.outcome
        return SentMessage(id=self.id, failure=self.outcome)


def _not_sent(id_: int) -> ConnectionFailed:
    text = (
        f"send of message {id_}: its deadline passed, it was cancelled, or its client or event loop was closed, while "
        "it waited for a connection, the rate limit or its packet. Nothing was sent: it can be sent again, with a "
        "longer deadline if need be."
    )
    return ConnectionFailed(text, command="send", message_id=id_)


def about(error: Error, entry: PendingMessage) -> Error:
    """Return a copy of an error for one caller, since each caller raises it."""
    mine = copy(error)
    mine.message_id = entry.id
    if entry.nonce is not None:
        set_send_nonce(mine, entry.nonce)
    return mine


def failure_of(outcome: SentMessage | SmsPilotError | None) -> SmsPilotError | None:
    return outcome.failure if isinstance(outcome, SentMessage) else outcome


def number_apart(entries: Sequence[PendingMessage]) -> None:
    """Assign a new id to a message whose id is already in the packet: answers are matched by id."""
    if len({entry.id for entry in entries}) == len(entries):
        return
    given = {entry.id for entry in entries}
    free = (id_ for id_ in itertools.count(random.randint(*_NEW_IDS)) if id_ not in given)  # noqa: S311 - only unique
    taken: set[int] = set()
    for entry in entries:
        if entry.id in taken:
            entry.id = next(free)
        taken.add(entry.id)


def result_of(item: Item, outcome: SentMessage | SmsPilotError | None) -> SendResult[Item]:
    """Return a message's result, with the caller's own item in it."""
    if isinstance(outcome, SentMessage):
        sent, error = outcome, outcome.failure
        if error is None:
            return Accepted(item, sent)
    else:
        sent, error = None, outcome
        if error is None:
            return NotSent(item)
    if isinstance(error, OutcomeUnknown):
        return Unknown(item, error, sent)
    return (Refused if error.outcome is Outcome.REFUSED else NotSent)(item, error, sent)


def is_veto(outcome: object) -> TypeGuard[MessageVetoed]:
    """Return whether a hook decided that a message must not be sent: a refusal, as final as that of an invalid one."""
    return isinstance(outcome, MessageVetoed) and not isinstance(outcome, VetoFailed)
