"""How fast a sender may send: grants of an account's rate for about a second, each taken in a short transaction.

The rate is one row's theoretical arrival time (GCRA). A sender moves it on by what it wants to send in the next second,
and spends that at an even pace (:class:`RateShare`). What does not wait, codes and services, may draw it forward;
campaigns pay for it afterwards.

A grant ends with its second. What a sender has not used by then is lost, because the time after it belongs to others;
and what leaves late, because the database or the machine stood still, is paid for with what it may send next.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.outbox._ledger import SECOND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._steps import Steps

__all__ = ["CATCH_UP", "QUARTER", "RateShare", "Turn", "grant_rate"]

QUARTER: Final = SECOND // 4
"""The most of the rate that one packet may hold, and the longest that a sender waits for the first of a grant."""
CATCH_UP: Final = SECOND // 20
"""How much of the rate that was not used in time may be caught up with: half a percent of ten seconds."""
_URGENT_AHEAD: Final = 3 * SECOND
"""How far codes and services may draw the rate forward: beyond the grants that others hold."""
_WINDOW: Final = 10.0
"""Seconds in which the rate is kept to within one percent."""
_MOST_UNSURE: Final = 2.0
"""Seconds by which a grant is larger at most, where the database is slow."""


def grant_rate(per_second: float, messages: int, *, is_urgent: bool) -> Steps[tuple[int, int]]:
    """Take messages of the account's rate.

    Returns:
        How many, and after how many microseconds the first of them may leave; where it is none, when to ask again.
    """
    interval = SECOND / per_second
    ahead = _URGENT_AHEAD if is_urgent else QUARTER
    ((tat,),) = yield "SELECT tat FROM {t}account WHERE id = 1 {lock}", {}
    ((now,),) = yield "SELECT {now}", {}  # once it is locked, which may take long
    if tat > now + ahead:
        return 0, tat - now - ahead
    begins = max(tat, now - CATCH_UP)
    yield "UPDATE {t}account SET tat = :tat WHERE id = 1", {"tat": begins + math.ceil(messages * interval)}
    return messages, begins - now


@attrs.define(eq=False)
class Grant:
    """Messages of the account's rate that a sender may send, each at its moment.

    Attributes:
        next: The first one's moment, in the clock's seconds.
        left: How many there are.
    """

    next: float
    left: int

    def take(self, messages: int, per_second: float) -> int:
        """Take away the first of its messages, and return how many there were."""
        taken = min(self.left, messages)
        self.left -= taken
        self.next += taken / per_second
        return taken

    def take_last(self, messages: int) -> int:
        """Take away the last of its messages, and return how many there were: the first keep their moments."""
        taken = min(self.left, messages)
        self.left -= taken
        return taken

    def put_back(self, messages: int, per_second: float) -> None:
        """Put messages back that were taken as the first ones, and did not leave."""
        self.left += messages
        self.next -= messages / per_second

    def put_back_last(self, messages: int) -> None:
        """Put messages back that were taken as the last ones, and did not leave."""
        self.left += messages


@attrs.frozen(kw_only=True)
class Turn:
    """A packet's turn.

    Attributes:
        messages: The most that the packet may hold.
        at: Its moment, in the clock's seconds; ``None`` where it does not wait for one.
        grant: Where it comes from; ``None`` without a rate.
    """

    messages: int
    at: float | None = None
    grant: Grant | None = None


@attrs.frozen
class _Departure:
    """A packet that left.

    Attributes:
        at: When.
        late: How many seconds after its turn.
        messages: How many it had.
    """

    at: float
    late: float
    messages: int


@attrs.frozen
class _Debt:
    """Messages of later turns that late packets cost.

    Attributes:
        at: When it was made.
    """

    at: float
    messages: int


class RateShare:
    """A sender's share of the account's rate, spent at an even pace.

    Args:
        hot: The ledger.
        per_second: The rate in messages; ``None`` for no limit.
        rest: Waits so many seconds, or less once the sender is to stop; returns whether it goes on.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        hot: HotPath,
        per_second: float | None,
        rest: Callable[[float], Awaitable[bool]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hot = hot
        self.per_second: Final = per_second
        self._rest = rest
        self._clock = clock
        self._grants: list[Grant] = []
        self._departures: deque[_Departure] = deque()
        self._debts: deque[_Debt] = deque()
        self._owed = 0  # what is still unpaid of them
        self._unsure = 0.0
        self._in_turn = asyncio.Lock()

    async def take(self, most: int, *, is_urgent: bool) -> Turn | None:
        """Wait for a packet's turn; ``None`` where the sender is to stop.

        Args:
            most: Its messages at most.
            is_urgent: It does not wait for what campaigns have taken.
        """
        if self.per_second is None:
            return Turn(messages=most)
        size = max(1, min(most, int(self.per_second * QUARTER / SECOND)))
        if is_urgent:
            return await self._take(size, self.per_second, is_urgent=True)
        async with self._in_turn:  # one packet after the other
            return await self._take(size, self.per_second, is_urgent=False)

    async def _take(self, size: int, per_second: float, *, is_urgent: bool) -> Turn | None:
        while True:
            if (grant := self._held(per_second, is_urgent=is_urgent)) is None:
                wait = await self._ask(size, per_second, is_urgent=is_urgent)
            else:
                if is_urgent:
                    return Turn(messages=grant.take_last(size), grant=grant)
                # Looked at again soon: what is put back may be due earlier.
                wait = min(grant.next - self._clock(), CATCH_UP / SECOND)
                if wait <= 0:
                    at = grant.next
                    return Turn(messages=grant.take(size, per_second), at=at, grant=grant)
            if wait > 0 and not await self._rest(wait):
                return None

    def _held(self, per_second: float, *, is_urgent: bool) -> Grant | None:
        """Return the earliest grant that has something left, without what was not used in time or is owed."""
        now = self._clock()
        oldest = now - max(CATCH_UP / SECOND, 1 / per_second)
        self._grants.sort(key=attrgetter("next"))
        for grant in self._grants:
            grant.take(max(0, math.ceil((oldest - grant.next) * per_second)), per_second)
        if not is_urgent:  # campaigns owe it
            self._owe(now, per_second)
            for grant in self._grants:
                self._owed -= grant.take(self._owed, per_second)
        self._grants = [grant for grant in self._grants if grant.left]
        return self._grants[0] if self._grants else None

    async def _ask(self, size: int, per_second: float, *, is_urgent: bool) -> float:
        """Ask for a grant, and return how many seconds to wait if there was none."""
        unsure = min(self._unsure, _MOST_UNSURE)
        wanted = size if is_urgent else max(size, int(per_second)) + int(unsure * per_second)
        asked_at = self._clock()
        granted, wait = await self._hot.transact(lambda: grant_rate(per_second, wanted, is_urgent=is_urgent))
        seconds = wait / SECOND
        if not granted:
            return seconds
        now = self._clock()
        if not is_urgent:  # at which moment of this time it was granted is not known: none of it is used twice
            self._unsure = max(0.0, now - asked_at - CATCH_UP / SECOND)
            granted = max(1, granted - int(self._unsure * per_second))
        self._grants.append(Grant(now + seconds, granted))
        return 0.0

    def used(self, turn: Turn, messages: int) -> None:
        """Give back what a turn has no messages for; what leaves late is paid for.

        Args:
            turn: Of a packet.
            messages: How many leave now.
        """
        if turn.grant is None or self.per_second is None:
            return
        if (unused := turn.messages - messages) > 0:
            if turn.at is None:
                turn.grant.put_back_last(unused)
            else:
                turn.grant.put_back(unused, self.per_second)
            if turn.grant not in self._grants:
                self._grants.append(turn.grant)
        if messages and turn.at is not None:
            now = self._clock()
            self._departures.append(_Departure(now, now - turn.at, messages))

    def _owe(self, now: float, per_second: float) -> None:
        """Owe what left later than the promptest packets, but no more than all that is late can make too many.

        A debt counts for ten seconds; after that, a later stall is owed in full.
        """
        for past in (self._departures, self._debts):
            while past and past[0].at < now - _WINDOW:
                past.popleft()
        if not self._departures:
            self._owed = 0
            self._debts.clear()  # what was not paid does not count as paid
            return
        all_late = [departure.late for departure in self._departures]
        least, most = min(all_late), max(all_late)
        prompt = least + CATCH_UP / SECOND
        late_messages = sum(departure.messages for departure in self._departures if departure.late > prompt)
        owed = min(late_messages, int((most - least) * per_second)) - sum(debt.messages for debt in self._debts)
        if owed > 0:
            self._debts.append(_Debt(now, owed))
            self._owed += owed
