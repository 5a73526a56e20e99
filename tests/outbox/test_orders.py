"""What people order, and what the claim makes of it; the circuit breaker, which acts by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox._ledger import MAX_UNKNOWNS

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

OTHER = "79087964782"


async def three_kinds(outbox: Outbox) -> None:
    await outbox.enqueue(Message(PHONE, "1234"), key="code", kind="code", valid_for=600)
    await outbox.enqueue(Message(PHONE, "Ready"), key="service")
    await outbox.enqueue(Message(PHONE, "Sale"), key="marketing", kind="marketing")


@pytest.mark.parametrize(
    ("everything", "left"), [(False, {"1234", "Ready"}), (True, set())], ids=["marketing", "everything"]
)
async def test_a_halt_lets_nothing_leave_until_it_is_released(
    outbox: Outbox, client: Client, emulator: Emulator, *, everything: bool, left: set[str]
) -> None:
    await three_kinds(outbox)
    halted = await outbox.halt("wrong text", everything=everything)
    assert halted.left_after == 0
    await outbox.drain(client)
    assert {message.text for message in emulator.messages} == left
    status = await outbox.status()
    assert (status.account.halted_why, status.messages["pending"]) == ("wrong text", 3 - len(left))
    await outbox.release()
    await outbox.drain(client)
    assert {message.text for message in emulator.messages} == {"1234", "Ready", "Sale"}


async def test_a_halt_of_everything_is_not_made_smaller_by_one_of_marketing(outbox: Outbox) -> None:
    await outbox.halt("outage", everything=True)
    await outbox.halt("wrong text")
    assert (await outbox.status()).account.halted == "all"


async def test_a_halt_waits_for_what_is_on_the_wire(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    emulator.fail_next("send", Fault.SLOW)
    draining = asyncio.create_task(outbox.drain(client))
    await emulator.wait_for(to=PHONE)
    halting = asyncio.create_task(outbox.halt("wrong text", everything=True))
    await asyncio.sleep(1)  # it has looked some times
    assert not halting.done()
    emulator.release()
    assert (await draining).accepted == 1
    assert (await halting).left_after == 0


async def test_orders_are_written_down(desk: Desk) -> None:
    await desk.outbox.halt("wrong text", actor="anna")
    await desk.outbox.release("mended", actor="boris")
    orders = desk.tables.orders
    rows = await desk.execute(sa.select(orders.c.actor, orders.c.action, orders.c.why).order_by(orders.c.id))
    assert [tuple(row) for row in rows] == [("anna", "halt", "wrong text"), ("boris", "release", "mended")]


async def test_opt_outs_concern_marketing_alone(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await three_kinds(outbox)
    assert await outbox.suppress(["+7 908 796-47-81", PHONE]) == 1
    assert await outbox.suppress([PHONE]) == 0
    await outbox.drain(client)
    assert {message.text for message in emulator.messages} == {"1234", "Ready"}
    record = await outbox.get("marketing")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.REFUSED, "suppressed")


async def test_the_second_list_concerns_everything(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await three_kinds(outbox)
    await outbox.enqueue(Message(OTHER, "Ready"), key="other")
    await outbox.suppress([PHONE], everything=True)
    await outbox.drain(client)
    assert [message.to for message in emulator.messages] == [OTHER]


async def test_who_was_struck_off_gets_messages_again(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.suppress([PHONE], everything=True)
    assert await outbox.unsuppress([PHONE], everything=True) == 1
    await three_kinds(outbox)
    await outbox.drain(client)
    assert len(emulator.messages) == 3


async def test_three_packets_in_a_row_without_an_answer_stop_the_account(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.fail_next("send", Fault.SERVER_ERROR, times=100)
    for number in range(20):
        await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
    sent = await outbox.drain(client, packet_size=1, in_flight=1)
    # what was under way at once when the third came back is beyond it
    assert MAX_UNKNOWNS <= sent.unknown <= MAX_UNKNOWNS + 2
    assert (await outbox.status()).account.is_braked


async def test_the_brake_lets_one_message_through_at_a_time(desk: Desk) -> None:
    for _ in range(MAX_UNKNOWNS):
        await desk.hot.count_unknown()
    for number in range(3):
        await desk.pending(f"Text {number}")
    waits = []
    for _ in range(6):
        assert (await desk.claim()).attempt_id is None
        account = await desk.hot.account()
        waits.append(round((account.brake_until - account.now) / 1_000_000))
        assert not await desk.hot.release_brake()
        await desk.turn(waits[-1] + 1)
        assert await desk.hot.release_brake()
    assert waits == [30, 60, 120, 240, 300, 300]
    assert len((await desk.claim(1, is_probe=True)).messages) == 1


async def test_an_answer_releases_the_brake(desk: Desk) -> None:
    for _ in range(MAX_UNKNOWNS):
        await desk.hot.count_unknown()
    await desk.pending()
    await desk.hot.count_answer()
    assert (await desk.claim()).attempt_id is not None
