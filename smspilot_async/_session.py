"""Everything of a client that belongs to one event loop: connections, limits, the queue, retries, what is under way."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import warnings
import weakref
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from smspilot_async import _evidence
from smspilot_async._batching import Batcher
from smspilot_async._delivery import Delivery, Remains
from smspilot_async._detached import Detached
from smspilot_async._exchange import Exchange
from smspilot_async._rate import RateLimit
from smspilot_async._retry import may_repeat
from smspilot_async._slots import Slots
from smspilot_async._telling import HOOKS_GRACE, veto_failed
from smspilot_async._ticket import Ticket
from smspilot_async._transport import Reply, Transport, free_frames
from smspilot_async._turns import Turns
from smspilot_async.errors import ClientClosed, ConnectionFailed, MessageVetoed, SmsPilotError
from smspilot_async.models import MessageStatus, Unknown
from smspilot_async.wire import Check, Envelope, encode, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from smspilot_async._clock import Clock
    from smspilot_async._health import Pulse
    from smspilot_async._settings import Settings
    from smspilot_async._telling import Telling
    from smspilot_async._transport import Failure, Progress
    from smspilot_async.callbacks import CallbackInbox
    from smspilot_async.models import Accepted, Message, Packet
    from smspilot_async.wire import Command, WireFormat

Answer = TypeVar("Answer")
logger: Final = logging.getLogger("smspilot_async")


class Session:
    """A client's life in one event loop.

    Args:
        settings: The client's.
        telling: Its hooks.
        pulse: Its health.
        clock: Its clock.
        callbacks: Its inbox.
        owner: The client's sessions.
    """

    def __init__(
        self,
        settings: Settings,
        telling: Telling,
        pulse: Pulse,
        clock: Clock,
        *,
        callbacks: CallbackInbox | None,
        owner: Sessions,
    ) -> None:
        self.clock = clock
        self.telling = telling
        self.pulse = pulse
        self.callbacks = callbacks
        self.retry = settings.retry
        self.trusts_refusals = settings.split_packets
        self.may_split = settings.split_packets and settings.retry.attempts > 1
        self.deadline = settings.deadline
        self.sender = settings.sender
        self.test = settings.test
        self._loop = asyncio.get_running_loop()
        self.slots = Slots(settings.max_connections, self._loop)
        self.rate = RateLimit(settings.rate_limit, clock)
        self.turns = Turns(self.slots)
        self._owner = weakref.ref(owner)  # a client that is dropped does not wait for the garbage collector
        self.detached = Detached(clock, owner=self._owner, when_closed=self.abandon)
        self.batcher = self._new_batcher(settings, test=settings.test)
        """The queue of the client's own messages."""
        self._batchers = {settings.test: self.batcher}
        self.when_closing: set[Callable[[], None]] = set()
        """Called when the client begins to close: whoever feeds messages in stops."""
        self.gateway_date: datetime | None = None
        """The gateway's own time, as its last answer told it; aware, UTC."""
        self._date = ""
        self._vetoes = asyncio.Semaphore(settings.max_pending)
        self._hooks_until = math.inf
        self._left: list[Remains] = []
        self._settings = settings
        self.wire: WireFormat = settings.wire
        self.shown_url = settings.shown_url
        self.is_closed = False
        """Nothing can be asked or sent any more; connections may still be closing."""
        self._transport = Transport(
            url=settings.url,
            max_connections=settings.max_connections,
            timeout=settings.timeout,
            proxy=settings.proxy,
            ssl_context=settings.ssl_context,
            foreign=settings.transport,
            clock=clock,
        )

    def _new_batcher(self, settings: Settings, *, test: bool) -> Batcher:
        size, linger, room = settings.packet_size, settings.linger, settings.max_pending
        return Batcher(self, test=test, packet_size=size, linger=linger, max_pending=room)

    def batcher_for(self, *, test: bool) -> Batcher:
        """Return the queue of test messages or of live ones: they never share a packet."""
        batcher = self._batchers.get(test)
        if batcher is None:
            batcher = self._batchers[test] = self._new_batcher(self._settings, test=test)
        return batcher

    # --- asking, for nothing ---------------------------------------------------------------------

    async def ask(self, command: Command[Answer], deadline: float, *, spare: bool = False) -> Answer | SmsPilotError:
        """Ask something that costs nothing, in the caller's task, with retries, for ``deadline`` seconds at most.

        Args:
            command: What to ask.
            deadline: Seconds.
            spare: It may not use the connections that are kept for sends.
        """
        until = self.clock.monotonic() + deadline
        attempt = 0
        while True:
            attempt += 1
            answer = await self._ask_once(command, until, spare=spare, attempt=attempt)
            if not isinstance(answer, SmsPilotError) or not may_repeat(command, answer):
                return answer
            delay = self.retry.delay(attempt, answer)
            if attempt >= self.retry.attempts or self.clock.monotonic() + delay >= until or self.is_closed:
                return answer
            await self.clock.sleep(delay)

    async def _ask_once(
        self, command: Command[Answer], until: float, *, spare: bool, attempt: int
    ) -> Answer | SmsPilotError:
        envelope = self.write(command)
        if not isinstance(envelope, Envelope):
            return envelope
        if not await self._slot_before(until, spare=spare):
            detail = f"{command.name}: no connection was free in time. Nothing was sent; it can be tried again."
            return ConnectionFailed(detail, **_evidence.about(command))
        try:
            if self.is_closed:
                return ClientClosed(f"{command.name}: the client was closed meanwhile.", **_evidence.about(command))
            exchange = Exchange(self, command, envelope, attempt=attempt)
            reply = await exchange.reply(until)
            try:
                if spare:
                    await self.turns.take()
            finally:  # cancelled in its last moment, it still tells the hooks what the gateway answered
                answer = exchange.answer(reply)
        finally:
            self.slots.release(spare=spare)
        return answer

    async def _slot_before(self, until: float, *, spare: bool) -> bool:
        if self.slots.take(spare=spare):
            return True
        try:
            async with self.clock.timeout_at(until):
                await self.slots.acquire(spare=spare)
        except TimeoutError:
            return False
        return True

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Ask what became of one message, also when this session is over and the client goes on in another."""
        try:
            session = self._session_here()
        except ClientClosed as closed:
            return closed
        answer = await session.ask(Check([server_id]), self._settings.deadline, spare=True)
        return answer if isinstance(answer, SmsPilotError) else next(iter(answer), MessageStatus())

    def _session_here(self) -> Session:
        """Tell the client's session of this loop and this moment.

        Raises:
            ClientClosed: there is none.
        """
        if not self.is_closed and asyncio.get_running_loop() is self._loop:
            return self
        if (owner := self._owner()) is None:
            raise client_closed()
        return owner.here()

    def keep_client(self) -> None:
        """Let the client live as long as this session: whoever holds it has questions yet."""
        self._kept = self._owner()

    # --- one request -----------------------------------------------------------------------------

    def write(self, command: Command[Any]) -> Envelope | ConnectionFailed:
        """Write a command down as an HTTP request, with the key of this moment."""
        settings = self._settings
        try:
            credentials = settings.credentials()
        except Exception as error:  # noqa: BLE001 - a caller's own function may raise anything
            reason = type(error).__name__
        else:
            return wrap(
                encode(command, credentials, settings.wire),
                url=settings.url,
                wire=settings.wire,
                style=settings.request_style,
                parameters=settings.parameters,
                secrets=tuple(value for _, value in credentials.fields),
            )
        detail = f"{command.name}: api_key() gave no usable key ({reason}). Nothing was sent."
        return ConnectionFailed(detail, **_evidence.about(command))

    async def exchange(
        self, command: Command[Any], envelope: Envelope, progress: Progress, answer_until: float | None = None
    ) -> Reply | Failure:
        """Make one HTTP exchange; the caller holds a place in ``slots``.

        Args:
            command: What is asked, for the size of its answer.
            envelope: The same, written down.
            progress: Tells a caller that cancels how far it came.
            answer_until: How long to wait for the answer, in the clock's monotonic seconds; the time-out holds besides.
        """
        try:
            reply = await self._transport.exchange(
                envelope, largest=command.largest_answer, progress=progress, answer_until=answer_until
            )
        except BaseException as error:
            free_frames(error)  # cancelled or interrupted: those of httpcore, and ours below, hold the request
            raise
        if isinstance(reply, Reply) and reply.date and reply.date != self._date:
            self._date = reply.date  # read once in a second, not with every answer
            if (date := _http_date(reply.date)) is not None:
                self.gateway_date = self.pulse.gateway_time = date
        return reply

    # --- sending ---------------------------------------------------------------------------------

    async def send_packet(self, tickets: Sequence[Ticket], *, test: bool, until: float) -> Packet | SmsPilotError:
        """Send messages in one request, which goes on when the caller does not."""
        delivery = Delivery(self, tickets, test=test or self.test, may_split=False, may_be_vetoed=True)
        return await self.detached.run(delivery, until)

    async def send_once(self, tickets: Sequence[Ticket], until: float) -> Packet | SmsPilotError:
        """Send messages in one request, and nothing again: a ledger counts every attempt."""
        delivery = Delivery(self, tickets, test=self.test, may_split=False, once=True, may_be_vetoed=True)
        return await self.detached.run(delivery, until)

    def cleared_up(self, result: Accepted[Message], told: asyncio.Event) -> None:
        """Let the hooks hear, in a task of its own, that a message whose outcome was unknown was accepted.

        Closing waits for them as for those that hear of any other result.

        Args:
            result: What is known now.
            told: Set once they have heard that it is unknown.
        """
        self.pulse.open_unknowns -= 1
        try:
            session = self._session_here()
        except ClientClosed:
            session = self
        ticket = Ticket(result.item, result.sent.id or 0)
        ticket.settle(result.sent)
        is_told_here = asyncio.get_running_loop() is self._loop
        # Another loop's telling is over, or died with it; nobody may wait for it here.
        session.detached.start(Delivery(session, [ticket], told=told if is_told_here else None))

    async def ask_for_veto(self, message: Message, id_: int, until: float) -> MessageVetoed | None:
        """Ask the hooks whether a message may queue; they hear of one that may not as they hear of any other.

        They are asked about no more messages at once than may queue; callers beyond it wait, in order.
        """
        veto: MessageVetoed | None = veto_failed("no hook had allowed it when it was taken back", id_)  # if cancelled
        try:
            async with self.clock.timeout_at(until):
                await self._vetoes.acquire()
            try:
                veto = await self.telling.verdict(message, id_, until)
            finally:
                self._vetoes.release()
        except TimeoutError:
            veto = veto_failed("no hook could be asked in time", id_)
        finally:
            if veto is not None:
                ticket = Ticket(message, id_)
                ticket.settle(veto)
                self.detached.start(Delivery(self, [ticket]))
        return veto

    def hooks_until(self) -> float:
        """Tell when hooks must have heard of results, in the clock's monotonic seconds."""
        return self._hooks_until

    def queued(self) -> int:
        """Count the messages that wait to leave."""
        return sum(batcher.waiting for batcher in list(self._batchers.values())) + self.detached.queued()

    async def flush(self) -> None:
        """Let everything go that waits, and wait for the answers to all of it."""
        going = [(batcher, batcher.flush()) for batcher in self._batchers.values()]
        for batcher, last in going:
            await batcher.gone(last)
        if tasks := self.detached.tasks:
            await asyncio.wait(tasks)

    # --- the end ---------------------------------------------------------------------------------

    async def aclose(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Send what waits, wait for the answers, at most ``timeout`` seconds, and close all connections."""
        for stop in list(self.when_closing):
            stop()
        if timeout is None:
            await self._drain()
        else:
            try:
                async with self.clock.timeout_at(self.clock.monotonic() + timeout):
                    await self._drain()
            except TimeoutError:
                await self._cut_short()
        self.is_closed = True  # a read that is still under way must not open new connections
        for batcher in self._batchers.values():
            batcher.stop()
        await self._transport.aclose()

    async def _drain(self) -> None:
        await self.flush()
        while tasks := self.detached.tasks:  # what the last answers have cleared up
            await asyncio.wait(tasks)

    async def _cut_short(self) -> None:
        """What queues is not sent; what is on the wire may have been. Hooks hear of it, but may not hang for ever."""
        for batcher in self._batchers.values():
            batcher.give_up()
        try:
            async with self.clock.timeout_at(self.clock.monotonic() + HOOKS_GRACE):
                await self._end_deliveries()
        except TimeoutError:
            self._hooks_until = self.clock.monotonic()  # each is still called, and has no time to wait for anything
            self.detached.interrupt_hooks()
            await self._end_deliveries()

    async def _end_deliveries(self) -> None:
        while tasks := self.detached.tasks:
            self.detached.cut_short()
            await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Settle and let go of what its event loop leaves, now that this is closed."""
        self.is_closed = True
        self._left += [Remains(batcher.abandon()) for batcher in self._batchers.values()]
        self._left += self.detached.abandon()
        self._transport.abandon()

    def inheritance(self) -> list[Remains]:
        """Return what its event loop, which was closed, has left, and of which no one has heard."""
        self.abandon()
        left, self._left = self._left, []
        return left

    def hand_down(self, left: Iterable[Remains]) -> None:
        """Let hooks and the inbox hear what became of the messages of an event loop that was closed."""
        for remains in left:
            if remains.tickets:
                self.detached.start(Delivery(self, remains.tickets, callbacks=remains.callbacks))

    def drop(self) -> None:
        """Have the loop close all connections, from any thread: nobody will use them again, or close them."""
        self._transport.drop()


class Sessions:
    """The sessions of a client, one for each event loop that it is used in; its views share them.

    A client that is dropped drops these, and with them its connections. So nothing that lives as long as a loop, and no
    session, holds them, but for as long as something is under way.

    Args:
        settings: The client's.
        telling: Its hooks.
        pulse: Its health.
        clock: Its clock.
        callbacks: Its inbox.

    Attributes:
        is_closed: The client takes no calls.
    """

    def __init__(
        self, settings: Settings, telling: Telling, pulse: Pulse, clock: Clock, callbacks: CallbackInbox | None
    ) -> None:
        self.is_closed = False
        self._of_loop: dict[asyncio.AbstractEventLoop, Session] = {}
        self._settings = settings
        self._telling = telling
        self._pulse = pulse
        self._clock = clock
        self._callbacks = callbacks
        if callbacks is not None:
            callbacks.attach(self.check_one)

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Ask what became of a message, of another process as well, in the session of the running loop."""
        try:
            session = self.here()
        except ClientClosed as closed:
            return closed
        return await session.check_one(server_id)

    def here(self) -> Session:
        """Return the session of the running loop.

        Raises:
            ClientClosed: The client is closed.
            RuntimeError: No loop is running.
        """
        if self.is_closed:
            raise client_closed()
        loop = asyncio.get_running_loop()
        session = self._of_loop.get(loop)
        if session is None or session.is_closed:  # its own closing was cancelled
            session = self._of_loop[loop] = self._new()
        if len(self._of_loop) > 1:
            session.hand_down(self._left())
        return session

    def living(self) -> list[Session]:
        """Return those whose loop can go on, from any thread."""
        return [session for loop, session in list(self._of_loop.items()) if not loop.is_closed()]

    async def aclose(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Close the client and its session of the running loop, and let go of the loops that were closed."""
        self.is_closed = True
        loop = asyncio.get_running_loop()
        session = self._of_loop.pop(loop, None)
        if left := self._left():
            session = session or self._new()
            session.hand_down(left)
        if session is None:
            return
        try:
            await session.aclose(timeout)
        except BaseException:  # cancelled: closing again goes on where this ended
            self._of_loop.setdefault(loop, session)
            raise

    def _new(self) -> Session:
        return Session(self._settings, self._telling, self._pulse, self._clock, callbacks=self._callbacks, owner=self)

    def _left(self) -> list[Remains]:
        """Let go of event loops that were closed, and return of what no one has heard."""
        dead = [self._of_loop.pop(loop) for loop in list(self._of_loop) if loop.is_closed()]
        if not dead:
            return []
        left = [remains for session in dead for remains in session.inheritance()]
        dead.clear()
        if sys.is_finalizing():  # the modules that this needs may be gone
            return left
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # a closed loop's sockets stand in cycles; here, and not later, nobody is warned of them
        return left

    def __del__(self) -> None:
        for session in self.living():
            session.drop()
        results = [ticket.result() for remains in self._left() for ticket in remains.tickets]
        for result in results:
            self._telling.result_without_a_loop(result)
        if results:
            logger.warning(
                "a client was dropped with %d messages of an event loop that was closed (%d may have been sent)",
                len(results),
                sum(isinstance(result, Unknown) for result in results),
            )


def client_closed() -> ClientClosed:
    """Make the error of a call that comes too late."""
    return ClientClosed("the client is closed. Nothing was sent; enter it again to open it again.")


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
