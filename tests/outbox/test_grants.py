"""Rate, first wave and budget: how fast, how many, and for how much; what runs out pauses, and refuses no message."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from smspilot_async import Client
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._grants import Standing, decide, learn_prices, limited_campaigns

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async.emulator import Emulator

PRICE = Decimal("1.25")


def spent(emulator: Emulator) -> Decimal:
    return sum((message.price for message in emulator.messages), Decimal(0))


# --- budget --------------------------------------------------------------------------------------


async def test_a_budget_is_used_up_to_the_kopeck_and_pauses_the_campaign(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    number = await desk.campaign(rows=30, budget=PRICE * 20 + Decimal("1.24"))
    await outbox.drain(client, packet_size=7)
    row = await desk.of_campaign(number)
    assert (row.state, row.reason) == ("paused", "budget")
    assert spent(emulator) == PRICE * 20
    assert await desk.states() == {"accepted": 20, "pending": 10}


async def test_a_budget_that_is_raised_is_gone_on_with(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    number = await desk.campaign(rows=10, budget=PRICE * 4)
    await outbox.drain(client)
    campaign = desk.tables.campaign
    await desk.execute(sa.update(campaign).where(campaign.c.id == number).values(state="running", budget=PRICE * 9))
    await outbox.drain(client)
    assert len(emulator.messages) == 9
    assert (await desk.of_campaign(number)).reason == "budget"


async def test_what_is_unknown_keeps_its_part_of_the_budget(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.campaign(rows=10, budget=PRICE * 5)
    await desk.hot.transact(lambda: learn_prices({"RU": PRICE}))
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client, packet_size=2, in_flight=1)
    states = await desk.states()
    assert states["unknown"] == 2
    assert states["accepted"] == 3
    assert spent(emulator) == PRICE * 5


async def test_what_was_refused_gives_its_part_back(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.campaign(rows=10, budget=PRICE * 5)
    emulator.refuse(code=111, text="Text 3")
    await outbox.drain(client, packet_size=2, in_flight=1)
    states = await desk.states()
    assert (states["refused"], states["accepted"], states["pending"]) == (1, 5, 4)


async def test_parts_are_reserved_as_they_were_counted_or_as_many_as_the_text_can_have(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    number = await desk.campaign(budget=PRICE * 4)
    stream = (await desk.execute("SELECT max(id) FROM " + desk.tables.stream.fullname))[0][0]
    await desk.fill(stream, 1, text="Привет! " * 15, parts=2)
    await desk.fill(stream, 1, text="🙂" * 36)  # 2 parts, though it has fewer characters than 70
    await desk.fill(stream, 1, text="Hello")
    await desk.hot.transact(lambda: learn_prices({"RU": PRICE}))
    await outbox.drain(client, packet_size=10)
    assert spent(emulator) == PRICE * 4
    assert (await desk.of_campaign(number)).state == "paused"


async def test_the_country_decides_the_price(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    emulator.account.prices = {"KZ": Decimal(30)}
    await desk.campaign(rows=3, budget=Decimal(40))
    stream = (await desk.execute("SELECT max(id) FROM " + desk.tables.stream.fullname))[0][0]
    await desk.fill(stream, 2, phone="77012345678")
    await outbox.drain(client, packet_size=10)
    assert [message.price for message in emulator.messages] == [PRICE] * 3 + [Decimal(30)]


async def test_many_senders_together_never_exceed_a_budget(
    desk: Desk, ledger_url: str, client: Client, emulator: Emulator
) -> None:
    senders = 1 if ledger_url.startswith("sqlite") else 3
    number = await desk.campaign(rows=120, budget=PRICE * 100)

    async def send() -> None:
        async with Outbox(ledger_url) as outbox:
            await outbox.drain(client, packet_size=7)

    await asyncio.gather(*(send() for _ in range(senders)))
    assert spent(emulator) == PRICE * 100
    assert (await desk.of_campaign(number)).reason == "budget"


# --- first wave and rate -------------------------------------------------------------------------


async def test_a_first_wave_is_so_many_messages_and_then_it_pauses(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    number = await desk.campaign(rows=30, first=11)
    await outbox.drain(client, packet_size=4)
    assert len(emulator.messages) == 11
    row = await desk.of_campaign(number)
    assert (row.state, row.reason, row.first) == ("paused", "first", None)


async def test_a_campaigns_own_rate_holds_for_it_alone(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.campaign(rows=30, settings={"rate_limit": 20})
    for _ in range(5):
        await desk.pending()
    began = time.monotonic()
    await outbox.drain(client)
    seconds = time.monotonic() - began
    assert len(emulator.messages) == 35
    assert 30 / 20 - 0.5 - 0.05 <= seconds <= 30


async def test_the_accounts_rate_holds_for_everything(desk: Desk, outbox: Outbox, emulator: Emulator) -> None:
    await desk.campaign(rows=40)
    async with Client(emulator.api_key, url=emulator.url, rate_limit=20) as client:
        began = time.monotonic()
        await outbox.drain(client)
        seconds = time.monotonic() - began
    assert 40 / 20 - 0.25 - 0.25 <= seconds <= 30
    sizes = [len(row[0]) for row in await desk.execute(sa.select(desk.tables.attempt.c.message_ids))]
    assert max(sizes) <= 20 // 4, "a packet holds more than a quarter of a second"


async def test_a_code_does_not_wait_for_the_rate_that_a_campaign_took(
    desk: Desk, outbox: Outbox, emulator: Emulator
) -> None:
    await desk.campaign(rows=40)
    async with Client(emulator.api_key, url=emulator.url, rate_limit=4) as client, outbox.worker(client):
        while not emulator.messages:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.01)
        id_ = await desk.pending("Your code", kind="code", valid_for=60)
        began = time.monotonic()
        while id_ not in [message.id for message in emulator.messages]:
            assert time.monotonic() < began + 2
            await asyncio.sleep(0.005)
        assert len(emulator.messages) < 12


@pytest.mark.parametrize(
    ("limits", "messages", "pause"),
    [
        ({"first": 0}, 0, "first"),
        ({"first": 0, "is_busy": True}, 0, None),
        ({"first": 5}, 5, None),
        ({"rate": 200.0}, 50, None),
        ({"rate": 1.0}, 1, None),
        ({"rate": 200.0, "tat": 2_000_000}, 0, None),
        ({"rate": 200.0, "first": 3}, 3, None),
        ({"left": Decimal(3), "cost": Decimal(4)}, 0, "budget"),
        ({"left": Decimal(3), "cost": Decimal(4), "is_busy": True}, 0, None),
        ({"left": Decimal(3), "cost": Decimal(3)}, None, None),
        ({"left": Decimal(3), "cost": None}, 1, None),
        ({"left": Decimal(3), "cost": None, "is_busy": True}, 0, None),
        ({"left": Decimal(0), "cost": None}, 0, "budget"),
    ],
)
def test_what_a_sender_may_use_follows_from_how_the_campaign_stands(
    limits: dict[str, Any], messages: int | None, pause: str | None
) -> None:
    standing = {"now": 1_000_000, "tat": 0, "rate": None, "first": None, "left": None, "cost": None, "is_busy": False}
    decision = decide(Standing(**{**standing, **limits}))
    assert (decision.messages, decision.pause) == (messages, pause)


async def test_a_campaign_without_limits_needs_no_grants(desk: Desk) -> None:
    await desk.campaign(rows=1)
    assert await desk.hot.transact(limited_campaigns) == []
    assert len((await desk.claim()).messages) == 1
