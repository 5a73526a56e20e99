"""Two people who give the same order at once: one is obeyed, and the log names both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from smspilot_async.outbox import Order, Outbox, UnexpectedCount

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

PEOPLE = ("anna", "boris")


def of(orders: list[Order], action: str) -> list[tuple[str, int | None, str | None]]:
    return sorted((order.actor, order.count, order.detail) for order in orders if order.action == action)


async def test_of_two_who_retry_300_one_sends_300_and_the_other_changes_nothing(
    desk: Desk, outbox: Outbox, ledger_url: str, client: Client, emulator: Emulator
) -> None:
    await desk.campaign("promo-11", rows=300, last_id=10**9)
    message = desk.tables.message
    await desk.execute(
        message.update().where(message.c.stream_id > 2).values(state="refused", code=204, settled_at=await desk.now())
    )
    async with Outbox(ledger_url) as second:
        campaigns = [await one.campaigns.get("promo-11") for one in (outbox, second)]
        orders = [
            campaign.retry("204", expect=300, actor=person, why="registered")
            for campaign, person in zip(campaigns, PEOPLE, strict=True)
        ]
        results: list[Any] = await asyncio.gather(*orders, return_exceptions=True)
    won, lost = sorted(PEOPLE, key=lambda person: isinstance(results[PEOPLE.index(person)], Exception))
    assert results[PEOPLE.index(won)] == 300
    error = results[PEOPLE.index(lost)]
    assert isinstance(error, UnexpectedCount)
    assert error.difference == "0, not 300"
    log = await outbox.log()
    assert of(log, "campaign retry") == sorted([(won, 300, "204"), (lost, 0, "refused: 0, not 300")])
    assert {order.campaign for order in log if order.action == "campaign retry"} == {"promo-11"}
    assert len(await outbox.log(campaign="promo-11")) == 2
    assert await outbox.log(campaign="promo-12") == []
    assert (await desk.states()) == {"pending": 300}
    await outbox.drain(client)
    assert len(emulator.messages) == 300


async def test_of_two_who_settle_the_same_the_log_names_both(desk: Desk, outbox: Outbox) -> None:
    await desk.campaign("promo-11", rows=5, last_id=10**9)
    message = desk.tables.message
    await desk.execute(
        message.update().where(message.c.stream_id > 2).values(state="unknown", settled_at=await desk.now())
    )
    campaign = await outbox.campaigns.get("promo-11")
    orders = [campaign.settle("unknown", as_="assume_sent", expect=5, actor=person) for person in PEOPLE]
    results = await asyncio.gather(*orders, return_exceptions=True)
    assert sorted(isinstance(one, UnexpectedCount) for one in results) == [False, True]
    settled = of(await outbox.log(), "settle")
    assert [(count, detail) for _, count, detail in sorted(settled, key=lambda one: str(one[2]))] == [
        (5, "assume_sent"),
        (0, "refused: 0, not 5"),
    ]
    assert sorted(person for person, _, _ in settled) == list(PEOPLE)
