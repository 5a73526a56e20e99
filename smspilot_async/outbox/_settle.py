"""Settling what is unknown by an order: bookkeeping alone, which sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from smspilot_async.outbox._errors import UnexpectedCount
from smspilot_async.outbox._ledger import Why
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = ["SettleAs", "count_unsettled", "settle"]

SettleAs: TypeAlias = Literal["assume_sent", "proven_duplicate", "not_sent"]
"""Sent, as far as anyone can tell; accepted, as its duplicate was refused; not sent."""
_REASONS: Final = {"assume_sent": Why.ASSUMED_SENT, "proven_duplicate": Why.PROVEN_DUPLICATE, "not_sent": Why.NOT_SENT}
_SETTLED: Final = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value)


def _unsettled(tables: Tables, now: int, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select unknown messages that are not settled, and whose last request cannot be on the wire any more."""
    message, attempt = tables.message, tables.attempt
    lease_is_over = sa.not_(sa.exists().where(attempt.c.id == message.c.attempt_id, attempt.c.lease > now))
    is_open = sa.func.coalesce(message.c.reason, "").not_in(_SETTLED)
    return sa.select(message.c.id).where(where, tables.is_unknown, is_open, lease_is_over)


async def count_unsettled(
    connection: AsyncConnection, tables: Tables, now: int, *, where: sa.ColumnElement[bool]
) -> int:
    """Count what :func:`settle` would settle: what to look at before, and to expect."""
    chosen = _unsettled(tables, now, where).subquery()
    count: int = (await connection.execute(sa.select(sa.func.count()).select_from(chosen))).scalar_one()
    return count


async def settle(
    connection: AsyncConnection,
    tables: Tables,
    now: int,
    *,
    where: sa.ColumnElement[bool],
    as_: SettleAs,
    expect: int,
    actor: str,
    why: str | None,
    campaign_id: int | None = None,
) -> int:
    """Settle unknown messages, in the connection's transaction, and write the order down.

    Assumed sent, they stay ``unknown`` with that reason, countable as such, and are never sent again by a policy.
    Settled as not sent, they are ``not_sent``, and may be sent again by an order. A proof of acceptance that comes
    later wins in both cases.

    Args:
        connection: In a transaction.
        tables: The ledger's.
        now: By its clock.
        where: Which messages; those that are not unknown, settled already, or still within their lease are left out.
        as_: As what.
        expect: How many they are, as :func:`count_unsettled` said.
        actor: Who orders it.
        why: For the log.
        campaign_id: Whose they are; ``None`` of the outbox's own.

    Returns:
        How many were settled.

    Raises:
        UnexpectedCount: They are more or fewer than expected; nothing was changed.
        ValueError: ``as_`` is none of these.
    """
    if as_ not in _REASONS:
        raise ValueError(f"as_ is {', '.join(map(repr, _REASONS))}, not {as_!r}")
    message = tables.message
    chosen = _unsettled(tables, now, where).order_by(message.c.id).with_for_update(of=message)
    values: dict[str, Any] = {"reason": _REASONS[as_].value}
    if as_ == "not_sent":
        values |= {
            "state": State.NOT_SENT.value,
            "settled_at": now,
            "text": sa.case((message.c.stream_id == KINDS["code"], None), else_=message.c.text),
        }
    changed = await connection.execute(
        sa.update(message).where(message.c.id.in_(chosen)).values(**values),
        execution_options={"preserve_rowcount": True},
    )
    if changed.rowcount != expect:
        raise UnexpectedCount(
            f"{changed.rowcount} messages would be settled, not {expect}. Nothing was changed. Look at them, and give "
            "that number.",
            difference=f"{changed.rowcount}, not {expect}",
        )
    order = {"why": why, "detail": as_, "count": expect, "campaign_id": campaign_id}
    await write_order(connection, tables, now, actor=actor, action="settle", **order)
    return expect
