"""The ledger's tables, as the database has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from ledgers import Desk, accepted
from waiting import until

from smspilot_async.outbox import Outbox
from smspilot_async.outbox._campaign_rows import tend

if TYPE_CHECKING:
    from postgres import Postgres

    from smspilot_async import Client


async def test_pages_of_messages_have_room_for_new_versions_of_their_rows(postgres: Postgres, client: Client) -> None:
    url = postgres.database()
    await Outbox.create(url, client)
    database = sa.make_url(url).database or ""
    [[options]] = postgres.execute(
        "SELECT reloptions FROM pg_class WHERE oid = 'smspilot.message'::regclass", database=database
    )
    assert options == ["fillfactor=50"]


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_an_outcome_leaves_the_indexes_of_messages_alone(desk: Desk) -> None:
    await desk.campaign(rows=300)
    while (claim := await desk.claim()).messages:
        await desk.record(claim.attempt_id, *(accepted(one.id, "1") for one in claim.messages))
    hot: Any = desk.hot
    for line in (hot._claims, hot._outcomes):
        await line.fetch("SELECT pg_stat_force_next_flush()")
    counted = await desk.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'message'")
    [(updated, without_indexes)] = counted
    assert updated == 600
    assert without_indexes > 200  # of the 300 outcomes: all but where a page had no room


def others(postgres: Postgres, database: str) -> list[Any]:
    """Return who else uses a database: what they read is counted when they leave."""
    query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND backend_type = 'client backend'"
    return postgres.execute(query)


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_what_waits_and_what_is_unknown_is_found_without_reading_all_messages(
    client: Client, postgres: Postgres, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Outbox.create(ledger_url, client)
    async with Outbox(ledger_url) as outbox:
        desk = Desk(outbox, monkeypatch)
        await desk.campaign(rows=5, settings={"unknown": {"policy": "probe", "dup_window": 3600}}, last_id=10**9)
        [(stream,)] = await desk.execute(sa.select(sa.func.max(desk.tables.stream.c.id)))
        await desk.fill(stream, 20_000, state="accepted")
        await desk.fill(stream, 5, state="unknown")
        await desk.execute("ANALYZE smspilot.message")
        await desk.hot.aclose()
    database = sa.make_url(ledger_url).database or ""
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'message'"
    await until(lambda: not others(postgres, database))
    before = postgres.execute(scans, database=database)
    async with Outbox(ledger_url) as outbox:
        promo = await outbox.campaigns.get("promo")
        assert await outbox.count_unsettled() == 0
        assert await promo.count_unsettled() == 5
        for word in ("unknown", "pending"):
            assert len([one async for one in promo.messages(outcome=word)]) == 5
        await outbox.overview()
        await tend(outbox._access())
    await until(lambda: not others(postgres, database))
    assert postgres.execute(scans, database=database) == before


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_no_statement_is_compiled(desk: Desk) -> None:
    hot: Any = desk.hot
    assert await hot._claims.fetch("SHOW jit") == await desk.execute("SHOW jit") == [("off",)]
