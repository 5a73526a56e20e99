"""What a listener asks and when, what it hands over, and when its cursor moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest
from listening_room import DurableCursor
from manual_clock import idle

from smspilot_async import Client, CursorState, InboundListener
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from listening_room import Room

    from smspilot_async.emulator import Emulator

START = datetime(2030, 1, 15, 15, 0, 20, tzinfo=UTC)
OVERLAP = timedelta(minutes=10)


def row(id_: int | None, text: str, created: str | None = "2030-01-15 18:00", **more: Any) -> dict[str, Any]:
    """A message as the gateway writes it, by Moscow's clock."""
    return {"id": id_, "phone": "79087964781", "text": text, "created": created, "seen": 0, **more}


# --- what is asked -------------------------------------------------------------------------------


async def test_it_has_the_gateways_time_on_record_then_sweeps_and_only_then_reads_new(
    room: Room, cursor: DurableCursor
) -> None:
    cursor.log = room.wire.log
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == []
    assert room.wire.asked() == ["balance", "save", START - OVERLAP, "save", "new"]
    assert cursor.state == CursorState(START)


async def test_with_a_saved_cursor_it_sweeps_from_there(room: Room, cursor: DurableCursor) -> None:
    cursor.state = CursorState(START - timedelta(days=2))
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == []
    assert room.wire.asked() == [START - timedelta(days=2) - OVERLAP, "new"]
    assert cursor.state == CursorState(START)


async def test_it_polls_at_its_interval_and_sweeps_at_every_twentieth_poll(room: Room) -> None:
    inbox = room.client.listen(poll_interval=7)
    asked = []
    await room.rest(inbox)
    room.wire.asked()
    for _ in range(41):
        await room.advance(6.9)
        assert await room.rest(inbox) == []
        assert room.wire.asked() == []
        await room.after(0.1, inbox)
        asked += ["new" if one == "new" else "sweep" for one in room.wire.asked()]
    assert asked == (["new"] * 19 + ["sweep", "new"]) * 2 + ["new"]


async def test_a_sweep_goes_back_to_the_last_one_and_an_overlap_by_the_gateways_clock(room: Room) -> None:
    inbox = room.client.listen(poll_interval=60)
    await room.rest(inbox)
    times = []
    for _ in range(40):
        await room.after(60, inbox)
        times += [one for one in room.wire.asked() if isinstance(one, datetime)]
    swept = START + timedelta(minutes=20)
    assert times == [START - OVERLAP, START - OVERLAP, swept - OVERLAP]


async def test_the_time_is_read_anew_at_a_first_start(room: Room) -> None:
    await room.client.balance()
    await room.advance(3600)
    room.wire.asked()
    await room.rest(room.client.listen())
    assert room.wire.asked()[1] == START + timedelta(hours=1) - OVERLAP


async def test_a_gateway_that_gives_no_time_is_taken_to_have_ours(room: Room) -> None:
    room.wire.has_date = False
    await room.rest(room.client.listen())
    assert room.wire.asked()[1] == room.clock.now() - OVERLAP


async def test_even_an_error_gives_the_gateways_time(room: Room) -> None:
    room.emulator.fail_next("balance", Fault.BUSY)
    await room.rest(room.client.listen())
    assert room.wire.asked() == ["balance", START - OVERLAP, "new"]


async def test_without_an_answer_it_does_not_begin(room: Room, cursor: DurableCursor) -> None:
    room.emulator.fail_next("balance", Fault.ACCEPT_THEN_RESET)
    inbox = room.client.listen(cursor=cursor)
    assert await room.rest(inbox) == []
    assert room.wire.asked() == ["balance"]
    assert cursor.state is None
    await room.after(30, inbox)
    assert room.wire.asked() == ["balance", START + timedelta(seconds=30) - OVERLAP, "new"]


