"""Claims stay quick beside dead entries that a long transaction keeps, and a floor never hides a message."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
import sqlalchemy as sa
from ledgers import accepted

from smspilot_async.outbox import _grants, _postgres, _steps
from smspilot_async.outbox._due import DUE
from smspilot_async.outbox._ledger import MAX_UNKNOWNS, SECOND, MessageAnswer
from smspilot_async.outbox._states import Event
from smspilot_async.outbox._upkeep import FLOOR_MARGIN, SPENT_CODES, move_floors

if TYPE_CHECKING:
    import sqlite3

    from ledgers import Desk

    from smspilot_async.outbox._sqlite import SqliteHotPath

DEAD = 20_000
ON_POSTGRESQL = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


async def plan_of(url: str, statement: str, values: dict[str, Any]) -> Any:
    """Return how a statement is planned and what it did, as PostgreSQL explains it; print it, too."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}".encode()
        found: Any = await (await connection.execute(explained, values)).fetchone()
        await connection.rollback()
    plan = found[0] if isinstance(found[0], list) else json.loads(found[0])
    sys.stdout.write(json.dumps(plan))  # shown where a test fails
    return plan[0]["Plan"]


async def plan_of_a_claim(url: str) -> Any:
    values = {
        "token": "token",
        "sender": "desk",
        "size": 100,
        "lease": SECOND,
        "last_lane": 2,
        "is_probe": False,
        "most_unknowns": MAX_UNKNOWNS,
        "marketing": 2,
        "code": 0,
    }
    return await plan_of(url, _postgres._CLAIM, values)


def pages(plan: Any) -> int:
    """Return how many pages a claim looked at, whatever it costs on this machine now."""
    used = ("Shared Hit Blocks", "Shared Read Blocks", "Temp Read Blocks", "Temp Written Blocks")
    return sum(int(plan[name]) for name in used)


def uses(plan: Any, index: str) -> int:
    """Return how often an index was used."""
    below = sum(uses(one, index) for one in plan.get("Plans", ()))
    return below + (plan["Actual Loops"] if plan.get("Index Name") == index else 0)


@ON_POSTGRESQL
@pytest.mark.parametrize("statistics", ["none", "of a time when little was pending", "of a time when nothing was"])
async def test_a_claim_of_a_campaign_looks_at_no_more_than_its_packet(
    desk: Desk, ledger_url: str, statistics: str
) -> None:
    await desk.execute("ALTER TABLE smspilot.message SET (autovacuum_enabled = false)")
    await desk.campaign(rows=300)
    few = pages(await plan_of_a_claim(ledger_url))
    message, stream = desk.tables.message, desk.tables.stream
    if statistics == "of a time when nothing was":
        await desk.execute(sa.update(message).values(state="accepted"))
    if statistics != "none":
        await desk.execute("ANALYZE smspilot.message")
    await desk.fill((await desk.execute(sa.select(sa.func.max(stream.c.id))))[0][0], DEAD)
    plan = await plan_of_a_claim(ledger_url)
    assert pages(plan) < 2 * few
    assert uses(plan, "ix_smspilot_message_pending") == 5  # a look into each of four streams, and the packet


@ON_POSTGRESQL
async def test_a_claim_does_not_look_into_streams_of_campaigns_that_are_over(desk: Desk, ledger_url: str) -> None:
    await desk.campaign(rows=300)
    few = uses(await plan_of_a_claim(ledger_url), "ix_smspilot_message_pending")
    for number in range(5):
        await desk.campaign(f"over {number}", zones=("Europe/Moscow", "Asia/Omsk"), state="finished")
    assert uses(await plan_of_a_claim(ledger_url), "ix_smspilot_message_pending") == few


@ON_POSTGRESQL
@pytest.mark.parametrize("statement", [DUE, _grants._LIMITED, _grants._NEXT, *SPENT_CODES])
async def test_a_look_for_what_is_due_reads_one_message_of_a_stream(
    desk: Desk, ledger_url: str, statement: str
) -> None:
    campaign = await desk.campaign(rows=300, first=100)
    message, stream = desk.tables.message, desk.tables.stream
    await desk.execute(sa.update(message).values(state="accepted"))
    await desk.execute("ANALYZE smspilot.message")
    await desk.fill((await desk.execute(sa.select(sa.func.max(stream.c.id))))[0][0], DEAD)
    values = {"marketing": 2, "last_lane": 2, "most_unknowns": MAX_UNKNOWNS, "campaign": campaign}
    assert pages(await plan_of(ledger_url, _steps.POSTGRESQL.written(statement), values)) < 50


