"""The engine's tables stand in the ledger's database, in a schema of their own, and wake workers from SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledgers import PHONE

from smspilot_async import Message
from smspilot_async.outbox import Outbox, OutboxError, include_name
from smspilot_async.outbox._migrations import engine_tables

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client

ENQUEUE = "SELECT id FROM smspilot.smspilot_enqueue('79087964781', 'Hello', $key$)"


async def todo(desk: Desk) -> list[int]:
    """The slots for which a job waits."""
    rows = await desk.execute("SELECT args FROM smspilot_jobs.procrastinate_jobs WHERE status = 'todo'")
    return sorted(row[0]["n"] for row in rows)


@pytest.fixture
async def slots(desk: Desk) -> None:
    """The slots of a fleet that was there before."""
    await desk.execute("INSERT INTO smspilot.slot (n) SELECT generate_series(-2, 1)")


def test_an_application_s_autogenerate_does_not_see_them(ledger_url: str) -> None:
    engine = Outbox(ledger_url)._sync_engine()
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA smspilot")
        engine_tables.prepare_engine(connection)
        options = {"include_schemas": True, "include_name": include_name}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, sa.MetaData()) == []
    engine.dispose()


async def test_an_upgrade_makes_them_where_the_extra_came_later(
    ledger_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine_tables, "is_engine_installed", lambda: False)
        await Outbox.create(ledger_url, client)
    async with Outbox(ledger_url) as outbox:
        await outbox.enqueue(Message(PHONE, "Hello"), key="1")  # which wakes no one
        with pytest.raises(OutboxError, match="smspilot outbox upgrade"):
            await outbox.fleet_worker(client).__aenter__()
        await Outbox.upgrade(ledger_url)
        await Outbox.upgrade(ledger_url)
        async with outbox.fleet_worker(client):
            assert (await outbox.wait("1")).state == "accepted"


async def test_a_newer_engine_s_changes_are_applied_once(desk: Desk, ledger_url: str) -> None:
    await desk.execute("DELETE FROM smspilot_jobs.applied_migrations WHERE name LIKE '03.03.00_01%'")
    await desk.execute("DROP FUNCTION smspilot_jobs.procrastinate_fetch_job_v2")
    await Outbox.upgrade(ledger_url)
    rows = await desk.execute("SELECT count(*) FROM pg_proc WHERE proname = 'procrastinate_fetch_job_v2'")
    assert rows == [(1,)]


@pytest.mark.usefixtures("slots")
async def test_every_driver_wakes_workers_in_its_own_transaction(desk: Desk, ledger_url: str) -> None:
    connection: Any = await asyncpg.connect(ledger_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(ENQUEUE.replace("$key$", "'asyncpg'"))
    assert await todo(desk) == []
    await transaction.rollback()
    assert await todo(desk) == []
    await connection.execute(ENQUEUE.replace("$key$", "'asyncpg'"))
    await connection.close()
    assert await todo(desk) == [-2, -1]
    with psycopg.connect(ledger_url) as other:
        desk.outbox.enqueue_sync(Message(PHONE, "Hello"), key="psycopg", connection=other)
    assert await todo(desk) == [-2, -1]
    await desk.pending(kind="marketing")
    assert await todo(desk) == [-2, -1, 0, 1]


@pytest.mark.usefixtures("slots")
async def test_slots_that_are_held_need_no_job(desk: Desk) -> None:
    await desk.execute("UPDATE smspilot.slot SET owner = 'me', lease = smspilot.now_us() + 60000000 WHERE n <> -1")
    await desk.pending()
    assert await todo(desk) == [-1]


@pytest.mark.usefixtures("slots")
async def test_an_open_transaction_that_wakes_holds_no_one_up(desk: Desk, ledger_url: str) -> None:
    with psycopg.connect(ledger_url) as slow:
        desk.outbox.enqueue_sync(Message(PHONE, "Slow"), key="slow", connection=slow)
        await desk.pending("Quick")  # it would wait for the other's job, and for ever
        assert await todo(desk) == []
    assert await todo(desk) == [-2, -1]


@pytest.mark.usefixtures("slots")
async def test_orders_that_let_messages_leave_wake_workers(desk: Desk) -> None:
    campaign = await desk.campaign(rows=1)
    jobs = "TRUNCATE smspilot_jobs.procrastinate_jobs CASCADE"
    for order in (
        f"UPDATE smspilot.campaign SET state = 'paused' WHERE id = {campaign}",
        "UPDATE smspilot.account SET halted = 'all'",
    ):
        await desk.execute(jobs)
        await desk.execute(order)
        assert await todo(desk) == []
    for order in (
        "UPDATE smspilot.account SET halted = NULL",
        f"UPDATE smspilot.campaign SET state = 'running' WHERE id = {campaign}",
    ):
        await desk.execute(jobs)
        await desk.execute(order)
        assert await todo(desk) == [-2, -1, 0, 1]


async def test_who_may_only_enqueue_needs_no_rights_on_the_jobs(desk: Desk, ledger_url: str) -> None:
    await desk.execute("INSERT INTO smspilot.slot (n) VALUES (-1)")
    for statement in (
        "CREATE ROLE app",
        "GRANT USAGE ON SCHEMA smspilot TO app",
        "GRANT SELECT ON smspilot.ledger, smspilot.spent_key TO app",
        "GRANT SELECT, INSERT ON smspilot.message TO app",
        "GRANT USAGE ON SEQUENCE smspilot.message_id_seq TO app",
    ):
        await desk.execute(statement)
    try:
        with psycopg.connect(ledger_url) as connection:
            connection.execute("SET ROLE app")
            desk.outbox.enqueue_sync(Message(PHONE, "Hello"), key="1", connection=connection)
        assert await todo(desk) == [-1]
    finally:
        await desk.execute("DROP OWNED BY app")
        await desk.execute("DROP ROLE app")
