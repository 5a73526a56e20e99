"""What a campaign shows: its settings and state, its progress, its messages."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.errors import Outcome
from smspilot_async.outbox._campaign_rows import campaign_row, messages_of, rows_in_pages, seen_as
from smspilot_async.outbox._campaign_settings import CampaignSettings
from smspilot_async.outbox._enqueue import moment
from smspilot_async.outbox._import import Counts
from smspilot_async.outbox._ledger import Why
from smspilot_async.outbox._states import CampaignState, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._selection import Selection

__all__ = ["CampaignInfo", "CampaignMessage", "Progress", "info_of", "look", "messages"]

_AT_ONCE: Final = 1000
_FOREVER: Final = 2**63 - 1


@attrs.frozen(kw_only=True)
class CampaignInfo:
    """The state of a campaign.

    Attributes:
        id, name: The ledger's number, and the name that you gave.
        state: ``"importing"``, ``"draft"``, ``"estimated"``, ``"approved"``, ``"running"``, ``"paused"``,
            ``"finished"`` or ``"cancelled"``.
        reason: Why it is paused or was cancelled, or what had paused it when nothing was left to send.
        settings: What it was made with.
        starts_at, expires_at, created_at, started_at, finished_at: Aware, UTC; ``None`` where there is no such time.
        budget: Roubles; ``None`` without one.
        first: How many messages may leave before it pauses; ``None`` for all.
        created_by: Who made it.
        rows: Rows of the list taken so far: each of them is
        messages: a message, or
        bad: a bad row, or
        duplicates: repeats an earlier row and was dropped.
    """

    id: int
    name: str
    state: str
    reason: str | None
    settings: CampaignSettings
    starts_at: datetime | None
    expires_at: datetime | None
    budget: Decimal | None
    first: int | None
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None
    rows: int
    messages: int
    bad: int
    duplicates: int


@attrs.frozen(kw_only=True)
class Progress:
    """How far a campaign is.

    Attributes:
        name: The campaign's.
        state, reason: As in :class:`CampaignInfo`.
        messages: How many are in each state: ``pending``, ``in_flight``, and the outcomes.
        spent: The price of the accepted messages, in roubles.
        at: When that was, by the ledger's clock; UTC.
        per_second: Messages that got an outcome, a second, since the look before; 0.0 at the first.
    """

    name: str
    state: str
    reason: str | None
    messages: dict[str, int]
    at: datetime
    spent: Decimal = Decimal(0)
    per_second: float = 0.0

    @property
    def total(self) -> int:
        """All messages."""
        return sum(self.messages.values())

    @property
    def done(self) -> int:
        """Messages with an outcome, unknown included."""
        return self.total - self.messages["pending"] - self.messages["in_flight"]

    @property
    def is_over(self) -> bool:
        """It is finished or cancelled."""
        return self.state in {CampaignState.FINISHED, CampaignState.CANCELLED}


@attrs.frozen(kw_only=True)
class CampaignMessage:
    """A row of a campaign's list, and what became of it.

    Attributes:
        id: The ledger's number, which is also its number on the wire; ``None`` of a bad row.
        line: Of the list.
        to: The phone; ``None`` of a bad row.
        state: ``"pending"``, ``"in_flight"``, or the outcome's word.
        outcome: What became of it; ``None`` while it is on its way.
        reason: Why, in a word (``"invalid"`` of a bad row), and
        why: in words, of a bad row.
        code: The gateway's code.
        server_id, price, status: The gateway's number, roubles and delivery status, once it is accepted.
        packet: The gateway's number of the packet it was last sent in, where an answer named one.
        parts: SMS: as the gateway says, and before that as counted at the import.
        settled_at, status_at: Aware, UTC.
        extra: The row's other columns.
    """

    id: int | None
    line: int
    to: str | None = attrs.field(repr=False)
    state: str
    outcome: Outcome | None
    reason: str | None = None
    why: str | None = None
    code: int | None = None
    server_id: str | None = None
    packet: str | None = None
    parts: int | None = None
    price: Decimal | None = None
    status: int | None = None
    settled_at: datetime | None = None
    status_at: datetime | None = None
    sent_twice: bool = False
    extra: str | None = attrs.field(default=None, repr=False)


def info_of(row: Any) -> CampaignInfo:
    """Return what a campaign's row says."""
    counts = Counts.from_json(row["counts"])
    created_at = moment(row["created_at"])
    assert created_at is not None  # noqa: S101 - each has one
    return CampaignInfo(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        reason=row["reason"],
        settings=CampaignSettings.from_json(row["settings"]),
        starts_at=moment(row["starts_at"] or None),
        expires_at=None if row["expires_at"] == _FOREVER else moment(row["expires_at"]),
        budget=row["budget"],
        first=row["first"],
        created_at=created_at,
        created_by=row["created_by"],
        started_at=moment(row["started_at"]),
        finished_at=moment(row["finished_at"]),
        rows=counts.rows,
        messages=counts.messages,
        bad=counts.bad,
        duplicates=counts.duplicates,
    )


