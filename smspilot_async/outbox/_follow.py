"""Following what was accepted: the statuses of its messages are asked for until all are final, or 40 days are over.

The vendor's schedule holds for each packet as it was sent: after a minute, then two, growing by half up to an hour.
The progress is in the ledger, in the packet's attempt, so that any process can continue. Callbacks make most
polls of a message unnecessary: what is final is not asked for again.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async._statuses.rules import STATUS_UNKNOWN, is_truly_unknown, pause_before
from smspilot_async._statuses.tracking import HORIZON
from smspilot_async.errors import ClientClosed, NotFound, SmsPilotError
from smspilot_async.models import MessageStatus
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._proof import FINAL, news, write_news
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async import Client
    from smspilot_async.outbox._schema import Tables

__all__ = ["Followed", "Poll", "ask", "due_polls", "give_back", "next_poll", "write_statuses"]

logger: Final = logging.getLogger("smspilot_async.outbox")

_PACKETS_AT_ONCE: Final = 20
_HELD_FOR: Final = 300 * SECOND
"""For so long a process that is asking keeps others from asking the same; one that died, too."""
_UNKNOWN_AGAIN: Final = 3600 * SECOND
"""Until a packet without an answer is looked at again: a proof may have come by then."""
_NOTHING_ACCEPTED: Final = ("void", "not_sent", "refused")


@attrs.frozen(kw_only=True)
class Followed:
    """What following brought.

    Attributes:
        changed: Messages whose status changed.
        following: Packets that have messages without a final status.
    """

    changed: int
    following: int


@attrs.frozen(kw_only=True)
class Poll:
    """A packet whose statuses are due.

    Attributes:
        attempt_id: Its attempt.
        sent_at: When its intent was written.
        polls: How often it was asked for.
        doubtful: Messages that the gateway did not know at the last poll.
        numbers: The messages whose status is not final, by the gateway's number.
        is_unanswered: It has no answer to rely on, and a proof may still come.
    """

    attempt_id: int
    sent_at: int
    polls: int
    doubtful: frozenset[int]
    numbers: dict[str, Any]
    is_unanswered: bool


async def due_polls(connection: AsyncConnection, tables: Tables, now: int) -> list[Poll]:
    """Take the packets that are due, for this process alone, in the connection's transaction."""
    attempt = tables.attempt
    await _plan_first_polls(connection, tables)
    due = (
        sa.select(attempt)
        .where(attempt.c.next_poll <= now, attempt.c.outcome.is_not(None))
        .order_by(attempt.c.next_poll)
        .limit(_PACKETS_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    polls = []
    for row in (await connection.execute(due)).all():
        if now - row.intent_at > HORIZON * SECOND:
            await _plan(connection, tables, row.id, None)
        else:
            await _plan(connection, tables, row.id, now + _HELD_FOR)
            polls.append(await _poll_of(connection, tables, row))
    return polls


async def _plan_first_polls(connection: AsyncConnection, tables: Tables) -> None:
    """Say when what was recorded since the last time is asked for first; what brought no acceptance never is."""
    attempt = tables.attempt
    first = attempt.c.recorded_at + int(pause_before(1) * SECOND)
    planned = sa.case((attempt.c.outcome.in_(_NOTHING_ACCEPTED), None), else_=first)
    is_new = (attempt.c.next_poll == 0) & attempt.c.outcome.is_not(None)
    await connection.execute(sa.update(attempt).where(is_new).values(next_poll=planned))


async def _poll_of(connection: AsyncConnection, tables: Tables, row: Any) -> Poll:
    message = tables.message
    open_ones = sa.select(message.c.id, message.c.server_id, message.c.status, message.c.settled_at).where(
        message.c.id.in_(list(row.message_ids)),
        message.c.state == State.ACCEPTED.value,
        message.c.server_id.is_not(None),
        sa.func.coalesce(message.c.status, 0).not_in(FINAL),
    )
    return Poll(
        attempt_id=row.id,
        sent_at=row.intent_at,
        polls=row.polls,
        doubtful=frozenset(json.loads(row.doubtful or "[]")),
        numbers={one.server_id: one for one in await connection.execute(open_ones)},
        is_unanswered=row.outcome == "unknown",
    )


async def give_back(connection: AsyncConnection, tables: Tables, now: int, polls: Sequence[Poll]) -> None:
    """Let others ask at once for packets that :func:`due_polls` has taken."""
    for poll in polls:
        await _plan(connection, tables, poll.attempt_id, now)


async def ask(client: Client, polls: Sequence[Poll]) -> dict[str, MessageStatus]:
    """Ask the gateway for the statuses of some packets; those without an answer are missing.

    Raises:
        ClientClosed: The client was closed.
    """
    numbers = list({number: None for poll in polls for number in poll.numbers})
    if not numbers:
        return {}
    try:
        found = await client.check(numbers)
    except ClientClosed:
        raise
    except NotFound as error:
        return {numbers[0]: MessageStatus(server_id=numbers[0], status=STATUS_UNKNOWN, error=error.code)}
    except SmsPilotError as error:
        logger.warning("statuses: a check failed (%s); it will be repeated", type(error).__name__)
        return {}
    return {number: status for number, status in zip(numbers, found, strict=True) if status.status is not None}


async def write_statuses(
    connection: AsyncConnection, tables: Tables, now: int, poll: Poll, found: dict[str, MessageStatus]
) -> int:
    """Write the statuses of one packet down, and when it is asked for next; return how many changed."""
    changes: list[dict[str, Any]] = []
    doubtful, left = [], 0
    for number, row in sorted(poll.numbers.items(), key=lambda pair: int(pair[1].id)):
        status = found.get(number)
        if status is not None and status.id is not None and status.id != row.id:
            logger.warning("statuses: the gateway has another message under a number; it was left as it is")
            status = None
        if status is not None and status.status == STATUS_UNKNOWN:
            doubtful.append(row.id)
            age = (now - (row.settled_at or poll.sent_at)) / SECOND
            if not is_truly_unknown(age, 1 + (row.id in poll.doubtful)):
                status = None
        if status is not None:
            change = news(row, status, at=now, is_polled=True)
            changes += [] if change is None else [change]
        left += status is None or not status.is_final
    await write_news(connection, tables, changes)
    polls = poll.polls + (found.keys() >= poll.numbers.keys())
    await _plan(connection, tables, poll.attempt_id, _next(poll, left, polls, now), polls=polls, doubtful=doubtful)
    return len(changes)


def _next(poll: Poll, left: int, polls: int, now: int) -> int | None:
    if left:
        return now + int(pause_before(polls + 1) * SECOND)
    return now + _UNKNOWN_AGAIN if poll.is_unanswered else None


async def _plan(  # noqa: PLR0917 - a row's columns
    connection: AsyncConnection,
    tables: Tables,
    attempt_id: int,
    due: int | None,
    polls: int | None = None,
    doubtful: Collection[int] = (),
) -> None:
    attempt = tables.attempt
    values: dict[str, Any] = {"next_poll": due}
    if polls is not None:
        values |= {"polls": polls, "doubtful": json.dumps(list(doubtful)) if doubtful else None}
    await connection.execute(sa.update(attempt).where(attempt.c.id == attempt_id).values(**values))


async def next_poll(connection: AsyncConnection, tables: Tables) -> tuple[int, int | None]:
    """Return how many packets are followed, and when the first of them is due."""
    attempt = tables.attempt
    query = sa.select(sa.func.count(), sa.func.min(attempt.c.next_poll)).where(
        attempt.c.next_poll.is_not(None), attempt.c.outcome.is_not(None)
    )
    count, due = (await connection.execute(query)).one()
    return count, due
