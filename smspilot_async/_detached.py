"""Paid requests in tasks of their own.

A request on the wire may already have been accepted, so its answer, with the ids to ask about later, is awaited
whatever happens to the caller: a cancelled task, a ``wait_for``, a web client that went away. Measured: no shield
survives a native ``task.cancel()``, a task of its own does, if somebody holds on to it.

A loop holds its tasks weakly. So a timer that never rings holds them, and the client with them, as long as there are
any. A loop that is closed drops its timers: that tells of one that was closed by hand, with requests under way.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async._clock import Clock
    from smspilot_async._delivery import Delivery, Remains
    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Packet

_NEVER: Final = 10 * 365 * 24 * 3600.0


class Detached:
    """The deliveries of one event loop.

    Args:
        clock: The client's.
        owner: Returns what must live as long as they do, if it still does.
        when_closed: Called when the loop is closed while some are under way.
    """

    def __init__(self, clock: Clock, *, owner: Callable[[], object], when_closed: Callable[[], object]) -> None:
        self._clock = clock
        self._owner = owner
        self._when_closed = when_closed
        self._deliveries: dict[asyncio.Task[None], Delivery] = {}
        self._hold: weakref.ref[asyncio.TimerHandle] | None = None

    def start(self, delivery: Delivery) -> None:
        """Let a delivery run until it is done, whatever becomes of its caller."""
        task = asyncio.create_task(delivery.run(), name=f"smspilot packet of {len(delivery.tickets)}")
        delivery.task = task
        self._deliveries[task] = delivery
        if self._hold is None:
            loop = asyncio.get_running_loop()
            self._hold = weakref.ref(loop.call_later(_NEVER, _Held(loop, self._owner(), self._when_closed)))
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._deliveries.pop(task).end()
        if not self._deliveries and self._hold is not None:
            hold, self._hold = self._hold(), None
            if hold is not None:
                hold.cancel()

    async def run(self, delivery: Delivery, until: float) -> Packet | SmsPilotError:
        """Start it, and wait for its outcome until a deadline.

        A caller that is cancelled, or out of time, takes back what still queues; what is on the wire goes on alone.
        """
        self.start(delivery)
        try:
            async with self._clock.timeout_at(until):
                await asyncio.wait({delivery.done})
        except TimeoutError:
            self.take_back(delivery)
            if delivery.is_on_the_wire:
                return delivery.past_deadline()
        except asyncio.CancelledError:
            self.take_back(delivery)
            raise
        return delivery.outcome()

    def take_back(self, delivery: Delivery) -> None:
        """Send nothing of it again, and, unless it is on the wire, end it now."""
        delivery.withdraw()
        if delivery.is_on_the_wire or delivery.done.done():
            return
        for ticket in delivery.tickets:
            if ticket.outcome is None:
                ticket.give_up()
        if delivery.has_begun and not delivery.is_telling and delivery.task is not None:
            delivery.task.cancel()  # a hook would be cancelled in the middle; what it belongs to ends after it

    def cut_short(self) -> None:
        """End everything: what has not begun is not sent, what is on the wire is unknown."""
        for task, delivery in list(self._deliveries.items()):
            delivery.withdraw()
            if delivery.has_begun and not delivery.is_telling:  # else it ends by itself, and the hooks hear of it
                task.cancel()

    def abandon(self) -> list[Remains]:
        """Settle what an event loop that was closed has left, and return of what no one has heard."""
        left, self._deliveries, self._hold = list(self._deliveries.values()), {}, None
        return [delivery.abandon() for delivery in left]

    def interrupt_hooks(self) -> None:
        """Wait for no hook any longer, but for the one that asks."""
        mine = asyncio.current_task()
        for task, delivery in list(self._deliveries.items()):
            if delivery.has_begun and delivery.is_telling and task is not mine:
                task.cancel()

    def queued(self) -> int:
        """Count the messages that wait to leave, in packets; from any thread."""
        return sum(delivery.queued() for delivery in list(self._deliveries.values()))

    def in_flight(self) -> int:
        """Count the messages on the wire; from any thread."""
        return sum(delivery.in_flight() for delivery in list(self._deliveries.values()))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that are under way, but for the one that asks: a hook may flush."""
        mine = self._deliveries.get(asyncio.current_task())  # type: ignore[arg-type]
        if mine is None:
            return set(self._deliveries)
        # Two hooks that wait for each other's packets would wait for ever.
        return {task for task, delivery in self._deliveries.items() if not delivery.is_telling}


class _Held:
    """What a timer of a loop holds, and nothing else does: it goes with the timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: object, when_closed: Callable[[], object]) -> None:
        self._loop = loop
        self._owner = owner
        self._when_closed = when_closed

    def __call__(self) -> None:
        """Be something that a timer can call."""

    def __del__(self) -> None:
        if self._loop.is_closed():
            self._when_closed()
