"""One message on its way through the client, and what its caller is told in the end."""

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
    """One message on its way through the client, from the caller's hand to a result.

    Args:
        message: The message.
        id: The number it travels under.
        until: No attempt begins after this moment, in the clock's monotonic seconds.
        sender: For a message that names none, before the client's own.
        waiter: What its caller waits for, if it waits for this message alone. Cancelled, it takes the message back as
            long as that has not left.

    Attributes:
        outcome: What became of it, once that is settled: the gateway's answer about it, or why there is none.
        row: The last answer about it, also while it is being sent again.
        error: The last reason why there was no answer about it.
        is_withdrawn: Its caller takes it back, if it has not left.
        is_reported: The hooks have heard of its outcome.
        lingers_until: When it has waited long enough for company, in the clock's monotonic seconds.
        nonce: By which the inbox knows this send from others of the same id.
        context: Its caller's, where the packet's task is not the caller's own and a hook wants to know.
    """

    __slots__ = (
        "attempts",
        "context",
        "error",
        "id",
        "is_reported",
        "is_withdrawn",
        "lingers_until",
        "message",
        "nonce",
        "outcome",
        "row",
        "sender",
        "until",
        "waiter",
    )

    def __init__(
        self,
        message: Message,
        id: int,  # noqa: A002 - the gateway's own word for it
        *,
        until: float = math.inf,
        sender: str | None = None,
        waiter: asyncio.Future[SentMessage | SmsPilotError] | None = None,
    ) -> None:
        self.message = message
        self.id = id
        self.until = until
        self.sender = sender
        self.waiter = waiter
        self.attempts = 0
        self.context: Context | None = None
        self.is_withdrawn = False
        self.is_reported = False
        self.lingers_until = math.inf
        self.nonce: bytes | None = None
        self.outcome: SentMessage | SmsPilotError | None = None
        self.row: SentMessage | None = None
        self.error: SmsPilotError | None = None

    @property
    def is_taken_back(self) -> bool:
        """Its caller does not want it sent any more."""
        return self.is_withdrawn or (self.waiter is not None and self.waiter.cancelled())

    @property
    def is_late(self) -> bool:
        """It was settled after its caller had left, or had been told that it is unknown."""
        return self.is_taken_back or (self.waiter is not None and self.waiter.result() is not self.outcome)

    def settle(self, outcome: SentMessage | SmsPilotError) -> None:
        """Say what became of it."""
        self.outcome = outcome
        if self.nonce is not None and (failure := failure_of(outcome)) is not None and failure.message_id is not None:
            set_send_nonce(failure, self.nonce)
        if self.waiter is not None:
            self.answer_caller(outcome)

    def answer_caller(self, outcome: SentMessage | SmsPilotError) -> None:
        """Answer its caller, which may be before it is settled."""
        if self.waiter is not None and not self.waiter.done():
            try:
                self.waiter.set_result(outcome)
            except RuntimeError:  # its loop was closed, and took its caller along
                return

    def give_up(self) -> None:
        """Settle it with what the last attempt brought, or, if there was none, as not sent."""
        self.settle(self.row or self.error or _not_sent(self.id))

    def result(self) -> SendResult[Message]:
        """Tell what became of it, for hooks, to whom an error names the message even if it is about a whole packet."""
        outcome = self.outcome
        if isinstance(outcome, SmsPilotError) and outcome.message_id is None:
            outcome = about(outcome, self)
        return result_of(self.message, outcome)

    def as_row(self) -> SentMessage:
        """Tell what became of it as a row of a packet."""
        if isinstance(self.outcome, SentMessage):
            return self.outcome
        return SentMessage(id=self.id, failure=self.outcome)


def _not_sent(id_: int) -> ConnectionFailed:
    text = (
        f"send of message {id_}: its deadline passed, it was taken back, or its client or event loop was closed, while "
        "it waited for a connection, its turn or company. Nothing was sent: it can be sent again, with a longer "
        "deadline if need be."
    )
    return ConnectionFailed(text, command="send", message_id=id_)


def about(error: Error, entry: PendingMessage) -> Error:
    """Make each caller an error of its own, since each raises it."""
    mine = copy(error)
    mine.message_id = entry.id
    if entry.nonce is not None:
        set_send_nonce(mine, entry.nonce)
    return mine


def failure_of(outcome: SentMessage | SmsPilotError | None) -> SmsPilotError | None:
    return outcome.failure if isinstance(outcome, SentMessage) else outcome


def number_apart(entries: Sequence[PendingMessage]) -> None:
    """Give a new number to a message whose own one stands in the packet already: answers are told apart by it."""
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
    """Turn what became of a message into its result, with the caller's own object in it."""
    sent, error = (outcome, outcome.failure) if isinstance(outcome, SentMessage) else (None, outcome)
    if error is None:
        return NotSent(item) if sent is None else Accepted(item, sent)
    if isinstance(error, OutcomeUnknown):
        return Unknown(item, error, sent)
    return (Refused if error.outcome is Outcome.REFUSED else NotSent)(item, error, sent)


def is_veto(outcome: object) -> TypeGuard[MessageVetoed]:
    """Tell whether a hook decided that a message must not be sent: a refusal, as final as that of an invalid one."""
    return isinstance(outcome, MessageVetoed) and not isinstance(outcome, VetoFailed)