async def test_it_leaves_connections_for_sends(room: Room) -> None:
    slots = room.client._session().requester.slots
    while slots.take(background=True):
        pass
    task = asyncio.ensure_future(anext(room.client.listen()))
    await idle()
    assert room.wire.asked() == []  # although there are two places that a send could take
    assert slots.take()
    task.cancel()
    await asyncio.wait({task})


# --- what is handed over -------------------------------------------------------------------------


async def test_messages_come_once_and_in_order(room: Room) -> None:
    room.sms("one", "two")
    inbox = room.client.listen()
    assert await room.rest(inbox) == ["one", "two"]
    room.sms("three")
    assert await room.after(30, inbox) == ["three"]
    for _ in range(45):
        assert await room.after(30, inbox) == []


@pytest.mark.parametrize("wire", ["json", "xml"])
async def test_half_an_emoji_keeps_no_message_back(gateway: Emulator, wire: Literal["json", "xml"]) -> None:
    gateway.inbound("79087964781", "half \ud83d")
    gateway.inbound("79087964782", "STOP")
    async with (
        Client(gateway.api_key, transport=gateway.transport, wire=wire) as client,
        client.listen(cursor=DurableCursor()) as inbox,
    ):
        texts = [(await anext(inbox)).text for _ in range(2)]
    assert texts == ["half \ufffd", "STOP"]


async def test_an_answer_is_sorted_by_time_then_id(room: Room) -> None:
    answer = [
        row(9, "third"),
        row(10, "fourth"),
        row(11, "first", "2030-01-15 17:58"),
        row(3, "no time", None),
        row(None, "second, without an id"),
    ]
    room.wire.answers = [answer]
    assert await room.rest(room.client.listen()) == ["first", "second, without an id", "third", "fourth", "no time"]


async def test_what_has_no_id_or_no_time_is_handed_over(room: Room, cursor: DurableCursor) -> None:
    room.wire.answers = [[], [row(None, "no id", None), row(0, "id 0"), row(0, "id 0 too"), row(5, "no time", "")]]
    async with room.client.listen(cursor=cursor) as inbox:
        assert sorted(await room.rest(inbox)) == ["id 0", "id 0 too", "no id", "no time"]
    assert cursor.state is not None
    assert cursor.state.handed_over == {5: START}


async def test_one_answer_with_a_message_twice_hands_it_over_once(room: Room) -> None:
    room.wire.answers = [[row(1, "one"), row(1, "one")]]
    assert await room.rest(room.client.listen()) == ["one"]


async def test_new_brings_nothing_again_that_a_sweep_did_not_mark_as_read(room: Room) -> None:
    room.wire.answers = [[row(1, "one")], [row(1, "one"), row(2, "two")]]
    assert await room.rest(room.client.listen()) == ["one", "two"]


async def test_what_another_reader_took_comes_with_the_next_sweep(room: Room) -> None:
    inbox = room.client.listen(poll_interval=60)
    await room.rest(inbox)
    room.sms("stolen")
    assert [sms.text for sms in await room.client.inbound("new")] == ["stolen"]
    for _ in range(19):
        assert await room.after(60, inbox) == []
    assert await room.after(60, inbox) == ["stolen"]


async def test_a_lost_answer_is_made_up_for_at_the_next_poll(room: Room) -> None:
    inbox = room.client.listen()
    await room.rest(inbox)
    room.sms("lost")
    room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
    assert await room.after(30, inbox) == []
    assert await room.after(30, inbox) == ["lost"]


async def test_an_answer_to_new_that_is_lost_is_not_asked_for_again_as_new(room: Room) -> None:
    inbox = room.client.listen()
    await room.rest(inbox)
    room.wire.asked()
    room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_HALF_ANSWER)
    await room.after(30, inbox)
    assert room.wire.asked() == ["new"]
    await room.after(30, inbox)
    assert room.wire.asked() == [START - OVERLAP, "new"]


