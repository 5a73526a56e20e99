"""A connection of a sender to its ledger on PostgreSQL.

Every statement has its time limits; serialization failures and deadlocks are repeated. A connection that breaks is
replaced at the next call, which checks that the database is still the ledger's; what the broken one had asked is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg import errors as pg

from smspilot_async.outbox import _steps
from smspilot_async.outbox._errors import LedgerUnavailable
from smspilot_async.outbox._home import POSTGRESQL_HOME, check_home, refuse_missing
from smspilot_async.outbox._schema import WAKE_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from smspilot_async.outbox._steps import Work
    from smspilot_async.outbox._tokens import SentToken

__all__ = ["LedgerConnection"]

Value = TypeVar("Value")

_CONNECT_TIMEOUT: Final = 5
_ANSWER_TIMEOUT: Final = 15.0
"""Seconds: longer than the server's own limits, for a server that does not answer at all."""
_OPTIONS: Final = (
    "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
    " -c default_transaction_isolation=read\\ committed -c application_name=smspilot"
    " -c jit=off"  # compiling a statement takes a tenth of a second, doing it a few milliseconds
)
_MOST_REPEATS: Final = 5
_PLANS_LAST: Final = 10.0
"""Seconds until statements are planned anew: a plan made for a small table would read all of one that has grown."""

# What is off may lose the last commits when the server fails, and a message would leave twice.
_SYNCHRONOUS: Final = """
SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
  THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""

_KNOWN: Final = """
SELECT l.attempts_gone, ARRAY(SELECT a.token FROM smspilot.attempt a WHERE a.token = ANY (%s)) FROM smspilot.ledger l
"""


class LedgerConnection:
    """One connection, used by one caller at a time, and made anew after it broke.

    Attributes:
        home: Where the ledger is at home, if that is looked at whenever a connection is made.
        sent: Returns the last attempts of this sender, which the database must know then.
    """

    def __init__(self, conninfo: str, *, is_pooled: bool) -> None:
        self.home: str | None = None
        self.sent: Callable[[], Sequence[SentToken]] = tuple
        self._conninfo = conninfo
        self._is_pooled = is_pooled
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._plan_anew_at = 0.0
        self._abandoned: dict[asyncio.Future[None], asyncio.Task[Any]] = {}

    async def fetch(self, statement: str, values: Any = None) -> list[Any]:
        """Execute one statement in a transaction of its own, and return its rows.

        Raises:
            LedgerUnavailable: It may have been done, or not.
        """

        async def work(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
            if not self._is_pooled or self.home is None:
                return await _rows(connection, statement, values)
            async with connection.transaction():  # the server behind it may be another one each time
                await self._check_home(connection, self.home)
                return await _rows(connection, statement, values)

        return await self._do(work)

    async def transact(self, begin: Work[Value]) -> Value:
        """Do a transaction of several statements.

        Raises:
            LedgerUnavailable: It may have been done, or not.
        """

        async def work(connection: psycopg.AsyncConnection[Any]) -> Value:
            async with connection.transaction():
                return await _in_steps(connection, begin)

        return await self._do(work)

    async def look(self, begin: Work[Value]) -> Value:
        """Do what only reads, each statement by itself.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        return await self._do(lambda connection: _in_steps(connection, begin))

    async def wait_for_notice(self) -> None:
        """Return once a code was enqueued.

        Raises:
            LedgerUnavailable: The connection is gone.
        """
        async with self._lock:
            try:
                is_new = self._connection is None
                connection = await self._connected()
                if is_new:
                    await connection.execute(f"LISTEN {WAKE_CHANNEL}".encode())
                    return  # one may have been enqueued before
                notices = connection.notifies()
                async with contextlib.aclosing(notices):
                    async for _ in notices:
                        return
            except (psycopg.Error, OSError) as error:
                problem = _unavailable(error)
            except BaseException:
                await self._drop()
                raise
            else:
                return
            await self._drop()
            raise problem

    async def _do(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Value]]) -> Value:
        async with self._lock:
            asking = asyncio.ensure_future(self._repeated(work))
            try:
                await asyncio.wait({asking}, timeout=_ANSWER_TIMEOUT)
            except asyncio.CancelledError:  # what the connection is at is unknown
                self._abandon(asking)
                raise
            problem: LedgerUnavailable
            try:
                if asking.done():
                    return asking.result()
                self._abandon(asking)
                problem = _unavailable(TimeoutError())
            except (psycopg.Error, OSError) as error:
                problem = _unavailable(error)
            await self._drop()
            raise problem

    def _abandon(self, asking: asyncio.Task[Any]) -> None:
        """Leave a statement alone whose server does not answer: psycopg waits for its cancellation, too."""
        connection, self._connection = self._connection, None
        asking.cancel()
        closing = asyncio.ensure_future(_closed_after(asking, connection))
        self._abandoned[closing] = asking
        closing.add_done_callback(lambda _: self._abandoned.pop(closing))

    async def _repeated(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Value]]) -> Value:
        for attempt in range(1, _MOST_REPEATS + 1):
            try:
                return await work(await self._connected())
            except (pg.SerializationFailure, pg.DeadlockDetected):
                if attempt == _MOST_REPEATS:
                    raise
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None:
            session: Any = {"prepare_threshold": None} if self._is_pooled else {"options": _OPTIONS}
            connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=_CONNECT_TIMEOUT, **session
            )
            try:
                if not self._is_pooled:  # else it is a setting of the role
                    await connection.execute(_SYNCHRONOUS)
                if self.home is not None:
                    await self._check_home(connection, self.home)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
            self._plan_anew_at = time.monotonic() + _PLANS_LAST
        if not self._is_pooled and time.monotonic() >= self._plan_anew_at:  # behind pgbouncer no plan is kept
            await self._connection.execute("DISCARD PLANS")
            self._plan_anew_at = time.monotonic() + _PLANS_LAST
        return self._connection

    async def _check_home(self, connection: psycopg.AsyncConnection[Any], home: str) -> None:
        """Check that the database behind a new connection is still the ledger, and has lost nothing.

        Raises:
            LedgerMoved: It is not, or has.
        """
        check_home(home, (await _rows(connection, POSTGRESQL_HOME, None))[0][0])
        if sent := self.sent():
            rows = await _rows(connection, _KNOWN, ([token.token for token in sent],))
            refuse_missing([token for token in sent if token.attempt_id > rows[0][0] and token.token not in rows[0][1]])

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    async def aclose(self) -> None:
        async with self._lock:
            await self._drop()
        for asking in self._abandoned.values():
            asking.cancel()
        if self._abandoned:
            await asyncio.wait(self._abandoned)


