"""Bulk runs: a stream of messages in, a stream of results out, with several packets in flight and bounded memory.

The run's own task advances the source, starts packets and finally closes the source. It shares no task group with the
caller, so it never cancels what the caller awaits. Requests on the wire belong to tasks that outlive even the run.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterable, Generator, Iterable, Sized
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import attrs

from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async._sending.items import as_message
from smspilot_async._sending.pending import PendingMessage, is_veto, result_of
from smspilot_async._sending.submission import Submission
from smspilot_async._tools.history import History
from smspilot_async._tools.secret import Secret
from smspilot_async._tools.stream import ResultQueue
from smspilot_async.errors import (
    ClientClosed,
    ConnectionFailed,
    GatewayBusy,
    InvalidMessage,
    OutcomeUnknown,
    SmsPilotError,
    VetoFailed,
    is_account_error,
)
from smspilot_async.models import Accepted, Displayed, Message, NotSent, Refused, SendResult, Unknown, figure_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from types import TracebackType

    from matplotlib.figure import Figure

    from smspilot_async._sending.background import BackgroundSubmissions
    from smspilot_async._tools.clock import Clock, Timer
    from smspilot_async.models import Sendable
    from smspilot_async.text import Country

Item = TypeVar("Item")

_UNANSWERED: Final = (OutcomeUnknown, ConnectionFailed, GatewayBusy, VetoFailed)
_LONGEST_IDLE: Final = 1.0  # seconds for which a source may leave a packet incomplete


@attrs.define
class BulkStats(Displayed):
    """The progress of a bulk run. Always ``accepted + refused + unknown + not_sent + waiting == read``.

    Attributes:
        read: Items read from the source.
        accepted: Messages accepted by the gateway.
        refused: Refused by the gateway, vetoed by a hook, or invalid.
        unknown: May have been sent.
        not_sent: Not sent.
        parts: The number of SMS in the accepted messages.
        cost: Their cost, in roubles.
        balance: The account's balance in roubles, from the gateway's last answer.
        total: Items in the source, if its length is known.
        seconds: From the first item read to the last result.
    """

    read: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    not_sent: int = 0
    parts: int = 0
    cost: Decimal = Decimal(0)
    balance: Decimal | None = None
    total: int | None = None
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Items with a result."""
        return self.accepted + self.refused + self.unknown + self.not_sent

    @property
    def waiting(self) -> int:
        """Items read that have no result yet."""
        return self.read - self.done

    @property
    def rate(self) -> float:
        """Results per second, so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until the end at this rate, if the source's length is known."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


class BulkRun(Displayed, Generic[Item]):
    """A bulk run: enter it, iterate over its results, and leave it at any time.

    Attributes:
        stats: Its progress, always up to date.
    """

    def __init__(
        self,
        submissions: Callable[[], BackgroundSubmissions],
        source: Iterable[Item] | AsyncIterable[Item],
        *,
        ids: Iterator[int],
        packet_size: int,
        in_flight: int,
        rate_limit: float | None,
        max_unknown: int,
        patience: float,
        test: bool,
        sender: str | None,
        country: Country | None,
        message: Callable[[Item], Sendable] | None,
        before_packet: Callable[[Sequence[Item]], Awaitable[None]] | None,
    ) -> None:
        self.stats: BulkStats = BulkStats(total=len(source) if isinstance(source, Sized) else None)
        self._submissions_here = submissions
        self._source = source
        self._ids = ids
        self._packet_size = packet_size
        self._in_flight = in_flight
        self._rate_limit = rate_limit
        self._max_unknown = max_unknown
        self._patience = patience
        self._test = test
        self._sender = sender
        self._as_message = _message_maker(message, country)
        self._before_packet = before_packet
        self._items: list[Item] = []
        self._entries: list[PendingMessage] = []
        self._under_way: dict[Submission, list[Item]] = {}
        self._results: ResultQueue[SendResult[Item]] = ResultQueue()
        self._was_answered = False
        self._unanswered_in_a_row = 0
        self._error: Exception | None = None
        self._is_stopping = False
        self._is_reading = True
        self._reader: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._started: float | None = None
        self._handed_out = 0
        self._history = History("outcomes")
        self._room_until = 0  # the number of items to read before checking for room again
        self._room_from = math.inf  # the number of results to hand out before there can be room for the waiting reader
        self._idle_timer: Timer | None = None
        self._is_due = False  # send what was read as soon as there is room for one more packet

    def __repr__(self) -> str:
        stats = self.stats
        counts = (
            f"{stats.accepted} accepted, {stats.refused} refused, {stats.unknown} unknown, {stats.not_sent} not sent"
        )
        return f"<BulkRun, {self._state}: {stats.read} read, {counts}, {stats.waiting} waiting>"

    @property
    def _state(self) -> str:
        if self._reader is None:
            return "not entered"
        if self._is_over:
            return "over"
        return "stopping" if self._is_stopping else "running"

    # --- the caller's interface ------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._reader is not None:
            raise RuntimeError("a bulk run runs once: call client.bulk(...) again")
        self._submissions = self._submissions_here()
        self._context = self._submissions.context
        self._clock: Clock = self._context.clock
        self._rate = RateLimit(self._rate_limit, self._clock)
        self._submissions.when_closing.add(self._client_is_closing)
        self._reader = asyncio.create_task(self._read(), name="smspilot bulk run")
        self._reader.add_done_callback(lambda _: self._results.wake())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading, and wait until every message on the wire has its result."""
        if self._reader is not None and self._reader.get_loop().is_closed():
            return  # everything ended with the event loop, and is settled
        self._stop(None)
        try:
            while not self._is_over and exc_type is not GeneratorExit:  # a task that was dropped cannot wait
                await self._results.wait()
        finally:
            self._submissions.when_closing.discard(self._client_is_closing)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SendResult[Item]:
        if not self._results:
            await self._wait_for_results()
        self._handed_out += 1
        if self._handed_out >= self._room_from:
            self._read_if_there_is_room()
        return self._results.popleft()

    async def _wait_for_results(self) -> None:
        if self._reader is None:
            raise RuntimeError("enter the run first: async with client.bulk(...) as run:")
        while not self._results:
            if self._is_over:
                error, self._error = self._error, None
                raise error if error is not None else StopAsyncIteration
            await self._results.wait()

    def plot(self) -> Figure:
        """Draw its results over time: messages per second by outcome, and apart from them what was not accepted.

        It costs no memory for each message: a run of any length is counted in at most 240 intervals.

        Returns:
            A ``matplotlib.figure.Figure``, which a notebook shows at the end of a cell; ``savefig`` writes it to a
            file. Its label (``get_label()``) says in words what it shows.

        Raises:
            ImportError: The extra ``notebook`` is not installed.
        """
        return figure_of(self._history)

    @property
    def busy(self) -> GatewayBusy | None:
        """The gateway's "not now" (110, HTTP 429) that the run currently waits out; ``None`` otherwise."""
        return next((submission.busy for submission in self._under_way if submission.busy is not None), None)

    @property
    def _is_over(self) -> bool:
        return self._reader is not None and self._reader.done() and not self._under_way

    # --- reading ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._advance()
        except asyncio.CancelledError:
            if not self._is_stopping:  # treated as the end of the source, it would silently lose the rest
                self._error = RuntimeError("the source was cancelled, or the run from outside")
                self._is_stopping = _is_cancelled_from_outside()
        except Exception as error:  # noqa: BLE001 - an error in the source, raised after the results before it
            self._error = self._error or error
        if self._is_stopping:
            self._give_up_unsent()
        else:
            self._dispatch()

    async def _advance(self) -> None:
        # One loop for both would need an asynchronous generator around a list, which costs time for each message.
        if isinstance(self._source, AsyncIterable):
            iterator: Any = aiter(self._source)
            try:
                async for item in iterator:
                    self._add(iter((item,)))
                    if self.stats.read >= self._room_until and not await self._is_wanted_further():
                        break
            finally:
                item = None  # a traceback may show this frame's variables
                self._is_reading = False
                if (aclose := getattr(iterator, "aclose", None)) is not None:
                    await aclose()
        else:
            iterator = iter(self._source)
            try:
                while await self._is_wanted_further():
                    self._add(islice(iterator, self._room_until - self.stats.read))
                    if self.stats.read < self._room_until:
                        break  # it is over
            finally:
                self._is_reading = False
                if isinstance(iterator, Generator):  # a file is its own iterator, too, but its owner closes it
                    iterator.close()

    def _may_read(self) -> bool:
        """Return whether there is room: it limits messages in flight and results that the caller has not taken."""
        held = self.stats.read - self._handed_out
        limit = self._packet_size * self._in_flight
        if self._is_stopping or self._is_due:
            return False
        if self._entries:  # a packet may be completed, but not for ever, if all further items are invalid
            return held < limit
        return len(self._under_way) < self._width() and held + self._packet_size <= limit

    def _width(self) -> int:
        """Return how many packets may be in flight: few until the gateway answers, in case it never does."""
        if self._was_answered and not self._unanswered_in_a_row:
            return self._in_flight
        return max(1, min(self._in_flight, self._max_unknown - self._unanswered_in_a_row))

    async def _is_wanted_further(self) -> bool:
        """Wait for room; ``False`` when reading must stop, even if the source suppresses its cancellation."""
        await self._context.fairness.take()
        while not self._is_stopping and not self._may_read():
            self._room = asyncio.get_running_loop().create_future()
            self._room_from = self.stats.read + self._step() - self._packet_size * self._in_flight
            await self._room
            self._room, self._room_from = None, math.inf
        self._room_until = self.stats.read + self._step()
        return not self._is_stopping

    def _step(self) -> int:
        """Return how many items to read before checking for room again."""
        return 1 if self._entries else self._packet_size

    def _read_if_there_is_room(self) -> None:
        if self._room is not None and self._may_read():
            _wake(self._room)

    def _add(self, items: Iterator[Any]) -> None:
        """Add the next items, at most as many as a packet lacks."""
        stats, entries, as_message, ids, sender = self.stats, self._entries, self._as_message, self._ids, self._sender
        try:
            for item in items:
                if self._started is None:
                    self._started = self._clock.monotonic()
                try:
                    message = as_message(item)
                except InvalidMessage as error:
                    stats.read += 1
                    self._report([Refused(item, error.with_traceback(None))])
                    self._results.wake()
                    continue
                stats.read += 1
                self._items.append(item)
                entries.append(PendingMessage(message, message.id or next(ids), sender))
        finally:
            item = None  # the traceback of an error in the source, or of the application, shows this frame
        if len(self._entries) >= self._packet_size:
            self._dispatch()
        elif self._entries and self._idle_timer is None:
            self._idle_timer = self._clock.call_at(self._clock.monotonic() + _LONGEST_IDLE, self._dispatch)

    def _dispatch(self) -> None:
        """Send what was read once there is room: a full packet, or an incomplete one if the source is idle or over."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if not self._entries or self._is_stopping:
            return
        self._is_due = len(self._under_way) >= self._width()
        if self._is_due:
            return
        submission = Submission(
            self._context,
            self._entries,
            test=self._test,
            background=True,
            rate=self._rate,
            check_vetoes=True,
            patience=self._patience,
            before=None if self._before_packet is None else self._intent(self._items, self._entries),
            when_settled=self._check_circuit,
        )
        self._under_way[submission] = self._items
        self._items, self._entries = [], []
        submission.done.add_done_callback(lambda _: self._account_for(submission))
        self._submissions.start(submission)

    def _intent(self, items: Sequence[Item], entries: Sequence[PendingMessage]) -> Callable[[], Awaitable[None]]:
        return lambda: self._announce(items, entries)  # the repr of a partial would show its arguments

    async def _announce(self, items: Sequence[Item], entries: Sequence[PendingMessage]) -> None:
        """Call ``before_packet`` with the items that are about to be sent, without vetoed ones."""
        assert self._before_packet is not None  # noqa: S101 - otherwise this is not called
        leaving = Secret([item for item, entry in zip(items, entries, strict=True) if entry.outcome is None])
        del items  # the traceback of the application's error shows this frame
        await self._before_packet(leaving.reveal())

    # --- results ---------------------------------------------------------------------------------

    def _account_for(self, submission: Submission) -> None:
        items = self._under_way.pop(submission)
        outcomes = [entry.outcome for entry in submission.entries]
        self._report(list(map(result_of, items, outcomes)))
        if submission.packet is not None and submission.packet.balance is not None:
            self.stats.balance = submission.packet.balance
        if self._is_due:
            self._dispatch()
        self._read_if_there_is_room()
        self._results.wake()

    def _report(self, results: Sequence[SendResult[Item]]) -> None:
        stats = self.stats
        stats.seconds = self._clock.monotonic() - (self._started or 0.0)
        kinds: Counter[type[SendResult[Item]]] = Counter(map(type, results))
        stats.accepted += kinds[Accepted]
        stats.refused += kinds[Refused]
        stats.unknown += kinds[Unknown]
        stats.not_sent += kinds[NotSent]
        sent = [result.sent for result in results if isinstance(result, Accepted)]
        stats.parts += sum([message.parts or 0 for message in sent])
        stats.cost += sum([message.price or 0 for message in sent])
        for kind, count in kinds.items():
            self._history.add(stats.seconds, kind.outcome, count)
        self._results.extend(results)

    def _check_circuit(self, submission: Submission) -> None:
        """Circuit breaker: stop at an error of the account, or after several unanswered packets in a row."""
        if submission.declined is not None:
            self._stop(submission.declined)
            return
        failures = submission.failures()
        for failure in failures:
            if is_account_error(failure):
                self._stop(failure)
                return
        asked = len(submission.entries) - sum(map(is_veto, failures))
        if not asked:
            return  # nothing was submitted
        if submission.has_lost_patience and len(failures) == asked and isinstance(failures[0], GatewayBusy):
            self._stop(failures[0])
            return
        unanswered = [failure for failure in failures if isinstance(failure, _UNANSWERED)]
        if len(unanswered) == asked:
            self._unanswered_in_a_row += 1
            if self._unanswered_in_a_row >= self._max_unknown:
                self._stop(unanswered[0])
        else:
            self._was_answered = True
            self._unanswered_in_a_row = 0

    # --- stopping --------------------------------------------------------------------------------

    def _stop(self, error: Exception | None) -> None:
        """Stop reading, and withdraw what was not sent yet."""
        if self._is_stopping or self._reader is None:
            return
        self._is_stopping = True
        self._room_until = 0
        self._error = error
        for submission in list(self._under_way):
            self._submissions.take_back(submission)
        if self._reader.done():
            self._give_up_unsent()
        elif self._is_reading:  # closing the source is not interrupted
            self._reader.cancel()

    def _client_is_closing(self) -> None:
        self._stop(
            ClientClosed(
                "the client was closed during a bulk run. Messages that were read but not on the wire were not sent."
            )
        )

    def _give_up_unsent(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        items, self._items, self._entries = self._items, [], []
        error = self._error if isinstance(self._error, SmsPilotError) else None
        if items:
            self._report([NotSent(item, error) for item in items])


def _message_maker(message: Callable[[Item], Sendable] | None, country: Country | None) -> Callable[[Item], Message]:
    if message is None:
        return as_message if country is None else partial(as_message, country=country)

    def make(item: Item) -> Message:
        try:
            return as_message(message(item), country)
        finally:
            del item  # the traceback of the application's error shows this frame

    return make


def _is_cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _wake(sleeper: asyncio.Future[None] | None) -> None:
    if sleeper is not None and not sleeper.done():
        sleeper.set_result(None)
