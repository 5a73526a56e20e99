"""Paid requests in tasks of their own.

A request on the wire may already have been accepted, so its answer, with the ids to ask about later, is awaited
whatever happens
to the caller: a cancelled task, a ``wait_for``, a web client that went away. Measured: no shield survives a native
``task.cancel()``, a task of its own does, if somebody holds on to it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async import _evidence
from smspilot_async._retry import may_repeat
from smspilot_async._transport import Progress
from smspilot_async.errors import ConnectionFailed, GatewayBusy, GatewayError, OutcomeUnknown, Reason, SmsPilotError
from smspilot_async.models import Accepted, Message, NotSent, Packet, Refused, SendResult, SentMessage, Unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from smspilot_async._clock import Clock
    from smspilot_async._session import Session
    from smspilot_async.hooks import Hooks
    from smspilot_async.wire import Send

logger: Final = logging.getLogger("smspilot_async")

# The loop itself holds tasks weakly: a client that is dropped in mid-air must not take its requests along.
_held: Final[set[asyncio.Task[None]]] = set()


class PaidSend:
    """One packet on its way, with all its attempts: it ends in a packet or an error, never in an exception.

    Args:
        session: Makes the attempts.
        command: The packet.
        until: No attempt begins after this moment, in the clock's monotonic seconds.
        hooks: Hear of every message's result.
    """

    def __init__(self, session: Session, command: Send, *, until: float, hooks: Sequence[Hooks]) -> None:
        self.until = until
        self.command = command
        self.outcome: asyncio.Future[Packet | SmsPilotError] = asyncio.get_running_loop().create_future()
        self._session = session
        self._hooks = hooks
        self._progress: Progress | None = None
        self._is_abandoned = False
        self._has_begun = False
        self._error: SmsPilotError | None = None
        self._packet: Packet | None = None
        self._rows: dict[int, SentMessage] = {}

    @property
    def is_on_the_wire(self) -> bool:
        """An attempt has a connection, and waits for its answer."""
        return self._progress is not None and self._progress.has_connection

    def abandon(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for it any more: take it back, or, if it is on the wire, begin no further attempt."""
        self._is_abandoned = True
        if self._has_begun and not self.is_on_the_wire:
            task.cancel()

    async def run(self) -> None:
        """Make the attempts, and tell the outcome to the caller first and then to the hooks."""
        self._has_begun = True
        try:
            if not self._is_abandoned:
                await self._attempts()
        except asyncio.CancelledError:
            self._cut_short()
        outcome = self._outcome()
        self._log(outcome)
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        for result in self._results(outcome):
            for hook in self._hooks:
                await _tell(hook, result)

    # --- attempts --------------------------------------------------------------------------------

    async def _attempts(self) -> None:
        pending, tried_before, attempt = self.command, False, 0
        while True:
            attempt += 1
            self._progress = Progress()
            answer = await self._session.attempt(
                pending, until=self.until, progress=self._progress, tried_before=tried_before
            )
            self._progress = None
            again = self._take(pending, answer)
            if again is None or self._is_abandoned:
                return
            pending, error = again
            tried_before = tried_before or not isinstance(error, ConnectionFailed)
            if not await self._session.pause(attempt, error, self.until):
                return

    def _take(self, pending: Send, answer: Packet | SmsPilotError) -> tuple[Send, SmsPilotError] | None:
        """Take in what an attempt brought, and tell what to try again and why, if anything."""
        if isinstance(answer, SmsPilotError):
            self._error = answer
            self._explain(pending, answer)
            return (pending, answer) if may_repeat(pending, answer) else None
        self._rows |= {row.id: row for row in answer.messages if row.id is not None}
        self._packet = answer if self._packet is None else _joined(self._packet, answer)
        busy = [row for row in answer.messages if isinstance(row.failure, GatewayBusy)]
        if not busy:
            return None
        error = busy[0].failure
        assert error is not None  # noqa: S101 - it is a GatewayBusy
        return _only(pending, {row.id for row in busy}), error

    def _explain(self, pending: Send, error: SmsPilotError) -> None:
        """Messages that were sent again apart, and failed again, failed for this reason; not having left is none."""
        if self._packet is None or isinstance(error, ConnectionFailed):
            return
        for id_ in pending.ids:
            self._rows[id_] = attrs.evolve(self._rows[id_], failure=error)

    def _cut_short(self) -> None:
        """End it, cancelled: by a caller before it left, or by the end of the loop while it was on the wire."""
        if self._progress is None or self._progress.nothing_left:
            return
        lost = _evidence.unknown(self.command, Reason.CANCELLED, "cancelled while it was on the wire")
        self._error = lost
        self._explain(_only(self.command, set(self.command.ids) - set(self._settled_ids())), lost)

    def _withdrawn(self) -> ConnectionFailed:
        return ConnectionFailed("send: taken back before it left. Nothing was sent.", **_evidence.about(self.command))

    def end(self) -> None:
        """Make sure that nobody waits for ever, even if the loop ended before the first step."""
        if not self.outcome.done():
            self.outcome.set_result(self._withdrawn())

    def _settled_ids(self) -> Iterator[int]:
        return (id_ for id_, row in self._rows.items() if not isinstance(row.failure, GatewayBusy))

    def _outcome(self) -> Packet | SmsPilotError:
        if self._packet is not None:
            return attrs.evolve(self._packet, messages=tuple(self._rows[id_] for id_ in self.command.ids))
        return self._error or self._withdrawn()

    # --- telling ---------------------------------------------------------------------------------

    def _results(self, outcome: Packet | SmsPilotError) -> Iterator[SendResult[Message]]:
        if not self._hooks:
            return
        for position, message in enumerate(self.command.messages):
            if isinstance(outcome, Packet):
                yield result_of(message, outcome.messages[position])
            else:
                yield failed(message, outcome)

    def _log(self, outcome: Packet | SmsPilotError) -> None:
        if isinstance(outcome, OutcomeUnknown):
            logger.warning("packet of %d: outcome unknown (%s)", self.command.size, outcome.reason)
        elif isinstance(outcome, GatewayError):
            logger.warning("packet of %d: refused with %s", self.command.size, outcome.code)
        elif isinstance(outcome, SmsPilotError):
            logger.warning("packet of %d: not sent (%s)", self.command.size, type(outcome).__name__)
        elif outcome.refused or outcome.unknown:
            counts = self.command.size, len(outcome.refused), len(outcome.unknown)
            logger.warning("packet of %d: %d refused, %d unknown", *counts)


