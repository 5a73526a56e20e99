"""What a month's messages cost, to the kopeck, and what of it is open."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = ["Statement", "StatementRow", "month_of", "statement"]

MOSCOW: Final = timezone(timedelta(hours=3))
_KINDS: Final = {lane: kind for kind, lane in KINDS.items()}
_DECEMBER: Final = 12


@attrs.frozen(kw_only=True, order=True)
class StatementRow:
    """What one kind of messages of one campaign and one sender cost.

    Attributes:
        kind: ``"code"``, ``"service"`` or ``"marketing"``.
        campaign: Its name; empty for the outbox's own messages.
        sender: The sender's name; empty for the account's own.
        accepted: Messages that the gateway took.
        parts: SMS that these were cut into, as far as the gateway said.
        cost: Roubles, as far as the gateway said.
        without_price: Accepted messages of which the gateway did not say a price: proven by a callback, or by hand.
        sent_twice: Accepted messages that were accepted twice; the second price is not in ``cost``.
        refused: Messages that the gateway refused, which cost nothing.
        unknown: Messages that may have been sent, and may have cost something.
    """

    kind: str
    campaign: str
    sender: str
    accepted: int = 0
    parts: int = 0
    cost: Decimal = Decimal(0)
    without_price: int = 0
    sent_twice: int = 0
    refused: int = 0
    unknown: int = 0


@attrs.frozen(kw_only=True)
class Statement:
    """The messages that left within a month, by Moscow time, as the vendor counts.

    Attributes:
        month: Such as ``"2026-11"``.
        rows: By kind, campaign and sender.
    """

    month: str
    rows: tuple[StatementRow, ...]

    @property
    def total(self) -> StatementRow:
        """The sum of all rows."""
        names = [field.name for field in attrs.fields(StatementRow)[3:]]
        sums: dict[str, Any] = {name: sum((getattr(row, name) for row in self.rows), 0) for name in names}
        return StatementRow(kind="", campaign="", sender="", **{**sums, "cost": Decimal(sums["cost"])})

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types; amounts are strings, with every digit."""
        rows = [{**attrs.asdict(row), "cost": str(row.cost)} for row in (*self.rows, self.total)]
        total = {name: value for name, value in rows.pop().items() if name not in {"kind", "campaign", "sender"}}
        return {"month": self.month, "rows": rows, "total": total}


def month_of(written: str) -> tuple[int, int]:
    """Return when a month begins and ends, in microseconds.

    Args:
        written: Such as ``2026-11``.

    Raises:
        ValueError: It is not a month.
    """
    try:
        first = datetime.strptime(written, "%Y-%m").replace(tzinfo=MOSCOW)
    except ValueError:
        raise ValueError(f"{written!r} is not a month: write it as 2026-11") from None
    after = first.replace(year=first.year + (first.month == _DECEMBER), month=first.month % _DECEMBER + 1)
    return int(first.timestamp()) * SECOND, int(after.timestamp()) * SECOND


async def statement(connection: AsyncConnection, tables: Tables, month: str) -> Statement:
    """Add up the messages whose last request left within a month.

    Raises:
        ValueError: It is not a month.
    """
    begins, ends = month_of(month)
    message, stream, campaign, attempt = tables.message, tables.stream, tables.campaign, tables.attempt
    by = (stream.c.lane, campaign.c.name, message.c.sender, message.c.state, message.c.parts, message.c.price)
    query = (
        sa.select(*by, sa.func.count(), sa.func.sum(sa.case((message.c.sent_twice, 1), else_=0)))
        .join(stream, stream.c.id == message.c.stream_id)
        .join(attempt, attempt.c.id == message.c.attempt_id)
        .outerjoin(campaign, campaign.c.id == stream.c.campaign_id)
        .where(
            message.c.state.in_([State.ACCEPTED.value, State.REFUSED.value, State.UNKNOWN.value]),
            message.c.on_wire > 0,
            attempt.c.intent_at >= begins,
            attempt.c.intent_at < ends,
        )
        .group_by(*by)
    )
    rows: defaultdict[tuple[str, str, str], dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for lane, name, sender, state, parts, price, count, twice in await connection.execute(query):
        sums = rows[_KINDS[lane], name or "", sender or ""]
        sums[state] += count
        if state == State.ACCEPTED:  # groups of one price each: nothing is added up but here, exactly
            sums["parts"] += (parts or 0) * count
            sums["cost"] += (price or 0) * count
            sums["without_price"] += count if price is None else 0
            sums["sent_twice"] += int(twice)
    made = [
        StatementRow(kind=kind, campaign=name, sender=sender, **{**sums, "cost": Decimal(sums["cost"])})
        for (kind, name, sender), sums in rows.items()
    ]
    return Statement(month=month, rows=tuple(sorted(made)))
