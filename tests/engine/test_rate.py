"""The limit of messages per second keeps its pace."""

from __future__ import annotations

import asyncio

import pytest

from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async._tools.clock import Clock


class LateClock(Clock):
    """Every sleep takes a tenth longer than it should, as on a busy machine."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds * 1.1


@pytest.mark.parametrize("background", [False, True])
async def test_waking_late_does_not_slow_the_rate_down(*, background: bool) -> None:
    clock = LateClock()
    limit = RateLimit(10.0, clock)

    await asyncio.gather(*(limit.wait(5, float("inf"), background=background) for _ in range(100)))

    assert clock.seconds - 1000 == pytest.approx(99 * 0.5, rel=0.005)


async def test_time_that_passed_unused_is_not_made_up_for() -> None:
    clock = LateClock()
    limit = RateLimit(10.0, clock)
    await limit.wait(1, float("inf"))
    clock.seconds += 100

    await asyncio.gather(*(limit.wait(5, float("inf")) for _ in range(3)))

    assert clock.seconds - 1100 == pytest.approx(1.0, rel=0.1)


async def test_no_limit_is_always_open() -> None:
    limit = RateLimit(None, LateClock())
    assert limit.is_open
    assert await limit.wait(10**6, 0.0)
    assert limit.is_open


async def test_what_was_let_through_elsewhere_counts() -> None:
    clock = LateClock()
    limit = RateLimit(10.0, clock)
    limit.count(20)
    assert not limit.is_open
    await limit.wait(1, float("inf"))
    assert clock.seconds - 1000 >= 2