@ON_SQLITE
@pytest.mark.parametrize("statement", [DUE, _grants._LIMITED, _grants._NEXT, *SPENT_CODES])
async def test_a_look_for_what_is_due_does_not_read_all_messages(desk: Desk, statement: str) -> None:
    values = {"marketing": 2, "last_lane": 2, "most_unknowns": MAX_UNKNOWNS, "campaign": 1, "now": 1}

    def plan(connection: sqlite3.Connection) -> list[str]:
        return [
            step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {_steps.SQLITE.written(statement)}", values)
        ]

    steps = await cast("SqliteHotPath", desk.hot).run(plan)
    of_messages = [step for step in steps if step.split()[1] == "m"]
    assert of_messages
    unknown = "SCAN m USING INDEX ix_smspilot_message_unknown"  # all of that index, which has nothing else
    assert all(step.startswith("SEARCH m") or step == unknown for step in of_messages), steps


@ON_POSTGRESQL
async def test_a_plan_made_for_a_small_table_is_soon_made_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.execute("ALTER TABLE smspilot.message SET (autovacuum_enabled = false)")
    await desk.campaign(rows=60)
    message, stream, hot = desk.tables.message, desk.tables.stream, cast("Any", desk.hot)
    await desk.execute(sa.update(message).values(state="accepted"))
    await desk.execute("ANALYZE smspilot.message")
    for _ in range(20):  # of these, PostgreSQL keeps the plan
        await desk.hot.account()
    await desk.fill((await desk.execute(sa.select(sa.func.max(stream.c.id))))[0][0], DEAD)

    async def scans_of_a_look() -> int:
        await desk.hot.account()
        await hot._outcomes.fetch("SELECT pg_stat_force_next_flush()")
        counted = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'message'"
        return int((await hot._outcomes.fetch(counted))[0][0])

    before = await scans_of_a_look()
    assert await scans_of_a_look() > before  # the kept plan reads the whole table, still
    before = await scans_of_a_look()
    monkeypatch.setattr(hot._outcomes, "_plan_anew_at", 0.0)
    assert await scans_of_a_look() == before


@ON_POSTGRESQL
async def test_a_claim_beside_dead_entries_begins_at_the_floor(desk: Desk, ledger_url: str) -> None:
    await desk.campaign(rows=DEAD + 100)
    message = desk.tables.message
    async with await psycopg.AsyncConnection.connect(ledger_url) as long:
        await long.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await long.execute("SELECT count(*) FROM smspilot.message")  # its snapshot keeps every dead entry
        last = (await desk.execute(sa.select(sa.func.max(message.c.id))))[0][0]
        await desk.execute(sa.update(message).where(message.c.id <= last - 100).values(state="accepted"))
        await desk.execute("ANALYZE smspilot.message")
        before = pages(await plan_of_a_claim(ledger_url))
        await desk.turn(2 * FLOOR_MARGIN / SECOND)
        await desk.hot.transact(lambda: move_floors(from_floor=True))
        after = pages(await plan_of_a_claim(ledger_url))
        assert len((await desk.claim()).messages) == 100
    assert before > after + DEAD // 300  # an index page has that many entries, about
    assert after < 2000


@ON_POSTGRESQL
@pytest.mark.parametrize("how", ["put back", "void"])
async def test_a_message_that_waits_again_is_found_whatever_the_floor(desk: Desk, how: str) -> None:
    await desk.campaign(rows=10)
    claim = await desk.claim(3, token="first")
    await desk.turn(2 * FLOOR_MARGIN / SECOND)
    await desk.hot.transact(lambda: move_floors(from_floor=True))
    stream = (await desk.execute(sa.select(desk.tables.stream).where(desk.tables.stream.c.floor_id > 0)))[0]
    assert stream.floor_id == claim.messages[-1].id + 1
    if how == "void":
        await desk.hot.void("first")
    else:
        rows = [MessageAnswer(id=one.id, event=Event.PUT_BACK) for one in claim.messages]
        await desk.record(claim.attempt_id, *rows)
    assert len((await desk.claim()).messages) == 10


@ON_POSTGRESQL
async def test_a_floor_falls_back_below_a_message_that_was_written_under_it(desk: Desk) -> None:
    await desk.campaign(rows=2)
    claim = await desk.claim(1)
    await desk.record(claim.attempt_id, accepted(claim.messages[0].id, "1"))
    await desk.turn(2 * FLOOR_MARGIN / SECOND)
    await desk.hot.transact(lambda: move_floors(from_floor=True))
    message = desk.tables.message
    await desk.execute(sa.update(message).where(message.c.id == claim.messages[0].id).values(state="pending"))
    await desk.hot.transact(lambda: move_floors(from_floor=False))
    assert len((await desk.claim()).messages) == 2


@ON_POSTGRESQL
async def test_a_floor_passes_no_message_that_a_running_transaction_puts_back(desk: Desk) -> None:
    await desk.campaign(rows=1)
    claim = await desk.claim()
    await desk.hot.transact(lambda: move_floors(from_floor=True))
    rows = [MessageAnswer(id=claim.messages[0].id, event=Event.PUT_BACK)]
    await asyncio.gather(desk.record(claim.attempt_id, *rows), desk.hot.transact(lambda: move_floors(from_floor=True)))
    assert len((await desk.claim()).messages) == 1
