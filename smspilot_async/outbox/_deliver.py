"""Claim, send, record: how a sender takes what is due from the ledger to the gateway, and never twice.

One :class:`Sender` is one process's part in sending. It has places; each place claims a packet, sends it once and
records what came of it, and then claims again. Two places more take codes and services only. What keeps a message from
leaving twice is not here but in the ledger's claim; what is here keeps the order of things:

1. The intent is durable before the first byte: :meth:`HotPath.claim` has returned. A claim of unknown fate is voided
   before its place goes on.
2. :func:`~._request.send_once` packs, splits and repeats nothing, and lets nothing leave once ``not_after`` has passed.
   What it wrote arrives within the lease, or never: :func:`~._request.may_probe` says where that cannot be promised.
3. What came of it is recorded until the ledger has it; while an answer waits for that, nothing more is claimed.

What an answer means for each message is :mod:`._judge`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections import deque
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.clock import boot_time
from smspilot_async._tools.tasks import outlast
from smspilot_async.errors import GatewayBusy, Outcome, SmsPilotError
from smspilot_async.outbox._account_rate import RateShare
from smspilot_async.outbox._errors import LedgerDamaged, LedgerUnavailable
from smspilot_async.outbox._faults import Faults, fault_of_all, has_fault
from smspilot_async.outbox._grants import country_of, did_not_leave, learn_prices, price_of_part
from smspilot_async.outbox._home import host_name
from smspilot_async.outbox._judge import Judgement, judge, probed
from smspilot_async.outbox._ledger import (
    DUPLICATE,
    MAX_UNKNOWNS,
    SECOND,
    Answer,
    Claim,
    ClaimRequest,
    MessageAnswer,
    Why,
)
from smspilot_async.outbox._request import lasting, longest_on_the_wire, messages_of_claim, send_once, start_within
from smspilot_async.outbox._schema import MARKETING, SERVICE
from smspilot_async.outbox._slots import URGENT as URGENT_PLACES
from smspilot_async.outbox._slots import Slots
from smspilot_async.outbox._states import Event
from smspilot_async.outbox._tokens import SentToken
from smspilot_async.outbox._unknown import ProbeRequest
from smspilot_async.outbox._upkeep import SOON, Upkeep, pause_campaign
from smspilot_async.outbox._workers import leave_worker, see_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from smspilot_async import Client
    from smspilot_async.models import Packet
    from smspilot_async.outbox._held import HeldAnswers
    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._tokens import SentTokens

__all__ = ["URGENT_PLACES", "SendOptions", "Sender", "Sent"]

logger: Final = logging.getLogger("smspilot_async.outbox")

LEASE_MARGIN: Final = 10.0
"""Seconds that a lease lasts beyond everything that its request may take."""
KEEP_AFTER: Final = 5.0
"""Seconds for which a sender that has to end still waits for a ledger that is away."""
POLL: Final = 0.1
"""Seconds between two looks at what is due."""
_MOST_FAILURES_OF_A_DRAIN: Final = 3
_LONGEST_REST: Final = 30.0
_FREE: Final = Decimal(0)
_RECORD_AGAIN: Final = 0.2
_RECORD_AGAIN_AT_MOST: Final = 2.0


@attrs.frozen(kw_only=True)
class SendOptions:
    """How a process sends.

    Attributes:
        packet_size: Messages in a packet, at most.
        in_flight: Packets of the account under way at once, of all senders of a ledger together; two more serve codes
            and services alone.
        give_up_after: Seconds for which a message is put back, from when it was first due.
    """

    packet_size: int = 100
    in_flight: int = 4
    give_up_after: float = 86_400.0


@attrs.define
class Sent:
    """What a sender did, in messages; one that was put back and sent again counts once for each time.

    Attributes:
        put_back: Nothing was sent, or the gateway said "not now": they wait again.
        settled: Decided against by the claim: expired, suppressed.
    """

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    put_back: int = 0
    settled: int = 0


class Sender:
    """One process's part in sending from a ledger.

    Args:
        hot: The ledger.
        client: Sends; its hooks and callbacks get everything.
        options: How.
        held: Where to keep what cannot be recorded before the process has to end.
        tokens: Where the tokens of attempts are kept beside the ledger.
        salt: The ledger's.
    """

    def __init__(
        self, hot: HotPath, client: Client, options: SendOptions, held: HeldAnswers, *, tokens: SentTokens, salt: bytes
    ) -> None:
        self.sent = Sent()
        self.trouble: LedgerUnavailable | None = None
        self._tokens = tokens
        self._salt = salt
        self._keep = held
        self._hot = hot
        self._options = options
        self._client = client
        self._lease = int((longest_on_the_wire(client) + LEASE_MARGIN) * SECOND)
        self._start_within = start_within(client)
        self._name = f"{host_name()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._stopping = asyncio.Event()
        # Places that wait, the common ones first: those that are kept for codes and services come last.
        self._idle: dict[int, deque[asyncio.Future[None]]] = {MARKETING: deque(), SERVICE: deque()}
        self._missed: set[int] = set()
        self._is_over = False
        self._unrecorded = 0
        self._failures = 0
        self._saw_unknown = False
        self._rate = RateShare(hot, client._settings.rate_limit, self._rest)  # noqa: SLF001 - it has no public word
        self._upkeep = Upkeep(hot, self._name)
        self._slots = Slots(hot, self._name, options.in_flight)
        self._faults = Faults()
        self._dearest: dict[str, Decimal] = {}

    def stop(self) -> None:
        """Claim nothing more; what is on the wire is awaited and recorded."""
        self._stopping.set()
        for idle in self._idle.values():
            while idle:
                _release(idle.popleft())

    def wake(self, *lanes: int) -> None:
        """Something may be due: let one place that waits look; it wakes the next, if it finds something.

        Args:
            lanes: Of which kind of places; left out, of both, so that a code does not wait for the rate.
        """
        for lane in lanes or self._idle:
            if idle := self._idle[lane]:
                _release(idle.popleft())
            else:
                self._missed.add(lane)  # by a place that has just looked

    async def _woken(self, last_lane: int) -> None:
        """Wait until something may be due."""
        if last_lane in self._missed or self._stopping.is_set():
            self._missed.discard(last_lane)
            return
        waiting = asyncio.get_running_loop().create_future()
        self._idle[last_lane].append(waiting)
        await waiting

    async def drain(self) -> Sent:
        """Send what is due, and return once nothing of it can leave now."""
        await self.replay()
        await self._hot.recover()
        await outlast(asyncio.ensure_future(self._drain()), self.stop)
        return self.sent

    async def show(self) -> None:
        """Write down that this worker is there.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        await self._hot.transact(partial(see_worker, self._name, self._rate.per_second))

    async def hide(self) -> None:
        """Take the worker's row back, if the database can be used."""
        with contextlib.suppress(LedgerUnavailable):
            await self._hot.transact(partial(leave_worker, self._name))

    async def replay(self) -> None:
        """Record what an earlier sender of this machine had to keep in a file."""
        for path, held in await asyncio.to_thread(lambda: list(self._keep.waiting())):
            await (self._hot.void(held) if isinstance(held, str) else self._record(held))
            await asyncio.to_thread(path.unlink)
            logger.warning("recorded what was kept in %s", path.name)

    async def run(self) -> None:
        """Send what is due, and what becomes due, until :meth:`stop`."""
        await self.replay()
        await outlast(asyncio.ensure_future(self._run()), self.stop)

    async def _drain(self) -> None:
        await self._in_slots(_all_of(self._drain_place(lane) for lane in self._lanes()))

    async def _in_slots(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            with contextlib.suppress(LedgerUnavailable):  # then others wait until their lease is over
                await self._slots.leave()

    def _lanes(self) -> list[int]:
        return [MARKETING] * self._options.in_flight + [SERVICE] * URGENT_PLACES

    async def _drain_place(self, last_lane: int) -> None:
        while not self._stopping.is_set() and self._failures < _MOST_FAILURES_OF_A_DRAIN:
            if not await self._take_one(last_lane) and not await self._wait_for_grant(last_lane):
                return

    async def _wait_for_grant(self, last_lane: int) -> bool:
        """Wait a little, if a campaign still gets what it needs to go on; return whether it does."""
        if last_lane < MARKETING or not self._upkeep.is_waiting:
            return False
        account = await self._hot.account()
        if account.paused or account.halted or account.is_braked:
            return False
        return await self._rest(SOON)

    async def _run(self) -> None:
        watch = asyncio.ensure_future(self._watch())
        watch.add_done_callback(lambda _: self.stop())  # without it nothing would be woken
        listening = asyncio.ensure_future(self._listen())
        try:
            await self._in_slots(_all_of(self._place(lane) for lane in self._lanes()))
        finally:
            self._is_over = True  # a cancellation alone may be swallowed on its way out of a database's driver
            for task in (listening, watch):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _listen(self) -> None:
        """Look at once where another process enqueues a code; without it the watch finds it, a little later."""
        while not self._is_over:
            try:
                await self._hot.wait_for_code()
            except LedgerUnavailable:
                await asyncio.sleep(1.0)
            else:
                self.wake()

    async def _place(self, last_lane: int) -> None:
        await self._woken(last_lane)
        while not self._stopping.is_set():
            try:
                took = await self._take_one(last_lane)
            except LedgerUnavailable as error:
                if isinstance(error, LedgerDamaged):
                    self.stop()
                    raise
                if str(error) != str(self.trouble):  # once for all places; the watch may find nothing wrong
                    logger.warning("%s", error)
                self.trouble = error
                await self._rest(1.0)
                continue
            except BaseException:  # LedgerMoved, or a bug: the others must not go on with a place less, and say nothing
                self.stop()
                raise
            if self._failures:
                await self._rest(self._back_off())
            elif not took and not self._stopping.is_set():
                await self._woken(last_lane)

    def _back_off(self) -> float:
        return min(0.5 * 2.0 ** min(self._failures - 1, 10), _LONGEST_REST)

    async def _rest(self, seconds: float) -> bool:
        """Wait, or until it must stop; return whether to continue."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return not self._stopping.is_set()

    async def _watch(self) -> None:
        """Look what is due, and what is held beyond its lease."""
        next_recovery = 0.0
        while not self._is_over:
            try:
                if boot_time() >= next_recovery:
                    await self._hot.recover()
                    next_recovery = boot_time() + 1.0
                await self._look()
            except LedgerDamaged:
                raise  # which stops the places, too
            except LedgerUnavailable as error:
                logger.warning("%s", error)
                await asyncio.sleep(1.0)
                continue
            await asyncio.sleep(POLL)

    async def _look(self) -> None:
        """Wake places if something is due, and only then do the upkeep: no code waits for it."""
        account, is_due = await self._hot.account_and_due()
        if is_due:
            if not account.is_braked:
                self.wake()
            elif account.brake_until <= account.now:
                with contextlib.suppress(LedgerUnavailable):
                    await self._take_one(MARKETING, size=1, is_probe=True)
        await self._slots.renew()
        await self._upkeep.do()

    # --- one packet ------------------------------------------------------------------------------

    async def _take_one(self, last_lane: int, *, size: int | None = None, is_probe: bool = False) -> bool:
        """Claim a packet, send it and record it, in a slot of the account; return whether more may be due."""
        if last_lane == MARKETING or self._slots.are_short:  # a code does not wait for what the watch does anyway
            await self._slots.renew()
        if not self._slots.begin(last_lane):
            return await self._rest(POLL) and not self._slots.is_hopeless
        try:
            return await self._take_in_slot(last_lane, size=size, is_probe=is_probe)
        finally:
            self._slots.end(last_lane)

    async def _take_in_slot(self, last_lane: int, *, size: int | None, is_probe: bool) -> bool:
        if last_lane == MARKETING:  # a code does not wait for what campaigns need
            await self._upkeep.do()
        turn = await self._rate.take(size or self._options.packet_size, is_urgent=last_lane < MARKETING)
        if turn is None:
            return False
        if self._unrecorded:
            self._rate.used(turn, 0)
            await self._rest(_RECORD_AGAIN)
            return True
        # Last before the claim: a grant that is not used makes all senders wait twice as long for the next one.
        if is_probe and not await self._hot.release_brake():
            self._rate.used(turn, 0)
            return False
        asked_at = boot_time()
        request = ClaimRequest(
            token=secrets.token_hex(16),
            sender=self._name,
            size=turn.messages,
            lease=self._lease,
            last_lane=last_lane,
            is_probe=is_probe,
        )
        claim = await self._claim(request)
        self.trouble = None
        self._rate.used(turn, len(claim.messages))
        self.sent.settled += claim.settled
        if claim.attempt_id is None:
            self._upkeep.hurry()
            return claim.settled > 0
        self.wake(*([MARKETING] if claim.lane == MARKETING else []))
        await self._deliver(claim, claim.attempt_id, request.token, asked_at)
        return True

    async def probe(self, take: Callable[[ProbeRequest], Awaitable[Claim | None]], window: int) -> bool:
        """Send unknown messages again that the gateway surely refuses if it has them; return whether there were any.

        A claim of unknown fate is not voided: nothing is sent then, and its messages are unknown again after its lease.

        Args:
            take: Claims them.
            window: For how long the gateway refuses them, in microseconds.
        """
        if self._unrecorded or self._stopping.is_set():
            return False
        turn = await self._rate.take(self._options.packet_size, is_urgent=False)
        if turn is None:
            return False
        asked_at = boot_time()
        request = ProbeRequest(
            token=secrets.token_hex(16),
            sender=self._name,
            size=turn.messages,
            lease=self._lease,
            longest=int(longest_on_the_wire(self._client) * SECOND),
            window=window,
        )
        claim = await take(request)
        self._rate.used(turn, len(claim.messages) if claim is not None else 0)
        if claim is None or claim.attempt_id is None:
            return False
        delivery = self._deliver(claim, claim.attempt_id, request.token, asked_at, window=window)
        await outlast(asyncio.ensure_future(delivery), self.stop)
        return True

    async def _claim(self, request: ClaimRequest) -> Claim:
        """Claim; a claim of unknown fate is made void before anything else happens here."""
        try:
            return await self._hot.claim(request)
        except LedgerUnavailable as error:
            unsure = error
        await self._until_done(lambda: self._hot.void(request.token), request.token)
        raise unsure

    async def _deliver(
        self, claim: Claim, attempt_id: int, token: str, asked_at: float, *, window: int | None = None
    ) -> None:
        """Send a packet and record what came of it.

        Args:
            claim: The packet.
            attempt_id: Its attempt.
            token: Of the attempt.
            asked_at: When its claim was asked for, in :func:`boot_time`.
            window: For how long the gateway refuses what it has, in microseconds, where this asks whether it has it.
        """
        messages, tries, invalid = messages_of_claim(claim, self._lease)
        result: Packet | SmsPilotError | None = None
        if messages:
            self._tokens.add(SentToken(attempt_id, claim.intent_at, token))
            not_after = asked_at + min(self._start_within, lasting(claim))
            result = await send_once(self._client, messages, token=token, salt=self._salt, not_after=not_after)
        judgement = (
            Judgement(rows=[], outcome=Outcome.REFUSED.value, evidence=Why.INVALID, is_answered=False)
            if result is None
            else judge(messages, tries, result)
        )
        if window is not None:
            judgement = attrs.evolve(judgement, rows=[probed(row) for row in judgement.rows])
            invalid = [probed(row) for row in invalid]
        answer = self._answer(claim, attempt_id, judgement, invalid)
        since = None if window is None else claim.intent_at - window
        await self._until_done(lambda: self._record(answer, since), answer)
        await self._until_done(lambda: self._tell_account(claim, judgement))
        if claim.campaign_id is not None:
            await self._tell_campaign(claim, claim.campaign_id, judgement.rows)
        self._count([*judgement.rows, *invalid])
        self._failures = 0 if judgement.is_answered or judgement.is_unknown else self._failures + 1
        if isinstance(result, GatewayBusy):
            self._failures += 1

    def _answer(self, claim: Claim, attempt_id: int, judgement: Judgement, invalid: list[MessageAnswer]) -> Answer:
        return Answer(
            attempt_id=attempt_id,
            outcome=judgement.outcome,
            evidence=judgement.evidence,
            rows=[*judgement.rows, *invalid],
            give_up_after=int(self._options.give_up_after * SECOND),
            server_packet_id=judgement.server_packet_id,
            cost=judgement.cost,
            lane=claim.lane,
            has_budget=claim.reserved is not None,
        )

    async def _record(self, answer: Answer, probed_since: int | None = None) -> None:
        rows = await self._doubt_duplicates(answer.rows, probed_since)
        await self._hot.record(attrs.evolve(answer, rows=rows))

    async def _doubt_duplicates(
        self, rows: Sequence[MessageAnswer], probed_since: int | None
    ) -> Sequence[MessageAnswer]:
        """Make a 243 unknown where an earlier attempt with the same phone and text may have been accepted.

        Args:
            rows: The answers.
            probed_since: If they answer probes, since when the gateway refuses what it has: a 243 then shows that a
                message was sent, unless another one with the same phone and text may have caused it.
        """
        duplicates = [row.id for row in rows if row.code == DUPLICATE and row.event is Event.REFUSED]
        if not duplicates:
            return rows
        tried = await self._hot.tried_before(duplicates)
        reasons = dict.fromkeys(tried, Why.DUPLICATE)
        if probed_since is not None:
            others = await self._hot.tried_by_others(duplicates, probed_since)
            reasons |= dict.fromkeys(set(duplicates) - others, Why.ASSUMED_SENT)
        return [
            attrs.evolve(row, event=Event.UNANSWERED, reason=reasons[row.id]) if row.id in reasons else row
            for row in rows
        ]

    async def _tell_account(self, claim: Claim, judgement: Judgement) -> None:
        if (error := judgement.account_error) is not None:
            await self._hot.pause(f"{type(error).__name__} {error.code}")
            logger.error("everything of this account is paused: %s", error)
        if judgement.is_unknown:
            self._saw_unknown = True
            if await self._hot.count_unknown() == MAX_UNKNOWNS:
                logger.error("%d packets in a row without an answer: the brake is on", MAX_UNKNOWNS)
        elif judgement.is_answered and (claim.unknowns or self._saw_unknown):
            self._saw_unknown = False
            await self._hot.count_answer()

    async def _tell_campaign(self, claim: Claim, campaign: int, rows: Sequence[MessageAnswer]) -> None:
        if put_back := [row.event for row in rows].count(Event.PUT_BACK):
            with contextlib.suppress(LedgerUnavailable):  # done twice, too many would leave
                await self._hot.transact(lambda: did_not_leave(campaign, put_back))
        if claim.reserved is not None and (dearer := self._dearer(claim, rows)):
            await self._until_done(lambda: self._hot.transact(lambda: learn_prices(dearer)))
            self._dearest |= dearer
        fault = self._faults.count(campaign, rows)
        if fault is None and has_fault(rows):
            with contextlib.suppress(LedgerUnavailable):  # the next fault asks again
                fault = await self._hot.look(lambda: fault_of_all(campaign))
        if fault is not None:
            await self._until_done(lambda: self._hot.transact(lambda: pause_campaign(campaign, f"fault {fault}")))
            logger.error("a campaign is paused: its messages are refused one after the other with code %d", fault)

    def _dearer(self, claim: Claim, rows: Sequence[MessageAnswer]) -> dict[str, Decimal]:
        """Return the prices of a part that are the dearest yet for their country."""
        phones = {message.id: message.phone for message in claim.messages}
        dearer: dict[str, Decimal] = {}
        for row in rows:
            if row.price is not None:
                country, price = country_of(phones[row.id]), price_of_part(row.price, row.parts)
                if price > max(dearer.get(country, _FREE), self._dearest.get(country, _FREE)):
                    dearer[country] = price
        return dearer

    async def _until_done(self, work: Callable[[], Awaitable[None]], held: Answer | str | None = None) -> None:
        """Record what must be recorded, until that succeeds; meanwhile nothing more is claimed.

        Args:
            work: Does it.
            held: What a file takes instead, once the process has to end.
        """
        delay = _RECORD_AGAIN
        self._unrecorded += 1
        last_try: float | None = None
        try:
            while True:
                try:
                    await work()
                except LedgerUnavailable as error:
                    self.trouble = error
                    logger.warning("%s", error)
                else:
                    return
                if self._stopping.is_set():
                    last_try = last_try or boot_time() + KEEP_AFTER
                    if boot_time() >= last_try and await self._kept(held):
                        return
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RECORD_AGAIN_AT_MOST)
        finally:
            self._unrecorded -= 1

    async def _kept(self, held: Answer | str | None) -> bool:
        """Keep in a file what cannot be recorded in the ledger; the account's state is not kept."""
        if held is None:
            return True
        try:
            path = await asyncio.to_thread(self._keep.keep, held)
        except OSError as error:
            logger.error("what the gateway answered cannot be kept in a file: %s", error.strerror)  # noqa: TRY400
            return False
        logger.error("the ledger is away: what the gateway answered is kept in %s, for the next start", path)
        return True

    def _count(self, rows: Iterable[MessageAnswer]) -> None:
        sent = self.sent
        events = [row.event for row in rows]
        sent.accepted += events.count(Event.ACCEPTED)
        sent.refused += events.count(Event.REFUSED)
        sent.unknown += events.count(Event.UNANSWERED)
        sent.put_back += events.count(Event.PUT_BACK)


async def _all_of(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them, and raise the first error after the last one's end: each may have a packet on the wire."""
    ended = await asyncio.gather(*work, return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
