"""Campaigns while they are sent: waves, faults and what is sent again after them; estimates; orders that race."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from smspilot_async.outbox import (
    Campaign,
    CampaignStateError,
    LedgerUnavailable,
    Outbox,
    SendingWindow,
    _campaign_info,
    _campaign_run,
)
from smspilot_async.outbox._ledger import SECOND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

ALWAYS = SendingWindow("00:00", "24:00", tz="UTC")
WINDOWS = [SendingWindow(f"{hour:02}:00", f"{(hour + 2) % 24:02}:00", tz="UTC") for hour in range(24)]


def in_six_hours() -> SendingWindow:
    return WINDOWS[(datetime.now(UTC).hour + 6) % 24]


TEMPLATE = "Привет, {name|друг}!"


def phone(number: int) -> str:
    return f"7908796{number:04}"


def people(count: int) -> list[dict[str, Any]]:
    return [{"to": phone(number), "name": f"Имя {number}"} for number in range(count)]


async def approved(outbox: Outbox, client: Client, rows: Any, name: str = "promo-11", **more: Any) -> Campaign:
    campaign = await outbox.campaigns.create(name, rows, **{"template": TEMPLATE, **more})
    await campaign.estimate(client)
    await campaign.approve()
    return campaign


async def states(campaign: Campaign) -> dict[str, int]:
    return {state: count for state, count in (await campaign.status()).messages.items() if count}


async def test_waves_are_as_large_as_they_were_ordered(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    campaign = await approved(outbox, client, people(40))
    await campaign.start(first=10)
    reached = []
    for order in (None, lambda: campaign.resume(first=5), campaign.resume):
        if order is not None:
            await order()
        async with asyncio.timeout(30), campaign.running(client) as run:
            last = [progress async for progress in run][-1]
        reached.append((last.state, last.reason, len(emulator.messages)))
    assert reached == [("paused", "first", 10), ("paused", "first", 15), ("finished", None, 40)]


async def test_a_run_outlasts_a_database_that_is_away(
    outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await approved(outbox, client, people(3))
    await campaign.start()
    look, looks = _campaign_info.look, 0

    async def looked(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:  # the first look was on entering
            raise LedgerUnavailable("the ledger cannot be used")
        return await look(*arguments)

    monkeypatch.setattr(_campaign_run, "look", looked)
    async with asyncio.timeout(30), campaign.running(client) as run:
        last = [progress async for progress in run][-1]
    assert (last.state, looks > 2, len(emulator.messages)) == ("finished", True, 3)


async def test_after_a_fault_of_the_sender_exactly_those_are_sent_again_and_once(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    """From the 51st on the sender is not registered; the campaign stops, it is registered, and all get it once."""
    everyone = people(200)
    for row in everyone[50:]:
        emulator.refuse(code=204, to=row["to"])
    campaign = await approved(outbox, client, everyone)
    await campaign.start()
    await outbox.drain(client, packet_size=10, in_flight=2)
    info = await campaign.info()
    assert (info.state, info.reason) == ("paused", "fault 204")
    refused = await campaign.count_retried("204")
    assert 20 <= refused <= 20 + 4 * 10
    reached = [message.to for message in emulator.messages]
    assert sorted(reached) == [phone(number) for number in range(50)]
    emulator.reset()
    await campaign.retry("204", expect=refused, actor="anna", why="the sender is registered")
    assert (await campaign.info()).state == "paused"
    await campaign.resume(actor="anna")
    await outbox.drain(client)
    reached += [message.to for message in emulator.messages]
    assert Counter(reached) == dict.fromkeys(map(phone, range(200)), 1)
    assert (await campaign.info()).state == "finished"


async def test_a_fault_of_the_sender_is_counted_over_all_senders_of_the_ledger(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    """Twelve are refused to a first sender, and the next ones to a second: it stops after eight."""
    emulator.refuse(code=204)
    campaign = await approved(desk.outbox, client, people(24))
    await campaign.start()
    message = desk.tables.message
    await desk.execute(sa.update(message).where(message.c.id > 12).values(due=message.c.due + 3_600 * SECOND))
    await desk.outbox.drain(client, packet_size=1, in_flight=1)
    assert await states(campaign) == {"refused": 12, "pending": 12}
    await desk.turn(3_600)
    await desk.outbox.drain(client, packet_size=1, in_flight=1)
    assert ((await campaign.info()).reason, await states(campaign)) == ("fault 204", {"refused": 20, "pending": 4})
    await campaign.resume()  # and counts anew
    await desk.outbox.drain(client, packet_size=1, in_flight=1)
    info = await campaign.info()
    assert (info.state, info.reason, await states(campaign)) == ("finished", None, {"refused": 24})


async def test_a_window_that_was_changed_holds_at_once(desk: Desk, client: Client, emulator: Emulator) -> None:
    """The streams were open for the old window when it was changed."""
    campaign = await approved(desk.outbox, client, people(3), window=ALWAYS)
    await campaign.start(first=1)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"accepted": 1, "pending": 2}
    await campaign.change(window=in_six_hours())
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    await desk.outbox.drain(client)
    assert await states(campaign) == {"accepted": 1, "pending": 2}
    assert len(emulator.messages) == 1


async def test_a_fault_that_left_nothing_to_send_is_still_said(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await approved(outbox, client, people(30))
    emulator.refuse(code=204)
    await campaign.start()
    await outbox.drain(client)
    info = await campaign.info()
    assert (info.state, info.reason, await states(campaign)) == ("finished", "fault 204", {"refused": 30})
    emulator.reset()
    await campaign.retry("204", expect=30)
    assert (await campaign.info()).reason is None
    await outbox.drain(client)
    assert await states(campaign) == {"accepted": 30}


# --- estimates -----------------------------------------------------------------------------------


async def test_an_estimate_says_what_it_will_cost(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    rows = [{"to": phone(number), "text": "Да" * (1 + 40 * (number % 3))} for number in range(30)]
    campaign = await outbox.campaigns.create("promo-11", rows)
    estimate = await campaign.estimate(client, rate=10)
    assert (estimate.messages, estimate.parts, estimate.fits) == (30, 10 + 20 + 30, 30)
    assert estimate.ends_at is not None
    assert estimate.price_error is None
    assert await campaign.last_estimate() == estimate
    await campaign.approve()
    await campaign.start()
    await outbox.drain(client)
    assert estimate.price == sum((message.price for message in emulator.messages), Decimal(0))
    preview = await campaign.preview()
    assert (preview.long_messages, preview.further_parts) == (20, 30)
    assert estimate.price is not None
    assert preview.further_price == estimate.price / 2


async def test_an_estimate_counts_who_was_reached_lately_and_who_must_not_be_reached(
    desk: Desk, client: Client
) -> None:
    outbox = desk.outbox
    earlier = await approved(outbox, client, people(10), "earlier")
    await earlier.start()
    await outbox.drain(client)
    waiting = await approved(outbox, client, [{"to": phone(20)}], "waiting")
    await outbox.suppress([phone(3), phone(4)])
    await outbox.suppress([phone(5)], everything=True)
    rows = people(22)
    campaign = await outbox.campaigns.create("promo-11", rows, template=TEMPLATE)
    service = await outbox.campaigns.create("news", rows, template=TEMPLATE, kind="service")
    found = await campaign.estimate(client)
    assert (found.overlap, found.suppressed) == (11, 3)
    assert (await service.estimate(client)).suppressed == 1
    with pytest.raises(CampaignStateError, match="11 of the 22"):
        await campaign.approve()
    await waiting.cancel()
    await desk.turn(15 * 86_400)
    assert (await campaign.estimate(client)).overlap == 0
    await campaign.approve()


async def test_latin_letters_in_cyrillic_words_are_found_before_anything_is_sent(
    outbox: Outbox, client: Client
) -> None:
    rows = [(phone(1), "Скидка на iPhone"), (phone(2), "Cкидка"), (phone(3), "Привeт всем")]
    campaign = await outbox.campaigns.create("promo-11", rows)
    estimate = await campaign.estimate(client)
    assert (estimate.mixed, estimate.mixed_lines) == (2, (2, 3))
    assert (await campaign.preview()).mixed == ((2, ("Cкидка",)), (3, ("Привeт",)))


async def test_a_test_goes_to_ones_own_phone_and_changes_nothing(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await outbox.campaigns.create("promo-11", people(3), template=TEMPLATE)
    row, sent = await campaign.test(client, to="8 908 796-99-99", line=2)
    (message,) = emulator.messages
    assert (message.to, message.text, sent.server_id) == ("79087969999", "Привет, Имя 1!", message.server_id)
    assert (row.line, row.to) == (2, phone(1))
    assert await states(campaign) == {"pending": 3}
    with pytest.raises(CampaignStateError, match="no such row"):
        await campaign.test(client, to="79087969999", line=99)


# --- orders that race ----------------------------------------------------------------------------


class Rival:
    """A process that gives orders."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def order(self, what: str, at: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {at}\n".encode())


