"""The clock that everything takes its time from, and the one that tests turn by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from manual_clock import ManualClock, idle

from smspilot_async import Client, InvalidMessage, Message
from smspilot_async._tools import clock as _clock


def test_the_systems_clock_gives_the_systems_time() -> None:
    clock = _clock.current()
    before, began = datetime.now(UTC), clock.monotonic()

    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.monotonic() >= began


async def test_the_systems_clock_sleeps_rings_and_runs_out() -> None:
    clock = _clock.current()
    rung = asyncio.Event()

    await clock.sleep(0)
    clock.call_at(clock.monotonic() - 1, rung.set)
    await rung.wait()
    with pytest.raises(TimeoutError):
        async with clock.timeout_at(clock.monotonic() - 1):
            await asyncio.Event().wait()


async def test_a_timer_that_is_called_off_does_not_ring() -> None:
    rung: list[str] = []
    for clock in (_clock.current(), ManualClock()):
        clock.call_at(clock.monotonic(), lambda: rung.append("late")).cancel()
    await idle()

    assert rung == []


def test_another_clock_replaces_it_for_as_long_as_asked() -> None:
    clock = ManualClock()
    with _clock.use(clock):
        assert _clock.current() is clock
        assert Client("KEY")._clock is clock
        with pytest.raises(InvalidMessage, match="send_at"):
            Message("79087964781", "Hi", send_at=clock.now() - timedelta(seconds=1))

    assert _clock.current() is not clock


async def test_the_manual_clock_makes_everything_happen_at_its_own_moment() -> None:
    clock = ManualClock()
    happened: list[tuple[str, float]] = []
    start = clock.monotonic()

    def note(what: str) -> None:
        happened.append((what, clock.monotonic() - start))

    async def sleeper() -> None:
        await clock.sleep(2)
        note("slept")
        await clock.sleep(2)
        note("slept again")

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with clock.timeout_at(start + 3):
                await clock.sleep(99)
        note("ran out")

    tasks = [asyncio.ensure_future(sleeper()), asyncio.ensure_future(impatient())]
    clock.call_at(start + 1, lambda: note("rang"))
    await clock.advance(10)
    await asyncio.gather(*tasks)

    assert happened == [("rang", 1.0), ("slept", 2.0), ("ran out", 3.0), ("slept again", 4.0)]
    assert clock.monotonic() == start + 10
