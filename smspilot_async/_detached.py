"""Paid requests in tasks of their own.

A request on the wire may already have been accepted, so its answer, with the ids to ask about later, is awaited
whatever happens to the caller: a cancelled task, a ``wait_for``, a web client that went away. Measured: no shield
survives a native ``task.cancel()``, a task of its own does, if somebody holds on to it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections import deque
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Final, TypeGuard, TypeVar

import attrs

from smspilot_async import _evidence
from smspilot_async._exchange import Exchange
from smspilot_async._retry import may_repeat
from smspilot_async._telling import veto_failed
from smspilot_async.errors import (
    ConnectionFailed,
    GatewayBusy,
    GatewayError,
    MessageRefused,
    MessageVetoed,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    VetoFailed,
    name_send,
)
from smspilot_async.models import Accepted, NotSent, Packet, Refused, SentMessage, Unknown
from smspilot_async.wire import Envelope, Send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from smspilot_async._clock import Clock, Timer
    from smspilot_async._rate import RateLimit
    from smspilot_async._session import Session
    from smspilot_async._transport import Progress
    from smspilot_async.callbacks import CallbackInbox
    from smspilot_async.models import Message, SendResult

Item = TypeVar("Item")
Error = TypeVar("Error", bound=SmsPilotError)
logger: Final = logging.getLogger("smspilot_async")

# The loop itself holds tasks weakly: a client that is dropped in mid-air must not take its requests along.
_held: Final[set[asyncio.Task[None]]] = set()
# Refusals that a message may owe to its company in the packet: the same phone twice, a trial account's two at a time.
_WORTH_A_PACKET_OF_ITS_OWN: Final = frozenset({214, 242})
_NEW_IDS: Final = (1_000_000_000, 2_000_000_000)


class Ticket:
    """One message on its way through the client, from the caller's hand to a result.

    Args:
        message: The message.
        id: The number it travels under.
        until: No attempt begins after this moment, in the clock's monotonic seconds.
        waiter: What its caller waits for, if it waits for this message alone. Cancelled, it takes the message back as
            long as that has not left.

    Attributes:
        outcome: What became of it, once that is settled: the gateway's answer about it, or why there is none.
        row: The last answer about it, also while it is being sent again.
        error: The last reason why there was no answer about it.
        is_withdrawn: Its caller takes it back, if it has not left.
        is_told: The hooks have heard of its outcome.
        queued_at: When it began to wait for company, in the clock's monotonic seconds.
        nonce: By which the inbox knows this send from others of the same id.
        context: Its caller's, where the packet's task is not the caller's own and a hook wants to know.
    """

    __slots__ = (
        "attempts",
        "context",
        "error",
        "id",
        "is_told",
        "is_withdrawn",
        "message",
        "nonce",
        "outcome",
        "queued_at",
        "row",
        "until",
        "waiter",
    )

    def __init__(
        self,
        message: Message,
        id: int,  # noqa: A002 - the gateway's own word for it
        *,
        until: float = math.inf,
        waiter: asyncio.Future[SentMessage | SmsPilotError] | None = None,
    ) -> None:
        self.message = message
        self.id = id
        self.until = until
        self.waiter = waiter
        self.attempts = 0
        self.context: Context | None = None
        self.is_withdrawn = False
        self.is_told = False
        self.queued_at = 0.0
        self.nonce: bytes | None = None
        self.outcome: SentMessage | SmsPilotError | None = None
        self.row: SentMessage | None = None
        self.error: SmsPilotError | None = None

    @property
    def is_taken_back(self) -> bool:
        """Its caller does not want it sent any more."""
        return self.is_withdrawn or (self.waiter is not None and self.waiter.cancelled())

    @property
    def is_late(self) -> bool:
        """It was settled after its caller had left, or had been told that it is unknown."""
        return self.is_taken_back or (self.waiter is not None and self.waiter.result() is not self.outcome)

    def settle(self, outcome: SentMessage | SmsPilotError) -> None:
        """Say what became of it."""
        self.outcome = outcome
        if self.nonce is not None and (failure := _failure(outcome)) is not None and failure.message_id is not None:
            name_send(failure, self.nonce)
        if self.waiter is not None:
            self.tell(outcome)

    def tell(self, outcome: SentMessage | SmsPilotError) -> None:
        """Answer its caller, which may be before it is settled."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(outcome)

    def give_up(self) -> None:
        """Settle it with what the last attempt brought, or, if there was none, as not sent."""
        self.settle(self.row or self.error or _not_sent(self.id))

    def result(self) -> SendResult[Message]:
        """Tell what became of it, for hooks, to whom an error names the message even if it is about a whole packet."""
        outcome = self.outcome
        if isinstance(outcome, SmsPilotError) and outcome.message_id is None:
            outcome = _about(outcome, self)
        return result_of(self.message, outcome)

    def as_row(self) -> SentMessage:
        """Tell what became of it as a row of a packet."""
        if isinstance(self.outcome, SentMessage):
            return self.outcome
        return SentMessage(id=self.id, failure=self.outcome)


