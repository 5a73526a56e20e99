"""What becomes of a message after its request, as an :class:`~smspilot_async.outbox.Outbox` offers it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspilot_async.outbox import _adopt, _follow, _orders, _reconcile, _records, _settle, _statement, _unknown
from smspilot_async.outbox._duties import Duty
from smspilot_async.outbox._errors import LedgerMoved, LedgerUnavailable, OutboxError, UnexpectedCount
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._metrics import observing
from smspilot_async.outbox._opt_outs import SOURCE, listen_for_stop
from smspilot_async.outbox._overview import balance_of, overview
from smspilot_async.outbox._proof import LedgerSink, record_event
from smspilot_async.outbox._reconcile import read_cabinet
from smspilot_async.outbox._records import Purged
from smspilot_async.outbox._request import may_probe
from smspilot_async.outbox._tokens import SentTokens, state_folder
from smspilot_async.outbox._unknown import AssumeSent, Hold, Probe, Resend, UnknownPolicy, policy_of
from smspilot_async.text import normalize_phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async import Client
    from smspilot_async.callbacks import Sink, StatusEvent
    from smspilot_async.outbox._adopt import Adopted
    from smspilot_async.outbox._deliver import Sender
    from smspilot_async.outbox._follow import Followed
    from smspilot_async.outbox._orders import Order
    from smspilot_async.outbox._overview import Overview
    from smspilot_async.outbox._reconcile import Reconciled
    from smspilot_async.outbox._records import Evidence, Forgotten
    from smspilot_async.outbox._schema import Tables
    from smspilot_async.outbox._settle import SettleAs
    from smspilot_async.outbox._statement import Statement

__all__ = ["Afterwards"]

logger: Final = logging.getLogger("smspilot_async.outbox")

_FOLLOW_EVERY, _LOOK_AT_UNKNOWNS_EVERY = 5.0, 1.0
_LOOK_AT_FILE_EVERY: Final = 2.0
_LISTEN_AGAIN: Final = 30.0
_NOTE_CALLS_EVERY: Final = 10 * SECOND
_KEPT_FOR: Final = timedelta(days=41)
_PURGE_EVERY: Final = 1800.0
_PURGED_AT_ONCE: Final = 1000
_APPLICATION: Final = "the application"
_LONGEST_NAP: Final = 60.0


def check_purge_after(age: timedelta) -> timedelta:
    """Return the age at which messages are purged, if it is not too young.

    Raises:
        ValueError: Callbacks and statuses may still come.
    """
    if age < _KEPT_FOR:
        raise ValueError("purge: only what is at least 41 days old: until then callbacks and statuses may come")
    return age


class Afterwards:
    """The part of an outbox that comes after the answers."""

    _tables: Tables
    _path: Path | None
    _row: Any
    _noted_call: int = 0
    """When it was last looked whether that callbacks come is written down; by the ledger's clock."""

    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        raise NotImplementedError

    def _writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        raise NotImplementedError

    async def _now(self, connection: AsyncConnection) -> int:
        raise NotImplementedError

    async def _actual_home(self) -> str:
        raise NotImplementedError

    async def _check_home(self) -> str:
        raise NotImplementedError

    def _sending_alone(self) -> AbstractAsyncContextManager[None]:
        """Hold what only one sender may hold."""
        raise NotImplementedError

    # --- callbacks -------------------------------------------------------------------------------

    def callback_sink(self) -> Sink:
        """Return a sink that writes status callbacks into this ledger, in any process that opens it.

        ::

            async with Outbox() as outbox:
                inbox = CallbackInbox("https://app.example/smspilot", secret=SECRET, sink=outbox.callback_sink())

        Give the sender's client such an inbox (``Client(callbacks=inbox)``), and mount one with the same secret in the
        web application. A callback writes the delivery status of its message, and proves that the message was accepted:
        one that was unknown, also because its sender was killed, is ``accepted``; one that waits to be sent again is
        not; one that was sent again is marked ``sent_twice``. Calls about other messages are left to the inbox.
        """
        return LedgerSink(self._record_event)

    async def _record_event(self, event: StatusEvent) -> bool:
        async with self._writing() as connection:
            now = await self._now(connection)
            stored = await record_event(connection, self._tables, now, event, self._row.salt)
        with contextlib.suppress(LedgerUnavailable):  # the event itself is durable
            await self._note_call(now)
        return stored

    async def _note_call(self, now: int) -> None:
        """Write down that callbacks come, now and then: it is a row that everyone needs."""
        if now < self._noted_call + _NOTE_CALLS_EVERY:
            return
        self._noted_call = now
        account = self._tables.account
        is_old = sa.func.coalesce(account.c.called_at, 0) < now - _NOTE_CALLS_EVERY
        async with self._reading() as connection:
            if not (await connection.execute(sa.select(is_old))).scalar_one():
                return
        async with self._writing() as connection:
            await connection.execute(sa.update(account).where(is_old).values(called_at=now))

    # --- statuses --------------------------------------------------------------------------------

    async def follow(self, client: Client, *, timeout: float | None = None) -> Followed:  # noqa: ASYNC109 - a limit
        """Ask for the delivery statuses of accepted messages until all are final, or 40 days are over.

        A worker does this automatically. Several processes may follow: each packet is asked for by one of them, on the
        vendor's schedule, which is kept in the ledger. After a cancellation or a kill, the next call continues.

        Args:
            client: Of the account that the ledger is bound to.
            timeout: Seconds after which it returns; with 0 it asks once for what is due now. Left out, it goes on until
                nothing is left to follow.

        Returns:
            How many statuses changed, and how many packets are still followed.

        Raises:
            WrongClient: The client is another account's, or for another endpoint or mode.
            LedgerUnavailable: The database cannot be used.
            ClientClosed: The client was closed.
        """
        await self._check_client(client)
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        changed = 0
        while True:
            changed += await self._follow_due(client)
            async with self._reading() as connection:
                now = await self._now(connection)
                following, due = await _follow.next_poll(connection, self._tables)
            pause = _LONGEST_NAP if due is None else min(max(due - now, 0) / SECOND, _LONGEST_NAP)
            if not following or (until is not None and loop.time() + pause >= until):
                return _follow.Followed(changed=changed, following=following)
            await asyncio.sleep(pause)

    async def _check_client(self, client: Client) -> None:
        raise NotImplementedError

    async def _follow_due(self, client: Client) -> int:
        """Ask for what is due now; return how many statuses changed."""
        changed = 0
        while True:
            async with self._reading() as connection:  # which holds up no sender, as long as nothing is due
                _, due = await _follow.next_poll(connection, self._tables)
                if due is None or due > await self._now(connection):
                    return changed
            async with self._writing() as connection:
                polls = await _follow.due_polls(connection, self._tables, await self._now(connection))
            if not polls:
                return changed
            try:
                found = await _follow.ask(client, polls)
            except asyncio.CancelledError:  # whoever asks next need not wait for what this one held
                await self._give_back(polls)
                raise
            for poll in polls:
                async with self._writing() as connection:
                    now = await self._now(connection)
                    changed += await _follow.write_statuses(connection, self._tables, now, poll, found)

    async def _give_back(self, polls: Sequence[_follow.Poll]) -> None:
        with contextlib.suppress(LedgerUnavailable):
            async with self._writing() as connection:
                await _follow.give_back(connection, self._tables, await self._now(connection), polls)

    # --- the unknown -----------------------------------------------------------------------------

    async def _apply_policies(self, sender: Sender, unknown: UnknownPolicy, *, can_probe: bool) -> None:
        """Do what the outbox's policy and those of campaigns say about unknown messages."""
        await self._apply(sender, None, unknown)
        campaign = self._tables.campaign
        async with self._reading() as connection:
            rows = (await connection.execute(sa.select(campaign.c.id, campaign.c.settings))).all()
        for id_, settings in rows:
            try:
                policy = policy_of(json.loads(settings).get("unknown"))
            except ValueError as error:  # written by another hand: they are held
                logger.error("campaign %d: %s; its unknown messages are held", id_, error)  # noqa: TRY400 - no traceback
                continue
            if can_probe or not isinstance(policy, Probe):
                await self._apply(sender, id_, policy)

    async def _apply(self, sender: Sender, campaign_id: int | None, policy: UnknownPolicy) -> None:
        match policy:
            case AssumeSent():
                while await self._decide(_unknown.assume_sent, campaign_id):
                    pass
            case Resend():
                while await self._decide(_unknown.resend, campaign_id):
                    sender.wake()
            case Probe():
                window = _unknown.window_of(policy)
                while await self._is_worth_a_look(campaign_id):
                    if not await sender.probe(lambda request: self._claim_probe(request, campaign_id), window):
                        break
            case Hold():
                pass

    async def _decide(self, decide: _unknown.Decide, campaign_id: int | None) -> int:
        async with self._writing() as connection:
            return await decide(connection, self._tables, await self._now(connection), campaign_id)

    async def _is_worth_a_look(self, campaign_id: int | None) -> bool:
        """Return whether anything is unknown that was not probed: else no share of the rate is taken for it."""
        async with self._reading() as connection:
            return await _unknown.has_unprobed(connection, self._tables, campaign_id)

    async def _claim_probe(self, request: _unknown.ProbeRequest, campaign_id: int | None) -> Any:
        async with self._writing() as connection:
            now = await self._now(connection)
            return await _unknown.claim_probe(connection, self._tables, now, request, campaign_id)

    # --- beside sending --------------------------------------------------------------------------

    def _duties(
        self,
        sender: Sender,
        client: Client,
        unknown: UnknownPolicy,
        *,
        opt_outs: bool,
        purge_after: timedelta | None,
        follow: bool = True,
    ) -> list[Duty]:
        """Return what a worker does beside sending.

        Raises:
            OutboxError: A probe of this client may arrive too late.
        """
        why_not = may_probe(client)
        if isinstance(unknown, Probe) and why_not is not None:
            raise OutboxError(f"unknown=Probe(…) cannot be used with this client: {why_not}. Nothing was sent.")

        async def apply() -> None:
            await self._apply_policies(sender, unknown, can_probe=why_not is None)

        duties = [Duty("policies for the unknown", apply, _LOOK_AT_UNKNOWNS_EVERY, is_shared=True)]
        if follow:
            following = Duty("following statuses", lambda: self._follow_due(client), _FOLLOW_EVERY, is_shared=True)
            duties.insert(0, following)
        if self._path is not None:  # on PostgreSQL each new connection is looked at

            async def stay_home() -> None:
                try:
                    await self._check_home()
                except (LedgerMoved, FileNotFoundError):
                    logger.error("the ledger's file is another one now: nothing more leaves")  # noqa: TRY400 - no traceback
                    sender.stop()

            duties.append(Duty("the ledger's file", stay_home, _LOOK_AT_FILE_EVERY))
        if opt_outs:
            duties.append(Duty("opt-outs", lambda: self._listen(client), _LISTEN_AGAIN))
        if purge_after is not None:
            age = check_purge_after(purge_after)
            duties.append(Duty("purge", lambda: self._purge_older_than(age), _PURGE_EVERY, is_shared=True))
        return duties

    async def _listen(self, client: Client) -> None:
        cursor = await asyncio.to_thread(self._cursor)
        await listen_for_stop(client, cursor, self._opt_out)

    def _cursor(self) -> Path:
        if self._path is not None:
            return self._path.resolve().with_name(f"{self._path.name}.inbound")
        return state_folder() / f"{self._row.uid}.inbound"

    async def _opt_out(self, phone: str) -> bool:
        async with self._writing() as connection:
            now = await self._now(connection)
            added = await _orders.change_suppressions(
                connection, self._tables, now, [phone], everything=False, source=SOURCE
            )
            if added:
                await _orders.write_order(connection, self._tables, now, actor="recipient", action="opt_out", count=1)
            return bool(added)

    # --- bookkeeping -----------------------------------------------------------------------------

    async def count_unsettled(self, keys: Iterable[str] | None = None) -> int:
        """Count the unknown messages of the outbox that :meth:`settle` would settle: the count that it expects."""
        async with self._reading() as connection:
            now = await self._now(connection)
            return await _settle.count_unsettled(connection, self._tables, now, where=self._of_outbox(keys))

    async def settle(
        self,
        keys: Iterable[str] | None = None,
        *,
        as_: SettleAs,
        expect: int,
        actor: str = _APPLICATION,
        why: str | None = None,
    ) -> int:
        """Settle unknown messages of the outbox by an order. Nothing is sent.

        A proof of acceptance that comes later still makes them ``accepted``.

        Args:
            keys: Whose; left out, all that are unknown and not settled. Those whose last request may still be on the
                wire are left out.
            as_: ``"assume_sent"`` or ``"proven_duplicate"``: they stay ``unknown`` with that reason. ``"not_sent"``:
                they are ``not_sent``.
            expect: How many they are, as you counted them: :meth:`count_unsettled`.
            actor: Who orders it.
            why: For the log.

        Raises:
            UnexpectedCount: They are more or fewer; nothing was changed.
            ValueError: ``as_`` is none of these.
        """
        async with self._writing() as connection:
            return await _settle.settle(
                connection,
                self._tables,
                await self._now(connection),
                where=self._of_outbox(keys),
                as_=as_,
                expect=expect,
                actor=actor,
                why=why,
            )

    def _of_outbox(self, keys: Iterable[str] | None) -> sa.ColumnElement[bool]:
        message, stream = self._tables.message, self._tables.stream
        own = message.c.stream_id.in_(sa.select(stream.c.id).where(stream.c.campaign_id.is_(None)))
        return own if keys is None else own & message.c.key.in_(list(keys))

    async def reconcile(self, content: bytes, *, expect: int | None = None, actor: str = _APPLICATION) -> Reconciled:
        """Make accepted what the vendor's own list proves, of the outbox and of campaigns.

        The list is exported from the vendor's cabinet. A row proves an acceptance if its phone, its text and its time,
        as far as they are there, fit one message and no other. What is ambiguous stays unknown, and so does what is
        not in the list.

        Args:
            content: The file: CSV in UTF-8 or Windows-1251, with a column of phones, and one of times (Moscow's, unless
                they name their zone) or texts, named in its header in English or Russian.
            expect: How many messages become accepted; left out, nothing is changed, and the result says what would be.
            actor: Who orders it.

        Raises:
            UnexpectedCount: They are more or fewer; nothing was changed.
            ValueError: The list has no such columns.
        """
        rows, unread = read_cabinet(content)
        async with self._writing() as connection:
            now = await self._now(connection)
            found, apply = await _reconcile.reconcile(connection, self._tables, rows, unread)
            if expect is not None:
                if len(found.accepted) != expect:
                    raise UnexpectedCount(
                        f"{len(found.accepted)} messages would become accepted, not {expect}. Nothing was changed. "
                        "Look at them, and give that number."
                    )
                await apply(now)
                await _orders.write_order(
                    connection, self._tables, now, actor=actor, action="reconcile", count=len(found.accepted)
                )
        return found

    async def forget(self, phone: str, *, actor: str = _APPLICATION) -> Forgotten:
        """Erase a phone, and the texts, keys and columns of its messages, from the ledger.

        Messages to it that have not left are cancelled. What is kept shows none of it: hashes, by which a repetition
        and a spent key are known, outcomes, prices and statuses. Suppressions of the phone stay, or it would be written
        to again; take them away with :meth:`unsuppress`. Backups, and PostgreSQL's files until their next vacuum, are
        not reached.

        Args:
            phone: However it is written.
            actor: Who orders it.

        Raises:
            InvalidMessage: It is not a phone.
        """
        number = normalize_phone(phone)
        async with self._writing() as connection:
            now = await self._now(connection)
            forgotten = await _records.forget(connection, self._tables, now, number, self._row.salt, actor)
        await self._empty_log()
        return forgotten

    async def _empty_log(self) -> None:
        """Write SQLite's log into its file: until then it still holds what was erased."""
        if self._path is not None:
            async with self._reading() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def evidence(self, phone: str) -> Evidence:
        """Return everything that the ledger knows of a phone: messages, requests, orders, suppressions.

        Raises:
            InvalidMessage: It is not a phone.
        """
        async with self._reading() as connection:
            return await _records.evidence(connection, self._tables, normalize_phone(phone))

    async def purge(self, before: datetime, *, actor: str = _APPLICATION) -> Purged:
        """Remove messages that were settled before a moment, and the requests of which none is left.

        Their keys stay spent, as keyed hashes. What is unknown stays, unless an order has settled it. It is done in
        chunks, beside whatever is sent.

        Args:
            before: Aware, and at least 41 days ago: until then callbacks and statuses may come.
            actor: Who orders it.

        Raises:
            ValueError: The time has no zone, or is later.
        """
        if before.utcoffset() is None:
            raise ValueError("before needs a time zone")
        limit = int(before.timestamp() * SECOND)
        async with self._reading() as connection:
            now = await self._now(connection)
        check_purge_after(timedelta(microseconds=now - limit))
        return await self._purge(limit, actor)

    async def _purge_older_than(self, age: timedelta) -> None:
        async with self._reading() as connection:
            now = await self._now(connection)
        await self._purge(now - age // timedelta(microseconds=1), "worker")

    async def _purge(self, limit: int, actor: str) -> Purged:
        tables, messages, attempts = self._tables, 0, 0
        async for ids in self._in_chunks(_records.old_messages(tables, limit), tables.message.c.id):
            async with self._writing() as connection:
                messages += await _records.purge_messages(connection, tables, ids, before=limit, salt=self._row.salt)
        old = _records.old_attempts(tables, limit, "sqlite" if self._path is not None else "postgresql")
        async for ids in self._in_chunks(old, tables.attempt.c.id):
            async with self._writing() as connection:
                attempts += await _records.purge_attempts(connection, tables, ids)
        if messages or attempts:
            async with self._writing() as connection:
                now = await self._now(connection)
                await _orders.write_order(connection, tables, now, actor=actor, action="purge", count=messages)
        return Purged(messages=messages, attempts=attempts)

    async def _in_chunks(self, query: sa.Select[Any], id_: sa.Column[int]) -> AsyncIterator[list[int]]:
        """Yield the numbers that a query selects, some at a time; it reads the table once, and holds no lock."""
        last = 0
        while True:
            async with self._reading() as connection:
                chunk = query.where(id_ > last).order_by(id_).limit(_PURGED_AT_ONCE)
                ids = list((await connection.execute(chunk)).scalars())
            if ids:
                yield ids
            if len(ids) < _PURGED_AT_ONCE:
                return
            last = ids[-1]

    async def statement(self, month: str) -> Statement:
        """Add up what left within a month, by kind, campaign and sender, to the kopeck.

        Args:
            month: Such as ``"2026-11"``; by Moscow time.

        Raises:
            ValueError: It is not a month.
        """
        async with self._reading() as connection:
            return await _statement.statement(connection, self._tables, month)

    # --- on call ---------------------------------------------------------------------------------

    async def overview(self, client: Client | None = None) -> Overview:
        """Return what a person on call looks at first. It reads nothing that is settled, and changes nothing.

        Args:
            client: Is asked for the balance, for five seconds at most; left out, the balance is not known.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        balance = None if client is None else await balance_of(client, self._row.account_id)
        async with self._reading() as connection:
            now = await self._now(connection)
            return await overview(connection, self._tables, now, ledger=self._row, path=self._path, balance=balance)

    def observed(
        self, client: Client | None = None, *, every: float = 15.0, meter_provider: Any = None
    ) -> AbstractAsyncContextManager[None]:
        """Let OpenTelemetry observe the ledger while an ``async with`` block runs: gauges ``smspilot.ledger.…``.

        One process of a service does so for all. Prometheus reads the same ones by :func:`prometheus`, from
        ``smspilot outbox page`` or an endpoint of the application's own.

        Args:
            client: Is asked for the balance.
            every: Seconds between two looks at the ledger.
            meter_provider: By default the global one.

        Raises:
            ImportError: The extra ``otel`` is missing.
            LedgerUnavailable: The database cannot be used. Later that is logged, and nothing is observed meanwhile.
        """
        return observing(lambda: self.overview(client), every, meter_provider)

    async def log(self, limit: int = 100, *, since: datetime | None = None, campaign: str | None = None) -> list[Order]:
        """Return the last orders, the newest first: who ordered what, of how many messages, when and why.

        Args:
            limit: At most so many.
            since: Only those that were given since then; aware.
            campaign: Only those about the campaign of this name.

        Raises:
            ValueError: The time has no zone.
        """
        if since is not None and since.utcoffset() is None:
            raise ValueError("since needs a time zone")
        begin = 0 if since is None else int(since.timestamp() * SECOND)
        async with self._reading() as connection:
            return await _orders.last_orders(connection, self._tables, limit, begin, campaign)

    # --- where it is at home ---------------------------------------------------------------------

    async def adopt(
        self, *, restored_to: datetime | None, actor: str = _APPLICATION, why: str | None = None
    ) -> Adopted:
        """Take over a ledger that was restored, copied or moved; until then nothing leaves from it.

        A restored ledger has forgotten what left since its backup. Every message that may have left since becomes
        ``unknown``, with the reason ``restored``: it is not sent until a callback proves that it was accepted (which it
        is then), or someone decides. What was not due yet, or could not be valid any more, is not touched.

        Make sure that nothing sends from the original any more.

        Args:
            restored_to: From when the ledger's contents are, aware: when its backup was taken, or the last moment that
                was restored; rather earlier than later. ``None`` if it was only moved, and nothing of it is lost.
            actor: Who orders it.
            why: For the log.

        Returns:
            How many messages became unknown.

        Raises:
            OutboxError: A sender of this machine sent something before ``restored_to`` that the ledger does not know;
                or the time is in the future.
            ValueError: The time has no zone.
            SenderBusy: A process sends from this SQLite ledger.
        """
        if restored_to is not None and restored_to.utcoffset() is None:
            raise ValueError("restored_to needs a time zone")
        async with self._sending_alone():
            home = await self._actual_home()
            tokens = await asyncio.to_thread(lambda: self._tokens(home).last())
            async with self._writing() as connection:
                adopted = await _adopt.adopt(
                    connection,
                    self._tables,
                    await self._now(connection),
                    restored_to=None if restored_to is None else int(restored_to.timestamp() * SECOND),
                    home=home,
                    tokens=tokens,
                    actor=actor,
                    why=why,
                )
                self._row = (await connection.execute(sa.select(self._tables.ledger))).one()
        return adopted

    def _tokens(self, home: str) -> SentTokens:
        if self._path is not None:
            return SentTokens.beside(self._path)
        return SentTokens.of_user(self._row.uid, home)
