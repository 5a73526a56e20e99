"""Concurrent sends share packets, and every caller gets the truth about its own message."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle
from outcomes import failure_of
from watched import assert_true, message

from smspilot_async import (
    Client,
    ConnectionFailed,
    DuplicateMessage,
    GatewayBusy,
    Hooks,
    Message,
    MessageRefused,
    NotSent,
    OutcomeUnknown,
    Reason,
    Refused,
    Retry,
    SentMessage,
    Unknown,
)
from smspilot_async.emulator import Fault
from smspilot_async.emulator.gateway import _gateway as emulated

if TYPE_CHECKING:
    from watched import Gateway

    from smspilot_async import SendResult


def start(client: Client, *texts: str, **options: Any) -> list[asyncio.Task[SentMessage]]:
    """Send messages with these texts at once, each by a caller of its own."""
    return [asyncio.ensure_future(client.send_message(message(text), **options)) for text in texts]


def numbered(count: int) -> list[str]:
    return [f"t{number}" for number in range(count)]


async def errors_of(calls: list[asyncio.Task[SentMessage]]) -> list[BaseException | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [result if isinstance(result, BaseException) else None for result in results]


# --- no wait --------------------------------------------------------------------------------------


async def test_calls_of_one_turn_of_the_loop_share_a_packet(gateway: Gateway) -> None:
    async with gateway.client() as client:
        sent = await asyncio.gather(*start(client, *numbered(5)))

    assert gateway.packets == [numbered(5)]
    record = {entry.text: entry.server_id for entry in gateway.emulator.messages}
    assert [entry.server_id for entry in sent] == [record[text] for text in numbered(5)]


async def test_a_lone_call_does_not_wait(gateway: Gateway) -> None:
    async with gateway.client() as client:
        await client.send("79087964781", "alone")

    assert gateway.clock.slept == []
    assert gateway.packets == [["alone"]]


async def test_calls_of_different_turns_go_apart_while_connections_are_free(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client() as client:
        calls = []
        for text in numbered(3):
            calls += start(client, text)
            await idle()
        assert gateway.packets == [["t0"], ["t1"], ["t2"]]
        await gateway.let_go()
        await asyncio.gather(*calls)


async def test_calls_made_while_no_connection_is_free_share_packets(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1, packet_size=3) as client:
        calls = start(client, "first")
        await idle()
        for text in numbered(4):
            calls += start(client, text)
            await idle()
        assert gateway.packets == [["first"]]
        await gateway.let_go()
        await asyncio.gather(*calls)

    assert gateway.packets == [["first"], ["t0", "t1", "t2"], ["t3"]]
    assert gateway.transport.most_in_flight == 1


async def test_packets_are_cut_by_count(gateway: Gateway) -> None:
    async with gateway.client(packet_size=2) as client:
        await asyncio.gather(*start(client, *numbered(5)))

    assert gateway.packets == [["t0", "t1"], ["t2", "t3"], ["t4"]]


async def test_packets_are_cut_by_bytes(gateway: Gateway) -> None:
    texts = [f"{number} " + "ы" * 650 for number in range(900)]
    async with gateway.client(packet_size=1000) as client:
        await asyncio.gather(*start(client, *texts))

    assert sorted(gateway.accepted) == sorted(texts)
    assert len(gateway.packets) > 1
    assert max(map(len, gateway.transport.bodies)) <= 1_000_000
    assert [text for packet in gateway.packets for text in packet] == texts


async def test_packets_are_cut_by_the_length_of_the_url(gateway: Gateway) -> None:
    texts = [f"{number} " + "ы" * 60 for number in range(30)]
    with pytest.warns(UserWarning, match="query"):
        client = gateway.client(request_style="query")
    async with client:
        await asyncio.gather(*start(client, *texts))

    assert sorted(gateway.accepted) == sorted(texts)
    assert max(map(len, gateway.transport.urls)) <= 6 * 1024
    assert [text for packet in gateway.packets for text in packet] == texts


async def test_a_packet_cut_by_bytes_passes_the_rate_limit_once(gateway: Gateway) -> None:
    texts = [f"{number} " + "ы" * 60 for number in range(30)]
    with pytest.warns(UserWarning, match="query"):
        client = gateway.client(request_style="query", rate_limit=1)
    async with client:
        await asyncio.gather(*start(client, *texts))
        await gateway.clock.drive(client.send("79087964781", "next", deadline=100))

    assert gateway.clock.slept == [30.0]


# --- linger ---------------------------------------------------------------------------------------


async def test_linger_is_counted_from_the_first_message(gateway: Gateway) -> None:
    async with gateway.client(linger=1.0) as client:
        calls = start(client, "t0")
        await gateway.clock.advance(0.9)
        calls += start(client, "t1")
        await gateway.clock.advance(0.09)
        assert gateway.packets == []
        await gateway.clock.advance(0.02)
        assert gateway.packets == [["t0", "t1"]]
        await asyncio.gather(*calls)

        calls = start(client, "t2")
        await gateway.clock.advance(0.9)
        assert len(gateway.packets) == 1
        await gateway.clock.advance(0.2)
        await asyncio.gather(*calls)


async def test_a_full_packet_goes_at_once_and_the_rest_lingers_from_its_own_first(gateway: Gateway) -> None:
    async with gateway.client(linger=1.0, packet_size=2) as client:
        calls = start(client, "t0")
        await gateway.clock.advance(0.5)
        calls += start(client, "t1", "t2")
        await idle()
        assert gateway.packets == [["t0", "t1"]]
        await gateway.clock.advance(0.6)
        assert gateway.packets == [["t0", "t1"]]
        calls += start(client, "t3")
        await idle()
        assert gateway.packets[1:] == [["t2", "t3"]]

        calls += start(client, "t4")
        await gateway.clock.advance(0.99)
        assert len(gateway.packets) == 2
        await gateway.clock.advance(0.02)
        assert gateway.packets[2:] == [["t4"]]
        await asyncio.gather(*calls)


async def test_no_message_waits_for_company_until_it_is_too_late(gateway: Gateway) -> None:
    async with gateway.client(linger=60.0, deadline=20.0) as client:
        calls = start(client, "t0")
        await gateway.clock.advance(9.9)
        assert gateway.packets == []
        await gateway.clock.advance(0.2)
        assert gateway.packets == [["t0"]]

        calls += start(client, "t1")
        await gateway.clock.advance(1.0)
        calls.append(asyncio.ensure_future(client.send("79087964781", "in a hurry", deadline=4)))
        await gateway.clock.advance(1.9)
        assert len(gateway.packets) == 1
        await gateway.clock.advance(0.2)
        assert gateway.packets[1:] == [["t1", "in a hurry"]]

        calls += start(client, "t2")
        await gateway.clock.advance(9.9)
        assert len(gateway.packets) == 2
        await gateway.clock.advance(0.2)
        assert gateway.packets[2:] == [["t2"]]
        await asyncio.gather(*calls)


async def test_who_stays_behind_waits_no_longer_than_the_one_of_them_in_the_greatest_hurry(gateway: Gateway) -> None:
    async with gateway.client(linger=60.0, deadline=20.0, packet_size=3) as client:
        calls = start(client, *numbered(4))
        calls.append(asyncio.ensure_future(client.send("79087964781", "in a hurry", deadline=4)))
        await gateway.clock.advance(1.9)
        assert gateway.packets == [numbered(3)]
        await gateway.clock.advance(0.2)
        assert gateway.packets[1:] == [["t3", "in a hurry"]]
        await asyncio.gather(*calls)


async def test_what_waits_outside_lingers_from_its_call_and_a_full_queue_is_full(gateway: Gateway) -> None:
    async with gateway.client(linger=1.0, max_pending=2) as client:
        calls = start(client, *numbered(3))
        await idle()
        assert gateway.packets == [["t0", "t1"]]
        await gateway.clock.advance(1.0)
        assert gateway.packets[1:] == [["t2"]]
        await asyncio.gather(*calls)


async def test_what_stays_behind_lingers_no_longer_because_a_packet_had_to_wait(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(linger=1.0, packet_size=2, max_connections=1) as client:
        balance = asyncio.ensure_future(client.balance())
        await idle()
        calls = start(client, *numbered(3))
        await gateway.clock.advance(0.6)
        assert gateway.packets == []
        await gateway.let_go()
        assert gateway.packets == [["t0", "t1"]]
        await gateway.clock.advance(0.41)
        assert gateway.packets[1:] == [["t2"]]
        await asyncio.gather(balance, *calls)


async def test_flush_goes_at_once_and_waits_for_the_answers(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(linger=60.0) as client:
        calls = start(client, *numbered(2))
        await asyncio.sleep(0)
        flush = asyncio.ensure_future(client.flush())
        await idle()
        assert gateway.packets == [numbered(2)]
        assert not flush.done()
        await gateway.let_go()
        await flush
        assert all(call.done() for call in calls)
        later = start(client, "later")
        await idle()
        assert gateway.packets == [numbered(2)]
        await client.flush()
        assert await asyncio.gather(*later)


async def test_flush_does_not_wait_for_what_comes_later(gateway: Gateway) -> None:
    async with gateway.client() as client:
        first = start(client, "first")
        await asyncio.sleep(0)
        flush = asyncio.ensure_future(client.flush())
        await idle()
        await flush
        gateway.hold()
        second = start(client, "second")
        await idle()
        flush = asyncio.ensure_future(client.flush())
        await idle()
        third = start(client, "third")
        await idle()
        gateway.emulator.fail_next("send", Fault.SLOW)
        fourth = start(client, "fourth")
        await idle()
        await gateway.let_go()
        assert flush.done()
        assert not fourth[0].done()
        gateway.emulator.release()
        await asyncio.gather(*first, *second, *third, *fourth)


async def test_flush_waits_quietly_while_reads_hold_every_connection(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1) as client:
        balance = asyncio.ensure_future(client.balance())
        await idle()
        call = start(client, "waits")
        await asyncio.sleep(0)
        flush = asyncio.ensure_future(client.flush())
        await asyncio.wait_for(idle(), 5)  # a flush that spins never lets the loop come to rest
        assert not flush.done()
        await gateway.let_go()
        await flush
        assert call[0].done()
        await balance


async def test_flush_of_nothing_returns(gateway: Gateway) -> None:
    async with gateway.client(linger=1.0) as client:
        await client.flush()
        call = start(client, "t0")
        await idle()
        assert gateway.packets == []
        await client.flush()
        await call[0]


async def test_flush_lets_those_go_too_who_wait_outside(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(linger=60.0, max_pending=2, max_connections=1) as client:
        calls = start(client, *numbered(9))
        await idle()
        flush = asyncio.ensure_future(client.flush())
        await idle()
        gateway.transport.answers.set()
        await flush
        assert [call.done() for call in calls] == [True] * 9
    assert [len(packet) for packet in gateway.packets] == [2, 2, 2, 2, 1]


async def test_hooks_may_flush_and_two_of_them_do_not_wait_for_each_other(gateway: Gateway) -> None:
    class Flusher(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            await asyncio.sleep(0)
            assert result.item.text
            await client.flush()

    async with gateway.client(hooks=[Flusher(), gateway.listener], packet_size=1) as client:
        await asyncio.gather(*start(client, *numbered(3)))
        await asyncio.wait_for(client.flush(), 5)
    assert gateway.heard() == dict.fromkeys(numbered(3), "Accepted")


# --- back-pressure --------------------------------------------------------------------------------


async def test_at_the_limit_callers_wait_and_keep_their_order(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1, max_pending=2) as client:
        calls = start(client, "first")
        await idle()
        for text in numbered(6):
            calls += start(client, text)
            await idle()
        assert len(client._session().batcher) == 2
        gateway.transport.answers.set()
        for _ in range(20):  # those who come while others are let in do not overtake them
            calls += start(client, f"late {len(calls)}")
            await asyncio.sleep(0)
        await asyncio.gather(*calls)

    order = [text for packet in gateway.packets for text in packet]
    assert order == ["first", *numbered(6), *(f"late {number}" for number in range(7, 27))]
    assert max(map(len, gateway.packets)) == 2


@pytest.mark.parametrize("max_pending", [1, 100])
async def test_a_deadline_while_waiting_says_that_nothing_was_sent(gateway: Gateway, max_pending: int) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1, max_pending=max_pending) as client:
        calls = start(client, "first", deadline=100)
        await idle()
        calls += start(client, "t0", deadline=3) + start(client, "t1", deadline=1) + start(client, "t2", deadline=2)
        await gateway.clock.advance(0.99)
        assert not any(call.done() for call in calls)
        for text, call in (("t1", calls[2]), ("t2", calls[3]), ("t0", calls[1])):
            await gateway.clock.advance(1)
            assert isinstance(call.exception(), ConnectionFailed), text
            assert "while it waited for a connection" in str(call.exception())
        await gateway.let_go()
        await client.flush()

    assert gateway.accepted == ["first"]
    assert gateway.heard() == {"first": "Accepted", "t0": "NotSent", "t1": "NotSent", "t2": "NotSent"}
    assert len({id(call.exception()) for call in calls[1:]}) == 3
    assert [call.exception().message_id for call in calls[1:]] == [  # type: ignore[union-attr]
        result.error.message_id for result in sorted_not_sent(gateway)
    ]


def sorted_not_sent(gateway: Gateway) -> list[Any]:
    return sorted(
        (result for result in gateway.listener.results if isinstance(result, NotSent)),
        key=lambda result: result.item.text,
    )


@pytest.mark.parametrize("max_pending", [1, 100])
async def test_a_cancelled_caller_takes_its_message_back_while_it_waits(gateway: Gateway, max_pending: int) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1, max_pending=max_pending) as client:
        calls = start(client, "first")
        await idle()
        calls += start(client, *numbered(4))
        await idle()
        calls[1].cancel()
        calls[3].cancel()
        await gateway.let_go()
        await asyncio.wait(calls)
        await client.flush()

    assert [call.cancelled() for call in calls] == [False, True, False, True, False]
    assert gateway.accepted == ["first", "t1", "t3"]
    assert gateway.heard() == {
        "first": "Accepted",
        "t0": "NotSent",
        "t1": "Accepted",
        "t2": "NotSent",
        "t3": "Accepted",
    }


async def test_a_cancelled_caller_whose_message_left_learns_it_by_the_hooks(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client() as client:
        calls = start(client, *numbered(2))
        await idle()
        calls[0].cancel()
        await idle()
        await gateway.let_go()
        await client.flush()

    assert gateway.accepted == numbered(2)
    assert gateway.heard() == {"t0": "Accepted", "t1": "Accepted"}


async def test_a_packet_of_nothing_but_cancelled_messages_is_not_sent(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1) as client:
        first = start(client, "first")
        await idle()
        calls = start(client, *numbered(3))
        await idle()
        for call in calls:
            call.cancel()
        await gateway.let_go()
        await client.flush()
        await asyncio.wait(calls)
        await asyncio.gather(*first)
        assert client._session().requester.slots.take()  # its place was given back

    assert gateway.packets == [["first"]]


async def test_callers_of_one_packet_keep_their_own_deadlines(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client() as client:
        calls = start(client, "t0", deadline=1) + start(client, "t1", deadline=2) + start(client, "t2", deadline=9)
        await gateway.clock.advance(1.5)
        assert [call.done() for call in calls] == [True, False, False]
        await gateway.clock.advance(1.0)
        assert [call.done() for call in calls] == [True, True, False]
        await gateway.let_go()
        errors = await errors_of(calls)
        await client.flush()

    assert gateway.packets == [["t0", "t1", "t2"]]
    assert [type(error) for error in errors] == [OutcomeUnknown, OutcomeUnknown, type(None)]
    assert all(error.reason is Reason.DEADLINE for error in errors if isinstance(error, OutcomeUnknown))
    assert gateway.heard() == dict.fromkeys(numbered(3), "Accepted")


async def test_who_has_no_time_for_another_attempt_learns_the_reason_at_once(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY)
    async with gateway.client(retry=Retry(first_delay=5)) as client:
        calls = start(client, "t0", deadline=4) + start(client, "t1", deadline=100)
        await idle()
        assert isinstance(calls[0].exception(), GatewayBusy)
        await gateway.clock.advance(5)
        await calls[1]

    assert gateway.packets == [["t0", "t1"], ["t1"]]
    assert gateway.heard() == {"t0": "NotSent", "t1": "Accepted"}


async def test_a_cancelled_caller_is_not_served_again(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY)
    async with gateway.client() as client:
        calls = start(client, *numbered(2))
        await idle()
        calls[0].cancel()
        await gateway.clock.advance(5)
        await calls[1]

    assert gateway.packets == [numbered(2), ["t1"]]
    assert gateway.heard() == {"t0": "NotSent", "t1": "Accepted"}


# --- refusals of some -----------------------------------------------------------------------------


async def test_a_document_that_names_a_messages_fault_is_split_until_the_culprit_stands_alone(
    gateway: Gateway,
) -> None:
    gateway.emulator.unknowns.one_bad_refuses_packet = True
    gateway.emulator.refuse(code=204, text="t5")
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(11)))

    assert sorted(gateway.accepted) == sorted(set(numbered(11)) - {"t5"})
    assert [number for number, error in enumerate(errors) if error is not None] == [5]
    assert isinstance(errors[5], MessageRefused)
    assert errors[5].code == 204
    assert ["t5"] in gateway.packets
    assert gateway.heard() == {**dict.fromkeys(numbered(11), "Accepted"), "t5": "Refused"}


async def test_a_duplicate_after_a_split_is_unknown_and_not_refused(gateway: Gateway) -> None:
    gateway.emulator.unknowns.one_bad_refuses_packet = True
    gateway.emulator.refuse(code=243, text="t1")
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(3)))

    assert isinstance(errors[1], OutcomeUnknown)
    assert errors[1].reason is Reason.DUPLICATE
    assert errors[0] is errors[2] is None


@pytest.mark.parametrize("code", [214, 242])
async def test_a_refusal_for_the_company_in_the_packet_is_sent_again_apart(gateway: Gateway, code: int) -> None:
    if code == 214:
        gateway.emulator.unknowns.duplicate_phones_refused = True
    else:
        gateway.emulator.account.trial = True
    async with gateway.client() as client:
        calls = [asyncio.ensure_future(client.send("79087964781", text)) for text in numbered(4)]
        await asyncio.gather(*calls)

    assert sorted(gateway.accepted) == numbered(4)
    assert sorted(map(len, gateway.packets[1:])) == [1] * (3 if code == 214 else 2)
    assert set(gateway.heard().values()) == {"Accepted"}


async def test_such_a_refusal_of_a_lone_message_is_a_refusal(gateway: Gateway) -> None:
    gateway.emulator.refuse(code=242, text="t1")
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(3)))

    assert isinstance(errors[1], MessageRefused)
    assert errors[1].code == 242
    assert gateway.packets[1:] == [["t1"]]


async def test_send_packet_splits_nothing(gateway: Gateway) -> None:
    gateway.emulator.refuse(code=242, text="t1")
    async with gateway.client() as client:
        packet = await client.send_packet(map(message, numbered(3)))
        gateway.emulator.unknowns.one_bad_refuses_packet = True
        await failure_of(client.send_packet(map(message, ["t3", "t1"])))

    assert len(packet.refused) == 1
    assert len(gateway.packets) == 2


async def test_an_error_of_one_message_asked_again_alone_leaves_the_others_alone(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    async with gateway.client() as client:
        calls = start(client, *numbered(3))
        await idle()
        assert [call.done() for call in calls] == [True, False, True]
        await gateway.clock.advance(1)
        await asyncio.gather(*calls)

    assert gateway.packets == [numbered(3), ["t1"]]
    assert gateway.accepted == ["t0", "t2", "t1"]


async def test_a_document_110_is_asked_again_as_a_whole(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY)
    async with gateway.client() as client:
        calls = start(client, *numbered(3))
        await gateway.clock.advance(1)
        await asyncio.gather(*calls)

    assert gateway.packets == [numbered(3)] * 2
    assert gateway.accepted == numbered(3)


async def test_a_duplicate_after_110_is_unknown(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY)
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=2)
    async with gateway.client() as client:
        calls = start(client, *numbered(3))
        await idle()
        gateway.emulator.refuse(code=243, text="t1")
        await gateway.clock.advance(1)
        gateway.emulator.refuse(code=243, text="t2")
        await gateway.clock.advance(1)
        errors = await errors_of(calls)

    assert errors[0] is None
    assert [type(error) for error in errors[1:]] == [OutcomeUnknown] * 2
    assert [error.reason for error in errors[1:] if isinstance(error, OutcomeUnknown)] == [Reason.DUPLICATE] * 2
    assert gateway.heard() == {"t0": "Accepted", "t1": "Unknown", "t2": "Unknown"}


async def test_a_duplicate_at_the_first_attempt_is_a_refusal(gateway: Gateway) -> None:
    gateway.emulator.refuse(code=243, text="t1")
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(2)))

    assert isinstance(errors[1], DuplicateMessage)


async def test_what_stays_busy_is_refused_to_each_caller_with_an_error_of_its_own(gateway: Gateway) -> None:
    for row in (1, 0):
        gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=row)
    gateway.emulator.fail_next("send", Fault.BUSY, times=9)
    async with gateway.client(retry=Retry(attempts=3)) as client:
        calls = [
            asyncio.ensure_future(client.send_message(message(text, id=id_)))
            for id_, text in enumerate(numbered(3), start=1)
        ]
        await gateway.clock.advance(60)
        errors = await errors_of(calls)

    assert gateway.accepted == ["t0", "t2"]
    assert isinstance(errors[1], GatewayBusy)
    assert errors[1].message_id == 2


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.SERVER_ERROR, Fault.RESET_AFTER_READ])
async def test_each_caller_gets_an_error_of_its_own(gateway: Gateway, fault: Fault) -> None:
    gateway.emulator.fail_next("send", fault)
    async with gateway.client(retry=Retry(attempts=1)) as client:
        calls = [
            asyncio.ensure_future(client.send_message(message(text, id=id_)))
            for id_, text in enumerate(numbered(3), start=1)
        ]
        errors = await errors_of(calls)

    assert [getattr(error, "message_id", None) for error in errors] == [1, 2, 3]
    assert len(set(map(id, errors))) == 3
    assert {getattr(error, "packet_size", None) for error in errors} == {3}


async def test_a_contradictory_refusal_is_not_sent_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with 214, but with a number and a status of acceptance: it may have been accepted."""
    gateway.emulator.unknowns.duplicate_phones_refused = True
    real = emulated.Gateway._refused_row
    contradiction = {"status": 0, "server_id": "999"}
    monkeypatch.setattr(emulated.Gateway, "_refused_row", lambda *row: {**real(*row), **contradiction})
    async with gateway.client() as client:
        calls = [asyncio.ensure_future(client.send("79087964781", text)) for text in numbered(2)]
        errors = await errors_of(calls)

    assert isinstance(errors[1], OutcomeUnknown)
    assert len(gateway.packets) == 1


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reordered", [False, True])
async def test_two_callers_with_the_same_id_get_each_their_own_answer(gateway: Gateway, *, reordered: bool) -> None:
    gateway.emulator.unknowns.rows_reordered = reordered
    async with gateway.client() as client:
        calls = [asyncio.ensure_future(client.send("79087964781", text, id=7)) for text in numbered(6)]
        sent = await asyncio.gather(*calls)

    record = {entry.text: entry.server_id for entry in gateway.emulator.messages}
    assert [entry.server_id for entry in sent] == [record[text] for text in numbered(6)]
    assert sent[0].id == 7
    assert len({entry.id for entry in sent}) == 6
    assert len(gateway.packets) == 1