def _not_sent(id_: int) -> ConnectionFailed:
    text = f"send of message {id_}: taken back, or out of time, before it left. Nothing was sent."
    return ConnectionFailed(text, command="send", message_id=id_)


def _about(error: Error, ticket: Ticket) -> Error:
    """Make each caller an error of its own, since each raises it."""
    mine = copy(error)
    mine.message_id = ticket.id
    if ticket.nonce is not None:
        name_send(mine, ticket.nonce)
    return mine


def _names_a_message(error: SmsPilotError) -> bool:
    """Tell whether an error for a packet is about one of its messages, and says that none was taken this time."""
    is_duplicate = isinstance(error, OutcomeUnknown) and error.reason is Reason.DUPLICATE
    return is_duplicate or isinstance(error, MessageRefused)


def _are_busy(*errors: SmsPilotError | None) -> bool:
    return all(isinstance(error, GatewayBusy) for error in errors)


def _past_deadline(tickets: Sequence[Ticket]) -> OutcomeUnknown:
    command = Send([ticket.message for ticket in tickets], [ticket.id for ticket in tickets])
    return _evidence.unknown(command, Reason.DEADLINE, "no answer before the deadline; hooks will hear the result")


def result_of(item: Item, outcome: SentMessage | SmsPilotError | None) -> SendResult[Item]:
    """Turn what became of a message into its result, with the caller's own object in it."""
    if isinstance(outcome, SentMessage):
        if outcome.failure is None:
            return Accepted(item, outcome)
        if isinstance(outcome.failure, OutcomeUnknown):
            return Unknown(item, outcome.failure, outcome)
        return Refused(item, outcome.failure, outcome)
    if isinstance(outcome, OutcomeUnknown):
        return Unknown(item, outcome)
    return Refused(item, outcome) if isinstance(outcome, GatewayError) or is_veto(outcome) else NotSent(item, outcome)


def is_veto(outcome: object) -> TypeGuard[MessageVetoed]:
    """Tell whether a hook decided that a message must not be sent: a refusal, as final as that of an invalid one."""
    return isinstance(outcome, MessageVetoed) and not isinstance(outcome, VetoFailed)


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


