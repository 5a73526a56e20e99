"""Packets of a bulk run share the CPU with sends: one in a turn of the loop, and none while a send is under way."""

from __future__ import annotations

import asyncio

import pytest
from manual_clock import idle
from watched import Gateway, message

from smspilot_async import Accepted
from smspilot_async._requests import fairness as _fairness
from smspilot_async._requests.fairness import Fairness
from smspilot_async._requests.slots import Slots


@pytest.fixture
def slots() -> Slots:
    return Slots(4)


@pytest.fixture(autouse=True)
def _hold_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fairness, "_LONGEST_HOLD", 3600)


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_goes_in_a_turn_of_the_loop(slots: Slots) -> None:
    fairness, loop_turn, went = Fairness(slots), 0, []

    async def work() -> None:
        await fairness.take()
        went.append(loop_turn)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(work())
        while len(went) < 5:
            await asyncio.sleep(0)
            loop_turn += 1
    assert len(set(went)) == 5


async def test_no_one_waits_where_no_one_is_ahead(slots: Slots) -> None:
    taking = Fairness(slots).take()
    with pytest.raises(StopIteration):
        taking.send(None)


async def test_a_campaign_waits_while_a_send_is_under_way(slots: Slots) -> None:
    fairness = Fairness(slots)
    slots.take()
    slots.take()
    slots.take(background=True)
    campaign = asyncio.create_task(fairness.take())
    await turns_of_the_loop(10)
    slots.release()
    await turns_of_the_loop(10)
    assert not campaign.done()
    slots.release()
    await turns_of_the_loop(2)
    assert campaign.done()


async def test_it_waits_from_the_moment_a_send_is_called(slots: Slots) -> None:
    fairness = Fairness(slots)
    fairness.announce_send()
    campaign = asyncio.create_task(fairness.take())
    await turns_of_the_loop(10)
    assert not campaign.done()
    fairness.send_begins()  # without a place, it does not hold others back
    await turns_of_the_loop(2)
    assert campaign.done()


async def test_a_send_that_is_called_lets_no_packet_go_before_it(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk([message("campaign")]) as run:
        sending = asyncio.create_task(client.send_message(message("code")))
        await idle()
        assert gateway.packets == [["code"], ["campaign"]]
        assert isinstance(await anext(run), Accepted)
        await sending


async def test_but_not_for_ever(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fairness, "_LONGEST_HOLD", 0)
    fairness = Fairness(slots)
    slots.take()
    async with asyncio.timeout(30):
        for _ in range(3):
            await fairness.take()


async def test_packets_under_way_do_not_hold_each_other_back(slots: Slots) -> None:
    fairness = Fairness(slots)
    assert slots.take(background=True)
    assert slots.take(background=True)
    await asyncio.wait_for(fairness.take(), 30)


async def test_one_that_is_cancelled_costs_no_one_a_turn(slots: Slots) -> None:
    fairness = Fairness(slots)
    slots.take()
    cancelled, patient = (asyncio.create_task(fairness.take()) for _ in range(2))
    await turns_of_the_loop(2)
    cancelled.cancel()
    slots.release()
    await asyncio.wait_for(patient, 30)
    assert cancelled.cancelled()


async def test_an_answer_that_waits_for_its_turn_is_not_lost_when_its_packet_is_cut_short(gateway: Gateway) -> None:
    client = gateway.client()
    gateway.hold()
    async with client.bulk([message("one")]) as run:
        collecting = asyncio.create_task(anext(run))
        await idle()
        slots = client._session().requester.slots
        assert slots.take()  # a send begins while the packet is on the wire
        await gateway.let_go()
        assert not collecting.done()
        closing = asyncio.create_task(client.aclose(timeout=1))
        await idle()
        await gateway.clock.advance(2)
        await closing
        assert isinstance(await collecting, Accepted)
        slots.release()
    assert gateway.heard() == {"one": "Accepted"}