# --- connections kept free ------------------------------------------------------------------------


@pytest.mark.parametrize(("connections", "for_bulk"), [(1, 1), (2, 1), (3, 1), (4, 2), (20, 18)])
async def test_two_connections_are_kept_free_of_campaigns(gateway: Gateway, connections: int, for_bulk: int) -> None:
    gateway.hold()
    async with gateway.client(max_connections=connections, packet_size=10) as client:
        source = [("79087964781", f"bulk {number}") for number in range(1000)]
        async with client.bulk(source, in_flight=50, max_unknown=60) as run:
            await idle()
            assert gateway.transport.in_flight == for_bulk
            call = start(client, "code")
            await idle()
            assert gateway.transport.in_flight == min(for_bulk + 1, connections)
            has_left = ["code"] in gateway.packets
            assert has_left is (connections > 1)
            await gateway.let_go()
            await call[0]
            assert gateway.packets.index(["code"]) <= for_bulk  # also with one connection it goes before what waits
            results = [type(result).__name__ async for result in run]

    assert results == ["Accepted"] * 1000
    assert gateway.transport.most_in_flight <= connections


async def test_a_campaign_that_waits_for_its_rate_keeps_no_connection(gateway: Gateway) -> None:
    async with gateway.client(max_connections=1, packet_size=10) as client:
        source = [("79087964781", f"bulk {number}") for number in range(30)]
        async with client.bulk(source, rate_limit=1) as run:
            await idle()
            assert len(gateway.packets) == 1
            await asyncio.wait_for(client.send("79087964781", "code"), 5)
            assert run.stats.accepted == 10
            await gateway.clock.advance(20)
            assert run.stats.accepted == 30


