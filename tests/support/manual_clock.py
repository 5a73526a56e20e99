"""A clock that moves only by hand, so that back-off, deadlines and timeouts are tested without waiting for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from smspilot_async._tools.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from smspilot_async._tools.clock import Timer

Value = TypeVar("Value")

START = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
_MONOTONIC_START = 1000.0
_QUIET_TURNS = 3


async def idle() -> None:
    """Let the loop run until nothing in it is ready to go on: what is left waits for a socket, a thread or a clock."""
    ready: Any = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009 - asyncio has no public word for it
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = 0 if ready else quiet + 1


@attrs.define(order=True)
class _Alarm:
    when: float
    number: int
    ring: Callable[[], object] = attrs.field(order=False)
    is_sleep: bool = attrs.field(order=False)
    is_off: bool = attrs.field(order=False, default=False)

    def cancel(self) -> None:
        self.is_off = True


class ManualClock(Clock):
    """A clock that stands still until :meth:`advance` turns it.

    Attributes:
        slept: The seconds of every sleep that was asked for, in order.
        shift: How far the wall clock was set ahead, or back, since it began.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.shift = timedelta()
        self._monotonic = _MONOTONIC_START
        self._alarms: list[_Alarm] = []
        self._numbers = itertools.count()
        self._someone_sleeps = asyncio.Event()

    # --- what the library uses -------------------------------------------------------------------

    def now(self) -> datetime:
        return START + self.shift + timedelta(seconds=self._monotonic - _MONOTONIC_START)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        alarm = self._set(self._monotonic + seconds, woken.set, is_sleep=True)
        self._someone_sleeps.set()
        try:
            await woken.wait()
        finally:
            alarm.cancel()

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        alarm = self._set(when, call, is_sleep=False)
        if when <= self._monotonic:
            asyncio.get_running_loop().call_soon(self._ring, alarm)
        return alarm

    @asynccontextmanager
    async def timeout_at(self, when: float) -> AsyncGenerator[object, None]:
        async with asyncio.timeout(None if when > self._monotonic else 0) as timeout:
            alarm = self._set(when, lambda: timeout.reschedule(0), is_sleep=False)
            try:
                yield timeout
            finally:
                alarm.cancel()

    # --- what tests use --------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Turn it forward; everything that becomes due happens at its own moment, and the loop is idle afterwards."""
        await self._advance_to(self._monotonic + seconds)

    async def sleeper(self) -> None:
        """Wait until a task sleeps by this clock."""
        while not self._next_sleep():
            self._someone_sleeps.clear()
            await self._someone_sleeps.wait()

    async def drive(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine to its end, turning the clock to each sleep's end as soon as there is one."""
        task = asyncio.ensure_future(work)
        while not task.done():
            sleeper = asyncio.ensure_future(self.sleeper())
            await asyncio.wait({task, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            sleeper.cancel()
            await self._idle()
            if not task.done() and (alarm := self._next_sleep()):
                await self._advance_to(alarm.when)
        return task.result()

    def _next_sleep(self) -> _Alarm | None:
        return min((alarm for alarm in self._alarms if alarm.is_sleep and not alarm.is_off), default=None)

    def _set(self, when: float, ring: Callable[[], object], *, is_sleep: bool) -> _Alarm:
        alarm = _Alarm(when, next(self._numbers), ring, is_sleep)
        heapq.heappush(self._alarms, alarm)
        return alarm

    async def _advance_to(self, when: float) -> None:
        await self._idle()
        while self._alarms and self._alarms[0].when <= when:
            alarm = heapq.heappop(self._alarms)
            if not alarm.is_off:
                self._monotonic = max(self._monotonic, alarm.when)
                self._ring(alarm)
                await self._idle()
        self._monotonic = max(self._monotonic, when)
        await self._idle()

    async def _idle(self) -> None:
        await idle()

    def _ring(self, alarm: _Alarm) -> None:
        if not alarm.is_off:
            alarm.cancel()
            alarm.ring()
