"""A worker of a fleet: it serves the slots that the engine's jobs bring, on as many machines as there are.

:class:`FleetSender` claims, sends and records as every :class:`~smspilot_async.outbox._deliver.Sender` does; only when
its places begin and end is another matter. A place begins with a job for its slot, and ends once nothing is due, or
the slot is another's. It does not depend on its job: where the engine loses it, what is under way goes on, and a second
job for a held slot ends at once. The slots for codes and services are kept while the worker lives, so that a code waits
for no job; those for campaigns are given up after a moment without anything due.

:class:`FleetWorker` is the whole: the sender, the engine around it, and the worker's row in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from smspilot_async._tools.tasks import outlast
from smspilot_async.outbox._deliver import POLL, Sender, Sent
from smspilot_async.outbox._due import is_due
from smspilot_async.outbox._duties import Duties, Duty
from smspilot_async.outbox._errors import LedgerDamaged, LedgerUnavailable
from smspilot_async.outbox._fleet_slots import FleetSlots
from smspilot_async.outbox._migrations.wake_functions import JOBS_SCHEMA
from smspilot_async.outbox._schema import MARKETING, SERVICE
from smspilot_async.outbox._slots import URGENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from types import TracebackType

    from smspilot_async.outbox._steps import Steps

__all__ = ["FleetSender", "FleetWorker"]

logger: Final = logging.getLogger("smspilot_async.outbox")

SEEN_EVERY: Final = 1.0
LINGER: Final = 0.5
"""Seconds for which a slot of campaigns is kept without anything due."""
_LOOK_AGAIN: Final = 0.5

_WAKE: Final = "SELECT smspilot.wake(:first, :last, 'look')"


def wake_what_is_due(common: int) -> Steps[None]:
    """Defer jobs for slots that no one holds: those for codes in any case, the others if something is due."""
    is_anything_due = yield from is_due(MARKETING)
    yield _WAKE, {"first": -URGENT, "last": common - 1 if is_anything_due else -1}


_SWEEP: Final = f"""
DELETE FROM {JOBS_SCHEMA}.procrastinate_jobs j
WHERE NOT EXISTS (
  SELECT 1 FROM {JOBS_SCHEMA}.procrastinate_events e WHERE e.job_id = j.id AND e.at > now() - interval '10 minutes'
) AND NOT (j.status = 'doing' AND EXISTS (
  SELECT 1 FROM {JOBS_SCHEMA}.procrastinate_workers w
  WHERE w.id = j.worker_id AND w.last_heartbeat > now() - interval '10 minutes'
))
"""


def sweep() -> Steps[None]:
    """Delete the engine's jobs that no worker has, or will fetch."""
    yield f"SET LOCAL search_path = {JOBS_SCHEMA}", {}  # for the engine's triggers
    yield _SWEEP, {}


