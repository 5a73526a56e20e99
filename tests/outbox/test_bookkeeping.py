# ruff: noqa: ASYNC240 - a test may block
"""Settling, forgetting, purging, and what a ledger says of a phone, of a month, and of who ordered what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from ledgers import PHONE, accepted
from waiting import until

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import KeyReused, Outbox, UnexpectedCount
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from pathlib import Path

    from ledgers import Desk

OTHER = "79087964782"
LEASE_OVER, DAY = 120.0, 86_400.0


async def unknowns(outbox: Outbox, client: Client, emulator: Emulator, count: int = 3) -> None:
    for number in range(count):
        await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert (await outbox.drain(client)).unknown == count


async def fate(outbox: Outbox, key: str) -> tuple[str, str | None]:
    record = await outbox.get(key)
    assert record is not None
    return record.state, record.reason


# --- settling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_", "expected"),
    [
        ("assume_sent", ("unknown", "assumed_sent")),
        ("proven_duplicate", ("unknown", "proven_duplicate")),
        ("not_sent", ("not_sent", "settled_not_sent")),
    ],
)
async def test_an_order_settles_what_is_unknown_and_a_later_proof_wins(
    desk: Desk, outbox: Outbox, as_: Any, expected: tuple[str, str]
) -> None:
    id_, attempt = await desk.in_state(State.UNKNOWN)
    await desk.turn(LEASE_OVER)
    key = (await desk.row(id_)).key
    assert await outbox.count_unsettled() == 1
    assert await outbox.settle(as_=as_, expect=1, actor="anna", why="asked them") == 1
    assert await fate(outbox, key) == expected
    assert await outbox.count_unsettled() == 0
    order = (await outbox.log())[0]
    assert (order.actor, order.action, order.detail, order.why, order.count) == ("anna", "settle", as_, "asked them", 1)
    await desk.record(attempt, accepted(id_, "17"))
    assert await fate(outbox, key) == ("accepted", None)


async def test_another_count_than_expected_changes_nothing(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await unknowns(outbox, client, emulator)
    await desk.turn(LEASE_OVER)
    for expect in (2, 4):
        with pytest.raises(UnexpectedCount, match="3 messages"):
            await outbox.settle(as_="not_sent", expect=expect)
    assert (await outbox.status()).messages["unknown"] == 3
    assert await outbox.log() == []
    assert await outbox.settle(["1", "2", "no such key"], as_="not_sent", expect=2) == 2
    assert [(await fate(outbox, str(number)))[0] for number in range(3)] == ["unknown", "not_sent", "not_sent"]


async def test_what_may_still_arrive_is_not_settled(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await unknowns(outbox, client, emulator)
    assert await outbox.count_unsettled() == 0
    with pytest.raises(UnexpectedCount):
        await outbox.settle(as_="not_sent", expect=3)


async def test_a_settlement_is_one_of_three(outbox: Outbox) -> None:
    as_: Any = "sent"
    with pytest.raises(ValueError, match="'assume_sent', 'proven_duplicate', 'not_sent'"):
        await outbox.settle(as_=as_, expect=0)


# --- one phone -----------------------------------------------------------------------------------


async def test_the_evidence_of_a_phone_is_its_messages_with_every_request_and_who_ordered_what(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ваш заказ готов", sender="INFORM"), key="order-1")
    await outbox.enqueue(Message(OTHER, "Another"), key="order-2")
    emulator.fail_next("send", Fault.BUSY)
    await outbox.drain(client)
    await desk.turn(10)
    await outbox.drain(client)
    await outbox.suppress([PHONE], source="a call")
    await outbox.halt("checking", actor="anna")
    found = await outbox.evidence("8 (908) 796-47-81")
    assert [message["key"] for message in found.messages] == ["order-1"]
    message = found.messages[0]
    assert (message["text"], message["state"], message["kind"]) == ("Ваш заказ готов", "accepted", "service")
    assert [attempt["outcome"] for attempt in message["attempts"]] == ["not_sent", "answered"]
    assert not [name for name in message if name.startswith("is_")]  # columns that PostgreSQL has for its indexes
    assert [one["source"] for one in found.suppressions] == ["a call"]
    assert [(order["actor"], order["action"]) for order in found.orders] == [("anna", "halt")]
    assert json.loads(json.dumps(found.to_json()))["messages"] == list(found.messages)
    assert all(word in str(found) for word in ("order-1", "Ваш заказ готов", "attempt", "anna", "a call"))
    assert PHONE not in repr(found)


async def test_the_evidence_of_a_phone_in_a_campaign_has_no_time_before_it_is_known(outbox: Outbox) -> None:
    await outbox.campaigns.create("promo", [(PHONE, "Да")])
    message = (await outbox.evidence(PHONE)).messages[0]
    assert (message["campaign"], message["state"]) == ("promo", "pending")
    assert "wanted_at" not in message


async def test_a_phone_that_is_not_known_has_none(outbox: Outbox) -> None:
    found = await outbox.evidence(PHONE)
    assert (found.messages, found.suppressions, found.orders) == ((), (), ())


async def test_a_phone_that_is_forgotten_is_in_no_row_and_gets_nothing_more(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Sent"), key="sent-79087964781")
    await outbox.enqueue(Message(OTHER, "Other"), key="other")
    await outbox.drain(client)
    await outbox.enqueue(Message(PHONE, "Waiting"), key="waiting")
    await outbox.suppress([PHONE], source="a call")
    forgotten = await outbox.forget(PHONE, actor="anna")
    assert (forgotten.messages, forgotten.cancelled, forgotten.in_flight) == (2, 1, 0)
    rows = await desk.execute(sa.select(desk.tables.message).order_by(desk.tables.message.c.id))
    shown = str([{name: value for name, value in row._mapping.items() if name != "hash"} for row in rows])
    assert not any(word in shown for word in (PHONE, "Sent", "Waiting", "waiting"))
    assert "Other" in shown
    await outbox.drain(client)
    assert [message.text for message in emulator.messages] == ["Sent", "Other"]
    assert (await outbox.evidence(PHONE)).messages == ()
    assert (await outbox.evidence(PHONE)).suppressions
    again = await outbox.enqueue(Message(PHONE, "Sent"), key="sent-79087964781")
    assert (again.is_new, again.state) == (False, "accepted")
    with pytest.raises(KeyReused):
        await outbox.enqueue(Message(PHONE, "Another"), key="sent-79087964781")


async def test_what_is_on_the_wire_is_forgotten_afterwards(desk: Desk, outbox: Outbox) -> None:
    id_ = await desk.pending("Secret")
    claim = await desk.claim()
    assert (await outbox.forget(PHONE)).in_flight == 1
    await desk.record(claim.attempt_id, accepted(id_, "1"))
    assert (await outbox.forget(PHONE)).messages == 1
    assert (await desk.row(id_)).text is None


async def test_what_was_forgotten_is_in_no_file_of_sqlite(tmp_path: Path, client: Client) -> None:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        await outbox.enqueue(Message(PHONE, "A text to forget"), key="key to forget")
        await outbox.drain(client)
        await outbox.forget(PHONE)
    words = (PHONE.encode(), b"to forget")
    found = [one.name for one in tmp_path.iterdir() if any(word in one.read_bytes() for word in words)]
    assert found == []


# --- purging -------------------------------------------------------------------------------------


async def test_a_purge_removes_what_is_old_and_keeps_its_keys_and_what_is_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Old"), key="old")
    await outbox.drain(client)
    await outbox.enqueue(Message(PHONE, "Unknown"), key="unknown")
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client)
    await desk.turn(50 * DAY)
    await outbox.enqueue(Message(PHONE, "New"), key="new")
    await outbox.drain(client)
    before = datetime.now(UTC) + timedelta(days=5)
    purged = await outbox.purge(before, actor="anna")
    assert (purged.messages, purged.attempts) == (1, 1)
    assert await outbox.get("old") is None
    assert [(await fate(outbox, key))[0] for key in ("unknown", "new")] == ["unknown", "accepted"]
    again = await outbox.enqueue(Message(PHONE, "Old"), key="old")
    assert (again.is_new, again.state) == (False, "accepted")
    with pytest.raises(KeyReused):
        await outbox.enqueue(Message(PHONE, "Another"), key="old")
    await outbox.drain(client)  # that an attempt is gone is no sign of a restore
    assert len(emulator.messages) == 3
    assert (await outbox.log())[0].action == "purge"


async def test_a_worker_purges_what_is_old_if_it_is_asked_to(desk: Desk, outbox: Outbox, client: Client) -> None:
    await outbox.enqueue(Message(PHONE, "Old"), key="old")
    await outbox.drain(client)
    await desk.turn(50 * DAY)
    await outbox.enqueue(Message(PHONE, "New"), key="new")
    async with outbox.worker(client):
        await outbox.wait("new")
    assert await outbox.get("old") is not None

    async def purges() -> list[tuple[str, int | None]]:
        return [(order.actor, order.count) for order in await outbox.log() if order.action == "purge"]

    async with outbox.worker(client, purge_after=timedelta(days=45)):
        await until(purges)
    assert await purges() == [("worker", 1)]
    assert await outbox.get("old") is None
    assert await outbox.get("new") is not None


async def test_nothing_younger_than_callbacks_may_be_is_purged(outbox: Outbox, client: Client) -> None:
    with pytest.raises(ValueError, match="41 days"):
        async with outbox.worker(client, purge_after=timedelta(days=40)):
            pass
    with pytest.raises(ValueError, match="41 days"):
        await outbox.purge(datetime.now(UTC) - timedelta(days=40))
    with pytest.raises(ValueError, match="zone"):
        await outbox.purge(datetime(2020, 1, 1))  # noqa: DTZ001 - that is the point


# --- money ---------------------------------------------------------------------------------------


async def test_a_statement_adds_up_to_the_kopeck(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    for number in range(7):
        sender = "INFORM" if number % 2 else None
        await outbox.enqueue(Message(PHONE, f"{number} {'привет ' * 15 * number}", sender=sender), key=f"s{number}")
    await outbox.enqueue(Message(PHONE, "1234"), key="code", kind="code", valid_for=60)
    await outbox.enqueue(Message(PHONE, "Sale"), key="sale", kind="marketing")
    await outbox.drain(client)
    emulator.refuse(code=223, text="Bad")
    await outbox.enqueue(Message(PHONE, "Bad"), key="bad")
    await outbox.drain(client)
    await unknowns(outbox, client, emulator, 2)
    month = datetime.now(UTC).astimezone().strftime("%Y-%m")
    statement = await outbox.statement(month)
    settled = [message for message in emulator.messages if not message.text.startswith("Text ")]
    assert statement.total.cost == sum((Decimal(message.price) for message in settled), Decimal(0))
    assert statement.total.parts == sum(message.parts for message in settled)
    assert (statement.total.accepted, statement.total.refused, statement.total.unknown) == (9, 1, 2)
    found = {(row.kind, row.sender): row.accepted for row in statement.rows}
    assert found == {("code", ""): 1, ("marketing", ""): 1, ("service", ""): 4, ("service", "INFORM"): 3}
    told = statement.to_json()
    assert Decimal(told["total"]["cost"]) == sum(Decimal(row["cost"]) for row in told["rows"])
    assert (await outbox.statement("2020-01")).rows == ()


@pytest.mark.parametrize("month", ["2026", "2026-13", "11-2026", ""])
async def test_a_month_is_a_year_and_a_month(outbox: Outbox, month: str) -> None:
    with pytest.raises(ValueError, match="2026-11"):
        await outbox.statement(month)


async def test_the_log_shows_the_newest_order_first(outbox: Outbox) -> None:
    await outbox.halt("wrong text", actor="anna")
    await outbox.release("mended", actor="boris")
    log = await outbox.log()
    assert [(order.actor, order.action, order.why) for order in log] == [
        ("boris", "release", "mended"),
        ("anna", "halt", "wrong text"),
    ]
    assert [order.action for order in await outbox.log(1)] == ["release"]
    assert log[0].at.utcoffset() == timedelta(0)