async def test_a_code_waits_for_one_packet_of_a_campaign_at_the_clients_rate(gateway: Gateway) -> None:
    async with gateway.client(rate_limit=10, packet_size=10) as client:
        source = [("79087964781", f"bulk {number}") for number in range(50)]
        async with client.bulk(source) as run:
            await idle()
            call = start(client, "code")
            await gateway.clock.advance(1.0)
            assert call[0].done()
            assert run.stats.accepted == 10
            await gateway.clock.advance(3.0)
            assert run.stats.accepted == 40


async def test_reads_find_a_connection_while_sends_wait_for_their_rate(gateway: Gateway) -> None:
    async with gateway.client(rate_limit=1, max_connections=2, packet_size=1) as client:
        calls = start(client, *numbered(5))
        await idle()
        assert await asyncio.wait_for(client.balance(), 5)
        await gateway.clock.advance(5)
        await asyncio.gather(*calls)
    assert gateway.accepted == numbered(5)


async def test_a_turn_after_the_deadline_is_not_waited_for(gateway: Gateway) -> None:
    async with gateway.client(rate_limit=1, packet_size=1, deadline=2.5) as client:
        calls = start(client, *numbered(5))
        await idle()
        assert [call.done() for call in calls] == [True, False, False, False, False]
        await gateway.clock.advance(2)
        assert [call.done() for call in calls] == [True] * 5  # what cannot have its turn by 2.5 does not wait
        errors = await errors_of(calls)

    assert [type(error) for error in errors] == [type(None)] * 3 + [ConnectionFailed] * 2
    assert gateway.accepted == numbered(3)


