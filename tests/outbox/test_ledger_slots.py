"""Connections of an account, shared by the senders of a ledger on PostgreSQL."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from ledgers import PHONE

from smspilot_async import Message
from smspilot_async.outbox import Outbox, _deliver, _slots
from smspilot_async.outbox._deliver import SendOptions
from smspilot_async.outbox._ledger import MAX_UNKNOWNS
from smspilot_async.outbox._request import send_once
from smspilot_async.outbox._schema import MARKETING
from smspilot_async.outbox._slots import LEASE, Share, Slot, Slots, leave_slots, share, share_slots

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

ON_POSTGRESQL = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
IDLE = {True: 0, False: 0}


def slots(*owners: str | None, wanted: str | None = None) -> list[Slot]:
    return [Slot(n, owner, wanted if n == 0 else None) for n, owner in enumerate(owners)]


@pytest.mark.parametrize(
    ("rows", "in_use", "expected"),
    [
        (slots(None, None, None, None), 0, Share(keep=[0, 1, 2, 3], free=[], want=None, limit=4)),
        (slots("b", "b", None, None), 0, Share(keep=[2, 3], free=[], want=None, limit=2)),
        (slots("b", "b", "b", "b"), 0, Share(keep=[], free=[], want=0, limit=0)),
        (slots("b", "b", "b", "b", wanted="a"), 0, Share(keep=[], free=[], want=1, limit=0)),
        (slots("a", "a", "a", "a", wanted="b"), 0, Share(keep=[2, 3], free=[0, 1], want=None, limit=2)),
        (slots("a", "a", "a", "a", wanted="b"), 4, Share(keep=[0, 1, 2, 3], free=[], want=None, limit=2)),
        (slots("a", "a", "a", "a", wanted="b"), 3, Share(keep=[1, 2, 3], free=[0], want=None, limit=2)),
        (slots("b", "c", "d", "e"), 0, Share(keep=[], free=[], want=None, limit=0)),
        (slots("a", "c", "c", "d"), 1, Share(keep=[0], free=[], want=None, limit=1)),
    ],
)
def test_shares_are_equal(rows: list[Slot], in_use: int, expected: Share) -> None:
    assert share(rows, "a", in_use=in_use) == expected


@ON_POSTGRESQL
async def test_two_senders_come_to_equal_shares_and_one_that_ends_leaves_all_to_the_other(desk: Desk) -> None:
    async def ask(owner: str) -> dict[bool, int]:
        return await desk.hot.transact(partial(share_slots, owner, 4, IDLE))

    assert await ask("a") == {True: 2, False: 4}
    assert await ask("b") == {True: 0, False: 0}
    assert await ask("a") == {True: 1, False: 2}
    assert await ask("b") == {True: 1, False: 2}
    await desk.hot.transact(partial(leave_slots, "a"))
    await desk.turn(LEASE + 1)  # what b wanted is over
    assert await ask("b") == {True: 2, False: 4}


@ON_POSTGRESQL
async def test_the_slots_of_a_sender_that_is_gone_are_free_after_their_lease(desk: Desk) -> None:
    await desk.hot.transact(partial(share_slots, "a", 4, IDLE))
    await desk.turn(LEASE - 0.5)
    assert await desk.hot.transact(partial(share_slots, "b", 4, IDLE)) == {True: 0, False: 0}
    await desk.turn(1)
    assert await desk.hot.transact(partial(share_slots, "b", 4, IDLE)) == {True: 2, False: 4}


@ON_POSTGRESQL
async def test_all_senders_together_have_no_more_on_the_wire_than_the_account_may(
    desk: Desk, ledger_url: str, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.campaign(rows=300)
    under_way, most = 0, 0

    async def counting(*arguments: object, **more: object) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.02)
            return await send_once(*arguments, **more)  # type: ignore[arg-type]
        finally:
            under_way -= 1

    monkeypatch.setattr(_deliver, "send_once", counting)
    monkeypatch.setattr(_slots, "RENEW", 0.1)

    async def send() -> int:
        async with Outbox(ledger_url) as outbox:
            return (await outbox.drain(client, packet_size=5, in_flight=2)).accepted

    counts = await asyncio.gather(*(send() for _ in range(3)))
    assert sum(counts) == len(emulator.messages) == 300
    assert most == 2
    assert sorted(counts)[-2] > 0, "one sender sent everything"


async def test_the_brake_is_released_only_to_a_sender_that_has_a_slot_for_the_message(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    async with outbox._sender(client, SendOptions(in_flight=1)) as sender:
        for _ in range(MAX_UNKNOWNS):
            await desk.hot.count_unknown()
        await desk.turn(31)
        await sender._slots.renew()
        assert sender._slots.begin(MARKETING)  # as a place does that asks for a packet
        await sender._look()
        assert not emulator.messages
        sender._slots.end(MARKETING)
        await sender._look()
    assert len(emulator.messages) == 1
    assert not (await desk.hot.account()).is_braked


@ON_POSTGRESQL
async def test_a_drain_beside_senders_that_hold_every_slot_ends(desk: Desk, outbox: Outbox, client: Client) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    held = Slots(desk.hot, "another", 4)
    await held.renew()
    assert all(held.begin(lane) for lane in (0, 0, 2, 2, 2, 2))  # all of them are in use

    async def renewing() -> None:
        while True:
            await held.renew()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(renewing())
    sent = await asyncio.wait_for(outbox.drain(client), 4 * LEASE)
    task.cancel()
    assert sent.accepted == 0


async def test_a_sender_alone_has_all_slots(desk: Desk) -> None:
    alone = Slots(desk.hot, "desk", 3)
    await alone.renew()
    assert [alone.begin(2) for _ in range(4)] == [True, True, True, False]
    assert [alone.begin(0) for _ in range(3)] == [True, True, False]
    alone.end(2)
    assert alone.begin(2)
    await alone.leave()
