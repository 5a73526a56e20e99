"""Enqueueing and sending, on both databases: the thinnest path, and what a client and a ledger must agree on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from ledgers import PHONE

from smspilot_async import Client, Message, Outcome
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.outbox import KeyReused, LedgerExists, LedgerMissing, Outbox, WrongClient

if TYPE_CHECKING:
    from pathlib import Path

    from ledgers import Desk


async def test_what_is_enqueued_is_sent_once(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    record = await outbox.enqueue(Message(PHONE, "Ready"), key="order-42")
    assert (record.state, record.is_new, record.outcome) == ("pending", True, None)
    sent = await outbox.drain(client)
    assert (sent.accepted, sent.unknown) == (1, 0)
    await outbox.drain(client)
    (message,) = emulator.messages
    known = await outbox.get("order-42")
    assert known is not None
    assert (known.outcome, known.server_id, known.parts) == (Outcome.ACCEPTED, message.server_id, 1)
    assert known.price == Decimal("1.25")
    assert (message.id, message.to, message.text) == (record.id, PHONE, "Ready")


async def test_the_same_key_and_message_is_the_first_record(outbox: Outbox) -> None:
    first = await outbox.enqueue(Message(PHONE, "Ready"), key="order-42")
    again = await outbox.enqueue(Message("+7 908 796-47-81", "Ready"), key="order-42")
    assert (again.id, again.is_new) == (first.id, False)


@pytest.mark.parametrize("message", [Message("79087964782", "Ready"), Message(PHONE, "Late")])
async def test_a_key_cannot_stand_for_another_message(outbox: Outbox, message: Message) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="order-42")
    with pytest.raises(KeyReused) as caught:
        await outbox.enqueue(message, key="order-42")
    assert PHONE not in str(caught.value)


async def test_one_key_from_fifty_tasks_at_once_is_one_send(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    message = Message(PHONE, "Ready")
    records = await asyncio.gather(*(outbox.enqueue(message, key="order-42") for _ in range(50)))
    assert sum(record.is_new for record in records) == 1
    await outbox.drain(client)
    assert len(emulator.messages) == 1


async def test_a_worker_sends_what_is_enqueued_meanwhile(outbox: Outbox, client: Client) -> None:
    async with outbox.worker(client) as worker:
        await outbox.enqueue(Message(PHONE, "Code 1234"), key="login-7", kind="code", valid_for=60)
        record = await outbox.wait("login-7", timeout=30)
    assert record.outcome is Outcome.ACCEPTED
    assert worker.sent.accepted == 1


async def test_codes_leave_before_services_and_marketing(desk: Desk) -> None:
    await desk.pending("Sale", kind="marketing")
    await desk.pending("Ready")
    await desk.pending("1234", kind="code", valid_for=60)
    claims = [await desk.claim() for _ in range(3)]
    assert [[message.text for message in claim.messages] for claim in claims] == [["1234"], ["Ready"], ["Sale"]]


async def test_a_code_needs_to_know_how_long_it_is_worth_sending(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="valid_for"):
        await outbox.enqueue(Message(PHONE, "1234"), key="1", kind="code")


async def test_a_code_never_leaves_late(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "1234"), key="1", kind="code", valid_for=60)
    await desk.turn(60)
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.REFUSED, "expired")
    assert not emulator.messages


async def test_a_code_that_left_does_not_ring_late(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "1234"), key="1", kind="code", valid_for=120)
    await outbox.drain(client)
    assert [message.ttl for message in emulator.messages] == [2]


async def test_the_text_of_a_code_is_gone_once_it_is_final(desk: Desk, outbox: Outbox, client: Client) -> None:
    for key, kind in (("1", "code"), ("2", "service")):
        await outbox.enqueue(Message(PHONE, f"Text {key}"), key=key, kind=kind, valid_for=60)  # type: ignore[arg-type]
    await outbox.drain(client)
    texts = await desk.execute("SELECT text FROM " + desk.tables.message.fullname + " ORDER BY id")
    assert [text for (text,) in texts] == [None, "Text 2"]


async def test_what_is_to_leave_later_waits_in_the_ledger(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    record = await outbox.enqueue(Message(PHONE, "Soon", send_at=at), key="1")
    assert abs(record.due_at - at) < timedelta(milliseconds=1)
    await outbox.drain(client)
    assert not emulator.messages
    await desk.turn(7300)
    await outbox.drain(client)
    assert [message.send_at for message in emulator.messages] == [None]


async def test_what_was_taken_back_does_not_leave(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    record = await outbox.cancel("1")
    assert (record.outcome, record.reason) == (Outcome.NOT_SENT, "cancelled")
    await outbox.drain(client)
    assert not emulator.messages


async def test_what_has_left_cannot_be_taken_back(outbox: Outbox, client: Client) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    assert (await outbox.cancel("1")).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("call", ["cancel", "wait"])
async def test_a_key_that_is_not_known_is_said_so(outbox: Outbox, call: str) -> None:
    assert await outbox.get("nothing") is None
    with pytest.raises(KeyError):
        await getattr(outbox, call)("nothing")


async def test_waiting_ends_and_the_message_goes_on(outbox: Outbox) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    with pytest.raises(TimeoutError):
        await outbox.wait("1", timeout=0.05)
    record = await outbox.get("1")
    assert record is not None
    assert record.state == "pending"


# --- what answers mean ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.TOO_MANY_REQUESTS, Fault.BUSY_MESSAGE])
async def test_not_now_puts_it_back_for_a_while(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, fault: Fault
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    emulator.fail_next("send", fault)
    sent = await outbox.drain(client)
    assert (sent.put_back, sent.accepted) == (1, 0)
    await desk.turn(10)
    await outbox.drain(client)
    assert len(emulator.messages) == 1


async def test_what_is_put_back_for_too_long_is_given_up(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await desk.turn(3601)
    emulator.fail_next("send", Fault.BUSY)
    await outbox.drain(client, give_up_after=3600)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.NOT_SENT, "gave_up")


@pytest.mark.parametrize("fault", [Fault.ACCEPT_THEN_RESET, Fault.ACCEPT_THEN_HTML, Fault.SERVER_ERROR])
async def test_what_is_not_answered_stays_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, fault: Fault
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    emulator.fail_next("send", fault)
    assert (await outbox.drain(client)).unknown == 1
    accepted = len(emulator.messages)
    await desk.turn(100_000)
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.UNKNOWN
    assert len(emulator.messages) == accepted


async def test_a_refusal_is_final_and_says_its_code(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=223, text="Buy")
    await outbox.enqueue(Message(PHONE, "Buy"), key="1")
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.code) == (Outcome.REFUSED, 223)


async def test_an_empty_balance_pauses_the_account_and_loses_nothing(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.account.balance = Decimal(0)
    for number in range(5):
        await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
    await outbox.drain(client, packet_size=1, in_flight=1)
    status = await outbox.status()
    assert status.messages["pending"] == 5
    assert status.account.paused == "InsufficientFunds 112"


async def test_a_duplicate_after_an_earlier_attempt_is_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    emulator.fail_next("send", Fault.BUSY)
    await outbox.drain(client)
    emulator.refuse(code=243, text="Ready")
    await desk.turn(10)
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason, record.code) == (Outcome.UNKNOWN, "duplicate", 243)


async def test_a_duplicate_at_the_first_attempt_is_a_refusal(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.refuse(code=243, text="Ready")
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.REFUSED


async def test_a_packet_that_is_refused_for_one_message_finds_it_in_halves(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.unknowns.one_bad_refuses_packet = True
    emulator.refuse(code=111, to="79087964789")
    for number in range(16):
        to = "79087964789" if number == 5 else PHONE
        await outbox.enqueue(Message(to, f"Text {number}"), key=str(number))
    for _ in range(3):  # a drain ends once it has met some packets that were refused as a whole
        await outbox.drain(client, in_flight=1)
    records = [await outbox.get(str(number)) for number in range(16)]
    refused = [record.key for record in records if record is not None and record.outcome is Outcome.REFUSED]
    assert refused == ["5"]
    assert len(emulator.messages) == 15


async def test_a_packet_that_is_too_large_leaves_in_halves(
    outbox: Outbox, emulator: Emulator, recwarn: pytest.WarningsRecorder
) -> None:
    async with Client(emulator.api_key, url=emulator.url, request_style="query") as client:
        for number in range(20):
            await outbox.enqueue(Message(PHONE, f"{number} {'привет ' * 30}"), key=str(number))
        for _ in range(3):
            await outbox.drain(client, in_flight=1)
    assert len(emulator.messages) == 20
    assert "query" in str(recwarn.pop().message)


# --- the ledger and its client -------------------------------------------------------------------


async def test_a_ledger_is_made_on_purpose(ledger_url: str, client: Client, tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match="init"):
        await Outbox(ledger_url).__aenter__()
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240 - a test may block
    await Outbox.create(ledger_url, client)
    with pytest.raises(LedgerExists):
        await Outbox.create(ledger_url, client)


async def test_another_account_sends_nothing(outbox: Outbox, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    other = emulator.add_account(Account(api_key="B" * 64))
    async with Client(other.api_key, url=emulator.url) as client:
        with pytest.raises(WrongClient, match="account"):
            await outbox.drain(client)
    assert not emulator.messages


async def test_another_mode_sends_nothing(outbox: Outbox, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, test=True) as client:
        with pytest.raises(WrongClient, match="the client is test, the ledger is live"):
            await outbox.drain(client)


async def test_another_endpoint_sends_nothing(outbox: Outbox) -> None:
    async with Client("K", url="http://127.0.0.1:1/api2.php") as client:
        with pytest.raises(WrongClient, match="endpoint"):
            await outbox.drain(client)
