"""The ledger's tables, as the database has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from smspilot_async.outbox import Outbox

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
    assert options == ["fillfactor=70"]
