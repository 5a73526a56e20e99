"""Writing a message into the ledger, in whatever transaction the application has open.

The statements are the same for every kind of connection; only the marks of their values differ. A key that is taken
makes the INSERT do nothing, so that the application's transaction stays usable.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import sqlalchemy as sa
from sqlalchemy.orm import Session

from smspilot_async.errors import Outcome
from smspilot_async.models import Message
from smspilot_async.outbox import _ledger
from smspilot_async.outbox._errors import KeyReused, OutboxError
from smspilot_async.outbox._ledger import SECOND, content_hash, key_hash
from smspilot_async.outbox._schema import KINDS
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Connection

__all__ = ["Entry", "OutboxMessage", "enqueue_in", "executor_of", "moment", "refuse_autocommit", "statement_of"]

_LONGEST_KEY: Final = 200
_WORDS: Final = {lane: word for word, lane in KINDS.items()}


@attrs.frozen(kw_only=True)
class OutboxMessage:
    """A message of the outbox, as the ledger has it.

    Attributes:
        id: The ledger's number, which is also its number on the wire.
        key: The application's.
        kind: ``"code"``, ``"service"`` or ``"marketing"``.
        to: The phone.
        outcome: What became of it; ``None`` while it is on its way.
        is_in_flight: Its request may be on the wire.
        reason: Why, where it was not accepted, or what the last attempt met: a word.
        code: The gateway's code, if it gave one.
        created_at, due_at, valid_until, settled_at: Aware, UTC, by the ledger's clock.
        tries: How often it was claimed.
        sent_twice: A proof of acceptance came after it had been sent again, and both were accepted.
        server_id: The gateway's number, once it is accepted.
        parts: SMS it was cut into.
        price: Roubles.
        status: The delivery status, as far as it is known; ``status_at`` says since when.
        is_new: This call wrote it; ``False`` where the key stood for the same message already.
    """

    id: int
    key: str | None
    kind: str
    to: str = attrs.field(repr=False)
    outcome: Outcome | None
    is_in_flight: bool = False
    reason: str | None = None
    code: int | None = None
    created_at: datetime
    due_at: datetime
    valid_until: datetime | None = None
    settled_at: datetime | None = None
    tries: int = 0
    sent_twice: bool = False
    server_id: str | None = None
    parts: int | None = None
    price: Decimal | None = None
    status: int | None = None
    status_at: datetime | None = None
    is_new: bool = False

    @property
    def state(self) -> str:
        """``"pending"``, ``"in_flight"``, or the outcome's word."""
        if self.outcome is not None:
            return self.outcome.value
        return (State.IN_FLIGHT if self.is_in_flight else State.PENDING).value


def moment(value: int | None) -> datetime | None:
    """Return a time of the ledger's as an aware one, UTC."""
    return None if value is None else datetime.fromtimestamp(value / SECOND, UTC)


def record_of(row: Any) -> OutboxMessage:
    """Return a row of ``message`` joined with its stream's lane."""
    state = State(row.state)
    return OutboxMessage(
        id=row.id,
        key=row.key,
        kind=_WORDS[row.lane],
        to=row.phone,
        outcome=state.outcome,
        is_in_flight=state is State.IN_FLIGHT,
        reason=row.reason,
        code=row.code,
        created_at=datetime.fromtimestamp(row.created_at / SECOND, UTC),
        due_at=datetime.fromtimestamp(row.due / SECOND, UTC),
        valid_until=moment(row.valid_until),
        settled_at=moment(row.settled_at),
        tries=row.tries,
        sent_twice=bool(row.sent_twice),
        server_id=row.server_id,
        parts=row.parts,
        price=row.price,
        status=row.status,
        status_at=moment(row.status_at),
    )


@attrs.frozen(kw_only=True)
class Entry:
    """A message that is about to be written, checked.

    Raises:
        ValueError: The kind or the key is invalid, or a code has no ``valid_for``.
        TypeError: It is not a message.
    """

    message: Message
    key: str
    kind: str
    valid_for: float | None

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.message, Message):
            raise TypeError(f"the outbox takes Message objects, not {type(self.message).__name__}")
        if self.message.id is not None:
            raise ValueError("leave a message's id out: the ledger numbers its messages; yours is the key")
        if self.kind not in KINDS:
            raise ValueError(f"kind is 'code', 'service' or 'marketing', not {self.kind!r}")
        if not 0 < len(self.key) <= _LONGEST_KEY or "\0" in self.key:
            raise ValueError(f"a key is a str of 1 to {_LONGEST_KEY} characters")
        if self.kind == "code" and self.valid_for is None:
            raise ValueError("a code needs valid_for: the seconds after which it must not leave any more")
        if self.valid_for is not None and not 0 < self.valid_for < float("inf"):
            raise ValueError("valid_for is a number of seconds above 0")

    def values(self, uid: str, salt: bytes) -> dict[str, Any]:
        """Return the values of the statements."""
        message = self.message
        return {
            "uid": uid,
            "stream": KINDS[self.kind],
            "send_at": 0 if message.send_at is None else int(message.send_at.timestamp() * SECOND),
            "valid_for": None if self.valid_for is None else int(self.valid_for * SECOND),
            "phone": message.to,
            "text": message.text,
            "hash": content_hash(salt, message.to, message.text),
            "sender": message.sender,
            "ttl": message.ttl,
            "callback": message.callback,
            "callback_method": message.callback_method,
            "key": self.key,
            "key_hash": key_hash(salt, self.key),
            "now": _ledger.now_us(),
        }


