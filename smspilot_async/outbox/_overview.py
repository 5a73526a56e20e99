"""What a person on call looks at first: what stops the sending, what waits, who sends, how fast, and for how long.

Nothing here reads what is settled, so that a look at a ledger of millions costs what waits in it, and no more.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async.errors import SmsPilotError
from smspilot_async.outbox._enqueue import moment
from smspilot_async.outbox._follow import next_poll
from smspilot_async.outbox._ledger import SECOND, AccountState, Why
from smspilot_async.outbox._schema import KINDS, SCHEMA
from smspilot_async.outbox._states import CampaignState
from smspilot_async.outbox._workers import WorkerInfo, read_workers

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async import Client
    from smspilot_async.outbox._schema import Tables

__all__ = ["CampaignLine", "KindWaiting", "Overview", "balance_of", "overview"]

_MINUTE, _HOUR = 60 * SECOND, 3600 * SECOND
_MOST_ATTEMPTS: Final = 20_000
"""How far back the pace is looked at: the table has no index by time, and is read from its end."""
_SETTLED: Final = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value)
_UNDER_WAY: Final = (CampaignState.RUNNING.value, CampaignState.PAUSED.value)
_ASKING: Final = 5.0  # seconds for the balance: whoever looks does not wait for a gateway that is away


@attrs.frozen(kw_only=True)
class KindWaiting:
    """What of a kind is due, may leave, and has not left.

    Attributes:
        kind: ``"code"``, ``"service"`` or ``"marketing"``.
        messages: How many; those of campaigns that do not run, or whose window is closed, are not among them.
        oldest: For how long the first of them has been due.
    """

    kind: str
    messages: int
    oldest: timedelta | None


@attrs.frozen(kw_only=True)
class CampaignLine:
    """A campaign that runs or is paused, and why."""

    name: str
    state: str
    reason: str | None


@attrs.frozen(kw_only=True)
class Overview:
    """What a person on call looks at first: :meth:`Outbox.overview`.

    Attributes:
        at: When it was looked at, by the ledger's clock; UTC.
        drift: How far this machine's clock is ahead of the database's; zero on SQLite, which has none of its own.
        account_id, endpoint, is_test: What the ledger is bound to.
        account: A halt, a pause, the brake.
        waiting: Due and not left, by kind; the most urgent first.
        requests: Under way, with
        in_flight: so many messages.
        expired: Requests whose lease is over, and that no sender has recovered: any that is alive does within a second.
        unknown: Messages that may have been sent, of which
        unsettled: were not settled by an order.
        campaigns: Those that run or are paused.
        workers: What sends, with versions and signs of life; those that were lost within the last day, too.
        per_second: Messages that left in the last minute, a second.
        rate_limit: What the workers that run are held to, all together; ``None`` without one.
        spent_per_hour: Roubles, at the pace of the last hour.
        balance: Roubles on the account; ``None`` where the gateway was not asked, or did not answer.
        called_at: When the last status callback came.
        following: Packets whose statuses are still asked for, the next of them
        next_poll: then.
        database: ``"sqlite"`` or ``"postgresql"``.
        size: Of the ledger in it, in bytes.
    """

    at: datetime
    drift: timedelta
    account_id: int
    endpoint: str
    is_test: bool
    account: AccountState
    waiting: tuple[KindWaiting, ...]
    requests: int
    in_flight: int
    expired: int
    unknown: int
    unsettled: int
    campaigns: tuple[CampaignLine, ...]
    workers: tuple[WorkerInfo, ...]
    per_second: float
    rate_limit: float | None
    spent_per_hour: Decimal
    balance: Decimal | None
    called_at: datetime | None
    following: int
    next_poll: datetime | None
    database: str
    size: int

    @property
    def hours_left(self) -> float | None:
        """For how many hours the balance lasts at the pace of the last hour; ``None`` if nothing was spent."""
        if self.balance is None or self.spent_per_hour <= 0:
            return None
        return max(float(self.balance / self.spent_per_hour), 0.0)


async def balance_of(client: Client, account_id: int) -> Decimal | None:
    """Return the balance of the ledger's account; ``None`` if the gateway does not say, or speaks of another one."""
    try:
        info = await client.info(deadline=_ASKING)
    except SmsPilotError:
        return None
    return info.balance if info.id == account_id else None


