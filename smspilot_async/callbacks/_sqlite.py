"""Events in a SQLite file that all workers of a machine share.

One thread per worker owns the connection. What is waiting when it gets to work is committed together, in WAL mode and
with ``synchronous=FULL``: an event whose store has returned survives a kill, and a power cut. SQLite lets one writer in
at a time, so positions become visible in their order, and a reader misses none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from asyncio import wrap_future
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs

from smspilot_async._statuses.rules import is_news
from smspilot_async.callbacks import _lost_answers
from smspilot_async.callbacks._claims import Claims
from smspilot_async.callbacks._database_file import DatabaseFile, transaction
from smspilot_async.callbacks._event_log import Stored
from smspilot_async.callbacks._form import StatusEvent
from smspilot_async.callbacks._signing import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smspilot_async.callbacks._lost_answers import LostAnswer
    from smspilot_async.models import SentMessage

Value = TypeVar("Value")
_Note: TypeAlias = "Callable[[sqlite3.Connection], object]"
logger: Final = logging.getLogger("smspilot_async")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS smspilot_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce BLOB NOT NULL, id INTEGER NOT NULL, server_id TEXT NOT NULL, status INTEGER NOT NULL,
    error INTEGER NOT NULL, received INTEGER NOT NULL,
    UNIQUE (nonce, server_id, status, error)
);
CREATE INDEX IF NOT EXISTS smspilot_events_of_message ON smspilot_events (server_id);
CREATE INDEX IF NOT EXISTS smspilot_events_received ON smspilot_events (received);
CREATE TABLE IF NOT EXISTS smspilot_sends (
    nonce BLOB PRIMARY KEY, server_id TEXT NOT NULL UNIQUE, known INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS smspilot_sends_known ON smspilot_sends (known);
CREATE TABLE IF NOT EXISTS smspilot_handed_over (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), position INTEGER);
INSERT OR IGNORE INTO smspilot_handed_over VALUES (1, 0);
CREATE TABLE IF NOT EXISTS smspilot_file (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), name BLOB NOT NULL);
INSERT OR IGNORE INTO smspilot_file VALUES (1, randomblob(16));
"""
_IS_CONTRADICTED: Final = (
    "SELECT 1 FROM smspilot_sends WHERE nonce = :nonce AND server_id <> :server_id"
    " UNION ALL SELECT 1 FROM smspilot_sends WHERE server_id = :server_id AND nonce <> :nonce"
)
_HISTORY: Final = "SELECT count(*) FROM smspilot_events WHERE nonce = :nonce"
_INSERT: Final = (
    "INSERT OR IGNORE INTO smspilot_events (nonce, id, server_id, status, error, received)"
    " VALUES (:nonce, :id, :server_id, :status, :error, :received)"
)
_BIND: Final = "INSERT OR REPLACE INTO smspilot_sends VALUES (?, ?, ?)"
_SELECT: Final = (
    "SELECT position, e.nonce, id, e.server_id, status, error, received, s.nonce IS NOT NULL FROM smspilot_events e"
    " LEFT JOIN smspilot_sends s ON s.nonce = e.nonce AND s.server_id = e.server_id"
)
_NONCE: Final = "SELECT nonce FROM smspilot_events WHERE position = ?"
_IS_STORED: Final = (
    "SELECT received FROM smspilot_events"
    " WHERE nonce = :nonce AND server_id = :server_id AND status = :status AND error = :error"
)
_SKIP_POSITIONS: Final = """
BEGIN IMMEDIATE;
INSERT INTO sqlite_sequence SELECT 'smspilot_events', 0
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'smspilot_events');
UPDATE sqlite_sequence SET seq = max(seq, {:d}) WHERE name = 'smspilot_events';
COMMIT;
"""
_NO_ERROR_TOLD: Final = -1
_LONGEST_HISTORY: Final = 32  # distinct calls of one send; more are not the gateway's
_FILES_IN_A_ROW: Final = 3
_BUSY: Final = 3.0  # seconds of patience with other workers, for each thing that is asked
_ASK_AGAIN: Final = 0.01
_PRIMARY: Final = 0xFF  # the bits above say more, such as that another process recovers the file after a kill
_TIDY_EVERY: Final = 3600.0
_IDS_AT_ONCE: Final = 500
_NOTES_KEPT: Final = 100_000  # while the file cannot be written


@attrs.frozen
class _Store:
    event: StatusEvent
    done: Future[bool] = attrs.field(factory=lambda: Future())  # noqa: PLW0108 - a generic class as a factory


