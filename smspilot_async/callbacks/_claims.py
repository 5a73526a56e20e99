"""Claims of events by workers that compete for them, kept in the sink's SQLite file.

Unfinished events are listed beside the log, from the moment they are stored until an application is done with them. A
claim is a lease that its worker renews for as long as it lives; once it has expired, another worker may claim the
event. Events about one message are handed over in order: while one worker handles one, no other gets a later one.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from smspilot_async.callbacks._database_file import transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

LEASE: Final = 30.0
"""Seconds after which other workers may claim the events of a worker that was killed."""

_PASSED_OVER_AT_ONCE: Final = 500
_MICRO: Final = 1_000_000
_IS_THERE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'smspilot_waiting'"
_TABLE: Final = (
    """CREATE TABLE smspilot_waiting (
        position INTEGER PRIMARY KEY, nonce BLOB NOT NULL, owner BLOB, until INTEGER
    )""",
    "CREATE INDEX smspilot_waiting_of_message ON smspilot_waiting (nonce, position)",
    """CREATE TRIGGER smspilot_waits AFTER INSERT ON smspilot_events BEGIN
        INSERT INTO smspilot_waiting (position, nonce) VALUES (new.position, new.nonce);
    END""",
    """CREATE TRIGGER smspilot_waits_no_more AFTER DELETE ON smspilot_events BEGIN
        DELETE FROM smspilot_waiting WHERE position = old.position;
    END""",
    "INSERT INTO smspilot_waiting (position, nonce) SELECT position, nonce FROM smspilot_events",
)
_FORGET_HANDED_OVER: Final = (
    "DELETE FROM smspilot_waiting WHERE position <= (SELECT position FROM smspilot_handed_over)"
)
_FIRST: Final = (
    "SELECT position FROM smspilot_waiting w"
    " WHERE (owner IS NULL OR until <= :now OR until > :now + 2 * :lease)"  # more than that: the clock was set back
    " AND NOT EXISTS (SELECT 1 FROM smspilot_waiting e WHERE e.nonce = w.nonce AND e.position < w.position)"
    " ORDER BY position LIMIT 1"
)
_CLAIM: Final = "UPDATE smspilot_waiting SET owner = :owner, until = :now + :lease WHERE position = :position"
_KEEP: Final = "UPDATE smspilot_waiting SET until = :now + :lease WHERE owner = :owner"
_GIVE_UP: Final = "UPDATE smspilot_waiting SET owner = NULL, until = NULL WHERE owner = :owner"
_FINISH: Final = "DELETE FROM smspilot_waiting WHERE position = ?"
_NOTE_HANDED_OVER: Final = (
    "UPDATE smspilot_handed_over SET position = max(position, coalesce("
    "(SELECT min(position) - 1 FROM smspilot_waiting), (SELECT max(position) FROM smspilot_events), 0))"
)


class Claims:
    """The claims in one file, for the thread of its sink; other threads only say what they are done with."""

    def __init__(self) -> None:
        self._finished: deque[int] = deque()
        self._prepared: sqlite3.Connection | None = None

    @property
    def has_finished(self) -> bool:
        """An application is done with events, and the file does not say so yet."""
        return bool(self._finished)

    def finish(self, position: int) -> None:
        """Note that an application is done with an event; it is written with whatever is written next."""
        self._finished.append(position)

    def claim(
        self, database: sqlite3.Connection, owner: bytes, now: int, is_news: Callable[[sqlite3.Connection, int], bool]
    ) -> int | None:
        """Claim the first event that has no owner, and skip those that do not advance their message.

        Args:
            database: The connection.
            owner: Who claims it.
            now: Microseconds since 1970.
            is_news: Whether an application wants the event at a position.

        Returns:
            Its position.
        """
        values = _values(owner, now)
        self._prepare(database)
        if not self._finished and database.execute(_FIRST, values).fetchone() is None:
            return None  # without a lock, for which others would wait
        with self._relaxed(database), self.writing(database):
            for _ in range(_PASSED_OVER_AT_ONCE):
                first = database.execute(_FIRST, values).fetchone()
                if first is None:
                    return None
                position = int(first[0])
                if is_news(database, position):
                    database.execute(_CLAIM, {**values, "position": position})
                    return position
                database.execute(_FINISH, first)
        return None

    def keep(self, database: sqlite3.Connection, owner: bytes, now: int) -> None:
        """Renew the claims of an owner."""
        with self._relaxed(database), self.writing(database):
            database.execute(_KEEP, _values(owner, now))

    def give_up(self, database: sqlite3.Connection, owner: bytes) -> None:
        """Release the claims of an owner, except of what it is done with."""
        with self._relaxed(database), self.writing(database):
            database.execute(_GIVE_UP, {"owner": owner})

    @contextmanager
    def writing(self, database: sqlite3.Connection) -> Iterator[None]:
        """Write in one transaction, and with it what applications are done with."""
        self._prepare(database)
        finished = list(self._finished)
        with transaction(database):
            database.executemany(_FINISH, [(position,) for position in finished])
            yield
            database.execute(_NOTE_HANDED_OVER)
        for _ in finished:
            self._finished.popleft()

    @contextmanager
    def _relaxed(self, database: sqlite3.Connection) -> Iterator[None]:
        """Do not wait for the disk: a claim that a power cut undoes comes again, as after a kill."""
        database.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            database.execute("PRAGMA synchronous=FULL")

    def _prepare(self, database: sqlite3.Connection) -> None:
        """List what waits, from the first claim in this file on; and only that, where another mode was in use since."""
        if self._prepared is database:
            return
        with transaction(database):
            if database.execute(_IS_THERE).fetchone() is None:
                for statement in _TABLE:
                    database.execute(statement)
            database.execute(_FORGET_HANDED_OVER)
        self._prepared = database


def _values(owner: bytes, now: int) -> dict[str, object]:
    return {"owner": owner, "now": now, "lease": int(LEASE * _MICRO)}
