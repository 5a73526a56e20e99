"""A campaign's row: moved by compare-and-set, and its messages settled lazily.

Whoever moves a campaign, from whatever process, changes its own row alone, and only from a state in which the table of
:mod:`._states` knows the event; the loser of a race learns the state it is in. What is pending then is settled
later, in chunks, by whoever sends (:func:`tend`); readers see it as settled at once (:func:`seen_as`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from smspilot_async import Client
from smspilot_async.outbox._campaign_settings import CampaignSettings
from smspilot_async.outbox._errors import CampaignMissing, CampaignStateError, LedgerUnavailable
from smspilot_async.outbox._ledger import Why
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._schema import Tables
from smspilot_async.outbox._states import CampaignEvent, CampaignState, Event, State, campaign_moves, sources
from smspilot_async.outbox._unknown import Probe, Resend, policy_of, window_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from sqlalchemy.engine import RowMapping

__all__ = [
    "Access",
    "BackgroundSender",
    "campaign_row",
    "messages_of",
    "move",
    "rows_in_pages",
    "seen_as",
    "tend",
    "tending",
]

logger: Final = logging.getLogger("smspilot_async.outbox")

_LEDGER: Final = "the ledger"
_AT_ONCE: Final = 2000
"""Messages settled in a transaction: claims wait for it, on SQLite."""
_PAUSE, _AT_THE_END = 1.0, 5.0
"""Seconds between two looks, and for the last one."""
_RUNS: Final = (CampaignState.RUNNING, CampaignState.PAUSED)
_OVER: Final = (CampaignState.FINISHED, CampaignState.CANCELLED)
_DECIDED: Final = (Why.ASSUMED_SENT.value, Why.PROVEN_DUPLICATE.value, Why.RESTORED.value, Why.DUPLICATE.value)
_PAST: Final = {
    CampaignEvent.IMPORTED: "imported",
    CampaignEvent.CHANGE: "changed",
    CampaignEvent.ESTIMATE: "estimated",
    CampaignEvent.APPROVE: "approved",
    CampaignEvent.START: "started",
    CampaignEvent.PAUSE: "paused",
    CampaignEvent.RESUME: "resumed",
    CampaignEvent.FINISH: "finished",
    CampaignEvent.RETRY: "retried",
    CampaignEvent.REOPEN: "reopened",
    CampaignEvent.CANCEL: "cancelled",
}
_BEFORE_IT_SENDS: Final = {
    CampaignState.DRAFT: "Estimate, approve and start it first.",
    CampaignState.ESTIMATED: "Approve and start it first.",
    CampaignState.APPROVED: "Start it first.",
    CampaignState.PAUSED: "Resume it first.",
}
_FIRST: Final = {
    (CampaignEvent.APPROVE, CampaignState.DRAFT): "Estimate it first.",
    (CampaignEvent.START, CampaignState.DRAFT): "Estimate and approve it first.",
    (CampaignEvent.START, CampaignState.ESTIMATED): "Approve it first.",
    (CampaignEvent.START, CampaignState.PAUSED): "Resume it.",
    (CampaignEvent.RESUME, CampaignState.APPROVED): "Start it.",
    (CampaignEvent.CHANGE, CampaignState.RUNNING): "Pause it first.",
}
"""What leads from a state to what was ordered."""


class BackgroundSender(Protocol):
    """What sends from a ledger in the background of a block: the outbox's worker."""

    def stop(self) -> None:
        """Claim nothing more."""
        ...

    async def wait(self) -> None:
        """Wait until it was stopped and what was on the wire is recorded."""
        ...

    async def __aenter__(self) -> Self:
        """Begin."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, and wait."""
        ...


@attrs.frozen(kw_only=True)
class Access:
    """What campaigns need of an open ledger.

    Attributes:
        tables: Its tables.
        dialect: ``"sqlite"`` or ``"postgresql"``.
        reading, writing: Connections: each statement by itself, and one transaction.
        now: The ledger's clock.
        salt: The ledger's, for hashes.
        check_client: Raises if a client is not the ledger's.
        worker: What sends from the ledger with a client.
    """

    tables: Tables
    dialect: str
    reading: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    writing: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    now: Callable[[AsyncConnection], Awaitable[int]]
    salt: bytes = attrs.field(repr=False)
    check_client: Callable[[Client], Awaitable[None]]
    worker: Callable[..., BackgroundSender]


