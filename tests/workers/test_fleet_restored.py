"""PostgreSQL restored to an earlier moment, by a backup and its log: nothing leaves until the ledger is adopted."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from fleets import fill, is_over, judge, taken_by
from ledgers import PHONE
from postgres import Postgres
from waiting import until

from smspilot_async import Client, Message
from smspilot_async.outbox import LedgerMoved, Outbox

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator


async def test_nothing_leaves_before_it_is_adopted_and_nothing_twice_afterwards(
    client: Client, emulator: Emulator
) -> None:
    cluster = await asyncio.to_thread(Postgres, archive=True)
    try:
        url = cluster.database()
        await Outbox.create(url, client)
        async with Outbox(url) as outbox, outbox.fleet_worker(client, packet_size=10):
            await outbox.enqueue(Message(PHONE, "Before"), key="before")
            await outbox.wait("before")
            await asyncio.to_thread(cluster.back_up)
            await outbox.enqueue(Message(PHONE, "After the backup"), key="after the backup")
            await outbox.wait("after the backup")
            await fill(outbox, 200, state="paused")
        (moment,) = await asyncio.to_thread(cluster.execute, "SELECT clock_timestamp()::text")
        async with Outbox(url) as outbox, outbox.fleet_worker(client, packet_size=10):
            await (await outbox.campaigns.get("promo")).resume()
            await until(lambda: len(emulator.messages) > 100)
            await until(lambda: is_over(outbox))
        sent = len(emulator.messages)
        assert sent == 202

        await asyncio.to_thread(cluster.restore, moment[0])
        async with Outbox(url) as outbox:
            assert (await outbox.status()).messages["pending"] == 200
            worker = outbox.fleet_worker(client, packet_size=10)
            with pytest.raises(LedgerMoved):
                await worker.__aenter__()
            assert len(emulator.messages) == sent

            await outbox.adopt(restored_to=datetime.fromisoformat(moment[0]))
            async with outbox.fleet_worker(client, packet_size=10):
                await outbox.enqueue(Message(PHONE, "New"), key="new")
                assert (await outbox.wait("new")).state == "accepted"
                await until(lambda: is_over(outbox))
            verdict = await judge(outbox, taken_by(emulator))
            assert (verdict.twice, verdict.lost) == (0, 0)
            assert verdict.states == {"accepted": 3, "unknown": 200}
        assert len(emulator.messages) == sent + 1
    finally:
        await asyncio.to_thread(cluster.stop)
