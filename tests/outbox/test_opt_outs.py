"""Who sends STOP gets no marketing any more: a listener in the worker, which goes on after a restart."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE

from smspilot_async import Client, Message
from smspilot_async.outbox._opt_outs import is_stop

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async.emulator import Emulator
    from smspilot_async.outbox import Outbox

OTHER = "79087964782"
STOPS = [
    "СТОП",
    "стоп",
    "Stop",
    "STOP!",
    " стоп. ",
    "С Т О П",
    "«СТОП»",
    "CTOП",
    "СTОП",
    "ЅТОР",
    "S.T.O.P",
    "ＳＴＯＰ",
    "СТ0П",
]
OTHERS = [
    "",
    "СТОП СМС",
    "не стоп",
    "стопка",
    "stopped",
    "СТО",
    "топ",
    "STOP 2",
    "нестоп",
    "старт",
    "СТОР",
    "стоп стоп",
    None,
]


@pytest.mark.parametrize("text", STOPS)
def test_it_is_stop_however_it_is_written(text: str) -> None:
    assert is_stop(text)


@pytest.mark.parametrize("text", OTHERS)
def test_another_text_is_never_taken_for_it(text: str | None) -> None:
    assert not is_stop(text)


async def suppressed(desk: Desk) -> list[tuple[str, str]]:
    table = desk.tables.suppression
    return [tuple(row) for row in await desk.execute(sa.select(table.c.phone, table.c.list).order_by(table.c.phone))]


async def opt_outs(desk: Desk) -> int:
    orders = desk.tables.orders
    rows = await desk.execute(sa.select(sa.func.count()).where(orders.c.action == "opt_out"))
    return int(rows[0][0])


async def until_suppressed(desk: Desk, count: int) -> None:
    async with asyncio.timeout(5):
        while len(await suppressed(desk)) < count:
            await asyncio.to_thread(time.sleep, 0.02)  # in a process's own time: the worker polls a real socket


async def test_who_sends_stop_gets_no_marketing_and_still_gets_codes(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.inbound(OTHER, "Когда откроетесь?")
    emulator.inbound(PHONE, "Стоп!")
    async with outbox.worker(client, opt_outs=True):
        await until_suppressed(desk, 1)
    assert await suppressed(desk) == [(PHONE, "marketing")]
    await outbox.enqueue(Message(PHONE, "Sale"), key="sale", kind="marketing")
    await outbox.enqueue(Message(PHONE, "1234"), key="code", kind="code", valid_for=60)
    await outbox.enqueue(Message(OTHER, "Sale"), key="other", kind="marketing")
    await outbox.drain(client)
    assert sorted((message.to, message.text) for message in emulator.messages) == [(PHONE, "1234"), (OTHER, "Sale")]
    record = await outbox.get("sale")
    assert record is not None
    assert (record.state, record.reason) == ("refused", "suppressed")


async def test_each_stop_is_taken_once_and_what_came_meanwhile_after_a_restart(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.inbound(PHONE, "STOP")
    async with outbox.worker(client, opt_outs=True):
        await until_suppressed(desk, 1)
    await outbox.unsuppress([PHONE])
    emulator.inbound(OTHER, "СТОП")
    async with outbox.worker(client, opt_outs=True):
        await until_suppressed(desk, 1)
    assert await suppressed(desk) in ([(OTHER, "marketing")], [(PHONE, "marketing"), (OTHER, "marketing")])


async def test_two_stops_of_one_phone_are_one_opt_out(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.inbound(PHONE, "STOP")
    emulator.inbound(PHONE, "СТОП")
    emulator.inbound(OTHER, "стоп")
    async with outbox.worker(client, opt_outs=True):
        await until_suppressed(desk, 2)
    assert await opt_outs(desk) == 2


async def test_without_being_asked_a_worker_reads_no_inbound_messages(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.inbound(PHONE, "STOP")
    async with outbox.worker(client):
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
        await outbox.wait("1", timeout=20)
    assert await suppressed(desk) == []
    assert [sms.seen for sms in await client.inbound()] == [False]
