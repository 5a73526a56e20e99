"""The rate of an account, and its halt, hold for all workers of a fleet together; by the gateway's own clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fleets import fill, judge, taken_by
from ledgers import accepted
from waiting import until

from smspilot_async import Client
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._account_rate import CATCH_UP
from smspilot_async.outbox._ledger import SECOND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

    from smspilot_async.emulator import AcceptedMessage

RATE = 300
WINDOW = 10.0
PACKET = 10
MESSAGES = 2400


@pytest.fixture
async def three(request: pytest.FixtureRequest, ledger_url: str, desk: Desk, emulator: Emulator) -> AsyncIterator[None]:
    """Three workers, each with a client of its own."""
    del desk  # which makes the ledger
    rate = getattr(request, "param", None)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(Client(emulator.api_key, url=emulator.url, rate_limit=rate))
            outbox = await stack.enter_async_context(Outbox(ledger_url))
            await stack.enter_async_context(outbox.fleet_worker(client, in_flight=6, packet_size=PACKET))
        yield


def arrivals(emulator: Emulator) -> list[float]:
    """A list that grows by the time of each message that the gateway accepts."""
    times: list[float] = []

    def keep(message: AcceptedMessage) -> None:
        if message.status == 0:
            times.append(time.monotonic())

    emulator.subscribe(keep)
    return times


@pytest.mark.parametrize("three", [RATE], indirect=True)
@pytest.mark.usefixtures("three")
async def test_three_workers_together_keep_to_the_rate(desk: Desk, emulator: Emulator) -> None:
    began = time.monotonic()
    times = arrivals(emulator)
    await fill(desk.outbox, 4000)
    await until(partial(_grew, times, MESSAGES), patience=120)  # a busy machine uses less of the rate
    # At any moment; what is late makes it less. After ten seconds this is less than one percent more.
    caught_up = CATCH_UP / SECOND
    assert all(number <= RATE * (at - began + caught_up) + PACKET for number, at in enumerate(times, 1))
    assert RATE * (WINDOW + caught_up) + PACKET <= RATE * WINDOW * 1.01


def _grew(times: list[float], beyond: int) -> bool:
    return len(times) > beyond


@pytest.mark.usefixtures("three")
async def test_nothing_of_a_campaign_is_on_the_wire_once_a_halt_has_answered(desk: Desk, emulator: Emulator) -> None:
    emulator.random_faults({Fault.SLOW: 1.0}, delay=0.1, command="send", seed=1)
    times = arrivals(emulator)
    await fill(desk.outbox, 3000)
    for round_ in range(3):
        await until(partial(_grew, times, len(times) + 50))
        await desk.outbox.halt("wrong text")
        answered = time.monotonic()
        assert (await desk.states()).get("in_flight", 0) == 0
        await desk.pending(f"Service {round_}")  # which leaves nevertheless
        await until(partial(_grew, times, len(times)))
        await asyncio.sleep(0.5)
        assert sum(at > answered for at in times) == 1
        await desk.outbox.release()
    verdict = await judge(desk.outbox, taken_by(emulator))
    assert (verdict.twice, verdict.lost) == (0, 0)


async def test_a_halt_waits_for_claims_that_have_not_seen_it(desk: Desk) -> None:
    await fill(desk.outbox, 10)
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    hot: Any = desk.hot
    claims: Any = hot._claims
    connection = await claims._connected()
    async with connection.transaction():  # as where its commit takes long
        claim = await desk.claim(10)
        halt = asyncio.create_task(desk.outbox.halt("wrong text"))
        await until(lambda: desk.execute(waiting))
        assert not halt.done()
    answers = [accepted(message.id, str(message.id)) for message in claim.messages]
    await desk.record(claim.attempt_id, *answers)
    assert (await halt).left_after == 0  # their intents were written before the order
