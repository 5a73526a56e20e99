"""Proof of acceptance, from wherever it comes, and what the gateway says of delivery.

A callback URL is signed, and names one send: its nonce is derived from the token of the attempt, which was durable
before the URL left. So any process that can read the ledger knows of which attempt a callback speaks, whether its
sender is alive or not. The gateway alone was given the URL: a call to it proves that the gateway has the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspilot_async._statuses.rules import STATUS_UNKNOWN, Known, beats
from smspilot_async.models import MessageStatus
from smspilot_async.outbox._ledger import NONCE_SIZE, SECOND, nonce_mark, send_nonce
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.callbacks import StatusEvent
    from smspilot_async.outbox._schema import Tables

__all__ = ["LedgerSink", "apply_status", "of_message", "prove", "record_event"]


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
    await apply_status(connection, tables, row, event, at=int(event.received.timestamp() * SECOND), is_polled=False)
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
        for id_, token in await connection.execute(of_message(tables, connection.dialect.name, row.id)):
            if send_nonce(token, row.id, nonce[_MARKED:]) == nonce:
                return int(id_)
    return None


def of_message(tables: Tables, dialect: str, id_: int, *columns: Any) -> sa.Select[Any]:
    """Return the query of a message's attempts, the last one first."""
    attempt = tables.attempt
    chosen = columns or (attempt.c.id, attempt.c.token)
    if dialect == "sqlite":
        listed = sa.func.json_each(attempt.c.message_ids).table_valued("value", name="listed")
        contains: Any = sa.exists(sa.select(sa.literal(1)).select_from(listed).where(listed.c.value == id_))
    else:
        contains = sa.literal(id_) == sa.any_(attempt.c.message_ids)
    return sa.select(*chosen).where(contains).order_by(attempt.c.id.desc())


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


async def apply_status(
    connection: AsyncConnection, tables: Tables, row: Any, status: MessageStatus, *, at: int, is_polled: bool
) -> bool:
    """Write a delivery status down, if it brings the message forward; return whether it does.

    A callback's -2 is never written: the gateway says it also of messages that it has just accepted.
    """
    if status.status is None or (status.status == STATUS_UNKNOWN and not is_polled):
        return False
    known = None if row.status is None else Known(MessageStatus(status=row.status), is_polled=True)
    if not beats(Known(status, is_polled), known) or row.status == status.status:
        return False
    message = tables.message
    values = {"status": int(status.status), "status_error": status.error or None, "status_at": at}
    await connection.execute(sa.update(message).where(message.c.id == row.id).values(**values))
    return True
