"""Shares the CPU fairly: a one-time code takes precedence over the packets of a campaign.

Writing or reading a packet of a hundred messages takes up to a millisecond, in which the event loop is blocked, and
several packets of a bulk run tend to be ready at once. So only one is processed per iteration of the event loop, and
while a send is under way packets wait for it, but not for long. This concerns the CPU of this process and not the
gateway's time: it uses the event loop's own clock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smspilot_async._requests.slots import Slots

_LONGEST_HOLD: Final = 0.005  # seconds; a constant stream of sends slows a campaign down, but never stops it


class Fairness:
    """Shares the CPU of one event loop between sends, which never wait, and background work, which calls :meth:`take`.

    Args:
        slots: Used to find out whether urgent requests are under way.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        slots.on_no_urgent = self._pass_on
        self._is_send_coming = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        self._hold: asyncio.TimerHandle | None = None

    @property
    def _is_urgent(self) -> bool:
        return self._is_send_coming or self._slots.has_urgent

    def announce_send(self) -> None:
        """Note that a send was called; it gets its slot in the next iteration of the loop."""
        self._is_send_coming = True

    def send_begins(self) -> None:
        """Note that the send has its slot now, or waits for one."""
        self._is_send_coming = False
        self._pass_on()

    async def take(self) -> None:
        """Wait until the caller may do CPU-bound work, up to its next ``await``."""
        if not self._is_taken and not self._is_urgent and not self._waiting:
            self._begin_turn()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._pass_on()
        await waiter

    def _begin_turn(self) -> None:
        self._is_taken = True
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_taken = False
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the first waiter: now or, while sends are under way, after a short delay."""
        if self._is_taken or not self._waiting:
            return
        if not self._is_urgent:
            self._give()
        elif self._hold is None:
            self._hold = asyncio.get_running_loop().call_later(_LONGEST_HOLD, self._give)

    def _give(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # otherwise it was cancelled
                waiter.set_result(None)
                self._begin_turn()
                return
