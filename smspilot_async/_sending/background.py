"""Paid requests in tasks of their own.

A request on the wire may already have been accepted, so its answer, with the ids to query later, is awaited whatever
happens to the caller: a cancelled task, a ``wait_for``, a web client that went away. Measured: no shield survives a
native ``task.cancel()``, a separate task does, if something references it.

An event loop references its tasks weakly. So a timer that never fires references them, and the client, as long as there
are any. A loop that is closed drops its timers: that is how one is noticed that was closed with requests under way.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async._sending.context import SendingContext
    from smspilot_async._sending.reports import Announcement, Remains
    from smspilot_async._sending.submission import Submission
    from smspilot_async.errors import SmsPilotError
    from smspilot_async.models import Packet

_NEVER: Final = 10 * 365 * 24 * 3600.0


class BackgroundSubmissions:
    """The submissions of one event loop.

    Args:
        context: The collaborators and settings.
        owner: Returns the object that must live as long as they do, or ``None`` if it is gone.
        when_closed: Called when the loop is closed while some are under way.

    Attributes:
        when_closing: Called when the client begins to close: bulk runs stop reading.
    """

    def __init__(
        self, context: SendingContext, *, owner: Callable[[], object], when_closed: Callable[[], object]
    ) -> None:
        self.context = context
        self.when_closing: set[Callable[[], None]] = set()
        self._owner = owner
        self._when_closed = when_closed
        self._submissions: dict[asyncio.Task[None], Submission | Announcement] = {}
        self._keep_alive: weakref.ref[asyncio.TimerHandle] | None = None

    def start(self, submission: Submission | Announcement) -> None:
        """Run a submission until it is done, whatever happens to its caller."""
        task = asyncio.create_task(submission.run(), name=f"smspilot packet of {len(submission.entries)}")
        submission.task = task
        self._submissions[task] = submission
        if self._keep_alive is None:
            loop = asyncio.get_running_loop()
            self._keep_alive = weakref.ref(loop.call_later(_NEVER, _KeepAlive(loop, self._owner(), self._when_closed)))
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._submissions.pop(task).end()
        if not self._submissions and self._keep_alive is not None:
            hold, self._keep_alive = self._keep_alive(), None
            if hold is not None:
                hold.cancel()

    async def run(self, submission: Submission, until: float) -> Packet | SmsPilotError:
        """Start it, and wait for its outcome until a deadline.

        If the caller is cancelled, or its deadline passes, queued messages are withdrawn; requests on the wire go on.
        """
        self.start(submission)
        try:
            async with self.context.clock.timeout_at(until):
                await asyncio.wait({submission.done})
        except TimeoutError:
            self.take_back(submission)
            if submission.is_on_the_wire:
                return submission.past_deadline()
        except asyncio.CancelledError:
            self.take_back(submission)
            raise
        return submission.outcome()

    def take_back(self, submission: Submission) -> None:
        """Withdraw it; unless it is on the wire, end it now."""
        submission.withdraw()
        if submission.is_on_the_wire or submission.done.done():
            return
        for entry in submission.entries:
            if entry.outcome is None:
                entry.give_up()
        if submission.has_begun and not submission.is_running_hooks and submission.task is not None:
            submission.task.cancel()  # while hooks run it is not cancelled: it ends after them

    def cut_short(self) -> None:
        """End everything: what has not started is not sent, what is on the wire is unknown."""
        for task, submission in list(self._submissions.items()):
            submission.withdraw()
            if (
                submission.has_begun and not submission.is_running_hooks
            ):  # otherwise it ends by itself, after the hooks were called
                task.cancel()

    def abandon(self) -> list[Remains]:
        """Settle what is left after the event loop was closed, and return what was not reported."""
        left, self._submissions, self._keep_alive = list(self._submissions.values()), {}, None
        return [submission.abandon() for submission in left]

    def interrupt_hooks(self) -> None:
        """Cancel all running hooks, except the calling one."""
        mine = asyncio.current_task()
        for task, submission in list(self._submissions.items()):
            if submission.has_begun and submission.is_running_hooks and task is not mine:
                task.cancel()

    def queued(self) -> int:
        """Return the number of messages in packets that wait to be sent; from any thread."""
        return sum(submission.queued() for submission in list(self._submissions.values()))

    def in_flight(self) -> int:
        """Return the number of messages on the wire; from any thread."""
        return sum(submission.in_flight() for submission in list(self._submissions.values()))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The running tasks, except the current one: a hook may flush."""
        mine = self._submissions.get(asyncio.current_task())  # type: ignore[arg-type]
        if mine is None:
            return set(self._submissions)
        # Two hooks that wait for each other's packets would wait for ever.
        return {task for task, submission in self._submissions.items() if not submission.is_running_hooks}


class _KeepAlive:
    """Referenced by a timer of the event loop only, so that it is dropped with the timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: object, when_closed: Callable[[], object]) -> None:
        self._loop = loop
        self._owner = owner
        self._when_closed = when_closed

    def __call__(self) -> None:
        """Do nothing: a timer needs a callable."""

    def __del__(self) -> None:
        if self._loop.is_closed():
            self._when_closed()
