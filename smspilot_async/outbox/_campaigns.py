"""Campaigns: lists of messages that are imported, looked at, approved, sent in waves, and reported.

A :class:`Campaign` is a name and a number; what it is at the moment is in the ledger, so that any process may order
and any may look. Sending it is the worker's, which knows no more of it than its row says. An order that cannot be
given raises, and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from smspilot_async.models import Message
from smspilot_async.outbox import _campaign_info as info
from smspilot_async.outbox import _estimate, _preview, _retry, _settle
from smspilot_async.outbox._campaign_rows import campaign_row, messages_of, move, rows_in_pages, seen_as
from smspilot_async.outbox._campaign_run import Run, watch
from smspilot_async.outbox._campaign_settings import CampaignSettings, approval_digest, rows_digest
from smspilot_async.outbox._errors import CampaignExists, CampaignStateError
from smspilot_async.outbox._estimate import MOST_OVERLAP, Estimate
from smspilot_async.outbox._import import Counts, import_rows
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._orders import write_order
from smspilot_async.outbox._report import write_report
from smspilot_async.outbox._report_data import gather
from smspilot_async.outbox._report_plots import plot_of
from smspilot_async.outbox._selection import Selection, selection_of
from smspilot_async.outbox._states import CampaignEvent, CampaignState
from smspilot_async.outbox._unknown import setting_of
from smspilot_async.outbox._windows import SendingWindow
from smspilot_async.text import dialled

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from datetime import datetime
    from pathlib import Path

    from matplotlib.figure import Figure

    from smspilot_async import Client
    from smspilot_async.models import SentMessage
    from smspilot_async.outbox._campaign_info import CampaignInfo, CampaignMessage, Progress
    from smspilot_async.outbox._campaign_rows import Access
    from smspilot_async.outbox._campaign_settings import CampaignKind, Scheduler, Unique
    from smspilot_async.outbox._preview import Preview, PreviewRow
    from smspilot_async.outbox._selection import Selects
    from smspilot_async.outbox._settle import SettleAs
    from smspilot_async.outbox._unknown import UnknownPolicy
    from smspilot_async.text import Country

__all__ = ["Campaign", "Campaigns"]

_APPLICATION: Final = "the application"
_LONGEST_NAME: Final = 100
_FOREVER: Final = 2**63 - 1
_AT_ONCE: Final = 5000
_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_BOUND: Final = ("settings", "starts_at", "expires_at", "budget", "taken", "last_id")
UNCHANGED: Final[Any] = object()


class Campaigns:
    """The campaigns of a ledger: :attr:`Outbox.campaigns`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def create(
        self,
        name: str,
        rows: Iterable[Any] | AsyncIterable[Any] | None = None,
        *,
        template: str | None = None,
        sender: str | None = None,
        country: Country | None = "RU",
        window: SendingWindow | None = None,
        starts_at: datetime | None = None,
        expires_at: datetime | None = None,
        budget: Decimal | None = None,
        max_parts: int = 10,
        rate_limit: float | None = None,
        unknown: UnknownPolicy | None = None,
        unique: Unique | None = "phone",
        kind: CampaignKind = "marketing",
        scheduled_by: Scheduler = "ledger",
        source: str | None = None,
        from_: Campaign | str | None = None,
        select: Selects = ("undelivered", "expired"),
        actor: str = _APPLICATION,
    ) -> Campaign:
        """Make a campaign of a list, as a draft. Nothing is sent before it is approved and started.

        The list is taken as a stream, in chunks that are durable one by one. Killed, the same call with the same list
        continues where it stopped.

        Args:
            name: Yours, unique in the ledger.
            rows: Any iterable, or async iterable, of mappings by column (``to``, ``text`` or what the template names,
                and optionally ``sender``, ``ttl``, ``send_at``, ``kind``), pairs ``(to, text)``, :class:`Message`
                objects, or what :func:`read_rows` gives. ``(line, row)`` gives a row a line of its own; lines must
                increase. A row that makes no message is kept by its line, with the
                reason.
            template: Of the texts: ``"Привет, {name|друг}!"``. Left out, each row has its own.
            sender: Sender name of rows that name none.
            country: How phones are read. With ``"RU"``, foreign numbers and landlines are bad rows.
            window: The hours in which it may send.
            starts_at: It sends nothing earlier. Aware.
            expires_at: It sends nothing later; what is left then is refused as ``expired``. Aware.
            budget: Roubles, after which it pauses.
            max_parts: A longer text is a bad row.
            rate_limit: Messages a second, at most.
            unknown: What happens to messages without an answer: ``Hold()``, which is the default, ``AssumeSent()``,
                ``Probe(…)`` or ``Resend()``.
            unique: ``"phone"`` drops rows that repeat an earlier phone, ``"text"`` those that repeat phone and text,
                ``None`` keeps all.
            kind: ``"marketing"`` obeys opt-outs; ``"service"`` goes before it.
            scheduled_by: Who keeps a message with a ``send_at`` until then: the ledger, or the ``"gateway"``, which is
                handed it at once and cannot take it back.
            source: What the rows are made of, for whoever continues it: `info().settings.source`. An import that is
                continued must name the same.
            from_: Instead of `rows`: those of another campaign that `select` names, with the columns of its list.
            select: A selection of these; see :class:`Selection`. Unknowns stay out unless they are named.
            actor: Who makes it, for the log.

        Returns:
            The campaign, as a draft.

        Raises:
            CampaignExists: There is one of this name, or its import was begun with another list or other settings.
            CampaignStateError: It was cancelled meanwhile, or another process imports it too.
            ValueError: An argument makes no sense.
            TypeError: There are neither `rows` nor `from_`, or both.
        """
        settings = CampaignSettings(
            template=template,
            sender=sender,
            country=country,
            window=None if window is None else window.to_json(),
            rate_limit=rate_limit,
            unknown=None if unknown is None else setting_of(unknown),
            max_parts=max_parts,
            unique=unique,
            kind=kind,
            scheduled_by=scheduled_by,
            source=source,
        )
        await asyncio.to_thread(settings.check)
        if (rows is None) == (from_ is None):
            raise TypeError("a campaign is made of rows, or from_ another campaign")
        if from_ is not None:
            earlier = await self.get(from_) if isinstance(from_, str) else from_
            rows = earlier._as_rows(selection_of(select))  # noqa: SLF001 - a campaign's own
        assert rows is not None  # noqa: S101 - one of both is there
        times = {
            "starts_at": _time(starts_at, 0),
            "expires_at": _time(expires_at, _FOREVER),
            "budget": _roubles(budget),
        }
        campaign = await self._begin(_name(name), {"settings": settings.to_json(), **times}, actor)
        async with self._access.reading() as connection:
            row = await campaign_row(connection, self._access.tables, id=campaign.id)
        await import_rows(self._access, settings, row, rows, actor)
        return campaign

    async def _begin(self, name: str, fields: dict[str, Any], actor: str) -> Campaign:
        """Make the row of a campaign, or find the one whose import continues."""
        access, table = self._access, self._access.tables.campaign
        async with access.writing() as connection:
            now = await access.now(connection)
            values = {**fields, "name": name, "state": "importing", "created_at": now, "created_by": actor}
            insert = _INSERTS[access.dialect](table).values(**values).on_conflict_do_nothing()
            made = (await connection.execute(insert.returning(table.c.id))).scalar_one_or_none()
            if made is not None:
                more = {"actor": actor, "action": "campaign create", "campaign_id": made}
                await write_order(connection, access.tables, now, **more)
                return Campaign(access, made, name)
            row = await campaign_row(connection, access.tables, name=name)
        if row["state"] != CampaignState.IMPORTING.value:
            raise CampaignExists(f"there is a campaign {name!r} already: it is {row['state']}. Nothing was changed.")
        if any(row[column] != value for column, value in fields.items()):
            raise CampaignExists(
                f"campaign {name!r} is being imported, with other settings. Nothing was changed. Go on with the same "
                "settings, or cancel it and give the new one a new name."
            )
        return Campaign(access, row["id"], name)

    async def get(self, name: str) -> Campaign:
        """Return a campaign by its name.

        Raises:
            CampaignMissing: There is none.
        """
        async with self._access.reading() as connection:
            row = await campaign_row(connection, self._access.tables, name=name)
        return Campaign(self._access, row["id"], row["name"])

    async def list(self) -> list[CampaignInfo]:
        """Return the current state of all campaigns, the oldest first."""
        campaign = self._access.tables.campaign
        async with self._access.reading() as connection:
            rows = (await connection.execute(sa.select(campaign).order_by(campaign.c.id))).mappings().all()
        return [info.info_of(row) for row in rows]


