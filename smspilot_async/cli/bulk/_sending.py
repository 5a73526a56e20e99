"""The sending of a list: the ledger's campaign runs here, and its rows come out in the list's order.

What the command does with a row once it is decided is not known here. What ends a run early is: an error of the
account, a gateway that cannot be reached, that stays busy for longer than ``--patience``, or that leaves three packets
in a row without an answer; a campaign that pauses for its sender or text; a ledger that cannot be written; a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._tools import clock as clocks
from smspilot_async.cli.bulk._ledger import ACTOR
from smspilot_async.errors import ConnectionFailed, GatewayBusy, Outcome, SmsPilotError, is_account_error
from smspilot_async.hooks import Hooks
from smspilot_async.models import Accepted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from smspilot_async import Client
    from smspilot_async.hooks import RequestInfo, RequestOutcome
    from smspilot_async.models import Message, SendResult
    from smspilot_async.outbox import Campaign, CampaignMessage, LedgerUnavailable, Outbox, Progress, Worker

PACKET_SIZE: Final = 100
IN_FLIGHT: Final = 4
PATIENCE: Final = 600.0
"""Seconds for which a busy gateway is retried, as by ``Client.bulk``."""
_NEVER: Final = 1e9
"""Seconds after which a message is given up that was put back: a person decides for how long a list may wait."""
_MOST_IN_A_ROW: Final = 3
_FIRST_LOOK, _LONGEST_LOOK = 0.02, 0.5
_MOST_AWAY: Final = 3.0
"""Seconds for which a ledger that cannot be written is waited for."""
_AT_ONCE: Final = 1000
_SHARE: Final = 10
"""Counting millions takes its time: a look waits so many times longer than the last one took, but not for ever."""
_LONGEST_PAUSE: Final = 5.0


class Trouble(Hooks):
    """What the gateway says to everything, again and again, so that sending has to end.

    Args:
        patience: Seconds for which a busy gateway is retried.

    Attributes:
        busy: The error of a busy gateway while it is being retried.
        ended_by: What ends the sending.
    """

    def __init__(self, patience: float) -> None:
        self.busy: GatewayBusy | None = None
        self.ended_by: SmsPilotError | None = None
        self.on_end: Callable[[], object] = lambda: None
        self._patience = patience
        self._busy_since = 0.0
        self._in_a_row: dict[type[SmsPilotError] | Outcome, int] = {}

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        """Count packets in a row that did not reach the gateway, or that it did not answer."""
        if request.command != "send":
            return
        error = outcome.error
        if isinstance(error, ConnectionFailed):
            self._count(ConnectionFailed, error)
        elif error is not None and error.outcome is Outcome.UNKNOWN:
            self._count(Outcome.UNKNOWN, error)
        else:
            self._in_a_row.clear()

    def _count(self, kind: type[SmsPilotError] | Outcome, error: SmsPilotError) -> None:
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1
        if self._in_a_row[kind] >= _MOST_IN_A_ROW:
            self._end(error)

    def on_result(self, result: SendResult[Message]) -> None:
        """Look at what the gateway says about a message, or says to all of a packet."""
        error = None if isinstance(result, Accepted) else result.error
        if error is None or error.outcome is Outcome.REFUSED:
            self.busy = None
        elif is_account_error(error):
            self._end(error)
        elif isinstance(error, GatewayBusy):
            if self.busy is None:
                self._busy_since = clocks.current().monotonic()
            self.busy = error
            self.look()

    def look(self) -> None:
        """End the sending if the gateway has been busy for too long."""
        if self.busy is not None and clocks.current().monotonic() - self._busy_since >= self._patience:
            self._end(self.busy)

    def _end(self, error: SmsPilotError) -> None:
        if self.ended_by is None:
            self.ended_by = error
            self.on_end()


class Sending:
    """Sends a campaign, and yields its rows in groups, in the list's order, once they are decided.

    Args:
        outbox: The open ledger.
        campaign: Its campaign, started before.
        client: What sends, with
        trouble: among its hooks.
        in_flight: Packets in flight at once.
        is_continued: An earlier run has begun it.

    Attributes:
        progress: How far it was at the last look; ``None`` before the first.
        failure: Why the ledger could not be written, if that ended it.
        paused: Why the campaign has paused itself, if it has.
    """

    def __init__(
        self,
        outbox: Outbox,
        campaign: Campaign,
        client: Client,
        trouble: Trouble,
        *,
        in_flight: int = IN_FLIGHT,
        is_continued: bool = False,
    ) -> None:
        self.progress: Progress | None = None
        self._began: Progress | None = None
        self.failure: LedgerUnavailable | None = None
        self.paused: str | None = None
        self._outbox = outbox
        self._campaign = campaign
        self._client = client
        self._trouble = trouble
        self._in_flight = in_flight
        self._is_continued = is_continued
        self._stopping = asyncio.Event()
        self._worker: Worker | None = None
        self._away_since: float | None = None
        self._last: CampaignMessage | None = None
        self._last_line = -1
        self._closing: asyncio.Future[None] | None = None  # a reference, because the loop keeps only weak ones
        trouble.on_end = self.stop

    @property
    def rate(self) -> float:
        """Messages that got an outcome, a second, so far."""
        if self.progress is None or self._began is None or self.progress.at <= self._began.at:
            return 0.0
        return (self.progress.done - self._began.done) / (self.progress.at - self._began.at).total_seconds()

    def stop(self) -> None:
        """Send nothing more; wait for packets in flight."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.stop()  # at once: the next answer would let its place claim again

    def quit(self) -> None:
        """Do not wait for packets in flight either: their rows become unknown."""
        self.stop()
        # The client knows what has left: closing it ends each request with its true outcome.
        self._closing = asyncio.ensure_future(self._client.aclose(timeout=0.0))

    async def rows(self) -> AsyncIterator[Sequence[CampaignMessage]]:
        """Send, and yield every row of the campaign: at the end also those that are not decided.

        Raises:
            OutboxError: The ledger does not belong to the client, or another process sends from it.
        """
        before = await self._campaign.status()
        if before.messages["pending"] and not self._stopping.is_set():
            if self._is_continued:
                await self._let_it_send()
            how: dict[str, Any] = {"packet_size": PACKET_SIZE, "in_flight": self._in_flight, "give_up_after": _NEVER}
            async with self._outbox.worker(self._client, **how, follow=False) as worker:
                self._worker = worker
                async for _ in self._looks(worker, gone=before.messages["in_flight"]):
                    while len(decided := await self._decided()) == _AT_ONCE:
                        yield decided
                    yield decided
        self.progress = await self._campaign.status()
        while left := await self._decided(everything=True):
            yield left

    async def _let_it_send(self) -> None:
        """Continue what an earlier run has left: a fault or a full account may be over, and a person said go on."""
        await self._outbox.release(ACTOR, actor=ACTOR)
        await self._campaign.pause("continued", actor=ACTOR)
        await self._campaign.resume(actor=ACTOR)

    async def _looks(self, worker: Worker, *, gone: int) -> AsyncIterator[None]:
        """Yield after each look, until there is nothing left to do here.

        Args:
            worker: What sends.
            gone: Messages that a run that was killed had in flight: they are not waited for.
        """
        ended = asyncio.ensure_future(worker.wait())
        clock = asyncio.get_running_loop().time
        pause = _FIRST_LOOK
        try:
            while not (self._stopping.is_set() or ended.done()):
                began = clock()
                self.progress = progress = await self._campaign.status()
                took = clock() - began
                self._began = self._began or progress
                yield
                self._trouble.look()
                counts = progress.messages
                if progress.state != "running" or (not counts["pending"] and counts["in_flight"] <= gone):
                    self.paused = progress.reason if progress.state == "paused" else None
                    break
                if self._is_ledger_away(worker):
                    break
                await self._rest(min(max(pause, _SHARE * took), _LONGEST_PAUSE))
                pause = min(pause * 1.5, _LONGEST_LOOK)
        finally:
            ended.cancel()
            worker.stop()

    def _is_ledger_away(self, worker: Worker) -> bool:
        """Return whether the ledger cannot be written for some time now, as on a full disk."""
        now = asyncio.get_running_loop().time()
        if worker.trouble is None:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= _MOST_AWAY:
            self.failure = worker.trouble
        return self.failure is not None

    async def _rest(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(clocks.current().sleep(seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleeping, stopping):
                task.cancel()

    async def _decided(self, *, everything: bool = False) -> list[CampaignMessage]:
        """Return the next rows in order that are decided; with `everything` the next ones, decided or not."""
        found: list[CampaignMessage] = []
        async with contextlib.aclosing(self._campaign.messages(after=self._last)) as messages:  # type: ignore[type-var]
            async for message in messages:
                if message.line <= self._last_line:
                    continue
                if not everything and message.outcome is None:
                    break
                found.append(message)
                if message.id is not None:
                    self._last = message
                self._last_line = message.line
                if len(found) == _AT_ONCE:
                    break
        return found