async def test_minutes_and_clocks_that_differ_lose_nothing(room: Room) -> None:
    """A message whose time lies minutes before the sweep that did not see it is still found by the next."""
    inbox = room.client.listen(poll_interval=60)
    await room.rest(inbox)
    for _ in range(19):
        await room.after(60, inbox)
    room.wire.asked()
    await room.after(60, inbox)
    assert room.wire.asked() == [START - OVERLAP, "new"]
    swept = START + timedelta(minutes=20)
    for _ in range(20):
        await room.after(60, inbox)
    sweeps = [one for one in room.wire.asked() if one != "new"]
    assert sweeps == [swept - OVERLAP]


# --- the cursor ----------------------------------------------------------------------------------


async def test_the_cursor_moves_over_a_message_once_the_next_is_asked_for(room: Room, cursor: DurableCursor) -> None:
    room.sms("one", "two")
    cursor.log = room.wire.log
    async with room.client.listen(cursor=cursor) as inbox:
        assert (await anext(inbox)).text == "one"
        assert room.wire.asked() == ["balance", "save", START - OVERLAP]
        assert (await anext(inbox)).text == "two"
        assert room.wire.asked() == ["mark 1"]
        assert await room.rest(inbox) == []
        assert room.wire.asked() == ["mark 2", "save", "new"]


async def test_the_message_that_was_left_comes_again_and_no_other(room: Room, cursor: DurableCursor) -> None:
    room.sms("one", "two", "three")
    assert await room.some(2, cursor) == ["one", "two"]
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == ["two", "three"]
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == []


async def test_the_time_moves_only_with_a_sweep_whose_messages_are_all_handed_over(
    room: Room, cursor: DurableCursor
) -> None:
    async with room.client.listen(cursor=cursor) as inbox:
        await room.rest(inbox)
        room.sms("one", "two")
        await room.advance(30)
        assert (await anext(inbox)).text == "one"
        await room.advance(3600)
    cursor.log = room.wire.log
    room.wire.asked()
    assert cursor.state == CursorState(START)
    async with room.client.listen(cursor=cursor) as inbox:
        await anext(inbox)
        await anext(inbox)
        assert room.wire.asked() == ["save", START - OVERLAP, "mark 1"]
        assert cursor.state is not None
        assert cursor.state.since == START
        assert await room.rest(inbox) == []
    assert cursor.state.since == START + timedelta(seconds=3630)


async def test_it_forgets_ids_that_no_sweep_can_bring_again(room: Room, cursor: DurableCursor) -> None:
    async with room.client.listen(poll_interval=60, cursor=cursor) as inbox:
        most = 0
        for minute in range(200):
            room.sms(*(f"{minute} {number}" for number in range(5)))
            assert len(await room.after(60, inbox)) == 5
            assert cursor.state is not None
            most = max(most, len(cursor.state.handed_over))
    # those of twenty polls, of the overlap before them, and of the minute that `created` leaves open
    assert 20 * 5 < most <= (20 + 10 + 2) * 5


async def test_an_id_is_remembered_for_a_minute_longer_than_its_time_says(room: Room, cursor: DurableCursor) -> None:
    """`created` has minutes only: what it shows may be that much too early."""
    cursor.state = CursorState(START, {1: START})
    await room.advance(600)
    for seconds, remembered in ((60, {1}), (1, set())):
        await room.advance(seconds)
        async with room.client.listen(cursor=cursor) as inbox:
            assert await room.rest(inbox) == []
        assert set(cursor.state.handed_over) == remembered


async def test_ids_are_remembered_as_long_as_a_message_from_the_future_may_come_again(
    room: Room, cursor: DurableCursor
) -> None:
    ahead = row(1, "from a clock that is ahead", "2030-01-15 20:00")
    got = []
    for _ in range(4):
        room.wire.answers = [[ahead], []]
        async with room.client.listen(cursor=cursor) as inbox:
            got += await room.rest(inbox)
        room.emulator.clock.advance(minutes=30)
    assert got == ["from a clock that is ahead"]


