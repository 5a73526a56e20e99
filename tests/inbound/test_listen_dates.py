"""An answer's date is not believed beyond the time that has passed: a sweep must not begin in the future."""
# ruff: noqa: ASYNC240 - a test may write a small file

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from smspilot_async import CursorState, FileCursor
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from listening_room import DurableCursor, Room

    from smspilot_async import InboundListener

START = datetime(2030, 1, 15, 15, 0, 20, tzinfo=UTC)
OVERLAP = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbound.cursor"


async def lose_one(room: Room, cursor: FileCursor | DurableCursor | None = None) -> list[str]:
    """Listen while one answer is lost that carried a message, and return the texts that came by the next sweep."""
    async with room.client.listen(cursor=cursor) as inbox:
        await room.rest(inbox)
        room.sms("lost")
        room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
        assert await room.after(30, inbox) == []
        return await room.after(30, inbox)


@pytest.mark.parametrize("ahead", [timedelta(minutes=11), HOUR, timedelta(days=1)])
async def test_a_sweep_whose_date_ran_ahead_lets_later_sweeps_lose_nothing(room: Room, ahead: timedelta) -> None:
    inbox = room.client.listen()
    await room.rest(inbox)
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
    await room.after(30, inbox)
    room.wire.ahead = [ahead]
    assert await room.after(30, inbox) == []  # the sweep
    room.sms("lost")
    room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
    assert await room.after(30, inbox) == []
    assert await room.after(30, inbox) == ["lost"]


async def test_a_gateway_whose_dates_stay_ahead_loses_nothing_either(room: Room) -> None:
    inbox = room.client.listen()
    await room.rest(inbox)
    room.wire.ahead = [HOUR] * 60
    for _ in range(45):
        assert await room.after(30, inbox) == []
    room.sms("lost")
    room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
    assert await room.after(30, inbox) == []
    assert await room.after(30, inbox) == ["lost"]


async def test_the_first_date_of_all_may_run_ahead(room: Room) -> None:
    room.wire.ahead = [HOUR]
    assert await lose_one(room) == ["lost"]


async def test_a_date_ahead_in_the_last_sweep_before_a_restart_is_not_on_record(room: Room, path: Path) -> None:
    async with room.client.listen(cursor=path) as inbox:
        await room.rest(inbox)
        room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
        await room.after(30, inbox)
        room.wire.ahead = [HOUR]
        await room.after(30, inbox)
        room.sms("lost")
        room.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
        assert await room.after(30, inbox) == []
    async with room.client.listen(cursor=path) as inbox:
        assert await room.rest(inbox) == ["lost"]


async def test_a_date_ahead_in_the_first_sweep_after_a_restart_is_not_believed(room: Room, path: Path) -> None:
    async with room.client.listen(cursor=path) as inbox:
        await room.rest(inbox)
    await room.advance(7200)
    room.wire.ahead = [HOUR]
    assert await lose_one(room, FileCursor(path)) == ["lost"]


@pytest.mark.parametrize("shift", [-HOUR, HOUR], ids=["back", "ahead"])
async def test_a_machine_whose_clock_was_set_between_two_lives_loses_and_repeats_nothing(
    room: Room, path: Path, shift: timedelta
) -> None:
    async with room.client.listen(cursor=path) as inbox:
        room.sms("before")
        assert await room.rest(inbox) == ["before"]
    room.clock.shift += shift
    await room.advance(1200)
    assert await lose_one(room, FileCursor(path)) == ["lost"]


async def test_a_machine_that_sleeps_stops_one_of_its_clocks_and_lags_by_nothing(
    room: Room, cursor: DurableCursor
) -> None:
    async with room.client.listen(cursor=cursor) as inbox:
        await room.rest(inbox)
        room.sms("while it slept")
        room.emulator.clock.advance(hours=8)
        room.clock.shift += timedelta(hours=8)
        assert await room.after(30, inbox) == ["while it slept"]
        await sweep(room, inbox)
    assert cursor.state is not None
    assert cursor.state.since == START + timedelta(hours=8, seconds=90)


async def test_a_machine_both_of_whose_clocks_stood_still_sweeps_further_back_and_catches_up(
    room: Room, cursor: DurableCursor
) -> None:
    async with room.client.listen(cursor=cursor) as inbox:
        await room.rest(inbox)
        room.sms("while it stood still")
        room.emulator.clock.advance(seconds=60)
        assert await room.after(30, inbox) == ["while it stood still"]
        await sweep(room, inbox)
        assert cursor.state is not None
        assert cursor.state.since == START + timedelta(seconds=90 * 61 / 60)
        await room.advance(3600)
        await sweep(room, inbox)
    assert cursor.state.since == START + timedelta(seconds=60 + 90 + 3600 + 60)


async def sweep(room: Room, inbox: InboundListener) -> None:
    """Let a poll fail, and the next one find nothing new."""
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
    await room.after(30, inbox)
    assert await room.after(30, inbox) == []


async def test_dates_at_the_end_of_all_time_end_nothing(room: Room) -> None:
    inbox = room.client.listen()
    room.wire.ahead = [datetime.max.replace(microsecond=0, tzinfo=UTC) - START] * 3
    room.sms("one")
    assert await room.rest(inbox) == ["one"]
    room.sms("two")
    assert await room.after(30, inbox) == ["two"]


async def test_a_cursor_of_another_version_of_this_library_is_read(room: Room, path: Path) -> None:
    path.write_text(
        '{"format":"smspilot_async inbound cursor","version":1,"since":"2030-01-15T14:00:20+00:00",'
        '"handed_over":[],"waiting":[]}\n'
    )
    room.wire.asked()
    assert await lose_one(room, FileCursor(path)) == ["lost"]
    assert room.wire.asked()[0] == START - HOUR - OVERLAP


def test_where_this_machines_clock_stood_is_no_part_of_how_far_a_cursor_came() -> None:
    assert CursorState(START, noted=START) == CursorState(START)
