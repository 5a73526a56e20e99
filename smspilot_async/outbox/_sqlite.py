"""The hot path on SQLite: one thread that owns a connection, and commits together what waits together.

WAL and ``synchronous=FULL``: when a claim returns, its intent is on the disk. A group that cannot be committed fails as
a whole, and its claims are then of unknown fate, like those of any database.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from smspilot_async.outbox import _ledger, _steps
from smspilot_async.outbox._due import account_and_due
from smspilot_async.outbox._errors import LedgerUnavailable
from smspilot_async.outbox._ledger import (
    BRAKE_FIRST,
    BRAKE_LONGEST,
    MAX_UNKNOWNS,
    AccountState,
    Claim,
    Why,
)
from smspilot_async.outbox._schema import CODE
from smspilot_async.outbox._sqlite_claim import claim_from, open_stream
from smspilot_async.outbox._sqlite_errors import unavailable
from smspilot_async.outbox._states import Event, State, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from smspilot_async.outbox._ledger import Answer, ClaimRequest, MessageAnswer
    from smspilot_async.outbox._steps import Work
    from smspilot_async.outbox._tokens import SentToken

__all__ = ["PRAGMAS", "SqliteHotPath"]

Value = TypeVar("Value")

_BUSY_TIMEOUT: Final = "PRAGMA busy_timeout=10000"
PRAGMAS: Final = (
    _BUSY_TIMEOUT,
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # the text of a code is gone once it is erased
)
_MOST_AT_ONCE: Final = 64
_WRITE: Final = object()

_HELD: Final = ", ".join(f"'{state}'" for state in sources(Event.ACCEPTED))
_ACCEPT: Final = f"""
UPDATE smspilot_message
SET state = 'accepted', reason = NULL, code = NULL, on_wire = on_wire + 1, settled_at = :now,
  server_id = CAST(substr(:server_ids, (id - :first) * :width + 1, :width) AS TEXT),
  parts = coalesce(:parts, parts), price = :price, status = :status,
  text = CASE WHEN stream_id = 0 THEN NULL ELSE text END
WHERE id IN (SELECT value FROM json_each(:ids)) AND attempt_id = :attempt AND state IN ({_HELD})
"""
_MOST_ROOM: Final = 1 << 20
"""Bytes for the server ids of one statement."""
_SETTLE: Final = f"""
UPDATE smspilot_message
SET state = CASE WHEN resends > 0 AND :is_final THEN 'unknown' ELSE :state END,
  reason = :reason, code = :code, on_wire = on_wire + :on_wire, settled_at = :settled_at,
  due = :due, most = :most, wanted_at = min(wanted_at, :now),
  text = CASE WHEN :is_final AND stream_id = 0 THEN NULL ELSE text END
WHERE id = :id AND attempt_id = :attempt AND state IN ({_HELD})
"""
_PROVE: Final = """
UPDATE smspilot_message
SET sent_twice = sent_twice OR (state = 'accepted' AND coalesce(server_id <> :server_id, 0)),
  server_id = CASE WHEN state = 'accepted' THEN coalesce(server_id, :server_id) ELSE :server_id END,
  parts = coalesce(:parts, parts), price = coalesce(:price, price),
  settled_at = CASE WHEN state = 'accepted' THEN settled_at ELSE :now END,
  text = CASE WHEN stream_id = 0 THEN NULL ELSE text END,
  reason = NULL, code = NULL, on_wire = max(on_wire, 1), state = 'accepted'
WHERE id = :id
"""
_CLOSE: Final = """
UPDATE smspilot_attempt SET outcome = :outcome, evidence = :evidence, recorded_at = :now,
  server_packet_id = :server_packet_id, cost = :cost,
  amount = CASE WHEN amount IS NULL OR is_counted THEN amount ELSE coalesce(:spent, amount) END
