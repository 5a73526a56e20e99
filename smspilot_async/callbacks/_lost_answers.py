"""Sends whose answers were lost, by their nonces: what a callback needs to prove that one was accepted.

In memory each process knows its own. In a sink's file all workers know them: the callback that proves a send may reach
any of them, and another may be waiting for it. It holds ids and nonces, no phones and no texts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from smspilot_async.models import SentMessage

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

_REMEMBERED: Final = 10_000


@attrs.frozen
class LostAnswer:
    """A send whose answer was lost.

    Attributes:
        id: The message's id.
        sent: What it turned out to be; ``None`` while it is unknown.
    """

    id: int
    sent: SentMessage | None = None


@runtime_checkable
class LostAnswers(Protocol):
    """Where they are kept, for as long as a callback may come.

    Attributes:
        has_unknown: There may be one that is still unknown, of any process.
    """

    has_unknown: bool

    def put_lost(self, nonce: bytes, id: int, since: datetime) -> None:  # noqa: A002 - the gateway's own word for it
        """Remember, soon, that the answer to a send was lost, and when."""

    async def find_lost(self, nonce: bytes) -> LostAnswer | None:
        """Return what is known of a send whose answer was lost; ``None`` if it was not, or that is forgotten."""
        raise NotImplementedError

    def accept_lost(self, nonce: bytes, sent: SentMessage) -> None:
        """Record, soon and once, that a send was accepted after all."""


class MemoryLostAnswers:
    """The last ten thousand, of this process alone, which are known to the inbox as well."""

    has_unknown: bool = False

    def __init__(self) -> None:
        self._lost: OrderedDict[bytes, LostAnswer] = OrderedDict()

    def put_lost(self, nonce: bytes, id: int, since: datetime) -> None:  # noqa: A002 - the protocol's name
        del since
        self._lost.setdefault(nonce, LostAnswer(id))
        if len(self._lost) > _REMEMBERED:
            self._lost.popitem(last=False)

    async def find_lost(self, nonce: bytes) -> LostAnswer | None:
        return self._lost.get(nonce)

    def accept_lost(self, nonce: bytes, sent: SentMessage) -> None:
        lost = self._lost.get(nonce)
        if lost is not None and lost.sent is None:
            self._lost[nonce] = LostAnswer(lost.id, sent)


# --- in a sink's file, for its thread ------------------------------------------------------------

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS smspilot_lost (
    nonce BLOB PRIMARY KEY, id INTEGER NOT NULL, since INTEGER NOT NULL,
    server_id TEXT, status INTEGER, error INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS smspilot_lost_since ON smspilot_lost (since);
CREATE INDEX IF NOT EXISTS smspilot_lost_unknown ON smspilot_lost (nonce) WHERE server_id IS NULL;
"""
_PUT: Final = "INSERT OR IGNORE INTO smspilot_lost (nonce, id, since) VALUES (?, ?, ?)"
_FIND: Final = "SELECT id, server_id, status, error FROM smspilot_lost WHERE nonce = ?"
_ACCEPT: Final = "UPDATE smspilot_lost SET server_id = ?, status = ?, error = ? WHERE nonce = ? AND server_id IS NULL"
_HAS_UNKNOWN: Final = "SELECT EXISTS (SELECT 1 FROM smspilot_lost WHERE server_id IS NULL)"
_EXPIRE: Final = "DELETE FROM smspilot_lost WHERE since < ?"


def put(database: sqlite3.Connection, nonce: bytes, id_: int, since: int) -> None:
    """Remember a send whose answer was lost at a moment, in microseconds since 1970."""
    database.execute(_PUT, (nonce, id_, since))


def find(database: sqlite3.Connection, nonce: bytes) -> LostAnswer | None:
    """Return what is known of one."""
    row = database.execute(_FIND, (nonce,)).fetchone()
    if row is None:
        return None
    id_, server_id, status, error = row
    return LostAnswer(
        id_, None if server_id is None else SentMessage(id=id_, server_id=server_id, status=status, error=error)
    )


def accept(database: sqlite3.Connection, nonce: bytes, sent: SentMessage) -> None:
    """Record that one was accepted, unless that is recorded already."""
    database.execute(_ACCEPT, (sent.server_id, sent.status, sent.error, nonce))


def has_unknown(database: sqlite3.Connection) -> bool:
    """Return whether any is still unknown."""
    return bool(database.execute(_HAS_UNKNOWN).fetchone()[0])


def expire(database: sqlite3.Connection, before: int) -> None:
    """Forget those whose callbacks are no longer accepted."""
    database.execute(_EXPIRE, (before,))
