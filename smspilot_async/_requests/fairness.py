"""Whose turn it is to use the CPU: a one-time code goes before the packets of a campaign.

To write or read a packet of a hundred messages takes up to a millisecond, in which nothing else of this process moves,
and several packets of a bulk run tend to be ready at once. So they go one in a turn of the event loop, and while a send
is under way they wait for it, but not for long. This is about the CPU of this process and not about the gateway's
time: the event loop's own clock counts here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smspilot_async._requests.slots import Slots

_LONGEST_HOLD: Final = 0.005  # seconds; sends without end slow a campaign down, but never stop it


class Fairness:
    """The CPU of one event loop, shared between sends, which never ask, and those that call :meth:`take`.

    Args:
        slots: Tell whether something is under way that can not wait.
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
        """A send was called, and gets its place in the next turn of the loop."""
        self._is_send_coming = True

    def send_begins(self) -> None:
        """It has its place now, or waits for one."""
        self._is_send_coming = False
        self._pass_on()

    async def take(self) -> None:
        """Wait until the caller may do something long, up to its next ``await``."""
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
        """Give the turn to the first that waits, or, while sends are under way, after a moment."""
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
            if not waiter.done():  # and not cancelled meanwhile
                waiter.set_result(None)
                self._begin_turn()
                return
