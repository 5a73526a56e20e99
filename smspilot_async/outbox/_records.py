"""What a ledger knows of one phone, forgetting it, and removing what is old."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from smspilot_async.outbox._import import FIRST_CLAIM
from smspilot_async.outbox._ledger import SECOND, Why, key_hash
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._proof import attempts_of
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import Event, State, sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables

__all__ = [
    "Evidence",
    "Forgotten",
    "Purged",
    "evidence",
    "forget",
    "old_attempts",
    "old_messages",
    "purge_attempts",
    "purge_messages",
]

_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_TIMES: Final = frozenset({"due", "wanted_at", "valid_until", "created_at", "settled_at", "status_at"})
_TIMES_OF_ATTEMPTS: Final = ("intent_at", "lease", "recorded_at")
_HIDDEN: Final = frozenset(
    {"hash", "stream_id", "attempt_id", "most", "on_wire", "resends", "is_pending", "is_unknown"}
)
_KINDS: Final = {lane: kind for kind, lane in KINDS.items()}
ERASED: Final = ""
"""What replaces a phone that was forgotten."""


@attrs.frozen(kw_only=True)
class Evidence:
    """Everything that a ledger knows of a phone.

    Attributes:
        phone: The phone.
        suppressions: The lists that it is on: list, time, source.
        messages: Each message with its text, key, campaign, outcome, price and delivery status, and under
            ``"attempts"`` each request that it was in: when its intent was written, by whom, and what came of it.
        orders: What was ordered since the first of them was written: who, what, why and when.

    Times are ISO 8601, UTC, by the ledger's clock.
    """

    phone: str = attrs.field(repr=False)
    suppressions: tuple[dict[str, Any], ...]
    messages: tuple[dict[str, Any], ...]
    orders: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            "phone": self.phone,
            "suppressions": list(self.suppressions),
            "messages": list(self.messages),
            "orders": list(self.orders),
        }

    def __str__(self) -> str:
        lines = [f"Phone {self.phone}", ""]
        lines += [f"On the list {one['list']} since {one['at']}, by {one['source']}" for one in self.suppressions]
        for message in self.messages:
            lines += ["", f"Message {message['id']}"]
            lines += [f"  {name}: {value}" for name, value in message.items() if name not in {"id", "attempts"}]
            for attempt in message["attempts"]:
                told = ", ".join(f"{name} {value}" for name, value in attempt.items() if name != "id")
                lines.append(f"  attempt {attempt['id']}: {told}")
        lines += ["", "Orders"] if self.orders else []
        lines += [
            "  " + ", ".join(f"{name} {value}" for name, value in order.items() if name != "id")
            for order in self.orders
        ]
        return "\n".join(lines)


async def evidence(connection: AsyncConnection, tables: Tables, phone: str) -> Evidence:
    """Collect what a ledger knows of a phone."""
    message, stream, campaign, orders = tables.message, tables.stream, tables.campaign, tables.orders
    query = (
        sa.select(message, stream.c.lane, campaign.c.name.label("campaign"))
        .join(stream, stream.c.id == message.c.stream_id)
        .outerjoin(campaign, campaign.c.id == stream.c.campaign_id)
        .where(message.c.phone == phone)
        .order_by(message.c.id)
    )
    messages = []
    for row in (await connection.execute(query)).all():
        attempts = await connection.execute(attempts_of(tables, connection.dialect.name, row, tables.attempt))
        messages.append(_message(row, [_attempt(attempt) for attempt in reversed(attempts.all())]))
    listed = sa.select(tables.suppression).where(tables.suppression.c.phone == phone)
    suppressions = [
        {"list": row.list, "at": _moment(row.at), "source": row.source} for row in await connection.execute(listed)
    ]
    ordered: list[dict[str, Any]] = []
    if messages:
        first = sa.select(sa.func.min(message.c.created_at)).where(message.c.phone == phone).scalar_subquery()
        rows = await connection.execute(sa.select(orders).where(orders.c.at >= first).order_by(orders.c.id))
        ordered = [{**_known(row, ()), "at": _moment(row.at)} for row in rows]
    return Evidence(phone=phone, suppressions=tuple(suppressions), messages=tuple(messages), orders=tuple(ordered))


def _message(row: Any, attempts: list[dict[str, Any]]) -> dict[str, Any]:
    not_times = {"wanted_at"} if row.wanted_at == FIRST_CLAIM else set()
    known = _known(row, _TIMES - not_times)
    known["kind"] = _KINDS[known.pop("lane")]
    known.pop("phone")
    shown = {name: value for name, value in known.items() if name not in _HIDDEN | not_times}
    return {**shown, "attempts": attempts}


def _attempt(row: Any) -> dict[str, Any]:
    known = _known(row, _TIMES_OF_ATTEMPTS)
    names = ("id", "sender", *_TIMES_OF_ATTEMPTS, "outcome", "evidence", "server_packet_id")
    return {name: known[name] for name in names if name in known} | {"messages": len(row.message_ids)}


def _known(row: Any, times: Any) -> dict[str, Any]:
    """Return the values of a row, as JSON's types."""
    plain: dict[str, Any] = {}
    for name, value in row._mapping.items():  # noqa: SLF001 - SQLAlchemy's public name for it
        if value is not None and not isinstance(value, bytes):
            is_number = isinstance(value, (int, float, bool, str, list))
            plain[name] = _moment(value) if name in times else value if is_number else str(value)
    return plain


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time / SECOND, UTC).isoformat(timespec="milliseconds")