WHERE id = :id
"""
_LEASE_OVER: Final = """
UPDATE smspilot_message SET state = 'unknown', reason = ?, on_wire = on_wire + 1, settled_at = ?
WHERE attempt_id = ? AND state = 'in_flight' AND id IN (SELECT value FROM json_each(?))
"""
_TRIED: Final = """
SELECT m.id FROM smspilot_message m
WHERE m.id IN (SELECT value FROM json_each(?)) AND (m.on_wire > 0 OR EXISTS (
  SELECT 1 FROM smspilot_message o
  WHERE o.hash = m.hash AND o.id <> m.id AND (o.on_wire > 0 OR o.state = 'in_flight')
))
"""
_TRIED_BY_OTHERS: Final = """
SELECT m.id FROM smspilot_message m
WHERE m.id IN (SELECT value FROM json_each(?)) AND EXISTS (
  SELECT 1 FROM smspilot_message o JOIN smspilot_attempt a ON a.id = o.attempt_id
  WHERE o.hash = m.hash AND o.id <> m.id AND a.intent_at > ?
)
"""


@attrs.define(eq=False)
class _Job:
    """Something to do in the thread.

    Attributes:
        work: Does it, in a transaction of the group's.
        look: Reads first, without a lock: returns what it found, or ``_WRITE`` where it has to be done.
    """

    work: Callable[[sqlite3.Connection], Any]
    look: Callable[[sqlite3.Connection], Any] | None
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: Exception | None = None


class SqliteHotPath:
    """A SQLite ledger, as a sender uses it.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_idle = False  # the last claim found nothing
        self._erased = True  # perhaps, by a sender before that was killed

    @property
    def is_shared(self) -> bool:
        return False

    async def open(self, home: str | None = None, sent: Callable[[], Sequence[SentToken]] = tuple) -> None:
        del home, sent  # a file that is open stays the same file
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._serve, args=(loop, opened), name="smspilot ledger", daemon=True)
        self._thread.start()
        await opened

    async def aclose(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.join)

    # --- the thread ------------------------------------------------------------------------------

    def _serve(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
            self._forget_erased(connection)
        except sqlite3.Error as error:
            loop.call_soon_threadsafe(_fail, opened, unavailable(error))
            return
        loop.call_soon_threadsafe(_settle, opened, None)
        with contextlib.closing(connection):
            while (jobs := self._waiting()) is not None:
                self._commit(connection, jobs)
                if self._jobs.empty():
                    self._forget_erased(connection)
            self._forget_erased(connection)

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self._path.resolve().as_uri()}?mode=rw"  # never makes a file
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            for pragma in PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()  # the file is no database, say
            raise
        return connection

    def _waiting(self) -> list[_Job] | None:
        """Return what waits, at least one; ``None`` at the end."""
        jobs = [self._jobs.get()]
        with contextlib.suppress(queue.Empty):
            while len(jobs) < _MOST_AT_ONCE and jobs[-1] is not None:
                jobs.append(self._jobs.get_nowait())
        if jobs == [None]:
            return None
        if jobs[-1] is None:  # after those before it
            self._jobs.put(None)
        return [job for job in jobs if job is not None]

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Do a group of jobs. What only reads takes no lock, in which a stopped process would hold up all others."""
        writing = [job for job in jobs if not self._is_read(connection, job)]
        if writing:
            self._write(connection, writing)
        for loop, group in itertools.groupby(jobs, key=lambda job: job.loop):
            with contextlib.suppress(RuntimeError):  # its loop is gone
                loop.call_soon_threadsafe(_end, list(group))

    def _write(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        """Do jobs in one transaction; one that fails keeps its error, and the others are done again without it.

        A savepoint for each would be two more statements, after each of which this thread waits for the interpreter.
        """
        failed: _Job | None = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            failed = next((job for job in jobs if not _succeeds(connection, job)), None)
            connection.execute("COMMIT" if failed is None else "ROLLBACK")
        except sqlite3.Error as error:
            failure = unavailable(error)
            for job in jobs:
                job.error = failure
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            return
        if failed is not None and (others := [job for job in jobs if job is not failed]):
            self._write(connection, others)

    @staticmethod
    def _is_read(connection: sqlite3.Connection, job: _Job) -> bool:
        """Do a job that only reads, or return ``False``."""
        if job.look is None:
            return False
        try:
            job.result = job.look(connection)
        except sqlite3.Error as error:
            job.error = unavailable(error)
        except Exception as error:  # noqa: BLE001 - its caller's to raise
            job.error = error
        return job.result is not _WRITE

    def _forget_erased(self, connection: sqlite3.Connection) -> None:
        """Empty the log once texts were erased, for it still holds them.

        It waits for no reader, which would hold up what is sent: the next commit, or the next sender, tries again.
        """
        if self._erased:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA busy_timeout=0")
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._erased = bool(busy)
            connection.execute(_BUSY_TIMEOUT)

    async def run(
        self,
        work: Callable[[sqlite3.Connection], Value],
        look: Callable[[sqlite3.Connection], Any] | None = None,
    ) -> Value:
        """Do something in a transaction of the thread's, and return once it is durable.

        Args:
            work: Does it.
            look: Reads before, and returns ``_WRITE`` if there is anything to do.

        Raises:
            LedgerUnavailable: It may not have been done, or not durably.
        """
        if self._thread is None:
            raise LedgerUnavailable("the ledger is closed. Nothing was sent.")
        loop = asyncio.get_running_loop()
        job = _Job(work, look, loop.create_future(), loop)
        self._jobs.put(job)
        result: Value = await job.done
        return result

    # --- what a sender asks ----------------------------------------------------------------------

    async def claim(self, request: ClaimRequest) -> Claim:
        look = partial(self._is_due, request) if self._is_idle else None
        return await self.run(lambda connection: self._claim(connection, request), look)

    def _is_due(self, request: ClaimRequest, connection: sqlite3.Connection) -> Any:
        now = _ledger.now_us()
        return _WRITE if open_stream(connection, request, now) else Claim(attempt_id=None, intent_at=now)

    def _claim(self, connection: sqlite3.Connection, request: ClaimRequest) -> Claim:
        now = _ledger.now_us()
        stream = open_stream(connection, request, now)
        self._is_idle = stream is None
        if stream is None:
            return Claim(attempt_id=None, intent_at=now)
        claim = claim_from(connection, request, stream, now)
        self._erased = self._erased or (claim.lane == CODE and claim.settled > 0)
        return claim

    async def record(self, answer: Answer) -> None:
        await self.run(lambda connection: self._record(connection, answer))

    def _record(self, connection: sqlite3.Connection, answer: Answer) -> None:
        now = _ledger.now_us()
        attempt = answer.attempt_id
        accepted = [row for row in answer.rows if row.event is Event.ACCEPTED]
        if _accept(connection, accepted, attempt, now) < len(accepted):
            self._prove(connection, accepted, now)
        if len(accepted) < len(answer.rows):
            for row in answer.rows:
                if row.event is not Event.ACCEPTED:
                    self._settle_one(connection, row, answer, now)
        connection.execute(
            _CLOSE,
            {
                "outcome": answer.outcome,
                "evidence": answer.evidence,
                "now": now,
                "server_packet_id": answer.server_packet_id,
                "cost": None if answer.cost is None else str(answer.cost),
                "spent": None if answer.spent is None else str(answer.spent),
                "id": attempt,
            },
        )
        self._erased = self._erased or answer.lane == CODE

    @staticmethod
    def _prove(connection: sqlite3.Connection, rows: Sequence[MessageAnswer], now: int) -> None:
        """Take acceptances for proof, of messages that the attempt does not hold any more."""
        for row in rows:
            connection.execute(
                _PROVE,
                {
                    "id": row.id,
                    "server_id": row.server_id,
                    "parts": row.parts,
                    "price": None if row.price is None else str(row.price),
                    "now": now,
                },
            )

    @staticmethod
    def _settle_one(connection: sqlite3.Connection, row: MessageAnswer, answer: Answer, now: int) -> None:
        state, reason = State(row.event.value) if row.event is Event.REFUSED else State.UNKNOWN, row.reason
        if row.event is Event.PUT_BACK:
            state = State.PENDING
            wanted = connection.execute("SELECT wanted_at FROM smspilot_message WHERE id = ?", (row.id,)).fetchone()
            if wanted is not None and wanted[0] + answer.give_up_after <= now:
                state, reason = State.NOT_SENT, Why.GAVE_UP
        connection.execute(
            _SETTLE,
            {
                "id": row.id,
                "attempt": answer.attempt_id,
                "state": state.value,
                "reason": reason,
                "code": row.code,
                "on_wire": row.on_wire,
                "settled_at": None if state is State.PENDING else now,
                "due": now + row.delay,
                "now": now,
                "most": row.most,
                "is_final": state in {State.REFUSED, State.NOT_SENT},
            },
        )

    async def void(self, token: str) -> None:
        await self.run(lambda connection: _void(connection, token))

    async def recover(self) -> int:
        over = "SELECT EXISTS (SELECT 1 FROM smspilot_attempt WHERE outcome IS NULL AND lease <= ?)"

        def look(connection: sqlite3.Connection) -> Any:
            return _WRITE if connection.execute(over, (_ledger.now_us(),)).fetchone()[0] else 0

        return await self.run(_recover, look)

    async def wait_for_code(self) -> None:
        await asyncio.get_running_loop().create_future()  # no process can tell another: they look

    async def transact(self, work: Work[Value]) -> Value:
        return await self.run(lambda connection: self._transact(connection, work))

    async def look(self, work: Work[Value]) -> Value:
        return await self._read(lambda connection: self._transact(connection, work))

    async def _read(self, work: Callable[[sqlite3.Connection], Value]) -> Value:
        return await self.run(work, look=work)

    def _transact(self, connection: sqlite3.Connection, work: Work[Value]) -> Value:
        steps, rows = work(), None
        while True:
            try:
                statement, values = steps.send(rows)  # type: ignore[arg-type]  # None begins a generator
            except StopIteration as end:
                value: Value = end.value
                return value
            self._erased = self._erased or "text = NULL" in statement
            plain = {name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()}
            rows = connection.execute(_steps.SQLITE.written(statement), {"now": _ledger.now_us(), **plain}).fetchall()

    async def tried_before(self, ids: Sequence[int]) -> set[int]:
        listed = json.dumps(list(ids))
        return await self._read(lambda connection: {row[0] for row in connection.execute(_TRIED, (listed,))})

    async def tried_by_others(self, ids: Sequence[int], since: int) -> set[int]:
        values = (json.dumps(list(ids)), since)
        return await self._read(lambda connection: {row[0] for row in connection.execute(_TRIED_BY_OTHERS, values)})

    async def account(self) -> AccountState:
        return (await self.account_and_due())[0]

    async def account_and_due(self) -> tuple[AccountState, bool]:
        return await self.look(account_and_due)

    async def pause(self, reason: str) -> None:
        sql = "UPDATE smspilot_account SET paused = coalesce(paused, ?), paused_at = coalesce(paused_at, ?)"
        await self.run(lambda connection: connection.execute(sql, (reason, _ledger.now_us())))

    async def count_unknown(self) -> int:
        def count(connection: sqlite3.Connection) -> int:
            now = _ledger.now_us()
            connection.execute(
                "UPDATE smspilot_account SET unknowns = unknowns + 1, "
                "brake_until = CASE WHEN unknowns + 1 = ? THEN ? ELSE brake_until END, "
                "brake_pause = CASE WHEN unknowns + 1 = ? THEN ? ELSE brake_pause END",
                (MAX_UNKNOWNS, now + BRAKE_FIRST, MAX_UNKNOWNS, BRAKE_FIRST),
            )
            row: tuple[int] = connection.execute("SELECT unknowns FROM smspilot_account").fetchone()
            return row[0]

        return await self.run(count)

    async def count_answer(self) -> None:
        sql = "UPDATE smspilot_account SET unknowns = 0, brake_until = 0, brake_pause = 0 WHERE unknowns > 0"
        await self.run(lambda connection: connection.execute(sql))

    async def release_brake(self) -> bool:
        def release(connection: sqlite3.Connection) -> bool:
            now = _ledger.now_us()
            changed = connection.execute(
                "UPDATE smspilot_account SET brake_pause = min(brake_pause * 2, ?), "
                "brake_until = ? + min(brake_pause * 2, ?) WHERE unknowns >= ? AND brake_until <= ?",
                (BRAKE_LONGEST, now, BRAKE_LONGEST, MAX_UNKNOWNS, now),
            )
            return changed.rowcount > 0

        return await self.run(release)


def _succeeds(connection: sqlite3.Connection, job: _Job) -> bool:
    """Do a job, and return whether what it did may stay."""
    try:
        job.result = job.work(connection)
    except sqlite3.IntegrityError as error:
        job.error = unavailable(error)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - its caller's to raise
        job.error = error
    return job.error is None


def _accept(connection: sqlite3.Connection, rows: Sequence[MessageAnswer], attempt: int, now: int) -> int:
    """Record those of an attempt's messages that were accepted and that it still holds; return how many those were.

    One statement for all that are alike takes half the time of one that is given each message's values, and each step
    of a statement lets another thread have the interpreter.
    """
    alike: dict[Any, list[MessageAnswer]] = {}
    for row in rows:
        server_id = row.server_id
        width = None if server_id is None else len(server_id)
        alike.setdefault((row.parts, row.price, row.status, width), []).append(row)
    changed = 0
    for (parts, price, status, width), group in alike.items():
        same = {"parts": parts, "price": None if price is None else str(price), "status": status}
        same |= {"attempt": attempt, "now": now}
        for packed in _packed(group, width):
            changed += connection.execute(_ACCEPT, same | packed).rowcount
    return changed


def _packed(rows: Sequence[MessageAnswer], width: int | None) -> Iterable[dict[str, Any]]:
    """Yield messages with their server ids, all of one width, in cells in which their numbers find them."""
    ids = [row.id for row in rows]
    first, room = min(ids), max(ids) + 1 - min(ids)
    if width is None:
        yield {"ids": json.dumps(ids), "first": first, "width": 0, "server_ids": None}
        return
    server_ids = "".join([row.server_id or "" for row in rows])
    cells = server_ids.encode()
    if len(rows) > 1 and (len(cells) > len(server_ids) or room * width > _MOST_ROOM):
        for row in rows:
            yield from _packed([row], width)
        return
    if ids != list(range(first, first + room)):
        cells = _spread(cells, width, [id_ - first for id_ in ids], room)
    yield {"ids": json.dumps(ids), "first": first, "width": len(cells) // room, "server_ids": cells}


def _spread(packed: bytes, width: int, places: Sequence[int], room: int) -> bytes:
    """Return cells with each in its place, from cells in another order."""
    cells = bytearray(room * width)
    for number, place in enumerate(places):
        cells[place * width : (place + 1) * width] = packed[number * width : (number + 1) * width]
    return bytes(cells)


def _void(connection: sqlite3.Connection, token: str) -> None:
    now = _ledger.now_us()
    inserted = connection.execute(
        "INSERT INTO smspilot_attempt (token, sender, intent_at, lease, message_ids, outcome, recorded_at) "
        "VALUES (?, '', ?, ?, '[]', 'void', ?) ON CONFLICT (token) DO NOTHING",
        (token, now, now, now),
    )
    if inserted.rowcount > 0:
        return
    found = connection.execute("SELECT id, message_ids FROM smspilot_attempt WHERE token = ?", (token,)).fetchone()
    connection.execute(
        "UPDATE smspilot_message SET state = 'pending', due = ? WHERE attempt_id = ? "
        "AND state IN ('in_flight', 'unknown') AND id IN (SELECT value FROM json_each(?))",
        (now, *found),
    )
    connection.execute(
        "UPDATE smspilot_attempt SET outcome = 'not_sent', evidence = 'void', recorded_at = ?, "
        "amount = CASE WHEN amount IS NULL THEN NULL ELSE '0' END WHERE id = ?",
        (now, found[0]),
    )


def _recover(connection: sqlite3.Connection) -> int:
    now, count = _ledger.now_us(), 0
    over = connection.execute(
        "SELECT id, message_ids FROM smspilot_attempt WHERE outcome IS NULL AND lease <= ? LIMIT 1000", (now,)
    ).fetchall()
    for id_, ids in over:
        count += connection.execute(_LEASE_OVER, (Why.LEASE_OVER, now, id_, ids)).rowcount
        connection.execute(
            "UPDATE smspilot_attempt SET outcome = 'unknown', evidence = ?, recorded_at = ? WHERE id = ?",
            (Why.LEASE_OVER, now, id_),
        )
    return count


def _end(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.error is None:
            _settle(job.done, job.result)
        else:
            _fail(job.done, job.error)


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
