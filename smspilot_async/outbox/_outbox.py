"""The outbox: what an application holds in its hand.

It makes a ledger, enqueues into it inside the application's transactions, reads it, and lends it to a sender. What is
written once here holds for both databases: SQLAlchemy Core over aiosqlite or psycopg. The hot path of sending is in
:mod:`._sqlite` and :mod:`._postgres`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from smspilot_async.outbox import _ledger, _orders
from smspilot_async.outbox._adopt import check_tokens
from smspilot_async.outbox._afterwards import Afterwards
from smspilot_async.outbox._campaign_rows import Access, tending
from smspilot_async.outbox._campaigns import Campaigns
from smspilot_async.outbox._database import (
    DRIVERS,
    conninfo,
    ledger_url,
    noticing,
    one_error,
    prepare_postgresql,
    prepare_sqlite,
)
from smspilot_async.outbox._deliver import Sender, SendOptions, Sent
from smspilot_async.outbox._enqueue import Entry, OutboxMessage, enqueue_in, executor_of, record_of
from smspilot_async.outbox._errors import (
    LedgerExists,
    LedgerMissing,
    OutboxError,
    WrongClient,
)
from smspilot_async.outbox._extras import require_workers
from smspilot_async.outbox._fleet import FleetSender, FleetWorker
from smspilot_async.outbox._held import HeldAnswers
from smspilot_async.outbox._home import (
    POSTGRESQL_HOME,
    check_home,
    keep_private,
    make_private,
    refuse_network,
    sqlite_home,
)
from smspilot_async.outbox._ledger import AccountState, Why
from smspilot_async.outbox._migrations import check_version, engine_tables, has_ledger, upgrade, upgrade_ledger
from smspilot_async.outbox._orders import Halted
from smspilot_async.outbox._request import may_probe
from smspilot_async.outbox._schema import KINDS, OLDEST_COMPATIBLE, VERSION, tables_of
from smspilot_async.outbox._sender_lock import SenderLock
from smspilot_async.outbox._sqlite import SqliteHotPath
from smspilot_async.outbox._states import Event, State, sources
from smspilot_async.outbox._unknown import Hold, UnknownPolicy
from smspilot_async.outbox._worker import Worker
from smspilot_async.outbox._workers import WorkerInfo, read_workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import timedelta
    from types import TracebackType

    from sqlalchemy.engine import URL, Connection, Engine

    from smspilot_async import Client, Message
    from smspilot_async.outbox._ledger import HotPath

__all__ = ["Kind", "Outbox", "OutboxStatus"]

Kind: TypeAlias = Literal["service", "code", "marketing"]

_APPLICATION: Final = "the application"
_QUIET_LOOKS: Final = 5
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5  # seconds between two looks of wait()


@attrs.frozen(kw_only=True)
class OutboxStatus:
    """The state of a ledger.

    Attributes:
        messages: How many there are in each state.
        account: What holds for everything that leaves.
    """

    messages: dict[str, int]
    account: AccountState


class Outbox(Afterwards):
    """A ledger of messages to send, on SQLite or PostgreSQL.

    ::

        async with Client() as client, Outbox("sqlite:///sms.db") as outbox:
            await outbox.enqueue(Message("79087964781", "Ваш код 1234"), key="login-77", kind="code", valid_for=120)
            await outbox.drain(client)

    Args:
        ledger: Its URL, ``sqlite:///…`` or ``postgresql://…``, as a str or as SQLAlchemy's ``URL``, or an
            ``AsyncEngine`` of the application's own, which stays open; left out, ``SMSPILOT_LEDGER``. Through pgbouncer
            in transaction mode: ``?pgbouncer=true``.
        account_id: The account of the clients that will send, where that was asked already; left out, each sender asks
            the gateway (``info``).

    Raises:
        ValueError: There is no URL, or it names another database.
        ImportError: An extra is missing.
    """

    def __init__(self, ledger: str | URL | AsyncEngine | None = None, *, account_id: int | None = None) -> None:
        self._account_id = account_id
        self._own_engine = not isinstance(ledger, AsyncEngine)
        self._engine: AsyncEngine | None = ledger if isinstance(ledger, AsyncEngine) else None
        url = ledger.url if isinstance(ledger, AsyncEngine) else ledger_url(ledger)
        self._is_pooled = url.query.get("pgbouncer") == "true"
        self._url = url.difference_update_query(["pgbouncer"])
        self._dialect = self._url.get_backend_name()
        self._tables = tables_of(self._dialect)
        self._path = Path(self._url.database or "") if self._dialect == "sqlite" else None
        self._row: Any = None
        self._senders: weakref.WeakSet[Sender] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"<Outbox on {self._dialect}, {'closed' if self._row is None else 'open'}>"

    # --- life ------------------------------------------------------------------------------------

    @classmethod
    async def create(
        cls, ledger: str | URL | AsyncEngine | None, client: Client, *, account_id: int | None = None
    ) -> None:
        """Make a ledger, on purpose, and bind it to the client's account, endpoint, and live or test.

        Args:
            ledger: As for the constructor. A SQLite file is made, or, where it is the application's database, extended.
            client: Is asked who it is (``info``), unless
            account_id: says so.

        Raises:
            LedgerExists: There is one already.
            NetworkFileSystem: The folder is on one.
            OutboxError: The gateway did not say whose account it is.
        """
        outbox = cls(ledger)
        account_id = account_id or (await client.info()).id
        if account_id is None:
            raise OutboxError("the gateway did not say which account this is (info without an id); no ledger was made")
        row = {
            "id": 1,
            "uid": secrets.token_hex(16),
            "version": VERSION,
            "oldest_compatible": OLDEST_COMPATIBLE,
            "account_id": account_id,
            "endpoint": client.url,
            "is_test": client.is_test,
            "salt": secrets.token_bytes(16),
        }
        await asyncio.to_thread(outbox._make, row)

    def _make(self, row: dict[str, Any]) -> None:
        is_made = False
        if self._path is not None:
            refuse_network(self._path)
            with contextlib.suppress(FileExistsError):
                make_private(self._path)
                is_made = True
        engine = self._sync_engine()
        try:
            with engine.begin() as connection:
                self._make_in(connection, row)
        except BaseException:
            if is_made and self._path is not None:
                self._path.unlink()
            raise
        finally:
            engine.dispose()

    def _make_in(self, connection: Connection, row: dict[str, Any]) -> None:
        if has_ledger(connection):
            raise LedgerExists("there is a ledger in this database already; it was left as it is")
        upgrade(connection)
        if self._dialect == "postgresql":
            engine_tables.prepare_engine(connection)
        tables = self._tables
        now = connection.execute(sa.text(self._now_sql()), self._now_values()).scalar_one()
        home = self._home(connection)
        connection.execute(sa.insert(tables.ledger), {**row, "home": home, "created_at": now})
        connection.execute(sa.insert(tables.account), {"id": 1})
        connection.execute(sa.insert(tables.stream), [{"id": lane, "lane": lane} for lane in KINDS.values()])
        if self._dialect == "postgresql":  # the next stream's number comes after those
            sequence = "pg_get_serial_sequence('smspilot.stream', 'id')"
            connection.execute(sa.text(f"SELECT setval({sequence}, {max(KINDS.values())})"))

    @classmethod
    async def upgrade(cls, ledger: str | AsyncEngine | None) -> tuple[int, int]:
        """Bring a ledger's tables to this version, with its rows; senders and enqueuers wait meanwhile.

        Args:
            ledger: As for the constructor.

        Returns:
            The version that the tables had, and the one that they have.

        Raises:
            LedgerMissing: There is no ledger.
            LedgerSchemaError: Its tables are newer than this version of the library.
            LedgerUnavailable: The database cannot be used, or a table that is to be rewritten is in use.
        """
        outbox = cls(ledger)
        return await asyncio.to_thread(outbox._upgrade)

    def _upgrade(self) -> tuple[int, int]:
        with one_error():
            if self._path is not None:
                self._check_file(self._path)
            engine = self._sync_engine()
            try:
                with engine.begin() as connection:
                    return upgrade_ledger(connection), VERSION
            finally:
                engine.dispose()

    def _sync_engine(self) -> Engine:
        engine = sa.create_engine(self._url.set(drivername=DRIVERS[self._dialect][0]), poolclass=sa.pool.NullPool)
        if self._dialect == "sqlite":
            prepare_sqlite(engine, is_new=True)
        return engine

    def _home(self, connection: Connection) -> str:
        if self._path is not None:
            return sqlite_home(self._path)
        home: str = connection.execute(sa.text(POSTGRESQL_HOME.replace("::", "\\:\\:"))).scalar_one()
        return home

    def _now_sql(self) -> str:
        return "SELECT CAST(:now AS BIGINT)" if self._dialect == "sqlite" else "SELECT smspilot.now_us()"

    def _now_values(self) -> dict[str, int]:
        return {"now": _ledger.now_us()} if self._dialect == "sqlite" else {}

    async def __aenter__(self) -> Self:
        if self._path is not None:
            with one_error():
                await asyncio.to_thread(self._check_file, self._path)
        if self._engine is None:
            self._engine = await asyncio.to_thread(self._async_engine)
        try:
            async with self._reading() as connection:
                exists = await connection.run_sync(has_ledger)
                row = (await connection.execute(sa.select(self._tables.ledger))).one_or_none() if exists else None
            check_version(row, self._dialect)
        except BaseException:
            await self.aclose()
            raise
        self._row = row
        return self

    def _async_engine(self) -> AsyncEngine:
        driver = DRIVERS[self._dialect][1]
        if self._dialect == "sqlite":
            engine = create_async_engine(self._url.set(drivername=driver), pool_pre_ping=True)
            prepare_sqlite(engine.sync_engine)
            return engine
        more: Any = {"connect_args": {"prepare_threshold": None}} if self._is_pooled else {}
        engine = create_async_engine(noticing(self._url).set(drivername=driver), pool_pre_ping=True, **more)
        if not self._is_pooled:
            prepare_postgresql(engine.sync_engine)
        return engine

    @staticmethod
    def _check_file(path: Path) -> None:
        if not path.is_file():
            raise LedgerMissing(
                f"there is no ledger {path}. Nothing was sent. Make one on purpose: smspilot outbox init."
            )
        refuse_network(path)
        keep_private(path)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; an engine of the application's stays open."""
        self._row = None
        if self._own_engine and self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.dispose()

    @property
    def _opened(self) -> AsyncEngine:
        if self._engine is None or self._row is None:
            raise OutboxError("the outbox is not open: use it in `async with Outbox(…)`. Nothing was written.")
        return self._engine

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, which blocks no one."""
        assert self._engine is not None  # noqa: S101 - its callers have looked
        with one_error():
            async with self._engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        with one_error():
            async with self._opened.begin() as connection:
                yield connection

    # --- enqueueing ------------------------------------------------------------------------------

    async def enqueue(
        self,
        message: Message,
        *,
        key: str,
        kind: Kind = "service",
        valid_for: float | None = None,
        connection: AsyncConnection | AsyncSession | None = None,
    ) -> OutboxMessage:
        """Write a message down, to be sent once the transaction is committed.

        Args:
            message: Its ``send_at`` stays in the ledger: the message leaves then, and can be cancelled before. Its
                ``id`` is the ledger's to give.
            key: Yours for this message, unique in the ledger. The same key and message again changes nothing, and
                returns the first record.
            kind: ``"code"`` goes first and needs ``valid_for``; ``"marketing"`` obeys opt-outs.
            valid_for: Seconds after which it must not leave any more, counted from now, or from ``send_at``.
            connection: Of the application's transaction in the ledger's database. On SQLite it must have begun with
                ``BEGIN IMMEDIATE``. Left out, it is written in a transaction of its own, and durable on return.

        Returns:
            The record; ``is_new`` says whether this call wrote it.

        Raises:
            KeyReused: The key was used for another phone or text; the transaction stays usable.
            OutboxError: The connection is in autocommit mode, or is to another database.
            ValueError: ``kind``, ``key`` or ``valid_for`` makes no sense.
        """
        entry = Entry(message=message, key=key, kind=kind, valid_for=valid_for)
        self._opened  # noqa: B018 - raises where it is not open
        if connection is None:
            async with self._writing() as own:
                record = await own.run_sync(self._enqueue, entry)
            for sender in self._senders:
                sender.wake()
            return record
        if isinstance(connection, AsyncSession):
            connection = await connection.connection()
        return await connection.run_sync(self._enqueue, entry)

    def enqueue_sync(
        self,
        message: Message,
        *,
        key: str,
        connection: Any,
        kind: Kind = "service",
        valid_for: float | None = None,
    ) -> OutboxMessage:
        """Write a message down in the transaction of a synchronous connection.

        Args:
            message: As for :meth:`enqueue`, like the rest.
            key: Yours.
            connection: A ``Connection`` or ``Session`` of SQLAlchemy, a cursor or connection of psycopg, or Django's
                connection.
            kind: Its kind.
            valid_for: Seconds.

        Returns:
            The record.

        Raises:
            KeyReused: As for :meth:`enqueue`, like the rest.
            OutboxError: The connection cannot be used.
            ValueError: An argument makes no sense.
            TypeError: ``connection`` is none of these.
        """
        entry = Entry(message=message, key=key, kind=kind, valid_for=valid_for)
        self._opened  # noqa: B018 - raises where it is not open
        return self._enqueue(connection, entry)

    def _enqueue(self, connection: Any, entry: Entry) -> OutboxMessage:
        execute = executor_of(connection, self._dialect)
        return enqueue_in(execute, entry, self._row.uid, self._row.salt)

    # --- reading and taking back -----------------------------------------------------------------

    async def get(self, key: str) -> OutboxMessage | None:
        """Return what the ledger knows of a message; ``None`` if no message has this key."""
        self._opened  # noqa: B018 - raises where it is not open
        message, stream = self._tables.message, self._tables.stream
        query = sa.select(message, stream.c.lane).join(stream, stream.c.id == message.c.stream_id)
        async with self._reading() as connection:
            row = (await connection.execute(query.where(message.c.key == key))).one_or_none()
        return None if row is None else record_of(row)

    async def wait(self, key: str, *, timeout: float = 60.0) -> OutboxMessage:  # noqa: ASYNC109 - the contract's word
        """Wait until a message has an outcome, unknown included, and return it.

        Args:
            key: The message's.
            timeout: Seconds.

        Raises:
            KeyError: No message has this key.
            TimeoutError: It has no outcome yet; it stays in the ledger, and is still sent.
        """
        look = _FIRST_LOOK
        async with asyncio.timeout(timeout):
            while True:
                record = await self.get(key)
                if record is None:
                    raise KeyError(key)
                if record.outcome is not None:
                    return record
                await asyncio.sleep(look)
                look = min(look * 2, _LONGEST_LOOK)

    async def cancel(self, key: str) -> OutboxMessage:
        """Take a message back, if it has not left: then it is ``not_sent`` with the reason ``cancelled``.

        Returns:
            The current record: check whether its outcome is ``not_sent``.

        Raises:
            KeyError: No message has this key.
        """
        message = self._tables.message
        async with self._writing() as connection:
            now = await self._now(connection)
            await connection.execute(
                sa.update(message)
                .where(message.c.key == key, message.c.state.in_([state.value for state in sources(Event.CANCEL)]))
                .values(
                    state=sa.case((message.c.resends > 0, State.UNKNOWN.value), else_=State.NOT_SENT.value),
                    reason=Why.CANCELLED.value,
                    settled_at=now,
                    text=sa.case((message.c.stream_id == KINDS["code"], None), else_=message.c.text),
                )
            )
        if (record := await self.get(key)) is None:
            raise KeyError(key)
        if record.kind == "code" and self._path is not None:  # the log still holds its text
            async with self._reading() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return record

    async def status(self) -> OutboxStatus:
        """Count the messages in each state, and say what holds for the account."""
        self._opened  # noqa: B018 - raises where it is not open
        message = self._tables.message
        query = sa.select(message.c.state, sa.func.count()).group_by(message.c.state)
        async with self._reading() as connection:
            counts: dict[str, int] = {row[0]: row[1] for row in await connection.execute(query)}
        hot = self._hot_path()
        await hot.open()
        try:
            account = await hot.account()
        finally:
            await hot.aclose()
        return OutboxStatus(messages={state.value: counts.get(state.value, 0) for state in State}, account=account)

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of this ledger, those that were lost within the last day included."""
        async with self._reading() as connection:
            return await read_workers(connection, self._tables, await self._now(connection))

    # --- orders ----------------------------------------------------------------------------------

    async def halt(self, reason: str, *, everything: bool = False, actor: str = _APPLICATION) -> Halted:
        """Let no marketing leave, or nothing at all, and return once the wire is empty of it.

        It holds for every sender of this ledger, until :meth:`release`. What is on the wire cannot be called back.

        Args:
            reason: Why, for the log and for who finds it halted.
            everything: Codes and services too.
            actor: Who orders it.

        Returns:
            How many messages still left after the order.
        """
        async with self._writing() as connection:
            now = await self._now(connection)
            order_id = await _orders.halt(
                connection, self._tables, now, reason=reason, everything=everything, actor=actor
            )
        if self._path is None:  # claims that did not see the order are committed, or are not
            async with self._writing() as connection:
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ledger.HALT_LOCK)))
        quiet = 0
        while quiet < _QUIET_LOOKS:
            await asyncio.sleep(_orders.LOOK)
            async with self._reading() as connection:
                count = await _orders.on_the_wire(connection, self._tables, everything=everything)
            quiet = 0 if count else quiet + 1
        async with self._reading() as connection:
            left = await _orders.left_since(connection, self._tables, now, everything=everything)
        return Halted(left_after=left, order_id=order_id)

    async def release(self, reason: str | None = None, *, actor: str = _APPLICATION) -> None:
        """Resume sending: ends a halt, a pause by an error of the account, and an open circuit breaker."""
        async with self._writing() as connection:
            now = await self._now(connection)
            await _orders.release(connection, self._tables, now, reason=reason, actor=actor)

    async def suppress(self, phones: Iterable[str], *, everything: bool = False, source: str = _APPLICATION) -> int:
        """Write down whom no marketing, or nothing at all, must reach; claims obey from now on.

        Args:
            phones: Theirs, however they are written.
            everything: Codes and services too: for numbers that must get nothing.
            source: Where it comes from, for the log.

        Returns:
            How many were not on the list before.

        Raises:
            InvalidMessage: One is not a phone; none was recorded.
        """
        async with self._writing() as connection:
            now = await self._now(connection)
            return await _orders.change_suppressions(
                connection, self._tables, now, phones, everything=everything, source=source
            )

    async def unsuppress(self, phones: Iterable[str], *, everything: bool = False) -> int:
        """Strike phones off a list of :meth:`suppress`; return how many were on it."""
        async with self._writing() as connection:
            return await _orders.change_suppressions(
                connection, self._tables, 0, phones, everything=everything, source="", remove=True
            )

    async def _now(self, connection: AsyncConnection) -> int:
        now: int = (await connection.execute(sa.text(self._now_sql()), self._now_values())).scalar_one()
        return now

    # --- campaigns -------------------------------------------------------------------------------

    @property
    def campaigns(self) -> Campaigns:
        """The campaigns of this ledger: made, found and listed here."""
        return Campaigns(self._access())

    def _access(self) -> Access:
        self._opened  # noqa: B018 - raises where it is not open
        return Access(
            tables=self._tables,
            dialect=self._dialect,
            reading=self._reading,
            writing=self._writing,
            now=self._now,
            salt=self._row.salt,
            check_client=self._check_client,
            worker=self.worker,
        )

    # --- sending ---------------------------------------------------------------------------------

    async def drain(
        self, client: Client, *, packet_size: int = 100, in_flight: int = 4, give_up_after: float = 86_400.0
    ) -> Sent:
        """Send what is due, and return: the door for cron, Celery and tests.

        What could not be sent now stays in the ledger. Unknown messages of campaigns are dealt with as their policies
        say; those of the outbox are held: :meth:`worker` has a policy for them. Cancelled, it claims nothing more,
        and ends once what is on the wire is recorded.

        Args:
            client: Of the account that the ledger is bound to.
            packet_size: Messages in a packet.
            in_flight: Packets under way at once.
            give_up_after: Seconds for which a message is put back, counted from when it was first due.

        Returns:
            What was done.

        Raises:
            WrongClient: The client is another account's, or for another endpoint or mode. Nothing was sent.
            SenderBusy: Another process sends from this SQLite ledger. Nothing was sent.
            LedgerMoved: The ledger is a copy or a restore. Nothing was sent.
            LedgerUnavailable: The database cannot be used.
        """
        options = SendOptions(packet_size=packet_size, in_flight=in_flight, give_up_after=give_up_after)
        async with self._sender(client, options) as sender:
            await self._apply_policies(sender, Hold(), can_probe=may_probe(client) is None)
            return await sender.drain()

    def worker(
        self,
        client: Client,
        *,
        packet_size: int = 100,
        in_flight: int = 4,
        give_up_after: float = 86_400.0,
        unknown: UnknownPolicy = Hold(),  # noqa: B008 - it cannot be changed
        opt_outs: bool = False,
        follow: bool = True,
        purge_after: timedelta | None = None,
    ) -> Worker:
        """Send what is due, and what becomes due, in the background of an ``async with`` block.

        It follows the delivery statuses of what was accepted, too. Leaving the block claims nothing more, and waits
        until what is on the wire is recorded. The errors are those of :meth:`drain`, and are raised on entering.

        Args:
            client: As for :meth:`drain`, like the next three.
            packet_size: Messages in a packet.
            in_flight: Packets under way at once.
            give_up_after: Seconds for which a message is put back.
            unknown: What is done about messages of the outbox of which it is not known whether they were sent: they
                are held, by default. Campaigns have a policy of their own.
            opt_outs: Listen for messages to the account's numbers, and suppress marketing to whoever sends ``STOP`` or
                ``СТОП``. Nothing else may read these numbers' new messages (:meth:`Client.listen`).
            follow: Ask for the delivery statuses of what was accepted; :meth:`Outbox.follow` can do so later.
            purge_after: Purge messages that were settled so long ago, at least 41 days; by default, none.

        Raises:
            OutboxError: ``unknown`` is :class:`Probe`, and a probe of this client might arrive too late.
            ValueError: ``purge_after`` is too short.
        """
        options = SendOptions(packet_size=packet_size, in_flight=in_flight, give_up_after=give_up_after)
        context = self._sender(client, options)
        beside: dict[str, Any] = {"opt_outs": opt_outs, "follow": follow, "purge_after": purge_after}
        return Worker(context, lambda sender: self._duties(sender, client, unknown, **beside))

    async def can_have_a_fleet(self) -> bool:
        """Return whether :meth:`fleet_worker` can be used: PostgreSQL, the extra ``workers``, and its tables."""
        if self._path is not None or not engine_tables.is_engine_installed():
            return False
        async with self._reading() as connection:
            return await connection.run_sync(engine_tables.has_engine_tables)

    def fleet_worker(
        self,
        client: Client,
        *,
        packet_size: int = 100,
        in_flight: int = 4,
        give_up_after: float = 86_400.0,
        unknown: UnknownPolicy = Hold(),  # noqa: B008 - it cannot be changed
        opt_outs: bool = False,
        purge_after: timedelta | None = None,
    ) -> FleetWorker:
        """Send as one of many workers, on as many machines, in the background of an ``async with`` block.

        It is what :meth:`worker` is, for PostgreSQL and with the extra ``workers``: the engine procrastinate wakes and
        spreads what the workers do, in the database of the ledger. Each takes its share of the account's connections;
        where one is killed or cut off, the others have its share some seconds later. In an application::

            async with Client() as client, Outbox() as outbox, outbox.fleet_worker(client):
                ...  # serve, until a signal comes

        Args:
            client: As for :meth:`worker`, like the rest.
            packet_size: Messages in a packet.
            in_flight: Packets of the account under way at once, of all workers together: the same for all of them.
            give_up_after: Seconds.
            unknown: The same for all workers: any of them applies it.
            opt_outs: Where one of the workers listens, that is enough.
            purge_after: The same for all workers: one of them does it.

        Raises:
            ImportError: The extra ``workers`` is missing.
            OutboxError: The ledger is on SQLite, or has no tables for the engine yet: ``smspilot outbox upgrade``
                makes them.
        """
        if self._path is not None:
            raise OutboxError("workers on many machines need a ledger on PostgreSQL; this one is on SQLite.")
        require_workers()
        from smspilot_async.outbox._engine import Engine  # noqa: PLC0415 - an extra

        options = SendOptions(packet_size=packet_size, in_flight=in_flight, give_up_after=give_up_after)
        conninfo_, is_pooled = conninfo(self._url), self._is_pooled
        return FleetWorker(
            self._fleet_sender(client, options),
            lambda sender: self._duties(sender, client, unknown, opt_outs=opt_outs, purge_after=purge_after),
            lambda sender, duties: Engine(sender, duties, conninfo_, is_pooled=is_pooled).run,
        )

    @contextlib.asynccontextmanager
    async def _fleet_sender(self, client: Client, options: SendOptions) -> AsyncIterator[Sender]:
        if not await self.can_have_a_fleet():
            raise OutboxError(
                "the ledger has no tables for workers on many machines yet. Nothing was sent. Make them: smspilot "
                "outbox upgrade."
            )
        async with self._sender(client, options, FleetSender) as sender:
            yield sender

    @contextlib.asynccontextmanager
    async def _sender(self, client: Client, options: SendOptions, make: type[Sender] = Sender) -> AsyncIterator[Sender]:
        self._opened  # noqa: B018 - raises where it is not open
        home = await self._check_home()
        await self._check_client(client)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._sending_alone())
            tokens = await asyncio.to_thread(self._tokens, home)
            stack.push_async_callback(asyncio.to_thread, tokens.close)
            with tokens.telling_what_is_wrong():
                last = await asyncio.to_thread(tokens.last)
                await asyncio.to_thread(tokens.open)
            async with self._reading() as connection:
                await check_tokens(connection, self._tables, last)
            hot = self._hot_path()
            stack.push_async_callback(hot.aclose)
            await hot.open(home, tokens.own)
            await stack.enter_async_context(tending(self._access()))
            path, uid = self._path, self._row.uid
            held = await asyncio.to_thread(lambda: HeldAnswers.beside(path) if path else HeldAnswers.of_user(uid))
            sender = make(hot, client, options, held, tokens=tokens, salt=self._row.salt)
            self._senders.add(sender)
            stack.callback(self._senders.discard, sender)
            yield sender

    @contextlib.asynccontextmanager
    async def _sending_alone(self) -> AsyncIterator[None]:
        """Hold what only one sender may hold: on SQLite a lock, on PostgreSQL nothing."""
        with one_error():
            lock = None if self._path is None else await asyncio.to_thread(SenderLock, self._path)
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def _hot_path(self) -> HotPath:
        if self._path is not None:
            return SqliteHotPath(self._path)
        from smspilot_async.outbox._postgres import PostgresHotPath  # noqa: PLC0415 - an extra

        return PostgresHotPath(conninfo(self._url), is_pooled=self._is_pooled)

    async def _check_home(self) -> str:
        actual = await self._actual_home()
        async with self._reading() as connection:  # not as it was when this was opened: it may have been adopted since
            known = (await connection.execute(sa.select(self._tables.ledger.c.home))).scalar_one()
        check_home(known, actual)
        return actual

    async def _actual_home(self) -> str:
        if self._path is not None:
            return await asyncio.to_thread(sqlite_home, self._path)
        async with self._reading() as connection:
            return await connection.run_sync(self._home)

    async def _check_client(self, client: Client) -> None:
        row = self._row
        differing = []
        if client.url != row.endpoint:
            differing.append(f"the endpoint is {client.url}, the ledger's is {row.endpoint}")
        if client.is_test != row.is_test:
            modes = {True: "test", False: "live"}
            differing.append(f"the client is {modes[client.is_test]}, the ledger is {modes[bool(row.is_test)]}")
        if not differing and (id_ := self._account_id or (await client.info()).id) != row.account_id:
            differing.append(f"the account is {id_}, the ledger's is {row.account_id}")
        if differing:
            raise WrongClient(f"this client does not belong to this ledger: {'; '.join(differing)}. Nothing was sent.")
