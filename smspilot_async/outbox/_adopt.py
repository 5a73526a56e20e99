"""Taking over a ledger that was restored, copied or moved: until then nothing leaves from it.

It has forgotten what left since its backup. What may have left since becomes ``unknown``, and stays so until a proof of
acceptance or an order; what cannot have left is sent as if nothing had happened.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs
import sqlalchemy as sa

from smspilot_async.outbox._errors import OutboxError
from smspilot_async.outbox._home import refuse_missing
from smspilot_async.outbox._ledger import SECOND, Why
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables
    from smspilot_async.outbox._tokens import SentToken

__all__ = ["Adopted", "adopt", "check_tokens", "missing_tokens"]

ROOM: Final = 1_000_000
"""Numbers that are left out after a restore: the forgotten attempts and messages have used the next ones."""


@attrs.frozen(kw_only=True)
class Adopted:
    """What an adoption did.

    Attributes:
        unknown: Messages that may have left since the backup, and are unknown now.
        order_id: The order's number in the log.
    """

    unknown: int
    order_id: int


async def missing_tokens(connection: AsyncConnection, tables: Tables, tokens: Sequence[SentToken]) -> list[SentToken]:
    """Return those that a sender of this machine has used, and the ledger does not know."""
    ledger, attempt = tables.ledger, tables.attempt
    gone: int = (await connection.execute(sa.select(ledger.c.attempts_gone))).scalar_one()
    looked_up = [token for token in tokens if token.attempt_id > gone]
    query = sa.select(attempt.c.token).where(attempt.c.token.in_([token.token for token in looked_up]))
    known = set((await connection.execute(query)).scalars())
    return [token for token in looked_up if token.token not in known]


async def check_tokens(connection: AsyncConnection, tables: Tables, tokens: Sequence[SentToken]) -> None:
    """Check that the ledger knows what was sent from here.

    Raises:
        LedgerMoved: It does not.
    """
    refuse_missing(await missing_tokens(connection, tables, tokens))


async def adopt(
    connection: AsyncConnection,
    tables: Tables,
    now: int,
    *,
    restored_to: int | None,
    home: str,
    tokens: Sequence[SentToken],
    actor: str,
    why: str | None,
) -> Adopted:
    """Take a ledger over, in the connection's transaction.

    Args:
        connection: In a transaction.
        tables: The ledger's.
        now: By its clock.
        restored_to: From when its contents are; ``None`` if it was only moved, and has lost nothing.
        home: Where it is now.
        tokens: What was sent from here.
        actor: Who orders it.
        why: For the log.

    Raises:
        OutboxError: Something was sent from here before ``restored_to`` that the ledger does not know.
    """
    _check_time(await missing_tokens(connection, tables, tokens), restored_to, now)
    count = 0 if restored_to is None else await _doubt(connection, tables, restored_to, now)
    await connection.execute(sa.update(tables.ledger).values(home=home))
    if restored_to is not None:
        await _leave_room(connection, tables, max([token.attempt_id for token in tokens], default=0))
    detail = "moved" if restored_to is None else f"restored to {_moment(restored_to)}"
    order_id = await write_order(
        connection, tables, now, actor=actor, action="adopt", why=why, detail=detail, count=count
    )
    return Adopted(unknown=count, order_id=order_id)


def _check_time(missing: Sequence[SentToken], restored_to: int | None, now: int) -> None:
    if restored_to is not None and restored_to > now:
        raise OutboxError("restored_to is in the future. Nothing was changed.")
    if missing and (restored_to is None or missing[0].intent_at <= restored_to):
        raise OutboxError(
            f"a packet left from this machine at {_moment(missing[0].intent_at)}, and the ledger does not know it: its "
            "contents are from before that. Nothing was changed. Give an earlier time."
        )


async def _doubt(connection: AsyncConnection, tables: Tables, restored_to: int, now: int) -> int:
    """Make unknown what may have left since the backup; return how many messages.

    When a message was written does not save it: the time of a backup is rarely known to the second, and what was
    enqueued in its last minutes may have left.
    """
    message, attempt = tables.message, tables.attempt
    may_have_left = sa.or_(
        message.c.state == State.IN_FLIGHT.value,
        sa.and_(
            tables.is_pending,
            message.c.due <= now,
            sa.or_(message.c.valid_until.is_(None), message.c.valid_until > restored_to),
        ),
    )
    values = {"state": State.UNKNOWN.value, "reason": Why.RESTORED.value, "settled_at": now}
    changed = await connection.execute(
        sa.update(message).where(may_have_left).values(**values, on_wire=message.c.on_wire + 1),
        execution_options={"preserve_rowcount": True},
    )
    open_ones = {"outcome": "unknown", "evidence": Why.RESTORED.value, "recorded_at": now}
    await connection.execute(sa.update(attempt).where(attempt.c.outcome.is_(None)).values(**open_ones))
    return changed.rowcount


async def _leave_room(connection: AsyncConnection, tables: Tables, highest: int) -> None:
    """Let the next numbers begin above all that were given and are forgotten.

    Args:
        connection: In a transaction.
        tables: The ledger's.
        highest: Attempt that is known to have been given a number.
    """
    last_message = await _last(connection, tables.message)
    last_attempt = max(highest, await _last(connection, tables.attempt))
    for table, last in ((tables.message, last_message), (tables.attempt, last_attempt)):
        for statement in _NEXT_NUMBER[connection.dialect.name]:
            await connection.execute(sa.text(statement), {"name": str(table), "last": last + ROOM})
    await connection.execute(sa.update(tables.ledger).values(attempts_gone=last_attempt + ROOM))


async def _last(connection: AsyncConnection, table: sa.Table) -> int:
    number: int = (await connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0)))).scalar_one()
    return number


_NEXT_NUMBER: Final = {
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = :name AND :last > 0",
        "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)",
    ),
    "postgresql": ("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)",),
}


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time / SECOND, UTC).isoformat(timespec="seconds")
