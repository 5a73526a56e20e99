"""A packet on its way: its requests, its repeats and splits, and what comes of each of its messages."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import attrs

from smspilot_async import _evidence
from smspilot_async._exchange import Exchange
from smspilot_async._retry import may_repeat
from smspilot_async._telling import veto_failed
from smspilot_async._ticket import Ticket, about, failure_of, is_veto, number_apart
from smspilot_async.errors import (
    BadRequest,
    ConnectionFailed,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    MessageRefused,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    VetoFailed,
)
from smspilot_async.models import Packet, SentMessage
from smspilot_async.wire import Envelope, Send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async._clock import Timer
    from smspilot_async._rate import RateLimit
    from smspilot_async._session import Session
    from smspilot_async._transport import Progress
    from smspilot_async.callbacks import CallbackInbox

logger: Final = logging.getLogger("smspilot_async")

# Refusals that a message may owe to its company in the packet: the same phone twice, a trial account's two at a time.
_WORTH_A_PACKET_OF_ITS_OWN: Final = frozenset({214, 242})
_LONGEST_PAUSE: Final = 60.0  # seconds between two requests to a gateway that says "not now"
_MOST_DOUBLINGS: Final = 20  # of the pause; more would be the same
_STEPS_OF_AN_END: Final = 10


@attrs.define
class _Group:
    """Messages that go in one request.

    Attributes:
        tried_before: The gateway may have seen them in an earlier request.
        not_before: When to send them, in the clock's monotonic seconds.
        has_turn: The rate limits have let them through already.
    """

    tickets: Sequence[Ticket]
    tried_before: bool = False
    not_before: float = 0.0
    has_turn: bool = False


@attrs.frozen
class Remains:
    """What is left of a delivery whose event loop was closed: messages that are settled, and of which no one has heard.

    Attributes:
        tickets: The messages.
        callbacks: The inbox's URL of each, by its id, if it went out with one.
    """

    tickets: Sequence[Ticket]
    callbacks: dict[int, str] = attrs.field(factory=dict)


class Delivery:
    """A packet on its way, with everything that comes of it: it ends when each of its messages is settled.

    Args:
        session: The client's life in this loop.
        tickets: The messages.
        test: Let the gateway accept them without handing them to operators.
        may_split: Send messages again apart, if the gateway refuses the packet because of one of them.
        once: Send nothing again, whatever comes of it: who asked keeps count of attempts.
        spare: It may not use the connections that are kept for sends.
        has_slot: A place for its first request was taken already.
        rate: A limit of its own, besides the client's.
        may_be_vetoed: Nobody has asked the hooks yet whether its messages may be sent.
        before: Awaited before the first request; if it raises, nothing is sent.
        patience: Seconds for which a gateway that says "not now" (110, HTTP 429) to all of it is asked again.
        callbacks: URLs of the inbox that messages went out with, by their ids; left out, they get some.
        told: The hooks hear nothing of it before this is set.
        when_settled: Called once, when every message is settled, before anybody else gets its connection.
    """

    def __init__(
        self,
        session: Session,
        tickets: Sequence[Ticket],
        *,
        test: bool = False,
        may_split: bool = True,
        once: bool = False,
        spare: bool = False,
        has_slot: bool = False,
        rate: RateLimit | None = None,
        may_be_vetoed: bool = False,
        before: Callable[[], Awaitable[None]] | None = None,
        patience: float = 0.0,
        callbacks: dict[int, str] | None = None,
        told: asyncio.Event | None = None,
        when_settled: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.tickets = tickets
        self.packet: Packet | None = None
        self.last_error: SmsPilotError | None = None
        self.has_begun = False
        self.is_telling = told is not None  # from the start: a hook that flushes must not wait for what waits for it
        self.task: asyncio.Task[None] | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session = session
        self._test = test
        self._may_split = may_split and session.may_split
        self._is_whole = not may_split
        self._spare = spare
        self._has_slot = has_slot
        self._rate = rate
        self._may_be_vetoed = may_be_vetoed and session.telling.has_veto
        self.declined: Exception | None = None
        self._before = before
        self._is_declared = before is None and not session.telling.declares_packets
        self._told = told
        self._when_settled = when_settled
        self._once = once
        self._attempts = 1 if once else session.retry.attempts
        self._patience = patience if self._attempts > 1 else 0.0
        self._patient_until: float | None = None
        self.busy: GatewayBusy | None = None
        self._groups = deque([_Group(tickets)])
        self._progress: Progress | None = None
        self._on_the_wire: Sequence[Ticket] = ()
        self._timer: Timer | None = None
        self._callbacks = callbacks
        number_apart(tickets)

    @property
    def is_on_the_wire(self) -> bool:
        """A request left, or may have left, and waits for its answer."""
        return self._progress is not None and not self._progress.nothing_left

    def queued(self) -> int:
        """Count the messages that wait to leave."""
        leaving = set(self._on_the_wire)
        waiting = (ticket for ticket in self.tickets if ticket not in leaving)
        return sum(ticket.outcome is None and not ticket.is_taken_back for ticket in waiting)

    def in_flight(self) -> int:
        """Count the messages whose request is under way."""
        return len(self._on_the_wire)

    def past_deadline(self) -> Packet | OutcomeUnknown:
        """Tell a caller whose time is up while the packet is on the wire what is known of it."""
        lost = _past_deadline(self.tickets)
        if self.packet is None:
            return lost if len(self.tickets) > 1 else about(lost, self.tickets[0])
        rows = [
            ticket.as_row()
            if ticket.outcome is not None
            else attrs.evolve(ticket.row or SentMessage(id=ticket.id), failure=about(lost, ticket))
            for ticket in self.tickets
        ]
        return attrs.evolve(self.packet, messages=tuple(rows))

    def withdraw(self) -> None:
        """Take back whatever has not left, and send nothing again."""
        for ticket in self.tickets:
            ticket.is_withdrawn = True

    async def run(self) -> None:
        """Send it, as often and in as many pieces as it takes; never raises."""
        self.has_begun = True
        self._watch_deadlines()
        try:
            if self._may_be_vetoed:
                await self._ask_for_vetoes()
            while self._groups:
                await self._send(self._groups.popleft())
                await self._tell()
        except asyncio.CancelledError:
            self._cut_short("cancelled while it was on the wire")
        except Exception as error:  # noqa: BLE001 - a fault of ours must not turn into a claim that nothing was sent
            self._cut_short(f"a fault of this library, {type(error).__name__}")
        except BaseException:
            self._cut_short("the program was interrupted")
            raise
        self.end()
        self._sum_up()
        await self._tell()

    def abandon(self) -> Remains:
        """Settle it after its event loop was closed: its callers died with that, and its task never goes on."""
        self.withdraw()
        for ticket in self.tickets:
            ticket.waiter = None
        if self.has_begun:
            self._cut_short("its event loop was closed while it was on the wire")
        for ticket in self.tickets:
            if ticket.outcome is None:
                ticket.give_up()
        task, self.task = self.task, None
        if task is not None:
            _end_at_once(task)
        return Remains([ticket for ticket in self.tickets if not ticket.is_told], self._callbacks or {})

    def end(self) -> None:
        """Make sure that nobody waits for ever; a task may be cancelled before its first step."""
        if self.done.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        for ticket in self.tickets:
            if ticket.outcome is None:
                ticket.give_up()
        self.done.set_result(None)
        self._say_settled()
        self._release()

    def _say_settled(self) -> None:
        call, self._when_settled = self._when_settled, None
        if call is not None:
            call(self)

    def outcome(self) -> Packet | SmsPilotError:
        """Put together what became of a whole packet: an answer, or, if there was none about any message, an error."""
        if self.packet is None:
            return self.last_error or next(ticket.outcome for ticket in self.tickets if _is_error(ticket.outcome))
        return attrs.evolve(self.packet, messages=tuple(ticket.as_row() for ticket in self.tickets))

    def failures(self) -> list[SmsPilotError]:
        """Tell why messages were not accepted, once they are settled."""
        # Almost all are accepted, as their rows tell at a glance.
        rest = [ticket.outcome for ticket in self.tickets if ticket.row is None or ticket.row.failure is not None]
        return [failure for failure in map(failure_of, rest) if failure is not None]

    # --- before it queues ------------------------------------------------------------------------

    async def _ask_for_vetoes(self) -> None:
        """Settle what a hook vetoes, and what no hook has allowed by the deadline."""
        latest = self._session.clock.monotonic() + self._session.deadline  # of those that have no deadline of their own
        untils = (latest if ticket.until == math.inf else ticket.until for ticket in self.tickets)
        await asyncio.gather(*map(self._ask_for_veto, self.tickets, untils))

    async def _ask_for_veto(self, ticket: Ticket, until: float) -> None:
        ticket.error = veto_failed("no hook had allowed it when it was taken back", ticket.id)  # should that happen
        verdict = await self._session.telling.verdict(ticket.message, ticket.id, until)
        ticket.error = None
        if verdict is not None and ticket.outcome is None:
            ticket.settle(verdict)

    # --- one request -----------------------------------------------------------------------------

    async def _send(self, group: _Group) -> None:
        if not self._has_wanted(group) or not await self._wait_for_turn(group) or not self._has_wanted(group):
            self._release()
            return
        session = self._session
        messages = [ticket.message for ticket in group.tickets]
        ids = [ticket.id for ticket in group.tickets]
        senders = {ticket.id: ticket.sender for ticket in group.tickets if ticket.sender is not None}
        urls = self._callback_urls()
        command = Send(messages, ids, session.sender, self._test, callbacks=urls, senders=senders)
        envelope = session.write(command)
        if not isinstance(envelope, Envelope):
            self._release()
            self._take_error(command, group, envelope)
        elif envelope.is_too_large and len(group.tickets) > 1 and self._once:
            self._release()
            detail = f"{command.name}: a packet of {command.size} messages is too large. It was not sent; halve it."
            self._take_error(command, group, BadRequest(detail, **_evidence.about(command)))
        elif envelope.is_too_large and len(group.tickets) > 1:
            self._put_first(_halves(group, tried_before=group.tried_before, has_turn=True))
        elif self._is_declared or (
            await self._declare() and self._has_wanted(group) and len(group.tickets) == command.size
        ):
            await self._exchange(command, group, envelope)
        else:  # something was taken back while the intent was written down, or it could not be
            self._release()
            group.has_turn = True
            self._put_first([group])

    def _callback_urls(self) -> dict[int, str]:
        """Give each message a URL of its own, which it keeps in every attempt: all of them are one send."""
        if self._callbacks is None:
            self._callbacks = {} if self._session.callbacks is None else self._urls_of(self._session.callbacks)
        return self._callbacks

    def _urls_of(self, inbox: CallbackInbox) -> dict[int, str]:
        urls = inbox.urls_for((ticket.id, ticket.message) for ticket in self.tickets if ticket.outcome is None)
        for ticket in self.tickets:
            if (url := urls.get(ticket.id)) is not None:
                ticket.nonce = inbox.nonce_of(url)
        return urls

    async def _declare(self) -> bool:
        """Let whoever keeps a journal write down, once, before the first byte, that this packet is about to leave."""
        self._is_declared = True
        session = self._session
        leaving = [ticket for ticket in self.tickets if ticket.outcome is None]
        until = max(ticket.until for ticket in leaving)
        if until == math.inf:
            until = session.clock.monotonic() + session.deadline
        if (why := await session.telling.before_packet([ticket.message for ticket in leaving], until)) is not None:
            for ticket in leaving:
                if ticket.outcome is None:
                    ticket.settle(veto_failed(why, ticket.id))
            return False
        try:
            if self._before is not None:
                await self._before()
        except Exception as error:  # noqa: BLE001 - the application's own, raised to it
            self.declined = error
            self.withdraw()
        return self.declined is None

    async def _exchange(self, command: Send, group: _Group, envelope: Envelope) -> None:
        hears = self._session.telling.hears_requests
        contexts = [ticket.context for ticket in group.tickets if ticket.context is not None] if hears else ()
        attempt = group.tickets[0].attempts + 1
        exchange = Exchange(self._session, command, envelope, attempt=attempt, contexts=contexts)
        self._on_the_wire, self._progress = group.tickets, exchange.progress
        reply = await exchange.reply()
        try:
            if self._spare:
                await self._session.turns.take()
        finally:  # cancelled in its last moment, it still knows what the gateway answered
            self._take_answer(command, group, exchange.answer(reply, tried_before=group.tried_before))

    def _take_answer(self, command: Send, group: _Group, answer: Packet | SmsPilotError) -> None:
        self.busy = None
        if isinstance(answer, Packet):
            self._take_rows(command, group, answer)
        else:
            self._take_error(command, group, answer)
        if not self._groups:
            self._say_settled()
        self._release()
        self._on_the_wire, self._progress = (), None

    async def _wait_for_turn(self, group: _Group) -> bool:
        session = self._session
        delay = group.not_before - session.clock.monotonic()
        if delay > 0:
            self._release()
            await session.clock.sleep(delay)
        if not group.has_turn and not await self._pass_limits(group):
            return False
        if not self._has_slot:
            await session.slots.acquire(spare=self._spare)
            self._has_slot = True
        if self._spare:
            await session.turns.take()
        return True

    async def _pass_limits(self, group: _Group) -> bool:
        """Wait until the rate limits let it through, without keeping a connection from others meanwhile."""
        limits = [limit for limit in (self._rate, self._session.rate) if limit is not None and limit.is_set]
        if not limits:
            return True
        messages, until = len(group.tickets), max(ticket.until for ticket in group.tickets)
        for limit in limits:
            if not limit.is_open:
                self._release()
            is_wanted = partial(self._has_wanted, group)
            if not await limit.wait(messages, until, spare=self._spare, is_wanted=is_wanted):
                return False
        return True

    def _release(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._session.slots.release(spare=self._spare)

    def _has_wanted(self, group: _Group) -> bool:
        """Drop what was settled or taken back meanwhile, or is out of time."""
        now = self._session.clock.monotonic()
        late = [
            ticket
            for ticket in group.tickets
            if ticket.is_withdrawn
            or ticket.until <= now
            or ticket.outcome is not None
            or (ticket.waiter is not None and ticket.waiter.cancelled())
        ]
        if late:
            for ticket in late:
                if ticket.outcome is None:
                    ticket.give_up()
            group.tickets = [ticket for ticket in group.tickets if ticket.outcome is None]
        return bool(group.tickets)

    def _put_first(self, groups: Sequence[_Group]) -> None:
        self._groups.extendleft(reversed(groups))

    # --- what an answer means for each message ---------------------------------------------------

    def _take_rows(self, command: Send, group: _Group, packet: Packet) -> None:
        self.packet = packet if self.packet is None else _joined(self.packet, packet)
        busy: list[Ticket] = []
        for ticket, row in zip(group.tickets, packet.messages, strict=True):
            ticket.row = row
            if row.failure is None:
                ticket.settle(row)
            elif isinstance(row.failure, GatewayBusy):
                busy.append(ticket)
            elif self._deserves_its_own_packet(group, row):
                self._put_first([_Group([ticket], tried_before=group.tried_before)])
            else:
                ticket.settle(row)
        if busy:
            failure = busy[0].row.failure if busy[0].row else None
            assert failure is not None  # noqa: S101 - it is a GatewayBusy
            self._repeat(command, busy, failure, tried_before=True)

    def _deserves_its_own_packet(self, group: _Group, row: SentMessage) -> bool:
        is_refused = row.error in _WORTH_A_PACKET_OF_ITS_OWN and isinstance(row.failure, GatewayError)
        return not self._is_whole and self._attempts > 1 and len(group.tickets) > 1 and is_refused

    def _take_error(self, command: Send, group: _Group, error: SmsPilotError) -> None:
        if len(group.tickets) > 1:
            if _names_a_message(error) and self._may_split:
                # The gateway refused all because of one, and does not say which.
                self._put_first(_halves(group, tried_before=True))
                return
            error = self._doubted(command, error)
        self.last_error = error
        tried_before = group.tried_before or not isinstance(error, ConnectionFailed)
        self._repeat(command, group.tickets, error, tried_before=tried_before)

    def _doubted(self, command: Send, error: SmsPilotError) -> SmsPilotError:
        """Return what an error for several messages is worth, if a refused packet may have been taken in part.

        Where a packet could be split but must not, no one knows which of its messages is at fault: none is refused.
        """
        is_split = _names_a_message(error) and not self._is_whole
        if isinstance(error, GatewayError) and (
            is_split or (not self._session.trusts_refusals and isinstance(error, (MessageRefused, InsufficientFunds)))
        ):
            return _evidence.partly_taken(command, error.code, error.http_status, error.description)
        return error

    def _repeat(self, command: Send, tickets: Sequence[Ticket], error: SmsPilotError, *, tried_before: bool) -> None:
        """Send messages again later, if that can do no harm and there is time; else settle them with this error."""
        clock, retry = self._session.clock, self._session.retry
        again: list[Ticket] = []
        wanted = may_repeat(command, error)
        not_before = clock.monotonic() + retry.delay(tickets[0].attempts + 1, error) if wanted else math.inf
        is_patient = False
        if wanted and self._waits_out(error):
            is_patient = True
            not_before = self._patiently(not_before, tickets[0].attempts, error)
        for ticket in tickets:
            ticket.attempts += 1
            ticket.error = error
            may_go = is_patient or (wanted and ticket.attempts < self._attempts)
            if may_go and not_before < ticket.until and not ticket.is_taken_back:
                again.append(ticket)
            else:
                self._settle(ticket, error, alone=len(tickets) == 1)
        if again:
            self._groups.append(_Group(again, tried_before=tried_before, not_before=not_before))

    def _waits_out(self, error: SmsPilotError) -> TypeGuard[GatewayBusy]:
        """Whether the gateway is waited for: it said "not now" to all messages, and so nothing about any of them."""
        is_answered = any(ticket.row is not None and not _are_busy(ticket.row.failure) for ticket in self.tickets)
        if not isinstance(error, GatewayBusy) or is_answered or not self._patience:
            return False
        now = self._session.clock.monotonic()
        if self._patient_until is None:
            self._patient_until = now + self._patience
            logger.warning(
                "packet of %d: %s; asked again for up to %.0f s", len(self.tickets), _not_now(error), self._patience
            )
        self.busy = error
        return now < self._patient_until

    def _patiently(self, not_before: float, attempts: int, error: GatewayBusy) -> float:
        """Return when to ask again: ever more rarely, and once more at the very end."""
        assert self._patient_until is not None  # noqa: S101 - it waits
        retry, now = self._session.retry, self._session.clock.monotonic()
        if error.retry_after is None:
            not_before = now + min(retry.first_delay * 2.0 ** min(attempts, _MOST_DOUBLINGS), _LONGEST_PAUSE)
        return min(not_before, self._patient_until)

    @property
    def has_lost_patience(self) -> bool:
        """The gateway said "not now" for as long as it was to be waited for."""
        return self._patient_until is not None and self._session.clock.monotonic() >= self._patient_until

    def _settle(self, ticket: Ticket, error: SmsPilotError, *, alone: bool) -> None:
        """Settle with an error; a message that was refused before, and then did not leave again, stays refused."""
        if ticket.row is None:
            ticket.settle(error if alone or ticket.waiter is None else about(error, ticket))
        elif isinstance(error, ConnectionFailed) or _are_busy(error, ticket.row.failure):
            ticket.settle(ticket.row)
        else:
            ticket.settle(attrs.evolve(ticket.row, failure=about(error, ticket)))

    def _cut_short(self, detail: str) -> None:
        """End it before its time, as when the loop ends: what is on the wire may have been sent."""
        if self._progress is None or self._progress.nothing_left:
            return
        tickets = [ticket for ticket in self._on_the_wire if ticket.outcome is None]
        command = Send([ticket.message for ticket in tickets], [ticket.id for ticket in tickets])
        self.last_error = lost = _evidence.unknown(command, Reason.CANCELLED, detail)
        for ticket in tickets:
            self._settle(ticket, lost, alone=len(tickets) == 1)

    # --- deadlines -------------------------------------------------------------------------------

    def _watch_deadlines(self) -> None:
        waiting = [ticket.until for ticket in self.tickets if ticket.waiter is not None and not ticket.waiter.done()]
        earliest = min(waiting, default=math.inf)
        if earliest < math.inf:
            self._timer = self._session.clock.call_at(earliest, self._expire)

    def _expire(self) -> None:
        """Answer those callers whose time is up; what is on the wire goes on without them."""
        now = self._session.clock.monotonic()
        if self._is_connecting_for_nobody(now):
            return
        leaving = set(self._on_the_wire)
        for ticket in self.tickets:
            if ticket.outcome is not None or ticket.until > now:
                continue
            if ticket in leaving:
                ticket.tell(about(_past_deadline([ticket]), ticket))
            else:
                ticket.give_up()
        self._watch_deadlines()

    def _is_connecting_for_nobody(self, now: float) -> bool:
        """End a request that has not left yet, if nobody wants it: then it is certain that nothing was sent."""
        if self.task is None or self._progress is None or not self._progress.nothing_left:
            return False
        unsettled = [ticket for ticket in self.tickets if ticket.outcome is None]
        if any(ticket.until > now and not ticket.is_taken_back for ticket in unsettled):
            return False
        self.task.cancel()
        return True

    # --- telling ---------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell the inbox and the hooks what is settled; what the inbox then finds out, the hooks hear after it."""
        told = asyncio.Event()
        try:
            self._tell_inbox(told)
            await self._tell_hooks()
        finally:
            told.set()

    def _tell_inbox(self, told: asyncio.Event) -> None:
        """Say which number each send got, before its caller can follow it: calls are compared with that."""
        if (inbox := self._session.callbacks) is None or not self._callbacks:
            return
        for ticket in self.tickets:
            if ticket.outcome is not None and (url := self._callbacks.pop(ticket.id, None)) is not None:
                if isinstance(failure_of(ticket.outcome), OutcomeUnknown):
                    self._session.keep_client()
                inbox.settled(url, ticket.id, ticket.result(), self._session, told, is_late=ticket.is_late)

    async def _tell_hooks(self) -> None:
        telling = self._session.telling
        if not telling.hears_results:
            return
        self.is_telling = True
        if self._told is not None:
            await self._told.wait()
        with telling.watch() as watch:
            for ticket in self.tickets:
                if ticket.outcome is None or ticket.is_told:
                    continue
                ticket.is_told = True
                await telling.result(ticket.result(), self._session.hooks_until, watch)
        self.is_telling = False

    def _sum_up(self) -> None:
        """Log why messages were not accepted, and count those of which nobody knows."""
        failures = self.failures()
        if reasons := set(map(_reason, failures)) - {""}:
            logger.warning("packet of %d: %s", len(self.tickets), ", ".join(sorted(reasons)))
            self._session.pulse.open_unknowns += sum(isinstance(failure, OutcomeUnknown) for failure in failures)


