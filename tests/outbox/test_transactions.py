"""Enqueueing inside the application's transaction: a rollback leaves nothing, a commit leaves one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import django  # type: ignore[import-untyped]
import django.conf  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy as sa
from ledgers import PHONE
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from smspilot_async import Message
from smspilot_async.outbox import KeyReused, Outbox, OutboxError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import Pool

MESSAGE = Message(PHONE, "Ready")
ASYNC_DRIVERS = {"sqlite": ["sqlite+aiosqlite"], "postgresql": ["postgresql+psycopg", "postgresql+asyncpg"]}
NO_POOL: type[Pool] = sa.pool.NullPool


def async_urls(ledger_url: str) -> list[sa.URL]:
    url = sa.make_url(ledger_url)
    return [url.set(drivername=driver) for driver in ASYNC_DRIVERS[url.get_backend_name()]]


def sync_engine(ledger_url: str) -> sa.Engine:
    url = sa.make_url(ledger_url)
    driver = "sqlite+pysqlite" if url.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return sa.create_engine(url.set(drivername=driver), poolclass=NO_POOL)


@contextlib.asynccontextmanager
async def engines(ledger_url: str) -> AsyncIterator[list[AsyncEngine]]:
    """The application's own, for each driver of the database."""
    made = [await asyncio.to_thread(create_async_engine, url, poolclass=NO_POOL) for url in async_urls(ledger_url)]
    yield made
    for engine in made:
        await engine.dispose()


class RolledBackError(Exception):
    """What an application raises."""


async def count(outbox: Outbox) -> int:
    return sum((await outbox.status()).messages.values())


@pytest.mark.parametrize("with_session", [False, True])
async def test_an_async_transaction_has_it_or_has_not(outbox: Outbox, ledger_url: str, *, with_session: bool) -> None:
    async with engines(ledger_url) as made:
        for number, engine in enumerate(made, start=1):
            key = f"key {number}"
            with contextlib.suppress(RolledBackError):
                async with in_transaction(engine, with_session=with_session) as connection:
                    await outbox.enqueue(MESSAGE, key=key, connection=connection)
                    raise RolledBackError
            assert await outbox.get(key) is None
            async with in_transaction(engine, with_session=with_session) as connection:
                record = await outbox.enqueue(MESSAGE, key=key, connection=connection)
            assert record.is_new
            assert await count(outbox) == number


@contextlib.asynccontextmanager
async def in_transaction(engine: AsyncEngine, *, with_session: bool) -> AsyncIterator[Any]:
    async with contextlib.AsyncExitStack() as stack:
        if with_session:
            session = await stack.enter_async_context(AsyncSession(engine))
            await stack.enter_async_context(session.begin())
            await session.connection()  # asyncpg looks for files when it connects, which is the application's affair
            yield session
        else:
            yield await stack.enter_async_context(engine.begin())


@pytest.mark.parametrize("with_session", [False, True])
async def test_a_sync_transaction_has_it_or_has_not(outbox: Outbox, ledger_url: str, *, with_session: bool) -> None:
    def run() -> None:
        engine = sync_engine(ledger_url)
        for fails in (True, False):
            with (
                contextlib.suppress(RolledBackError),
                sync_transaction(engine, with_session=with_session) as connection,
            ):
                outbox.enqueue_sync(MESSAGE, key="key", connection=connection)
                if fails:
                    raise RolledBackError
        engine.dispose()

    await asyncio.to_thread(run)
    assert await count(outbox) == 1


@contextlib.contextmanager
def sync_transaction(engine: sa.Engine, *, with_session: bool) -> Iterator[Any]:
    if with_session:
        with Session(engine) as session, session.begin():
            yield session
    else:
        with engine.begin() as connection:
            yield connection


@pytest.fixture
async def on_postgres(postgres: Any, client: Any) -> AsyncIterator[tuple[Outbox, str]]:
    url = postgres.database()
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        yield outbox, url


