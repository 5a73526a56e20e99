"""Proof of acceptance, from wherever it comes, and what the gateway says of delivery.

A callback URL is signed, and names one send: its nonce is derived from the token of the attempt, which was durable
before the URL left. So any process that can read the ledger knows of which attempt a callback speaks, whether its
sender is alive or not. The gateway alone was given the URL: a call to it proves that the gateway has the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspilot_async._statuses.rules import STATUS_UNKNOWN, Known, beats
from smspilot_async.models import DeliveryStatus, MessageStatus
from smspilot_async.outbox._ledger import NONCE_SIZE, SECOND, nonce_mark, send_nonce
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.callbacks import StatusEvent
    from smspilot_async.outbox._schema import Tables

__all__ = ["FINAL", "LedgerSink", "attempts_of", "news", "prove", "record_event", "write_news"]


FINAL: Final = tuple(int(one) for one in DeliveryStatus if MessageStatus(status=one).is_final)
_MARKED: Final = NONCE_SIZE // 2
"""Where the message's mark begins in a nonce."""


class LedgerSink:
    """Writes status callbacks into a ledger, for a :class:`~smspilot_async.callbacks.CallbackInbox` of any process.

    Calls about messages that the ledger did not send are left to the inbox.

    Args:
        record: Writes an event down, in a transaction of its own.
    """

    def __init__(self, record: Callable[[StatusEvent], Awaitable[bool]]) -> None:
        self._record = record

    async def store(self, event: StatusEvent) -> bool:
        """Return once the event is durable; ``False`` if it contradicts what the gateway answered.

        Raises:
            LedgerUnavailable: The database cannot be used: the gateway calls again.
        """
        return await self._record(event)


async def record_event(connection: AsyncConnection, tables: Tables, now: int, event: StatusEvent, salt: bytes) -> bool:
    """Write down what a callback says of a message of this ledger.

    The attempt that it is about may be missing, after a restore: it has proven itself by the message's mark all the
    same.

    Returns:
        ``False`` if it names another number than the answer to this very attempt.
    """
    message = tables.message
    row = (await connection.execute(_locked(sa.select(message).where(message.c.id == event.id)))).one_or_none()
    if row is None or event.server_id is None:
        return True  # a message that was sent without the ledger, or is purged
    attempt_id = await _attempt_of(connection, tables, row, event.nonce)
    if attempt_id is None and not event.nonce.endswith(nonce_mark(salt, row.id, bytes(row.hash))):
        return True
    if row.state == State.ACCEPTED and row.server_id not in {None, event.server_id}:
        if row.tries == 1 and attempt_id is not None:
            return False
        await connection.execute(sa.update(message).where(message.c.id == row.id).values(sent_twice=True))
        return True
    if row.state != State.ACCEPTED or row.server_id is None:
        await prove(connection, tables, now, row, event.server_id)
        await connection.execute(
            sa.update(tables.attempt).where(tables.attempt.c.id == attempt_id).values(next_poll=now)
        )
    change = news(row, event, at=int(event.received.timestamp() * SECOND), is_polled=False)
    await write_news(connection, tables, [] if change is None else [change])
    return True


def _locked(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.with_for_update()  # SQLite has no row locks, and ignores it: its transaction is the only writer


async def _attempt_of(connection: AsyncConnection, tables: Tables, row: Any, nonce: bytes) -> int | None:
    """Return the attempt that a callback is about; ``None`` if it is about none of this message's."""
    attempt = tables.attempt
    last = sa.select(attempt.c.id, attempt.c.token).where(attempt.c.id == row.attempt_id)
    for id_, token in await connection.execute(last):
        if send_nonce(token, row.id, nonce[_MARKED:]) == nonce:
            return int(id_)
    if row.tries > 1:
        for one in await connection.execute(attempts_of(tables, connection.dialect.name, row)):
            if send_nonce(one.token, row.id, nonce[_MARKED:]) == nonce:
                return int(one.id)
    return None


def attempts_of(tables: Tables, dialect: str, row: Any, *columns: Any) -> sa.Select[Any]:
    """Return the query of a message's attempts, the last one first.

    It looks back from the last one, and stops once it has found as many as there were: not through the whole table.
    """
    attempt = tables.attempt
    chosen = columns or (attempt.c.id, attempt.c.token)
    if dialect == "sqlite":
        listed = sa.func.json_each(attempt.c.message_ids).table_valued("value", name="listed")
        contains: Any = sa.exists(sa.select(sa.literal(1)).select_from(listed).where(listed.c.value == row.id))
    else:
        contains = sa.literal(row.id) == sa.any_(attempt.c.message_ids)
    before = attempt.c.id <= (row.attempt_id or 0)
    return sa.select(*chosen).where(contains, before).order_by(attempt.c.id.desc()).limit(max(row.tries, 1))


async def prove(connection: AsyncConnection, tables: Tables, now: int, row: Any, server_id: str | None) -> None:
    """Make a message accepted, whatever it was: what is pending is not sent again.

    Args:
        connection: In a transaction.
        tables: The ledger's.
        now: By its clock.
        row: The message's.
        server_id: The gateway's number, where it is known.
    """
    message = tables.message
    await connection.execute(
        sa.update(message)
        .where(message.c.id == row.id)
        .values(
            state=State.ACCEPTED.value,
            reason=None,
            code=None,
            server_id=sa.func.coalesce(message.c.server_id, server_id),
            on_wire=sa.case((message.c.on_wire == 0, 1), else_=message.c.on_wire),
            settled_at=sa.case((message.c.state == State.ACCEPTED.value, message.c.settled_at), else_=now),
            text=sa.case((message.c.stream_id == KINDS["code"], None), else_=message.c.text),
        )
    )


def news(row: Any, status: MessageStatus, *, at: int, is_polled: bool) -> dict[str, Any] | None:
    """Return the values of a delivery status that brings a message forward; ``None`` of one that does not.

    A callback's -2 never does: the gateway says it also of messages that it has just accepted.
    """
    if status.status is None or (status.status == STATUS_UNKNOWN and not is_polled):
        return None
    known = None if row.status is None else Known(MessageStatus(status=row.status), is_polled=True)
    if not beats(Known(status, is_polled), known) or row.status == status.status:
        return None
    return {"number": row.id, "status": int(status.status), "status_error": status.error or None, "status_at": at}


async def write_news(connection: AsyncConnection, tables: Tables, changes: list[dict[str, Any]]) -> None:
    """Write delivery statuses down, by :func:`news`, in the order of their messages."""
    if changes:
        message = tables.message
        names = ("status", "status_error", "status_at")
        known = sa.func.coalesce(message.c.status, 0)
        is_open = sa.and_(*(known != one for one in FINAL))  # a callback may have come since it was read
        statement = sa.update(message).where(message.c.id == sa.bindparam("number"), is_open)
        await connection.execute(statement.values({name: sa.bindparam(name) for name in names}), changes)
