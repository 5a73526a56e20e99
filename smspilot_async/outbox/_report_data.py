"""What a campaign's report says, gathered from the ledger: counts alone, however many rows there are.

The database counts; what comes here is a handful of groups. No phone, no text but the template, and no names
but of those who gave orders.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.models import DeliveryStatus
from smspilot_async.outbox._campaign_info import info_of
from smspilot_async.outbox._campaign_rows import campaign_row, messages_of, seen_as
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._states import State
from smspilot_async.outbox._windows import SendingWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._campaign_info import CampaignInfo
    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._ledger import Why
    from smspilot_async.outbox._schema import Tables

__all__ = ["Group", "Order", "ReportData", "Series", "gather", "zone_shown"]

_MINUTE: Final = 60_000_000
WIDTHS: Final = tuple(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
MOST_BINS: Final = 150
_GATEWAYS_ZONE: Final = "Europe/Moscow"
_FROM_INFO: Final = (
    *("name", "state", "reason", "created_at", "created_by", "started_at", "finished_at"),
    *("rows", "bad", "duplicates", "budget"),
)


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


# --- gathering ------------------------------------------------------------------------------------


async def gather(access: Access, name: str) -> ReportData:
    """Count what a report of a campaign shows.

    Raises:
        CampaignMissing: No campaign has this name.
    """
    tables = access.tables
    async with access.reading() as connection:
        row = await campaign_row(connection, tables, name=name)
        now = await access.now(connection)
        is_test = (await connection.execute(sa.select(tables.ledger.c.is_test))).scalar_one()
        groups = await _groups(connection, tables, row, seen_as(row, now))
        prices = await _prices(connection, tables, row)
        series = await _series(connection, tables, row)
        bad_rows = await _bad_rows(connection, tables, row["id"])
        orders = await _orders(connection, tables, row["id"])
    info = info_of(row)
    window = _window(info)
    per_part = [price / parts for price, parts, _ in prices if price is not None and parts]
    return ReportData(
        **{field: getattr(info, field) for field in _FROM_INFO},
        is_test=bool(is_test),
        made_at=_moment(now),
        template=info.settings.template,
        sender=info.settings.sender,
        window=window,
        zone=_zone(window),
        bad_rows=bad_rows,
        groups=groups,
        prices=_by_price(prices),
        dearest=max(per_part, default=None),
        planned=_planned(row["estimate"]),
        series=series,
        orders=orders,
    )


async def zone_shown(access: Access, name: str) -> str:
    """Return the zone in which a campaign's report shows times: its window's, or else the gateway's own."""
    async with access.reading() as connection:
        return _zone(_window(info_of(await campaign_row(connection, access.tables, name=name))))


def _window(info: CampaignInfo) -> SendingWindow | None:
    return None if info.settings.window is None else SendingWindow.from_json(info.settings.window)


def _zone(window: SendingWindow | None) -> str:
    return (window.tz if window is not None else None) or _GATEWAYS_ZONE


def _planned(estimate: str | None) -> Decimal | None:
    price = None if estimate is None else json.loads(estimate).get("price")
    return None if price is None else Decimal(price)


async def _groups(
    connection: AsyncConnection, tables: Tables, row: Any, pending_as: tuple[State, Why | None]
) -> tuple[Group, ...]:
    message, stream = tables.message, tables.stream
    alike = (stream.c.zone, message.c.state, message.c.reason, message.c.code, message.c.status)
    counts = (sa.func.count(), sa.func.coalesce(sa.func.sum(message.c.parts), 0))
    query = sa.select(*alike, *counts).join(stream, stream.c.id == message.c.stream_id)
    found = await connection.execute(query.where(messages_of(tables, row)).group_by(*alike))
    return tuple(_group(*one, pending_as=pending_as) for one in found)


def _group(*alike: Any, pending_as: tuple[State, Why | None]) -> Group:
    zone, state, reason, code, status, number, parts = alike
    if state == State.PENDING:
        state, reason = pending_as[0].value, pending_as[1]
    return Group(zone=zone, state=state, reason=reason, code=code, status=status, messages=number, parts=int(parts))


async def _prices(
    connection: AsyncConnection, tables: Tables, row: Any
) -> list[tuple[Decimal | None, int | None, int]]:
    """Return how many accepted messages have which price and parts; so the sum is exact on both databases."""
    message = tables.message
    alike = (message.c.price, message.c.parts)
    query = sa.select(*alike, sa.func.count()).where(messages_of(tables, row), message.c.state == State.ACCEPTED.value)
    return [(price, parts, number) for price, parts, number in await connection.execute(query.group_by(*alike))]


def _by_price(prices: list[tuple[Decimal | None, int | None, int]]) -> Mapping[Decimal | None, int]:
    numbers: Counter[Decimal | None] = Counter()
    for price, _, number in prices:
        numbers[price] += number
    return numbers


async def _series(connection: AsyncConnection, tables: Tables, row: Any) -> Series | None:
    message, attempt = tables.message, tables.attempt
    left = sa.func.coalesce(attempt.c.intent_at, message.c.settled_at)  # attempts may be purged
    has_left = message.c.state.in_([State.ACCEPTED.value, State.UNKNOWN.value])
    arrived = (message.c.state == State.ACCEPTED.value) & (message.c.status == int(DeliveryStatus.DELIVERED))
    sources: dict[str, tuple[Any, Any, Any]] = {
        "sent": (left, message.outerjoin(attempt, attempt.c.id == message.c.attempt_id), has_left),
        "delivered": (message.c.status_at, message, arrived & message.c.status_at.is_not(None)),
    }
    ends: list[int] = []
    for when, of, which in sources.values():
        query = sa.select(sa.func.min(when), sa.func.max(when)).select_from(of).where(messages_of(tables, row), which)
        ends += [end for end in (await connection.execute(query)).one() if end is not None]
    if not ends:
        return None
    start, width, bins = bins_of(min(ends), max(ends))
    counts: dict[str, dict[int, int]] = {}
    for name, (when, of, which) in sources.items():
        number = ((when - start) // width).label("bin")
        query = sa.select(number, sa.func.count()).select_from(of).where(messages_of(tables, row), which)
        found = await connection.execute(query.group_by(number))
        counts[name] = {int(at): count for at, count in found}
    return Series(start=start, width=width, bins=bins, **counts)


async def _bad_rows(connection: AsyncConnection, tables: Tables, campaign_id: int) -> dict[int | None, int]:
    bad_row = tables.bad_row
    query = sa.select(bad_row.c.code, sa.func.count()).where(bad_row.c.campaign_id == campaign_id)
    return {code: count for code, count in await connection.execute(query.group_by(bad_row.c.code))}  # noqa: C416 - rows


async def _orders(connection: AsyncConnection, tables: Tables, campaign_id: int) -> tuple[Order, ...]:
    orders = tables.orders
    columns = (orders.c.at, orders.c.actor, orders.c.action, orders.c.why, orders.c.count)
    query = sa.select(*columns).where(orders.c.campaign_id == campaign_id).order_by(orders.c.id)
    return tuple(
        Order(at=_moment(at), actor=actor, action=action.removeprefix("campaign "), why=why, count=count)
        for at, actor, action, why, count in await connection.execute(query)
    )


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / SECOND, UTC)