async def test_who_gives_up_waiting_for_the_rate_leaves_no_gap(gateway: Gateway) -> None:
    async with gateway.client(rate_limit=1, packet_size=1, deadline=100) as client:
        calls = start(client, *numbered(5))
        await idle()
        for call in calls[1:4]:
            call.cancel()
        await gateway.clock.advance(1)
        assert calls[4].done()
        await client.flush()
    assert gateway.accepted == ["t0", "t4"]


# --- the end --------------------------------------------------------------------------------------


async def test_closing_drains(gateway: Gateway) -> None:
    gateway.hold()
    client = gateway.client(linger=60.0, max_connections=1, packet_size=2, max_pending=3)
    calls = start(client, *numbered(7))
    await idle()
    closing = asyncio.ensure_future(client.aclose())
    await idle()
    assert not closing.done()
    await gateway.let_go()
    await closing

    assert all(call.done() for call in calls)
    assert gateway.accepted == numbered(7)


@pytest.mark.parametrize("patience", [0.0, 5.0])
async def test_closing_in_time_reports_the_queue_as_not_sent_and_the_wire_as_unknown(
    gateway: Gateway, patience: float
) -> None:
    gateway.hold()
    client = gateway.client(max_connections=1, packet_size=2, max_pending=3)
    calls = start(client, "t0", "t1")
    await idle()
    calls += start(client, *(f"q{number}" for number in range(9)))
    await idle()
    closing = asyncio.ensure_future(client.aclose(timeout=patience))
    await gateway.clock.advance(patience + 0.1)
    await asyncio.wait_for(closing, 5)
    errors = await errors_of(calls)
    await idle()

    assert [type(error) for error in errors] == [OutcomeUnknown] * 2 + [ConnectionFailed] * 9
    assert all(error.reason is Reason.CANCELLED for error in errors[:2] if isinstance(error, OutcomeUnknown))
    assert gateway.packets == [["t0", "t1"]]
    heard = gateway.heard()
    assert [kind for text, kind in sorted(heard.items())] == ["NotSent"] * 9 + ["Unknown"] * 2
    assert_true(gateway.listener.results, gateway.emulator)


