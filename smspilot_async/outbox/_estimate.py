"""What a campaign would do before it does anything: rows, overlap, price, and when it would end.

The import has counted already; what is asked here is the ledger (who was reached lately, who is suppressed), the
gateway (what a message costs, by country and parts, on a sample), and the calendar (:func:`fit`, which is pure).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.errors import SmsPilotError
from smspilot_async.models import Message
from smspilot_async.outbox._campaign_rows import messages_of
from smspilot_async.outbox._campaign_settings import CampaignSettings
from smspilot_async.outbox._import import Counts
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._schema import MARKETING
from smspilot_async.outbox._states import CampaignState, State
from smspilot_async.outbox._windows import SendingWindow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async import Client
    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._schema import Tables

__all__ = ["MOST_OVERLAP", "Estimate", "estimate", "fit"]

MOST_OVERLAP: Final = 0.05
"""Of its phones that others reached lately: beyond this share an approval needs ``overlap_ok``."""
_DAY: Final = 86_400 * SECOND
_LATELY: Final = 14 * _DAY
_HORIZON: Final = 60 * _DAY
_BAD_SHOWN: Final = 20
_WAITS: Final = (CampaignState.APPROVED, CampaignState.RUNNING, CampaignState.PAUSED)


@attrs.frozen(kw_only=True)
class Estimate:
    """What a campaign would do.

    Attributes:
        at: When this was estimated; UTC.
        rows: Of the list: each is
        messages: a message, or
        bad: a bad row, or
        duplicates: dropped, for it repeats an earlier row.
        bad_rows: The first bad rows: line, and why.
        overlap: Messages to phones that other campaigns reached in the last 14 days, or are about to reach.
        suppressed: Messages to phones on a suppression list, which will not leave.
        parts: SMS of all messages.
        price: Roubles for all messages, by the gateway's price of a sample; ``None`` where it gave none for some.
        prices: Roubles a message, by ``country/parts``.
        price_error: Why there is no price.
        balance: Roubles on the account.
        fits: Messages that can leave before it expires, in its windows, at its rate; ``None`` without a rate.
        ends_at: When the last one leaves; UTC. ``None`` where not all fit, or without a rate.
        mixed: Messages in which Latin and Cyrillic letters stand in one word, which the gateway refuses (248);
            ``mixed_lines`` are the first of them.
    """

    at: datetime
    rows: int
    messages: int
    bad: int
    duplicates: int
    bad_rows: tuple[tuple[int, str], ...]
    overlap: int
    suppressed: int
    parts: int
    price: Decimal | None
    prices: Mapping[str, Decimal]
    price_error: str | None
    balance: Decimal | None
    fits: int | None
    ends_at: datetime | None
    mixed: int
    mixed_lines: tuple[int, ...]

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(attrs.asdict(self), default=_plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, written: str) -> Estimate:
        """Return what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(written)
        for name in ("at", "ends_at"):
            fields[name] = None if fields[name] is None else datetime.fromisoformat(fields[name])
        for name in ("price", "balance"):
            fields[name] = None if fields[name] is None else Decimal(fields[name])
        prices = {group: Decimal(price) for group, price in fields.pop("prices").items()}
        bad = tuple((line, why) for line, why in fields.pop("bad_rows"))
        return cls(**fields | {"prices": prices, "bad_rows": bad, "mixed_lines": tuple(fields["mixed_lines"])})


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else f"{value:f}" if isinstance(value, Decimal) else ""


async def estimate(access: Access, row: Any, client: Client, rate: float | None) -> Estimate:
    """Estimate a campaign; nothing is sent, and nothing is written."""
    counts, settings = Counts.from_json(row["counts"]), CampaignSettings.from_json(row["settings"])
    async with access.reading() as connection:
        now = await access.now(connection)
        bad_rows = await _bad_rows(connection, access.tables, row["id"])
        overlap = await _overlap(connection, access.tables, row, now)
        suppressed = await _suppressed(connection, access.tables, row)
        samples = await _samples(connection, access.tables, row, counts)
    prices, price_error = await _prices(client, samples)
    begins, expires = max(now, row["starts_at"]), min(row["expires_at"], now + _HORIZON)
    per_second = settings.rate_limit or rate
    fits = ends = None
    if per_second is not None:
        fits, ends = await asyncio.to_thread(_fit, counts, settings.window, per_second, begins, expires)
    return Estimate(
        at=_moment(now),
        rows=counts.rows,
        messages=counts.messages,
        bad=counts.bad,
        duplicates=counts.duplicates,
        bad_rows=bad_rows,
        overlap=overlap,
        suppressed=suppressed,
        parts=counts.parts,
        price=None if price_error else sum((prices[group] * many for group, many in counts.groups.items()), Decimal(0)),
        prices=prices,
        price_error=price_error,
        balance=await _balance(client),
        fits=fits,
        ends_at=None if ends is None else _moment(ends),
        mixed=counts.mixed,
        mixed_lines=tuple(counts.mixed_lines),
    )


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time / SECOND, UTC)


async def _bad_rows(connection: AsyncConnection, tables: Tables, campaign_id: int) -> tuple[tuple[int, str], ...]:
    bad_row = tables.bad_row
    query = sa.select(bad_row.c.line, bad_row.c.field, bad_row.c.why).where(bad_row.c.campaign_id == campaign_id)
    rows = await connection.execute(query.order_by(bad_row.c.line).limit(_BAD_SHOWN))
    return tuple((line, f"{field}: {why}" if field else why) for line, field, why in rows)


