"""Inbound messages for ever, none lost: the polling iterator behind ``Client.listen``.

Reading ``"new"`` destroys what it reads, so nothing rests on it: a sweep by date, from a time up to which everything is
known to have been handed over, mends whatever a lost answer or another reader took away, and the ids handed over since
keep it from repeating any.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self, TypeVar

import attrs

from smspilot_async._inbound.cursor import CursorState
from smspilot_async._requests.retry import LONGEST_RETRY_AFTER
from smspilot_async.errors import AccountBlocked, AuthenticationError, GatewayError, SmsPilotError, Unanswered
from smspilot_async.models import InboundMessage
from smspilot_async.wire import Balance, Inbound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from smspilot_async._inbound.cursor import InboundCursor
    from smspilot_async._requests.requester import Requester
    from smspilot_async._tools.clock import Clock
    from smspilot_async.wire import Command

__all__ = ["InboundListener"]

Value = TypeVar("Value")

logger: Final = logging.getLogger("smspilot_async")

# `created` has minutes only, and may come from another machine's clock than `Date`, or late from an operator.
_OVERLAP: Final = timedelta(minutes=10)
_MINUTE: Final = timedelta(minutes=1)
_POLLS_PER_SWEEP: Final = 20
_LONGEST_BACKOFF: Final = 300.0
_MOST_DOUBLINGS: Final = 30  # beyond the longest back-off in any case, and far from overflow
_ACCOUNT_ERRORS: Final = (AuthenticationError, AccountBlocked)
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_FASTEST: Final = 61 / 60
"""How fast the gateway's time may pass, in seconds of ours: clocks drift by far less."""


@attrs.frozen
class _Carried:
    """A message that an answer carried.

    Attributes:
        message: It.
        until: Sweeps that ask from a later time will not bring it again.
    """

    message: InboundMessage
    until: datetime


@attrs.frozen
class _Moment:
    """The gateway's time, and this machine's clocks at it.

    Attributes:
        gateway: The gateway's time, aware.
        wall: The time of day here, aware; it may be set.
        monotonic: The clock's monotonic seconds; ``None`` if they were another process's.
    """

    gateway: datetime
    wall: datetime
    monotonic: float | None

    def limit(self, date: datetime, wall: datetime, monotonic: float) -> datetime:
        """Return a later answer's date, or how late it can be over there by now if that is earlier.

        A date is only as good as the clock of the machine, or the proxy, that wrote it. One that ran ahead would make
        the next sweeps begin in the future, where they find nothing of what got lost; one that lags only makes them
        longer. The time of day counts as well, because a machine that sleeps stops its monotonic clock.
        """
        passed = max(0.0, (wall - self.wall).total_seconds())
        if self.monotonic is not None:
            passed = max(passed, monotonic - self.monotonic)
        most = timedelta(seconds=passed * _FASTEST)
        return self.gateway + most if date - self.gateway > most else date