def _only(command: Send, ids: Collection[int | None]) -> Send:
    kept = [(message, id_) for message, id_ in zip(command.messages, command.ids, strict=True) if id_ in ids]
    return attrs.evolve(command, messages=[message for message, _ in kept], ids=[id_ for _, id_ in kept])


def _joined(first: Packet, then: Packet) -> Packet:
    cost = None if first.cost is None or then.cost is None else first.cost + then.cost
    return attrs.evolve(first, balance=then.balance, cost=cost)


def result_of(message: Message, sent: SentMessage) -> SendResult[Message]:
    """Turn the answer about one message into its result."""
    if sent.failure is None:
        return Accepted(message, sent)
    if isinstance(sent.failure, OutcomeUnknown):
        return Unknown(message, sent.failure, sent)
    return Refused(message, sent.failure, sent)


def failed(message: Message, error: SmsPilotError) -> SendResult[Message]:
    """Turn the failure of a whole packet into the result of one of its messages."""
    if isinstance(error, OutcomeUnknown):
        return Unknown(message, error)
    if isinstance(error, GatewayError):
        return Refused(message, error)
    return NotSent(message, error)


async def _tell(hook: Hooks, result: SendResult[Message]) -> None:
    try:
        answer = hook.on_result(result)
        if inspect.isawaitable(answer):
            await answer
    except Exception as error:  # noqa: BLE001 - the application's own fault must not touch the result
        logger.error("hook %s.on_result raised %s", type(hook).__name__, type(error).__name__)  # noqa: TRY400 - no texts


class Detached:
    """The paid requests of one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[asyncio.Task[None], PaidSend] = {}

    async def run(self, send: PaidSend) -> Packet | SmsPilotError:
        """Start it, and wait for its outcome until its deadline.

        A caller that is cancelled, or out of time, takes its message back while it still queues; once it is on the
        wire it goes on alone.
        """
        task = self._start(send)
        try:
            async with self._clock.timeout_at(send.until):
                await asyncio.wait({send.outcome})
        except TimeoutError:
            send.abandon(task)
            if send.is_on_the_wire:
                detail = "no answer before the deadline; hooks will hear the result"
                return _evidence.unknown(send.command, Reason.DEADLINE, detail)
            await asyncio.wait({send.outcome})
        except asyncio.CancelledError:
            send.abandon(task)
            raise
        return send.outcome.result()

    def _start(self, send: PaidSend) -> asyncio.Task[None]:
        task = asyncio.create_task(send.run(), name=f"smspilot send of {send.command.size}")
        self._tasks[task] = send
        _held.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).end()
        _held.discard(task)

    async def settle(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Wait for all of them; those not done after ``timeout`` seconds are ended, and report what is known."""
        tasks = set(self._tasks) - {asyncio.current_task()}  # a hook may flush
        if not tasks:
            return
        if timeout is not None:
            try:
                async with self._clock.timeout_at(self._clock.monotonic() + timeout):
                    await asyncio.wait(tasks)
            except TimeoutError:
                for task in tasks:
                    task.cancel()
        await asyncio.wait(tasks)