async def campaign_row(connection: AsyncConnection, tables: Tables, *, lock: bool = False, **by: Any) -> RowMapping:
    """Return a campaign's row.

    Args:
        connection: To the ledger.
        tables: Its tables.
        lock: Until the transaction's end; on SQLite a transaction that writes is alone anyway.
        by: ``id`` or ``name``.

    Raises:
        CampaignMissing: There is none.
    """
    campaign = tables.campaign
    query = sa.select(campaign).where(*(campaign.c[name] == value for name, value in by.items()))
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    if row is None:
        raise CampaignMissing("no campaign has this name. Look for it: smspilot campaign list.")
    return row


async def move(
    connection: AsyncConnection,
    tables: Tables,
    now: int,
    *,
    campaign_id: int,
    event: CampaignEvent,
    actor: str,
    where: Any = None,
    values: Mapping[str, Any] | None = None,
    **order: Any,
) -> CampaignState:
    """Change a campaign's state, if the event may happen in it, and record the order.

    Args:
        connection: In a transaction.
        tables: The ledger's.
        now: Its clock.
        campaign_id: Whose row.
        event: What happens.
        actor: Who orders it.
        where: What must hold for its row, too.
        values: Columns that change with it.
        order: Further columns of the order.

    Returns:
        The state it has now.

    Raises:
        CampaignStateError: It is in another state, or `where` does not hold; nothing was changed.
    """
    campaign = tables.campaign
    moves = {source.value: target.value for source, target in campaign_moves(event).items()}
    moved = await connection.execute(
        sa.update(campaign)
        .where(campaign.c.id == campaign_id, campaign.c.state.in_(moves), sa.true() if where is None else where)
        .values(state=sa.case(moves, value=campaign.c.state), **(values or {}))
        .returning(campaign.c.state)
    )
    state = moved.scalar_one_or_none()
    if state is None:
        raise _cannot(await campaign_row(connection, tables, id=campaign_id), event)
    await write_order(
        connection, tables, now, actor=actor, action=f"campaign {event.value}", campaign_id=campaign_id, **order
    )
    return CampaignState(state)


def _cannot(row: Any, event: CampaignEvent) -> CampaignStateError:
    state = CampaignState(row["state"])
    stands = f"{_as_word(state)} ({row['reason']})" if row["reason"] else _as_word(state)
    may = campaign_moves(event)
    if state in may:
        return CampaignStateError(f"campaign {row['name']!r} was changed meanwhile: look at it and order again.")
    needed = " or ".join(map(_as_word, may))
    first = f" {_FIRST[event, state]}" if (event, state) in _FIRST else ""
    return CampaignStateError(
        f"campaign {row['name']!r} is {stands}, and can be {_PAST[event]} only while it is {needed}. Nothing was done."
        f"{first}"
    )


def _as_word(state: CampaignState) -> str:
    return "a draft" if state is CampaignState.DRAFT else state.value


def not_running(name: str, state: str, reason: str | None) -> CampaignStateError:
    """Return the error of a campaign that is to send, and does not run."""
    stands = _as_word(CampaignState(state)) + (f" ({reason})" if reason else "")
    first = _BEFORE_IT_SENDS.get(CampaignState(state))
    return CampaignStateError(f"campaign {name!r} is {stands}: it sends nothing.{f' {first}' if first else ''}")


def messages_of(tables: Tables, row: Any, *, from_id: int = 0) -> Any:
    """Return the condition of a campaign's messages, for a WHERE.

    Args:
        tables: The ledger's.
        row: The campaign's.
        from_id: Only those from this number on. Within the range, because of two lower bounds SQLite uses only one.
    """
    message, stream = tables.message, tables.stream
    streams = sa.select(stream.c.id).where(stream.c.campaign_id == row["id"])
    return message.c.id.between(max(row["first_id"], from_id), row["last_id"]) & message.c.stream_id.in_(streams)


