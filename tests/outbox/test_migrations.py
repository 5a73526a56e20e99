"""The tables as migrations make them, upgrades of ledgers with rows in them, and an application's own Alembic."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledgers import PHONE

from smspilot_async import Message
from smspilot_async.outbox import LedgerMissing, LedgerSchemaError, LedgerUnavailable, Outbox, _migrations, include_name
from smspilot_async.outbox._migrations import upgrade
from smspilot_async.outbox._schema import OLDEST_COMPATIBLE, SCHEMA, VERSION, WAKE_CHANNEL, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

REVISIONS = [script.revision for script in reversed(list(ScriptDirectory(_migrations.__path__[0]).walk_revisions()))]


@pytest.fixture
def connection(ledger_url: str) -> Iterator[sa.Connection]:
    """A transaction of a new database."""
    engine = Outbox(ledger_url)._sync_engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


# --- what stands in a database -------------------------------------------------------------------

CATALOGUE = """
SELECT 'column', c.table_name, c.column_name, concat_ws(' ', c.ordinal_position, c.data_type, c.is_nullable,
  c.column_default, c.generation_expression, c.is_identity) FROM information_schema.columns c
  WHERE c.table_schema = 'smspilot'
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'smspilot'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
  WHERE connamespace = 'smspilot'::regnamespace
UNION ALL SELECT 'table', oid::regclass::text, relkind::text, concat_ws(' ', reloptions, obj_description(oid))
  FROM pg_class WHERE relnamespace = 'smspilot'::regnamespace
"""


def catalogue(connection: sa.Connection) -> set[tuple[str, ...]]:
    """Return all that a database says about its tables, but for Alembic's own."""
    if connection.dialect.name == "postgresql":
        rows: Any = connection.exec_driver_sql(CATALOGUE)
        return {tuple(row) for row in rows if "alembic" not in row[1]}
    found: set[tuple[str, ...]] = set()
    names = connection.exec_driver_sql("SELECT type, tbl_name, name, coalesce(sql, '') FROM sqlite_master").all()
    for type_, table, name, sql in names:
        if "alembic" in table:
            continue
        if type_ == "index":
            found.add((type_, table, name, sql))
            continue
        found.add((type_, table, name, str("AUTOINCREMENT" in sql)))
        found |= {("generated", table, name, what) for what in re.findall(r"GENERATED ALWAYS AS (.*[^\s,])", sql)}
        for pragma, first in (
            ("table_xinfo", 0),
            ("foreign_key_list", 1),
            ("index_list", 1),
        ):  # from 1 without an order
            rows = connection.exec_driver_sql(f"PRAGMA {pragma}({table})")
            found |= {(pragma, table, *map(str, row[first:])) for row in rows}
    return found


def in_savepoint(connection: sa.Connection, make: Callable[[], None]) -> set[tuple[str, ...]]:
    """Return the catalogue after something was made, and undo it."""
    savepoint = connection.begin_nested()
    make()
    made = catalogue(connection)
    savepoint.rollback()
    return made


def test_migrations_make_the_tables_of_the_schema(connection: sa.Connection) -> None:
    def by_metadata() -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        tables_of(connection.dialect.name).metadata.create_all(connection)

    expected = in_savepoint(connection, by_metadata)
    assert len(expected) > 100
    upgrade(connection)
    made = catalogue(connection)
    assert sorted(made - expected) == sorted(expected - made) == []


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_the_database_wakes_senders_where_they_listen(connection: sa.Connection) -> None:
    upgrade(connection)
    source = connection.exec_driver_sql("SELECT prosrc FROM pg_proc WHERE proname = 'wake_for_code'").scalar_one()
    assert f"'{WAKE_CHANNEL}'" in source


def test_the_last_version_is_that_of_the_code() -> None:
    assert int(REVISIONS[-1]) == VERSION == len(REVISIONS)


# --- upgrades ------------------------------------------------------------------------------------

# What a ledger of each version held: written by hand for it, and never changed after its release.
ROWS = {
    "0001": [
        "INSERT INTO {t}campaign (id, name, state, created_at) VALUES (1, 'promo', 'running', 1)",
        "INSERT INTO {t}stream (id, lane) VALUES (0, 0), (1, 1), (2, 2)",
        "INSERT INTO {t}stream (id, campaign_id, lane, zone) VALUES (3, 1, 2, 'Europe/Moscow')",
        "INSERT INTO {t}account (id) VALUES (1)",
        "INSERT INTO {t}suppression (phone, list, at) VALUES ('79087964789', 'all', 1)",
        "INSERT INTO {t}orders (at, actor, action) VALUES (1, 'anna', 'halt')",
        """
        INSERT INTO {t}attempt (token, sender, stream_id, intent_at, lease, message_ids, outcome)
        VALUES ('a', 'host:1', 1, 1, 2, {ids}, 'answered')
        """,
        """
        INSERT INTO {t}message (stream_id, state, attempt_id, due, wanted_at, phone, text, hash, key, created_at,
          server_id, price) VALUES (1, 'accepted', 1, 1, 1, '79087964781', 'Old', {hash}, 'old', 1, '7', {price})
        """,
        """
        INSERT INTO {t}message (stream_id, due, wanted_at, phone, text, hash, key, created_at)
        VALUES (1, 1, 1, '79087964782', 'New', {hash}, 'new', 1)
        """,
    ]
}
ROWS["0002"] = ROWS["0001"]  # it has no column of its own to be written
LEDGER = """
INSERT INTO {t}ledger (id, uid, version, oldest_compatible, account_id, endpoint, is_test, home, salt, created_at)
VALUES (1, 'u', :version, :version, :account, :url, {no}, :home, {hash}, 1)
"""
_WRITTEN = {
    "sqlite": {"t": "smspilot_", "ids": "'[1]'", "hash": "x'00'", "price": "'1.25'", "no": "0"},
    "postgresql": {"t": "smspilot.", "ids": "'{1}'", "hash": "'\\x00'", "price": "1.25", "no": "false"},
}


