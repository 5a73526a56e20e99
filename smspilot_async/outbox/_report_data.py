"""What a campaign's report says, gathered from the ledger: counts alone, however many rows there are.

The database counts; what comes here is a handful of groups. No phone, no text but the template, and no names
but of those who gave orders.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.models import DeliveryStatus
from smspilot_async.outbox._states import State
from smspilot_async.outbox._windows import SendingWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


__all__ = ["Group", "Order", "ReportData", "Series"]

_MINUTE: Final = 60_000_000
WIDTHS: Final = tuple(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
MOST_BINS: Final = 150


@attrs.frozen(kw_only=True)
class Group:
    """Messages that stand alike.

    Attributes:
        zone: Of their stream; ``""`` where the campaign has one for all.
        state, reason, code: As in the ledger.
        status: The delivery status.
        messages: How many they are.
        parts: SMS of all of them.
    """

    zone: str
    state: str
    reason: str | None
    code: int | None
    status: int | None
    messages: int
    parts: int

    @property
    def is_accepted(self) -> bool:
        """The gateway took them."""
        return self.state == State.ACCEPTED

    @property
    def is_delivered(self) -> bool:
        """They arrived."""
        return self.is_accepted and self.status == DeliveryStatus.DELIVERED


@attrs.frozen(kw_only=True)
class Series:
    """Counts over time.

    Attributes:
        start: When the first bin begins, in microseconds of UTC.
        width: Of a bin, in microseconds.
        bins: How many there are.
        sent: Messages that left, and may have been accepted, by bin.
        delivered: Those that arrived, by the bin in which that became known.
    """

    start: int
    width: int
    bins: int
    sent: Mapping[int, int]
    delivered: Mapping[int, int]


@attrs.frozen(kw_only=True)
class Order:
    """An order of a person."""

    at: datetime
    actor: str
    action: str
    why: str | None
    count: int | None


@attrs.frozen(kw_only=True)
class ReportData:
    """All that a report shows.

    Attributes:
        name, state, reason: The campaign's.
        is_test: Nothing was really sent.
        made_at: When the ledger was asked.
        created_at, created_by, started_at, finished_at: When it was made, by whom, and when it ran; aware.
        template, sender: Of its messages; ``None`` where each row has its own.
        window: Its hours.
        zone: In which times are shown.
        rows, bad, duplicates: Of its list.
        bad_rows: Bad rows by the gateway's code.
        groups: Its messages.
        prices: How many accepted messages had which price; ``None`` where none was said.
        dearest: The highest price of an SMS that was seen.
        planned: The price that was estimated.
        budget: What it may cost.
        series: Counts over time; ``None`` if none was sent yet.
        orders: In order of time.
    """

    name: str
    state: str
    reason: str | None
    is_test: bool
    made_at: datetime
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None
    template: str | None
    sender: str | None
    window: SendingWindow | None
    zone: str
    rows: int
    bad: int
    duplicates: int
    bad_rows: Mapping[int | None, int]
    groups: tuple[Group, ...]
    prices: Mapping[Decimal | None, int]
    dearest: Decimal | None
    planned: Decimal | None
    budget: Decimal | None
    series: Series | None
    orders: tuple[Order, ...]

    def count(self, *, where: Callable[[Group], bool] = lambda _: True) -> int:
        """Return how many messages are in the groups that `where` picks."""
        return sum(group.messages for group in self.groups if where(group))

    def count_state(self, state: State) -> int:
        """Return how many messages stand in a state."""
        return self.count(where=lambda group: group.state == state)

    def zones(self) -> Mapping[str, Iterable[Group]]:
        """Return the groups by zone, the largest first."""
        sizes: Counter[str] = Counter()
        for group in self.groups:
            sizes[group.zone] += group.messages
        return {zone: [group for group in self.groups if group.zone == zone] for zone, _ in sizes.most_common()}

    @property
    def spent(self) -> Decimal:
        """What the accepted messages cost."""
        return sum((price * number for price, number in self.prices.items() if price is not None), Decimal(0))

    @property
    def open(self) -> Decimal | None:
        """What the unknown messages cost if all of them were accepted; ``None`` if no price was seen."""
        unknown = sum(group.parts for group in self.groups if group.state == State.UNKNOWN)
        if not unknown:
            return Decimal(0)
        return None if self.dearest is None else self.dearest * unknown

    def windows(self, series: Series) -> list[tuple[int, int]]:
        """Return the intervals in which its window was open in any of its zones, in order."""
        if self.window is None:
            return []
        end = series.start + series.width * series.bins
        zones = {group.zone or self.window.tz for group in self.groups}
        found = [each for zone in zones if zone for each in _openings(self.window, zone, series.start, end)]
        merged: list[tuple[int, int]] = []
        for opens, closes in sorted(found):
            if merged and opens <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
            else:
                merged.append((opens, closes))
        return merged


def _openings(window: SendingWindow, zone: str, begin: int, end: int) -> Iterable[tuple[int, int]]:
    now = begin
    while now < end:
        opens, closes = window.interval(now, zone)
        if opens >= end:
            return
        yield max(opens, begin), min(closes, end)
        now = closes


def bins_of(first: int, last: int) -> tuple[int, int, int]:
    """Return where bins begin, how wide they are, and how many, to hold all between two moments."""
    for width in itertools.chain(WIDTHS, (WIDTHS[-1] * days for days in itertools.count(2))):
        start = first - first % width
        number = (last - start) // width + 1
        if number <= MOST_BINS:
            return start, width, number
    raise AssertionError  # pragma: no cover - widths grow without end