async def _overlap(connection: AsyncConnection, tables: Tables, row: Any, now: int) -> int:
    """Count its messages to phones that other campaigns reached lately, may have reached, or are about to reach."""
    message, stream, campaign = tables.message, tables.stream, tables.campaign
    other = message.alias("other")
    reached = other.c.state.in_([State.ACCEPTED.value, State.UNKNOWN.value, State.IN_FLIGHT.value])
    lately = sa.func.coalesce(other.c.settled_at, now) > now - _LATELY
    about = (other.c.state == State.PENDING.value) & campaign.c.state.in_([state.value for state in _WAITS])
    phones = (
        sa.select(other.c.phone)
        .join(stream, stream.c.id == other.c.stream_id)
        .join(campaign, campaign.c.id == stream.c.campaign_id)
        .where(campaign.c.id != row["id"], (reached & lately) | about)
    )
    return await _count(connection, tables, row, message.c.phone.in_(phones))


async def _suppressed(connection: AsyncConnection, tables: Tables, row: Any) -> int:
    message, stream, suppression = tables.message, tables.stream, tables.suppression
    lane = sa.select(stream.c.lane).where(stream.c.id == message.c.stream_id).scalar_subquery()
    all_ = sa.select(suppression.c.phone).where(suppression.c.list == "all")
    any_ = sa.select(suppression.c.phone)
    return await _count(
        connection, tables, row, message.c.phone.in_(all_) | ((lane == MARKETING) & message.c.phone.in_(any_))
    )


async def _count(connection: AsyncConnection, tables: Tables, row: Any, condition: Any) -> int:
    query = sa.select(sa.func.count()).select_from(tables.message).where(messages_of(tables, row), condition)
    return int((await connection.execute(query)).scalar_one())


# --- the price -----------------------------------------------------------------------------------


async def _samples(connection: AsyncConnection, tables: Tables, row: Any, counts: Counts) -> dict[str, list[Message]]:
    """Return some messages of each country and number of parts."""
    message = tables.message
    lines = [line for group in counts.samples.values() for line in group]
    query = sa.select(message.c.line, message.c.phone, message.c.text, message.c.sender)
    rows = await connection.execute(query.where(messages_of(tables, row), message.c.line.in_(lines)))
    found = {line: Message(f"+{phone}", text, sender=sender) for line, phone, text, sender in rows}
    return {group: [found[line] for line in lines if line in found] for group, lines in counts.samples.items()}


async def _prices(client: Client, samples: Mapping[str, list[Message]]) -> tuple[dict[str, Decimal], str | None]:
    """Return what a message of each group costs, as the gateway says, and why that is not known of some."""
    prices: dict[str, Decimal] = {}
    problem: str | None = None
    for group, messages in samples.items():
        try:
            prices[group] = await client.cost(messages) / len(messages)
        except SmsPilotError as error:
            problem = str(error)
    return prices, problem


async def _balance(client: Client) -> Decimal | None:
    try:
        return (await client.info()).balance
    except SmsPilotError:
        return None


# --- the calendar --------------------------------------------------------------------------------


def _fit(counts: Counts, window: str | None, rate: float, begins: int, expires: int) -> tuple[int, int | None]:
    return fit(counts.zones, None if window is None else SendingWindow.from_json(window), rate, begins, expires)


def fit(
    zones: Mapping[str, int], window: SendingWindow | None, rate: float, begins: int, expires: int
) -> tuple[int, int | None]:
    """Return how many messages can leave in time, and when the last one does.

    Args:
        zones: Messages by zone.
        window: The hours in which they may leave; ``None`` for all.
        rate: Messages a second.
        begins: From when, in microseconds.
        expires: Until when.

    Returns:
        The messages, and the moment, in microseconds; ``None`` where not all of them fit.
    """
    left = {zone: float(number) for zone, number in zones.items()}
    spans = {zone: _spans(window, zone, begins, expires) for zone in left}
    edges = sorted({edge for zone in spans.values() for span in zone for edge in span})
    total, at = sum(zones.values()), begins
    for begin, end in itertools.pairwise(edges):
        capacity = rate * (end - begin) / SECOND
        room = capacity
        for zone, _ in sorted(_open(spans, begin).items(), key=lambda item: item[1]):  # who closes first goes first
            taken = min(room, left[zone])
            left[zone] -= taken
            room -= taken
        if room < capacity:
            at = begin + int((capacity - room) / rate * SECOND)
        if not any(left.values()):
            break
    missing = sum(left.values())
    return total - int(-(-missing // 1)), at if not missing else None


def _spans(window: SendingWindow | None, zone: str, begins: int, expires: int) -> list[tuple[int, int]]:
    """Return the intervals in which a zone may be sent to."""
    if window is None:
        return [(begins, expires)] if begins < expires else []
    spans, at = [], begins
    while at < expires:
        opens, closes = window.interval(at, zone or None)
        if opens >= expires:
            break
        spans.append((max(opens, begins), min(closes, expires)))
        at = closes
    return spans


def _open(spans: Mapping[str, list[tuple[int, int]]], at: int) -> dict[str, int]:
    """Return the zones that are open at a moment, and when each closes."""
    return {zone: closes for zone, times in spans.items() for opens, closes in times if opens <= at < closes}
