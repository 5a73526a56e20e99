"""Limits the number of concurrent requests, and gives urgent ones precedence.

Requests queue here, in front of httpx's pool, because a request that waits *in* the pool makes every other one slower.
Two connections are reserved for sends, so that a one-time code never waits behind campaigns and status checks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT_FOR_SENDS: Final = 2


def background_places(total: int) -> int:
    """Return how many of ``total`` connections campaigns and status checks may use concurrently."""
    return max(1, total - _KEPT_FOR_SENDS)


class Slots:
    """Slots for requests, granted in order of arrival, urgent requests before background ones.

    Args:
        total: The number of connections.
        loop: The waiters' event loop; once it is closed, nothing is granted: its waiters are gone.
    """

    def __init__(self, total: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._free = total
        self._background_free = background_places(total)
        self._kept = total - self._background_free
        self.on_no_urgent: Callable[[], None] | None = None
        """Called when the last urgent request has ended."""
        self._waiting: deque[Callable[[], bool]] = deque()
        self._background_waiting: deque[Callable[[], bool]] = deque()

    @property
    def has_urgent(self) -> bool:
        """Whether an urgent request is under way: a send, or a query that a caller awaits."""
        return self._free < self._background_free + self._kept

    def take(self, *, background: bool = False) -> bool:
        """Take a slot if one is free and no one waits for it.

        Args:
            background: Whether the request is not urgent: it may not use the slots reserved for sends.
        """
        if (
            self._free <= 0
            or self._waiting
            or (background and (self._background_free <= 0 or self._background_waiting))
        ):
            return False
        self._free -= 1
        self._background_free -= background
        return True

    def when_free(self, grant: Callable[[], bool], *, background: bool = False) -> None:
        """Call ``grant`` when a slot is free; the slot is taken if it returns true."""
        (self._background_waiting if background else self._waiting).append(grant)

    async def acquire(self, *, background: bool = False) -> None:
        """Wait for a slot, and take it. A waiter that is cancelled takes none."""
        if self.take(background=background):
            return
        turn = asyncio.get_running_loop().create_future()

        def grant() -> bool:
            if turn.done():
                return False  # the waiter was cancelled
            turn.set_result(None)
            return True

        self.when_free(grant, background=background)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(background=background)
            raise

    def release(self, *, background: bool = False) -> None:
        """Release a slot, to the longest waiter."""
        self._free += 1
        self._background_free += background
        if self._loop is not None and self._loop.is_closed():
            return
        while self._free > 0 and self._waiting:
            self._free -= self._waiting.popleft()()
        while self._free > 0 and self._background_free > 0 and self._background_waiting:
            granted = self._background_waiting.popleft()()
            self._free -= granted
            self._background_free -= granted
        if not background and self.on_no_urgent is not None and not self.has_urgent:
            self.on_no_urgent()
