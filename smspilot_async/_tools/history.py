"""Counts over time in bounded memory: intervals that become wider as time passes."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, TypeAlias

import attrs

__all__ = ["History", "HistoryKind"]

HistoryKind: TypeAlias = Literal["outcomes", "states"]

_MOST_INTERVALS: Final = 240
_FINEST: Final = 0.1  # seconds


@attrs.define
class History:
    """What was counted when, under a few names; however long it goes on, it takes the room of 240 intervals.

    Attributes:
        kind: ``"outcomes"``: how many there were in each interval. ``"states"``: by how many more or fewer stand in
            each state after it.
        width: Of an interval, in seconds.
        intervals: The counts by name, from the start on.
        end: Seconds from the start to the last count.
    """

    kind: HistoryKind
    width: float = _FINEST
    intervals: list[Counter[str]] = attrs.Factory(list)
    end: float = 0.0

    def add(self, seconds: float, name: str, count: int = 1) -> None:
        """Count something.

        Args:
            seconds: Since the start.
            name: What; there should be only a few names.
            count: How many; negative where a state is left.
        """
        while seconds >= self.width * _MOST_INTERVALS:
            self._widen()
        number = int(seconds / self.width)
        while len(self.intervals) <= number:
            self.intervals.append(Counter())
        self.intervals[number][name] += count
        self.end = max(self.end, seconds)

    def _widen(self) -> None:
        """Make intervals twice as wide."""
        pairs = (self.intervals[number : number + 2] for number in range(0, len(self.intervals), 2))
        self.intervals = [_sum(pair) for pair in pairs]
        self.width *= 2

    def totals(self) -> Counter[str]:
        """Return the sum of all counts by name."""
        return _sum(self.intervals)

    def edges(self) -> list[float]:
        """Return where each interval begins, and where the last one ends: with the last count.

        A last interval of which less than half has passed belongs to the one before it: see :meth:`columns`.
        """
        starts = [number * self.width for number in range(len(self.columns()))]
        return [*starts, max(self.end, self.width if len(starts) == 1 else 0.0)] if starts else []

    def columns(self) -> list[Counter[str]]:
        """Return the counts of the intervals that :meth:`edges` has."""
        last = len(self.intervals) - 1
        if last > 0 and self.end - last * self.width < self.width / 2:
            return [*self.intervals[: last - 1], _sum(self.intervals[last - 1 :])]
        return list(self.intervals)


def _sum(counters: list[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)  # unlike +, it keeps what is negative
    return total