_INSERT: Final = """
INSERT INTO {t}message (stream_id, due, wanted_at, valid_until, phone, text, hash, sender, ttl, callback,
  callback_method, key, created_at)
SELECT CAST(<stream> AS BIGINT), d.due, d.due, d.due + CAST(<valid_for> AS BIGINT), CAST(<phone> AS TEXT),
  CAST(<text> AS TEXT), CAST(<hash> AS {bytes}), CAST(<sender> AS TEXT), CAST(<ttl> AS SMALLINT),
  CAST(<callback> AS TEXT), CAST(<callback_method> AS TEXT), CAST(<key> AS TEXT), d.now
FROM {t}ledger l, (
  SELECT c.now, CASE WHEN CAST(<send_at> AS BIGINT) > c.now THEN CAST(<send_at> AS BIGINT) ELSE c.now END AS due
  FROM (SELECT {now} AS now) c
) d
WHERE l.uid = CAST(<uid> AS TEXT)
  AND NOT EXISTS (SELECT 1 FROM {t}spent_key k WHERE k.key_hash = CAST(<key_hash> AS {bytes}))
ON CONFLICT (key) DO NOTHING
RETURNING id, created_at, due, valid_until
"""
_FIRST: Final = """
SELECT m.id, m.key, s.lane, m.phone, m.hash, m.state, m.reason, m.code, m.created_at, m.due, m.valid_until,
  m.settled_at, m.tries, m.sent_twice, m.server_id, m.parts, m.price, m.status, m.status_at
FROM {t}message m JOIN {t}stream s ON s.id = m.stream_id
WHERE m.key = CAST(<key> AS TEXT)
"""
_SPENT: Final = """
SELECT k.message_id, k.hash, k.state, k.at FROM {t}spent_key k WHERE k.key_hash = CAST(<key_hash> AS {bytes})
"""
_NAMES: Final = {
    "sqlite": {"t": "smspilot_", "bytes": "BLOB", "now": "CAST(<now> AS BIGINT)"},
    "postgresql": {"t": "smspilot.", "bytes": "BYTEA", "now": "smspilot.now_us()"},
}


def statement_of(template: str, dialect: str, mark: str) -> str:
    """Return a statement for a database, with the marks of values that a driver understands.

    Args:
        template: With ``<name>`` for values, ``{t}`` before tables.
        dialect: ``"sqlite"`` or ``"postgresql"``.
        mark: Such as ``":{}"`` or ``"%({})s"``.
    """
    written = template.format(**_NAMES[dialect])
    for name in _VALUES:
        written = written.replace(f"<{name}>", mark.format(name))
    return written


_VALUES: Final = (
    *("uid", "stream", "send_at", "valid_for", "phone", "text", "hash", "sender", "ttl"),
    *("callback", "callback_method", "key", "key_hash", "now"),
)


class Executor(Protocol):
    """Executes a statement of this module in an open transaction, and returns its first row, if any."""

    def __call__(self, template: str, values: Mapping[str, Any]) -> Any:
        """Execute it."""
        ...


def enqueue_in(execute: Executor, entry: Entry, uid: str, salt: bytes) -> OutboxMessage:
    """Record a message, or return the one that already has the key.

    Raises:
        KeyReused: The key was used for another one.
        OutboxError: The connection is to a database that does not hold this ledger.
    """
    values = entry.values(uid, salt)
    row = execute(_INSERT, values)
    if row is not None:
        return OutboxMessage(
            id=row[0],
            key=entry.key,
            kind=entry.kind,
            to=entry.message.to,
            outcome=None,
            created_at=datetime.fromtimestamp(row[1] / SECOND, UTC),
            due_at=datetime.fromtimestamp(row[2] / SECOND, UTC),
            valid_until=moment(row[3]),
            is_new=True,
        )
    if (first := execute(_FIRST, values)) is not None:
        record, known = _positional(first)
    elif (spent := execute(_SPENT, values)) is not None:
        record, known = _purged(entry, spent), bytes(spent[1])
    else:
        raise OutboxError(
            "the connection is to a database that does not hold this ledger. Nothing was written; enqueue without a "
            "connection after your commit, with a key."
        )
    if known != values["hash"]:
        raise KeyReused(
            f"the key stands for message {record.id} already, with another phone or text. Nothing was "
            "written, and the transaction stays usable. Give every message a key of its own.",
            message_id=record.id,
        )
    return record