class Delivery:
    """A packet on its way, with everything that comes of it: it ends when each of its messages is settled.

    Args:
        session: The client's life in this loop.
        tickets: The messages.
        test: Let the gateway accept them without handing them to operators.
        may_split: Send messages again apart, if the gateway refuses the packet because of one of them.
        spare: It may not use the connections that are kept for sends.
        has_slot: A place for its first request was taken already.
        rate: A limit of its own, besides the client's.
        may_be_vetoed: Nobody has asked the hooks yet whether its messages may be sent.
        before: Awaited before the first request; if it raises, nothing is sent.
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
        spare: bool = False,
        has_slot: bool = False,
        rate: RateLimit | None = None,
        may_be_vetoed: bool = False,
        before: Callable[[], Awaitable[None]] | None = None,
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
        self._may_split = may_split
        self._spare = spare
        self._has_slot = has_slot
        self._rate = rate
        self._may_be_vetoed = may_be_vetoed and session.telling.has_veto
        self.declined: Exception | None = None
        self._before = before
        self._told = told
        self._when_settled = when_settled
        self._groups = deque([_Group(tickets)])
        self._progress: Progress | None = None
        self._on_the_wire: Sequence[Ticket] = ()
        self._timer: Timer | None = None
        self._callbacks: dict[int, str] | None = None
        _number_apart(tickets)

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
            return lost if len(self.tickets) > 1 else _about(lost, self.tickets[0])
        rows = [
            ticket.as_row()
            if ticket.outcome is not None
            else attrs.evolve(ticket.row or SentMessage(id=ticket.id), failure=_about(lost, ticket))
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
        return [failure for failure in map(_failure, rest) if failure is not None]

    # --- before it queues ------------------------------------------------------------------------

    async def _ask_for_vetoes(self) -> None:
        """Settle what a hook vetoes, and what no hook has allowed by the deadline."""
        latest = self._session.clock.monotonic() + self._session.deadline
        await asyncio.gather(*(self._ask_for_veto(ticket, min(ticket.until, latest)) for ticket in self.tickets))

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
        command = Send(messages, ids, session.sender, self._test, callbacks=self._callback_urls())
        envelope = session.write(command)
        if not isinstance(envelope, Envelope):
            self._release()
            self._take_error(command, group, envelope)
        elif envelope.is_too_large and len(group.tickets) > 1:
            self._put_first(_halves(group, tried_before=group.tried_before, has_turn=True))
        elif self._before is None or (
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
        before, self._before = self._before, None
        assert before is not None  # noqa: S101 - it is asked for once
        try:
            await before()
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
        return self._may_split and len(group.tickets) > 1 and is_refused

    def _take_error(self, command: Send, group: _Group, error: SmsPilotError) -> None:
        if _names_a_message(error) and self._may_split and len(group.tickets) > 1:
            # The gateway refused all because of one, and does not say which.
            self._put_first(_halves(group, tried_before=True))
            return
        self.last_error = error
        tried_before = group.tried_before or not isinstance(error, ConnectionFailed)
        self._repeat(command, group.tickets, error, tried_before=tried_before)

    def _repeat(self, command: Send, tickets: Sequence[Ticket], error: SmsPilotError, *, tried_before: bool) -> None:
        """Send messages again later, if that can do no harm and there is time; else settle them with this error."""
        clock, retry = self._session.clock, self._session.retry
        again: list[Ticket] = []
        wanted = may_repeat(command, error)
        not_before = clock.monotonic() + retry.delay(tickets[0].attempts + 1, error) if wanted else math.inf
        for ticket in tickets:
            ticket.attempts += 1
            ticket.error = error
            if wanted and ticket.attempts < retry.attempts and not_before < ticket.until and not ticket.is_taken_back:
                again.append(ticket)
            else:
                self._settle(ticket, error, alone=len(tickets) == 1)
        if again:
            self._groups.append(_Group(again, tried_before=tried_before, not_before=not_before))

    def _settle(self, ticket: Ticket, error: SmsPilotError, *, alone: bool) -> None:
        """Settle with an error; a message that was refused before, and then did not leave again, stays refused."""
        if ticket.row is None:
            ticket.settle(error if alone or ticket.waiter is None else _about(error, ticket))
        elif isinstance(error, ConnectionFailed) or _are_busy(error, ticket.row.failure):
            ticket.settle(ticket.row)
        else:
            ticket.settle(attrs.evolve(ticket.row, failure=_about(error, ticket)))

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
                ticket.tell(_about(_past_deadline([ticket]), ticket))
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


def _is_error(outcome: SentMessage | SmsPilotError | None) -> TypeGuard[SmsPilotError]:
    return isinstance(outcome, SmsPilotError)


def _halves(group: _Group, *, tried_before: bool, has_turn: bool = False) -> list[_Group]:
    middle = len(group.tickets) // 2
    halves = (group.tickets[:middle], group.tickets[middle:])
    return [_Group(half, tried_before, has_turn=has_turn) for half in halves]


def _number_apart(tickets: Sequence[Ticket]) -> None:
    """Give a new number to a message whose own one stands in the packet already: answers are told apart by it."""
    if len({ticket.id for ticket in tickets}) == len(tickets):
        return
    given = {ticket.id for ticket in tickets}
    free = (id_ for id_ in itertools.count(random.randint(*_NEW_IDS)) if id_ not in given)  # noqa: S311 - only unique
    taken: set[int] = set()
    for ticket in tickets:
        if ticket.id in taken:
            ticket.id = next(free)
        taken.add(ticket.id)


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
        return f"refused ({failure.code})"
    return f"not sent ({type(failure).__name__})"


def _failure(outcome: SentMessage | SmsPilotError | None) -> SmsPilotError | None:
    return outcome.failure if isinstance(outcome, SentMessage) else outcome


class Detached:
    """The deliveries of one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deliveries: dict[asyncio.Task[None], Delivery] = {}

    def start(self, delivery: Delivery) -> None:
        """Let a delivery run until it is done, whatever becomes of its caller."""
        task = asyncio.create_task(delivery.run(), name=f"smspilot packet of {len(delivery.tickets)}")
        delivery.task = task
        self._deliveries[task] = delivery
        _held.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._deliveries.pop(task).end()
        _held.discard(task)

    async def run(self, delivery: Delivery, until: float) -> Packet | SmsPilotError:
        """Start it, and wait for its outcome until a deadline.

        A caller that is cancelled, or out of time, takes back what still queues; what is on the wire goes on alone.
        """
        self.start(delivery)
        try:
            async with self._clock.timeout_at(until):
                await asyncio.wait({delivery.done})
        except TimeoutError:
            self.take_back(delivery)
            if delivery.is_on_the_wire:
                return delivery.past_deadline()
        except asyncio.CancelledError:
            self.take_back(delivery)
            raise
        return delivery.outcome()

    def take_back(self, delivery: Delivery) -> None:
        """Send nothing of it again, and, unless it is on the wire, end it now."""
        delivery.withdraw()
        if delivery.is_on_the_wire or delivery.done.done():
            return
        for ticket in delivery.tickets:
            if ticket.outcome is None:
                ticket.give_up()
        if delivery.has_begun and not delivery.is_telling and delivery.task is not None:
            delivery.task.cancel()  # a hook would be cancelled in the middle; what it belongs to ends after it

    def cut_short(self) -> None:
        """End everything: what has not begun is not sent, what is on the wire is unknown."""
        for task, delivery in list(self._deliveries.items()):
            delivery.withdraw()
            if delivery.has_begun and not delivery.is_telling:  # else it ends by itself, and the hooks hear of it
                task.cancel()

    def interrupt_hooks(self) -> None:
        """Wait for no hook any longer, but for the one that asks."""
        mine = asyncio.current_task()
        for task, delivery in list(self._deliveries.items()):
            if delivery.has_begun and delivery.is_telling and task is not mine:
                task.cancel()

    def queued(self) -> int:
        """Count the messages that wait to leave, in packets; from any thread."""
        return sum(delivery.queued() for delivery in list(self._deliveries.values()))

    def in_flight(self) -> int:
        """Count the messages on the wire; from any thread."""
        return sum(delivery.in_flight() for delivery in list(self._deliveries.values()))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that are under way, but for the one that asks: a hook may flush."""
        mine = self._deliveries.get(asyncio.current_task())  # type: ignore[arg-type]
        if mine is None:
            return set(self._deliveries)
        # Two hooks that wait for each other's packets would wait for ever.
        return {task for task, delivery in self._deliveries.items() if not delivery.is_telling}
