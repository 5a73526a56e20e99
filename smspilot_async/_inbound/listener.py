"""Inbound messages, indefinitely and without loss: the polling iterator behind ``Client.listen``.

Reading ``"new"`` marks messages as read, so it alone is not reliable: a sweep, a query by date since the time up to
which everything was yielded, recovers whatever a lost answer or another reader took away. The ids yielded since then
prevent repetition.
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
_MOST_DOUBLINGS: Final = 30  # always more than the longest back-off, and far from overflow
_ACCOUNT_ERRORS: Final = (AuthenticationError, AccountBlocked)
_EVER: Final = datetime.min.replace(tzinfo=UTC)
_FASTEST: Final = 61 / 60
"""How fast the gateway's clock may run, compared to this machine's: clocks drift by far less."""


@attrs.frozen
class _Carried:
    """A message from an answer.

    Attributes:
        message: The message.
        until: Sweeps since a later time will not return it again.
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
        """Return a later answer's date, or the latest that the gateway's time can be by now, if that is earlier.

        A date is only as good as the clock of the machine, or the proxy, that wrote it. One that is ahead would make
        the next sweeps begin in the future, where they find nothing; one that lags only makes them longer. The time of
        day is used as well, because a machine that sleeps stops its monotonic clock.
        """
        passed = max(0.0, (wall - self.wall).total_seconds())
        if self.monotonic is not None:
            passed = max(passed, monotonic - self.monotonic)
        most = timedelta(seconds=passed * _FASTEST)
        return self.gateway + most if date - self.gateway > most else date


