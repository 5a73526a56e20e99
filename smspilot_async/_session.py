"""The part of a client that belongs to one event loop: connections, limits, the queue, retries, submissions."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Final, TypeVar

from smspilot_async._network.transport import Transport
from smspilot_async._requests.fairness import Fairness
from smspilot_async._requests.hook_runner import HOOKS_GRACE, veto_failed
from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async._requests.requester import Requester, RequestFormat
from smspilot_async._requests.slots import Slots
from smspilot_async._sending.background import BackgroundSubmissions
from smspilot_async._sending.batcher import Batcher
from smspilot_async._sending.context import SendingContext
from smspilot_async._sending.pending import PendingMessage
from smspilot_async._sending.reports import Announcement, Remains, Report
from smspilot_async._sending.submission import Submission
from smspilot_async.errors import ClientClosed, MessageVetoed, SmsPilotError
from smspilot_async.models import MessageStatus, Unknown
from smspilot_async.wire import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smspilot_async._health import HealthRecorder
    from smspilot_async._network.base import WriteLimit
    from smspilot_async._requests.hook_runner import HookRunner
    from smspilot_async._sending.status_callbacks import StatusCallbacks
    from smspilot_async._settings import Settings
    from smspilot_async._tools.clock import Clock
    from smspilot_async.models import Accepted, Message, Packet

Answer = TypeVar("Answer")
logger: Final = logging.getLogger("smspilot_async")


class Session:
    """A client in one event loop.

    Args:
        settings: The client's.
        hooks: Its hooks.
        health: Records its health.
        clock: Its clock.
        callbacks: Its inbox.
        owner: The client's sessions.
    """

    def __init__(
        self,
        settings: Settings,
        hooks: HookRunner,
        health: HealthRecorder,
        clock: Clock,
        *,
        callbacks: StatusCallbacks | None,
        owner: Sessions,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = weakref.ref(owner)  # a client that is dropped does not wait for the garbage collector
        self._clock = clock
        self._settings = settings
        self._vetoes = asyncio.Semaphore(settings.max_pending)
        self._hooks_until = math.inf
        self._unreported: list[Remains] = []
        self._transport = _transport(settings, clock)
        self.requester = self._new_requester(hooks, health)
        self.submissions = BackgroundSubmissions(
            self._sending_context(callbacks), owner=self._owner, when_closed=self.abandon
        )
        self._batchers: dict[bool, Batcher] = {}
        self.batcher = self.batcher_for(test=settings.test)

    def batcher_for(self, *, test: bool) -> Batcher:
        """Return the queue of test messages, or that of real ones: they never share a packet."""
        batcher = self._batchers.get(test)
        if batcher is None:
            settings = self._settings
            batcher = self._batchers[test] = Batcher(
                self.submissions,
                test=test,
                packet_size=settings.packet_size,
                linger=settings.linger,
                max_pending=settings.max_pending,
            )
        return batcher

    def _new_requester(self, hooks: HookRunner, health: HealthRecorder) -> Requester:
        settings = self._settings
        slots = Slots(settings.max_connections, self._loop)
        return Requester(
            RequestFormat(
                credentials=settings.credentials,
                url=settings.url,
                shown_url=settings.shown_url,
                wire=settings.wire,
                style=settings.request_style,
                parameters=settings.parameters,
            ),
            self._transport,
            slots=slots,
            fairness=Fairness(slots),
            hooks=hooks,
            health=health,
            retry=settings.retry,
            clock=self._clock,
        )

    def _sending_context(self, callbacks: StatusCallbacks | None) -> SendingContext:
        settings = self._settings
        return SendingContext(
            requester=self.requester,
            rate=RateLimit(settings.rate_limit, self._clock),
            callbacks=callbacks,
            follow_up=self,
            sender=settings.sender,
            test=settings.test,
            deadline=settings.deadline,
            split_packets=settings.split_packets,
            hooks_until=lambda: self._hooks_until,
            keep_client=self.keep_client,
        )

    @property
    def is_closed(self) -> bool:
        """No requests or sends are accepted any more; connections may still be closing."""
        return self.requester.is_closed

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Return the status of one message, also if this session is over and the client continues in another."""
        try:
            session = self._session_here()
        except ClientClosed as closed:
            return closed
        answer = await session.requester.ask(Check([server_id]), self._settings.deadline, background=True)
        return answer if isinstance(answer, SmsPilotError) else next(iter(answer), MessageStatus())

    def _session_here(self) -> Session:
        """Return the client's current session of the running loop.

        Raises:
            ClientClosed: There is none.
        """
        if not self.is_closed and asyncio.get_running_loop() is self._loop:
            return self
        if (owner := self._owner()) is None:
            raise client_closed()
        return owner.here()

    def keep_client(self) -> None:
        """Keep the client alive as long as this session: the inbox still needs it."""
        self._kept = self._owner()

    # --- sending ---------------------------------------------------------------------------------

    async def send_packet(
        self, entries: Sequence[PendingMessage], *, test: bool, until: float
    ) -> Packet | SmsPilotError:
        """Send messages in one request, which continues if the caller is cancelled."""
        context = self.submissions.context
        submission = Submission(context, entries, test=test or context.test, may_split=False, check_vetoes=True)
        return await self.submissions.run(submission, until)

    async def send_once(
        self, entries: Sequence[PendingMessage], limit: WriteLimit, until: float
    ) -> Packet | SmsPilotError:
        """Send messages in one request, without retries: a ledger counts every attempt."""
        context = self.submissions.context
        submission = Submission(
            context, entries, test=context.test, may_split=False, once=True, limit=limit, check_vetoes=True
        )
        return await self.submissions.run(submission, until)

    def cleared_up(self, result: Accepted[Message], hooks_done: asyncio.Event) -> None:
        """Call the hooks, in a separate task, with ``Accepted`` for a message whose outcome was unknown.

        Closing waits for them as for any other result.

        Args:
            result: The result.
            hooks_done: Set once hooks were called with ``Unknown``.
        """
        self.requester.health.open_unknowns -= 1
        try:
            session = self._session_here()
        except ClientClosed:
            session = self
        entry = PendingMessage(result.item, result.sent.id or 0)
        entry.settle(result.sent)
        runs_here = asyncio.get_running_loop() is self._loop
        # Another loop's hooks are done, or died with it: they must not be waited for here.
        hooks_done_here = hooks_done if runs_here else None
        report = Report(session.submissions.context, [entry], hooks_done=hooks_done_here)
        session.submissions.start(Announcement(report))

    async def ask_for_veto(self, message: Message, id_: int, until: float) -> MessageVetoed | None:
        """Ask the hooks whether a message may be sent; if not, they are called with its result as usual.

        The number of concurrent calls is limited as the queue is; further callers wait, in order.
        """
        veto: MessageVetoed | None = veto_failed(
            "it was withdrawn before the hooks had allowed it", id_
        )  # if cancelled
        try:
            async with self._clock.timeout_at(until):
                await self._vetoes.acquire()
            try:
                veto = await self.requester.hooks.verdict(message, id_, until)
            finally:
                self._vetoes.release()
        except TimeoutError:
            veto = veto_failed("no hook could be asked in time", id_)
        finally:
            if veto is not None:
                entry = PendingMessage(message, id_)
                entry.settle(veto)
                self.submissions.start(Announcement(Report(self.submissions.context, [entry])))
        return veto

    def queued(self) -> int:
        """Return the number of messages that wait to be sent."""
        return sum(batcher.waiting for batcher in list(self._batchers.values())) + self.submissions.queued()

    async def flush(self) -> None:
        """Send everything that is queued, and wait for all answers."""
        going = [(batcher, batcher.flush()) for batcher in self._batchers.values()]
        for batcher, last in going:
            await batcher.gone(last)
        if tasks := self.submissions.tasks:
            await asyncio.wait(tasks)

    # --- closing ---------------------------------------------------------------------------------

    async def aclose(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Send what is queued, wait for the answers, at most ``timeout`` seconds, and close all connections."""
        for stop in list(self.submissions.when_closing):
            stop()
        if timeout is None:
            await self._drain()
        else:
            try:
                async with self._clock.timeout_at(self._clock.monotonic() + timeout):
                    await self._drain()
            except TimeoutError:
                await self._cut_short()
        self.requester.is_closed = True  # a read in progress must not open new connections
        for batcher in self._batchers.values():
            batcher.stop()
        await self._transport.aclose()

    async def _drain(self) -> None:
        await self.flush()
        while tasks := self.submissions.tasks:  # such as results that the last answers have brought
            await asyncio.wait(tasks)

    async def _cut_short(self) -> None:
        """Settle queued messages as not sent, and those on the wire as unknown; hooks get a limited time for both."""
        for batcher in self._batchers.values():
            batcher.give_up()
        try:
            async with self._clock.timeout_at(self._clock.monotonic() + HOOKS_GRACE):
                await self._end_submissions()
        except TimeoutError:
            self._hooks_until = self._clock.monotonic()  # each is still called, but not awaited
            self.submissions.interrupt_hooks()
            await self._end_submissions()

    async def _end_submissions(self) -> None:
        while tasks := self.submissions.tasks:
            self.submissions.cut_short()
            await asyncio.wait(tasks)

    def abandon(self) -> None:
        """Settle and release what is left after the event loop was closed."""
        self.requester.is_closed = True
        self._unreported += [Remains(batcher.abandon()) for batcher in self._batchers.values()]
        self._unreported += self.submissions.abandon()
        self._transport.abandon()

    def take_unreported(self) -> list[Remains]:
        """Return, once, what was not reported before the event loop was closed."""
        self.abandon()
        left, self._unreported = self._unreported, []
        return left

    def report_leftovers(self, left: Iterable[Remains]) -> None:
        """Report messages of an event loop that was closed to the hooks and the inbox."""
        for remains in left:
            if remains.entries:
                report = Report(self.submissions.context, remains.entries, callbacks=remains.callbacks)
                self.submissions.start(Announcement(report))

    def drop(self) -> None:
        """Have the loop close all connections, from any thread, since nothing else will."""
        self._transport.drop()


class Sessions:
    """The sessions of a client, one for each event loop in which it is used; its views share them.

    Dropping a client drops these, and with them its connections. So nothing that lives as long as a loop, and no
    session, may reference them, except while something is under way.

    Args:
        settings: The client's.
        hooks: Its hooks.
        health: Records its health.
        clock: Its clock.
        callbacks: Its inbox.

    Attributes:
        is_closed: The client accepts no calls.
    """

    def __init__(
        self,
        settings: Settings,
        hooks: HookRunner,
        health: HealthRecorder,
        clock: Clock,
        callbacks: StatusCallbacks | None,
    ) -> None:
        self.is_closed = False
        self._of_loop: dict[asyncio.AbstractEventLoop, Session] = {}
        self._settings = settings
        self._hooks = hooks
        self._recorder = health
        self._clock = clock
        self._callbacks = callbacks
        if callbacks is not None:
            callbacks.attach(self.check_one)

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        """Return the status of a message, also of another process, by the session of the running loop."""
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
        if session is None or session.is_closed:  # the latter if its closing was cancelled
            session = self._of_loop[loop] = self._new()
        if len(self._of_loop) > 1:
            session.report_leftovers(self._unreported())
        return session

    def living(self) -> list[Session]:
        """Return the sessions whose loop is not closed, from any thread."""
        return [session for loop, session in list(self._of_loop.items()) if not loop.is_closed()]

    async def aclose(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Close the client and its session of the running loop, and forget event loops that were closed."""
        self.is_closed = True
        loop = asyncio.get_running_loop()
        session = self._of_loop.pop(loop, None)
        if left := self._unreported():
            session = session or self._new()
            session.report_leftovers(left)
        if session is None:
            return
        try:
            await session.aclose(timeout)
        except BaseException:  # cancelled: closing again continues here
            self._of_loop.setdefault(loop, session)
            raise

    def _new(self) -> Session:
        return Session(self._settings, self._hooks, self._recorder, self._clock, callbacks=self._callbacks, owner=self)

    def _unreported(self) -> list[Remains]:
        """Forget event loops that were closed, and return what was not reported."""
        dead = [self._of_loop.pop(loop) for loop in list(self._of_loop) if loop.is_closed()]
        if not dead:
            return []
        if sys.is_finalizing():  # the modules that the rest needs may be gone
            return [remains for session in dead for remains in session.take_unreported()]
        with warnings.catch_warnings():
            # A closed loop's sockets are in cycles. Python may collect them as soon as they are let go of, and would
            # warn of each; so it does not warn here, and this collects what is left.
            warnings.simplefilter("ignore", ResourceWarning)
            left = [remains for session in dead for remains in session.take_unreported()]
            dead.clear()
            gc.collect()
        return left

    def __del__(self) -> None:
        for session in self.living():
            session.drop()
        results = [entry.result() for remains in self._unreported() for entry in remains.entries]
        for result in results:
            self._hooks.result_without_a_loop(result)
        if results:
            logger.warning(
                "a client was dropped with %d messages of an event loop that was closed (%d may have been sent)",
                len(results),
                sum(isinstance(result, Unknown) for result in results),
            )


def client_closed() -> ClientClosed:
    """Return the error of a call after the client was closed."""
    return ClientClosed("the client is closed. Nothing was sent; enter it again to reopen it.")


def _transport(settings: Settings, clock: Clock) -> Transport:
    return Transport(
        url=settings.url,
        max_connections=settings.max_connections,
        timeout=settings.timeout,
        proxy=settings.proxy,
        ssl_context=settings.ssl_context,
        user_transport=settings.transport,
        clock=clock,
    )
