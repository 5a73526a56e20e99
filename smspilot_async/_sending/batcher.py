"""Batches concurrent ``send()`` calls into packets.

Calls made in the same iteration of the event loop, or while no connection is free, share a packet without waiting. With
``linger`` above zero a packet waits that long for further messages, counted from its first. There is one queue, in
order of arrival; each caller costs just one future, so that ten thousand of them are cheap.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from smspilot_async._sending.pending import PendingMessage
from smspilot_async._sending.submission import Submission

if TYPE_CHECKING:
    from smspilot_async._sending.background import BackgroundSubmissions
    from smspilot_async._tools.clock import Timer
    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Message, SentMessage

_FINEST_DEADLINE: Final = 0.01  # seconds between two scans of the whole queue


class Batcher:
    """The queue of messages that wait for a packet, in one event loop.

    Args:
        submissions: Starts packets.
        test: Its messages are test messages.
        packet_size: The maximum number of messages in a packet.
        linger: Seconds that a message may wait for others, but at most half of the time to its deadline, so that
            lingering alone cannot exhaust it.
        max_pending: The maximum length of the queue; further messages wait in an overflow queue, in order.
    """

    def __init__(
        self, submissions: BackgroundSubmissions, *, test: bool, packet_size: int, linger: float, max_pending: int
    ) -> None:
        self._submissions = submissions
        self._context = submissions.context
        self._test = test
        self._packet_size = packet_size
        self._linger = linger
        self._max_pending = max_pending
        self._queue: deque[PendingMessage] = deque()
        self._overflow: deque[PendingMessage] = deque()
        self._is_pumping = False
        self._waits_for_slot = False
        self._sends_at_once = linger == 0
        self._sent_count = 0
        self._progress_made = asyncio.Event()
        self._linger_timer: Timer | None = None
        self._linger_ends = math.inf
        self._deadline_timer: Timer | None = None
        self._earliest_deadline = math.inf

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def waiting(self) -> int:
        """The number of messages in both queues; from any thread."""
        entries = [*self._queue, *self._overflow]  # a copy: the event loop continues meanwhile
        return sum(entry.outcome is None and not entry.is_taken_back for entry in entries)

    def send(
        self, message: Message, id_: int, until: float, sender: str | None = None
    ) -> asyncio.Future[SentMessage | SmsPilotError]:
        """Send a message in the next packet; ``until`` is in the clock's monotonic seconds.

        Returns the bare future: one more coroutine per caller is 10,000 more objects for the garbage collector to walk.
        """
        waiter: asyncio.Future[SentMessage | SmsPilotError] = asyncio.get_running_loop().create_future()
        entry = PendingMessage(message, id_, until=until, sender=sender, waiter=waiter)
        entry.context = self._context.hooks.context()
        if until < self._earliest_deadline:
            self._watch_deadline(until)
        if self._linger:
            now = self._context.clock.monotonic()
            entry.lingers_until = now + min(self._linger, (until - now) / 2)
        if self._overflow or len(self._queue) >= self._max_pending:
            self._overflow.append(entry)
        else:
            self._queue.append(entry)
            if self._linger:
                self._watch_linger(entry)
        self._pump_soon()
        return waiter

    def _refill(self) -> None:
        """Fill the queue from the overflow, in order."""
        queue, overflow = self._queue, self._overflow
        while overflow and len(queue) < self._max_pending:
            queue.append(overflow.popleft())

    # --- starting packets ------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Process the queue once it has every call of this iteration of the event loop."""
        if not self._is_pumping and not self._waits_for_slot:
            self._is_pumping = True
            self._context.fairness.announce_send()
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        while self._is_due() and not self._waits_for_slot:
            if self._context.slots.take():
                self._start_packet()
            else:
                self._waits_for_slot = True
                self._context.slots.when_free(self._take_slot)
        self._context.fairness.send_begins()

    def _is_due(self) -> bool:
        is_full = len(self._queue) >= min(self._packet_size, self._max_pending)
        return bool(self._queue) and (self._sends_at_once or is_full)

    def _take_slot(self) -> bool:
        self._waits_for_slot = False
        self._start_packet()  # it was due when it began to wait, and nothing was sent since
        self._pump_soon()
        return True

    def _start_packet(self) -> None:
        entries = [self._queue.popleft() for _ in range(min(len(self._queue), self._packet_size))]
        self._refill()
        if not self._queue:
            self._sends_at_once = self._linger == 0
        if self._linger:
            self._cancel_linger()
            self._watch_linger(*itertools.islice(self._queue, self._packet_size))  # with more, one is full
        self._submissions.start(Submission(self._context, entries, test=self._test, has_slot=True))
        self._sent_count += len(entries)
        self._progress_made.set()

    def flush(self) -> int:
        """Send everything that lingers now; return the sequence number of the last queued message."""
        if self._queue:
            self._sends_at_once = True
            self._pump_soon()
        return self._sent_count + len(self._queue) + len(self._overflow)

    # --- lingering -------------------------------------------------------------------------------

    def _watch_linger(self, *entries: PendingMessage) -> None:
        """Set the timer for the message that may linger the shortest."""
        when = min((entry.lingers_until for entry in entries), default=math.inf)
        if when < self._linger_ends and not self._sends_at_once:
            self._cancel_linger()
            self._linger_ends = when
            self._linger_timer = self._context.clock.call_at(when, self._linger_is_over)

    def _cancel_linger(self) -> None:
        self._linger_ends = math.inf
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _linger_is_over(self) -> None:
        self._cancel_linger()
        self.flush()

    # --- deadlines -------------------------------------------------------------------------------

    def _watch_deadline(self, when: float) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._earliest_deadline = when
        self._deadline_timer = self._context.clock.call_at(when, self._expire)

    def _expire(self) -> None:
        """Answer the callers whose deadline has passed while their message is queued."""
        now = self._context.clock.monotonic()
        self._deadline_timer = None
        self._earliest_deadline = math.inf
        waiting = [entry for entry in itertools.chain(self._queue, self._overflow) if entry.outcome is None]
        for entry in waiting:
            if entry.until <= now:
                entry.give_up()
        earliest = min((entry.until for entry in waiting if entry.outcome is None), default=None)
        if earliest is not None:
            self._watch_deadline(max(earliest, now + _FINEST_DEADLINE))

    # --- the end ---------------------------------------------------------------------------------

    async def gone(self, last: int) -> None:
        """Wait until all messages up to a number that :meth:`flush` returned were dequeued, but not for later ones."""
        while self._sent_count < last:
            self.flush()
            self._progress_made.clear()
            await self._progress_made.wait()

    def give_up(self) -> None:
        """Settle everything that is still queued as not sent."""
        for entry in itertools.chain(self._queue, self._overflow):
            if entry.outcome is None:
                entry.give_up()
        self.flush()

    def abandon(self) -> list[PendingMessage]:
        """Settle what was queued in an event loop that was closed, and whose callers are gone, as not sent."""
        left = [entry for entry in itertools.chain(self._queue, self._overflow) if entry.outcome is None]
        self._queue.clear()
        self._overflow.clear()
        for entry in left:
            entry.waiter = None
            entry.give_up()
        return left

    def stop(self) -> None:
        """Cancel all timers."""
        self._cancel_linger()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
