"""What became of messages, on its way to the inbox of status callbacks and to the hooks."""

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
    """Messages that are settled, and of which no one has heard, because their event loop was closed.

    Attributes:
        entries: The messages.
        callbacks: The inbox's URL of each, by its id, if it went out with one.
    """

    entries: Sequence[PendingMessage]
    callbacks: dict[int, str] = attrs.field(factory=dict)


class Report:
    """Reports what became of the messages of a packet, each once, as soon as it is settled.

    Args:
        context: What the packet is sent with.
        entries: The messages.
        callbacks: The inbox's URL of each, by its id, once they have some; taken out as they are reported.
        hooks_done: The hooks hear nothing of it before this is set.

    Attributes:
        is_running_hooks: A hook is at work, or will be: who flushes in a hook must not wait for this.
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
        self._entries = entries
        self._hooks_done = hooks_done

    async def send(self) -> None:
        """Report what is settled to the inbox and the hooks; what the inbox then finds out, the hooks hear after it."""
        hooks_done = asyncio.Event()
        try:
            self._to_inbox(hooks_done)
            await self._to_hooks()
        finally:
            hooks_done.set()

    def _to_inbox(self, hooks_done: asyncio.Event) -> None:
        """Say which number each send got, before its caller can follow it: calls are compared with that."""
        if (inbox := self._context.callbacks) is None or not self.callbacks:
            return
        for entry in self._entries:
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
            for entry in self._entries:
                if entry.outcome is None or entry.is_reported:
                    continue
                entry.is_reported = True
                await hooks.result(entry.result(), self._context.hooks_until, watch)
        self.is_running_hooks = False

    def sum_up(self, failures: Sequence[SmsPilotError]) -> None:
        """Log why messages were not accepted, and count the unknown ones."""
        if reasons := set(map(_reason, failures)) - {""}:
            logger.warning("packet of %d: %s", len(self._entries), ", ".join(sorted(reasons)))
            self._context.health.open_unknowns += sum(isinstance(failure, OutcomeUnknown) for failure in failures)

    def remains(self) -> Remains:
        """Return what no one has heard yet."""
        return Remains([entry for entry in self._entries if not entry.is_reported], self.callbacks or {})


class Announcement:
    """Messages that are settled already, on their way to the inbox and the hooks in a task of its own.

    Args:
        context: What packets are sent with.
        entries: The messages.
        callbacks: The inbox's URLs, by their ids.
        hooks_done: The hooks hear nothing of it before this is set.
    """

    is_on_the_wire = False
    is_running_hooks = True

    def __init__(
        self,
        context: SendingContext,
        entries: Sequence[PendingMessage],
        *,
        callbacks: dict[int, str] | None = None,
        hooks_done: asyncio.Event | None = None,
    ) -> None:
        self.entries = entries
        self.has_begun = False
        self.task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._report = Report(context, entries, callbacks=callbacks, hooks_done=hooks_done)

    def queued(self) -> int:
        """Return 0: nothing of it leaves."""
        return 0

    def in_flight(self) -> int:
        """Return 0: nothing of it leaves."""
        return 0

    def withdraw(self) -> None:
        """Do nothing: it is settled."""

    async def run(self) -> None:
        """Log it, and report it."""
        self.has_begun = True
        failures = [failure for entry in self.entries if (failure := failure_of(entry.outcome)) is not None]
        self.end()
        self._report.sum_up(failures)
        await self._report.send()

    def end(self) -> None:
        """Let those go on that wait for it."""
        if not self.done.done():
            self.done.set_result(None)

    def abandon(self) -> Remains:
        """Return what no one has heard of, now that its event loop was closed."""
        task, self.task = self.task, None
        if task is not None:
            end_at_once(task)
        return self._report.remains()


def end_at_once(task: asyncio.Task[None]) -> None:
    """Close the coroutine of a task whose event loop was closed, which would complain when the task is dropped."""
    task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
    work: Any = task.get_coro()
    for _ in range(_STEPS_OF_AN_END):
        try:
            work.close()
        except Exception:  # noqa: BLE001, S112 - what awaits something on its way out is told once more that it ends
            continue
        return


def _reason(failure: SmsPilotError) -> str:
    """Say in a word why a message was not accepted; nothing of the message."""
    if is_veto(failure):
        return ""  # as it was told to be
    if isinstance(failure, VetoFailed):
        return f"not sent ({failure.reason})"
    if isinstance(failure, OutcomeUnknown):
        return f"outcome unknown ({failure.reason})"
    if isinstance(failure, GatewayError):
        fate = "refused" if failure.outcome is Outcome.REFUSED else "not sent"
        return f"{fate} (HTTP {failure.http_status})" if failure.code is None else f"{fate} ({failure.code})"
    return f"not sent ({type(failure).__name__})"
