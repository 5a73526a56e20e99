"""Looks at the ledger that all who watch share: ten open pages cost what one does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

from smspilot_async._tools import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

__all__ = ["Looks"]

Value = TypeVar("Value")
_LEAST: Final = 0.5
_SHARE: Final = 10
"""Counting millions takes its time: a look is kept so many times longer than it took."""


class Looks:
    """Values that are looked up again once they are old."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, Any]] = {}
        self._orders = 0
        self._locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def at(self, key: Hashable, look: Callable[[], Awaitable[Value]], least: float = _LEAST) -> Value:
        """Return what is known by a key, or look."""
        now = clock.current().monotonic
        async with self._locks[key]:
            until, value = self._known.get(key, (0.0, None))
            if now() < until:
                known: Value = value
                return known
            began, orders = now(), self._orders
            found = await look()
            if orders == self._orders:  # else it may be from before the order
                self._known[key] = (now() + max(least, _SHARE * (now() - began)), found)
            return found

    def forget(self) -> None:
        """Look again at everything: an order was given."""
        self._orders += 1
        self._known.clear()
