"""A limit in messages per second, shared by all sends of a client in one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async._tools.clock import Clock


class RateLimit:
    """Lets messages through at a steady rate, in order of arrival, urgent ones first.

    A turn is taken when it comes, and not reserved in advance: a waiter that gives up leaves no gap, and a one-time
    code waits for one packet of a campaign at most.

    Args:
        per_second: Messages per second; ``None`` for no limit.
        clock: The client's.
    """

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._interval = 0.0 if per_second is None else 1 / per_second
        self._clock = clock
        self._next = 0.0
        self._urgent = 0
        self._nothing_urgent = asyncio.Event()
        self._queue = asyncio.Lock()
        self._background_queue = asyncio.Lock()

    @property
    def is_set(self) -> bool:
        """There is a limit."""
        return self._interval > 0

    @property
    def is_open(self) -> bool:
        """A message that arrives now need not wait."""
        is_queued = self._queue.locked() or self._background_queue.locked()
        return not self.is_set or (self._next <= self._clock.monotonic() and not is_queued)

    async def wait(
        self, messages: int, until: float, *, background: bool = False, is_wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Wait for these messages' turn; ``False``, and no turn taken, if it would come after ``until``.

        Args:
            messages: How many.
            until: In the clock's monotonic seconds; ignored with ``background``.
            background: Urgent messages go first.
            is_wanted: Whether they are still to be sent when their turn comes; if not, the turn goes to the next.
        """
        if not self.is_set:
            return True
        came = self._clock.monotonic()
        if background:
            async with self._background_queue:
                await self._until_nothing_is_urgent()
                return self._take_turn(messages, came, is_wanted)
        self._urgent += 1
        try:
            async with self._queue:
                if self._next > until:
                    return False
                await self._until_next()
                return self._take_turn(messages, came, is_wanted)
        finally:
            self._urgent -= 1
            self._nothing_urgent.set()

    def count(self, messages: int) -> None:
        """Let those that wait, wait for messages whose turn was granted elsewhere."""
        self._next = max(self._next, self._clock.monotonic()) + messages * self._interval

    def _take_turn(self, messages: int, came: float, is_wanted: Callable[[], bool]) -> bool:
        if not is_wanted():
            return False
        self._next = max(self._next, came) + messages * self._interval
        return True

    async def _until_nothing_is_urgent(self) -> None:
        await self._until_next()
        while self._urgent:
            self._nothing_urgent.clear()
            await self._nothing_urgent.wait()
            await self._until_next()

    async def _until_next(self) -> None:
        while (delay := self._next - self._clock.monotonic()) > 0:
            await self._clock.sleep(delay)