def old_ledger(url: str, revision: str, client: Client, account_id: int) -> None:
    """Make a ledger of an earlier version, with rows in it."""
    outbox = Outbox(url)
    engine = outbox._sync_engine()
    with engine.begin() as connection:
        upgrade(connection, to=revision)
        written = _WRITTEN[connection.dialect.name]
        for statement in ROWS[revision]:
            connection.exec_driver_sql(statement.format(**written))
        row = {"account": account_id, "url": client.url, "home": outbox._home(connection), "version": int(revision)}
        connection.execute(sa.text(LEDGER.format(**written)), row)
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_ledger_of_an_earlier_version_is_upgraded_with_its_rows(
    ledger_url: str, revision: str, client: Client, emulator: Emulator
) -> None:
    account_id = (await client.info()).id
    assert account_id is not None
    await asyncio.to_thread(old_ledger, ledger_url, revision, client, account_id)
    assert await Outbox.upgrade(ledger_url) == (int(revision), VERSION)
    async with Outbox(ledger_url) as outbox:
        assert (outbox._row.version, outbox._row.oldest_compatible) == (VERSION, OLDEST_COMPATIBLE)
        old = await outbox.get("old")
        assert old is not None
        assert (old.server_id, str(old.price), old.state) == ("7", "1.25", "accepted")
        await outbox.enqueue(Message(PHONE, "Newest"), key="newest")
        await outbox.drain(client)
    assert [message.text for message in emulator.messages] == ["New", "Newest"]


async def test_tables_of_an_earlier_version_are_used_where_they_suffice(
    ledger_url: str, client: Client, emulator: Emulator
) -> None:
    account_id = (await client.info()).id
    assert account_id is not None
    await asyncio.to_thread(old_ledger, ledger_url, "0001", client, account_id)
    outbox = Outbox(ledger_url)
    if ledger_url.startswith("postgresql"):
        with pytest.raises(LedgerSchemaError, match=r"older .* smspilot outbox upgrade"):
            await outbox.__aenter__()
        return
    async with outbox:
        await outbox.drain(client)
    assert [message.text for message in emulator.messages] == ["New"]


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_an_upgrade_does_not_wait_for_who_uses_the_tables(ledger_url: str, client: Client) -> None:
    account_id = (await client.info()).id
    assert account_id is not None
    await asyncio.to_thread(old_ledger, ledger_url, "0001", client, account_id)
    async with await psycopg.AsyncConnection.connect(ledger_url) as reader:
        await reader.execute("SELECT count(*) FROM smspilot.message")
        with pytest.raises(LedgerUnavailable, match="in use, and were left as they are"):
            await Outbox.upgrade(ledger_url)
    assert await Outbox.upgrade(ledger_url) == (1, VERSION)


async def test_an_upgrade_that_was_made_changes_nothing(desk: Desk, ledger_url: str) -> None:
    await desk.pending()
    assert await Outbox.upgrade(ledger_url) == (VERSION, VERSION)
    assert len(await desk.execute(sa.select(desk.tables.message))) == 1


async def test_only_a_ledger_that_is_there_and_not_newer_is_upgraded(desk: Desk, ledger_url: str) -> None:
    ledger = desk.tables.ledger
    await desk.execute(sa.update(ledger).values(version=VERSION + 1))
    with pytest.raises(LedgerSchemaError, match="newer"):
        await Outbox.upgrade(ledger_url)
    assert (await desk.execute(sa.select(ledger.c.version)))[0][0] == VERSION + 1
    await desk.execute(sa.delete(ledger))
    with pytest.raises(LedgerMissing):
        await Outbox.upgrade(ledger_url)


# --- an application's own Alembic ----------------------------------------------------------------


@pytest.mark.parametrize("knows", [True, False])
async def test_autogenerate_of_an_application_keeps_the_ledgers_tables(desk: Desk, *, knows: bool) -> None:
    application = sa.MetaData()
    sa.Table("purchase", application, sa.Column("id", sa.Integer, primary_key=True))
    options: dict[str, Any] = {"include_schemas": True}
    if knows:
        options["include_name"] = include_name

    def compare(connection: sa.Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), application))

    async with desk.outbox._writing() as connection:
        changes = await connection.run_sync(compare)
    dropped = [change[1].name for change in changes if change[0] == "remove_table"]
    assert [change[1].name for change in changes if change[0] == "add_table"] == ["purchase"]
    if knows:
        assert len(changes) == 1
    else:
        assert desk.tables.message.name in dropped
