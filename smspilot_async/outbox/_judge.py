"""What an answer of the gateway means for each message of a packet: pure functions."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.errors import (
    AccountBlocked,
    AuthenticationError,
    ClientClosed,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    InvalidMessage,
    Outcome,
    OutcomeUnknown,
    SmsPilotError,
)
from smspilot_async.models import Packet
from smspilot_async.outbox._ledger import DUPLICATE, SECOND, MessageAnswer, Why
from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async.models import Message, SentMessage

__all__ = ["Judgement", "judge", "probed"]

_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 5 * SECOND, 300 * SECOND
_ACCOUNT_ERRORS: Final = (AuthenticationError, AccountBlocked, InsufficientFunds)


@attrs.frozen(kw_only=True)
class Judgement:
    """What an answer means.

    Attributes:
        rows: For each message.
        account_error: It holds for everything that the account sends.
        is_answered: The gateway answered; ``False`` also if nothing was sent.
        is_unknown: There was no answer to rely on.
    """

    rows: list[MessageAnswer]
    outcome: str
    evidence: str | None = None
    account_error: GatewayError | None = None
    is_answered: bool = True
    is_unknown: bool = False
    server_packet_id: str | None = None
    cost: Any = None


def judge(messages: Sequence[Message], tries: Sequence[int], result: Packet | SmsPilotError) -> Judgement:
    """Return what an answer means for the messages of a packet."""
    pairs: list[tuple[SentMessage | None, SmsPilotError | None]]
    if isinstance(result, Packet):
        pairs = [(row, row.failure) for row in result.messages]
    else:
        pairs = [(None, result)] * len(messages)
    size = len(messages)
    is_whole = not isinstance(result, Packet)
    rows = [
        _accepted(message.id or 0, row)
        if failure is None
        else _judge_one(message.id or 0, failure, tried, size=size if is_whole else 1)
        for message, tried, (row, failure) in zip(messages, tries, pairs, strict=True)
    ]
    failures = [failure for _, failure in pairs if failure is not None]
    account_error = next((one for one in failures if isinstance(one, _ACCOUNT_ERRORS)), None)
    if isinstance(result, Packet):
        return Judgement(
            rows=rows,
            outcome="answered",
            account_error=account_error,
            server_packet_id=result.server_packet_id,
            cost=result.cost,
        )
    return Judgement(
        rows=rows,
        outcome=result.outcome.value,
        evidence=_evidence(result),
        account_error=account_error,
        is_answered=isinstance(result, GatewayError),
        is_unknown=result.outcome is Outcome.UNKNOWN,
        server_packet_id=result.server_packet_id if isinstance(result, OutcomeUnknown) else None,
    )


def _accepted(id_: int, row: SentMessage | None) -> MessageAnswer:
    assert row is not None  # noqa: S101 - an error has a failure
    return MessageAnswer(
        id=id_,
        event=Event.ACCEPTED,
        server_id=row.server_id,
        parts=row.parts,
        price=row.price,
        status=None if row.status is None else int(row.status),
    )


def _judge_one(id_: int, failure: SmsPilotError, tries: int, *, size: int) -> MessageAnswer:
    code = getattr(failure, "code", None)
    if failure.outcome is Outcome.UNKNOWN:
        return MessageAnswer(id=id_, event=Event.UNANSWERED, reason=_evidence(failure), code=code)
    is_answered = isinstance(failure, GatewayError)
    if failure.outcome is Outcome.REFUSED and (size == 1 or not is_answered):
        return MessageAnswer(id=id_, event=Event.REFUSED, reason=_reason(failure), code=code, on_wire=is_answered)
    return MessageAnswer(
        id=id_,
        event=Event.PUT_BACK,
        reason=_reason(failure),
        code=code,
        on_wire=is_answered,
        delay=_delay(failure, tries),
        # The gateway refused all because of one, and does not say which: halves find it.
        most=size // 2 if failure.outcome is Outcome.REFUSED else None,
    )


def probed(row: MessageAnswer) -> MessageAnswer:
    """Return what the answer to a probe means: but for an acceptance and a 243, nothing for the message itself."""
    if row.event in {Event.REFUSED, Event.PUT_BACK} and row.code != DUPLICATE:
        return attrs.evolve(row, event=Event.UNANSWERED, reason=row.reason or Why.PROBED)
    return row


def _delay(failure: SmsPilotError, tries: int) -> int:
    if failure.outcome is Outcome.REFUSED or isinstance(failure, (ClientClosed, *_ACCOUNT_ERRORS)):
        return 0
    asked = failure.retry_after if isinstance(failure, GatewayBusy) else None
    delay = min(_FIRST_BACK_OFF * 2 ** min(tries - 1, 10), _LONGEST_BACK_OFF)
    return max(int(delay * random.uniform(0.75, 1.25)), int((asked or 0) * SECOND))  # noqa: S311 - spreads in time


def _reason(failure: SmsPilotError) -> str | None:
    """Say why in a word, where the code does not."""
    if isinstance(failure, GatewayError):
        return None if failure.code is not None else f"http_{failure.http_status}"
    if isinstance(failure, InvalidMessage):
        return Why.INVALID
    return type(failure).__name__


def _evidence(failure: SmsPilotError) -> str:
    """Say what an error is, without words of the gateway."""
    if isinstance(failure, OutcomeUnknown):
        return failure.reason.value
    code = getattr(failure, "code", None)
    return type(failure).__name__ if code is None else f"{type(failure).__name__} {code}"
