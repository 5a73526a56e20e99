"""The client: its life cycle, and one method per command of the gateway."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import AsyncIterable
from copy import copy
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

import attrs

from smspilot_async import _settings
from smspilot_async._health import Health, HealthRecorder
from smspilot_async._inbound.cursor import cursor_of
from smspilot_async._inbound.listener import InboundListener
from smspilot_async._network.base import WriteLimit, longest_unacknowledged
from smspilot_async._network.proxies import check_network, check_url
from smspilot_async._network.transport import late_bytes
from smspilot_async._requests.hook_runner import HOOKS_GRACE, HookRunner
from smspilot_async._requests.retry import Retry
from smspilot_async._requests.slots import background_places
from smspilot_async._sending.bulk import BulkRun
from smspilot_async._sending.items import as_message
from smspilot_async._sending.pending import PendingMessage
from smspilot_async._session import Sessions, client_closed
from smspilot_async._settings import Settings
from smspilot_async._statuses import checks as _checks
from smspilot_async._statuses import tracking as _tracking
from smspilot_async._statuses.checks import PacketChecks
from smspilot_async._statuses.server_ids import flat, server_id
from smspilot_async._statuses.tracking import Tracking
from smspilot_async._tools import clock as _clock
from smspilot_async._tools import validate
from smspilot_async._tools.clock import boot_time
from smspilot_async._tools.deprecation import renamed
from smspilot_async._tools.secret import Secret
from smspilot_async.errors import InvalidMessage, SmsPilotError
from smspilot_async.models import (
    AccountInfo,
    CallbackMethod,
    InboundMessage,
    Message,
    MessageStatus,
    Packet,
    Sendable,
    SentMessage,
)
from smspilot_async.text import check_country, dialled
from smspilot_async.wire import (
    Balance,
    CheckPacket,
    Command,
    Cost,
    Inbound,
    Info,
    RequestStyle,
    WireFormat,
)

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    import httpx

    from smspilot_async._inbound.cursor import InboundCursor
    from smspilot_async._sending.status_callbacks import StatusCallbacks
    from smspilot_async._session import Session
    from smspilot_async._statuses.server_ids import Trackable
    from smspilot_async._statuses.tracking import Watchable
    from smspilot_async.hooks import Hooks
    from smspilot_async.text import Country

__all__ = ["Client"]

Answer = TypeVar("Answer")
Item = TypeVar("Item")
SendableItem = TypeVar("SendableItem", bound=Sendable)

# Ids that the client assigns stay below 2^31: the width of the gateway's own column is not known.
_FIRST_IDS: Final = (1, 1_000_000_000)


class Client:
    """An asyncio client of the SMS gateway SMSPILOT.RU.

    Creating one does no network I/O and needs no event loop; ``async with`` is optional, but closes the connections.
    Share one client throughout an application. It may be used from several event loops in turn, as notebooks and tests
    do: connections belong to the running loop.

    Args:
        api_key: The key, or a function that returns the current one (rotation). By default it is read from
            ``SMSPILOT_API_KEY``, or from the file named by ``SMSPILOT_API_KEY_FILE``.
        login: Instead of a key, together with ``password``; the vendor advises against it.
        password: See ``login``.
        url: The endpoint; by default ``SMSPILOT_URL`` or ``https://smspilot.ru/api2.php``.
        wire: The format of requests, ``"json"`` or ``"xml"``. Answers are understood in both.
        request_style: How the document travels: as the ``"body"`` of a POST, as a ``"form"`` field, or in the URL
            (``"query"``, with a warning: access logs then contain the key).
        sender: For messages without one; by default the account's.
        test: Have the gateway accept messages without passing them on to operators. ``SMSPILOT_TEST=1`` enables it too.
        max_connections: The maximum number of connections to the gateway.
        timeout: Seconds for one HTTP exchange. The answer to a paid request is awaited that long even if the caller is
            gone.
        deadline: Seconds for a whole call, including queueing and retries; every call accepts its own ``deadline=``.
        retry: The schedule of safe retries; ``Retry(attempts=1)`` disables retries and the splitting of packets.
        rate_limit: The maximum rate of sends, in messages per second.
        packet_size: The maximum number of messages in a packet; 100 to 500 are fastest.
        split_packets: If the gateway refuses a whole packet because of one message (a phone, a text), send its halves
            again until that message is alone. This trusts the vendor's documentation, by which a refused packet was
            not accepted in part. With ``False``, such a packet, and one that the balance does not cover, is
            ``unknown``.
        linger: Seconds that :meth:`send` may wait for more messages to share its packet, counted from the packet's
            first message. With 0, only calls made in the same iteration of the event loop, or while no connection is
            free, share packets. No call waits longer than half of the time to its deadline.
        max_pending: The maximum number of messages queued in :meth:`send`, and of concurrent calls of veto hooks;
            further callers wait.
        debug_email: The gateway mails every request there, including the key (with a warning).
        referral: A contract number that is credited.
        country: With ``"RU"``, phones passed to :meth:`send`, or elsewhere in pairs and mappings, are read as they are
            written in Russia (:func:`normalize_phone`); those of :class:`Message` objects are not.
        proxy: The URL of a proxy; by default ``HTTPS_PROXY``, ``NO_PROXY`` and so on are honoured, except for an
            emulator on this machine.
        ssl_context: For TLS; by default with certifi's roots.
        transport: An ``httpx.AsyncBaseTransport`` to use instead of the client's own connections; the client does not
            close it.
        hooks: Observers of requests and results, instances of your subclasses of :class:`Hooks`; a hook may also veto
            a message.
        callbacks: The inbox that receives status callbacks: each message without a ``callback`` gets a signed URL of
            that inbox. The application closes it, after the client.
        allow_http: Allow an ``http:`` URL of another machine, which exposes the key on the network.
            ``SMSPILOT_ALLOW_HTTP=1`` allows it too: for an emulator in another container.

    Raises:
        ValueError: An argument, or an environment variable, is invalid.
        TypeError: An argument has the wrong type, such as a hook that is not a :class:`Hooks` instance.
        InvalidMessage: ``sender`` is not a valid sender name.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        login: str | None = None,
        password: str | None = None,
        url: str | None = None,
        wire: WireFormat = "json",
        request_style: RequestStyle = "body",
        sender: str | None = None,
        test: bool = False,
        max_connections: int = 20,
        timeout: float = 30.0,
        deadline: float = 25.0,
        retry: Retry | None = None,
        rate_limit: float | None = None,
        packet_size: int = 100,
        split_packets: bool = True,
        linger: float = 0.0,
        max_pending: int = 10_000,
        debug_email: str | None = None,
        referral: int | str | None = None,
        country: Country | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        hooks: Iterable[Hooks] = (),
        callbacks: StatusCallbacks | None = None,
        allow_http: bool = False,
    ) -> None:
        key, user, secret = Secret(api_key), Secret(login), Secret(password)
        endpoint, way, mail_to = Secret(url), Secret(proxy), Secret(debug_email)
        del api_key, login, password, url, proxy, debug_email  # a traceback may show this frame's variables
        validate.one_of("wire", wire, ("json", "xml"))
        validate.one_of("request_style", request_style, ("body", "form", "query"))
        validate.whole(max_connections=max_connections, packet_size=packet_size, max_pending=max_pending)
        validate.required(timeout=timeout, deadline=deadline)
        validate.positive(timeout=timeout, deadline=deadline, rate_limit=rate_limit)
        validate.not_negative(linger=linger)
        _settings.check_sender(sender)
        check_country(country)
        validate.of_type(Retry, retry=retry)
        _settings.check_callbacks(callbacks)
        check_network(way, ssl_context, transport)
        self._settings = Settings(
            credentials=_settings.credentials_from(key, user, secret),
            url=_settings.url_from(endpoint, allow_http=allow_http),
            wire=wire,
            request_style=_settings.style_from(request_style),
            sender=sender,
            test=_settings.test_from(test=test),
            max_connections=max_connections,
            timeout=timeout,
            deadline=deadline,
            retry=retry or Retry(),
            rate_limit=rate_limit,
            packet_size=packet_size,
            split_packets=split_packets,
            linger=linger,
            max_pending=max_pending,
            parameters=_settings.parameters_from(mail_to, referral),
            country=country,
            proxy=way.reveal(),
            ssl_context=ssl_context,
            transport=transport,
        )
        check_url(self._settings.url)
        self._callbacks = callbacks
        self._clock = _clock.current()
        self._hooks = HookRunner(hooks, self._clock)
        self._recorder = HealthRecorder(self._clock)
        self._ids = itertools.count(random.randint(*_FIRST_IDS))  # noqa: S311 - unique within a packet is enough
        self._sessions = Sessions(self._settings, self._hooks, self._recorder, self._clock, callbacks)
        self._sender: str | None = None  # a view's own, for each of its messages: they share packets with others
        self._is_view = False
        self._hooks.client_made(self)

    def __repr__(self) -> str:
        if not hasattr(self, "_sessions"):
            return "<Client, half made>"  # an error of __init__, in a traceback that shows frames
        settings = self._settings
        words = [f"{settings.wire} over {settings.request_style}", "closed" if self._sessions.is_closed else "open"]
        words += [word for word, holds in (("test", settings.test), ("a view", self._is_view)) if holds]
        return f"<Client {', '.join(words)}>"

    @property
    def url(self) -> str:
        """The endpoint in use, without credentials and query."""
        return self._settings.shown_url

    @property
    def is_test(self) -> bool:
        """Whether the client is in test mode: ``test=True``, or ``SMSPILOT_TEST=1`` when it was created."""
        return self._settings.test

    @property
    def gateway_time(self) -> datetime | None:
        """The gateway's own time, from its last answer; aware, UTC; ``None`` before the first answer."""
        return self._recorder.gateway_time

    def with_options(self, *, deadline: float | None = None, sender: str | None = None, test: bool = False) -> Self:
        """Return a view of this client that has other defaults and shares everything else with it.

        It uses the client's connections, limits, packets, hooks and inbox. It can be used as long as the client is
        open; closing or exiting it does nothing.

        Args:
            deadline: Seconds for each call; by default the client's.
            sender: For messages without one; by default the client's.
            test: Have the gateway accept every message without passing it on to operators. Test messages do not share
                packets with others. The view of a client in test mode is always in test mode.

        Raises:
            ValueError: ``deadline`` is not above zero.
            InvalidMessage: ``sender`` is not a valid sender name.
        """
        validate.positive(deadline=deadline)
        _settings.check_sender(sender)
        own = self._settings
        view = copy(self)
        vars(view).update(
            _is_view=True,
            _sender=sender or self._sender,
            _settings=attrs.evolve(
                own, deadline=deadline or own.deadline, sender=sender or own.sender, test=test or own.test
            ),
        )
        return view

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if not self._is_view:
            self._sessions.is_closed = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - draining must not be cancelled
        """Send what is queued, wait for the answers, then close all connections; for a view, do nothing.

        Calls made from now on raise :class:`ClientClosed`; entering the client again reopens it. Hooks are closed last.

        Args:
            timeout: Seconds to wait; messages on the wire that are still unanswered then are reported as unknown. By
                default, each request's own timeout is the limit. Hooks get five more seconds, so that they are called
                with every result, and another five to close; without ``timeout``, they are awaited without limit.
        """
        if self._is_view:
            return
        await self._sessions.aclose(timeout)
        until = math.inf if timeout is None else self._clock.monotonic() + HOOKS_GRACE
        await self._hooks.client_closed(lambda: until)

    async def flush(self) -> None:
        """Send every queued message now, and wait for the answers to all sends of this event loop."""
        await self._session().flush()

    def health(self) -> Health:
        """Return this client's health, without asking the gateway: for a health endpoint, from any thread."""
        health = self._recorder
        sessions = self._sessions.living()
        return Health(
            is_open=not self._sessions.is_closed,
            last_success=health.last_success,
            failures_in_a_row=health.failures_in_a_row,
            queued=sum(session.queued() for session in sessions),
            in_flight=sum(session.submissions.in_flight() for session in sessions),
            open_unknowns=max(0, health.open_unknowns),  # a callback may resolve one before its packet is counted
            listen_lag=health.listen_lag(),
            balance=health.balance,
            balance_at=health.balance_at,
        )

    def _session(self) -> Session:
        return self._sessions.here()

    # --- sending ---------------------------------------------------------------------------------

    async def send(
        self,
        to: str,
        text: str,
        *,
        sender: str | None = None,
        id: int | None = None,  # noqa: A002 - the gateway's own word for it
        send_at: datetime | None = None,
        callback: str | None = None,
        callback_method: CallbackMethod | None = None,
        ttl: int | None = None,
        deadline: float | None = None,
    ) -> SentMessage:
        """Send one SMS.

        The arguments are those of :class:`Message`. If the caller is cancelled, or its deadline passes, while the
        message is on the wire, the request continues, and :meth:`Hooks.on_result` is called with the result.

        Args:
            to: The phone, in any notation; see the client's ``country``.
            text: The text, up to ten parts.
            sender: The sender name, if not the client's or the account's default.
            id: Your own whole number for it; by default a unique one is assigned.
            send_at: When to send, with a time zone.
            callback: A URL that the gateway calls at each change of status.
            callback_method: ``"get"`` or ``"post"``.
            ttl: Minutes within which it may be delivered, 1 to 1440.
            deadline: Seconds for this call; by default the client's.

        Returns:
            The gateway's answer; pass its ``server_id`` to :meth:`check`.

        Raises:
            InvalidMessage: A field is invalid; nothing was sent.
            MessageVetoed: A hook refused it; nothing was sent.
            ConnectionFailed: Nothing was sent.
            GatewayError: The gateway refused it.
            OutcomeUnknown: It may have been sent; it is not retried.
        """
        country = self._settings.country
        try:
            message = Message(
                to if country is None else dialled(to, country),
                text,
                sender=sender,
                id=id,
                send_at=send_at,
                callback=callback,
                callback_method=callback_method,
                ttl=ttl,
            )
        finally:
            del to, text, sender, callback  # a traceback may show this frame's variables
        return _sent(await self._send(message, deadline))

    async def send_message(self, message: Message, *, deadline: float | None = None) -> SentMessage:
        """Send one :class:`Message`; otherwise like :meth:`send`."""
        if not isinstance(message, Message):
            given = type(message).__name__
            del message  # a traceback may show this frame's variables
            raise TypeError(f"message must be a Message, not {given}")
        return _sent(await self._send(message, deadline))

    def _send(self, message: Message, deadline: float | None) -> Awaitable[SentMessage | SmsPilotError]:
        until = self._clock.monotonic() + self._deadline(deadline)
        session, id_ = self._session(), message.id or next(self._ids)
        if session.requester.hooks.has_veto:
            return self._send_unless_vetoed(session, message, id_, until)
        return session.batcher_for(test=self._settings.test).send(message, id_, until, self._sender)

    async def _send_unless_vetoed(
        self, session: Session, message: Message, id_: int, until: float
    ) -> SentMessage | SmsPilotError:
        if (veto := await session.ask_for_veto(message, id_, until)) is not None:
            return veto
        batcher = self._session().batcher_for(test=self._settings.test)  # the session may have been closed meanwhile
        return await batcher.send(message, id_, until, self._sender)

    async def send_packet(
        self,
        messages: Iterable[Sendable] | AsyncIterable[Sendable],
        *,
        test: bool = False,
        deadline: float | None = None,
    ) -> Packet:
        """Send messages in one request.

        Only messages that the gateway asks to send again (110) are resent, in a packet of their own.

        Args:
            messages: At least one; 100 to 500 are a good size. As for :meth:`bulk`, :class:`Message` objects, mappings
                with a message's fields, or pairs ``(to, text)``.
            test: Have the gateway accept them without passing them on to operators.
            deadline: Seconds for this call; by default the client's.

        Returns:
            One entry per message, in order: accepted, refused, not sent, or unknown. Check each one's ``accepted``.

        Raises:
            InvalidMessage: There is no message, or one is invalid (a note says which); nothing was sent.
            MessageVetoed: Hooks refused every message; nothing was sent.
            ConnectionFailed: Nothing was sent.
            GatewayError: The gateway refused the packet as a whole.
            OutcomeUnknown: Each of its messages may have been sent.
        """
        try:
            batch = await self._batch(messages)
        finally:
            del messages  # a traceback may show this frame's variables
        session = self._session()
        until = self._clock.monotonic() + self._deadline(deadline)
        entries = [
            PendingMessage(message, id_, until=until, sender=self._sender)
            for message, id_ in zip(batch, self._ids_for(batch), strict=True)
        ]
        outcome = await session.send_packet(entries, test=test or self._settings.test, until=until)
        if isinstance(outcome, SmsPilotError):
            raise outcome
        return outcome

    async def _send_once(
        self, messages: Sequence[Message], *, not_after: float, nonce_of: Callable[[Message], bytes]
    ) -> Packet | SmsPilotError:
        """Send messages in one request, for a ledger: nothing is packed, split or retried.

        Args:
            messages: Each with an id.
            not_after: No byte leaves if none has left by then, in :func:`boot_time`.
            nonce_of: Returns what identifies the send of a message for the inbox.
        """
        session, timeout = self._session(), self._settings.timeout
        limit = WriteLimit(not_after=not_after, unacknowledged=longest_unacknowledged(timeout))
        begins_by = self._clock.monotonic() + not_after - boot_time()
        entries = [
            PendingMessage(message, message.id or 0, until=begins_by, sender=self._sender) for message in messages
        ]
        if self._callbacks is not None:
            for entry in entries:
                entry.nonce = nonce_of(entry.message) if entry.message.callback is None else None
        return await session.send_once(entries, limit, begins_by + timeout)

    @property
    def _late_bytes(self) -> str | None:
        """Why bytes of this client may arrive after its death, at any time; ``None`` if they cannot."""
        return late_bytes(self._settings.url, self._settings.proxy, self._settings.transport)

    @overload
    def bulk(
        self,
        items: Iterable[SendableItem] | AsyncIterable[SendableItem],
        *,
        packet_size: int | None = None,
        in_flight: int = 4,
        rate_limit: float | None = None,
        max_unknown: int = 3,
        patience: float = 600.0,
        test: bool = False,
        country: Country | None = None,
        before_packet: Callable[[Sequence[SendableItem]], Awaitable[None]] | None = None,
    ) -> BulkRun[SendableItem]: ...

    @overload
    def bulk(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        message: Callable[[Item], Sendable],
        packet_size: int | None = None,
        in_flight: int = 4,
        rate_limit: float | None = None,
        max_unknown: int = 3,
        patience: float = 600.0,
        test: bool = False,
        country: Country | None = None,
        before_packet: Callable[[Sequence[Item]], Awaitable[None]] | None = None,
    ) -> BulkRun[Item]: ...

    def bulk(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        message: Callable[[Any], Sendable] | None = None,
        packet_size: int | None = None,
        in_flight: int = 4,
        rate_limit: float | None = None,
        max_unknown: int = 3,
        patience: float = 600.0,
        test: bool = False,
        country: Country | None = None,
        before_packet: Callable[[Sequence[Any]], Awaitable[None]] | None = None,
    ) -> BulkRun[Any]:
        """Send a stream of messages, and get a stream of results: one per item, in the order in which packets complete.

        ::

            async with client.bulk(source) as run:
                async for result in run:
                    match result:
                        case Accepted(item, sent): ...
                        case Refused(item, error): ...
                        case Unknown(item, error): ...  # may have been sent: never send it again automatically
                        case NotSent(item, error): ...  # may be sent again unchanged

        It holds at most ``packet_size * in_flight`` messages in memory, however long the source is; a caller that is
        slow to take results slows down sending. Leaving the block early, an error in the source (raised after the
        results before it) and cancellation are safe: the answers to requests on the wire are awaited, and each message
        gets its result.

        If the gateway answers a whole packet with "not now" (110, HTTP 429), which says nothing about its messages,
        the run retries with back-off for at most ``patience`` seconds; meanwhile ``run.busy`` is that error. The run
        stops when patience is exhausted, after ``max_unknown`` consecutive packets without an answer, or at an error of
        the account (funds, key, blocked): messages that were read and not sent yet become ``NotSent``, then that error
        is raised.

        Args:
            items: :class:`Message` objects, mappings with a message's fields, or pairs ``(to, text)``, from any
                iterable or async iterable; with ``message``, objects of any kind. One task advances and closes it.
                Invalid items, and messages that a hook vetoes, become ``Refused``. If the source yields nothing for a
                second, an incomplete packet is sent.
            message: Makes the message of an item, so that results carry your own objects. An :class:`InvalidMessage`
                that it raises makes the item ``Refused``; any other error ends the run, like an error in the source.
            packet_size: Messages in a packet; by default the client's.
            in_flight: The maximum number of concurrent packets.
            rate_limit: Messages per second, in addition to the client's own limit.
            max_unknown: The number of consecutive packets without an answer at which the run stops.
            patience: Seconds for which a packet that got "not now" is retried; with 0, only the client's ``retry``
                applies. ``Retry(attempts=1)`` disables these retries, too.
            test: Have the gateway accept them without passing them on to operators.
            country: How the phones of pairs and mappings are read; by default the client's.
            before_packet: A coroutine function that is awaited with the items of each packet before its first byte is
                sent: the place to record an intent. If it raises, the packet is not sent, and the run ends with that
                error. :meth:`Hooks.before_packet` does the same for every send of the client.

        Returns:
            The run; its ``stats`` are always up to date.

        Raises:
            ValueError: A number is invalid.
        """
        source = Secret(items)
        del items  # a traceback may show this frame's variables
        packet_size = self._settings.packet_size if packet_size is None else packet_size
        validate.whole(packet_size=packet_size, in_flight=in_flight, max_unknown=max_unknown)
        validate.positive(rate_limit=rate_limit)
        check_country(country)
        validate.not_negative(patience=patience)
        return BulkRun(
            lambda: self._session().submissions,
            source.reveal(),
            ids=self._ids,
            packet_size=packet_size,
            in_flight=in_flight,
            rate_limit=rate_limit,
            max_unknown=max_unknown,
            patience=patience,
            test=test or self._settings.test,
            sender=self._sender,
            country=country or self._settings.country,
            message=message,
            before_packet=before_packet,
        )

    async def _batch(self, items: Iterable[Sendable] | AsyncIterable[Sendable]) -> list[Message]:
        given = await _read_all(items)
        del items  # a traceback may show this frame's variables
        if not given.reveal():
            raise InvalidMessage("at least one message is needed", field="messages", code=240)
        batch = []
        for place, item in enumerate(given.reveal()):
            try:
                batch.append(as_message(item, self._settings.country))
            except InvalidMessage as error:
                error.add_note(f"It is messages[{place}]. Nothing was sent.")
                del item
                raise error.with_traceback(None) from None
        return batch

    def _ids_for(self, messages: list[Message]) -> list[int]:
        """Return an id for every message: the caller's if it is unique, else a new one."""
        taken = {message.id for message in messages if message.id}
        if len(taken) == len(messages):
            return [message.id or 0 for message in messages]
        free = (id_ for id_ in self._ids if id_ not in taken)
        used: set[int] = set()
        ids = []
        for message in messages:
            id_ = message.id if message.id and message.id not in used else next(free)
            used.add(id_)
            ids.append(id_)
        return ids

    async def cost(
        self, messages: Iterable[Sendable] | AsyncIterable[Sendable], *, deadline: float | None = None
    ) -> Decimal:
        """Return the price of a packet, in roubles. Nothing is sent.

        Args:
            messages: As for :meth:`send_packet`.
            deadline: Seconds for this call; by default the client's.

        Raises:
            InvalidMessage: There is no message, or one is invalid (a note says which).
            GatewayError: The gateway refused the packet.
            OutcomeUnknown: The gateway answered as if it had sent the packet.
            ConnectionFailed, Unanswered: There is no answer.
        """
        try:
            batch = await self._batch(messages)
        finally:
            del messages  # a traceback may show this frame's variables
        answer = await self._ask(Cost(batch, self._ids_for(batch), self._settings.sender), deadline)
        assert isinstance(answer, Decimal)  # noqa: S101 - a Packet has become an error
        return answer

    # --- statuses --------------------------------------------------------------------------------

    async def check(
        self,
        server_ids: Trackable | Iterable[Trackable],
        *,
        deadline: float | None = None,
    ) -> list[MessageStatus]:
        """Return the statuses of messages; asks for a hundred per request, with several concurrent requests.

        Args:
            server_ids: The gateway's ids, or objects that hold them: answers of :meth:`send`, packets, results of a
                bulk run, one or many. Results, and messages of a packet, that were not accepted are skipped.
            deadline: Seconds for this call; by default the client's.

        Returns:
            One status per id, in the order of the ids. If the gateway does not know one of several ids, that one has
            the status -2, with the gateway's code (301, 302), if any, as its ``error``; the gateway keeps messages for
            about 40 days. An id that is missing from the answer has the status ``None``.

        Raises:
            NotFound: There is one id, and the gateway does not know it.
            GatewayError, ConnectionFailed, Unanswered: There is no answer.
        """
        ids = [server_id(one, "server_ids", 300) for one in flat(server_ids)]
        until = self._clock.monotonic() + self._deadline(deadline)
        return await _checks.check(ids, self._ask_in_background, in_flight=self._checks_at_once(), until=until)

    async def check_packet(
        self, server_packet_id: str | int | Packet, *, deadline: float | None = None
    ) -> list[MessageStatus]:
        """Return the statuses of all messages of a packet.

        Raises:
            NotFound: The gateway does not know the packet.
            GatewayError, ConnectionFailed, Unanswered: There is no answer.
        """
        command = CheckPacket(server_id(server_packet_id, "server_packet_id", 304))
        answer = await self._ask_in_background(command, deadline=self._deadline(deadline))
        if isinstance(answer, SmsPilotError):
            raise answer
        return answer

    @renamed(concurrency="in_flight")
    def check_packets(
        self,
        server_packet_ids: str | int | Packet | Iterable[str | int | Packet] | AsyncIterable[str | int | Packet],
        *,
        in_flight: int | None = None,
        deadline: float | None = None,
    ) -> PacketChecks:
        """Check the messages of many packets, several packets at a time, in bounded memory.

        Example::

            async with client.check_packets(packets) as checks:
                async for check in checks:
                    print(check.server_packet_id, check.error or len(check.statuses))

        Leaving the block early, with ``break`` or an error, cancels the checks in progress.

        Args:
            server_packet_ids: The gateway's ids, or packets that hold them, any number of them: one task reads them as
                needed, and finally closes a generator.
            in_flight: The maximum number of concurrent checks. By default, and at most, all connections except the two
                that are reserved for sends.
            deadline: Seconds for each check; by default the client's.

        Returns:
            An object to enter and iterate over: a :class:`PacketCheck` for each packet, in order of arrival. A check
            that failed has its ``error`` set and does not end the others; an error that the iterator of ids raises is
            raised after the results before it.

        Raises:
            ValueError: ``in_flight`` or ``deadline`` is not above zero.
        """
        given = server_packet_ids
        ask = functools.partial(self._ask_in_background, deadline=self._deadline(deadline))
        return PacketChecks(
            [given] if isinstance(given, (str, int, Packet)) else given,
            ask,
            in_flight=self._checks_at_once(in_flight),
        )

    @renamed(every="poll_interval")
    def track(
        self,
        sent_or_ids: Trackable | Iterable[Trackable],
        *,
        poll_interval: float | None = None,
        timeout: float | None = None,
        source: AsyncIterable[MessageStatus] | Watchable | None = None,
    ) -> Tracking:
        """Follow messages until their statuses are final.

        Example::

            async with client.track(packet, timeout=3600) as changes:
                async for status in changes:
                    print(status.server_id, status.status)
            print(changes.pending)

        The gateway is polled by packet if several messages share one, else by ids, on the vendor's schedule: after 1
        minute, then 2, growing by half up to an hour, and once more shortly before the timeout. Scheduled messages are
        polled from their time on; messages with a final status are not polled again. Failed checks are repeated at the
        next poll.

        A final status never changes, and each message's final status is yielded once. For an accepted message, -2
        ("unknown") counts only after ten minutes and two checks, and is not yielded before. Statuses from ``source``
        can only advance a message, and polled statuses override them. Statuses that this library does not know are
        yielded, and are not final.

        Args:
            sent_or_ids: Answers of :meth:`send`, packets, results of a bulk run, or the gateway's message ids, one or
                many, mixed. Messages that were not accepted are skipped.
            poll_interval: Seconds between polls, instead of the schedule.
            timeout: Seconds until tracking ends; by default the 40 days for which the gateway keeps a message.
            source: Statuses from callbacks, such as a :class:`~smspilot_async.callbacks.CallbackInbox`, which any
                number of trackings may share; statuses of other messages are ignored. Tracking continues when it ends.
                By default the client's own inbox, if it has one.

        Returns:
            An object to enter and iterate over: every change, as a :class:`MessageStatus`, until all are final or the
            timeout is reached. Its ``statuses`` maps each ``server_id`` to the last status, ``pending`` has the ids of
            messages that are not final. The iteration raises whatever ``source`` raises, and
            :class:`AuthenticationError`, :class:`AccountBlocked` or :class:`ClientClosed` from a check, after the
            changes before it.

        Raises:
            InvalidMessage: Something is neither a message, a packet, a result nor an id.
            ValueError: ``poll_interval`` or ``timeout`` is not above zero.
        """
        validate.positive(poll_interval=poll_interval, timeout=timeout)
        return Tracking(
            _tracking.tracked_in(sent_or_ids, self._clock),
            self._ask_in_background,
            clock=self._clock,
            in_flight=self._checks_at_once(),
            poll_interval=poll_interval,
            timeout=timeout,
            source=self._callbacks if source is None else source,
        )

    @renamed(every="poll_interval")
    async def wait_final(
        self,
        sent: SentMessage | str | int,
        *,
        poll_interval: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the clock of the client counts it
        source: AsyncIterable[MessageStatus] | Watchable | None = None,
    ) -> MessageStatus:
        """Wait for the final status of one message; for many, :meth:`track` needs far fewer requests.

        Args:
            sent: The answer of :meth:`send`, or the gateway's id.
            poll_interval: As with :meth:`track`.
            timeout: Seconds to wait; by default 40 days.
            source: As with :meth:`track`.

        Returns:
            Its final status: delivered (2), not delivered (-1), or unknown to the gateway (-2).

        Raises:
            NotFinal: The timeout was reached; it has the last status, if there is one. Do not send the message again.
            AuthenticationError, AccountBlocked, ClientClosed: The gateway cannot be asked.
            SmsPilotError: The message was not accepted: its own ``failure``.
        """
        if isinstance(sent, SentMessage) and sent.failure is not None:
            raise sent.failure
        id_ = server_id(sent, "server_ids", 300)
        async with self.track(sent, poll_interval=poll_interval, timeout=timeout, source=source) as changes:
            async for _ in changes:
                pass
        status = changes.statuses.get(id_)
        if status is None or not status.is_final:
            raise _tracking.not_final(id_, status)
        return status

    def _checks_at_once(self, wanted: int | None = None) -> int:
        most = background_places(self._settings.max_connections)
        if wanted is None:
            return most
        validate.whole(in_flight=wanted)
        return min(wanted, most)

    # --- account ---------------------------------------------------------------------------------

    async def balance(self, *, deadline: float | None = None) -> Decimal:
        """Return the balance, in roubles, with the gateway's digits."""
        return await self._ask(Balance("rur"), deadline)

    async def balance_sms(self, *, deadline: float | None = None) -> int:
        """Return the balance as a rough number of SMS, as the gateway estimates it."""
        return int(await self._ask(Balance("sms"), deadline))

    async def info(self, *, deadline: float | None = None) -> AccountInfo:
        """Return the account's data."""
        return await self._ask(Info(), deadline)

    # --- inbound ---------------------------------------------------------------------------------

    async def inbound(
        self, since: datetime | Literal["new"] | None = None, *, deadline: float | None = None
    ) -> list[InboundMessage]:
        """Return messages received by the account's numbers.

        Args:
            since: An aware datetime, for messages since then; ``"new"`` for those that no answer has contained yet; or
                ``None`` for all. ``"new"`` is destructive: if its answer is lost, only a query by date finds those
                messages again. So it is never retried.
            deadline: Seconds for this call; by default the client's.

        Raises:
            InvalidMessage: ``since`` is none of these.
            GatewayError, ConnectionFailed, Unanswered: There is no answer.
        """
        if isinstance(since, datetime):
            if since.utcoffset() is None:
                raise InvalidMessage("needs a datetime with a time zone", field="since", code=500)
        elif since not in {None, "new"}:
            raise InvalidMessage("needs a datetime with a time zone, 'new', or None", field="since", code=500)
        return await self._ask(Inbound(since), deadline)

    @renamed(every="poll_interval")
    def listen(
        self, *, poll_interval: float = 30.0, cursor: str | os.PathLike[str] | InboundCursor | None = None
    ) -> InboundListener:
        """Yield the messages that the account's numbers receive, one by one, indefinitely, and lose none.

        ::

            async with client.listen(cursor="inbound.cursor") as inbox:
                async for sms in inbox:
                    ...

        It polls for new messages, and queries by date at the start, after every failed poll and every 20th poll, since
        a lost answer or another reader may have marked some as read. A message counts as processed when the next one
        is requested: each message is yielded at least once, and after a kill, a ``break`` or an error in the block only
        the last one is yielded again. Within one answer they are sorted by (``created``, ``id``). Messages without an
        id are yielded again with each query by date during their first minutes.

        Without a cursor, and at the first start with one, it begins now: messages created in the last ten minutes are
        included, and so are older unread ones, though those would not survive a lost answer. Failed polls are repeated,
        at growing intervals of up to five minutes, and logged as warnings.

        Args:
            poll_interval: Seconds from one poll to the next.
            cursor: Where the position is stored, to survive this process: the path of a file (:class:`FileCursor`), or
                your own :class:`InboundCursor`. By default it is kept in memory: after a restart, messages of the last
                ten minutes are yielded again, and messages that an answer contained but that were not yielded may be
                lost.

        Returns:
            The listener; nothing is read or locked before it is entered or iterated over. Its ``last_poll`` is the time
            of the last successful poll.

        Raises:
            ValueError: ``poll_interval`` is not above zero.
            TypeError: ``cursor`` is none of these.
            CursorInUse: While iterating or entering: another listener holds the cursor.
            CursorError: Likewise: the cursor's file is damaged, is not a cursor, or cannot be read or written.
            AuthenticationError, AccountBlocked, ClientClosed: While iterating.
        """
        validate.positive(poll_interval=poll_interval)
        listener = InboundListener(
            lambda: self._session().requester,
            cursor_of(cursor),
            poll_interval=poll_interval,
            deadline=self._settings.deadline,
        )
        self._recorder.watch(listener)
        return listener

    # --- asking ----------------------------------------------------------------------------------

    async def _ask(self, command: Command[Answer], deadline: float | None) -> Answer:
        answer = await self._session().requester.ask(command, self._deadline(deadline))
        if isinstance(answer, SmsPilotError):
            raise answer
        return answer

    async def _ask_in_background(
        self, command: Command[Answer], until: float | None = None, *, deadline: float | None = None
    ) -> Answer | SmsPilotError:
        """Ask on connections that are not reserved for sends; return the answer or the error."""
        if self._sessions.is_closed:
            return client_closed()
        if until is not None:
            deadline = max(0.0, until - self._clock.monotonic())
        elif deadline is None:
            deadline = self._settings.deadline
        return await self._session().requester.ask(command, deadline, background=True)

    def _deadline(self, deadline: float | None) -> float:
        if deadline is None:
            return self._settings.deadline
        validate.positive(deadline=deadline)
        return deadline


async def _read_all(items: Iterable[Item] | AsyncIterable[Item]) -> Secret[list[Item]]:
    """Read all items, keeping them out of this frame, which the traceback of an error in the source shows."""
    if not isinstance(items, AsyncIterable):
        return Secret(list(items))
    found: Secret[list[Item]] = Secret([])
    async for item in items:
        found.reveal().append(item)
        del item
    return found


def _sent(outcome: SentMessage | SmsPilotError) -> SentMessage:
    if isinstance(outcome, SmsPilotError):
        raise outcome
    if outcome.failure is not None:
        raise outcome.failure
    return outcome
