"""The inbox: what a call from the gateway is worth, where it is kept, and who hears of it.

It does no HTTP: a face hands in a request's method, path, query and body, and writes down the answer. The order is
fixed: the path is verified before anything is read, the event is safe before the answer is ``OK``, and those who wait
for events are woken after it.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import OrderedDict, defaultdict, deque
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeVar

import attrs

from smspilot_async._sending.status_callbacks import Sending
from smspilot_async._statuses.rules import LOST, Known, beats
from smspilot_async._statuses.server_ids import NO_ID, is_server_id
from smspilot_async._tools import clock as _clock
from smspilot_async.callbacks import _form as _calls
from smspilot_async.callbacks._event_log import Bindings, Claimable, EventLog, MemoryLog
from smspilot_async.callbacks._form import LARGEST_FORM, StatusEvent
from smspilot_async.callbacks._in_hand import InHand
from smspilot_async.callbacks._lost_answers import LostAnswers, MemoryLostAnswers
from smspilot_async.callbacks._signing import LONGEST_SEGMENT, SignedSend, Signer, nonce_in
from smspilot_async.errors import ClientClosed, OutcomeUnknown, SmsPilotError, send_nonce_of
from smspilot_async.models import Accepted, Message, MessageStatus, SendResult, SentMessage, Unknown, is_web_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
    from types import TracebackType

    from smspilot_async.callbacks._event_log import Sink, Stored
    from smspilot_async.callbacks._lost_answers import LostAnswer

__all__ = ["CallbackInbox"]

Value = TypeVar("Value")
_Outcome: TypeAlias = SentMessage | SmsPilotError
_Check: TypeAlias = "Callable[[str], Coroutine[Any, Any, MessageStatus | SmsPilotError]]"
logger: Final = logging.getLogger("smspilot_async")

_LONGEST_URL: Final = 240
_PATIENCE: Final = 5.0
_LOOK_FOR_OTHERS: Final = 0.2
_AFTER_A_FAULT: Final = 1.0
_READ_AT_ONCE: Final = 500
_LOST_REMEMBERED: Final = 10_000
_TOLD_REMEMBERED: Final = 100_000
_WAITING_FOR_A_WATCHER: Final = 10_000
_PAUSES: Final = (0.0, 5.0, 30.0, 120.0, 600.0)  # seconds before each attempt to prove what a call says


@attrs.frozen
class Answer:
    """What a face answers a call with, as ``text/plain``."""

    status: int
    body: bytes


_OK: Final = Answer(200, b"OK")
_NOT_FOUND: Final = Answer(404, b"Not Found")
_UNAVAILABLE: Final = Answer(503, b"Service Unavailable")


class _AnyClient:
    """Asks by whichever client of the inbox knows a number; only a client's own hooks hear of anything."""

    def __init__(self) -> None:
        self._checks: list[weakref.WeakMethod[_Check]] = []

    def attach(self, check: _Check) -> None:
        self._checks = [*(known for known in self._checks if known() is not None), weakref.WeakMethod(check)]

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        answer: MessageStatus | SmsPilotError = MessageStatus()
        for known in self._checks:
            if (check := known()) is not None:
                answer = await check(server_id)
                if isinstance(answer, MessageStatus) and answer.status not in {None, LOST}:
                    break
        return MessageStatus() if isinstance(answer, ClientClosed) else answer

    def cleared_up(self, result: Accepted[Message], told: asyncio.Event) -> None:
        raise NotImplementedError


@attrs.define(eq=False)
class _Lost:
    """A send whose answer was lost, or came later than its caller waited.

    Attributes:
        message: It; ``None`` if another process sent it.
        told: Set once the hooks have heard that it is unknown.
        proving: The numbers that calls named for it, and that are being asked about, or are not its own.
        outcome: What it turned out to be.
    """

    id: int
    message: Message | None
    sending: Sending
    told: asyncio.Event
    proving: set[str] = attrs.field(factory=set)
    outcome: _Outcome | None = None


class _Closed(Exception):
    """The inbox was closed, and its log must not be opened again."""


