"""The deadlines of a packet's callers: a caller is answered at its deadline, requests on the wire continue."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import attrs

from smspilot_async._requests import interpret
from smspilot_async._sending.pending import about
from smspilot_async.errors import OutcomeUnknown, Reason
from smspilot_async.models import Packet, SentMessage
from smspilot_async.wire import Send

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from smspilot_async._sending.pending import PendingMessage
    from smspilot_async._tools.clock import Clock, Timer


class Deadlines:
    """Answers the callers of a packet at their deadlines; requests on the wire continue without them.

    Args:
        entries: The messages of the packet.
        clock: The client's.
    """

    def __init__(self, entries: Sequence[PendingMessage], clock: Clock) -> None:
        self._entries = entries
        self._clock = clock
        self._timer: Timer | None = None

    def watch(
        self, on_the_wire: Callable[[], Collection[PendingMessage]], stop_connecting: Callable[[float], bool]
    ) -> None:
        """Set a timer for the earliest deadline of the waiting callers.

        Only a timer keeps what is passed here: it is the packet's own, and a cycle would leave each packet of a bulk
        run to the garbage collector.

        Args:
            on_the_wire: Returns the messages whose request is on the wire.
            stop_connecting: Ends a request that has not started, if none of its messages is wanted any more; returns
                whether it did.
        """
        waiting = [entry.until for entry in self._entries if entry.waiter is not None and not entry.waiter.done()]
        earliest = min(waiting, default=math.inf)
        if earliest < math.inf:
            self._timer = self._clock.call_at(earliest, partial(self._expire, on_the_wire, stop_connecting))

    def cancel(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(
        self, on_the_wire: Callable[[], Collection[PendingMessage]], stop_connecting: Callable[[float], bool]
    ) -> None:
        now = self._clock.monotonic()
        if stop_connecting(now):
            return
        leaving = set(on_the_wire())
        for entry in self._entries:
            if entry.outcome is not None or entry.until > now:
                continue
            if entry in leaving:
                entry.answer_caller(about(past_deadline([entry]), entry))
            else:
                entry.give_up()
        self.watch(on_the_wire, stop_connecting)


def past_deadline(entries: Sequence[PendingMessage]) -> OutcomeUnknown:
    """Return the error of messages whose callers' deadline passed while they are on the wire."""
    command = Send([entry.message for entry in entries], [entry.id for entry in entries])
    return interpret.unknown(command, Reason.DEADLINE, "no answer before the deadline; hooks will get the result")


def packet_past_deadline(entries: Sequence[PendingMessage], packet: Packet | None) -> Packet | OutcomeUnknown:
    """Return what is known of a packet whose caller's deadline passed while it is on the wire.

    Args:
        entries: Its messages.
        packet: The last answer about it, if there was one.
    """
    lost = past_deadline(entries)
    if packet is None:
        return lost if len(entries) > 1 else about(lost, entries[0])
    rows = [
        entry.as_row()
        if entry.outcome is not None
        else attrs.evolve(entry.row or SentMessage(id=entry.id), failure=about(lost, entry))
        for entry in entries
    ]
    return attrs.evolve(packet, messages=tuple(rows))
