"""What people order: halt and release, and who must not get what. Each order is recorded, with who and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._schema import MARKETING
from smspilot_async.text import normalize_phone

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = ["Halted", "Order", "change_suppressions", "halt", "last_orders", "on_the_wire", "release", "write_order"]

LOOK: Final = 0.1
"""Seconds between two checks that the wire is empty."""
_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@attrs.frozen(kw_only=True)
class Halted:
    """What a halt found.

    Attributes:
        left_after: Messages whose packet was claimed after the order was given, by a sender that had not seen it.
        order_id: The order's number in the log.
    """

    left_after: int
    order_id: int


@attrs.frozen(kw_only=True)
class Order:
    """An order, as recorded in the log.

    Attributes:
        id: Its number.
        at: When it was given, aware, UTC, by the ledger's clock.
        actor: By whom.
        action: What, in a word: ``"halt"``, ``"settle"``, ``"adopt"``.
        why: Why, if they said so.
        detail: More of what.
        count: How many messages it concerned.
        campaign: Whose, if it was about one.
    """

    id: int
    at: datetime
    actor: str
    action: str
    why: str | None
    detail: str | None
    count: int | None
    campaign: str | None = None


async def last_orders(
    connection: AsyncConnection, tables: Tables, limit: int, since: int, of: str | None
) -> list[Order]:
    """Return the last orders that were given since a moment, about a campaign or all, the newest first."""
    orders, campaign = tables.orders, tables.campaign
    columns = (orders.c.id, orders.c.at, orders.c.actor, orders.c.action, orders.c.why, orders.c.detail, orders.c.count)
    query = (
        sa.select(*columns, campaign.c.name.label("campaign"))
        .outerjoin(campaign, campaign.c.id == orders.c.campaign_id)
        .where(orders.c.at >= since, sa.true() if of is None else campaign.c.name == of)
        .order_by(orders.c.id.desc())
        .limit(limit)
    )
    rows = (await connection.execute(query)).mappings()
    return [Order(**{**row, "at": datetime.fromtimestamp(row["at"] / SECOND, UTC)}) for row in rows]


async def write_order(
    connection: AsyncConnection, tables: Tables, now: int, *, actor: str, action: str, **more: Any
) -> int:
    """Write an order down, and return its number."""
    order = sa.insert(tables.orders).values(at=now, actor=actor, action=action, **more).returning(tables.orders.c.id)
    number: int = (await connection.execute(order)).scalar_one()
    return number


async def halt(
    connection: AsyncConnection, tables: Tables, now: int, *, reason: str, everything: bool, actor: str
) -> int:
    """Let marketing, or everything, leave no more; return the order's number."""
    account = tables.account
    wider = sa.case((account.c.halted == "all", "all"), else_="all" if everything else "marketing")
    await connection.execute(sa.update(account).values(halted=wider, halted_why=reason))
    detail = "all" if everything else "marketing"
    return await write_order(connection, tables, now, actor=actor, action="halt", why=reason, detail=detail)


async def release(connection: AsyncConnection, tables: Tables, now: int, *, reason: str | None, actor: str) -> int:
    """Take back a halt, a pause of the account and the brake; return the order's number."""
    free = {"halted": None, "halted_why": None, "paused": None, "paused_at": None}
    await connection.execute(sa.update(tables.account).values(**free, unknowns=0, brake_until=0, brake_pause=0))
    return await write_order(connection, tables, now, actor=actor, action="release", why=reason)


async def on_the_wire(connection: AsyncConnection, tables: Tables, *, everything: bool) -> int:
    """Count the attempts that are under way."""
    attempt = tables.attempt
    query = sa.select(sa.func.count()).select_from(attempt).where(attempt.c.outcome.is_(None))
    return int((await connection.execute(query if everything else _of_marketing(query, tables))).scalar_one())


async def left_since(connection: AsyncConnection, tables: Tables, since: int, *, everything: bool) -> int:
    """Count the messages whose intent was written after a moment."""
    attempt = tables.attempt
    query = sa.select(attempt.c.message_ids).where(attempt.c.intent_at > since)
    rows = await connection.execute(query if everything else _of_marketing(query, tables))
    return sum(len(row[0]) for row in rows)


def _of_marketing(query: sa.Select[Any], tables: Tables) -> sa.Select[Any]:
    stream = tables.stream
    lanes = sa.select(stream.c.id).where(stream.c.lane >= MARKETING)
    return query.where(tables.attempt.c.stream_id.in_(lanes))


async def change_suppressions(
    connection: AsyncConnection,
    tables: Tables,
    now: int,
    phones: Iterable[str],
    *,
    everything: bool,
    source: str,
    remove: bool = False,
) -> int:
    """Write phones on a list, or strike them off; return how many that changed."""
    table = tables.suppression
    name = "all" if everything else "marketing"
    numbers = sorted({normalize_phone(phone) for phone in phones})
    if not numbers:
        return 0
    if remove:
        statement: Any = sa.delete(table).where(table.c.phone == sa.bindparam("one"), table.c.list == name)
        rows: list[dict[str, Any]] = [{"one": phone} for phone in numbers]
    else:
        insert = _INSERTS[connection.dialect.name]
        statement = insert(table).on_conflict_do_nothing()
        rows = [{"phone": phone, "list": name, "at": now, "source": source} for phone in numbers]
    options = {"preserve_rowcount": True}
    return sum([(await connection.execute(statement, row, execution_options=options)).rowcount for row in rows])
