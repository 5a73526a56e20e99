"""What is done to a campaign costs in proportion to its size, and not to the square of it, on a SQLite ledger."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import sqlalchemy as sa

from smspilot_async.outbox import Outbox, _afterwards, _campaign_info, _campaign_rows, _campaigns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async import Client
    from smspilot_async.outbox import Campaign

    What: TypeAlias = Callable[[Campaign, Outbox], Awaitable[None]]

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)

FEW, MANY = 1_000, 2_000
PAGE = 10


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps SQLite's machine has done, in hundreds, on connections that are opened from now on."""
    done = [0]
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def count() -> int:
        done[0] += 1
        return 0

    def counted(*args: Any, **more: Any) -> sqlite3.Connection:
        connection = connect(*args, **more)
        connection.set_progress_handler(count, 100)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)
    return done


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_campaign_info, _campaign_rows, _campaigns):
        monkeypatch.setattr(module, "_AT_ONCE", PAGE)
    monkeypatch.setattr(_afterwards, "_PURGED_AT_ONCE", PAGE)


async def made(outbox: Outbox, client: Client, rows: int) -> Campaign:
    """Return a campaign of so many rows, estimated."""
    people = ({"to": f"7908{number:07d}", "text": f"Text {number}"} for number in range(rows))
    campaign = await outbox.campaigns.create(f"of {rows}", people)
    await campaign.estimate(client)
    return campaign


async def read(campaign: Campaign, _: Outbox) -> None:
    assert len([message async for message in campaign.messages()]) in {FEW, MANY}


async def approve(campaign: Campaign, _: Outbox) -> None:
    await campaign.approve(overlap_ok=True)


async def cancel(campaign: Campaign, _: Outbox) -> None:
    await campaign.cancel()
    while await _campaign_rows.tend(campaign._access):
        pass
    assert {message.reason async for message in campaign.messages()} == {"cancelled"}


async def purge(campaign: Campaign, outbox: Outbox) -> None:
    purged = await outbox.purge(datetime.now(UTC) - timedelta(days=42))
    left = len([one async for one in campaign.messages()])
    assert (purged.messages, purged.attempts) == (left, left)  # half of it is old


async def send_half_of_it_long_ago(campaign: Campaign, outbox: Outbox) -> None:
    """In packets of one; the other half stays."""
    tables = outbox._tables
    message, attempt = tables.message, tables.attempt
    ids = [one.id async for one in campaign.messages()]
    old = ids[len(ids) // 2 :]
    async with outbox._writing() as connection:
        await connection.execute(sa.update(message).where(message.c.id.in_(old)).values(state="accepted", settled_at=1))
        done = {"sender": "", "intent_at": 1, "lease": 1, "outcome": "answered", "recorded_at": 1}
        await connection.execute(sa.insert(attempt), [{"token": f"{id_}", "message_ids": [id_], **done} for id_ in old])


@pytest.mark.parametrize("what", [read, approve, cancel, purge])
async def test_twice_as_many_rows_cost_about_twice_as_much(
    outbox: Outbox, client: Client, ledger_url: str, steps: list[int], what: What
) -> None:
    costs = []
    async with Outbox(ledger_url) as counted:
        for rows in (FEW, MANY):
            campaign = await made(outbox, client, rows)
            if what is purge:
                await send_half_of_it_long_ago(campaign, outbox)
            counted_campaign = await counted.campaigns.get(campaign.name)
            before = steps[0]
            await what(counted_campaign, counted)
            costs.append(steps[0] - before)
    assert 1.5 < costs[1] / costs[0] < 2.5, costs