class CallbackInbox:
    """Receives the status callbacks of the messages that a client sends.

    ::

        inbox = CallbackInbox("https://app.example/smspilot", secret=os.environ["CALLBACK_SECRET"])
        client = Client(callbacks=inbox)          # each message gets a URL of its own
        app.mount("/smspilot", callback_app(inbox))   # smspilot_async.callbacks.asgi, or .aiohttp

        async for event in inbox:                 # statuses as they come; for one loop at a time
            print(event.id, event.status)

    The gateway does not sign its calls, so each message's URL is signed: nobody can make one up, and one that was
    overheard tells of its own message only. Other calls get 404 and change nothing. The gateway hears ``OK`` once the
    event is safe: in memory, for the loop above and for :meth:`Client.track`, or in a ``sink``.

    Iterating gives an event only if it moves its message forward; of -2, which the gateway also says of messages that
    it has just accepted, each is given. An event counts as handed over once the next one is asked for. With
    :class:`SQLiteSink`, what was not handed over to any worker before a restart comes again after it.

    Workers that share a :class:`SQLiteSink` each get every event. With ``competing=True`` one of them gets each, and
    the next one of the same message goes to nobody before that is handed over. It comes again, at another worker, if
    the task that reads is cancelled, the inbox is closed, or the process dies (after half a minute) before the next one
    is asked for. :meth:`Client.track` hears of all calls at every worker in both cases.

    Args:
        url: Where the gateway reaches the face of this inbox: ``https://``, or ``http://`` for accounts that take no
            other. Messages get ``url`` and a path of 60 characters.
        secret: Signs the URLs: at least 16 characters, the same in all workers. A list for rotation: the first signs,
            each is accepted; an old one can go after 41 days.
        sink: Keeps events before the gateway hears ``OK``: :class:`SQLiteSink`, which all workers of a machine
            share, or an object of your own with ``async def store(event)``. Left out, they are kept in memory, the
            last ten thousand of them; once a loop reads them, a call that finds no room gets 503.
        competing: One of the workers that share the :class:`SQLiteSink` gets each event, in place of all of them.

    Raises:
        ValueError: ``url`` is no absolute http(s) URL without query, or too long; ``secret`` is too short; workers
            compete, and share no :class:`SQLiteSink`.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | bytes | Sequence[str | bytes],
        sink: Sink | EventLog | None = None,
        competing: bool = False,
    ) -> None:
        self._signer = Signer(secret)
        del secret  # an error below shows this frame, but not it
        self._url = _checked(url)
        self._log: EventLog = sink if isinstance(sink, EventLog) else MemoryLog()
        self._sink: Sink | None = None if isinstance(sink, EventLog) else sink
        self._clock = _clock.current()
        self._in_hand = InHand(_claimable(self._log), self._clock) if competing else None
        self._bindings = Bindings()
        self._last: dict[int, bytes] = {}
        self._on_the_way: set[bytes] = set()
        self._answers: LostAnswers = self._log if isinstance(self._log, LostAnswers) else MemoryLostAnswers()
        self._any_client = _AnyClient()
        self._lost: OrderedDict[bytes, _Lost] = OrderedDict()
        self._proving_for_others: set[tuple[bytes, str]] = set()
        self._cleared_up: OrderedDict[bytes, _Lost] = OrderedDict()
        self._waiters: defaultdict[bytes, set[asyncio.Future[_Outcome]]] = defaultdict(set)
        self._watches: defaultdict[str, set[_Watch]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_following = asyncio.Event()
        self._readers: set[asyncio.Event] = set()
        self._fetched: deque[Stored] = deque()
        self._position: int | None = None
        self._handed: int | None = None
        self._told: OrderedDict[bytes, Known] = OrderedDict()
        self._is_iterating = False
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<CallbackInbox, {'closed' if self._is_closed else 'open'}>"

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Do what entering does; the faces do it when their server starts.

        Raises:
            sqlite3.OperationalError: The file of a :class:`SQLiteSink` can not be opened.
        """
        try:
            await self._log.open()
        except BaseException:
            await self._log.aclose()
            raise
        self._is_closed = False
        if self._watches or self._is_waiting_for_calls():
            self._follow()

    async def aclose(self) -> None:
        """End iterations and tasks, and close the sink. Calls get 503 from now on; entering it opens it again."""
        self._is_closed = True
        self._hand_over()
        if self._in_hand is not None:
            self._in_hand.close()
        self.wake()
        loop = asyncio.get_running_loop()
        tasks = {task for task in self._tasks if task.get_loop() is loop}  # those of a dead loop are dead
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._log.aclose()

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- what the gateway calls ------------------------------------------------------------------

    @property
    def account_url(self) -> str:
        """The secret URL to enter in the vendor's cabinet as the callback of the whole account.

        A call there is answered ``OK`` and moves nothing: a :meth:`Client.track` that follows the message which it
        names asks about it at once.
        """
        return f"{self._url}/{self._signer.account_segment}"

    async def answer(self, method: str, path: str, query: bytes, body: AsyncIterable[bytes]) -> Answer:
        """Take in a call; what a face does, which calls :meth:`wake` once the answer is written.

        Args:
            method: Of the request.
            path: Of which the last segment counts.
            query: The query string, as it came.
            body: Read only if the path is good, and no further than a few kilobytes.
        """
        segment = path[-LONGEST_SEGMENT - 1 :].rpartition("/")[2]
        now = self._clock.now()
        send = self._signer.verify(segment, now.timestamp())
        if method not in {"GET", "POST"} or (send is None and not self._signer.is_account(segment)):
            return _NOT_FOUND
        try:
            async with self._clock.timeout_at(self._clock.monotonic() + _PATIENCE):
                form = query if method == "GET" else await _read(body)
                if form is None:
                    return _NOT_FOUND
                return self._take_hint(form) if send is None else await self._take(send, form, now)
        except Exception as error:  # noqa: BLE001 - whatever a sink raises: the event is not safe
            logger.error("a status callback could not be stored: %s", type(error).__name__)  # noqa: TRY400 - no data
            return _UNAVAILABLE

    async def _take(self, send: SignedSend, form: bytes, now: datetime) -> Answer:
        call = _calls.read(form)
        if call is None or self._bindings.contradicts(send.nonce, call.server_id):
            return _NOT_FOUND
        if self._is_closed:
            return _UNAVAILABLE
        event = StatusEvent(
            id=send.id,
            server_id=call.server_id,
            status=call.status,
            error=call.error,
            received=now.astimezone(UTC),
            nonce=send.nonce,
        )
        if self._sink is not None and await self._sink.store(event) is False:
            return _NOT_FOUND
        if not await self._log.store(event):
            return _NOT_FOUND
        self._prove_soon(event)
        return _OK

    def _take_hint(self, form: bytes) -> Answer:
        fields = _calls.fields_of(form)
        server_id = None if fields is None else _calls.server_id_of(fields)
        for watch in self._watches.get(server_id or "", ()):
            watch.give(MessageStatus(server_id=server_id))
        return _OK

    def wake(self) -> None:
        """Let those who wait for events go on."""
        readers, self._readers = self._readers, set()
        for news in readers:
            with suppress(RuntimeError):  # its loop is closed, and took its reader along
                news.set()

    # --- what the application hears --------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StatusEvent:
        if self._is_iterating:
            raise RuntimeError("another loop is reading this inbox; let one loop read it and share what it gets")
        self._is_iterating = True
        try:
            return await (self._next() if self._in_hand is None else self._next_claimed(self._in_hand))
        except _Closed:
            raise StopAsyncIteration from None
        finally:
            self._is_iterating = False

    async def _next(self) -> StatusEvent:
        self._hand_over()
        if self._position is None:
            self._position = await self._persist(self._log.handed_over)
        while not self._is_closed:
            while self._fetched:
                stored = self._fetched.popleft()
                self._handed = stored.position
                if self._is_credible(stored.event) and self._is_forward(stored.event):
                    return stored.event
                self._hand_over()
            self._fetched.extend(await self._more(self._position))
            self._position = self._fetched[-1].position if self._fetched else self._position
        raise StopAsyncIteration

    async def _next_claimed(self, in_hand: InHand) -> StatusEvent:
        in_hand.finish()
        while not self._is_closed:
            news = asyncio.Event()
            self._readers.add(news)  # before it looks: what comes meanwhile wakes it, too
            try:
                stored = await self._persist(in_hand.claim)
                if stored is None and not self._is_closed:
                    await self._wait(news)
            finally:
                self._readers.discard(news)
            if stored is not None and not self._is_closed:
                in_hand.take(stored)
                self._keep(in_hand)
                return stored.event
        raise StopAsyncIteration

    def _keep(self, in_hand: InHand) -> None:
        keeper, loop = self._keeper, asyncio.get_running_loop()
        if keeper is None or keeper.done() or keeper.get_loop() is not loop:
            self._keeper = self._own(in_hand.keep())

    def _hand_over(self) -> None:
        handed, self._handed = self._handed, None
        if handed is not None:
            self._log.hand_over(handed)

    def _is_credible(self, event: StatusEvent) -> bool:
        """Tell whether nothing speaks against it: it may have come before the answer that names another number."""
        return event.server_id is None or not self._bindings.contradicts(event.nonce, event.server_id)

    def _is_forward(self, event: StatusEvent) -> bool:
        """Tell whether it is news; a -2 is told, and believed by nobody."""
        known = self._told.get(event.nonce)
        new = Known(event, is_polled=False)
        if not beats(new, known):
            return False
        if event.status != LOST:
            self._told[event.nonce] = new
            if len(self._told) > _TOLD_REMEMBERED:
                self._told.popitem(last=False)
        return True

    async def _more(self, after: int) -> list[Stored]:
        """Tell what came after a position, or wait a while for it."""
        news = asyncio.Event()
        self._readers.add(news)  # before it looks: what comes meanwhile wakes it, too
        try:
            stored = await self._persist(partial(self._log.read, after, _READ_AT_ONCE))
            if not stored and not self._is_closed:
                await self._wait(news)
        finally:
            self._readers.discard(news)
        return stored

    async def _persist(self, read: Callable[[], Awaitable[Value]]) -> Value:
        """Read, again if it must be: a file that is locked, or a disk that is full, now need not be so later."""
        while not self._is_closed:
            try:
                return await read()
            except Exception as error:  # noqa: BLE001 - the sink's own
                logger.warning("stored statuses can not be read (%s); trying again", type(error).__name__)
            await self._clock.sleep(_AFTER_A_FAULT)
        raise _Closed

    async def _wait(self, news: asyncio.Event) -> None:
        if not self._log.is_shared:
            await news.wait()
            return
        try:
            async with self._clock.timeout_at(self._clock.monotonic() + _LOOK_FOR_OTHERS):
                await news.wait()
        except TimeoutError:
            pass  # another worker may have stored something

    # --- what a tracker hears --------------------------------------------------------------------

    def watch(self, server_ids: Collection[str]) -> _Watch:
        """Follow the statuses of some messages, for :meth:`Client.track`.

        A status of ``None`` says only that the message is worth a question.
        """
        watch = _Watch(self, frozenset(server_ids))
        for server_id in watch.server_ids:
            self._watches[server_id].add(watch)
        self._follow()
        return watch

    def end_watch(self, watch: _Watch) -> None:
        """Tell it nothing more."""
        for server_id in watch.server_ids:
            self._watches[server_id].discard(watch)
            if not self._watches[server_id]:
                del self._watches[server_id]

    async def seen(self, server_ids: Iterable[str]) -> list[MessageStatus]:
        """Tell a watch what came before it."""
        while not self._is_following.is_set():
            await self._is_following.wait()
        try:
            found = await self._persist(partial(self._log.find, server_ids))
        except _Closed:
            return []
        return [status for stored in found if (status := self._as_seen(stored)) is not None]

    def _as_seen(self, stored: Stored) -> MessageStatus | None:
        """Tell what an event is worth to whoever follows its number: a status, a hint, or nothing."""
        event = stored.event
        assert event.server_id is not None  # noqa: S101 - it was read from the call
        if stored.is_bound or self._bindings.holds(event.nonce, event.server_id):
            return event
        if self._bindings.contradicts(event.nonce, event.server_id):
            return None
        return MessageStatus(server_id=event.server_id)

    def _follow(self) -> None:
        """Read the log for whoever waits for it; while the inbox is closed, nobody reads, and entering it begins."""
        if self._is_closed:
            return
        follower, loop = self._follower, asyncio.get_running_loop()
        if follower is None or follower.done() or follower.get_loop() is not loop:
            before, self._is_following = self._is_following, asyncio.Event()
            with suppress(RuntimeError):  # its loop is closed, and nobody waits in it
                before.set()  # whoever waited for a follower that never came waits for this one
            self._follower = self._own(self._follow_log())

    async def _follow_log(self) -> None:
        position = await self._persist(self._log.end)
        self._is_following.set()  # whoever looks back from now on misses nothing
        while self._watches or self._is_waiting_for_calls():
            for stored in await self._more(position):
                position = stored.position
                self._dispatch(stored)

    def _dispatch(self, stored: Stored) -> None:
        event = stored.event
        self._prove_soon(event)
        watches = self._watches.get(event.server_id or "")
        if watches and (status := self._as_seen(stored)) is not None:
            for watch in watches:
                watch.give(status)

    # --- what the client tells -------------------------------------------------------------------

    def attach(self, check: _Check) -> None:
        """Learn how a client asks what became of a message, for as long as that client lives."""
        self._any_client.attach(check)

    def urls_for(self, messages: Iterable[tuple[int, Message]]) -> dict[int, str]:
        """Sign a URL for each message that is about to go out, under its id, unless it brings its own."""
        now = self._clock.now()
        urls = {}
        for id_, message in messages:
            if message.callback is None:
                due = now if message.send_at is None else max(now, message.send_at)
                urls[id_] = url = f"{self._url}/{self._signer.sign(id_, due.timestamp())}"
                self._last[id_] = nonce = nonce_in(url)
                self._on_the_way.add(nonce)
        return urls

    def nonce_of(self, url: str) -> bytes:
        """Tell by what the send of a URL of ours is known, which its errors carry for :meth:`wait_accepted`."""
        return nonce_in(url)

    def settled(
        self,
        url: str,
        id_: int,
        result: SendResult[Message],
        sending: Sending,
        told: asyncio.Event,
        *,
        is_late: bool,
    ) -> None:
        """Hear what became of a message that went out with a URL of ours.

        Args:
            url: The URL.
            id_: The message's id.
            result: What became of it.
            sending: By what it went out.
            told: Set once the hooks have heard it.
            is_late: Its caller did not wait for it, and may ask here.
        """
        nonce = nonce_in(url)
        self._on_the_way.discard(nonce)
        if isinstance(result, Unknown):
            self._remember(nonce, _Lost(id_, result.item, sending, told))
            self._tell_others(partial(self._answers.put_lost, nonce, id_, self._clock.now()))
            self._look_for_calls(nonce)
            return
        if is_late:
            outcome = result.sent if isinstance(result, Accepted) else result.error
            self._remember(nonce, _Lost(id_, result.item, sending, told, outcome=outcome))
        else:
            self._forget(nonce, id_)
        if isinstance(result, Accepted):
            self._accept(nonce, result.sent)
        elif result.error is not None:
            self._answer_waiters(nonce, result.error)

    def _accept(self, nonce: bytes, sent: SentMessage) -> None:
        if sent.server_id is not None and sent.server_id not in NO_ID and is_server_id(sent.server_id):
            self._bindings.bind(nonce, sent.server_id)
            self._tell_others(partial(self._log.bind, nonce, sent.server_id))
        self._answer_waiters(nonce, sent)

    def _tell_others(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - the sink's own fault keeps the result from nobody
            logger.warning("statuses: the sink was not told of a number (%s)", type(error).__name__)

    def _answer_waiters(self, nonce: bytes, outcome: _Outcome) -> None:
        for waiter in self._waiters.pop(nonce, ()):
            if not waiter.done():
                with suppress(RuntimeError):  # its loop is closed, and took its task along
                    waiter.set_result(outcome)

    # --- answers that were lost ------------------------------------------------------------------

    async def wait_accepted(
        self,
        unknown: OutcomeUnknown | int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the inbox's clock counts it
    ) -> SentMessage:
        """Wait until a call proves that a message was accepted whose answer was lost.

        The gateway calls the URL of that very send, the client asks about the number which the call names, and the
        gateway's answer echoes the message's id. ``Hooks.on_result`` hears of it as well.

        Workers that share a :class:`SQLiteSink` prove it for each other, whichever is called: the hooks of the client
        that sent it hear of it, and any of them may wait for the error, also one that was started later.

        Args:
            unknown: The error that :meth:`Client.send` raised, which stands for that very send; or the message's id,
                of which the last send of this worker counts.
            timeout: Seconds to wait; left out, for ever.

        Returns:
            The message, with its ``server_id``.

        Raises:
            OutcomeUnknown: Time is up, and it is still unknown: no proof that it was not sent. It is the error given.
            TimeoutError: The same, for an id.
            GatewayError, ConnectionFailed: Its answer came after all, late: it was refused, or never left.
            LookupError: No such message went out by this inbox lately, or its caller was told what became of it; or
                the error is about a packet of several.
        """
        id_ = unknown.message_id if isinstance(unknown, OutcomeUnknown) else unknown
        nonce = send_nonce_of(unknown) if isinstance(unknown, OutcomeUnknown) else self._last.get(unknown)
        if nonce is not None and not self._knows(nonce):
            await self._ask_others(nonce)
        cleared_up = None if nonce is None else self._cleared_up.get(nonce)
        if nonce is None or not self._knows(nonce):
            raise LookupError(f"no message {id_} of this inbox is waiting for its answer")
        outcome = None if cleared_up is None else cleared_up.outcome
        if outcome is None:
            outcome = await self._outcome(nonce, timeout)
        if isinstance(outcome, SmsPilotError):
            raise copy(outcome)  # each who waits raises one of its own
        if outcome is not None:
            return outcome
        if isinstance(unknown, OutcomeUnknown):
            raise unknown
        raise TimeoutError(f"it is still unknown what became of message {id_}")

    def _knows(self, nonce: bytes) -> bool:
        return nonce in self._cleared_up or nonce in self._lost or nonce in self._on_the_way

    async def _ask_others(self, nonce: bytes) -> None:
        """Take over from another process, which shares the sink, a send whose answer was lost."""
        try:
            found = await self._persist(partial(self._answers.find_lost, nonce))
        except _Closed:
            return
        if found is not None and not self._knows(nonce):
            lost = self._lost_of_another(found)
            self._remember(nonce, lost)
            if lost.outcome is None:
                self._look_for_calls(nonce)

    def _lost_of_another(self, found: LostAnswer) -> _Lost:
        return _Lost(found.id, None, self._any_client, asyncio.Event(), outcome=found.sent)

    async def _outcome(self, nonce: bytes, seconds: float | None) -> _Outcome | None:
        """Wait until it is known; ``None`` once the time is up."""
        waiter: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._waiters[nonce].add(waiter)
        try:
            async with self._clock.timeout_at(float("inf") if seconds is None else self._clock.monotonic() + seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._waiters[nonce].discard(waiter)
            if not self._waiters[nonce]:
                del self._waiters[nonce]

    def _is_waiting_for_calls(self) -> bool:
        return bool(self._lost)

    def _remember(self, nonce: bytes, lost: _Lost) -> None:
        """Keep it among the last that wait for proof, or that are cleared up: these push none of those out."""
        kept = self._lost if lost.outcome is None else self._cleared_up
        kept[nonce] = lost
        if len(kept) > _LOST_REMEMBERED:
            oldest, forgotten = kept.popitem(last=False)
            self._forget(oldest, forgotten.id)

    def _forget(self, nonce: bytes, id_: int) -> None:
        if self._last.get(id_) == nonce:
            del self._last[id_]

    def _look_for_calls(self, nonce: bytes) -> None:
        if not self._is_closed and not _is_ending():
            self._follow()
            self._own(self._look_back(nonce))

    async def _look_back(self, nonce: bytes) -> None:
        """Look for calls that were faster than the knowledge that the answer is lost."""
        await self._is_following.wait()
        for stored in await self._persist(partial(self._log.of_send, nonce)):
            self._prove_soon(stored.event)

    def _prove_soon(self, event: StatusEvent) -> None:
        lost, server_id = self._lost.get(event.nonce), event.server_id
        assert server_id is not None  # noqa: S101 - it was read from the call
        if lost is not None:
            if server_id not in lost.proving:
                self._own(self._prove(event.nonce, lost, server_id))
        elif self._answers.has_unknown and not self._knows(event.nonce):
            self._own(self._prove_for_another(event.nonce, server_id))

    async def _prove_for_another(self, nonce: bytes, server_id: str) -> None:
        """Prove it for whichever process lost the answer: it reads here, in the sink, that it was accepted."""
        if (nonce, server_id) in self._proving_for_others:
            return
        self._proving_for_others.add((nonce, server_id))
        try:
            found = await self._persist(partial(self._answers.find_lost, nonce))
            if found is not None and found.sent is None:
                await self._prove(nonce, self._lost_of_another(found), server_id)
        except _Closed:
            pass
        finally:
            self._proving_for_others.discard((nonce, server_id))

    async def _prove(self, nonce: bytes, lost: _Lost, server_id: str) -> None:
        """Believe a call once the gateway itself has echoed our id for the number that the call named."""
        if server_id in lost.proving:
            return
        lost.proving.add(server_id)
        sent = None
        try:
            sent = await self._echo(nonce, lost, server_id)
        finally:
            if sent is None:
                lost.proving.discard(server_id)  # the next call is another try
        if sent is None or sent.server_id is None:
            return
        if sent.id != lost.id or self._bindings.contradicts(nonce, sent.server_id):
            logger.warning("a status callback named a number that is not its message's")
            return
        lost.outcome = sent
        self._lost.pop(nonce, None)
        self._remember(nonce, lost)
        logger.info("a message whose answer was lost was accepted: a status callback proves it")
        self._tell_others(partial(self._answers.accept_lost, nonce, sent))
        if lost.message is not None:
            lost.sending.cleared_up(Accepted(lost.message, sent), lost.told)
        self._accept(nonce, sent)  # after it: hooks that do not wait have heard it when `wait_accepted` returns

    async def _echo(self, nonce: bytes, lost: _Lost, server_id: str) -> SentMessage | None:
        """Ask what the gateway knows of a number; ``None`` if it says nothing, or nobody needs to know any more."""
        for pause in _PAUSES:
            if pause:
                await self._clock.sleep(pause)
            if (proof := await self._proof_of_another(nonce)) is not None:
                return None if lost.outcome is not None else proof
            status = await lost.sending.check_one(server_id)
            if isinstance(status, ClientClosed) or lost.outcome is not None:
                return None
            if not isinstance(status, SmsPilotError) and status.status not in {None, LOST}:
                return SentMessage(id=status.id, server_id=server_id, status=status.status, error=status.error)
        return None

    async def _proof_of_another(self, nonce: bytes) -> SentMessage | None:
        """Return what another process has proven meanwhile."""
        try:
            found = await self._answers.find_lost(nonce)
        except Exception as error:  # noqa: BLE001 - the sink's own; the gateway can be asked all the same
            logger.warning("stored statuses can not be read (%s)", type(error).__name__)
            return None
        return None if found is None else found.sent


class _Watch:
    """The statuses of some messages, as calls bring them: first what came before, then what comes."""

    def __init__(self, inbox: CallbackInbox, server_ids: frozenset[str]) -> None:
        self.server_ids = server_ids
        self._inbox = inbox
        self._waiting: deque[MessageStatus] = deque(maxlen=_WAITING_FOR_A_WATCHER)  # polling fills in what falls out
        self._has_looked_back = False
        self._came = asyncio.Event()

    def give(self, status: MessageStatus) -> None:
        self._waiting.append(status)
        with suppress(RuntimeError):  # its loop is closed, and nobody ended it
            self._came.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageStatus:
        if not self._has_looked_back:
            self._has_looked_back = True
            self._waiting.extendleft(reversed(await self._inbox.seen(self.server_ids)))
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        self._inbox.end_watch(self)


def _claimable(log: EventLog) -> Claimable:
    if isinstance(log, Claimable):
        return log
    raise ValueError("competing: a SQLiteSink is needed, which the workers share")


def _is_ending() -> bool:
    """Tell whether this task was cancelled, as at the end of its loop, which no new task would outlive."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _checked(url: str) -> str:
    if not is_web_address(url) or "?" in url or "#" in url or "@" in url:
        raise ValueError("url: an absolute http(s) URL without query, fragment or password is needed")
    url = url.rstrip("/")
    if len(url) + 1 + LONGEST_SEGMENT > _LONGEST_URL:
        raise ValueError(f"url: at most {_LONGEST_URL - 1 - LONGEST_SEGMENT} characters, for the gateway to take it")
    return url


async def _read(body: AsyncIterable[bytes]) -> bytes | None:
    """Read a body, and of one that is too large no more than what shows that it is; ``None`` of one that breaks off."""
    read = b""
    try:
        async for piece in body:
            read += piece[: LARGEST_FORM + 1]
            if len(read) > LARGEST_FORM:
                return None
    except Exception:  # noqa: BLE001 - each server has its own word for a caller that is gone
        return None
    return read
