"""The submission of a packet: its requests, retries and splits, and the outcome of each of its messages."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeGuard

import attrs

from smspilot_async._requests import interpret
from smspilot_async._requests.hook_runner import veto_failed
from smspilot_async._requests.retry import may_repeat
from smspilot_async._sending.deadlines import Deadlines, packet_past_deadline
from smspilot_async._sending.pending import PendingMessage, about, failure_of, number_apart
from smspilot_async._sending.reports import Remains, Report, end_at_once
from smspilot_async.errors import (
    BadRequest,
    ConnectionFailed,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    MessageRefused,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
)
from smspilot_async.models import Packet, SentMessage
from smspilot_async.wire import Envelope, Send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async._network.base import Progress, WriteLimit
    from smspilot_async._requests.rate_limit import RateLimit
    from smspilot_async._sending.context import SendingContext
    from smspilot_async._sending.status_callbacks import StatusCallbacks

logger: Final = logging.getLogger("smspilot_async")

# Refusals that may be due to other messages of the packet: the same phone twice, a trial account's limit of two.
_RESEND_ALONE: Final = frozenset({214, 242})
_LONGEST_PAUSE: Final = 60.0  # seconds between two requests while the gateway answers "not now"
_MOST_DOUBLINGS: Final = 20  # of the pause; more would make no difference


@attrs.define
class _Group:
    """Messages that are sent in one request.

    Attributes:
        entries: The messages.
        tried_before: The gateway may have received them in an earlier request.
        not_before: When to send them, in the clock's monotonic seconds.
        has_turn: They have already passed the rate limits.
    """

    entries: Sequence[PendingMessage]
    tried_before: bool = False
    not_before: float = 0.0
    has_turn: bool = False


class Submission:
    """Submits a packet to the gateway; it is done when each of its messages is settled.

    Args:
        context: The collaborators and settings.
        entries: The messages.
        test: Have the gateway accept them without passing them on to operators.
        may_split: If the gateway refuses the packet because of one message, send its halves again.
        once: Never send a message twice, whatever the answer: the caller counts attempts.
        limit: How late its request may leave, and arrive.
        background: Do not use the connections that are reserved for sends.
        has_slot: The slot of its first request is already taken.
        rate: A rate limit in addition to the client's.
        check_vetoes: Ask the veto hooks first; otherwise the caller already has.
        before: Awaited before the first request; if it raises, nothing is sent.
        patience: Seconds for which a packet is retried that the gateway answers with "not now" (110, HTTP 429).
        when_settled: Called once, when every message is settled, before the connection is released.
    """

    def __init__(
        self,
        context: SendingContext,
        entries: Sequence[PendingMessage],
        *,
        test: bool = False,
        may_split: bool = True,
        once: bool = False,
        limit: WriteLimit | None = None,
        background: bool = False,
        has_slot: bool = False,
        rate: RateLimit | None = None,
        check_vetoes: bool = False,
        before: Callable[[], Awaitable[None]] | None = None,
        patience: float = 0.0,
        when_settled: Callable[[Submission], None] | None = None,
    ) -> None:
        self.entries = entries
        self.packet: Packet | None = None
        self.last_error: SmsPilotError | None = None
        self.has_begun = False
        self.task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._context = context
        self._test = test
        self._may_split = may_split and context.may_split
        self._is_whole = not may_split
        self._background = background
        self._has_slot = has_slot
        self._rate = rate
        self._check_vetoes = check_vetoes and context.hooks.has_veto
        self.declined: Exception | None = None
        self._before = before
        self._is_announced = before is None and not context.hooks.observes_packets
        self._when_settled = when_settled
        self._once = once
        self._limit = limit
        self._attempts = 1 if once else context.retry.attempts
        self._patience = patience if self._attempts > 1 else 0.0
        self._patient_until: float | None = None
        self.busy: GatewayBusy | None = None
        self._groups = deque([_Group(entries)])
        self._progress: Progress | None = None
        self._failures: list[SmsPilotError] | None = None
        self._on_the_wire: Sequence[PendingMessage] = ()
        self._report = Report(context, entries)
        self._deadlines = Deadlines(entries, context.clock)
        number_apart(entries)

    @property
    def is_running_hooks(self) -> bool:
        """A hook is being called with its results."""
        return self._report.is_running_hooks

    @property
    def is_on_the_wire(self) -> bool:
        """A request was sent, or may have been, and is not answered yet."""
        return self._progress is not None and self._progress.request_started

    def queued(self) -> int:
        """Return the number of messages that wait to be sent."""
        leaving = set(self._on_the_wire)
        waiting = (entry for entry in self.entries if entry not in leaving)
        return sum(entry.outcome is None and not entry.is_taken_back for entry in waiting)

    def in_flight(self) -> int:
        """Return the number of messages whose request is on the wire."""
        return len(self._on_the_wire)

    def past_deadline(self) -> Packet | OutcomeUnknown:
        """Return what is known when the caller's deadline passes while the packet is on the wire."""
        return packet_past_deadline(self.entries, self.packet)

    def withdraw(self) -> None:
        """Withdraw the messages that were not sent yet, and send nothing again."""
        for entry in self.entries:
            entry.is_withdrawn = True

    async def run(self) -> None:
        """Send it, with retries and splits as needed; never raises."""
        self.has_begun = True
        self._deadlines.watch(lambda: self._on_the_wire, self._stop_connecting)
        try:
            if self._check_vetoes:
                await self._ask_for_vetoes()
            while self._groups:
                await self._send(self._groups.popleft())
                await self._report.send()
        except asyncio.CancelledError:
            self._cut_short("cancelled while it was on the wire")
        except Exception as error:  # noqa: BLE001 - a bug must not turn into a claim that nothing was sent
            self._cut_short(f"a bug in this library, {type(error).__name__}")
        except BaseException:
            self._cut_short("the program was interrupted")
            raise
        self.end()
        self._report.sum_up(self.failures())
        await self._report.send()

    def abandon(self) -> Remains:
        """Settle it after its event loop was closed: its callers are gone, and its task never continues."""
        self.withdraw()
        for entry in self.entries:
            entry.waiter = None
        if self.has_begun:
            self._cut_short("its event loop was closed while it was on the wire")
        for entry in self.entries:
            if entry.outcome is None:
                entry.give_up()
        task, self.task = self.task, None
        if task is not None:
            end_at_once(task)
        return self._report.remains()

    def end(self) -> None:
        """Settle everything, so that no caller waits for ever: a task may be cancelled before its first step."""
        if self.done.done():
            return
        self._deadlines.cancel()
        for entry in self.entries:
            if entry.outcome is None:
                entry.give_up()
        self.done.set_result(None)
        self._notify_settled()
        self._release()

    def _notify_settled(self) -> None:
        call, self._when_settled = self._when_settled, None
        if call is not None:
            call(self)

    def outcome(self) -> Packet | SmsPilotError:
        """Return the outcome of the whole packet: an answer or, if there was none about any message, an error."""
        if self.packet is None:
            return self.last_error or next(entry.outcome for entry in self.entries if _is_error(entry.outcome))
        return attrs.evolve(self.packet, messages=tuple(entry.as_row() for entry in self.entries))

    def failures(self) -> list[SmsPilotError]:
        """Return the errors of messages that were not accepted, once they are settled."""
        if self._failures is None:
            # Almost all are accepted, which their rows show quickly.
            rest = [entry.outcome for entry in self.entries if entry.row is None or entry.row.failure is not None]
            self._failures = [failure for failure in map(failure_of, rest) if failure is not None]
        return self._failures

    # --- vetoes ----------------------------------------------------------------------------------

    async def _ask_for_vetoes(self) -> None:
        """Settle messages that a hook vetoes, or does not allow by the deadline."""
        latest = self._context.clock.monotonic() + self._context.deadline  # for messages without a deadline
        untils = (latest if entry.until == math.inf else entry.until for entry in self.entries)
        await asyncio.gather(*map(self._ask_for_veto, self.entries, untils))

    async def _ask_for_veto(self, entry: PendingMessage, until: float) -> None:
        entry.error = veto_failed("it was withdrawn before the hooks had allowed it", entry.id)  # should that happen
        verdict = await self._context.hooks.verdict(entry.message, entry.id, until)
        entry.error = None
        if verdict is not None and entry.outcome is None:
            entry.settle(verdict)

    # --- one request -----------------------------------------------------------------------------

    async def _send(self, group: _Group) -> None:
        if not self._drop_unwanted(group) or not await self._wait_for_turn(group) or not self._drop_unwanted(group):
            self._release()
            return
        context = self._context
        messages = [entry.message for entry in group.entries]
        ids = [entry.id for entry in group.entries]
        senders = {entry.id: entry.sender for entry in group.entries if entry.sender is not None}
        urls = self._callback_urls()
        command = Send(messages, ids, context.sender, self._test, callbacks=urls, senders=senders)
        envelope = context.requester.format.write(command)
        if not isinstance(envelope, Envelope):
            self._release()
            self._apply_error(command, group, envelope)
        elif envelope.is_too_large and len(group.entries) > 1 and self._once:
            self._release()
            detail = f"{command.name}: a packet of {command.size} messages is too large. It was not sent; halve it."
            self._apply_error(command, group, BadRequest(detail, **interpret.about(command)))
        elif envelope.is_too_large and len(group.entries) > 1:
            self._prepend(_halves(group, tried_before=group.tried_before, has_turn=True))
        elif self._is_announced or (
            await self._announce() and self._drop_unwanted(group) and len(group.entries) == command.size
        ):
            await self._exchange(command, group, envelope)
        else:  # something was withdrawn while the intent was recorded, or recording it failed
            self._release()
            group.has_turn = True
            self._prepend([group])

    def _callback_urls(self) -> dict[int, str]:
        """Return each message's own URL, the same in every attempt: all attempts are one send."""
        if self._report.callbacks is None:
            inbox = self._context.callbacks
            self._report.callbacks = {} if inbox is None else self._urls_of(inbox)
        return self._report.callbacks

    def _urls_of(self, inbox: StatusCallbacks) -> dict[int, str]:
        nonces = {entry.id: entry.nonce for entry in self.entries if entry.nonce is not None}
        urls = inbox.urls_for(((entry.id, entry.message) for entry in self.entries if entry.outcome is None), nonces)
        for entry in self.entries:
            if (url := urls.get(entry.id)) is not None:
                entry.nonce = inbox.nonce_of(url)
        return urls

    async def _announce(self) -> bool:
        """Call ``before_packet``, once, before the first byte; return whether the packet may be sent."""
        self._is_announced = True
        context = self._context
        leaving = [entry for entry in self.entries if entry.outcome is None]
        until = max(entry.until for entry in leaving)
        if until == math.inf:
            until = context.clock.monotonic() + context.deadline
        if (why := await context.hooks.before_packet([entry.message for entry in leaving], until)) is not None:
            for entry in leaving:
                if entry.outcome is None:
                    entry.settle(veto_failed(why, entry.id))
            return False
        try:
            if self._before is not None:
                await self._before()
        except Exception as error:  # noqa: BLE001 - an error of the application, which the bulk run raises
            self.declined = error
            self.withdraw()
        return self.declined is None

    async def _exchange(self, command: Send, group: _Group, envelope: Envelope) -> None:
        context = self._context
        wants_context = self._context.hooks.observes_requests
        contexts = [entry.context for entry in group.entries if entry.context is not None] if wants_context else ()
        attempt = group.entries[0].attempts + 1
        exchange = context.requester.begin(command, envelope, attempt=attempt, contexts=contexts, limit=self._limit)
        self._on_the_wire, self._progress = group.entries, exchange.progress
        reply = await exchange.reply()
        try:
            if self._background:
                await self._context.fairness.take()
        finally:  # even if this is cancelled here, the gateway's answer counts
            self._apply_answer(command, group, exchange.answer(reply, tried_before=group.tried_before))

    def _apply_answer(self, command: Send, group: _Group, answer: Packet | SmsPilotError) -> None:
        self.busy = None
        if isinstance(answer, Packet):
            self._apply_rows(command, group, answer)
        else:
            self._apply_error(command, group, answer)
        if not self._groups:
            self._notify_settled()
        self._release()
        self._on_the_wire, self._progress = (), None

    async def _wait_for_turn(self, group: _Group) -> bool:
        context = self._context
        delay = group.not_before - context.clock.monotonic()
        if delay > 0:
            self._release()
            await context.clock.sleep(delay)
        if not group.has_turn and not await self._pass_limits(group):
            return False
        if not self._has_slot:
            await context.slots.acquire(background=self._background)
            self._has_slot = True
        if self._background:
            await context.fairness.take()
        return True

    async def _pass_limits(self, group: _Group) -> bool:
        """Wait for the rate limits, without holding a connection meanwhile."""
        if self._limit is not None:  # a ledger has granted its turn already, for all processes together
            self._context.rate.count(len(group.entries))
            return True
        limits = [limit for limit in (self._rate, self._context.rate) if limit is not None and limit.is_set]
        if not limits:
            return True
        messages, until = len(group.entries), max(entry.until for entry in group.entries)
        for limit in limits:
            if not limit.is_open:
                self._release()
            is_wanted = partial(self._drop_unwanted, group)
            if not await limit.wait(messages, until, background=self._background, is_wanted=is_wanted):
                return False
        return True

    def _release(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._context.slots.release(background=self._background)

    def _drop_unwanted(self, group: _Group) -> bool:
        """Drop messages that were settled or withdrawn, or whose deadline has passed; return whether any is left."""
        now = self._context.clock.monotonic()
        late = [
            entry
            for entry in group.entries
            if entry.is_withdrawn
            or entry.until <= now
            or entry.outcome is not None
            or (entry.waiter is not None and entry.waiter.cancelled())
        ]
        if late:
            for entry in late:
                if entry.outcome is None:
                    entry.give_up()
            group.entries = [entry for entry in group.entries if entry.outcome is None]
        return bool(group.entries)

    def _prepend(self, groups: Sequence[_Group]) -> None:
        self._groups.extendleft(reversed(groups))

    # --- what an answer means for each message ---------------------------------------------------

    def _apply_rows(self, command: Send, group: _Group, packet: Packet) -> None:
        self.packet = packet if self.packet is None else _joined(self.packet, packet)
        busy: list[PendingMessage] = []
        for entry, row in zip(group.entries, packet.messages, strict=True):
            entry.row = row
            if row.failure is None:
                entry.settle(row)
            elif isinstance(row.failure, GatewayBusy):
                busy.append(entry)
            elif self._should_resend_alone(group, row):
                self._prepend([_Group([entry], tried_before=group.tried_before)])
            else:
                entry.settle(row)
        if busy:
            failure = busy[0].row.failure if busy[0].row else None
            assert failure is not None  # noqa: S101 - it is a GatewayBusy
            self._repeat(command, busy, failure, tried_before=True)

    def _should_resend_alone(self, group: _Group, row: SentMessage) -> bool:
        is_refused = row.error in _RESEND_ALONE and isinstance(row.failure, GatewayError)
        return not self._is_whole and self._attempts > 1 and len(group.entries) > 1 and is_refused

    def _apply_error(self, command: Send, group: _Group, error: SmsPilotError) -> None:
        if len(group.entries) > 1:
            if _names_a_message(error) and self._may_split:
                # The gateway refused all because of one message, and does not say which.
                self._prepend(_halves(group, tried_before=True))
                return
            error = self._downgraded(command, error)
        self.last_error = error
        tried_before = group.tried_before or not isinstance(error, ConnectionFailed)
        self._repeat(command, group.entries, error, tried_before=tried_before)

    def _downgraded(self, command: Send, error: SmsPilotError) -> SmsPilotError:
        """Return what an error for several messages proves, if a refused packet may have been accepted in part.

        If the packet could be split but must not be, it is not known which message is at fault: none is refused.
        """
        is_split = _names_a_message(error) and not self._is_whole
        if isinstance(error, GatewayError) and (
            is_split or (not self._context.split_packets and isinstance(error, (MessageRefused, InsufficientFunds)))
        ):
            return interpret.partly_taken(command, error.code, error.http_status, error.description)
        return error

    def _repeat(
        self, command: Send, entries: Sequence[PendingMessage], error: SmsPilotError, *, tried_before: bool
    ) -> None:
        """Schedule a retry of messages, if it is safe and there is time; else settle them with this error."""
        clock, retry = self._context.clock, self._context.retry
        again: list[PendingMessage] = []
        wanted = may_repeat(command, error)
        not_before = clock.monotonic() + retry.delay(entries[0].attempts + 1, error) if wanted else math.inf
        is_patient = False
        if wanted and self._is_patient_with(error):
            is_patient = True
            not_before = self._patient_retry_at(not_before, entries[0].attempts, error)
        for entry in entries:
            entry.attempts += 1
            entry.error = error
            may_go = is_patient or (wanted and entry.attempts < self._attempts)
            if may_go and not_before < entry.until and not entry.is_taken_back:
                again.append(entry)
            else:
                self._settle(entry, error, alone=len(entries) == 1)
        if again:
            self._groups.append(_Group(again, tried_before=tried_before, not_before=not_before))

    def _is_patient_with(self, error: SmsPilotError) -> TypeGuard[GatewayBusy]:
        """Return whether patience applies: the gateway answered all messages with "not now"."""
        is_answered = any(entry.row is not None and not _are_busy(entry.row.failure) for entry in self.entries)
        if not isinstance(error, GatewayBusy) or is_answered or not self._patience:
            return False
        now = self._context.clock.monotonic()
        if self._patient_until is None:
            self._patient_until = now + self._patience
            logger.warning(
                "packet of %d: %s; retried for up to %.0f s", len(self.entries), _not_now(error), self._patience
            )
        self.busy = error
        return now < self._patient_until

    def _patient_retry_at(self, not_before: float, attempts: int, error: GatewayBusy) -> float:
        """Return when to retry: at growing intervals, and once more at the very end."""
        assert self._patient_until is not None  # noqa: S101 - patience applies
        retry, now = self._context.retry, self._context.clock.monotonic()
        if error.retry_after is None:
            not_before = now + min(retry.first_delay * 2.0 ** min(attempts, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        return min(not_before, self._patient_until)

    @property
    def has_lost_patience(self) -> bool:
        """The gateway has answered "not now" until ``patience`` was exhausted."""
        return self._patient_until is not None and self._context.clock.monotonic() >= self._patient_until

    def _settle(self, entry: PendingMessage, error: SmsPilotError, *, alone: bool) -> None:
        """Settle with an error; a message that was refused before, and not sent again since, stays refused."""
        if entry.row is None:
            entry.settle(error if alone or entry.waiter is None else about(error, entry))
        elif isinstance(error, ConnectionFailed) or _are_busy(error, entry.row.failure):
            entry.settle(entry.row)
        else:
            entry.settle(attrs.evolve(entry.row, failure=about(error, entry)))

    def _cut_short(self, detail: str) -> None:
        """End it early, as when the loop ends: messages on the wire may have been sent."""
        if self._progress is None or not self._progress.request_started:
            return
        entries = [entry for entry in self._on_the_wire if entry.outcome is None]
        command = Send([entry.message for entry in entries], [entry.id for entry in entries])
        self.last_error = lost = interpret.unknown(command, Reason.CANCELLED, detail)
        for entry in entries:
            self._settle(entry, lost, alone=len(entries) == 1)

    def _stop_connecting(self, now: float) -> bool:
        """End a request that has not started, if no caller wants it any more: then certainly nothing was sent."""
        if self.task is None or self._progress is None or self._progress.request_started:
            return False
        unsettled = [entry for entry in self.entries if entry.outcome is None]
        if any(entry.until > now and not entry.is_taken_back for entry in unsettled):
            return False
        self.task.cancel()
        return True


def _is_error(outcome: SentMessage | SmsPilotError | None) -> TypeGuard[SmsPilotError]:
    return isinstance(outcome, SmsPilotError)


def _names_a_message(error: SmsPilotError) -> bool:
    """Return whether an error for a packet is about one of its messages, and implies that none was accepted."""
    is_duplicate = isinstance(error, OutcomeUnknown) and error.reason is Reason.DUPLICATE
    return is_duplicate or isinstance(error, MessageRefused)


def _are_busy(*errors: SmsPilotError | None) -> bool:
    return all(isinstance(error, GatewayBusy) for error in errors)


def _not_now(error: GatewayBusy) -> str:
    return f'the gateway answered "not now" ({error.code or "no code"}, HTTP {error.http_status or "200"})'


def _halves(group: _Group, *, tried_before: bool, has_turn: bool = False) -> list[_Group]:
    middle = len(group.entries) // 2
    halves = (group.entries[:middle], group.entries[middle:])
    return [_Group(half, tried_before, has_turn=has_turn) for half in halves]


def _joined(first: Packet, then: Packet) -> Packet:
    cost = None if first.cost is None or then.cost is None else first.cost + then.cost
    return attrs.evolve(first, balance=then.balance, cost=cost)