class Campaign:
    """One campaign of a ledger. Every call asks the ledger; nothing is remembered here.

    Attributes:
        id, name: The ledger's number, and the name that you gave.
    """

    def __init__(self, access: Access, id_: int, name: str) -> None:
        self._access = access
        self.id: Final = id_
        self.name: Final = name

    def __repr__(self) -> str:
        return f"<Campaign {self.name!r}>"

    # --- looking ---------------------------------------------------------------------------------

    async def info(self) -> CampaignInfo:
        """Return its current state."""
        return info.info_of(await self._row())

    async def status(self) -> Progress:
        """Count its messages by state."""
        return await info.look(self._access, self.id)

    def progress(self, *, interval: float = 1.0) -> AsyncIterator[Progress]:
        """Watch it, from any process: at once, and then each time something has changed, until it is over.

        Args:
            interval: Seconds between two looks, at least.
        """
        return watch(self._access, self.id, interval)

    def messages(
        self, *, outcome: Selects | None = None, after: CampaignMessage | None = None
    ) -> AsyncIterator[CampaignMessage]:
        """Yield the rows of its list and what became of them, in the order of the list, bad rows among them.

        Args:
            outcome: Only these: ``"unknown"``, ``"refused"``, ``"204"``; see :class:`Selection`.
            after: Only what comes after this message in the list; it is not a bad row.
        """
        chosen = None if outcome is None else selection_of(outcome)
        return info.messages(self._access, self.id, chosen, after)

    async def preview(self, *, rows: int = 5, seed: int | None = None) -> Preview:
        """Return some messages as their recipients would get them.

        Args:
            rows: How many, at random, if there are so many.
            seed: Makes the choice repeatable.
        """
        return await _preview.preview(self._access, await self._row(), rows, seed)

    async def estimate(self, client: Client, *, rate: float | None = None, actor: str = _APPLICATION) -> Estimate:
        """Estimate it: the price by the gateway, overlap, windows. A draft becomes ``estimated``; nothing is sent.

        Args:
            client: Of the account that the ledger is bound to.
            rate: Messages a second that you expect, where it has no `rate_limit`; without either there is no estimate
                of when it ends.
            actor: Who asks, for the log.

        Raises:
            CampaignStateError: It is approved already, or not imported.
            WrongClient: The client is another account's.
        """
        await self._access.check_client(client)
        row = await self._row()
        found = await _estimate.estimate(self._access, row, client, rate)
        same = self._unchanged(row)
        await self._order(CampaignEvent.ESTIMATE, actor, where=same, values={"estimate": found.to_json()})
        return found

    async def last_estimate(self) -> Estimate | None:
        """Return what :meth:`estimate` found last."""
        row = await self._row()
        return None if row["estimate"] is None else Estimate.from_json(row["estimate"])

    async def test(
        self, client: Client, *, to: str, line: int | None = None, actor: str = _APPLICATION
    ) -> tuple[PreviewRow, SentMessage]:
        """Send one real row to your own phone: its text and sender, and your number. The campaign does not change.

        Args:
            client: Of the account that the ledger is bound to.
            to: Your phone.
            line: Which row; any by default.
            actor: Who orders it, for the log.

        Returns:
            The row, and what the gateway took.

        Raises:
            CampaignStateError: It has no such row.
            WrongClient: The client is another account's. Nothing was sent.
            SmsPilotError: As :meth:`Client.send` raises.
        """
        await self._access.check_client(client)
        settings = CampaignSettings.from_json((row := await self._row())["settings"])
        if (one := await _preview.a_row(self._access, row, line)) is None:
            raise CampaignStateError(f"campaign {self.name!r} has no such row. Nothing was sent.")
        message = Message(dialled(to, settings.country) if settings.country else to, one.text, sender=one.sender)
        async with self._access.writing() as connection:
            now = await self._access.now(connection)
            detail = {"campaign_id": self.id, "count": 1, "detail": f"line {one.line}"}
            await write_order(connection, self._access.tables, now, actor=actor, action="campaign test", **detail)
        return one, await client.send_message(message)

    # --- orders ----------------------------------------------------------------------------------

    async def change(
        self,
        *,
        window: SendingWindow | None = UNCHANGED,
        starts_at: datetime | None = UNCHANGED,
        expires_at: datetime | None = UNCHANGED,
        budget: Decimal | None = UNCHANGED,
        rate_limit: float | None = UNCHANGED,
        actor: str = _APPLICATION,
    ) -> None:
        """Change what it may use. It is a draft again then: an approval is void.

        A text, a sender or a list is never changed: make another campaign. One that runs is paused first.

        Args:
            window: As for :meth:`Campaigns.create`, like the rest; ``None`` takes it away. Its `column` stays.
            starts_at: It sends nothing earlier.
            expires_at: It sends nothing later.
            budget: Roubles.
            rate_limit: Messages a second.
            actor: Who orders it.

        Raises:
            CampaignStateError: It is running or over; nothing was changed.
            ValueError: An argument makes no sense.
        """
        row = await self._row()
        settings = CampaignSettings.from_json(row["settings"])
        if window is not UNCHANGED:
            settings = attrs.evolve(settings, window=await asyncio.to_thread(_same_column, settings.window, window))
        if rate_limit is not UNCHANGED:
            settings = attrs.evolve(settings, rate_limit=rate_limit)
        await asyncio.to_thread(settings.check)
        values: dict[str, Any] = {"settings": settings.to_json(), "digest": None, "reason": None}
        if starts_at is not UNCHANGED:
            values["starts_at"] = _time(starts_at, 0)
        if expires_at is not UNCHANGED:
            values["expires_at"] = _time(expires_at, _FOREVER)
        if budget is not UNCHANGED:
            values["budget"] = _roubles(budget)
        await self._order(CampaignEvent.CHANGE, actor, where=self._unchanged(row), values=values, forget_windows=True)

    async def approve(
        self, *, actor: str = _APPLICATION, second_person: bool = False, overlap_ok: bool = False
    ) -> None:
        """Approve it, as it was estimated: its rows, texts, senders, window, rate and budget. A change voids that.

        Args:
            actor: Who approves.
            second_person: It must not be who made it.
            overlap_ok: It may reach people whom campaigns of the last 14 days reached, even if they are more than 5 %.

        Raises:
            CampaignStateError: It is not estimated, the overlap is too large, or the same person made it.
        """
        row = await self._row()
        if second_person and actor == row["created_by"]:
            raise CampaignStateError(
                f"campaign {self.name!r} was made by {actor}: another person has to approve it. Nothing was done."
            )
        if not overlap_ok:
            _check_overlap(row)
        digest = await self._digest(row)
        await self._order(CampaignEvent.APPROVE, actor, where=self._unchanged(row), values={"digest": digest})

    async def start(self, *, first: int | None = None, actor: str = _APPLICATION) -> None:
        """Let it send, from now on or from ``starts_at`` on: whatever worker runs on the ledger sends it.

        Args:
            first: Messages that may leave before it pauses with the reason ``first``; all by default.
            actor: Who orders it.

        Raises:
            CampaignStateError: It is not approved, has expired, or is not what was approved: then the approval is void.
            ValueError: `first` is not above 0.
        """
        _check_first(first)
        row = await self._row()
        if row["state"] == CampaignState.APPROVED.value and await self._digest(row) != row["digest"]:
            await self._order(CampaignEvent.CHANGE, actor, where=self._unchanged(row), values={"digest": None})
            raise CampaignStateError(
                f"campaign {self.name!r} is not what was approved: its approval is void, and it is a draft again. "
                "Nothing was sent. Look at it, estimate and approve it."
            )
        campaign = self._access.tables.campaign
        now = await self._now()
        if row["expires_at"] <= now:
            raise CampaignStateError(
                f"campaign {self.name!r} has expired: nothing of it would leave. Nothing was done."
            )
        values = {"first": first, "reason": None, "started_at": sa.func.coalesce(campaign.c.started_at, now)}
        same = self._unchanged(row) & (campaign.c.digest == row["digest"])
        await self._order(CampaignEvent.START, actor, where=same, values=values, count=first)

    async def pause(self, reason: str, *, actor: str = _APPLICATION) -> None:
        """Let nothing more leave, until :meth:`resume`; what is in flight is recorded."""
        await self._order(CampaignEvent.PAUSE, actor, values={"reason": reason}, why=reason)

    async def resume(self, *, first: int | None = None, actor: str = _APPLICATION) -> None:
        """Let it send again; what was put back is due at once.

        Args:
            first: Messages that may leave before it pauses again; left out, what is left of a wave that was not over,
                and otherwise all.
            actor: Who orders it.
        """
        _check_first(first)
        values = {"reason": None} if first is None else {"reason": None, "first": first}
        await self._order(CampaignEvent.RESUME, actor, values=values, count=first)
        tables, row = self._access.tables, await self._row()
        message = tables.message
        async with self._access.writing() as connection:
            now = await self._access.now(connection)
            put_back = tables.is_pending & (message.c.tries > 0) & (message.c.due > now)
            some = sa.select(message.c.id).where(messages_of(tables, row), put_back)
            locked = some.order_by(message.c.id).with_for_update()
            await connection.execute(sa.update(message).where(message.c.id.in_(locked)).values(due=now))

    async def cancel(self, reason: str | None = None, *, actor: str = _APPLICATION) -> None:
        """End it for good: what is pending is ``not_sent``, ``cancelled``. What has left cannot be called back."""
        await self._order(
            CampaignEvent.CANCEL, actor, values={"reason": reason, "finished_at": await self._now()}, why=reason
        )

    async def retry(self, selection: Selects, *, expect: int, actor: str = _APPLICATION, why: str | None = None) -> int:
        """Send some of its messages again, once: those that are refused, not sent or unknown.

        What was accepted is never sent again by this. An unknown message may have been sent: naming it here may send it
        twice. It waits until its last request cannot arrive any more.

        Args:
            selection: Which; see :class:`Selection`.
            expect: How many that are, as you counted them: ``await campaign.count_retried(selection)``.
            actor: Who orders it.
            why: For the log.

        Returns:
            How many.

        Raises:
            UnexpectedCount: They are more or fewer; nothing was changed.
            CampaignStateError: It was never started, is cancelled, or has expired.
        """
        chosen = selection_of(selection)
        return await _retry.retry(self._access, self.id, chosen, expect=expect, actor=actor, why=why)

    async def count_retried(self, selection: Selects) -> int:
        """Return how many messages :meth:`retry` would send again."""
        async with self._access.reading() as connection:
            row = await campaign_row(connection, self._access.tables, id=self.id)
            return await _retry.count_retried(self._access, connection, row, selection_of(selection))

    async def settle(
        self, selection: Selects, *, as_: SettleAs, expect: int, actor: str = _APPLICATION, why: str | None = None
    ) -> int:
        """Settle unknown messages of it by an order: bookkeeping alone, which sends nothing.

        Args:
            selection: Which; those that are not unknown, settled already, or may still be on the wire are left out.
            as_: ``"assume_sent"`` or ``"proven_duplicate"``: they stay ``unknown`` with that reason. ``"not_sent"``:
                they are ``not_sent``, and :meth:`retry` may send them again.
            expect: How many that are, as :meth:`count_unsettled` says.
            actor: Who orders it.
            why: For the log.

        Returns:
            How many.

        Raises:
            UnexpectedCount: They are more or fewer; nothing was changed.
        """
        tables, row = self._access.tables, await self._row()
        mine = messages_of(tables, row) & selection_of(selection).where(tables)
        async with (
            _retry.noting_refusal(self._access, "settle", self.id, actor, why),
            self._access.writing() as connection,
        ):
            now = await self._access.now(connection)
            order: dict[str, Any] = {"as_": as_, "expect": expect, "actor": actor, "why": why, "campaign_id": self.id}
            return await _settle.settle(connection, tables, now, where=mine, **order)

    async def count_unsettled(self, selection: Selects = "unknown") -> int:
        """Return how many messages :meth:`settle` would settle."""
        tables, row = self._access.tables, await self._row()
        mine = messages_of(tables, row) & selection_of(selection).where(tables)
        async with self._access.reading() as connection:
            return await _settle.count_unsettled(connection, tables, await self._access.now(connection), where=mine)

    # --- sending ---------------------------------------------------------------------------------

    async def report(self, path: str | Path, *, phones: bool = False) -> None:
        """Write a report to a file, which is replaced: what was sent and delivered, why not, and what it cost.

        Args:
            path: ``.html`` for a page with plots (extra ``report``), without phones and without texts but the
                template; ``.csv`` for spreadsheets: semicolons, a decimal comma, times in the zone of the window, or
                else in the gateway's own; ``.parquet`` (extra ``parquet``): times in UTC.
            phones: Tables get a column with phones, as text.

        Raises:
            ValueError: The suffix is none of these.
            ImportError: An extra is missing.
            OSError: The file cannot be written.
        """
        await write_report(self._access, self.name, path, phones=phones)

    async def plot(self) -> Figure:
        """Draw what was sent and what was delivered over time, the hours of its window shaded.

        The database counts; what is drawn are at most 150 intervals, however many messages there are.

        Returns:
            A ``matplotlib.figure.Figure``, which a notebook shows at the end of a cell; ``savefig`` writes it to a
            file. Its label (``get_label()``) says in words what it shows.

        Raises:
            ImportError: The extra ``notebook`` is not installed.
        """
        data = await gather(self._access, self.name)
        return await asyncio.to_thread(plot_of, data)  # its first use reads fonts

    def running(self, client: Client, *, packet_size: int = 100, in_flight: int = 4) -> Run:
        """Send what is due in the ledger in the background of an ``async with`` block, and watch this campaign.

        ::

            async with campaign.running(client) as run:
                async for progress in run: ...

        Iterating ends once it is finished, cancelled or paused. Leaving the block waits until what is in flight is
        recorded. The errors are those of :meth:`Outbox.worker`.
        """
        worker = self._access.worker(client, packet_size=packet_size, in_flight=in_flight)
        return Run(self._access, self.id, worker)

    # --- inside ----------------------------------------------------------------------------------

    async def _row(self) -> Any:
        async with self._access.reading() as connection:
            return await campaign_row(connection, self._access.tables, id=self.id)

    async def _now(self) -> int:
        async with self._access.reading() as connection:
            return await self._access.now(connection)

    async def _order(self, event: CampaignEvent, actor: str, *, forget_windows: bool = False, **more: Any) -> None:
        tables = self._access.tables
        async with self._access.writing() as connection:
            now = await self._access.now(connection)
            await move(connection, tables, now, campaign_id=self.id, event=event, actor=actor, **more)
            if forget_windows:  # a worker opens its streams anew, for the window that it has now
                unseen = {"open_from": 0, "open_until": _FOREVER, "closes_at": None}
                stream = tables.stream
                await connection.execute(sa.update(stream).where(stream.c.campaign_id == self.id).values(**unseen))

    def _unchanged(self, row: Any) -> Any:
        campaign = self._access.tables.campaign
        return sa.and_(*(campaign.c[name] == row[name] for name in _BOUND))

    async def _digest(self, row: Any) -> str:
        """Return the digest of what is in the ledger now."""
        message = self._access.tables.message
        # Not when each is due: that moves when a message is put back.
        bound = (
            message.c.line,
            message.c.phone,
            message.c.text,
            message.c.sender,
            message.c.ttl,
            message.c.valid_until,
            message.c.send_at,
        )
        rows = await rows_digest(self._all(row, sa.true(), message.c.id, *bound))
        return approval_digest(
            rows,
            row["settings"],
            starts_at=row["starts_at"],
            expires_at=row["expires_at"],
            budget=row["budget"],
        )

    def _all(self, row: Any, chosen: Any, *columns: Any) -> AsyncIterator[Any]:
        """Yield columns of those of its messages that are chosen, their ``id`` among them."""
        return rows_in_pages(self._access, row, sa.select(*columns).where(chosen), size=_AT_ONCE)

    async def _as_rows(self, selection: Selection) -> AsyncIterator[Any]:
        """Yield rows for a follow-up: the columns of its list."""
        row = await self._row()
        message = self._access.tables.message
        columns = (message.c.id, message.c.line, message.c.phone, message.c.text, message.c.extra)
        chosen = selection.where(self._access.tables, *seen_as(row, await self._now()))
        async for one in self._all(row, chosen, *columns):
            extra = {} if one.extra is None else json.loads(one.extra)
            yield one.line, {**extra, "text": one.text or "", "to": f"+{one.phone}"}