async def test_closing_at_once_reports_to_the_hooks_what_was_just_handed_in(gateway: Gateway) -> None:
    client = gateway.client(linger=5.0)
    calls = start(client, *numbered(2))
    await asyncio.sleep(0)
    await client.aclose(timeout=0.0)
    with suppress(BaseException):
        await asyncio.gather(*calls)
    await asyncio.wait(calls)
    await idle()

    assert len(gateway.heard()) == 2
    assert_true(gateway.listener.results, gateway.emulator)


async def test_a_closed_client_sends_nothing_of_what_waited_outside(gateway: Gateway) -> None:
    gateway.hold()
    client = gateway.client(max_connections=1, max_pending=1)
    calls = start(client, *numbered(6))
    await idle()
    closing = asyncio.ensure_future(client.aclose(timeout=1))
    await gateway.clock.advance(2)
    await closing
    await gateway.let_go()
    await gateway.clock.advance(100)

    assert gateway.accepted == ["t0"]
    assert all(call.done() for call in calls)
    assert len(gateway.heard()) == 6
    await errors_of(calls)


async def test_taking_a_packet_back_does_not_cancel_a_hook_at_work(gateway: Gateway) -> None:
    class Slow(Hooks):
        def __init__(self) -> None:
            self.ended: list[str] = []

        async def on_result(self, result: SendResult[Message]) -> None:
            await gateway.clock.sleep(10)
            self.ended.append(result.item.text)

    slow = Slow()
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    async with gateway.client(hooks=[slow, gateway.listener]) as client:
        call = asyncio.ensure_future(client.send_packet(map(message, numbered(2)), deadline=5))
        await gateway.clock.advance(6)
        packet = await call
        assert [entry.accepted for entry in packet.messages] == [True, False]
        await gateway.clock.advance(60)
        await client.flush()

    assert slow.ended == numbered(2)
    assert gateway.heard() == {"t0": "Accepted", "t1": "NotSent"}


