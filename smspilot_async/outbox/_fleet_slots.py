"""The slots that a worker of a fleet holds: the engine's jobs bring them one by one, and their leases are the ledger's.

A job takes its slot in a short transaction, if no one else holds it. Once a second the worker's leases go on, and
what it holds too many of goes to the worker that has the fewest: it is given up after the packet that uses it, and a
job for it is deferred to that worker's own queue. A sender that waits without an engine takes it once it is free.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._slots import LEASE, READ, RENEW, URGENT, Slot, Slots, leave_slots, make_slots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._steps import Steps

__all__ = ["SHARES_FOR", "FleetSlots", "queue_of", "surplus"]

SHARES_FOR: Final = 4.0
"""Seconds after its last sign for which a worker has its share kept free."""

_KEEP: Final = """
UPDATE {t}slot SET owner = :owner, lease = {now} + :lease WHERE n = :n
  AND (owner = :owner OR lease <= {now})
RETURNING n
"""
_FREE: Final = "UPDATE {t}slot SET owner = NULL, lease = 0, wanted_by = NULL WHERE n = :n AND owner = :owner"
_WORKERS: Final = "SELECT name FROM {t}worker WHERE seen_at > {now} - :lives"
_WAKE: Final = "SELECT smspilot.wake(:first, :last, :why, :queue)"


def queue_of(worker: str) -> str:
    """Return the queue of a worker's own."""
    return f"smspilot@{worker}"


def surplus(slots: Iterable[Slot], me: str, workers: Collection[str]) -> list[tuple[int, str]]:
    """Return the slots of one kind that a worker gives up, the last ones first, and to whom each goes.

    Args:
        slots: All of the kind, as they stand.
        me: The worker.
        workers: All that are there.
    """
    held: dict[str, list[int]] = {name: [] for name in (me, *workers)}
    for slot in slots:
        if slot.owner is not None:
            held.setdefault(slot.owner, []).append(slot.n)
        if slot.wanted_by is not None:
            held.setdefault(slot.wanted_by, [])
    leaving: list[tuple[int, str]] = []
    while True:
        poorest = min(held, key=lambda name: (len(held[name]), name))
        richest = max(held, key=lambda name: (len(held[name]), name))
        if richest != me or len(held[me]) - len(held[poorest]) < 2:  # noqa: PLR2004 - else they would swap for ever
            return leaving
        n = held[me].pop()
        held[poorest].append(n)
        leaving.append((n, poorest))


def take_slot(owner: str, n: int) -> Steps[bool]:
    """Take a slot, or go on with it; return whether it is the owner's now."""
    return bool((yield _KEEP, {"owner": owner, "n": n, "lease": int(LEASE * SECOND)}))


def keep_slots(owner: str, held: Sequence[int], common: int) -> Steps[dict[int, str | None]]:
    """Let the leases of a worker's slots go on.

    Returns:
        Those that it still has; with a name, those that it has to give up, and to whom.
    """
    rows = yield READ, {"common": common}
    workers = [name for (name,) in (yield _WORKERS, {"lives": int(SHARES_FOR * SECOND)})]
    kept: dict[int, str | None] = {}
    for n in held:
        if (yield from take_slot(owner, n)):
            kept[n] = None
    slots = [Slot(n, owner if n in kept else None if by == owner else by, wanted) for n, by, wanted in rows]
    for is_urgent in (True, False):
        kept.update(surplus([slot for slot in slots if (slot.n < 0) is is_urgent], owner, workers))
    return kept


def free_slot(owner: str, n: int, to: str | None) -> Steps[None]:
    """Give a slot up, and defer a job for it, if another worker is to have it."""
    yield _FREE, {"owner": owner, "n": n}
    if to is not None:
        yield _WAKE, {"first": n, "last": n, "why": f"share {n} {to}", "queue": queue_of(to)}


def leave_all(owner: str, common: int) -> Steps[None]:
    """Give up what a worker that ends holds, and wake others for it."""
    yield from leave_slots(owner)
    yield _WAKE, {"first": -URGENT, "last": common - 1, "why": f"left {owner}", "queue": "smspilot"}


class FleetSlots(Slots):
    """The slots of one worker of a fleet.

    Args:
        hot: The ledger.
        owner: The worker's name.
        common: Slots of the account, without those for codes and services.
    """

    def __init__(self, hot: HotPath, owner: str, common: int) -> None:
        super().__init__(hot, owner, common)
        self._held: dict[int, str | None] = {}

    @property
    def is_hopeless(self) -> bool:
        """A place without a slot has nothing to wait for: its job comes again."""
        return True

    def holds(self, n: int) -> bool:
        """Return whether a slot may be used: it is held, and no one else is to have it."""
        return n in self._held and self._held[n] is None and time.monotonic() < self._until

    async def make(self) -> None:
        """Make the rows, if they are not there.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        await self._hot.transact(partial(make_slots, self._common))

    async def take(self, n: int) -> bool:
        """Take a slot, if it is free; return whether it is held now.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        if n >= self._common:
            return False
        async with self._asking:
            now = time.monotonic()
            if not await self._hot.transact(partial(take_slot, self._owner, n)):
                return False
            self._until = now + LEASE if not self._held else min(self._until, now + LEASE)
            self._held[n] = None
        return True

    async def renew(self) -> None:
        """Let the leases go on, if it is time.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        if not self._held or self._asking.locked():
            return
        async with self._asking:
            now = time.monotonic()
            if now < self._next or not self._held:
                return
            kept = await self._hot.transact(partial(keep_slots, self._owner, list(self._held), self._common))
            self._held = {n: self._held[n] or to for n, to in kept.items()}
            self._until = now + LEASE  # from before it was asked for
            self._next = now + RENEW

    async def give_up(self, n: int) -> None:
        """Hold a slot no longer.

        Raises:
            LedgerUnavailable: The database cannot be used; it is free once its lease is over.
        """
        async with self._asking:
            if n in self._held:
                to = self._held.pop(n)
                await self._hot.transact(partial(free_slot, self._owner, n, to))

    def _limit(self, *, urgent: bool) -> int:
        return sum((n < 0) is urgent for n in self._held)

    async def leave(self) -> None:
        """Give them all up.

        Raises:
            LedgerUnavailable: The database cannot be used; they are free once their lease is over.
        """
        self._held.clear()
        await self._hot.transact(partial(leave_all, self._owner, self._common))
