"""The ledger's tables, as the database has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from ledgers import accepted

from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from ledgers import Desk
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
