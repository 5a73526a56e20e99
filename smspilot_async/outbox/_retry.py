"""Sending some of a campaign's messages again: an order of its own, which reaches exactly those, once.

It is one transaction. The count that was expected is compared inside it, so that whoever orders has seen what they
order. A message whose last request may still arrive waits until its lease is over. What is accepted is never sent
again by this; a new campaign reaches those people again (``create(from_=…)``).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspilot_async.outbox._campaign_rows import campaign_row, messages_of, move
from smspilot_async.outbox._errors import CampaignStateError, UnexpectedCount
from smspilot_async.outbox._import import FIRST_CLAIM
from smspilot_async.outbox._ledger import Why
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._states import CampaignEvent, CampaignState, Event, State, sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._selection import Selection

__all__ = ["check_count", "count_retried", "noting_refusal", "retry"]

_SETTLED: Final = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value)


async def retry(
    access: Access, campaign_id: int, selection: Selection, *, expect: int, actor: str, why: str | None
) -> int:
    """Put messages back, and let a finished campaign run again; return how many."""
    async with noting_refusal(access, f"campaign {CampaignEvent.RETRY.value}", campaign_id, actor, why):
        return await _retry(access, campaign_id, selection, expect=expect, actor=actor, why=why)


@contextlib.asynccontextmanager
async def noting_refusal(
    access: Access, action: str, campaign_id: int, actor: str, why: str | None
) -> AsyncIterator[None]:
    """Write an order down that expected another count, too: of two who order at once the log names both."""
    try:
        yield
    except UnexpectedCount as error:
        async with access.writing() as connection:
            now = await access.now(connection)
            more: dict[str, Any] = {"why": why, "detail": f"refused: {error.difference}", "count": 0}
            await write_order(
                connection, access.tables, now, actor=actor, action=action, campaign_id=campaign_id, **more
            )
        raise


async def _retry(
    access: Access, campaign_id: int, selection: Selection, *, expect: int, actor: str, why: str | None
) -> int:
    tables = access.tables
    message = tables.message
    async with access.writing() as connection:
        now = await access.now(connection)
        row = await campaign_row(connection, tables, lock=True, id=campaign_id)
        values: dict[str, Any] = {"finished_at": None}
        if row["state"] == CampaignState.FINISHED:
            values["reason"] = None
        order = {"why": why, "detail": ",".join(selection.words), "count": expect}
        await move(
            connection,
            tables,
            now,
            campaign_id=campaign_id,
            event=CampaignEvent.RETRY,
            actor=actor,
            values=values,
            **order,
        )
        if row["expires_at"] <= now:
            raise CampaignStateError(
                f"campaign {row['name']!r} has expired: nothing of it would leave. Nothing was changed. Make a new one "
                "from it: smspilot campaign create --from."
            )
        mine = _may_go_again(access, row, selection)
        locked = sa.select(message.c.id).where(mine).order_by(message.c.id).with_for_update().subquery()
        found = await connection.execute(sa.select(sa.func.count()).select_from(locked))
        check_count(found.scalar_one(), expect, "be sent again")
        await connection.execute(sa.update(message).where(mine).values(_put_back(access, now)))
        stream = tables.stream
        floor = sa.update(stream).where(stream.c.campaign_id == campaign_id).values(floor_due=0, floor_id=0)
        await connection.execute(floor)
    return expect


def check_count(found: int, expect: int, what: str) -> None:
    """Compare what an order would reach with what was expected.

    Raises:
        UnexpectedCount: They differ.
    """
    if found != expect:
        raise UnexpectedCount(
            f"{found} messages would {what}, not {expect}. Nothing was changed. Look at them, and give that number.",
            difference=f"{found}, not {expect}",
        )


async def count_retried(access: Access, connection: AsyncConnection, row: Any, selection: Selection) -> int:
    """Return how many messages a retry would send again now."""
    message = access.tables.message
    query = sa.select(sa.func.count()).select_from(message).where(_may_go_again(access, row, selection))
    return int((await connection.execute(query)).scalar_one())


def _may_go_again(access: Access, row: Any, selection: Selection) -> Any:
    message = access.tables.message
    return sa.and_(
        messages_of(access.tables, row),
        message.c.state.in_([state.value for state in sources(Event.RESEND)]),
        message.c.reason.is_(None) | message.c.reason.not_in(_SETTLED),
        message.c.text.is_not(None),  # it was not forgotten
        selection.where(access.tables),
    )


def _put_back(access: Access, now: int) -> dict[str, Any]:
    message, attempt = access.tables.message, access.tables.attempt
    lease = sa.select(attempt.c.lease).where(attempt.c.id == message.c.attempt_id).correlate(message).scalar_subquery()
    may_arrive = (message.c.state == State.UNKNOWN.value) & (sa.func.coalesce(lease, 0) > now)
    return {
        "state": State.PENDING.value,
        "reason": None,
        "code": None,
        "most": None,
        "settled_at": None,
        "due": sa.case((may_arrive, lease), else_=now),
        "wanted_at": FIRST_CLAIM,
        # What is decided against it from now on says nothing of the time that is unknown.
        "resends": message.c.resends + sa.case((message.c.state == State.UNKNOWN.value, 1), else_=0),
    }