@pytest.fixture
async def rivals(desk: Desk, ledger_url: str, client: Client) -> AsyncIterator[list[Rival]]:
    """Two processes, and a campaign for them."""
    await approved(desk.outbox, client, people(3))
    script = Path(__file__).with_name("campaign_order.py")
    found = []
    for _ in range(2):
        pipe = asyncio.subprocess.PIPE
        arguments = (sys.executable, str(script), ledger_url, "promo-11")
        found.append(Rival(await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe)))
    for rival in found:
        assert await rival.line() == "ready"
    yield found
    for rival in found:
        assert rival.process.stdin is not None
        rival.process.stdin.close()
        assert await rival.process.wait() == 0


RACES = [
    ("estimated", ("approve", "approve"), {("done", "refused"): {"approved"}}),
    ("approved", ("start", "start"), {("done", "refused"): {"running"}}),
    ("paused", ("resume", "resume"), {("done", "refused"): {"running"}}),
    ("running", ("cancel", "cancel"), {("done", "refused"): {"cancelled"}}),
    ("running", ("pause", "pause"), {("done", "done"): {"paused"}}),
    ("approved", ("start", "cancel"), {("done", "refused"): {"cancelled"}, ("done", "done"): {"cancelled"}}),
    ("paused", ("resume", "pause"), {("done", "done"): {"running", "paused"}}),
    ("running", ("pause", "cancel"), {("done", "refused"): {"cancelled"}, ("done", "done"): {"cancelled"}}),
]


async def test_of_two_processes_that_order_at_once_one_wins_and_the_table_holds(
    desk: Desk, rivals: list[Rival]
) -> None:
    campaign = await desk.outbox.campaigns.get("promo-11")
    table = desk.tables.campaign
    for state, orders, allowed in RACES * 3:
        await desk.execute(sa.update(table).where(table.c.id == campaign.id).values(state=state, reason=None))
        at = time.time() + 0.05
        for rival, order in zip(rivals, orders, strict=True):
            rival.order(order, at)
        first, second = sorted([await rival.line() for rival in rivals])
        answers = (first, second)
        assert answers in allowed, (state, orders)
        assert (await campaign.info()).state in allowed[answers], (state, orders)