async def test_a_deadline_in_the_middle_of_a_packet_keeps_the_answers_that_are_there(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    async with gateway.client() as client:
        call = asyncio.ensure_future(client.send_packet(map(message, numbered(3)), deadline=5))
        await idle()
        gateway.hold()
        await gateway.clock.advance(6)
        packet = await call
        await gateway.let_go()
        await client.flush()

    assert [entry.accepted for entry in packet.messages] == [True, False, True]
    lost = packet.messages[1].failure
    assert isinstance(lost, OutcomeUnknown)
    assert lost.reason is Reason.DEADLINE
    assert lost.message_id == packet.messages[1].id
    assert gateway.heard() == dict.fromkeys(numbered(3), "Accepted")


async def test_a_fault_of_the_library_never_claims_that_nothing_was_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("smspilot_async._requests.interpret.interpret", broken)
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(2)))
        assert client._session().requester.slots.take()

    assert [type(error) for error in errors] == [OutcomeUnknown] * 2
    assert gateway.heard() == {"t0": "Unknown", "t1": "Unknown"}


async def test_a_fault_before_the_request_claims_that_nothing_was_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("smspilot_async._requests.requester.encode", broken)
    async with gateway.client() as client:
        errors = await errors_of(start(client, *numbered(2)))

    assert [type(error) for error in errors] == [ConnectionFailed] * 2
    assert gateway.accepted == []