class InboundListener:
    """Inbound messages, one after the other, for ever: iterate over it, inside ``async with`` or without.

    A wait for the next message may be cancelled at any time, as by ``asyncio.wait_for``; the next wait goes on from
    there. ``async with`` holds the cursor until its block ends. Without it the cursor is let go of when a wait is
    cancelled or nothing refers to the listener any more, as after a ``break``. It serves one task at a time.
    """

    # A step that is cancelled at any await leaves everything such that the next one goes on.

    def __init__(
        self, requester: Callable[[], Requester], cursor: InboundCursor, *, poll_interval: float, deadline: float
    ) -> None:
        self._requester = requester
        self._cursor = cursor
        self._poll_interval = poll_interval
        self._deadline = deadline
        # its life
        self._is_entered = False
        self._is_open = False
        self._is_closed = False
        self._step: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        # the cursor's state, here
        self._since: datetime | None = None
        self._noted: datetime | None = None
        self._handed_over: dict[int, datetime] = {}
        self._waiting: dict[int, datetime] = {}
        # the messages of the last answer
        self._queue: deque[_Carried] = deque()
        self._yielded: _Carried | None = None
        self._count = 0
        self._swept_at: _Moment | None = None
        self._moment: _Moment | None = None
        # when to ask what
        self._sweep_is_due = True
        self._polls = 0
        self._failures = 0
        self._due = float("-inf")
        self._last_poll: datetime | None = None
        self._fresh_at: float | None = None

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "not begun" if self._fresh_at is None else "listening"
        return f"<InboundListener, {state}: {self._count} messages, {len(self._queue)} waiting>"

    @property
    def last_poll(self) -> datetime | None:
        """When the gateway last answered a poll, by this machine's clock; aware, UTC; ``None`` before the first."""
        return self._last_poll

    @property
    def fresh_at(self) -> float | None:
        """The clock's monotonic seconds of the last good poll, or of its begin; ``None`` while it does not listen."""
        return None if self._is_closed else self._fresh_at

    # --- life ------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InboundMessage:
        """Take it that the last message is done with, and hand over the next."""
        if self._is_closed:
            raise StopAsyncIteration
        return await self._run_step(self._next)

    async def __aenter__(self) -> Self:
        if self._is_closed:
            raise RuntimeError("this listener is closed; call listen() again")
        await self._run_step(self._open)
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it: a task that waits for the next message sees the iteration end, and the cursor is released.

        The message that was handed over last, and after which no other was asked for, comes again at the next start.
        """
        if not self._is_closed:
            self._is_closed = True
            if self._step is not None:
                self._step.reschedule(0)
        await self._idle.wait()
        self._release()

    def __del__(self) -> None:
        self._release()

    async def _run_step(self, step: Callable[[], Awaitable[Value]]) -> Value:
        """Take one step, which :meth:`aclose` ends early; an error is the end, a cancellation is not."""
        if self._step is not None:
            raise RuntimeError("a listener serves one task at a time, and another one waits for its next message")
        self._step = asyncio.timeout(None)
        self._idle.clear()
        try:
            async with self._step:
                return await step()
        except asyncio.CancelledError:
            if not self._is_entered:
                self._release()  # nobody may ever come back, and a traceback may keep this object alive
            raise
        except Exception as error:
            was_closed, self._is_closed = self._is_closed, True
            if not (was_closed and isinstance(error, TimeoutError)):
                raise
        finally:
            self._step = None
            self._idle.set()
            if self._is_closed:
                self._release()
        raise StopAsyncIteration

    def _release(self) -> None:
        if self._is_open:
            self._is_open = False
            self._cursor.release()

    async def _open(self) -> None:
        """Lock and load the cursor, for the first time or after a cancellation has let go of it."""
        if self._is_open:
            return
        if self._fresh_at is None:
            self._fresh_at = self._clock.monotonic()
        await self._cursor.acquire()
        self._is_open = True
        state = await self._cursor.load()
        if state is not None:
            self._adopt(state)
        if self._since is not None:
            await self._save(self._since)

    def _adopt(self, state: CursorState) -> None:
        """Go on from a state, unless it is our own: then what was carried and not handed over is still good."""
        ours = self._since, self._handed_over.keys(), self._waiting.keys()
        if ours == (state.since, state.handed_over.keys(), state.waiting.keys()):
            return
        self._since, self._noted = state.since, state.noted
        if self._moment is None and state.noted is not None:
            self._moment = _Moment(state.since, state.noted, None)
        self._handed_over = dict(state.handed_over)
        self._waiting = {id_: at for id_, at in self._waiting.items() if id_ not in state.handed_over}
        self._waiting |= state.waiting
        self._queue.clear()
        self._swept_at = None
        self._sweep_is_due = True

    # --- handing over ----------------------------------------------------------------------------

    async def _next(self) -> InboundMessage:
        await self._open()
        await self._confirm()
        while not self._queue:
            await self._poll()
        self._yielded = self._queue.popleft()
        self._count += 1
        return self._yielded.message

    async def _confirm(self) -> None:
        """Move the cursor over the message that was handed over: its reader asks for the next, so it has that one."""
        if self._yielded is None:
            return
        id_ = self._yielded.message.id
        if id_:
            await self._cursor.mark(id_, self._yielded.until)
            self._handed_over[id_] = self._yielded.until
            self._waiting.pop(id_, None)
        self._yielded = None

    def _enqueue(self, messages: Iterable[InboundMessage]) -> None:
        """Queue what was not handed over before, in order."""
        now = self._gateway_time().gateway
        queued: set[int] = set()
        for message in sorted(messages, key=_order):
            if message.id:  # 0 says nothing, and what has no id can not be remembered
                if message.id in self._handed_over or message.id in queued:
                    continue
                queued.add(message.id)
            self._queue.append(_Carried(message, max(now, message.created or now)))

    # --- polling ---------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Ask once, when it is time to. Everything that the last answer brought has been handed over."""
        if self._swept_at is not None:
            await self._commit_sweep(self._swept_at)
        else:
            await self._wait_for_turn()
            if self._since is None and not await self._begin():
                return
            if self._sweep_is_due:
                await self._sweep()
                return
        await self._read_new()

    async def _wait_for_turn(self) -> None:
        delay = self._due - self._clock.monotonic()
        if delay > 0:
            await self._clock.sleep(delay)

    async def _begin(self) -> bool:
        """Have a time on record to sweep from before anything can get lost; tell whether it worked."""
        # Any answer, an error too, brings the gateway's time; that to the balance changes nothing over there.
        answer = await self._ask(Balance())
        if isinstance(answer, SmsPilotError) and not isinstance(answer, GatewayError):
            self._failed(answer)
            return False
        now = self._gateway_time()
        self._noted = now.wall
        await self._save(now.gateway)
        self._since = now.gateway
        return True

    async def _sweep(self) -> None:
        """Ask by date for everything that may have got lost, and once that is handed over, move the date."""
        assert self._since is not None  # noqa: S101 - it has begun
        window = self._since - _OVERLAP
        start = min([window, *self._waiting.values()])
        messages = await self._ask(Inbound(start))
        if isinstance(messages, SmsPilotError):
            self._failed(messages)
            return
        if start < window:
            messages = [message for message in messages if self._is_missing(message, window)]
        self._enqueue(messages)
        self._swept_at = self._gateway_time()
        self._succeeded()
        self._polls = 0

    def _is_missing(self, message: InboundMessage, window: datetime) -> bool:
        """Tell what was waited for from what was handed over so long ago that its id is forgotten."""
        if message.id in self._waiting or message.created is None or not message.seen:
            return True
        return message.created + _MINUTE >= window

    async def _commit_sweep(self, swept_at: _Moment) -> None:
        """Everything up to the sweep was handed over: the next one need not go back further, nor memory."""
        self._since, self._noted = swept_at.gateway, swept_at.wall
        oldest = self._since - _OVERLAP - _MINUTE
        self._handed_over = {id_: until for id_, until in self._handed_over.items() if until >= oldest}
        self._waiting = {}
        await self._save(self._since)
        self._swept_at = None

    async def _read_new(self) -> None:
        """Ask for what no answer carried yet."""
        assert self._since is not None  # noqa: S101 - it has begun
        messages = await self._ask(Inbound("new"))
        if isinstance(messages, SmsPilotError):
            self._failed(messages)
            return
        window = self._since - _OVERLAP
        late = {sms.id: sms.created for sms in messages if sms.id and sms.created and sms.created < window}
        if late:
            # Older than any sweep goes back: unread since before the first start, or late from an operator.
            self._waiting |= late
            await self._save(self._since)
        self._enqueue(messages)
        self._succeeded()
        self._polls += 1
        self._sweep_is_due = self._polls >= _POLLS_PER_SWEEP

    async def _ask(self, command: Command[Value]) -> Value | SmsPilotError:
        self._sweep_is_due = True  # until its answer is safe: to be cancelled is to fail
        self._due = self._clock.monotonic() + self._poll_interval
        answer = await self._requester().ask(command, self._deadline, background=True)
        if isinstance(answer, _ACCOUNT_ERRORS):
            raise answer
        return answer

    def _succeeded(self) -> None:
        self._sweep_is_due = False
        self._failures = 0
        self._last_poll = self._clock.now()
        self._fresh_at = self._clock.monotonic()

    def _failed(self, error: SmsPilotError) -> None:
        """Wait longer each time, as long as the gateway wishes at least if that is not for days, and sweep then."""
        delay = min(
            self._poll_interval * 2.0 ** min(self._failures, _MOST_DOUBLINGS),
            max(self._poll_interval, _LONGEST_BACKOFF),
        )
        if isinstance(error, GatewayError) and error.retry_after is not None:
            delay = max(delay, min(error.retry_after, LONGEST_RETRY_AFTER))
        self._failures += 1
        self._due = self._clock.monotonic() + delay
        logger.warning("listen: a poll failed (%s); the next one is in %.1f s", _in_a_word(error), delay)

    async def _save(self, since: datetime) -> None:
        await self._cursor.save(CursorState(since, self._handed_over.copy(), self._waiting.copy(), self._noted))

    # --- time ------------------------------------------------------------------------------------

    @property
    def _clock(self) -> Clock:
        return self._requester().clock

    def _gateway_time(self) -> _Moment:
        """The time of the answer that has just come; this machine's if the gateway should tell none."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        date = self._requester().gateway_date or wall
        if self._moment is not None:
            date = self._moment.limit(date, wall, monotonic)
        self._moment = moment = _Moment(date, wall, monotonic)
        return moment


def _order(message: InboundMessage) -> tuple[bool, datetime, int]:
    return message.created is None, message.created or _EVER, message.id or 0


def _in_a_word(error: SmsPilotError) -> object:
    """Name a failure with nothing of what was asked or answered."""
    if isinstance(error, GatewayError) and error.code is not None:
        return f"code {error.code}"
    return error.reason if isinstance(error, Unanswered) else type(error).__name__