class FleetSender(Sender):
    """One process's part in sending, slot by slot.

    The arguments are those of :class:`~smspilot_async.outbox._deliver.Sender`.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._common = self._options.in_flight
        self._slots: FleetSlots = FleetSlots(self._hot, self._name, self._common)
        self._places: dict[int, asyncio.Task[None]] = {}
        self._beside: list[asyncio.Task[None]] = []
        self._failed: BaseException | None = None

    @property
    def name(self) -> str:
        """The worker's name."""
        return self._name

    @property
    def concurrency(self) -> int:
        """How many jobs of slots there may be at once."""
        return self._common + URGENT

    async def stopped(self) -> None:
        """Wait until it is to stop."""
        await self._stopping.wait()

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Give signs of the worker in the background of a block: without its engine it has no share of the slots."""
        signs = Duties([Duty("the worker's row", self.show, SEEN_EVERY)])
        try:
            yield
        finally:
            await signs.aclose()

    async def begin(self) -> None:
        """Get ready for jobs.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        await self.replay()
        await self._slots.make()
        self._beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._listen())]
        self._beside[0].add_done_callback(lambda _: self.stop())

    async def serve(self, n: int) -> None:
        """Send in a slot until nothing is due; return at once if the slot is held already, here or elsewhere."""
        if n in self._places or self._stopping.is_set():
            return
        place = asyncio.create_task(self._serve(n), name=f"smspilot slot {n}")
        self._places[n] = place
        place.add_done_callback(partial(self._ended, n))
        await asyncio.wait({place})  # which a cancellation of the job leaves alone

    def _ended(self, n: int, place: asyncio.Task[None]) -> None:
        del self._places[n]
        if not place.cancelled() and place.exception() is not None:
            self._failed = self._failed or place.exception()
            self.stop()

    async def _serve(self, n: int) -> None:
        lane = MARKETING if n >= 0 else SERVICE
        try:
            # Looked at again once it is free: what came before, when its job could not have the slot.
            while await self._took(n) and not self._stopping.is_set() and await self._hot.look(partial(is_due, lane)):
                pass
        except LedgerUnavailable as error:
            logger.warning("%s", error)

    async def _took(self, n: int) -> bool:
        """Send in a slot, if it is free, until nothing is due; return whether no one else is to have it then."""
        if not await self._slots.take(n):
            return False
        try:
            while self._slots.holds(n) and not self._stopping.is_set():
                if not await self._send_in(n):
                    break
            is_free = self._slots.holds(n)
        finally:
            with contextlib.suppress(LedgerUnavailable):
                await self._slots.give_up(n)
        return is_free

    async def _send_in(self, n: int) -> bool:
        """Send a packet, or wait for one; return whether to go on."""
        lane = MARKETING if n >= 0 else SERVICE
        try:
            took = await self._take_one(lane)
        except LedgerUnavailable as error:
            if isinstance(error, LedgerDamaged):
                raise
            return await self._rest(1.0)
        if self._failures:
            return await self._rest(self._back_off())
        return took or await self._woken_in(n, lane)

    async def _woken_in(self, n: int, lane: int) -> bool:
        """Wait until something may be due; return ``False`` once its time is over."""
        while self._slots.holds(n) and not self._stopping.is_set():
            if lane in self._missed:
                self._missed.discard(lane)
                return True
            waiting = asyncio.get_running_loop().create_future()
            self._idle[lane].append(waiting)
            await asyncio.wait({waiting}, timeout=LINGER if lane == MARKETING else _LOOK_AGAIN)
            if waiting.done():
                return True
            self._idle[lane].remove(waiting)
            if lane == MARKETING:
                return False
        return False

    async def _watch(self) -> None:
        while not self._is_over:
            try:
                if self._places:
                    await self._look()
            except LedgerUnavailable as error:
                if isinstance(error, LedgerDamaged):
                    raise
                logger.warning("%s", error)
                await asyncio.sleep(1.0)
            await asyncio.sleep(POLL)

    async def look(self) -> None:
        """Look after the ledger: leases that are over, windows, texts of codes, and what is due without a slot.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        await self._hot.recover()
        await self._upkeep.do()
        await self._hot.transact(partial(wake_what_is_due, self._common))

    async def sweep(self) -> None:
        """Delete what the engine's lost workers left.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        await self._hot.transact(sweep)

    async def end(self) -> None:
        """Claim nothing more, wait for what is on the wire, and give the slots up.

        Raises:
            LedgerMoved: It was ended by that.
        """
        self.stop()
        while self._places:
            await asyncio.wait(list(self._places.values()))
        self._is_over = True
        for task in self._beside:
            task.cancel()
        for ended in await asyncio.gather(*self._beside, return_exceptions=True):
            if isinstance(ended, Exception):
                self._failed = self._failed or ended
        with contextlib.suppress(LedgerUnavailable):
            await self._slots.leave()
        if self._failed is not None:
            raise self._failed


class FleetWorker:
    """A worker of a fleet in the background of a block (:meth:`Outbox.fleet_worker`)."""

    def __init__(
        self,
        sender: contextlib.AbstractAsyncContextManager[Sender],
        duties: Callable[[Sender], Sequence[Duty]],
        engine: Callable[[FleetSender, Sequence[Duty]], Callable[[], Coroutine[Any, Any, None]]],
    ) -> None:
        self._context = sender
        self._make_duties = duties
        self._make_engine = engine
        self._sender: FleetSender | None = None
        self._engine: asyncio.Task[None] | None = None
        self._duties: Duties | None = None

    @property
    def sent(self) -> Sent:
        """What it has done so far."""
        return Sent() if self._sender is None else self._sender.sent

    def stop(self) -> None:
        """Claim nothing more, and fetch no more jobs."""
        if self._sender is not None:
            self._sender.stop()

    async def wait(self) -> None:
        """Wait until it was stopped."""
        if self._sender is not None:
            await self._sender.stopped()

    async def __aenter__(self) -> Self:
        sender: Any = await self._context.__aenter__()
        try:
            duties = self._make_duties(sender)
            run_engine = self._make_engine(sender, [duty for duty in duties if duty.is_shared])
            await sender.begin()
        except BaseException:
            await self._context.__aexit__(None, None, None)
            raise
        self._sender = sender
        self._duties = Duties([duty for duty in duties if not duty.is_shared])
        self._engine = asyncio.create_task(run_engine(), name="smspilot engine")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await outlast(asyncio.create_task(self._end()))

    async def _end(self) -> None:
        assert self._sender is not None  # noqa: S101 - it was entered
        assert self._engine is not None  # noqa: S101
        assert self._duties is not None  # noqa: S101
        self._engine.cancel()
        try:
            await self._sender.end()
        finally:
            await asyncio.wait({self._engine})
            await self._duties.aclose()
            await self._sender.hide()
            await self._context.__aexit__(None, None, None)
