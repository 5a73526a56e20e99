"""The inbox: checks that a call from the gateway is genuine, stores it, and passes on what it says.

It does no HTTP: an adapter passes in a request's method, path, query and body, and writes the answer. The order is
fixed: the path is verified before anything is read, the event is stored before the answer is ``OK``, and whatever
waits for events is woken after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

import attrs

from smspilot_async._statuses.rules import STATUS_UNKNOWN, Known, beats
from smspilot_async._tools import clock as _clock
from smspilot_async.callbacks import _form
from smspilot_async.callbacks._event_log import Bindings, Claimable, EventLog, MemoryLog
from smspilot_async.callbacks._form import LARGEST_FORM, StatusEvent
from smspilot_async.callbacks._in_hand import InHand
from smspilot_async.callbacks._proofs import Proofs
from smspilot_async.callbacks._signing import LONGEST_SEGMENT, SignedSend, Signer, nonce_in
from smspilot_async.callbacks._watching import InboxClosed, LogReader, Watching
from smspilot_async.models import is_web_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from smspilot_async._sending.status_callbacks import Sending
    from smspilot_async.callbacks._event_log import Sink, Stored
    from smspilot_async.callbacks._proofs import Check
    from smspilot_async.callbacks._watching import Watch
    from smspilot_async.errors import OutcomeUnknown
    from smspilot_async.models import Message, SendResult, SentMessage

__all__ = ["CallbackInbox"]

logger: Final = logging.getLogger("smspilot_async")

_LONGEST_URL: Final = 240
_PATIENCE: Final = 5.0
_SENDS_REMEMBERED: Final = 100_000


@attrs.frozen
class CallbackResponse:
    """What an adapter answers a call with, as ``text/plain``."""

    status: int
    body: bytes


_OK: Final = CallbackResponse(200, b"OK")
_NOT_FOUND: Final = CallbackResponse(404, b"Not Found")
_UNAVAILABLE: Final = CallbackResponse(503, b"Service Unavailable")


class CallbackInbox:
    """Receives the status callbacks of the messages that a client sends.

    ::

        inbox = CallbackInbox("https://app.example/smspilot", secret=os.environ["CALLBACK_SECRET"])
        client = Client(callbacks=inbox)          # each message gets a URL of its own
        app.mount("/smspilot", callback_app(inbox))   # smspilot_async.callbacks.asgi, or .aiohttp

        async for event in inbox:                 # statuses as they come; for one loop at a time
            print(event.id, event.status)

    The gateway does not sign its calls, so each message's URL is signed: it cannot be guessed, and one that leaks is
    good for its own message only. Other calls get 404 and change nothing. The gateway gets ``OK`` once the event is
    stored: in memory, for the loop above and for :meth:`Client.track`, or in a ``sink``.

    Iterating yields an event only if it advances its message; each -2, which the gateway also reports of messages that
    it has just accepted, is yielded. An event counts as handed over once the next one is requested. With
    :class:`SQLiteSink`, events that were not handed over to any worker before a restart come again after it.

    Workers that share a :class:`SQLiteSink` each get every event. With ``competing=True`` each event goes to one of
    them, and later ones of the same message wait until it is handed over. It goes to another worker if the reading task
    is cancelled, the inbox is closed, or the process dies (after half a minute) before the next one is requested.
    :meth:`Client.track` gets all calls at every worker in both cases.

    Args:
        url: Where the gateway reaches the adapter of this inbox: ``https://``, or ``http://`` for accounts that take no
            other. Messages get ``url`` and a path of 60 characters.
        secret: Signs the URLs: at least 16 characters, the same in all workers. A list for rotation: the first signs,
            each is accepted; an old one can be removed after 41 days.
        sink: Keeps events before the gateway gets ``OK``: :class:`SQLiteSink`, which all workers of a machine
            share, or an object of your own with ``async def store(event)``. Left out, they are kept in memory, the
            last ten thousand of them; once a loop reads them, a call that finds no room gets 503.
        competing: Each event goes to one of the workers that share the :class:`SQLiteSink`, instead of to all.

    Raises:
        ValueError: ``url`` is not an absolute http(s) URL without query, or is too long; ``secret`` is too short;
            workers compete without sharing a :class:`SQLiteSink`.
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
        self._reader = LogReader(self._log, self._clock)
        self._watching = Watching(self._reader, self._log, self._bindings)
        self._proofs = Proofs(self._reader, self._watching, self._log, self._bindings, self._clock)
        self._keeper: asyncio.Task[None] | None = None
        self._fetched: deque[Stored] = deque()
        self._position: int | None = None
        self._handed: int | None = None
        self._newest: OrderedDict[bytes, Known] = OrderedDict()
        self._is_iterating = False

    def __repr__(self) -> str:
        return f"<CallbackInbox, {'closed' if self._reader.is_closed else 'open'}>"

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
        """Do what entering does; the adapters do it when their server starts.

        Raises:
            sqlite3.OperationalError: The file of a :class:`SQLiteSink` cannot be opened.
        """
        await self._reader.open()
        self._watching.follow_again()

    async def aclose(self) -> None:
        """End iterations and tasks, and close the sink. Calls get 503 from now on; entering it opens it again."""
        self._hand_over()
        if self._in_hand is not None:
            self._in_hand.close()
        await self._reader.aclose()

    # --- what the gateway calls ------------------------------------------------------------------

    @property
    def account_url(self) -> str:
        """The secret URL to enter in the vendor's cabinet as the callback of the whole account.

        A call there is answered ``OK`` and changes no status: a :meth:`Client.track` that follows the message which it
        names checks that message at once.
        """
        return f"{self._url}/{self._signer.account_segment}"

    async def answer(self, method: str, path: str, query: bytes, body: AsyncIterable[bytes]) -> CallbackResponse:
        """Receive a call, for an adapter, which calls :meth:`wake` once the answer is written.

        Args:
            method: Of the request.
            path: Only its last segment counts.
            query: The query string, as it came.
            body: Read only if the path is genuine, and no further than a few kilobytes.
        """
        segment = path[-LONGEST_SEGMENT - 1 :].rpartition("/")[2]
        now = self._clock.now()
        send = self._signer.verify(segment, now.timestamp())
        if method not in {"GET", "POST"} or (send is None and not self._signer.is_account(segment)):
            return _NOT_FOUND
        try:
            async with self._clock.timeout_at(self._clock.monotonic() + _PATIENCE):
                form = query if method == "GET" else await _read(body)
                del query
                if form is None:
                    return _NOT_FOUND
                if send is None:
                    return self._suggest_check(form)
                call = _form.read(form)
                del form  # it holds a phone, which no frame of a call that is cancelled may show
                return await self._store_event(send, call, now)
        except Exception as error:  # noqa: BLE001 - whatever a sink raises: the event is not safe
            logger.error("a status callback could not be stored: %s", type(error).__name__)  # noqa: TRY400 - no data
            return _UNAVAILABLE

    async def _store_event(self, send: SignedSend, call: _form.Form | None, now: datetime) -> CallbackResponse:
        if call is None or self._bindings.contradicts(send.nonce, call.server_id):
            return _NOT_FOUND
        if self._reader.is_closed:
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
        self._proofs.see(event)
        return _OK

    def _suggest_check(self, form: bytes) -> CallbackResponse:
        fields = _form.fields_of(form)
        server_id = None if fields is None else _form.server_id_of(fields)
        self._watching.suggest_check(server_id or "")
        return _OK

    def wake(self) -> None:
        """Wake those who wait for events."""
        self._reader.wake()

    # --- what the application iterates over ------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StatusEvent:
        if self._is_iterating:
            raise RuntimeError("another loop is reading this inbox: let one loop read it and pass the events on")
        self._is_iterating = True
        try:
            return await (self._next() if self._in_hand is None else self._next_claimed(self._in_hand))
        except InboxClosed:
            raise StopAsyncIteration from None
        finally:
            self._is_iterating = False

    async def _next(self) -> StatusEvent:
        self._hand_over()
        if self._position is None:
            self._position = await self._reader.read(self._log.handed_over)
        while not self._reader.is_closed:
            while self._fetched:
                stored = self._fetched.popleft()
                self._handed = stored.position
                if self._is_credible(stored.event) and self._is_forward(stored.event):
                    return stored.event
                self._hand_over()
            self._fetched.extend(await self._reader.after(self._position))
            self._position = self._fetched[-1].position if self._fetched else self._position
        raise StopAsyncIteration

    async def _next_claimed(self, in_hand: InHand) -> StatusEvent:
        in_hand.finish()
        while not self._reader.is_closed:
            stored = await self._reader.read_or_wait(in_hand.claim)
            if stored is not None and not self._reader.is_closed:
                in_hand.take(stored)
                self._keep(in_hand)
                return stored.event
        raise StopAsyncIteration

    def _keep(self, in_hand: InHand) -> None:
        keeper, loop = self._keeper, asyncio.get_running_loop()
        if keeper is None or keeper.done() or keeper.get_loop() is not loop:
            self._keeper = self._reader.start(in_hand.keep())

    def _hand_over(self) -> None:
        handed, self._handed = self._handed, None
        if handed is not None:
            self._log.hand_over(handed)

    def _is_credible(self, event: StatusEvent) -> bool:
        """Return whether nothing contradicts it: it may have come before an answer that names another number."""
        return event.server_id is None or not self._bindings.contradicts(event.nonce, event.server_id)

    def _is_forward(self, event: StatusEvent) -> bool:
        """Return whether it advances its message; each -2 is passed on, and never remembered."""
        new = Known(event, is_polled=False)
        if not beats(new, self._newest.get(event.nonce)):
            return False
        if event.status != STATUS_UNKNOWN:
            self._newest[event.nonce] = new
            if len(self._newest) > _SENDS_REMEMBERED:
                self._newest.popitem(last=False)
        return True

    # --- what the client asks for ----------------------------------------------------------------

    def watch(self, server_ids: Collection[str]) -> Watch:
        """Follow the statuses of some messages, for :meth:`Client.track`.

        A status of ``None`` says only that the message should be checked.
        """
        return self._watching.watch(server_ids)

    def attach(self, check: Check) -> None:
        """Register a client's function for checking a message, for as long as the client lives."""
        self._proofs.attach(check)

    def urls_for(
        self, messages: Iterable[tuple[int, Message]], nonces: Mapping[int, bytes] | None = None
    ) -> dict[int, str]:
        """Sign a URL for each message that is about to be sent, under its id, unless it brings its own.

        Args:
            messages: Each with its id.
            nonces: What identifies the sends, by the message's id, if the sender has chosen it; else it is random.
        """
        nonces = nonces or {}
        now = self._clock.now()
        urls = {}
        for id_, message in messages:
            if message.callback is None:
                due = now if message.send_at is None else max(now, message.send_at)
                urls[id_] = url = f"{self._url}/{self._signer.sign(id_, due.timestamp(), nonces.get(id_))}"
                self._proofs.add_send(id_, nonce_in(url))
        return urls

    def nonce_of(self, url: str) -> bytes:
        """Return what identifies the send of a URL of ours, which its errors carry for :meth:`wait_accepted`."""
        return nonce_in(url)

    def settled(
        self,
        url: str,
        id_: int,
        result: SendResult[Message],
        sending: Sending,
        hooks_done: asyncio.Event,
        *,
        is_late: bool,
    ) -> None:
        """Note what became of a message that was sent with a URL of ours.

        Args:
            url: The URL.
            id_: The message's id.
            result: What became of it.
            sending: By what it was sent.
            hooks_done: Set once the hooks were called with the result.
            is_late: Its caller did not wait for it, and may ask here.
        """
        self._proofs.settle(nonce_in(url), id_, result, sending, hooks_done, is_late=is_late)

    # --- answers that were lost ------------------------------------------------------------------

    async def wait_accepted(
        self,
        unknown: OutcomeUnknown | int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the inbox's clock counts it
    ) -> SentMessage:
        """Wait until a call proves that a message was accepted whose answer was lost.

        The gateway calls the URL of that very send, the client checks the number which the call names, and the
        gateway's answer echoes the message's id. ``Hooks.on_result`` is called with it as well.

        Workers that share a :class:`SQLiteSink` prove it for each other, whichever is called: the hooks of the client
        that sent it are called, and any of them may wait for the error, also one that was started later.

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
            LookupError: No such message was sent with this inbox lately, or its caller got its answer; or
                the error is about a packet of several.
        """
        return await self._proofs.wait_accepted(unknown, timeout)


def _claimable(log: EventLog) -> Claimable:
    if isinstance(log, Claimable):
        return log
    raise ValueError("competing needs a SQLiteSink, which the workers share")


def _checked(url: str) -> str:
    if not is_web_address(url) or "?" in url or "#" in url or "@" in url:
        raise ValueError("url must be an absolute http(s) URL without query, fragment or password")
    url = url.rstrip("/")
    if len(url) + 1 + LONGEST_SEGMENT > _LONGEST_URL:
        raise ValueError(
            f"url must have at most {_LONGEST_URL - 1 - LONGEST_SEGMENT} characters, or the gateway refuses it"
        )
    return url


async def _read(body: AsyncIterable[bytes]) -> bytes | None:
    """Read a body, of one that is too large only enough to see that; ``None`` if it is too large or incomplete."""
    read = bytearray()
    try:
        async for piece in body:
            read += piece[: LARGEST_FORM + 1]
            del piece
            if len(read) > LARGEST_FORM:
                return None
        return bytes(read)
    except Exception:  # noqa: BLE001 - each server has its own exception for a caller that is gone
        return None
    finally:
        read.clear()  # it holds a phone, which no frame of a call that is cancelled may show
