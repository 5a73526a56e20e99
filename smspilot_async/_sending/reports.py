"""Reports outcomes of messages to the inbox of status callbacks and to the hooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._sending.pending import PendingMessage, failure_of, is_veto
from smspilot_async.errors import GatewayError, Outcome, OutcomeUnknown, SmsPilotError, VetoFailed

if TYPE_CHECKING:
    from smspilot_async._sending.context import SendingContext

logger: Final = logging.getLogger("smspilot_async")

_STEPS_OF_AN_END: Final = 10


@attrs.frozen
class Remains:
    """Messages that are settled but were not reported, because their event loop was closed.

    Attributes:
        entries: The messages.
        callbacks: The inbox's URL of each, by its id, if it was sent with one.
    """

    entries: Sequence[PendingMessage]
    callbacks: dict[int, str] = attrs.field(factory=dict)


class Report:
    """Reports the outcome of each message of a packet once, as soon as it is settled.

    Args:
        context: The collaborators and settings.
        entries: The messages.
        callbacks: The inbox's URL of each, by its id, once they have one; removed as they are reported.
        hooks_done: Hooks are not called before this is set.

    Attributes:
        entries, callbacks: As given.
        is_running_hooks: A hook is running, or will be: a hook that flushes must not wait for this.
    """

    def __init__(
        self,
        context: SendingContext,
        entries: Sequence[PendingMessage],
        *,
        callbacks: dict[int, str] | None = None,
        hooks_done: asyncio.Event | None = None,
    ) -> None:
        self.callbacks = callbacks
        self.is_running_hooks = False
        self._context = context
        self.entries = entries
        self._hooks_done = hooks_done

    async def send(self) -> None:
        """Report settled messages to the inbox and the hooks; hooks are called with the inbox's findings afterwards."""
        if not self.callbacks and not self._context.hooks.observes_results:
            return
        hooks_done = asyncio.Event()
        try:
            self._to_inbox(hooks_done)
            await self._to_hooks()
        finally:
            hooks_done.set()

    def _to_inbox(self, hooks_done: asyncio.Event) -> None:
        """Pass the id of each send to the inbox before its caller can track it: callbacks are compared with it."""
        if (inbox := self._context.callbacks) is None or not self.callbacks:
            return
        for entry in self.entries:
            if entry.outcome is not None and (url := self.callbacks.pop(entry.id, None)) is not None:
                if isinstance(failure_of(entry.outcome), OutcomeUnknown):
                    self._context.keep_client()
                inbox.settled(url, entry.id, entry.result(), self._context.follow_up, hooks_done, is_late=entry.is_late)

    async def _to_hooks(self) -> None:
        hooks = self._context.hooks
        if not hooks.observes_results:
            return
        self.is_running_hooks = True
        if self._hooks_done is not None:
            await self._hooks_done.wait()
        with hooks.watch() as watch:
            for entry in self.entries:
                if entry.outcome is None or entry.is_reported:
                    continue
                entry.is_reported = True
                await hooks.result(entry.result(), self._context.hooks_until, watch)
        self.is_running_hooks = False

    def sum_up(self, failures: Sequence[SmsPilotError]) -> None:
        """Log why messages were not accepted, and count those with an unknown outcome."""
        if reasons := set(map(_reason, failures)) - {""}:
            logger.warning("packet of %d: %s", len(self.entries), ", ".join(sorted(reasons)))
            self._context.health.open_unknowns += sum(isinstance(failure, OutcomeUnknown) for failure in failures)

    def remains(self) -> Remains:
        """Return what was not reported yet."""
        return Remains([entry for entry in self.entries if not entry.is_reported], self.callbacks or {})


class Announcement:
    """Reports messages that are already settled to the inbox and the hooks, in a separate task.

    Args:
        report: The report to send.
    """

    is_on_the_wire = False
    is_running_hooks = True

    def __init__(self, report: Report) -> None:
        self.entries = report.entries
        self.has_begun = False
        self.task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._report = report

    def queued(self) -> int:
        """Return 0: nothing is sent."""
        return 0

    def in_flight(self) -> int:
        """Return 0: nothing is sent."""
        return 0

    def withdraw(self) -> None:
        """Do nothing: everything is settled."""

    async def run(self) -> None:
        """Log it, and report it."""
        self.has_begun = True
        failures = [failure for entry in self.entries if (failure := failure_of(entry.outcome)) is not None]
        self.end()
        self._report.sum_up(failures)
        await self._report.send()

    def end(self) -> None:
        """Wake those who wait for it."""
        if not self.done.done():
            self.done.set_result(None)

    def abandon(self) -> Remains:
        """Return what was not reported, after its event loop was closed."""
        task, self.task = self.task, None
        if task is not None:
            end_at_once(task)
        return self._report.remains()


def end_at_once(task: asyncio.Task[None]) -> None:
    """Close the coroutine of a task whose event loop was closed; otherwise dropping the task would log an error."""
    task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
    work: Any = task.get_coro()
    for _ in range(_STEPS_OF_AN_END):
        try:
            work.close()
        except Exception:  # noqa: BLE001, S112 - a coroutine that awaits something in its cleanup is closed once more
            continue
        return


def _reason(failure: SmsPilotError) -> str:
    """Return in short why a message was not accepted, without anything of the message."""
    if is_veto(failure):
        return ""  # by the application's own decision
    if isinstance(failure, VetoFailed):
        return f"not sent ({failure.reason})"
    if isinstance(failure, OutcomeUnknown):
        return f"outcome unknown ({failure.reason})"
    if isinstance(failure, GatewayError):
        fate = "refused" if failure.outcome is Outcome.REFUSED else "not sent"
        return f"{fate} (HTTP {failure.http_status})" if failure.code is None else f"{fate} ({failure.code})"
    return f"not sent ({type(failure).__name__})"
