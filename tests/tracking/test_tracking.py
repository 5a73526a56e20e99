from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from manual_clock import START, idle
from tracking_desk import results_of_every_kind

from smspilot_async import (
    Accepted,
    AccountBlocked,
    AuthenticationError,
    Client,
    ClientClosed,
    InvalidMessage,
    Message,
    MessageRefused,
    MessageStatus,
    NotFinal,
    Packet,
    SentMessage,
    Tracking,
)
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from manual_clock import ManualClock
    from tracking_desk import Desk

    from smspilot_async.emulator import Emulator


async def told_by(changes: Tracking) -> list[tuple[str | None, int | None]]:
    """Follow to the end, and return what was reported."""
    async with changes:
        return [(status.server_id, status.status) async for status in changes]


async def told_and_end(desk: Desk, changes: Tracking) -> tuple[list[tuple[str | None, int | None]], float]:
    """The same, and after how many seconds it was over."""
    start = desk.clock.monotonic()
    return await told_by(changes), desk.clock.monotonic() - start


def ids_of(packet: Packet) -> list[str]:
    return [message.server_id or "" for message in packet.messages]


class Calls:
    """A source of statuses, as callbacks bring them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[MessageStatus | Exception | None] = asyncio.Queue()
        self.closed_by: asyncio.Task[Any] | None = None

    def call(self, server_id: str, status: int | None, error: int = 0) -> None:
        self.queue.put_nowait(MessageStatus(server_id=server_id, status=status, error=error))

    async def __aiter__(self) -> AsyncIterator[MessageStatus]:
        try:
            while (one := await self.queue.get()) is not None:
                if isinstance(one, Exception):
                    raise one
                yield one
        finally:
            self.closed_by = asyncio.current_task()


class Follower:
    """Follows in a task of its own, and remembers what was reported."""

    def __init__(self, changes: Tracking) -> None:
        self.changes = changes
        self.told: list[MessageStatus] = []
        self.task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        async with self.changes:
            async for status in self.changes:
                self.told.append(status)

    @property
    def statuses(self) -> list[int | None]:
        return [status.status for status in self.told]


# --- the good case -------------------------------------------------------------------------------


async def test_every_message_is_reported_until_it_is_final(desk: Desk) -> None:
    packet = await desk.packet(3)
    changes = desk.client.track(packet)
    told = await desk.clock.drive(told_by(changes))

    assert sorted(told) == [(id_, 2) for id_ in ids_of(packet)]
    assert {id_: status.status for id_, status in changes.statuses.items()} == dict.fromkeys(ids_of(packet), 2)
    assert changes.pending == ()


async def test_every_change_is_reported_once(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    number = ids_of(packet)[0]
    follower = Follower(slow_desk.client.track(packet, poll_interval=60))
    for status in (1, 1, 2):
        slow_desk.emulator.set_status(number, status)
        await slow_desk.clock.advance(120)

    await follower.task
    assert follower.statuses == [1, 2]
    assert follower.changes.statuses[number].modified is not None


async def test_over_a_socket(client: Client, emulator: Emulator) -> None:
    packets = [await client.send_packet([Message("79087964781", f"{n}-{at}") for at in range(5)]) for n in range(10)]
    emulator.clock.advance(minutes=1)
    told = await told_by(client.track(packets, poll_interval=0.01))

    assert sorted(told) == sorted((message.server_id, 2) for message in emulator.messages)


async def test_a_message_that_was_not_delivered(desk: Desk) -> None:
    desk.emulator.fail_delivery(code=601)
    packet = await desk.packet(1)

    assert await desk.clock.drive(told_by(desk.client.track(packet))) == [(ids_of(packet)[0], -1)]


# --- what can be followed ------------------------------------------------------------------------


async def test_everything_that_holds_an_id(desk: Desk) -> None:
    first, second = await desk.packet(2), await desk.packet(2)
    ids = ids_of(first) + ids_of(second)
    sources: list[Any] = [
        [first, second],
        iter([first, *second.messages]),
        ids,
        [int(id_) for id_ in ids],
        (first, ids[2:]),
    ]
    for given in sources:
        told = await desk.clock.drive(told_by(desk.client.track(given)))
        assert sorted(told) == [(id_, 2) for id_ in ids]
    for one in (first.messages[0], ids[0], int(ids[0])):
        assert await desk.clock.drive(told_by(desk.client.track(one))) == [(ids[0], 2)]


async def test_results_of_a_run_are_followed_where_they_were_accepted(desk: Desk) -> None:
    results = await results_of_every_kind(desk)
    accepted = next(result for result in results if isinstance(result, Accepted))
    number = accepted.sent.server_id
    sources: list[Any] = [results, accepted, [results, accepted.sent, number], iter(results)]
    for given in sources:
        assert await desk.clock.drive(told_by(desk.client.track(given))) == [(number, 2)]
    for result in results:
        if not isinstance(result, Accepted):
            assert await told_by(desk.client.track(result)) == []


async def test_a_message_that_is_given_twice_is_followed_once(desk: Desk) -> None:
    packet = await desk.packet(2)
    told = await desk.clock.drive(told_by(desk.client.track([*ids_of(packet), packet, packet.messages[0]])))

    assert sorted(told) == [(id_, 2) for id_ in ids_of(packet)]


async def test_only_what_was_accepted_is_followed(desk: Desk) -> None:
    desk.emulator.refuse(code=212, text="text 1")
    packet = await desk.packet(3)
    told = await desk.clock.drive(told_by(desk.client.track([packet, *packet.messages])))

    assert len(packet.refused) == 1
    assert sorted(told) == [(message.server_id, 2) for message in packet.accepted]

    numbered = attrs.evolve(packet.refused[0], server_id="77")
    assert await told_by(desk.client.track(numbered)) == []


async def test_an_accepted_message_without_an_id_is_reported(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    changes = desk.client.track([SentMessage(status=0), SentMessage(server_id="0", status=0)])

    assert await told_by(changes) == []
    assert "2 accepted messages have no server_id" in caplog.text


async def test_nothing_to_follow_is_over_at_once(desk: Desk) -> None:
    assert await told_by(desk.client.track([], source=Calls())) == []
    assert desk.line.asked == []


@pytest.mark.parametrize("wrong", ["не номер", b"10", 1.5, None, [True], Calls()])
def test_what_cannot_be_followed(wrong: Any) -> None:
    with pytest.raises(InvalidMessage):
        Client("K").track(wrong)


@pytest.mark.parametrize("wrong", [{"poll_interval": 0}, {"timeout": 0}, {"timeout": -1}])
def test_times_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Client("K").track("1", **wrong)


async def test_what_is_final_already_is_reported_and_not_asked_about(desk: Desk) -> None:
    final = SentMessage(id=5, server_id="10", status=2, error=0)

    assert await told_by(desk.client.track(final)) == [("10", 2)]
    assert desk.line.asked == []


# --- how it asks ---------------------------------------------------------------------------------


async def test_messages_that_share_a_packet_are_asked_about_by_packet(desk: Desk) -> None:
    packets = [await desk.packet(3) for _ in range(5)]
    await desk.clock.drive(told_by(desk.client.track(packets)))

    assert {asked.packet for asked in desk.line.asked} == {packet.server_packet_id for packet in packets}
    assert len(desk.line.asked) == 5


async def test_lone_messages_are_asked_about_together_by_id(desk: Desk) -> None:
    packets = [await desk.packet(1) for _ in range(150)]
    await desk.clock.drive(told_by(desk.client.track(packets)))

    assert [(asked.packet, len(asked.ids)) for asked in desk.line.asked] == [(None, 100), (None, 50)]


async def test_final_ones_are_asked_about_no_more(slow_desk: Desk) -> None:
    first, second = await slow_desk.packet(2), await slow_desk.packet(3)
    for id_ in (*ids_of(first), ids_of(second)[0]):
        slow_desk.emulator.set_status(id_, 2)
    follower = Follower(slow_desk.client.track([first, second], poll_interval=60))
    await slow_desk.clock.advance(60)
    slow_desk.emulator.set_status(ids_of(second)[1], 2)
    await slow_desk.clock.advance(60)
    await slow_desk.clock.advance(60)

    by_packet = [(asked.at, asked.packet) for asked in slow_desk.line.asked if asked.packet]
    assert sorted(by_packet) == [
        (60, first.server_packet_id),
        (60, second.server_packet_id),
        (120, second.server_packet_id),
    ]
    assert [(asked.at, asked.ids) for asked in slow_desk.line.asked if asked.ids] == [(180, (ids_of(second)[2],))]
    follower.task.cancel()


async def test_packets_are_asked_about_several_at_once_and_not_more(slow_desk: Desk) -> None:
    emulator, line = slow_desk.emulator, slow_desk.line
    client = Client(emulator.api_key, url=emulator.url, transport=line, max_connections=7)
    packets = [await slow_desk.packet(2) for _ in range(20)]
    emulator.fail_next("check", Fault.SLOW, times=20)
    follower = Follower(client.track(packets))
    await slow_desk.clock.advance(60)

    assert len(line.asked) == 5
    follower.task.cancel()
    emulator.release()
    await client.aclose()


async def test_no_more_is_made_ready_than_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, manual_clock: ManualClock
) -> None:
    client, at_work, most = Client("K", max_connections=7), 0, 0

    async def ask(_command: Any, _until: float | None = None) -> list[MessageStatus]:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return []

    monkeypatch.setattr(client, "_ask_in_background", ask)
    sent = [SentMessage(server_id=str(n), server_packet_id=str(n // 2), status=0) for n in range(2, 402)]
    await manual_clock.drive(told_by(client.track(sent, timeout=80)))

    assert most == 5


async def test_the_schedule(slow_desk: Desk) -> None:
    follower = Follower(slow_desk.client.track(await slow_desk.packet(1)))
    await slow_desk.clock.advance(4 * 3600)

    assert slow_desk.line.times[:5] == [60, 180, 360, 630, 1035]
    assert slow_desk.line.times[-1] - slow_desk.line.times[-2] == 3600
    follower.task.cancel()


async def test_every_in_place_of_the_schedule(slow_desk: Desk) -> None:
    follower = Follower(slow_desk.client.track(await slow_desk.packet(1), poll_interval=25))
    await slow_desk.clock.advance(110)

    assert slow_desk.line.times == [25, 50, 75, 100]
    follower.task.cancel()


async def test_scheduled_messages_are_asked_about_from_then_on(desk: Desk) -> None:
    later = await desk.packet(2, send_at=START + timedelta(hours=5))
    sooner = await desk.packet(2)
    told = await desk.clock.drive(told_by(desk.client.track([later, sooner])))

    assert [id_ for id_, _ in told] == ids_of(sooner) + ids_of(later)
    assert desk.line.times == [60, 5 * 3600 + 60]


async def test_a_send_at_that_has_passed_delays_nothing(desk: Desk) -> None:
    sent = attrs.evolve((await desk.packet(1)).messages[0], send_at=START - timedelta(hours=5))
    await desk.clock.drive(told_by(desk.client.track(sent)))

    assert desk.line.times == [60]


async def test_a_packet_that_the_gateway_does_not_know_is_asked_about_by_ids(desk: Desk) -> None:
    packet = await desk.packet(2)
    messages = [attrs.evolve(message, server_packet_id="999") for message in packet.messages]
    told = await desk.clock.drive(told_by(desk.client.track(messages)))

    assert sorted(told) == [(id_, 2) for id_ in ids_of(packet)]
    assert [(asked.packet, len(asked.ids)) for asked in desk.line.asked] == [("999", 0), (None, 2)]


@pytest.mark.parametrize("number", [None, "0", "не номер"])
async def test_messages_without_a_packet_are_asked_about_by_ids(desk: Desk, number: str | None) -> None:
    packet = await desk.packet(2)
    messages = [attrs.evolve(message, server_packet_id=number) for message in packet.messages]
    await desk.clock.drive(told_by(desk.client.track(messages)))

    assert [(asked.packet, len(asked.ids)) for asked in desk.line.asked] == [(None, 2)]


async def test_messages_that_a_packets_answer_leaves_out_are_asked_about_by_ids(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(3)
    first = ids_of(packet)[0]
    slow_desk.line.answer = lambda document: (
        {"check": [{"server_id": first, "status": 1}]} if document.get("check") is True else None
    )
    follower = Follower(slow_desk.client.track(packet, poll_interval=60))
    await slow_desk.clock.advance(120)

    assert [(asked.at, asked.packet, len(asked.ids)) for asked in slow_desk.line.asked] == [
        (60, packet.server_packet_id, 0),
        (60, None, 2),
        (120, None, 3),
    ]
    follower.task.cancel()


# --- faults --------------------------------------------------------------------------------------


async def test_a_failed_check_is_made_again_next_time(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async._requests.retry._spread", lambda _low, _high: 1.0)
    packet = await desk.packet(2)
    desk.emulator.fail_next("check", Fault.SERVER_ERROR, times=4)  # all attempts of one check
    told = await desk.clock.drive(told_by(desk.client.track(packet)))

    assert sorted(told) == [(id_, 2) for id_ in ids_of(packet)]
    assert desk.line.times == [60, 60.5, 61.5, 63.5, 123.5]  # after a minute again, as the schedule has not gone on
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.name == "smspilot_async"
    assert "1 checks failed (Unanswered)" in warning.getMessage()
    assert not any(id_ in caplog.text for id_ in (*ids_of(packet), packet.server_packet_id or ""))


async def test_one_failed_check_spoils_no_other(desk: Desk) -> None:
    good, bad, lone = await desk.packet(2), await desk.packet(2), await desk.packet(1)
    desk.line.answer = lambda document: (
        {"error": {"code": 14}}
        if document.get("server_packet_id") == bad.server_packet_id and desk.clock.now() < START + timedelta(minutes=2)
        else None
    )
    told = await desk.clock.drive(told_by(desk.client.track([bad, good, lone])))

    assert [id_ for id_, _ in told] == ids_of(good) + ids_of(lone) + ids_of(bad)


async def test_an_error_of_the_account_is_raised(desk: Desk) -> None:
    client = Client("X" * 64, url=desk.emulator.url, transport=desk.emulator.transport)
    packet, calls = await desk.packet(2), Calls()
    for given in (packet, packet.messages[0]):
        with pytest.raises(AuthenticationError):
            await desk.clock.drive(told_by(client.track(given, source=calls)))
        assert calls.closed_by is not None
    await client.aclose()


@pytest.mark.parametrize("by_packet", [True, False])
async def test_a_blocked_account_is_raised(desk: Desk, by_packet: bool) -> None:  # noqa: FBT001
    packet = await desk.packet(2)
    desk.line.answer = lambda _: {"error": {"code": 106}}
    with pytest.raises(AccountBlocked):
        await desk.clock.drive(told_by(desk.client.track(packet if by_packet else ids_of(packet))))
    assert len(desk.line.asked) == 1


async def test_a_closed_client_is_raised(desk: Desk) -> None:
    packet = await desk.packet(1)
    await desk.client.aclose()
    with pytest.raises(ClientClosed):
        await desk.clock.drive(told_by(desk.client.track(packet)))


# --- -2 ------------------------------------------------------------------------------------------


async def test_a_gateway_that_lags_behind_itself_is_not_believed(desk: Desk) -> None:
    desk.emulator.unknowns.check_lag = timedelta(minutes=9)
    packet = await desk.packet(2)
    changes = desk.client.track(packet)
    told = await desk.clock.drive(told_by(changes))

    assert sorted(told) == [(id_, 2) for id_ in ids_of(packet)]
    assert desk.line.times == [60, 180, 360, 630]


@pytest.mark.parametrize(("poll_interval", "at"), [(None, 630), (590, 1180), (700, 1400), (300, 600)])
async def test_lost_takes_ten_minutes_and_two_checks(desk: Desk, poll_interval: float | None, at: float) -> None:
    desk.emulator.unknowns.check_lag = timedelta(days=1000)
    packet = await desk.packet(2)
    told = await desk.clock.drive(told_by(desk.client.track(packet, poll_interval=poll_interval)))

    assert sorted(told) == [(id_, -2) for id_ in ids_of(packet)]
    assert desk.line.times[-1] == at


async def test_lost_by_ids_too(desk: Desk) -> None:
    changes = desk.client.track(["77", "88"])
    told = await desk.clock.drive(told_by(changes))

    assert sorted(told) == [("77", -2), ("88", -2)]
    assert changes.statuses["77"].error == 302
    assert desk.line.times[-1] == 630


async def test_lost_counts_checks_in_a_row(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    answers = iter([-2, -2, 1, -2, -2])
    slow_desk.line.answer = lambda document: (
        {"check": [{"server_id": ids_of(packet)[0], "status": next(answers)}]} if "check" in document else None
    )
    told = await slow_desk.clock.drive(told_by(slow_desk.client.track(packet, poll_interval=299)))

    assert [status for _, status in told] == [1, -2]
    assert slow_desk.line.times[-1] == 5 * 299


async def test_of_a_scheduled_message_the_ten_minutes_begin_when_it_is_due(desk: Desk) -> None:
    desk.emulator.unknowns.check_lag = timedelta(days=1000)
    packet = await desk.packet(1, send_at=START + timedelta(hours=1))
    await desk.clock.drive(told_by(desk.client.track(packet)))

    assert desk.line.times[-1] == 3600 + 630


async def test_a_call_never_says_lost(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(1), Calls()
    follower = Follower(slow_desk.client.track(packet, source=calls))
    await slow_desk.clock.advance(1200)
    calls.call(ids_of(packet)[0], -2)
    calls.call(ids_of(packet)[0], -2)
    await idle()

    assert follower.told == []
    assert follower.changes.pending == tuple(ids_of(packet))
    follower.task.cancel()


async def test_a_call_does_not_confirm_that_a_message_is_lost(desk: Desk) -> None:
    desk.emulator.unknowns.check_lag = timedelta(days=1000)
    packet, calls = await desk.packet(1), Calls()
    follower = Follower(desk.client.track(packet, source=calls, poll_interval=250))
    await desk.clock.advance(650)
    calls.call(ids_of(packet)[0], -2)
    await idle()
    assert follower.told == []

    await desk.clock.advance(100)
    assert follower.statuses == [-2]
    assert follower.task.done()


# --- other statuses ------------------------------------------------------------------------------


async def test_an_unknown_status_is_reported_and_is_not_final(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    number = ids_of(packet)[0]
    follower = Follower(slow_desk.client.track(packet, poll_interval=60))
    for status in (17, 2):
        slow_desk.emulator.set_status(number, status)
        await slow_desk.clock.advance(60)

    await follower.task
    assert follower.statuses == [17, 2]


async def test_a_new_delivery_error_is_a_change(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    answers = iter([{"status": 1, "error": 0}, {"status": 1, "error": 602}, {"status": 1}, {"status": 2}])
    slow_desk.line.answer = lambda document: (
        {"check": [{"server_id": ids_of(packet)[0], **next(answers)}]} if "check" in document else None
    )
    follower = Follower(slow_desk.client.track(packet, poll_interval=60))
    await slow_desk.clock.advance(240)

    assert [(status.status, status.error) for status in follower.told] == [(1, 0), (1, 602), (2, None)]


async def test_rows_that_say_nothing_change_nothing(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    slow_desk.line.answer = lambda document: (
        {"check": [{"server_id": ids_of(packet)[0]}]} if "check" in document else None
    )
    changes = slow_desk.client.track(packet, timeout=600)

    assert await slow_desk.clock.drive(told_by(changes)) == []
    assert changes.statuses[ids_of(packet)[0]].status == 0


# --- called --------------------------------------------------------------------------------------


async def test_calls_are_reported_and_a_final_one_saves_the_poll(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(2), Calls()
    first, second = ids_of(packet)
    follower = Follower(slow_desk.client.track(packet, source=calls))
    calls.call(first, 1)
    calls.call("999", 2)
    calls.call(first, 2)
    calls.call(second, -1, error=601)
    await idle()

    assert follower.task.done()
    assert [(status.server_id, status.status, status.error) for status in follower.told] == [
        (first, 1, 0),
        (first, 2, 0),
        (second, -1, 601),
    ]
    assert slow_desk.line.asked == []
    assert calls.closed_by not in (None, follower.task)


async def test_a_called_message_is_asked_about_no_more(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(2), Calls()
    first, second = ids_of(packet)
    follower = Follower(slow_desk.client.track(packet, source=calls))
    calls.call(first, 2)
    await slow_desk.clock.advance(60)

    assert [asked.ids for asked in slow_desk.line.asked] == [(second,)]
    follower.task.cancel()


async def test_what_was_called_while_packets_are_asked_about_is_spared(slow_desk: Desk) -> None:
    packet, lone, calls = await slow_desk.packet(2), await slow_desk.packet(1), Calls()

    def call_meanwhile(document: dict[str, Any]) -> None:
        if document.get("check") is True:
            calls.call(ids_of(lone)[0], 2)

    slow_desk.line.answer = call_meanwhile
    follower = Follower(slow_desk.client.track([packet, lone], source=calls))
    await slow_desk.clock.advance(60)

    assert follower.statuses == [2]
    assert [asked.packet for asked in slow_desk.line.asked] == [packet.server_packet_id]
    follower.task.cancel()


async def test_a_poll_beats_a_call_and_a_late_call_is_ignored(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(1), Calls()
    number = ids_of(packet)[0]
    slow_desk.emulator.set_status(number, 1)
    follower = Follower(slow_desk.client.track(packet, source=calls, poll_interval=60))
    await slow_desk.clock.advance(60)
    calls.call(number, 0)
    await idle()
    assert follower.statuses == [1]

    calls.call(number, 17)
    await slow_desk.clock.advance(60)
    assert follower.statuses == [1, 17, 1]
    assert follower.changes.statuses[number].status == 1
    follower.task.cancel()


async def test_a_final_poll_corrects_a_final_call(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(3), Calls()
    first = ids_of(packet)[0]
    slow_desk.emulator.set_status(first, -1, 601)
    follower = Follower(slow_desk.client.track(packet, source=calls))
    calls.call(first, 2)
    await slow_desk.clock.advance(60)  # the packet is asked about for the sake of the other two

    assert follower.statuses == [2, -1]
    assert first not in follower.changes.pending
    follower.task.cancel()


async def test_a_poll_keeps_the_delivery_error_that_a_call_brought(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(3), Calls()
    first = ids_of(packet)[0]
    slow_desk.emulator.set_status(first, 1)
    follower = Follower(slow_desk.client.track(packet, source=calls))
    calls.call(first, 1, error=17)
    await slow_desk.clock.advance(60)

    assert follower.statuses == [1]
    assert follower.changes.statuses[first].error == 17
    assert follower.changes.statuses[first].modified is not None
    follower.task.cancel()


async def test_a_source_that_ends_ends_nothing(desk: Desk) -> None:
    packet, calls = await desk.packet(1), Calls()
    calls.queue.put_nowait(None)

    assert await desk.clock.drive(told_by(desk.client.track(packet, source=calls))) == [(ids_of(packet)[0], 2)]


async def test_a_failing_source_is_raised_after_the_changes_before_it(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(1), Calls()
    calls.call(ids_of(packet)[0], 1)
    calls.queue.put_nowait(OSError("redis is away"))
    follower = Follower(slow_desk.client.track(packet, source=calls))

    with pytest.raises(OSError, match="redis"):
        await follower.task
    assert follower.statuses == [1]


async def test_the_source_is_closed_when_the_last_status_was_polled(desk: Desk) -> None:
    packet, calls = await desk.packet(1), Calls()
    await desk.clock.drive(told_by(desk.client.track(packet, source=calls)))

    assert calls.closed_by is not None


async def test_calls_wait_for_a_caller_who_has_much_to_take(slow_desk: Desk) -> None:
    packet, calls = await slow_desk.packet(1), Calls()
    for status in range(10, 5010):
        calls.call(ids_of(packet)[0], status)
    async with slow_desk.client.track(packet, source=calls, poll_interval=60) as changes:
        await idle()
        assert calls.queue.qsize() == 4000
        await slow_desk.clock.advance(600)
        assert slow_desk.line.asked == []  # nor is the gateway asked
        for expected in range(10, 5010):
            assert (await anext(changes)).status == expected


# --- the end of it -------------------------------------------------------------------------------


async def test_at_the_timeout_it_gives_up_with_what_it_knows(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(3)
    first, second, third = ids_of(packet)
    slow_desk.emulator.set_status(first, 2)
    slow_desk.emulator.set_status(second, 1)
    changes = slow_desk.client.track([packet, "555"], timeout=200)
    told, end = await slow_desk.clock.drive(told_and_end(slow_desk, changes))

    assert told == [(first, 2), (second, 1)]
    assert end == 200
    assert changes.pending == (second, third, "555")
    assert {id_: status.status for id_, status in changes.statuses.items()} == {first: 2, second: 1, third: 0}


async def test_the_default_is_the_forty_days_of_the_gateway(slow_desk: Desk) -> None:
    changes = slow_desk.client.track(await slow_desk.packet(1), poll_interval=86_000)
    _, end = await slow_desk.clock.drive(told_and_end(slow_desk, changes))

    assert end == 40 * 86_400
    assert len(changes.pending) == 1


@pytest.mark.parametrize(
    ("timeout", "times"), [(30, [22.5]), (4, [3]), (65, [55]), (200, [60, 180, 190]), (69, [59]), (190, [60, 180])]
)
async def test_a_last_check_shortly_before_the_timeout(slow_desk: Desk, timeout: float, times: list[float]) -> None:  # noqa: ASYNC109
    changes = slow_desk.client.track(await slow_desk.packet(1), timeout=timeout)
    await slow_desk.clock.drive(told_by(changes))

    assert slow_desk.line.times == times


async def test_the_timeout_ends_a_check_that_hangs(slow_desk: Desk) -> None:
    slow_desk.emulator.fail_next("check", Fault.SLOW, times=9)
    follower = Follower(slow_desk.client.track(await slow_desk.packet(1), timeout=61))
    await slow_desk.clock.advance(61)

    assert follower.task.done()
    slow_desk.emulator.release()


async def test_what_was_reported_before_the_timeout_is_not_lost(slow_desk: Desk) -> None:
    packet = await slow_desk.packet(1)
    slow_desk.emulator.set_status(ids_of(packet)[0], 1)
    async with slow_desk.client.track(packet, timeout=100) as changes:
        await slow_desk.clock.advance(200)
        assert [status.status async for status in changes] == [1]


async def test_leaving_early_leaves_no_task_behind(slow_desk: Desk) -> None:
    slow_desk.emulator.fail_next("check", Fault.SLOW, times=9)
    packet, calls = await slow_desk.packet(3), Calls()
    before = asyncio.all_tasks()
    async with slow_desk.client.track(packet, source=calls):
        await slow_desk.clock.advance(60)
    assert asyncio.all_tasks() == before
    assert calls.closed_by is not None
    slow_desk.emulator.release()


async def test_the_run_is_logged_without_ids(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="smspilot_async")
    packet = await desk.packet(2)
    await desk.clock.drive(told_by(desk.client.track(packet)))

    assert caplog.messages == ["tracking of 2 messages: 2 final, 0 pending"]


# --- wait_final ----------------------------------------------------------------------------------


async def test_wait_final(desk: Desk) -> None:
    sent = (await desk.packet(1)).messages[0]
    assert sent.server_id is not None
    for given in (sent, sent.server_id, int(sent.server_id)):
        status = await desk.clock.drive(desk.client.wait_final(given, poll_interval=5))
        assert (status.server_id, status.status) == (sent.server_id, 2)


async def test_wait_final_of_a_lost_message(desk: Desk) -> None:
    status = await desk.clock.drive(desk.client.wait_final("77"))
    assert (status.server_id, status.status, status.error) == ("77", -2, 302)


async def test_wait_final_out_of_time_carries_the_last_status(slow_desk: Desk) -> None:
    sent = (await slow_desk.packet(1)).messages[0]
    slow_desk.emulator.set_status(sent.server_id or "", 1)
    with pytest.raises(NotFinal) as caught:
        await slow_desk.clock.drive(slow_desk.client.wait_final(sent, timeout=30))

    assert caught.value.status is not None
    assert caught.value.status.status == 1
    assert isinstance(caught.value, TimeoutError)


async def test_wait_final_out_of_time_and_nothing_known(slow_desk: Desk) -> None:
    with pytest.raises(NotFinal) as caught:
        await slow_desk.clock.drive(slow_desk.client.wait_final("77", timeout=30))
    assert caught.value.status is None
    assert "accepted" not in str(caught.value)  # an id of which the gateway says nothing may be anything
    assert "Check that the id is right" in str(caught.value)


async def test_wait_final_of_what_was_not_accepted_raises_its_failure(desk: Desk) -> None:
    desk.emulator.refuse(code=212)
    sent = (await desk.packet(1)).messages[0]
    with pytest.raises(MessageRefused):
        await desk.client.wait_final(sent)
    assert desk.line.asked == []


async def test_wait_final_of_what_has_no_id(desk: Desk) -> None:
    with pytest.raises(InvalidMessage):
        await desk.client.wait_final(SentMessage(status=0))
