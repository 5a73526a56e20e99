"""A limit of messages per second, shared by all sends of a client in one loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smspilot_async._clock import Clock


class RateLimit:
    """Lets messages through at a steady rate: each packet reserves its time slot, in the order of arrival.

    Args:
        per_second: Messages per second; ``None`` for no limit.
        clock: For now and sleep.
    """

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._interval = None if per_second is None else 1 / per_second
        self._clock = clock
        self._next = 0.0

    async def wait(self, messages: int, until: float) -> bool:
        """Wait for these messages' turn; ``False``, and no turn taken, if it would come after ``until``."""
        if self._interval is None:
            return True
        now = self._clock.monotonic()
        turn = max(self._next, now)
        if turn > until:
            return False
        self._next = turn + messages * self._interval
        if turn > now:
            await self._clock.sleep(turn - now)
        return True
