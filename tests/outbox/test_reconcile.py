"""Unknown messages become accepted by the vendor's own list, where a row can mean one message and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from ledgers import PHONE

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Outbox, UnexpectedCount
from smspilot_async.outbox._reconcile import read_cabinet

if TYPE_CHECKING:
    from ledgers import Desk

OTHER = "79087964782"
MOSCOW = timezone(timedelta(hours=3))


async def unknown(outbox: Outbox, client: Client, emulator: Emulator, *messages: Message) -> None:
    for number, message in enumerate(messages):
        await outbox.enqueue(message, key=str(number))
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert (await outbox.drain(client)).unknown == len(messages)


def cabinet(emulator: Emulator, *, encoding: str = "cp1251", ahead: timedelta = timedelta(0)) -> bytes:
    """What the gateway has taken, as a person would export it."""
    now = (datetime.now(UTC) + ahead).astimezone(MOSCOW).strftime("%d.%m.%Y %H:%M")
    lines = ["ID;Дата отправки;Телефон;Текст;Статус"]
    lines += [f"{one.server_id};{now};+{one.to};{one.text};Доставлено" for one in emulator.messages]
    return "\r\n".join(lines).encode(encoding)


async def states(outbox: Outbox, count: int) -> list[str]:
    records = [await outbox.get(str(number)) for number in range(count)]
    return [record.state for record in records if record is not None]


@pytest.mark.parametrize("encoding", ["cp1251", "utf-8", "utf-8-sig"])
async def test_what_is_in_the_list_is_accepted_under_its_number(
    outbox: Outbox, client: Client, emulator: Emulator, encoding: str
) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ваш заказ готов"), Message(OTHER, "Ваш заказ готов"))
    content = cabinet(emulator, encoding=encoding)
    found = await outbox.reconcile(content)
    assert (len(found.accepted), found.ambiguous, found.missing, found.unread) == (2, {}, (), ())
    assert await states(outbox, 2) == ["unknown", "unknown"]  # it was only looked at
    await outbox.reconcile(content, expect=2, actor="anna")
    assert await states(outbox, 2) == ["accepted", "accepted"]
    records = [await outbox.get(str(number)) for number in range(2)]
    assert [record.server_id for record in records if record] == [one.server_id for one in emulator.messages]
    assert (await outbox.log())[0].action == "reconcile"


async def test_another_count_than_expected_changes_nothing(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"))
    with pytest.raises(UnexpectedCount):
        await outbox.reconcile(cabinet(emulator), expect=2)
    assert await states(outbox, 1) == ["unknown"]


async def test_what_could_be_another_stays_unknown_and_is_listed(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"), Message(PHONE, "Ready"), Message(OTHER, "Ready"))
    content = cabinet(emulator)
    found = await outbox.reconcile(content, expect=1)
    assert await states(outbox, 3) == ["unknown", "unknown", "accepted"]
    assert set(found.ambiguous) == {1, 2}
    assert found.ambiguous[1] == (2, 3)


async def test_a_row_of_a_message_that_is_known_to_be_accepted_proves_no_other(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="first")
    await outbox.drain(client)
    await outbox.enqueue(Message(PHONE, "Ready"), key="0")
    emulator.fail_next("send", Fault.RESET_BEFORE_READ)
    await outbox.drain(client)
    found = await outbox.reconcile(cabinet(emulator))
    assert (found.accepted, found.ambiguous, found.missing) == ({}, {}, (2,))


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
async def test_a_row_of_another_time_proves_nothing(
    outbox: Outbox, client: Client, emulator: Emulator, ahead: timedelta
) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"))
    found = await outbox.reconcile(cabinet(emulator, ahead=ahead))
    assert (found.accepted, found.missing) == ({}, (1,))


async def test_another_text_proves_nothing(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"))
    found = await outbox.reconcile(f"phone,text\n{PHONE},Another\n".encode())
    assert found.accepted == {}


async def test_a_row_that_says_it_was_not_taken_proves_nothing(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"))
    found = await outbox.reconcile(f"phone\ttext\tstatus\n{PHONE}\tReady\tОшибка\n".encode())
    assert (found.accepted, found.unread) == ({}, (2,))


async def test_a_proven_message_is_followed(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await unknown(outbox, client, emulator, Message(PHONE, "Ready"))
    await outbox.reconcile(cabinet(emulator), expect=1)
    emulator.set_status(emulator.messages[0].server_id, 2)
    await desk.turn(60)
    assert (await outbox.follow(client, timeout=0)).changed == 1


def test_lines_that_cannot_be_read_are_said() -> None:
    rows, unread = read_cabinet(
        b"phone;date;text\n79087964781;01.12.2026 10:00;a\nnobody;01.12.2026 10:00;b\n79087964781;soon;c\n\n"
    )
    assert ([row.line for row in rows], unread) == ([2], {3: "no phone", 4: "no time that can be read"})


@pytest.mark.parametrize("header", ["", "date;text", "phone;price"])
def test_a_list_without_the_columns_that_are_needed_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="column of phones"):
        read_cabinet(f"{header}\n1;2\n".encode())


EXPORT = """Отчёт по отправленным сообщениям;;;;;;
Период: 28.11.2026 - 28.11.2026;;;;;;
№;ID SMS;Дата и время отправки;Телефон получателя;Имя отправителя;Текст SMS;Статус доставки;Дата доставки
1;900000001;28.11.2026 14:03:22;+7 908 796-47-81;MYSHOP;"Привет; это ""мы""
и ещё строка";Доставлено;28.11.2026 14:03:40
2;900000002;28.11.2026 14:03:23;8 (908) 796 47 82 ;MYSHOP;Привет;Доставлено;28.11.2026 14:03:41
3;900000003;28.11.2026 14:03:23;="79087964783";MYSHOP;Привет;В пути;
4;900000004;28.11.2026 14:03;9087964784;MYSHOP;Привет;Ошибка: нет средств;
5;900000005;вчера;79087964785;MYSHOP;Привет;В пути;
6;900000006;28.11.2026 14:03:23;MYSHOP;MYSHOP;Привет;В пути;
;;;;;;;
Итого;6;;;;;;
"""


@pytest.mark.parametrize("encoding", ["cp1251", "utf-8-sig"])
def test_a_list_is_read_as_a_cabinet_would_export_it(encoding: str) -> None:
    rows, unread = read_cabinet(EXPORT.replace("\n", "\r\n").encode(encoding))
    at = int(datetime(2026, 11, 28, 14, 3, 22, tzinfo=MOSCOW).timestamp()) * 1_000_000
    assert [(row.line, row.phone, row.text) for row in rows] == [
        (5, "79087964781", 'Привет; это "мы" и ещё строка'),
        (6, "79087964782", "Привет"),
        (7, "79087964783", "Привет"),
    ]
    assert rows[0].time == at
    assert {row.server_id for row in rows} == {None}  # the column may hold another number
    assert unread == {
        8: "not taken, by its status",
        9: "no time that can be read",
        10: "no phone",
        12: "no phone",
    }


def test_a_date_and_an_hour_may_stand_in_two_columns() -> None:
    rows, unread = read_cabinet("sep=;\nВремя;Дата;Номер;ID\n14:03:22;28.11.2026;89087964781;7\n".encode("cp1251"))
    at = int(datetime(2026, 11, 28, 14, 3, 22, tzinfo=MOSCOW).timestamp()) * 1_000_000
    assert ([(row.line, row.time, row.server_id) for row in rows], unread) == ([(3, at, "7")], {})


async def test_why_a_line_was_not_used_is_said(outbox: Outbox) -> None:
    found = await outbox.reconcile(EXPORT.encode("cp1251"))
    assert (found.unread, found.unread_why[10]) == ((8, 9, 10, 12), "no phone")


@pytest.mark.parametrize("title", ["Статус", "Статус доставки", "Состояние SMS", "Status of delivery"])
def test_a_row_that_was_not_taken_is_known_by_whatever_its_status_is_called(title: str) -> None:
    rows, unread = read_cabinet(f"Телефон;Текст;{title}\n79087964781;Привет;Отклонено\n".encode("cp1251"))
    assert (rows, unread) == ([], {2: "not taken, by its status"})