async def test_a_hook_that_raises_affects_no_one(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Hooks):
        def on_result(self, result: SendResult[Message]) -> None:
            raise LookupError(result.item.text)

    async with gateway.client(hooks=[Broken(), gateway.listener]) as client:
        await asyncio.gather(*start(client, *numbered(2)))

    assert gateway.heard() == dict.fromkeys(numbered(2), "Accepted")
    assert "LookupError" in caplog.text
    assert "t0" not in caplog.text


async def test_ten_thousand_deadlines_are_looked_at_together(gateway: Gateway) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1) as client:
        first = start(client, "first", deadline=100)
        await idle()
        calls = []
        for number in range(1000):
            calls += start(client, f"t{number}", deadline=5 + number / 100_000)
        looks = 0
        batcher = client._session().batcher
        expire = batcher._expire

        def counted() -> None:
            nonlocal looks
            looks += 1
            expire()

        batcher._expire = counted  # type: ignore[method-assign]
        await idle()
        await gateway.clock.advance(6)
        assert all(isinstance(error, ConnectionFailed) for error in await errors_of(calls))
        assert looks <= 3
        await gateway.let_go()
        await first[0]


async def test_results_for_those_who_handle_no_exceptions(gateway: Gateway) -> None:
    gateway.emulator.refuse(code=204, text="t1")
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=2)
    async with gateway.client(retry=Retry(attempts=2)) as client:
        calls = start(client, *numbered(3))
        await idle()
        gateway.emulator.fail_next("send", Fault.ACCEPT_THEN_HTML)
        await gateway.clock.advance(2)
        await errors_of(calls)

    by_text = {result.item.text: result for result in gateway.listener.results}
    assert isinstance(by_text["t1"], Refused)
    assert by_text["t1"].sent is not None
    assert isinstance(by_text["t2"], Unknown)
    assert_true(gateway.listener.results, gateway.emulator)