async def rows_in_pages(access: Access, row: Any, query: Any, *, size: int, from_id: int = 0) -> AsyncIterator[Any]:
    """Yield what a query selects of a campaign's messages, their ``id`` among it, in the order of the list.

    Args:
        access: To the ledger.
        row: The campaign's.
        query: Without a limit, and without the condition that they are the campaign's.
        size: Of a page: no connection is held between two of them.
        from_id: Only those from this number on.
    """
    page = query.order_by(access.tables.message.c.id).limit(size)
    while True:
        async with access.reading() as connection:
            rows = (await connection.execute(page.where(messages_of(access.tables, row, from_id=from_id)))).all()
        for one in rows:
            yield one
        if len(rows) < size:
            return
        from_id = rows[-1].id + 1


def seen_as(row: Any, now: int) -> tuple[State, Why | None]:
    """Return as what a campaign's pending messages are seen, before they are settled as that."""
    if row["state"] == CampaignState.CANCELLED.value:
        return State.NOT_SENT, Why.CANCELLED
    if row["state"] in {CampaignState.FINISHED, *_RUNS} and row["expires_at"] <= now:
        return State.REFUSED, Why.EXPIRED
    return State.PENDING, None


# --- settled lazily ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tending(access: Access) -> AsyncIterator[None]:
    """Settle and end campaigns in the background of a block, as long as something is sent; and at its end."""
    stopping = asyncio.Event()
    task = asyncio.create_task(_tend_until(access, stopping), name="smspilot campaigns")
    try:
        yield
    finally:
        stopping.set()
        await asyncio.wait({task})


async def _tend_until(access: Access, stopping: asyncio.Event) -> None:
    is_there = True
    while not stopping.is_set():
        is_there = await _tend_all(access)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await stopping.wait()
    if is_there:  # a database that is away is not waited for
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AT_THE_END):
                await _tend_all(access)


async def _tend_all(access: Access) -> bool:
    """Settle and end what there is; return whether the database was there."""
    try:
        changed = 1
        while changed:
            changed = await tend(access)
    except LedgerUnavailable as error:
        logger.warning("%s", error)
        return False
    return True


async def tend(access: Access) -> int:
    """Settle what waits in campaigns that are over, end those that have nothing left to do, and reopen those that have.

    Returns:
        How many messages and campaigns that changed; call it again until it is 0.
    """
    tables = access.tables
    async with access.reading() as connection:
        now = await access.now(connection)
        rows = (await connection.execute(_open_campaigns(tables))).mappings().all()
        waiting = {row["id"]: await _holds(connection, _pending(tables, row["id"])) for row in rows}
        busy = {row["id"]: await _holds(connection, _is_busy(tables, row, now)) for row in rows}
    changed = 0
    for row in rows:
        state, why = seen_as(row, now)
        if why is not None and waiting[row["id"]]:
            changed += await _settle_some(access, row["id"], state, why)
        elif row["state"] == CampaignState.FINISHED:
            changed += await _reopen(access, row["id"])
        elif row["state"] in _RUNS and not waiting[row["id"]] and not busy[row["id"]]:
            changed += await _finish(access, row["id"])
    return changed


def _open_campaigns(tables: Tables) -> Any:
    """Select those that run, and those that are over and have something pending."""
    campaign = tables.campaign
    over = campaign.c.state.in_(_OVER) & _pending(tables, campaign.c.id)
    return sa.select(campaign).where(campaign.c.state.in_(_RUNS) | over).order_by(campaign.c.id)


def _pending(tables: Tables, campaign_id: Any) -> Any:
    """Return the condition that something of a campaign is pending."""
    return sa.exists().where(*_streams_with_pending(tables, campaign_id))


def _streams_with_pending(tables: Tables, campaign_id: Any) -> tuple[Any, Any]:
    """Return the conditions of a campaign's streams that have something pending."""
    message, stream = tables.message, tables.stream
    # Not EXISTS: PostgreSQL may begin its join with all that is pending.
    first = sa.select(message.c.id).where(message.c.stream_id == stream.c.id, tables.is_pending)
    pending = first.order_by(message.c.due).limit(1).correlate(stream).scalar_subquery()
    return stream.c.campaign_id == campaign_id, pending.is_not(None)