class InboundListener:
    """Yields inbound messages one by one, indefinitely: iterate over it, inside ``async with`` or without.

    A wait for the next message may be cancelled at any time, as by ``asyncio.wait_for``; the next wait continues from
    there. ``async with`` holds the cursor until its block ends. Without it the cursor is released when a wait is
    cancelled or nothing references the listener any more, as after a ``break``. Only one task may use it at a time.
    """

    # A step may be cancelled at any await; the next one continues from there.

    def __init__(
        self, requester: Callable[[], Requester], cursor: InboundCursor, *, poll_interval: float, deadline: float
    ) -> None:
        self._requester = requester
        self._cursor = cursor
        self._poll_interval = poll_interval
        self._deadline = deadline
        # life cycle
        self._is_entered = False
        self._is_open = False
        self._is_closed = False
        self._step: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        # the cursor's state
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
        # schedule
        self._sweep_is_due = True
        self._polls = 0
        self._failures = 0
        self._due = float("-inf")
        self._last_poll: datetime | None = None
        self._fresh_at: float | None = None

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "not started" if self._fresh_at is None else "listening"
        return f"<InboundListener, {state}: {self._count} messages, {len(self._queue)} waiting>"

    @property
    def last_poll(self) -> datetime | None:
        """When the gateway last answered a poll, by this machine's clock; aware, UTC; ``None`` before the first."""
        return self._last_poll

    @property
    def fresh_at(self) -> float | None:
        """The clock's monotonic seconds of the last successful poll, or of the start; ``None`` if not listening."""
        return None if self._is_closed else self._fresh_at

    # --- life ------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InboundMessage:
        """Treat the last message as processed, and return the next."""
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
        """Close it: the iteration ends for a task that waits for the next message, and the cursor is released.

        The message that was yielded last is yielded again at the next start, since no other was requested after it.
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
        """Run one step, which :meth:`aclose` ends early; an error closes the listener, a cancellation does not."""
        if self._step is not None:
            raise RuntimeError("only one task may use a listener at a time, and another one waits for its next message")
        self._step = asyncio.timeout(None)
        self._idle.clear()
        try:
            async with self._step:
                return await step()
        except asyncio.CancelledError:
            if not self._is_entered:
                self._release()  # the caller may never return, and a traceback may keep this object alive
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
        """Lock and load the cursor, for the first time or after a cancellation has released it."""
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
        """Continue from a state, unless it is this listener's own: then its queue is still valid."""
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

    # --- yielding --------------------------------------------------------------------------------

    async def _next(self) -> InboundMessage:
        await self._open()
        await self._confirm()
        while not self._queue:
            await self._poll()
        self._yielded = self._queue.popleft()
        self._count += 1
        return self._yielded.message

    async def _confirm(self) -> None:
        """Move the cursor past the message that was yielded: its reader requests the next, so it has processed it."""
        if self._yielded is None:
            return
        id_ = self._yielded.message.id
        if id_:
            await self._cursor.mark(id_, self._yielded.until)
            self._handed_over[id_] = self._yielded.until
            self._waiting.pop(id_, None)
        self._yielded = None

    def _enqueue(self, messages: Iterable[InboundMessage]) -> None:
        """Queue messages that were not yielded before, in order."""
        now = self._gateway_time().gateway
        queued: set[int] = set()
        for message in sorted(messages, key=_order):
            if message.id:  # 0 is no id, and a message without an id cannot be recognised
                if message.id in self._handed_over or message.id in queued:
                    continue
                queued.add(message.id)
            self._queue.append(_Carried(message, max(now, message.created or now)))

    # --- polling ---------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Poll once, when it is time. Every message of the last answer has been yielded."""
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
        """Store a time to sweep from before anything can get lost; return whether that succeeded."""
        # Any answer, even an error, has the gateway's time; a query of the balance has no side effects.
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
        """Query everything that may have got lost by date; the date moves once all of that was yielded."""
        assert self._since is not None  # noqa: S101 - set by _begin
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
        """Return whether a message was not yielded yet, rather than so long ago that its id is forgotten."""
        if message.id in self._waiting or message.created is None or not message.seen:
            return True
        return message.created + _MINUTE >= window

    async def _commit_sweep(self, swept_at: _Moment) -> None:
        """Move ``since`` to the time of the sweep, up to which everything was yielded, and forget older ids."""
        self._since, self._noted = swept_at.gateway, swept_at.wall
        oldest = self._since - _OVERLAP - _MINUTE
        self._handed_over = {id_: until for id_, until in self._handed_over.items() if until >= oldest}
        self._waiting = {}
        await self._save(self._since)
        self._swept_at = None

    async def _read_new(self) -> None:
        """Query messages that no answer has contained yet."""
        assert self._since is not None  # noqa: S101 - set by _begin
        messages = await self._ask(Inbound("new"))
        if isinstance(messages, SmsPilotError):
            self._failed(messages)
            return
        window = self._since - _OVERLAP
        late = {sms.id: sms.created for sms in messages if sms.id and sms.created and sms.created < window}
        if late:
            # Older than the range of any sweep: unread since before the first start, or late from an operator.
            self._waiting |= late
            await self._save(self._since)
        self._enqueue(messages)
        self._succeeded()
        self._polls += 1
        self._sweep_is_due = self._polls >= _POLLS_PER_SWEEP

    async def _ask(self, command: Command[Value]) -> Value | SmsPilotError:
        self._sweep_is_due = True  # until its answer is stored: a cancellation counts as a failure
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
        """Schedule a sweep, later after each failure, and not before a ``Retry-After`` that is not for days."""
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
        """Return the gateway's time in the last answer; this machine's time if there was none."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        date = self._requester().gateway_date or wall
        if self._moment is not None:
            date = self._moment.limit(date, wall, monotonic)
        self._moment = moment = _Moment(date, wall, monotonic)
        return moment


def _order(message: InboundMessage) -> tuple[bool, datetime, int]:
    return message.created is None, message.created or _EVER, message.id or 0


def _in_a_word(error: SmsPilotError) -> object:
    """Return a failure in short, without anything of the request or the answer."""
    if isinstance(error, GatewayError) and error.code is not None:
        return f"code {error.code}"
    return error.reason if isinstance(error, Unanswered) else type(error).__name__
