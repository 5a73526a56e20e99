"""Connections of an account, shared by all senders of a ledger on PostgreSQL: rows with a lease.

A sender asks about once a second, in a short transaction: its leases go on, free slots are taken up to its share, and
what it holds beyond its share is given up once no packet uses it. Shares are equal among those that hold slots or wait
for one. A sender that is gone loses its slots with their lease. Slots limit how much is on the wire at once, and no
more: what may leave is decided by the claim, so a slot that two believe to hold costs a connection, never a message.

Codes and services have slots of their own, with numbers below 0. On SQLite there is one sender, who has them all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._schema import MARKETING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._steps import Steps

__all__ = ["READ", "Slot", "Slots", "make_slots", "share"]

LEASE: Final = 3.0
"""Seconds after which the slots of a sender that does not ask any more are free."""
RENEW: Final = 1.0
_RENEW_WAITING: Final = 0.25
URGENT: Final = 2
"""Slots for codes and services alone."""


@attrs.frozen
class Slot:
    """A connection's row, as it stands now: who holds it and who waits for it, where their time is not over."""

    n: int
    owner: str | None
    wanted_by: str | None = None


@attrs.frozen(kw_only=True)
class Share:
    """What a sender does about the slots of one kind.

    Attributes:
        keep: Those that it holds from now on.
        free: Those that it gives up.
        want: One that it asks another sender to give up.
        limit: As many may be used: fewer than it holds, until what it has too many of is given up.
    """

    keep: Sequence[int]
    free: Sequence[int]
    want: int | None
    limit: int


def share(slots: Sequence[Slot], me: str, *, in_use: int) -> Share:
    """Return a sender's share of the slots of one kind, when so many of its slots are in use."""
    mine = [slot.n for slot in slots if slot.owner == me]
    free = [slot.n for slot in slots if slot.owner is None]
    others: dict[str, list[Slot]] = {}
    for slot in slots:
        if slot.owner not in {None, me}:
            others.setdefault(slot.owner or "", []).append(slot)
    waiting = {slot.wanted_by for slot in slots} - {None, me}
    senders = len(others.keys() | waiting) + 1
    most = -(-len(slots) // senders)
    taken = free[: max(most - len(mine), 0)]
    surplus = mine[: min(max(len(mine) - most, 0), max(len(mine) - in_use, 0))]
    keep = [n for n in mine if n not in surplus] + taken
    want = None
    if len(keep) < len(slots) // senders or not keep:
        richest = max(others.values(), key=len, default=[])
        unwanted = [slot.n for slot in richest if slot.wanted_by is None]
        want = unwanted[0] if len(richest) > len(keep) + 1 and unwanted else None
    return Share(keep=keep, free=surplus, want=want, limit=min(len(keep), most))


READ: Final = """
SELECT n, CASE WHEN lease > {now} THEN owner END, CASE WHEN wanted_until > {now} THEN wanted_by END
FROM {t}slot WHERE n < :common ORDER BY n {lock}
"""
_MAKE: Final = "INSERT INTO {t}slot (n) VALUES (:n) ON CONFLICT (n) DO NOTHING"
_KEEP: Final = "UPDATE {t}slot SET owner = :owner, lease = {now} + :lease WHERE n = :n"
_FREE: Final = "UPDATE {t}slot SET owner = NULL, lease = 0, wanted_by = NULL WHERE n = :n"
_WANT: Final = "UPDATE {t}slot SET wanted_by = :owner, wanted_until = {now} + :lease WHERE n = :n"
_LEAVE: Final = "UPDATE {t}slot SET owner = NULL, lease = 0 WHERE owner = :owner"


def make_slots(common: int) -> Steps[None]:
    """Make the rows of the slots, if they are not there."""
    for n in range(-URGENT, common):
        yield _MAKE, {"n": n}


def share_slots(owner: str, common: int, in_use: Mapping[bool, int]) -> Steps[dict[bool, int]]:
    """Take, keep and give up a sender's slots.

    Args:
        owner: The sender.
        common: Slots of the account, without those for codes and services.
        in_use: How many of its slots are in use, of the urgent ones (``True``) and of the common ones.

    Returns:
        How many it may use.
    """
    rows = yield READ, {"common": common}
    if len(rows) < common + URGENT:
        yield from make_slots(common)
        rows = yield READ, {"common": common}
    limits: dict[bool, int] = {}
    for urgent in (True, False):
        mine = share([Slot(*row) for row in rows if (row[0] < 0) is urgent], owner, in_use=in_use[urgent])
        limits[urgent] = mine.limit
        for n in mine.keep:
            yield _KEEP, {"n": n, "owner": owner, "lease": int(LEASE * SECOND)}
        for n in mine.free:
            yield _FREE, {"n": n}
        if mine.want is not None:
            yield _WANT, {"n": mine.want, "owner": owner, "lease": int(LEASE * SECOND)}
    return limits


def leave_slots(owner: str) -> Steps[None]:
    """Give up all slots of a sender that ends."""
    yield _LEAVE, {"owner": owner}


class Slots:
    """The slots of one sender.

    Args:
        hot: The ledger.
        owner: The sender's name.
        common: Slots of the account, without those for codes and services.
    """

    def __init__(self, hot: HotPath, owner: str, common: int) -> None:
        self._hot = hot
        self._owner = owner
        self._common = common
        self._in_use = {True: 0, False: 0}
        self._limits = {True: 0, False: 0} if hot.is_shared else {True: URGENT, False: common}
        self._until = 0.0 if hot.is_shared else float("inf")
        self._next = 0.0
        self._asking = asyncio.Lock()
        self._without_since = time.monotonic()

    @property
    def is_hopeless(self) -> bool:
        """Others have held all slots for longer than a lease: they send what is due."""
        return not any(self._limits.values()) and time.monotonic() > self._without_since + LEASE + RENEW

    @property
    def are_short(self) -> bool:
        """There is none for a code, or more than half of the lease is over."""
        return not self._limit(urgent=True) or time.monotonic() > self._until - LEASE / 2

    async def renew(self) -> None:
        """Ask for its share, if it is time.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        if not self._hot.is_shared or (self._asking.locked() and self._until):
            return
        async with self._asking:
            now = time.monotonic()
            if now < self._next:
                return
            in_use = dict(self._in_use)
            self._limits = await self._hot.transact(partial(share_slots, self._owner, self._common, in_use))
            self._until = now + LEASE  # from before it was asked for
            self._next = now + (RENEW if all(self._limits.values()) else _RENEW_WAITING)
            if any(self._limits.values()):
                self._without_since = now

    def begin(self, last_lane: int) -> bool:
        """Use a slot for a packet, if there is one."""
        urgent = last_lane < MARKETING
        if self._in_use[urgent] >= self._limit(urgent=urgent) or time.monotonic() > self._until:
            return False
        self._in_use[urgent] += 1
        return True

    def _limit(self, *, urgent: bool) -> int:
        """Return how many slots of a kind may be used."""
        return self._limits[urgent]

    def end(self, last_lane: int) -> None:
        """Use it no more."""
        self._in_use[last_lane < MARKETING] -= 1

    async def leave(self) -> None:
        """Give them up.

        Raises:
            LedgerUnavailable: The database cannot be used; they are free once their lease is over.
        """
        if self._hot.is_shared:
            await self._hot.transact(partial(leave_slots, self._owner))