def _end_at_once(task: asyncio.Task[None]) -> None:
    """Close the coroutine of a task whose event loop was closed, which would complain when the task is dropped."""
    task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue]
    work: Any = task.get_coro()
    for _ in range(_STEPS_OF_AN_END):
        try:
            work.close()
        except Exception:  # noqa: BLE001, S112 - what awaits something on its way out is told once more that it ends
            continue
        return


def _is_error(outcome: SentMessage | SmsPilotError | None) -> TypeGuard[SmsPilotError]:
    return isinstance(outcome, SmsPilotError)


def _names_a_message(error: SmsPilotError) -> bool:
    """Tell whether an error for a packet is about one of its messages, and says that none was taken this time."""
    is_duplicate = isinstance(error, OutcomeUnknown) and error.reason is Reason.DUPLICATE
    return is_duplicate or isinstance(error, MessageRefused)


def _are_busy(*errors: SmsPilotError | None) -> bool:
    return all(isinstance(error, GatewayBusy) for error in errors)


def _not_now(error: GatewayBusy) -> str:
    return f'the gateway says "not now" ({error.code or "no code"}, HTTP {error.http_status or "200"})'


def _past_deadline(tickets: Sequence[Ticket]) -> OutcomeUnknown:
    command = Send([ticket.message for ticket in tickets], [ticket.id for ticket in tickets])
    return _evidence.unknown(command, Reason.DEADLINE, "no answer before the deadline; hooks will hear the result")


def _halves(group: _Group, *, tried_before: bool, has_turn: bool = False) -> list[_Group]:
    middle = len(group.tickets) // 2
    halves = (group.tickets[:middle], group.tickets[middle:])
    return [_Group(half, tried_before, has_turn=has_turn) for half in halves]


def _joined(first: Packet, then: Packet) -> Packet:
    cost = None if first.cost is None or then.cost is None else first.cost + then.cost
    return attrs.evolve(first, balance=then.balance, cost=cost)


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