def _name(name: str) -> str:
    if not (0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise ValueError(f"a campaign's name is a str of 1 to {_LONGEST_NAME} printable characters")
    return name


def _time(value: datetime | None, without: int) -> int:
    if value is None:
        return without
    if value.utcoffset() is None:
        raise ValueError("starts_at and expires_at need a time zone, such as datetime(..., tzinfo=UTC)")
    return int(value.timestamp() * SECOND)


def _roubles(value: Decimal | None) -> Decimal | None:
    if value is None:
        return None
    amount = Decimal(value)
    if not amount.is_finite() or amount <= 0:
        raise ValueError("a budget is an amount of roubles, above 0")
    return amount


def _check_first(first: int | None) -> None:
    if first is not None and first < 1:
        raise ValueError("first is a number of messages, above 0")


def _same_column(before: str | None, window: SendingWindow | None) -> str | None:
    """Return a window as it is kept; its rows were sorted by zones when they were imported.

    Raises:
        ValueError: It takes its zones from another column.
    """
    known = None if before is None else SendingWindow.from_json(before).column
    if (None if window is None else window.column) != known and known is not None:
        raise ValueError(f"the rows were imported by the zones of column {known!r}: keep it, or make another campaign")
    if window is not None and window.column is not None and known is None:
        raise ValueError("the rows were imported without zones: give the window a tz, or make another campaign")
    return None if window is None else window.to_json()


def _check_overlap(row: Any) -> None:
    """Check that a campaign does not reach too many whom others reached lately.

    Raises:
        CampaignStateError: It does.
    """
    overlap = Estimate.from_json(row["estimate"]).overlap if row["estimate"] else 0
    messages = Counts.from_json(row["counts"]).messages
    if messages and overlap / messages > MOST_OVERLAP:
        raise CampaignStateError(
            f"{overlap} of the {messages} phones of campaign {row['name']!r} were reached by campaigns of the last 14 "
            "days. Nothing was done. If that is meant: overlap_ok, or --overlap-ok."
        )