# --- older than any sweep ------------------------------------------------------------------------


async def test_what_was_unread_long_before_the_first_start_survives_a_kill_too(
    room: Room, cursor: DurableCursor
) -> None:
    room.sms("read long ago")
    await room.client.inbound("new")
    room.emulator.clock.advance(minutes=5)
    room.sms("one", "two", "three")
    room.emulator.clock.advance(days=3)
    assert await room.some(2, cursor) == ["one", "two"]
    assert cursor.state is not None
    assert set(cursor.state.waiting) == {3, 4}
    room.emulator.clock.advance(days=1)
    assert await room.some(2, cursor) == ["two", "three"]
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == ["three"]
    assert cursor.state == CursorState(cursor.state.since, {4: cursor.state.handed_over[4], **cursor.state.handed_over})
    assert cursor.state.waiting == {}


async def test_a_deep_sweep_repeats_nothing_that_is_forgotten_and_drops_nothing_unread(
    room: Room, cursor: DurableCursor
) -> None:
    long_ago = START - timedelta(days=3)
    cursor.state = CursorState(START, {}, {2: long_ago})
    old = "2030-01-12 18:00"
    rows = [
        row(1, "handed over long ago", old, seen=1),
        row(2, "waited for", old, seen=1),
        row(3, "unread, late", old),
        row(4, "in the overlap", "2030-01-15 17:50", seen=1),
        row(5, "without a time", None, seen=1),
    ]
    room.wire.answers = [rows]
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == ["waited for", "unread, late", "in the overlap", "without a time"]
    assert room.wire.asked() == [long_ago, "new"]


async def test_what_was_waited_for_is_not_swept_for_again(room: Room, cursor: DurableCursor) -> None:
    room.sms("old")
    room.emulator.clock.advance(days=1)
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == ["old"]
        room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
        await room.after(30, inbox)
        room.wire.asked()
        await room.after(30, inbox)
    assert room.wire.asked() == [START + timedelta(days=1) - OVERLAP, "new"]


async def test_what_the_gateway_has_no_more_is_not_waited_for(room: Room, cursor: DurableCursor) -> None:
    cursor.state = CursorState(START, {}, {7: START - timedelta(days=50)})
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == []
    assert cursor.state == CursorState(START)


async def test_an_ordinary_sweep_trusts_the_gateways_choice_of_times(room: Room) -> None:
    """Should `created` be in another zone than the document says, stolen messages must not be taken for old ones."""
    room.wire.answers = [[row(1, "seemingly old", "2030-01-15 10:00", seen=1)]]
    assert await room.rest(room.client.listen()) == ["seemingly old"]


# --- its interface ---------------------------------------------------------------------------------


async def test_last_poll_says_how_fresh_it_is(room: Room) -> None:
    inbox = room.client.listen()
    assert inbox.last_poll is None
    await room.rest(inbox)
    first = room.clock.now()
    assert inbox.last_poll == first
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
    await room.after(30, inbox)
    assert inbox.last_poll == first
    await room.after(30, inbox)
    assert inbox.last_poll == first + timedelta(seconds=60)


async def test_its_repr_says_whether_it_is_open(room: Room) -> None:
    async with room.client.listen() as inbox:
        assert isinstance(inbox, InboundListener)
        assert repr(inbox).startswith("<InboundListener, listening")
    assert repr(inbox).startswith("<InboundListener, closed")


@pytest.mark.parametrize("poll_interval", [0, -1.0, float("nan")])
def test_an_interval_is_above_zero(room: Room, poll_interval: float) -> None:
    with pytest.raises(ValueError, match="poll_interval must be a number above 0"):
        room.client.listen(poll_interval=poll_interval)


def test_a_cursor_is_a_path_or_a_cursor(room: Room) -> None:
    with pytest.raises(TypeError, match="cursor must be a path, an InboundCursor or None, not int"):
        room.client.listen(cursor=5)  # type: ignore[arg-type]