async def _closed_after(asking: asyncio.Task[Any], connection: psycopg.AsyncConnection[Any] | None) -> None:
    await asyncio.wait({asking})
    if not asking.cancelled():
        asking.exception()
    if connection is not None:
        with contextlib.suppress(psycopg.Error, OSError):
            await connection.close()


async def _in_steps(connection: psycopg.AsyncConnection[Any], begin: Work[Value]) -> Value:
    steps, rows = begin(), None
    while True:
        try:
            statement, values = steps.send(rows)  # type: ignore[arg-type]  # None begins a generator
        except StopIteration as end:
            value: Value = end.value
            return value
        rows = await _rows(connection, _steps.POSTGRESQL.written(statement), values)


async def _rows(connection: psycopg.AsyncConnection[Any], statement: str, values: Any) -> list[Any]:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchall() if cursor.description is not None else []


def _unavailable(error: BaseException) -> LedgerUnavailable:
    """Say that the database cannot be used, by the class of what it said: its words may quote what was written."""
    code = getattr(error, "sqlstate", None)
    name = type(error).__name__ if code is None else f"{type(error).__name__}, {code}"
    return LedgerUnavailable(
        f"the ledger cannot be used ({name}). Nothing leaves meanwhile; what is on the wire is recorded once it is "
        "back."
    )
