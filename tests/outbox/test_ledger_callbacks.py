"""A callback that any process receives: a delivery status in the ledger, and a proof of acceptance."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from ledgers import PHONE, accepted

from smspilot_async import Client, Message, Outcome
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

BASE, SECRET = "https://app.example/smspilot", "a secret for the tests alone"
NEVER = timedelta(days=1000)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator whose messages change their status only when a test says so."""
    async with Emulator.serve(port=0, loop_protection=None, seed=1, handover=NEVER, delivery=NEVER) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    """The sender's client: its inbox is never called."""
    async with (
        CallbackInbox(BASE, secret=SECRET) as inbox,
        Client(emulator.api_key, url=emulator.url, callbacks=inbox) as client,
    ):
        yield client


@pytest.fixture
async def web(outbox: Outbox, ledger_url: str) -> AsyncIterator[CallbackInbox]:
    """The inbox of another process, without a client: its web application."""
    del outbox  # it has made the ledger
    async with Outbox(ledger_url) as other, CallbackInbox(BASE, secret=SECRET, sink=other.callback_sink()) as inbox:
        yield inbox


async def call(
    inbox: CallbackInbox, emulator: Emulator, status: int, *, number: int = 0, server_id: str | None = None
) -> int:
    """Call an inbox about a message of the gateway's, and return the HTTP status of the answer."""
    message = emulator.messages[number]
    url, id_ = message.callback, server_id or message.server_id
    assert url is not None

    async def body() -> AsyncIterator[bytes]:
        yield b""

    query = urlencode({"server_id": id_, "status": status, "error": 0}).encode()
    return (await inbox.answer("GET", url.removeprefix("https://app.example"), query, body())).status


async def unknown(outbox: Outbox, client: Client, emulator: Emulator, key: str = "1") -> None:
    """A message that the gateway has accepted, and whose answer was lost."""
    await outbox.enqueue(Message(PHONE, "Ready"), key=key)
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert (await outbox.drain(client)).unknown == 1


async def resend(desk: Desk) -> None:
    """Order what is unknown to be sent again."""
    message = desk.tables.message
    unknowns = message.c.state == State.UNKNOWN.value
    await desk.execute(sa.update(message).where(unknowns).values(state=State.PENDING.value, settled_at=None))


async def test_a_callback_writes_the_delivery_status(
    outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    for status, expected in ((1, 1), (2, 2), (1, 2), (-1, 2)):
        assert await call(web, emulator, status) == 200
        record = await outbox.get("1")
        assert record is not None
        assert record.status == expected
        assert record.status_at is not None


async def test_a_person_on_call_sees_when_the_last_one_came(
    desk: Desk, outbox: Outbox, client: Client, web: CallbackInbox, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    assert (await outbox.overview()).called_at is None
    await call(web, emulator, 1)
    first = (await outbox.overview()).called_at
    assert first is not None
    await call(web, emulator, 1)
    assert (await outbox.overview()).called_at == first  # all need that row: it is written now and then
    await desk.turn(11)
    await call(web, emulator, 2)
    last = (await outbox.overview()).called_at
    assert last is not None
    assert last - first > timedelta(seconds=10)


async def test_a_number_that_the_answer_did_not_name_is_no_call_of_the_gateway(
    outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.drain(client)
    assert await call(web, emulator, 2, server_id="99999") == 404
    record = await outbox.get("1")
    assert record is not None
    assert (record.status, record.sent_twice) == (0, False)


async def test_a_callback_proves_that_an_unknown_message_was_accepted(
    outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await unknown(outbox, client, emulator)
    assert await call(web, emulator, 1) == 200
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.ACCEPTED, None)
    assert (record.server_id, record.status) == (emulator.messages[0].server_id, 1)


async def test_a_callback_that_knows_nothing_proves_acceptance_all_the_same(
    outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await unknown(outbox, client, emulator)
    assert await call(web, emulator, -2) == 200
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.status) == (Outcome.ACCEPTED, None)


@pytest.mark.parametrize("is_recovered", [False, True], ids=["before its lease is over", "after it"])
async def test_a_callback_proves_what_a_killed_sender_has_sent(
    desk: Desk, client: Client, emulator: Emulator, web: CallbackInbox, *, is_recovered: bool
) -> None:
    id_ = await desk.pending("Ready")
    await desk.claim(token="killed")
    await desk.send(client, id_, "Ready", token="killed")
    if is_recovered:
        await desk.turn(61)
        assert await desk.hot.recover() == 1
    assert await call(web, emulator, 1) == 200
    row = await desk.row(id_)
    assert (row.state, row.server_id) == (State.ACCEPTED, emulator.messages[0].server_id)
    await desk.turn(1000)
    assert await desk.hot.recover() == 0
    assert (await desk.row(id_)).state == State.ACCEPTED


async def test_a_callback_may_come_before_the_answer_is_recorded(
    desk: Desk, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    id_ = await desk.pending("Ready")
    claim = await desk.claim(token="slow")
    await desk.send(client, id_, "Ready", token="slow")
    for _ in range(2):  # the gateway may call again
        assert await call(web, emulator, 1) == 200
    await desk.record(claim.attempt_id, accepted(id_, emulator.messages[0].server_id))
    row = await desk.row(id_)
    assert (row.state, row.sent_twice, row.parts, row.status) == (State.ACCEPTED, False, 1, 1)


async def test_what_waits_to_be_sent_again_is_not_once_the_first_time_is_proven(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await unknown(outbox, client, emulator)
    await resend(desk)
    assert await call(web, emulator, 1) == 200
    await outbox.drain(client)
    assert len(emulator.messages) == 1
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.sent_twice) == (Outcome.ACCEPTED, False)


async def test_a_proof_that_comes_after_it_was_sent_again_is_recorded_as_sent_twice(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    await unknown(outbox, client, emulator)
    await resend(desk)
    await outbox.drain(client)
    assert len(emulator.messages) == 2
    record = await outbox.get("1")
    assert record is not None
    assert not record.sent_twice
    assert await call(web, emulator, 1, number=0) == 200
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.sent_twice) == (Outcome.ACCEPTED, True)
    assert record.server_id == emulator.messages[1].server_id


async def test_a_send_without_the_ledger_changes_no_message_of_the_same_number(
    desk: Desk, client: Client, emulator: Emulator, web: CallbackInbox
) -> None:
    id_ = await desk.pending("Ready")
    await client.send(PHONE, "Another", id=id_)
    assert await call(web, emulator, 2) == 200
    assert (await desk.row(id_)).state == State.PENDING


async def test_a_ledger_that_is_away_lets_the_gateway_call_again(
    outbox: Outbox, client: Client, emulator: Emulator, web: CallbackInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(outbox, client, emulator)
    with monkeypatch.context() as away:
        away.setattr(Outbox, "_now", lambda *_: (_ for _ in ()).throw(OSError()))
        assert await call(web, emulator, 1) == 503
    assert await call(web, emulator, 1) == 200
    record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.ACCEPTED