async def overview(
    connection: AsyncConnection, tables: Tables, now: int, *, ledger: Any, path: Path | None, balance: Decimal | None
) -> Overview:
    """Look at a ledger.

    Args:
        connection: For reading.
        tables: The ledger's.
        now: Its clock, as it was just asked.
        ledger: Its row.
        path: Its file, on SQLite.
        balance: Of its account.
    """
    drift = 0 if path is not None else time.time_ns() // 1000 - now
    account = (await connection.execute(sa.select(tables.account))).one()
    waiting = await _waiting(connection, tables, now)
    requests, in_flight, expired = await _under_way(connection, tables, now)
    unknown, unsettled = await _unknown(connection, tables)
    per_second, spent = await _pace(connection, tables, now)
    following, poll = await next_poll(connection, tables)
    campaign = tables.campaign
    going = sa.select(campaign.c.name, campaign.c.state, campaign.c.reason).where(campaign.c.state.in_(_UNDER_WAY))
    campaigns = (await connection.execute(going.order_by(campaign.c.id))).mappings()
    workers = tuple(await read_workers(connection, tables, now))
    running = [worker for worker in workers if worker.is_running]
    at = moment(now)
    assert at is not None  # noqa: S101 - it is a time
    return Overview(
        at=at,
        drift=timedelta(microseconds=drift),
        account_id=ledger.account_id,
        endpoint=ledger.endpoint,
        is_test=bool(ledger.is_test),
        account=AccountState(
            paused=account.paused,
            halted=account.halted,
            halted_why=account.halted_why,
            unknowns=account.unknowns,
            brake_until=account.brake_until,
            now=now,
        ),
        waiting=waiting,
        requests=requests,
        in_flight=in_flight,
        expired=expired,
        unknown=unknown,
        unsettled=unsettled,
        campaigns=tuple(CampaignLine(**row) for row in campaigns),
        workers=workers,
        per_second=per_second,
        rate_limit=min((one.rate_limit for one in running if one.rate_limit is not None), default=None),
        spent_per_hour=spent,
        balance=balance,
        called_at=moment(account.called_at),
        following=following,
        next_poll=moment(poll),
        database=connection.dialect.name,
        size=await _size(connection, path),
    )


async def _waiting(connection: AsyncConnection, tables: Tables, now: int) -> tuple[KindWaiting, ...]:
    message, stream, campaign = tables.message, tables.stream, tables.campaign
    runs = (
        (campaign.c.state == CampaignState.RUNNING.value)
        & (campaign.c.starts_at <= now)
        & (now < campaign.c.expires_at)
    )
    may_leave = (stream.c.open_from <= now) & (now < stream.c.open_until) & (stream.c.campaign_id.is_(None) | runs)
    due = tables.is_pending & (message.c.due <= now)
    query = (
        sa.select(stream.c.lane, sa.func.count(), sa.func.min(message.c.due))
        .join(message, message.c.stream_id == stream.c.id)
        .outerjoin(campaign, campaign.c.id == stream.c.campaign_id)
        .where(may_leave, due)
        .group_by(stream.c.lane)
    )
    found = {lane: (count, oldest) for lane, count, oldest in await connection.execute(query)}
    return tuple(
        KindWaiting(
            kind=kind,
            messages=found[lane][0] if lane in found else 0,
            oldest=timedelta(microseconds=now - found[lane][1]) if lane in found else None,
        )
        for kind, lane in KINDS.items()
    )


def _messages_in(tables: Tables, connection: AsyncConnection) -> Any:
    of = sa.func.cardinality if connection.dialect.name == "postgresql" else sa.func.json_array_length
    return of(tables.attempt.c.message_ids)


async def _under_way(connection: AsyncConnection, tables: Tables, now: int) -> tuple[int, int, int]:
    attempt = tables.attempt
    expired = sa.func.sum(sa.case((attempt.c.lease < now, 1), else_=0))
    messages = sa.func.sum(_messages_in(tables, connection))
    query = sa.select(sa.func.count(), messages, expired).select_from(attempt).where(attempt.c.outcome.is_(None))
    requests, in_flight, over = (await connection.execute(query)).one()
    return requests, int(in_flight or 0), int(over or 0)


async def _unknown(connection: AsyncConnection, tables: Tables) -> tuple[int, int]:
    message = tables.message
    is_open = sa.func.coalesce(message.c.reason, "").not_in(_SETTLED)
    query = sa.select(sa.func.count(), sa.func.sum(sa.case((is_open, 1), else_=0))).where(tables.is_unknown)
    unknown, unsettled = (await connection.execute(query)).one()
    return unknown, int(unsettled or 0)


async def _pace(connection: AsyncConnection, tables: Tables, now: int) -> tuple[float, Decimal]:
    """Return the messages a second of the last minute, and the roubles an hour of the last hour."""
    attempt = tables.attempt
    last = sa.select(sa.func.coalesce(sa.func.max(attempt.c.id), 0)).scalar_subquery()
    recent = (attempt.c.id > last - _MOST_ATTEMPTS) & (attempt.c.intent_at > now - _HOUR)
    left = sa.case((attempt.c.intent_at > now - _MINUTE, _messages_in(tables, connection)), else_=0)
    cost = sa.cast(attempt.c.cost, sa.Float)
    query = sa.select(sa.func.sum(left), sa.func.sum(cost), sa.func.count(), sa.func.min(attempt.c.intent_at))
    messages, roubles, attempts, since = (await connection.execute(query.where(recent))).one()
    hours = max(now - since, _MINUTE) / _HOUR if attempts == _MOST_ATTEMPTS else 1.0
    return int(messages or 0) / 60, Decimal(str(round(float(roubles or 0) / hours, 2)))


async def _size(connection: AsyncConnection, path: Path | None) -> int:
    if path is not None:
        return await asyncio.to_thread(_bytes, path)
    relations = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    found = await connection.execute(sa.text(f"{relations}'{SCHEMA}'\\:\\:regnamespace"))
    return int(found.scalar_one() or 0)


def _bytes(path: Path) -> int:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
