"""A call turns an unknown into an accepted message, and only the gateway's own echo proves it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from calling import BASE, SECRET, call
from listeners import Listener
from manual_clock import ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT, failure_of

from smspilot_async import (
    Accepted,
    Client,
    Hooks,
    InsufficientFunds,
    Message,
    OutcomeUnknown,
    Reason,
    RequestInfo,
    RequestOutcome,
    SendResult,
    SentMessage,
    Unknown,
)
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.errors import send_nonce_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

NEVER = timedelta(days=1000)


@attrs.frozen
class Desk:
    emulator: Emulator
    client: Client
    inbox: CallbackInbox
    listener: Listener
    clock: ManualClock

    def lose(self, fault: Fault = Fault.ACCEPT_THEN_RESET) -> None:
        """The next answer to a send is lost, after its message was accepted."""
        self.emulator.fail_next("send", fault)

    def url(self, number: int = 0) -> str | None:
        return self.emulator.messages[number].callback

    def server_id(self, number: int = 0) -> str:
        return self.emulator.messages[number].server_id


@pytest.fixture
async def desk(manual_clock: ManualClock) -> AsyncIterator[Desk]:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    listener = Listener()
    async with (
        CallbackInbox(BASE, secret=SECRET) as inbox,
        Client(
            emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox, hooks=[listener]
        ) as client,
    ):
        yield Desk(emulator, client, inbox, listener, manual_clock)


async def unknown(work: Coroutine[Any, Any, object]) -> OutcomeUnknown:
    error = await failure_of(work)
    assert isinstance(error, OutcomeUnknown)
    return error


async def test_the_call_makes_it_accepted_with_the_right_number_for_hooks_and_waiters(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT, id=7))
    waiting = asyncio.ensure_future(desk.inbox.wait_accepted(error))
    await idle()
    assert await call(desk.inbox, desk.url(), desk.server_id(), 1) == 200
    sent = await waiting
    assert (sent.id, sent.server_id, sent.accepted) == (7, desk.server_id(), True)
    await idle()
    assert desk.listener.kinds == ["Unknown", "Accepted"]
    assert desk.listener.results[1] == Accepted(desk.listener.results[0].item, sent)
    assert await desk.inbox.wait_accepted(error) == sent
    assert await desk.inbox.wait_accepted(7) == sent


async def test_hooks_that_do_not_wait_have_been_called_when_the_waiter_goes_on(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT))

    async def heard_by_then() -> list[str]:
        await desk.inbox.wait_accepted(error)
        return desk.listener.kinds

    waiting = asyncio.ensure_future(heard_by_then())
    await idle()
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    assert await waiting == ["Unknown", "Accepted"]


async def test_it_can_then_be_tracked_like_any_other(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT))
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    sent = await desk.inbox.wait_accepted(error)
    async with desk.client.track(sent, source=desk.inbox) as changes:
        await call(desk.inbox, desk.url(), desk.server_id(), 2)
        assert [status.status async for status in changes][-1] == 2
    assert await call(desk.inbox, desk.url(), "999", -1) == 404  # the number is known now


async def test_each_message_of_a_lost_packet_is_found_by_its_own_call(desk: Desk) -> None:
    desk.lose()
    await unknown(desk.client.send_packet([Message(PHONE, "one", id=1), Message(OTHER_PHONE, "two", id=2)]))
    await call(desk.inbox, desk.url(1), desk.server_id(1), 1)
    assert (await desk.inbox.wait_accepted(2)).server_id == desk.server_id(1)
    with pytest.raises(TimeoutError):
        await desk.clock.drive(with_timer(desk, desk.inbox.wait_accepted(1, timeout=60)))


async def with_timer(desk: Desk, work: Coroutine[Any, Any, SentMessage]) -> SentMessage:
    """Let a minute go by while the work waits."""
    task = asyncio.ensure_future(work)
    await desk.clock.sleep(61)
    return await task


async def test_a_call_that_is_faster_than_the_broken_answer_counts_too(desk: Desk) -> None:
    desk.emulator.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(failure_of(desk.client.send(PHONE, TEXT)))
    await idle()
    assert await call(desk.inbox, desk.url(), desk.server_id(), 1) == 200
    await desk.clock.advance(31)  # the request times out: the answer never came
    error = await sending
    assert isinstance(error, OutcomeUnknown)
    sent = await desk.inbox.wait_accepted(error, timeout=1)
    assert sent.server_id == desk.server_id()
    desk.emulator.release()


async def test_a_number_that_belongs_to_another_message_proves_nothing(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT, id=7))
    async with Client(desk.emulator.api_key, url=desk.emulator.url, transport=desk.emulator.transport) as stranger:
        foreign = await stranger.send(PHONE, TEXT, id=8)
    assert await call(desk.inbox, desk.url(), foreign.server_id, 2) == 200  # that cannot be known yet
    await idle()
    assert desk.listener.kinds == ["Unknown"]
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    assert (await desk.inbox.wait_accepted(error)).server_id == desk.server_id()


async def test_the_number_of_an_earlier_send_of_the_same_id_proves_nothing(desk: Desk) -> None:
    earlier = await desk.client.send(PHONE, TEXT, id=7)
    desk.lose()
    await unknown(desk.client.send(PHONE, TEXT, id=7))
    assert await call(desk.inbox, desk.url(1), earlier.server_id, 2) == 404
    await call(desk.inbox, desk.url(0), earlier.server_id, 2)
    await idle()
    assert desk.listener.kinds == ["Accepted", "Unknown"]


async def test_a_check_that_fails_is_made_again_later(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT))
    desk.emulator.fail_next("check", Fault.SERVER_ERROR, times=4)
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    sent = await desk.clock.drive(desk.inbox.wait_accepted(error))
    assert sent.server_id == desk.server_id()


async def test_an_echo_without_an_id_proves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.lose()
    await unknown(desk.client.send(PHONE, TEXT))
    monkeypatch.setattr(desk.emulator, "exchange", answering_with_rows(desk.emulator, "check", id=0))
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    await idle()
    assert desk.listener.kinds == ["Unknown"]


def answering_with_rows(emulator: Emulator, command: str, **changes: Any) -> Any:
    """Let it answer with other rows than its own: with these values, or without what is ``None``."""
    exchange = emulator.exchange

    def answer(request: Any) -> Any:
        reply = exchange(request)
        document = json.loads(reply.body)
        document[command] = [
            {name: value for name, value in {**row, **changes}.items() if value is not None}
            for row in document[command]
        ]
        return attrs.evolve(reply, body=json.dumps(document).encode())

    return answer


async def test_time_that_is_up_leaves_it_unknown_and_says_so(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT))
    waiting = asyncio.ensure_future(failure_of(desk.inbox.wait_accepted(error, timeout=60)))
    await desk.clock.advance(61)
    assert await waiting is error


async def test_a_send_whose_caller_ran_out_of_time_is_reported_when_its_answer_comes_after_all(desk: Desk) -> None:
    error = await deadline_error(desk, desk.client.send(PHONE, TEXT, deadline=5))
    assert error.reason is Reason.DEADLINE
    waiting = asyncio.ensure_future(desk.inbox.wait_accepted(error))
    await idle()
    desk.emulator.release()
    assert (await waiting).server_id == desk.server_id()


async def test_a_wait_after_the_late_answer_returns_what_it_said(desk: Desk) -> None:
    desk.emulator.fail_next("send", Fault.SLOW, times=3)
    two = [Message(OTHER_PHONE, "1", id=1), Message(OTHER_PHONE, "2", id=2)]
    sending = asyncio.ensure_future(failure_of(desk.client.send(PHONE, TEXT, deadline=5)))
    packet = asyncio.ensure_future(failure_of(desk.client.send_packet(two, deadline=5)))
    cancelled = asyncio.ensure_future(desk.client.send(PHONE, "cancelled", id=3))
    await desk.clock.advance(6)
    error = await sending
    assert isinstance(error, OutcomeUnknown)
    assert isinstance(await packet, OutcomeUnknown)
    cancelled.cancel()
    await idle()
    desk.emulator.release()
    await idle()
    assert desk.listener.kinds == ["Accepted"] * 4
    numbers = {message.id: message.server_id for message in desk.emulator.messages}
    assert (await desk.inbox.wait_accepted(error)).server_id == numbers[error.message_id]
    for id_ in (1, 2, 3):
        assert (await desk.inbox.wait_accepted(id_)).server_id == numbers[id_]


async def test_a_wait_after_the_late_answer_was_a_refusal_raises_it(desk: Desk) -> None:
    desk.emulator.account.balance = Decimal(0)
    error = await deadline_error(desk, desk.client.send(PHONE, TEXT, deadline=5))
    desk.emulator.release()
    await idle()
    for _ in range(2):
        assert isinstance(await failure_of(desk.inbox.wait_accepted(error)), InsufficientFunds)


async def test_only_the_last_late_answers_are_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._proofs._SENDS_REMEMBERED", 2)
    three = [Message(PHONE, str(id_), id=id_) for id_ in (1, 2, 3)]
    await deadline_error(desk, desk.client.send_packet(three, deadline=5))
    desk.emulator.release()
    await idle()
    assert (await desk.inbox.wait_accepted(3)).id == 3
    with pytest.raises(LookupError):
        await desk.inbox.wait_accepted(1)


async def test_there_is_nothing_to_wait_for_where_the_answer_is_known(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT, id=7)
    for id_ in (7, 8):
        with pytest.raises(LookupError):
            await desk.inbox.wait_accepted(id_)


async def test_an_inbox_that_was_closed_and_opened_again_still_finds_it(desk: Desk) -> None:
    desk.lose()
    error = await unknown(desk.client.send(PHONE, TEXT))
    await desk.inbox.aclose()
    async with desk.inbox:
        assert await call(desk.inbox, desk.url(), desk.server_id(), 1) == 200
        assert (await desk.inbox.wait_accepted(error, timeout=1)).server_id == desk.server_id()


async def test_hooks_get_the_unknown_before_they_get_the_accepted(desk: Desk) -> None:
    heard: list[tuple[int | None, str]] = []

    class Slow(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            for _ in range(200):
                await asyncio.sleep(0)  # a database, say
            heard.append((result.item.id, type(result).__name__))

    client = Client(
        desk.emulator.api_key,
        url=desk.emulator.url,
        transport=desk.emulator.transport,
        callbacks=desk.inbox,
        hooks=[Slow()],
    )
    desk.emulator.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(
        failure_of(client.send_packet([Message(PHONE, "1", id=1), Message(PHONE, "2", id=2)]))
    )
    await idle()
    for number in (0, 1):
        await call(desk.inbox, desk.url(number), desk.server_id(number), 1)
    await desk.clock.advance(31)
    await sending
    assert sorted(heard) == [(1, "Accepted"), (1, "Unknown"), (2, "Accepted"), (2, "Unknown")]
    for id_ in (1, 2):
        assert [kind for known, kind in heard if known == id_] == ["Unknown", "Accepted"]
    desk.emulator.release()
    await client.aclose()


class Writing(Hooks):
    """Records its results, on a slow disk.

    Attributes:
        slow: The kind of result for which the disk takes long.
        begun: Set once it writes that.
        disk: To be set when the disk has done it.
        written: What is on the disk.
    """

    def __init__(self, slow: str) -> None:
        self.slow = slow
        self.begun = asyncio.Event()
        self.disk = asyncio.Event()
        self.written: list[str] = []

    async def on_result(self, result: SendResult[Message]) -> None:
        kind = type(result).__name__
        if kind == self.slow:
            self.begun.set()
            await self.disk.wait()
        self.written.append(kind)

    async def aclose(self) -> None:
        self.written.append("closed")


@pytest.mark.parametrize("patience", [None, 3.0])
@pytest.mark.parametrize("first", ["inbox", "client"])
async def test_closing_does_not_cut_off_a_hook_that_writes_down_the_proof(
    desk: Desk, first: str, patience: float | None
) -> None:
    writing = Writing("Accepted")
    emulator = desk.emulator
    client = Client(
        emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=desk.inbox, hooks=[writing]
    )
    desk.lose()
    await unknown(client.send(PHONE, TEXT))
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    await asyncio.wait_for(writing.begun.wait(), 5)
    if first == "inbox":
        await desk.inbox.aclose()
    closing = asyncio.ensure_future(client.aclose(timeout=patience))
    await idle()
    assert not closing.done()
    writing.disk.set()
    await closing
    assert writing.written == ["Unknown", "Accepted", "closed"]
    assert client.health().open_unknowns == 0


async def test_a_proof_that_comes_while_the_client_closes_reaches_the_hooks_before_the_end(desk: Desk) -> None:
    writing = Writing("Accepted")
    emulator = desk.emulator
    client = Client(
        emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=desk.inbox, hooks=[writing]
    )
    desk.lose()
    await unknown(client.send(PHONE, TEXT))
    emulator.fail_next("*", Fault.SLOW, times=2)
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    await idle()  # the question is on its way
    sending = asyncio.ensure_future(failure_of(client.send(OTHER_PHONE, "refused")))
    emulator.refuse(code=223, to=OTHER_PHONE)
    await idle()
    closing = asyncio.ensure_future(client.aclose())
    await idle()
    emulator.release()
    await asyncio.wait_for(writing.begun.wait(), 5)
    await sending
    await idle()
    assert not closing.done()
    writing.disk.set()
    await closing
    assert writing.written == ["Unknown", "Refused", "Accepted", "closed"]


async def test_closing_the_inbox_between_unknown_and_accepted_loses_neither_nor_their_order(desk: Desk) -> None:
    writing = Writing("Unknown")
    emulator = desk.emulator
    client = Client(
        emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=desk.inbox, hooks=[writing]
    )
    desk.lose()
    sending = asyncio.ensure_future(failure_of(client.send(PHONE, TEXT)))
    await asyncio.wait_for(writing.begun.wait(), 5)
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    await idle()
    await desk.inbox.aclose()
    writing.disk.set()
    assert isinstance(await sending, OutcomeUnknown)
    await client.aclose()
    assert writing.written == ["Unknown", "Accepted", "closed"]


async def test_a_waiter_gets_at_once_that_the_late_answer_was_a_refusal(desk: Desk) -> None:
    desk.emulator.account.balance = Decimal(0)
    error = await deadline_error(desk, desk.client.send(PHONE, TEXT, deadline=5))
    waiting = asyncio.ensure_future(failure_of(desk.inbox.wait_accepted(error)))
    await idle()
    desk.emulator.release()
    await idle()
    assert waiting.done()
    assert isinstance(await waiting, InsufficientFunds)


async def test_a_hook_that_flushes_as_the_proof_comes_does_not_wait_for_itself(desk: Desk) -> None:
    heard: list[str] = []
    checked = asyncio.Event()

    class Flushing(Hooks):
        def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
            del outcome
            if request.command == "check":
                checked.set()

        async def on_result(self, result: SendResult[Message]) -> None:
            if isinstance(result, Unknown):
                await checked.wait()
                await client.flush()
            heard.append(type(result).__name__)

    emulator = desk.emulator
    client = Client(
        emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=desk.inbox, hooks=[Flushing()]
    )
    desk.lose()
    await unknown(client.send(PHONE, TEXT))
    await call(desk.inbox, desk.url(), desk.server_id(), 1)
    await idle()
    async with asyncio.timeout(5):
        await client.aclose()
    assert heard == ["Unknown", "Accepted"]


async def deadline_error(desk: Desk, work: Coroutine[Any, Any, object]) -> OutcomeUnknown:
    """Let the deadline of a send pass while its answer is on the way."""
    desk.emulator.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(unknown(work))
    await desk.clock.advance(6)
    return await sending


async def lost_send(desk: Desk) -> OutcomeUnknown:
    desk.lose()
    return await unknown(desk.client.send(PHONE, TEXT, id=7))


async def lost_packet_of_one(desk: Desk) -> OutcomeUnknown:
    desk.lose()
    return await unknown(desk.client.send_packet([Message(PHONE, TEXT, id=7)]))


async def lost_bulk(desk: Desk) -> OutcomeUnknown:
    desk.lose()
    async with desk.client.bulk([Message(PHONE, TEXT, id=7)]) as run:
        (result,) = [result async for result in run]
    assert isinstance(result, Unknown)
    return result.error


async def heard_of_a_lost_packet(desk: Desk) -> OutcomeUnknown:
    desk.lose()
    await unknown(desk.client.send_packet([Message(PHONE, TEXT, id=7), Message(OTHER_PHONE, TEXT, id=8)]))
    result = desk.listener.results[-2]
    assert isinstance(result, Unknown)
    return result.error


async def late_send(desk: Desk) -> OutcomeUnknown:
    return await deadline_error(desk, desk.client.send(PHONE, TEXT, id=7, deadline=5))


async def late_packet_of_one(desk: Desk) -> OutcomeUnknown:
    return await deadline_error(desk, desk.client.send_packet([Message(PHONE, TEXT, id=7)], deadline=5))


async def unreadable_row(desk: Desk) -> OutcomeUnknown:
    with pytest.MonkeyPatch.context() as patch:
        saying_nothing = answering_with_rows(desk.emulator, "send", status=None, error=None, server_id=None)
        patch.setattr(desk.emulator, "exchange", saying_nothing)
        packet = await desk.client.send_packet([Message(PHONE, TEXT, id=7), Message(OTHER_PHONE, TEXT, id=8)])
    failure = packet.messages[0].failure
    assert isinstance(failure, OutcomeUnknown)
    return failure


WAYS = [
    lost_send,
    lost_packet_of_one,
    lost_bulk,
    heard_of_a_lost_packet,
    late_send,
    late_packet_of_one,
    unreadable_row,
]


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_stands_for_its_own_send_where_its_id_is_used_again(
    desk: Desk, way: Callable[[Desk], Coroutine[Any, Any, OutcomeUnknown]]
) -> None:
    first = await way(desk)
    others = len(desk.emulator.messages)
    second = await lost_send(desk)
    assert await call(desk.inbox, desk.url(others), desk.server_id(others), 1) == 200
    assert (await desk.inbox.wait_accepted(second)).server_id == desk.server_id(others)
    assert (await desk.inbox.wait_accepted(7)).server_id == desk.server_id(others)  # of an id, the last send
    waiting = asyncio.ensure_future(failure_of(desk.inbox.wait_accepted(first, timeout=2)))
    await desk.clock.advance(3)
    assert await waiting is first
    desk.emulator.release()
    await call(desk.inbox, desk.url(0), desk.server_id(0), 1)
    for error in (first, copy.copy(first), pickle.loads(pickle.dumps(first))):  # noqa: S301 - our own
        assert (await desk.inbox.wait_accepted(error)).server_id == desk.server_id(0)
    assert (await desk.inbox.wait_accepted(second)).server_id == desk.server_id(others)


async def test_an_error_is_answered_also_where_a_later_send_of_its_id_was_accepted(desk: Desk) -> None:
    first = await lost_send(desk)
    await desk.client.send(PHONE, TEXT, id=7)
    await call(desk.inbox, desk.url(0), desk.server_id(0), 1)
    assert (await desk.inbox.wait_accepted(first)).server_id == desk.server_id(0)


async def test_an_error_about_no_send_of_the_inbox_is_not_matched_with_one_of_the_same_id(desk: Desk) -> None:
    desk.lose()
    foreign = await unknown(desk.client.send(PHONE, TEXT, id=7, callback="https://elsewhere.example/"))
    await lost_send(desk)
    with pytest.raises(LookupError):
        await asyncio.wait_for(desk.inbox.wait_accepted(foreign), 5)


async def test_what_an_error_is_about_shows_in_no_text_of_it(desk: Desk) -> None:
    error = await lost_send(desk)
    nonce = send_nonce_of(error)
    assert nonce is not None
    assert not any(str(nonce)[2:-1] in shown for shown in (str(error), repr(error), str(error.args)))


async def test_late_answers_push_out_nothing_that_waits_for_its_proof(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._proofs._SENDS_REMEMBERED", 2)
    first = await lost_send(desk)
    late = [Message(PHONE, str(id_), id=id_) for id_ in (1, 2, 3)]
    await deadline_error(desk, desk.client.send_packet(late, deadline=5))
    desk.emulator.release()
    await idle()
    await call(desk.inbox, desk.url(0), desk.server_id(0), 1)
    assert (await desk.inbox.wait_accepted(first)).server_id == desk.server_id(0)
