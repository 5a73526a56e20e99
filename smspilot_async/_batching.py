"""Concurrent ``send()`` calls packed into packets.

A call waits for nobody: all calls made in the same turn of the loop share a packet, and so do those made while no
connection is free. With ``linger`` above zero a message waits that long for company, counted from the first. There is
one queue, in the order of arrival; nothing but a future stands for a caller, so that ten thousand of them are cheap.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING

from smspilot_async._detached import Delivery, Ticket

if TYPE_CHECKING:
    from smspilot_async._clock import Timer
    from smspilot_async._session import Session
    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Message, SentMessage


class Batcher:
    """The queue of messages that wait for a packet, in one event loop.

    Args:
        session: The client's life in this loop.
        packet_size: Messages in a packet, at most.
        linger: Seconds that a message may wait for company.
        max_pending: Messages that may queue; beyond it callers wait.
    """

    def __init__(self, session: Session, *, packet_size: int, linger: float, max_pending: int) -> None:
        self._session = session
        self._packet_size = packet_size
        self._linger = linger
        self._max_pending = max_pending
        self._queue: deque[Ticket] = deque()
        self._callers_waiting: deque[asyncio.Future[None]] = deque()
        self._is_pumping = False
        self._waits_for_slot = False
        self._goes_at_once = linger == 0
        self._linger_timer: Timer | None = None
        self._deadline_timer: Timer | None = None
        self._earliest_deadline = math.inf

    def __len__(self) -> int:
        return len(self._queue)

    async def send(self, message: Message, id_: int, until: float) -> SentMessage | SmsPilotError:
        """Send a message in the next packet that goes; ``until`` is in the clock's monotonic seconds."""
        waiter: asyncio.Future[SentMessage | SmsPilotError] = asyncio.get_running_loop().create_future()
        ticket = Ticket(message, id_, until=until, waiter=waiter)
        if len(self._queue) >= self._max_pending:
            await self._wait_for_room(ticket)
        self._put(ticket)
        return await waiter

    def _put(self, ticket: Ticket) -> None:
        self._queue.append(ticket)
        if ticket.until < self._earliest_deadline:
            self._watch_deadline(ticket.until)
        if self._linger:
            ticket.queued_at = self._session.clock.monotonic()
            self._watch_linger()
        self._pump_soon()

    # --- leaving ---------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Look at the queue once every call of this turn of the loop is in it."""
        if not self._is_pumping and not self._waits_for_slot:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        while self._is_due() and not self._waits_for_slot:
            if self._session.slots.take():
                self._start_packet()
            else:
                self._waits_for_slot = True
                self._session.slots.when_free(self._take_slot)

    def _is_due(self) -> bool:
        return bool(self._queue) and (self._goes_at_once or len(self._queue) >= self._packet_size)

    def _take_slot(self) -> bool:
        self._waits_for_slot = False
        if not self._is_due():
            return False
        self._start_packet()
        self._pump_soon()
        return True

    def _start_packet(self) -> None:
        tickets = [self._queue.popleft() for _ in range(min(len(self._queue), self._packet_size))]
        if self._linger:
            self._watch_linger(again=True)
        self._let_callers_in()
        self._session.detached.start(Delivery(self._session, tickets, test=self._session.test, has_slot=True))

    def flush(self) -> None:
        """Let everything that waits for company go now."""
        if self._queue:
            self._goes_at_once = True
            self._pump_soon()

    # --- waiting for company ---------------------------------------------------------------------

    def _watch_linger(self, *, again: bool = False) -> None:
        """Keep a timer for the first message of the queue."""
        if again:
            self._call_off_linger()
        if self._queue and self._linger_timer is None and not self._goes_at_once:
            when = self._queue[0].queued_at + self._linger
            self._linger_timer = self._session.clock.call_at(when, self._linger_is_over)

    def _call_off_linger(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        if not self._queue:
            self._goes_at_once = False

    def _linger_is_over(self) -> None:
        self._linger_timer = None
        self.flush()

    # --- room ------------------------------------------------------------------------------------

    async def _wait_for_room(self, ticket: Ticket) -> None:
        """Hold a caller back; one that gives up is handed on all the same, so that the hooks hear of its message."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._callers_waiting.append(turn)
        try:
            async with self._session.clock.timeout_at(ticket.until):
                await turn
        except TimeoutError:
            ticket.give_up()
        except asyncio.CancelledError:
            ticket.is_withdrawn = True
            self._put(ticket)
            raise

    def _let_callers_in(self) -> None:
        room = self._max_pending - len(self._queue)
        while room > 0 and self._callers_waiting:
            turn = self._callers_waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1

    # --- deadlines -------------------------------------------------------------------------------

    def _watch_deadline(self, when: float) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._earliest_deadline = when
        self._deadline_timer = self._session.clock.call_at(when, self._expire)

    def _expire(self) -> None:
        """Answer the callers whose time is up while their message still queues."""
        now = self._session.clock.monotonic()
        self._deadline_timer = None
        self._earliest_deadline = math.inf
        for ticket in self._queue:
            if ticket.until <= now and ticket.outcome is None:
                ticket.give_up()
        waiting = [ticket.until for ticket in self._queue if ticket.outcome is None]
        if waiting:
            self._watch_deadline(min(waiting))

    # --- the end ---------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait until everything that waits now, callers held back included, has left and is answered."""
        detached = self._session.detached
        while self._queue or self._callers_waiting or detached.tasks:
            self.flush()
            if detached.tasks:
                await asyncio.wait(detached.tasks, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)

    def give_up(self) -> None:
        """Settle everything that still queues as not sent."""
        for ticket in self._queue:
            if ticket.outcome is None:
                ticket.give_up()
        self.flush()

    def stop(self) -> None:
        """Call off all timers."""
        self._call_off_linger()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