def _in_flight(tables: Tables, campaign_id: Any) -> Any:
    attempt, stream = tables.attempt, tables.stream
    return sa.exists().where(
        attempt.c.outcome.is_(None), attempt.c.stream_id == stream.c.id, stream.c.campaign_id == campaign_id
    )


def _is_busy(tables: Tables, row: Any, now: int) -> Any:
    """Return the condition that something of a campaign is in flight, or that its policy still has to act."""
    policy = policy_of(CampaignSettings.from_json(row["settings"]).unknown)
    in_flight = _in_flight(tables, row["id"])
    if not isinstance(policy, (Resend, Probe)):
        return in_flight
    message, attempt = tables.message, tables.attempt
    awaits = sa.exists().where(
        messages_of(tables, row),
        tables.is_unknown,
        message.c.resends == 0,
        sa.func.coalesce(message.c.reason, "").not_in(_DECIDED),
    )
    if isinstance(policy, Probe):
        awaits = awaits.where(attempt.c.id == message.c.attempt_id, attempt.c.intent_at + window_of(policy) >= now)
    return in_flight | awaits


async def _holds(connection: AsyncConnection, condition: Any) -> bool:
    return bool((await connection.execute(sa.select(condition))).scalar_one())


async def _settle_some(access: Access, campaign_id: int, state: State, why: Why) -> int:
    """Settle some pending messages of a campaign that is over, and return how many."""
    tables = access.tables
    message, stream = tables.message, tables.stream
    async with access.writing() as connection:
        now = await access.now(connection)
        row = await campaign_row(connection, tables, lock=True, id=campaign_id)
        if seen_as(row, now) != (state, why):  # a retry has opened it again
            return 0
        # One stream at a time, in the order of the index: any other order would sort all that is pending each time.
        one = sa.select(stream.c.id).where(*_streams_with_pending(tables, campaign_id)).limit(1).scalar_subquery()
        some = (
            sa.select(message.c.id)
            .where(message.c.stream_id == one, tables.is_pending)
            .order_by(message.c.due, message.c.id)
            .limit(_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        event = Event.CANCEL if state is State.NOT_SENT else Event.EXPIRE
        unless_resent = sa.case((message.c.resends > 0, State.UNKNOWN.value), else_=state.value)
        settled = await connection.execute(
            sa.update(message)
            .where(message.c.id.in_(some), message.c.state.in_([one.value for one in sources(event)]))
            .values(state=unless_resent, reason=why.value, settled_at=now)
        )
        return settled.rowcount


async def _finish(access: Access, campaign_id: int) -> int:
    """End a campaign, if nothing of it is pending or in flight; return 1 if it was ended."""
    tables = access.tables
    async with access.writing() as connection:
        # Under the row's lock no retry can put messages back that this look does not see.
        row = await campaign_row(connection, tables, lock=True, id=campaign_id)
        now = await access.now(connection)
        goes_on = _pending(tables, campaign_id) | _is_busy(tables, row, now)
        if row["state"] not in _RUNS or await _holds(connection, goes_on):
            return 0
        values = {"finished_at": now}  # a fault that had paused it stays its reason
        order: dict[str, Any] = {"campaign_id": campaign_id, "actor": _LEDGER, "values": values}
        await move(connection, tables, now, event=CampaignEvent.FINISH, **order)
    logger.info("campaign %d is finished", campaign_id)
    return 1


async def _reopen(access: Access, campaign_id: int) -> int:
    """Let a finished campaign run again, if something of it is pending; return 1 if it does."""
    tables = access.tables
    async with access.writing() as connection:
        row = await campaign_row(connection, tables, lock=True, id=campaign_id)
        is_waiting = await _holds(connection, _pending(tables, campaign_id))
        if row["state"] != CampaignState.FINISHED or not is_waiting:
            return 0
        now = await access.now(connection)
        order: dict[str, Any] = {
            "campaign_id": campaign_id,
            "actor": _LEDGER,
            "values": {"finished_at": None, "reason": None},
        }
        await move(connection, tables, now, event=CampaignEvent.REOPEN, **order)
    logger.warning("campaign %d runs again: some of its messages were put back after its end", campaign_id)
    return 1