class SQLiteSink:
    """Keeps status events in a SQLite file, safe before the gateway gets ``OK``.

    Several worker processes of one machine share the file: each sees the events of all, within a fifth of a second. An
    event that comes twice is kept once. Events are kept for 41 days, by the machine's clock. Making one opens nothing;
    entering the inbox does, and raises :class:`sqlite3.OperationalError` where the file cannot be opened.

    A file that is deleted or replaced while it is in use is noticed before the gateway gets ``OK``: the event goes to
    the file that is there now, made anew if there is none. What the lost one held is lost, and logged as an error.

    Args:
        path: The file, made if it does not exist, readable by its owner only; not on a network drive, where SQLite's
            locks do not hold. It holds ids and statuses, no phones, no texts and no URLs.
    """

    is_shared = True
    has_unknown: bool = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = DatabaseFile(os.fspath(path))
        self._stores: deque[_Store] = deque()
        self._notes: deque[_Note] = deque(maxlen=_NOTES_KEPT)
        self._done = 0
        self._saved = 0
        self._is_write_due = False
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._name: bytes | None = None
        self._claims = Claims()
        self._tidied = 0.0

    # --- from the loop ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file now, and not with the first event; it may be locked by another worker.

        Raises:
            sqlite3.OperationalError: It cannot be opened, or is no database.
        """
        try:
            await wrap_future(self._submit(self._opened))
        except sqlite3.Error as error:
            if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                raise sqlite3.OperationalError(
                    f"the sink {self._file.path} cannot be opened ({error}): name a file in a folder that exists, and "
                    "in which this process may write"
                ) from error

    async def store(self, event: StatusEvent) -> bool:
        """Return once the event is on disk.

        Returns:
            False if this send has another number, this number another send, or there were too many calls.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        store = _Store(event)
        self._stores.append(store)
        self._write_soon()
        return await wrap_future(store.done)

    def bind(self, nonce: bytes, server_id: str) -> None:
        """Learn which number the answer to a send named, soon; calls that name another one are refused."""
        values = nonce, server_id, _microseconds(datetime.now(UTC))
        self._note(lambda database: database.execute(_BIND, values))

    def put_lost(self, nonce: bytes, id: int, since: datetime) -> None:  # noqa: A002 - the protocol's name
        """Remember, soon, that the answer to a send was lost: a callback that proves it may reach any worker."""
        self._note(partial(_lost_answers.put, nonce=nonce, id_=id, since=_microseconds(since)))

    async def find_lost(self, nonce: bytes) -> LostAnswer | None:
        """Return what any worker knows of a send whose answer was lost."""
        return await wrap_future(self._submit(lambda: _lost_answers.find(self._opened(), nonce)))

    def accept_lost(self, nonce: bytes, sent: SentMessage) -> None:
        """Record, soon, that a send was accepted after all."""
        self._note(partial(_lost_answers.accept, nonce=nonce, sent=sent))

    def _note(self, note: _Note) -> None:
        """Write something soon, and again later if it fails."""
        self._notes.append(note)
        self._write_soon()

    def hand_over(self, position: int) -> None:
        """Note that an application is done with everything up to a position, soon."""
        self._done = max(self._done, position)
        self._write_soon()

    async def read(self, after: int, limit: int) -> list[Stored]:
        """Return what came after a position, to any worker."""
        return await self._ask(f"{_SELECT} WHERE position > ? ORDER BY position LIMIT ?", (after, limit))

    async def find(self, server_ids: Iterable[str]) -> list[Stored]:
        """Return what came about these numbers."""
        ids, found = list(server_ids), list[Stored]()
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = ids[start : start + _IDS_AT_ONCE]
            marks = ",".join("?" * len(some))
            found += await self._ask(f"{_SELECT} WHERE e.server_id IN ({marks}) ORDER BY position", some)
        return found

    async def of_send(self, nonce: bytes) -> list[Stored]:
        """Return what came by the path of one send."""
        return await self._ask(f"{_SELECT} WHERE e.nonce = ? ORDER BY position", (nonce,))

    async def claim(self, owner: bytes, now: datetime) -> Stored | None:
        """Claim the first event that no worker is handling, for ``_claims.LEASE`` seconds."""
        claiming = self._submit(partial(self._claim, owner, _microseconds(now)))
        try:
            return await wrap_future(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(partial(self._give_back, owner))
            raise

    def _give_back(self, owner: bytes, claiming: Future[Stored | None]) -> None:
        """Release what was claimed for a reader that no longer waits."""
        is_claimed = not claiming.cancelled() and claiming.exception() is None and claiming.result() is not None
        if is_claimed and self._thread is not None:  # whoever closes it gives up everything
            self.give_up(owner)

    def keep(self, owner: bytes, now: datetime) -> None:
        """Renew the claims of an owner, soon."""
        self._soon(partial(self._claims.keep, owner=owner, now=_microseconds(now)))

    def give_up(self, owner: bytes) -> None:
        """Release the claims of an owner, soon."""
        self._soon(partial(self._claims.give_up, owner=owner))

    def finish(self, position: int) -> None:
        """Note that an application is done with an event, with whatever is written next."""
        self._claims.finish(position)

    async def end(self) -> int:
        """Return the last position."""
        return await self._number("SELECT coalesce(max(position), 0) FROM smspilot_events")

    async def handed_over(self) -> int:
        """Return the position up to which some worker's application was done."""
        return await self._number("SELECT position FROM smspilot_handed_over")

    async def aclose(self) -> None:
        """Write what waits, and close the file and end the thread. Used again, it opens them again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await wrap_future(thread.submit(self._close))
            thread.shutdown(wait=False)  # it has nothing left to do, and the loop need not see it go

    async def _ask(self, query: str, values: Sequence[object]) -> list[Stored]:
        rows = await wrap_future(self._submit(lambda: self._opened().execute(query, values).fetchall()))
        return [_stored(row) for row in rows]

    async def _number(self, query: str) -> int:
        (number,) = await wrap_future(self._submit(lambda: self._opened().execute(query).fetchone()))
        return int(number)

    def _soon(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Write what need not be waited for, and what is retried later if it fails."""

        def write() -> None:
            try:
                work(self._opened())
            except Exception as error:  # noqa: BLE001 - no caller waits for it
                logger.warning("statuses: the sink could not be written (%s)", type(error).__name__)

        with suppress(RuntimeError):  # no thread can be started
            self._submit(write)

    def _write_soon(self) -> None:
        if not self._is_write_due:
            self._is_write_due = True  # first: the thread takes it back, maybe at once
            try:
                self._submit(self._write)
            except RuntimeError:  # no thread can be started; the next call tries again
                self._is_write_due = False
                raise

    def _submit(self, work: Callable[[], Value]) -> Future[Value]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="smspilot-callbacks")
        return self._thread.submit(work)

    # --- in the thread ---------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        if self._database is not None and not self._file.is_in_place():
            self._let_go(self._database)
        if self._database is None:
            self._database = self._file.opened(self._connect)
        return self._database

    def _connect(self, path: str) -> sqlite3.Connection:
        database = _open(path)
        try:
            self._go_on(database)
        except BaseException:
            database.close()
            raise
        return database

    def _go_on(self, database: sqlite3.Connection) -> None:
        """Make the positions of a new file begin above all that any worker has read."""
        (name,) = database.execute("SELECT name FROM smspilot_file").fetchone()
        last, self._name = self._name, name
        if last not in {None, name}:
            self._done = self._saved = 0
            database.executescript(_SKIP_POSITIONS.format(_microseconds(datetime.now(UTC))))

    def _let_go(self, lost: sqlite3.Connection) -> None:
        logger.error("statuses: the sink's file was deleted or replaced while it was in use; another one is used now")
        self._file.let_go()  # first: SQLite must not find the lost one in its place, and write into it at the end
        self._database = None
        with closing(lost), suppress(sqlite3.Error):
            lost.execute("PRAGMA wal_checkpoint")  # a file that was only moved is whole then

    def _close(self) -> None:
        try:
            self._write()
        finally:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _write(self) -> None:
        """Commit everything that waits, together."""
        self._is_write_due = False  # before anything is taken: what comes from now on asks for another turn
        stores = [store for store in _taken(self._stores) if store.done.set_running_or_notify_cancel()]
        notes, done = _taken(self._notes), self._done
        if not stores and not notes and done == self._saved and not self._claims.has_finished:
            return
        try:
            answers = self._commit([store.event for store in stores], notes)
        except Exception as error:  # noqa: BLE001 - each caller gets it
            self._notes.extendleft(reversed(notes))
            for store in stores:
                store.done.set_exception(error)
            if not stores:
                logger.warning("statuses: the sink could not be written (%s)", type(error).__name__)
            return
        self._saved = done
        for store, answer in zip(stores, answers, strict=True):
            store.done.set_result(answer)

    def _commit(self, events: list[StatusEvent], notes: list[_Note]) -> list[bool]:
        """Commit, and return once the next to open the file will find it."""
        for _ in range(_FILES_IN_A_ROW):
            database = self._opened()
            answers = self._transact(database, events, notes)
            if self._file.is_in_place():
                stored = [event for event, is_stored in zip(events, answers, strict=True) if is_stored]
                self._look_for(stored)
                return answers
        raise sqlite3.OperationalError("the file keeps being deleted or replaced")

    def _look_for(self, events: list[StatusEvent]) -> None:
        def are_there(another: sqlite3.Connection) -> bool:
            return all(another.execute(_IS_STORED, _row(event)).fetchone() for event in events)

        try:
            is_found = self._file.is_found(are_there)
        except sqlite3.Error:
            is_found = False
        if not is_found:
            raise sqlite3.DatabaseError("the file was overwritten while it was in use: move it away")

    def _transact(self, database: sqlite3.Connection, events: list[StatusEvent], notes: list[_Note]) -> list[bool]:
        with self._claims.writing(database) if self._claims.has_finished else transaction(database):
            self._tidy(database)
            for note in notes:
                note(database)
            answers = [self._insert(database, event) for event in events]
            database.execute("UPDATE smspilot_handed_over SET position = max(position, ?)", (self._done,))
            self.has_unknown = _lost_answers.has_unknown(database)
        return answers

    def _claim(self, owner: bytes, now: int) -> Stored | None:
        database = self._opened()
        position = self._claims.claim(database, owner, now, self._is_news)
        if position is None:
            return None
        return _stored(database.execute(f"{_SELECT} WHERE position = ?", (position,)).fetchone())

    def _is_news(self, database: sqlite3.Connection, position: int) -> bool:
        """Return whether an event advances its message, compared with all earlier ones, at any worker."""
        nonce = database.execute(_NONCE, (position,)).fetchone()
        rows = database.execute(f"{_SELECT} WHERE e.nonce = ? ORDER BY position", nonce).fetchall()
        *earlier, new = [stored.event for row in rows if (stored := _stored(row)).position <= position]
        is_credible = partial(self._is_credible, database)
        return is_credible(new) and is_news(new, filter(is_credible, earlier))

    def _is_credible(self, database: sqlite3.Connection, event: StatusEvent) -> bool:
        return database.execute(_IS_CONTRADICTED, _row(event)).fetchone() is None

    def _insert(self, database: sqlite3.Connection, event: StatusEvent) -> bool:
        row = _row(event)
        if database.execute(_IS_CONTRADICTED, row).fetchone():
            return False
        if database.execute(_HISTORY, row).fetchone()[0] >= _LONGEST_HISTORY:
            return False
        database.execute(_INSERT, row)
        return True

    def _tidy(self, database: sqlite3.Connection) -> None:
        """Delete what no valid path refers to any more."""
        if time.monotonic() < self._tidied + _TIDY_EVERY and self._tidied:
            return
        self._tidied = time.monotonic()
        oldest = _microseconds(datetime.now(UTC)) - LIFETIME * 1_000_000
        database.execute("DELETE FROM smspilot_events WHERE received < ?", (oldest,))
        database.execute("DELETE FROM smspilot_sends WHERE known < ?", (oldest,))
        _lost_answers.expire(database, oldest)


def _open(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    try:
        _switch_to_wal(database)
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}{_lost_answers.SCHEMA}COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _switch_to_wal(database: sqlite3.Connection) -> None:
    """Wait for another process that is switching a new file: SQLite refuses at once, whatever its timeout."""
    give_up = time.monotonic() + _BUSY
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        else:
            return
        time.sleep(_ASK_AGAIN)


def _taken(waiting: deque[Value]) -> list[Value]:
    return [waiting.popleft() for _ in range(len(waiting))]


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _row(event: StatusEvent) -> dict[str, object]:
    return {
        "nonce": event.nonce,
        "id": event.id,
        "server_id": event.server_id,
        "status": event.status,
        "error": _NO_ERROR_TOLD if event.error is None else event.error,  # two NULLs would count as different
        "received": _microseconds(event.received),
    }


def _stored(row: tuple[int, bytes, int, str, int, int, int, int]) -> Stored:
    position, nonce, id_, server_id, status, error, received, is_bound = row
    event = StatusEvent(
        id=id_,
        server_id=server_id,
        status=status,
        error=None if error == _NO_ERROR_TOLD else error,
        received=_EPOCH + timedelta(microseconds=received),
        nonce=nonce,
    )
    return Stored(position, event, bool(is_bound))