@pytest.mark.parametrize("late", [False, True])
async def test_a_packet_in_pieces_reports_each_piece(gateway: Gateway, *, late: bool) -> None:
    messages = [message(f"{number} " + "ы" * 60) for number in range(20)]
    with pytest.warns(UserWarning, match="query"):
        client = gateway.client(request_style="query", max_connections=1)

    def fail_the_next(_: object) -> None:
        stop()
        gateway.emulator.fail_next("send", Fault.SLOW if late else Fault.SERVER_ERROR)

    stop = gateway.emulator.subscribe(fail_the_next)
    async with client:
        call = asyncio.ensure_future(client.send_packet(messages, deadline=5))
        await gateway.clock.advance(6)
        packet = await call
        gateway.emulator.release()
        await client.flush()

    first = len(gateway.packets[0])
    assert 0 < first < 20
    assert [entry.accepted for entry in packet.messages][:first] == [True] * first
    lost = packet.messages[first].failure
    assert isinstance(lost, OutcomeUnknown)
    assert lost.reason is (Reason.DEADLINE if late else Reason.HTTP_STATUS)
    assert_true(gateway.listener.results, gateway.emulator)
    assert len(gateway.heard()) == 20


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_cancelled_packet_is_taken_back_or_goes_on_alone(gateway: Gateway, *, has_left: bool) -> None:
    gateway.hold()
    async with gateway.client(max_connections=1) as client:
        first = start(client, "first")
        await idle()
        if has_left:
            await gateway.let_go()
            gateway.hold()
        call = asyncio.ensure_future(client.send_packet(map(message, numbered(2))))
        await idle()
        call.cancel()
        await gateway.let_go()
        await client.flush()
        await asyncio.wait([call, *first])
        assert call.cancelled()

    assert gateway.accepted == ["first", *(numbered(2) if has_left else [])]
    assert gateway.heard() == {"first": "Accepted", **dict.fromkeys(numbered(2), "Accepted" if has_left else "NotSent")}


async def test_without_a_key_nothing_is_sent(gateway: Gateway) -> None:
    def no_key() -> str:
        raise LookupError("the vault is closed")

    client = Client(no_key, url=gateway.emulator.url, transport=gateway.transport, hooks=[gateway.listener])
    async with client:
        calls = start(client, *numbered(2))
        await gateway.clock.advance(60)
        errors = await errors_of(calls)
        assert client._session().requester.slots.take()

    assert [type(error) for error in errors] == [ConnectionFailed] * 2
    assert gateway.heard() == dict.fromkeys(numbered(2), "NotSent")


async def test_closing_in_time_after_a_deadline_in_the_queue(gateway: Gateway) -> None:
    gateway.hold()
    client = gateway.client(max_connections=1)
    calls = start(client, "first")
    await idle()
    calls += start(client, "t0", deadline=1) + start(client, "t1", deadline=100)
    await gateway.clock.advance(2)
    assert calls[1].done()
    closing = asyncio.ensure_future(client.aclose(timeout=1))
    await gateway.clock.advance(2)
    await closing
    await errors_of(calls)
    await idle()

    assert gateway.heard() == {"first": "Unknown", "t0": "NotSent", "t1": "NotSent"}