@pytest.mark.parametrize("with_cursor", [False, True])
async def test_a_transaction_of_psycopg_has_it_or_has_not(
    on_postgres: tuple[Outbox, str], *, with_cursor: bool
) -> None:
    outbox, url = on_postgres

    def run() -> None:
        for fails in (True, False):
            with contextlib.suppress(RolledBackError), psycopg.connect(url) as connection:
                outbox.enqueue_sync(MESSAGE, key="key", connection=connection.cursor() if with_cursor else connection)
                if fails:
                    raise RolledBackError

    await asyncio.to_thread(run)
    assert await count(outbox) == 1


@pytest.fixture
def django_connection(ledger_url: str) -> Iterator[Any]:
    """Django's, to the ledger's database; its threads are told to share it."""
    if not django.conf.settings.configured:
        django.conf.settings.configure()
        django.setup()
    from django.db.utils import ConnectionHandler  # type: ignore[import-untyped]  # noqa: PLC0415 - it wants settings first

    url = sa.make_url(ledger_url)
    name, options = url.database, dict(url.query)
    engine = "sqlite3" if url.get_backend_name() == "sqlite" else "postgresql"
    database: Any = {"ENGINE": f"django.db.backends.{engine}", "NAME": name, "HOST": options.get("host", "")}
    handler = ConnectionHandler({"default": {**database, "USER": url.username or ""}})
    connection = handler["default"]
    connection.inc_thread_sharing()
    yield connection
    connection.close()


async def test_djangos_transaction_has_it_or_has_not(outbox: Outbox, django_connection: Any) -> None:
    def run() -> None:
        for fails in (True, False):
            django_connection.set_autocommit(False)
            outbox.enqueue_sync(MESSAGE, key="key", connection=django_connection)
            if fails:
                django_connection.rollback()
            else:
                django_connection.commit()
            django_connection.set_autocommit(True)
        with pytest.raises(OutboxError, match="AUTOCOMMIT"):
            outbox.enqueue_sync(MESSAGE, key="another", connection=django_connection)
        django_connection.close()

    await asyncio.to_thread(run)
    assert await count(outbox) == 1


async def test_autocommit_is_refused(outbox: Outbox, ledger_url: str) -> None:
    async with engines(ledger_url) as made:
        for engine in made:
            async with engine.connect() as connection:
                autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                with pytest.raises(OutboxError, match="AUTOCOMMIT"):
                    await outbox.enqueue(MESSAGE, key="key", connection=autocommit)
    assert await count(outbox) == 0


async def test_a_reused_key_leaves_the_transaction_usable(outbox: Outbox, ledger_url: str) -> None:
    await outbox.enqueue(MESSAGE, key="key")
    async with engines(ledger_url) as made:
        for engine in made:
            async with engine.begin() as connection:
                with pytest.raises(KeyReused):
                    await outbox.enqueue(Message(PHONE, "Another"), key="key", connection=connection)
                await outbox.enqueue(MESSAGE, key=str(engine.url.drivername), connection=connection)
    assert await count(outbox) == 1 + len(made)


async def test_a_database_without_this_ledger_is_refused(outbox: Outbox, tmp_path: Path, client: Any) -> None:
    """The application's connection must be to the ledger's database, or the message would never leave."""
    elsewhere = f"sqlite:///{tmp_path}/other.db"
    await Outbox.create(elsewhere, client)
    async with engines(elsewhere) as (engine,), engine.begin() as connection:
        with pytest.raises(OutboxError, match=r"does not hold this ledger|the connection is to sqlite"):
            await outbox.enqueue(MESSAGE, key="key", connection=connection)


async def test_nothing_is_written_through_a_closed_outbox(ledger_url: str) -> None:
    with pytest.raises(OutboxError, match="not open"):
        await Outbox(ledger_url).enqueue(MESSAGE, key="key")


async def test_what_is_no_connection_is_said_so(outbox: Outbox) -> None:
    with pytest.raises(TypeError, match="connection is"):
        outbox.enqueue_sync(MESSAGE, key="key", connection=object())
