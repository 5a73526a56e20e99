"""The event that this worker's application is handling, if workers compete for events."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.callbacks import _claims

if TYPE_CHECKING:
    from smspilot_async._tools.clock import Clock
    from smspilot_async.callbacks._event_log import Claimable, Stored

_KEPT_EVERY: Final = 1 / 3
"""Of a lease."""


class InHand:
    """One event at a time: claimed, kept for as long as the application takes, then finished or given up.

    Args:
        log: What the workers share.
        clock: The inbox's.
    """

    def __init__(self, log: Claimable, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._owner = os.urandom(12)
        self._has_claimed = False
        self._stored: Stored | None = None
        self._holder: asyncio.Task[Any] | None = None

    async def claim(self) -> Stored | None:
        """Return an event that no other worker has claimed."""
        self._has_claimed = True
        return await self._log.claim(self._owner, self._clock.now())

    def take(self, stored: Stored) -> None:
        """Start handling an event, in the current task."""
        self._stored = stored
        holder = asyncio.current_task()
        if holder is self._holder:
            return
        if self._holder is not None:
            self._holder.remove_done_callback(self._holder_ended)
        self._holder = holder
        if holder is not None:
            holder.add_done_callback(self._holder_ended)

    def _holder_ended(self, holder: asyncio.Task[Any]) -> None:
        if holder.cancelled() and holder is self._holder:
            self.give_up()

    async def keep(self) -> None:
        """Renew the claim of the event, as long as this worker lives."""
        while True:
            await self._clock.sleep(_claims.LEASE * _KEPT_EVERY)
            if self._stored is not None:
                self._log.keep(self._owner, self._clock.now())

    def finish(self) -> None:
        """Note that the application is done with the event: it asks for the next.

        Not if the task that had it was cancelled, and another one asks.
        """
        if self._holder is not None and self._holder.cancelled():
            self.give_up()
        stored, self._stored = self._stored, None
        if stored is not None:
            self._log.finish(stored.position)

    def give_up(self) -> None:
        """Release the event to other workers."""
        stored, self._stored = self._stored, None
        if stored is not None:
            self._log.give_up(self._owner)

    def close(self) -> None:
        """Release the event, or one that was claimed for a reader that no longer waits, to other workers."""
        self._stored = None
        if self._has_claimed:
            self._has_claimed = False
            self._log.give_up(self._owner)