# --- forgetting ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Forgotten:
    """What forgetting a phone did.

    Attributes:
        messages: Messages whose phone and text were erased.
        cancelled: Of these, messages that had not left, and will not.
        in_flight: Messages that are on the wire: forget the phone again once they have an outcome.
    """

    messages: int
    cancelled: int
    in_flight: int


async def forget(  # noqa: PLR0917 - what an order needs
    connection: AsyncConnection, tables: Tables, now: int, phone: str, salt: bytes, actor: str
) -> Forgotten:
    """Erase a phone, its texts, keys and columns, in the connection's transaction.

    Hashes stay, by which a repetition is known, and so do suppressions: who was forgotten is not written to again.
    """
    message = tables.message
    is_theirs = message.c.phone == phone
    options = {"preserve_rowcount": True}
    pending = message.c.state.in_([state.value for state in sources(Event.CANCEL)])
    state = sa.case((message.c.resends > 0, State.UNKNOWN.value), else_=State.NOT_SENT.value)
    gone = {"state": state, "reason": Why.CANCELLED.value, "settled_at": now}
    cancelled = await connection.execute(
        sa.update(message).where(is_theirs, pending).values(**gone), execution_options=options
    )
    in_flight = is_theirs & (message.c.state == State.IN_FLIGHT.value)
    flying: int = (await connection.execute(sa.select(sa.func.count()).where(in_flight))).scalar_one()
    over = is_theirs & (message.c.state != State.IN_FLIGHT.value)
    await _spend_keys(connection, tables, over, salt)
    values = {"phone": ERASED, "text": None, "key": None, "extra": None, "callback": None}
    erased = await connection.execute(sa.update(message).where(over).values(**values), execution_options=options)
    await write_order(connection, tables, now, actor=actor, action="forget", count=erased.rowcount)
    return Forgotten(messages=erased.rowcount, cancelled=cancelled.rowcount, in_flight=flying)


async def _spend_keys(connection: AsyncConnection, tables: Tables, where: sa.ColumnElement[bool], salt: bytes) -> None:
    """Keep the keys of messages as keyed hashes."""
    message, spent = tables.message, tables.spent_key
    columns = (message.c.id, message.c.key, message.c.hash, message.c.state, message.c.created_at)
    rows = (await connection.execute(sa.select(*columns).where(where))).all()
    keys = [
        {
            "key_hash": key_hash(salt, row.key),
            "hash": row.hash,
            "message_id": row.id,
            "state": row.state,
            "at": row.created_at,
        }
        for row in rows
        if row.key is not None
    ]
    if keys:
        insert = _INSERTS[connection.dialect.name](spent).on_conflict_do_nothing()
        await connection.execute(insert, keys)


# --- purging -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Purged:
    """What a purge removed.

    Attributes:
        messages: Messages; their keys stay spent.
        attempts: Requests of which no message is left.
    """

    messages: int
    attempts: int


def old_messages(tables: Tables, before: int) -> sa.Select[Any]:
    """Select the messages that were settled before a moment; what is unknown only if an order has settled it."""
    message = tables.message
    over = (State.ACCEPTED.value, State.REFUSED.value, State.NOT_SENT.value)
    decided = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value)
    is_over = message.c.state.in_(over) | ((message.c.state == State.UNKNOWN.value) & message.c.reason.in_(decided))
    return sa.select(message.c.id).where(is_over, message.c.settled_at < before)


def old_attempts(tables: Tables, before: int, dialect: str) -> sa.Select[Any]:
    """Select the requests that were recorded before a moment, and of which no message is left."""
    attempt = tables.attempt
    is_empty = sa.not_(_has_messages(tables, dialect))
    return sa.select(attempt.c.id).where(attempt.c.outcome.is_not(None), attempt.c.recorded_at < before, is_empty)


async def purge_messages(
    connection: AsyncConnection, tables: Tables, ids: Sequence[int], *, before: int, salt: bytes
) -> int:
    """Remove those of some messages that are still to be removed, and keep their keys; return how many those were."""
    message = tables.message
    chosen = old_messages(tables, before).where(message.c.id.in_(ids)).with_for_update(skip_locked=True)
    there = list((await connection.execute(chosen)).scalars())
    await _spend_keys(connection, tables, message.c.id.in_(there), salt)
    await connection.execute(sa.delete(message).where(message.c.id.in_(there)))
    return len(there)


async def purge_attempts(connection: AsyncConnection, tables: Tables, ids: Sequence[int]) -> int:
    """Remove some requests of which no message is left, and remember that they are gone; return how many."""
    attempt, ledger = tables.attempt, tables.ledger
    removed = await connection.execute(sa.delete(attempt).where(attempt.c.id.in_(ids)))
    gone = sa.case((ledger.c.attempts_gone < max(ids), max(ids)), else_=ledger.c.attempts_gone)
    await connection.execute(sa.update(ledger).values(attempts_gone=gone))
    return removed.rowcount


def _has_messages(tables: Tables, dialect: str) -> Any:
    message, attempt = tables.message, tables.attempt
    if dialect == "sqlite":
        listed = sa.func.json_each(attempt.c.message_ids).table_valued("value", name="listed")
        return sa.exists(sa.select(sa.literal(1)).select_from(listed.join(message, message.c.id == listed.c.value)))
    return sa.exists().where(message.c.id == sa.any_(attempt.c.message_ids))