async def look(access: Access, campaign_id: int) -> Progress:
    """Count a campaign's messages."""
    tables = access.tables
    message = tables.message
    async with access.reading() as connection:
        row = await campaign_row(connection, tables, id=campaign_id)
        alike = (message.c.state, message.c.price)  # a sum of prices made by SQLite would not be exact
        query = sa.select(*alike, sa.func.count()).where(messages_of(tables, row)).group_by(*alike)
        found = (await connection.execute(query)).all()
        now = await access.now(connection)
    counts = Counter({state.value: 0 for state in State})
    spent = Decimal(0)
    for state_, price, number in found:
        counts[state_] += number
        if state_ == State.ACCEPTED.value and price is not None:
            spent += price * number
    state, _ = seen_as(row, now)
    if state is not State.PENDING:
        counts[state.value] += counts[State.PENDING.value]
        counts[State.PENDING.value] = 0
    at = moment(now)
    assert at is not None  # noqa: S101 - it is a time
    return Progress(
        name=row["name"], state=row["state"], reason=row["reason"], messages=dict(counts), spent=spent, at=at
    )


async def messages(
    access: Access, campaign_id: int, selection: Selection | None, after: CampaignMessage | None = None
) -> AsyncIterator[CampaignMessage]:
    """Yield a campaign's rows in the order of the list, bad ones among them."""
    async with access.reading() as connection:
        row = await campaign_row(connection, access.tables, id=campaign_id)
        now = await access.now(connection)
    bad = _bad_rows(access, campaign_id, selection, -1 if after is None else after.line)
    next_bad = await anext(bad, None)
    from_id = 0 if after is None or after.id is None else after.id + 1
    async for message in _good_rows(access, row, selection, seen_as(row, now), from_id):
        while next_bad is not None and next_bad.line < message.line:
            yield next_bad
            next_bad = await anext(bad, None)
        yield message
    while next_bad is not None:
        yield next_bad
        next_bad = await anext(bad, None)


async def _good_rows(
    access: Access, row: Any, selection: Selection | None, seen: tuple[State, Why | None], from_id: int
) -> AsyncIterator[CampaignMessage]:
    message = access.tables.message
    chosen = sa.true() if selection is None else selection.where(access.tables, *seen)
    attempt = access.tables.attempt
    query = (
        sa.select(message, attempt.c.server_packet_id)
        .outerjoin(attempt, attempt.c.id == message.c.attempt_id)
        .where(chosen)
    )
    async for one in rows_in_pages(access, row, query, size=_AT_ONCE, from_id=from_id):
        yield _message_of(one, *seen)


def _message_of(row: Any, seen: State, why: Why | None) -> CampaignMessage:
    is_pending = row.state == State.PENDING.value
    state = seen if is_pending else State(row.state)
    return CampaignMessage(
        id=row.id,
        line=row.line,
        to=row.phone,
        state=state.value,
        outcome=state.outcome,
        reason=why.value if is_pending and why else row.reason,
        code=row.code,
        server_id=row.server_id,
        packet=row.server_packet_id,
        parts=row.parts,
        price=row.price,
        status=row.status,
        settled_at=moment(row.settled_at),
        status_at=moment(row.status_at),
        sent_twice=bool(row.sent_twice),
        extra=row.extra,
    )


async def _bad_rows(
    access: Access, campaign_id: int, selection: Selection | None, last: int
) -> AsyncIterator[CampaignMessage]:
    if selection is not None and not selection.has_bad_rows:
        return
    bad_row = access.tables.bad_row
    query = sa.select(bad_row).where(bad_row.c.campaign_id == campaign_id).order_by(bad_row.c.line).limit(_AT_ONCE)
    while True:
        async with access.reading() as connection:
            rows = (await connection.execute(query.where(bad_row.c.line > last))).all()
        for one in rows:
            if selection is None or selection.has_line(one.line):
                yield _bad_row_of(one)
        if len(rows) < _AT_ONCE:
            return
        last = rows[-1].line


def _bad_row_of(row: Any) -> CampaignMessage:
    why = f"{row.field}: {row.why}" if row.field else row.why
    return CampaignMessage(
        id=None,
        line=row.line,
        to=None,
        state=State.REFUSED.value,
        outcome=Outcome.REFUSED,
        reason=Why.INVALID.value,
        why=why,
        code=row.code,
    )