_FIRST_COLUMNS: Final = (
    *("id", "key", "lane", "phone", "hash", "state", "reason", "code", "created_at", "due", "valid_until"),
    *("settled_at", "tries", "sent_twice", "server_id", "parts", "price", "status", "status_at"),
)


class _Row:
    """A row by names, whatever cursor it came from."""

    def __init__(self, values: Any) -> None:
        self.__dict__.update(zip(_FIRST_COLUMNS, values, strict=True))


def _positional(first: Any) -> tuple[OutboxMessage, bytes]:
    row: Any = _Row(tuple(first))
    if isinstance(row.price, str):
        row.price = Decimal(row.price)
    return record_of(row), bytes(row.hash)


def _purged(entry: Entry, spent: Any) -> OutboxMessage:
    at = datetime.fromtimestamp(spent[3] / SECOND, UTC)
    state = State(spent[2])
    return OutboxMessage(
        id=spent[0],
        key=entry.key,
        kind=entry.kind,
        to=entry.message.to,
        outcome=state.outcome,
        created_at=at,
        due_at=at,
        settled_at=at,
    )


# --- kinds of connections ------------------------------------------------------------------------


def executor_of(connection: Any, dialect: str) -> Executor:
    """Return what executes statements in the transaction of a connection.

    Args:
        connection: A Connection or Session of SQLAlchemy, a cursor or connection of psycopg, or Django's connection.
        dialect: The ledger's.

    Raises:
        TypeError: It is none of these.
        OutboxError: It is in autocommit mode.
    """
    if isinstance(connection, Session):
        connection = connection.connection()
    if isinstance(connection, sa.Connection):
        return _of_sqlalchemy(connection, dialect)
    if hasattr(connection, "in_atomic_block") and hasattr(connection, "vendor"):
        if connection.get_autocommit() and not connection.in_atomic_block:
            raise _autocommit()
        return _of_cursor(connection.cursor(), dialect)
    if type(connection).__module__.partition(".")[0] == "psycopg" and hasattr(connection, "execute"):
        cursor = connection if hasattr(connection, "fetchone") else connection.cursor()
        refuse_autocommit(cursor.connection)
        return _of_cursor(cursor, dialect)
    raise TypeError(
        "connection is a Connection or Session of SQLAlchemy, a cursor or connection of psycopg, or Django's "
        f"connection, not {type(connection).__name__}"
    )


def _of_sqlalchemy(connection: Connection, dialect: str) -> Executor:
    if connection.dialect.name != dialect:
        raise OutboxError(f"the connection is to {connection.dialect.name}, the ledger is on {dialect}")
    refuse_autocommit(connection.connection.dbapi_connection, connection.connection.driver_connection)

    def execute(template: str, values: Mapping[str, Any]) -> Any:
        return connection.execute(sa.text(statement_of(template, dialect, ":{}")), values).first()

    return execute


def _of_cursor(cursor: Any, dialect: str) -> Executor:
    def execute(template: str, values: Mapping[str, Any]) -> Any:
        cursor.execute(statement_of(template, dialect, "%({})s"), values)
        return cursor.fetchone()

    return execute


def refuse_autocommit(*connections: Any) -> None:
    """Refuse a connection in autocommit mode: a rollback would leave the message.

    Args:
        connections: What the driver, or SQLAlchemy's adapter of it, gives.

    Raises:
        OutboxError: It does.
    """
    checks: tuple[Callable[[Any], bool], ...] = (_psycopg_commits, _sqlite_commits, _asyncpg_commits)
    if any(check(connection) for connection in connections for check in checks):
        raise _autocommit()


def _psycopg_commits(connection: Any) -> bool:
    info = getattr(connection, "info", None)
    status = getattr(info, "transaction_status", None)
    return status is not None and connection.autocommit and status.name == "IDLE"


def _sqlite_commits(connection: Any) -> bool:
    if not hasattr(connection, "in_transaction"):
        return False
    return connection.isolation_level is None and not connection.in_transaction


def _asyncpg_commits(connection: Any) -> bool:
    return "asyncpg" in type(connection).__module__ and getattr(connection, "autocommit", False) is True


def _autocommit() -> OutboxError:
    return OutboxError(
        "the connection is in AUTOCOMMIT: the message would stay after a rollback. Nothing was written. Begin a "
        "transaction, or enqueue without a connection."
    )
