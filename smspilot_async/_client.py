"""The client: its life, and one method per command of the gateway."""

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
from smspilot_async._network.proxies import check_network, check_url
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

# Ids the client gives out itself stay below 2^31: nobody knows how wide the gateway's own column is.
_FIRST_IDS: Final = (1, 1_000_000_000)


class Client:
    """The gateway SMSPILOT.RU, for asyncio.

    Making one does no network I/O and needs no event loop; ``async with`` is optional, but closes its connections.
    One client is meant to be shared by all of an application. It may be used from several event loops in turn, as
    notebooks and tests do: connections belong to the running loop.

    Args:
        api_key: The key, or a function that returns the one to use now (rotation). Left out, it comes from
            ``SMSPILOT_API_KEY``, or from the file that ``SMSPILOT_API_KEY_FILE`` names.
        login: In place of a key, together with ``password``; the vendor advises against it.
        password: See ``login``.
        url: The endpoint; left out, ``SMSPILOT_URL`` or ``https://smspilot.ru/api2.php``.
        wire: The language of requests, ``"json"`` or ``"xml"``. Answers are understood in both.
        request_style: How the document travels: ``"body"`` of a POST, field of a ``"form"``, or in the URL
            (``"query"``, which warns: the key then stands in access logs).
        sender: For messages that name none; left out, the account's default.
        test: Let the gateway accept messages without handing them to operators. ``SMSPILOT_TEST=1`` switches it on too.
        max_connections: To the gateway, at most.
        timeout: Seconds for one HTTP exchange. A paid request is awaited so long whatever happens to its caller.
        deadline: Seconds for a whole call, waiting and retries included; each call takes its own ``deadline=``.
        retry: How what may be repeated without harm is repeated; ``Retry(attempts=1)`` for never: it splits no packet
            either.
        rate_limit: Messages per second that sends may reach, at most.
        packet_size: Messages in a packet, at most; 100 to 500 are fastest.
        split_packets: Where the gateway refuses a whole packet for a message's fault (a phone, a text), send its halves
            again until the culprit stands alone. That trusts the vendor's description, by which a refused packet took
            nothing. ``False`` trusts nothing of the kind: such a packet, and one that the balance does not cover, is
            ``unknown``.
        linger: Seconds that :meth:`send` may wait for company, counted from the first message of a packet. With 0 a
            call waits for nobody: calls made in the same turn of the loop, or while no connection is free, share
            packets. Nobody waits longer than half of the time to their deadline.
        max_pending: Messages that may queue in :meth:`send`, and that vetoes may be asked about at once; beyond it
            callers wait.
        debug_email: The gateway mails every request there, the key included (it warns).
        referral: A contract number that is credited.
        country: ``"RU"`` reads the phones given to :meth:`send`, and to the others as pairs and mappings, as a
            Russian means them (:func:`normalize_phone`); a :class:`Message` keeps its own.
        proxy: Its URL; left out, ``HTTPS_PROXY``, ``NO_PROXY`` and their like decide, but not about an emulator on
            this machine.
        ssl_context: For TLS; left out, certifi's roots.
        transport: An ``httpx.AsyncBaseTransport`` to use in place of the client's own connections; closed by whoever
            made it.
        hooks: Listeners, and who has a veto: objects of your subclasses of :class:`Hooks`.
        callbacks: The inbox that receives status callbacks: each message that names no ``callback`` of its own gets a
            signed URL of that inbox. Closing it is the application's part, and comes after the client's.
        allow_http: Allow a ``http:`` URL beyond this machine, which shows the key to everyone on the way.

    Raises:
        ValueError: if an argument, or a variable of the environment, makes no sense.
        TypeError: if one is of a wrong type, such as a hook that is none.
        InvalidMessage: if ``sender`` is no sender name.
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
        del api_key, login, password, url, proxy, debug_email  # an error below shows this frame, but not them
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
        """Whether the gateway hands nothing to operators: ``test=True``, or ``SMSPILOT_TEST=1`` when it was made."""
        return self._settings.test

    @property
    def gateway_time(self) -> datetime | None:
        """The gateway's own time, as its last answer told it; aware, UTC; ``None`` before the first answer."""
        return self._recorder.gateway_time

    def with_options(self, *, deadline: float | None = None, sender: str | None = None, test: bool = False) -> Self:
        """Return a view of this client that has other defaults, and shares everything else with it.

        It uses the client's connections, limits, packets, hooks and inbox. It opens and closes nothing: it can be used
        as long as its client is open, and leaving or closing it does not close that.

        Args:
            deadline: Seconds for each call; the client's, if left out.
            sender: For messages that name none; the client's, if left out.
            test: Let the gateway accept every message without handing it to operators. A test message shares no packet
                with others. A client that is in test mode stays so.

        Raises:
            ValueError: ``deadline`` is not above zero.
            InvalidMessage: ``sender`` is no sender name.
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
        """Wait for the answers of what is on the wire, then close all connections; of a view, do nothing.

        Calls made from now on raise :class:`ClientClosed`; entering the client again opens it again. The hooks are
        asked to finish last.

        Args:
            timeout: Seconds to wait; what is then unanswered is reported as unknown. Left out, each request's own
                time-out is the limit. Hooks at work are waited for beyond it, so that they hear every result: where it
                is given, for five seconds, and for five more to finish.
        """
        if self._is_view:
            return
        await self._sessions.aclose(timeout)
        until = math.inf if timeout is None else self._clock.monotonic() + HOOKS_GRACE
        await self._hooks.client_closed(lambda: until)

    async def flush(self) -> None:
        """Let every message go that waits for company, and wait for the answers to all sends of this event loop."""
        await self._session().flush()

    def health(self) -> Health:
        """Tell how this client is doing, without asking the gateway: for a health endpoint, from any thread."""
        health = self._recorder
        sessions = self._sessions.living()
        return Health(
            is_open=not self._sessions.is_closed,
            last_success=health.last_success,
            failures_in_a_row=health.failures_in_a_row,
            queued=sum(session.queued() for session in sessions),
            in_flight=sum(session.submissions.in_flight() for session in sessions),
            open_unknowns=max(0, health.open_unknowns),  # a call may clear one up before its packet is counted
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
        message is on the wire, the request goes on, and :meth:`Hooks.on_result` hears what became of it.

        Args:
            to: The phone, however it is written; the client's ``country`` reads it.
            text: The text, up to ten parts.
            sender: The sender name, if not the client's or the account's default.
            id: Your own whole number for it; left out, it gets a unique one.
            send_at: When to send, with a time zone.
            callback: A URL that the gateway calls at each change of status.
            callback_method: ``"get"`` or ``"post"``.
            ttl: Minutes in which it may be delivered, 1 to 1440.
            deadline: Seconds for this call, in place of the client's.

        Returns:
            The gateway's answer; ``server_id`` is what to ask :meth:`check` about.

        Raises:
            InvalidMessage: a field is wrong; nothing left.
            MessageVetoed: a hook refused it; nothing left.
            ConnectionFailed: nothing left.
            GatewayError: the gateway refused it.
            OutcomeUnknown: it left, and may have been sent; it is not tried again.
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
            del to, text, sender, callback  # what looks into an error shows this frame
        return _sent(await self._send(message, deadline))

    async def send_message(self, message: Message, *, deadline: float | None = None) -> SentMessage:
        """Send one SMS that is already a :class:`Message`; the rest is as with :meth:`send`."""
        if not isinstance(message, Message):
            given = type(message).__name__
            del message  # what looks into an error shows this frame
            raise TypeError(f"messages are Message objects, not {given}")
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
        batcher = self._session().batcher_for(test=self._settings.test)  # it may have been closed meanwhile
        return await batcher.send(message, id_, until, self._sender)

    async def send_packet(
        self,
        messages: Iterable[Sendable] | AsyncIterable[Sendable],
        *,
        test: bool = False,
        deadline: float | None = None,
    ) -> Packet:
        """Send messages in one request.

        Messages that the gateway asks to send again (110) are, alone; nothing else is repeated once it left.

        Args:
            messages: At least one; 100 to 500 are a good size. As for :meth:`bulk`, :class:`Message` objects, mappings
                with the fields of one, or pairs ``(to, text)``.
            test: Let the gateway accept them without handing them to operators.
            deadline: Seconds for this call, in place of the client's.

        Returns:
            One entry per message, in order: accepted, refused, or not to be known. Look at each one's ``accepted``.

        Raises:
            InvalidMessage: there is no message, or one is wrong (a note says which); nothing left.
            MessageVetoed: hooks refused every message; nothing left.
            ConnectionFailed: nothing left.
            GatewayError: the gateway refused the packet as a whole.
            OutcomeUnknown: it left, and each of its messages may have been sent.
        """
        try:
            batch = await self._batch(messages)
        finally:
            del messages  # what looks into an error shows this frame
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

    async def _send_once(self, messages: Sequence[Message], *, start_within: float) -> Packet | SmsPilotError:
        """Send messages in one request, for a ledger: nothing is packed, split or repeated.

        Args:
            messages: With numbers of their own.
            start_within: Seconds after which it must not begin.
        """
        session = self._session()
        until = self._clock.monotonic() + start_within + self._settings.timeout
        entries = [PendingMessage(message, message.id or 0, until=until, sender=self._sender) for message in messages]
        return await session.send_once(entries, until)

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
        """Send a stream of messages, and get a stream of results: one for each item, in the order in which packets end.

        ::

            async with client.bulk(source) as run:
                async for result in run:
                    match result:
                        case Accepted(item, sent): ...
                        case Refused(item, error): ...
                        case Unknown(item, error): ...  # may have been sent: never send it again automatically
                        case NotSent(item, error): ...  # may be handed in again, unchanged

        It holds at most ``packet_size * in_flight`` messages, however long the source is, and the results of a slow
        caller hold the sending back. Leaving the block early, an error in the source (raised after the results before
        it) and cancellation are safe: what is on the wire is awaited and accounted for.

        "Not now" (110, HTTP 429) in answer to a whole packet says nothing about its messages: the run asks again with
        back-off, for ``patience`` seconds at most, and goes on; ``run.busy`` says meanwhile what it waits for. When
        patience ends, after ``max_unknown`` packets in a row without an answer, or at an error that concerns the
        account (funds, key, blocked), nothing more is read: what was read and has not left comes out as ``NotSent``,
        then that error is raised.

        Args:
            items: :class:`Message` objects, mappings with the fields of one, or pairs ``(to, text)``, from any
                iterable or async iterable; with ``message``, objects of any kind. One task advances and closes it. What
                makes no message, and what a hook vetoes, comes out as ``Refused``. A source that falls silent for a
                second has its unfinished packet sent.
            message: Makes the message of an item, so that results carry your own objects. An :class:`InvalidMessage`
                that it raises makes the item ``Refused``; any other error ends the run like one of the source.
            packet_size: Messages in a packet; the client's, if left out.
            in_flight: Packets under way at once.
            rate_limit: Messages per second, besides the client's own limit.
            max_unknown: Packets in a row that may end without an answer.
            patience: Seconds for which a gateway that says "not now" is asked again; 0 for the client's ``retry``
                alone. ``Retry(attempts=1)`` asks nothing again.
            test: Let the gateway accept them without handing them to operators.
            country: Reads the phones of pairs and mappings; the client's, if left out.
            before_packet: A coroutine function that is awaited with the items of each packet before its first byte
                leaves: the place to write an intent down. If it raises, the packet is not sent, and the run ends with
                that error. :meth:`Hooks.before_packet` does the same for every send of the client.

        Returns:
            The run; its ``stats`` are up to date at any moment.

        Raises:
            ValueError: A number makes no sense.
        """
        source = Secret(items)
        del items  # what looks into an error shows this frame
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
        del items  # an error below shows this frame
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
        """Give every message a number: the caller's where it is one of its own, else a new one."""
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
        """Ask for the price of a packet, in roubles. Nothing is sent.

        Args:
            messages: As for :meth:`send_packet`.
            deadline: Seconds for this call, in place of the client's.

        Raises:
            InvalidMessage: there is no message, or one is wrong (a note says which).
            GatewayError: the gateway refuses the packet.
            OutcomeUnknown: the gateway answered as if it had sent it.
            ConnectionFailed, Unanswered: there is no answer.
        """
        try:
            batch = await self._batch(messages)
        finally:
            del messages  # what looks into an error shows this frame
        answer = await self._ask(Cost(batch, self._ids_for(batch), self._settings.sender), deadline)
        assert isinstance(answer, Decimal)  # noqa: S101 - a packet was made an error
        return answer

    # --- statuses --------------------------------------------------------------------------------

    async def check(
        self,
        server_ids: Trackable | Iterable[Trackable],
        *,
        deadline: float | None = None,
    ) -> list[MessageStatus]:
        """Ask what became of messages: a hundred to a request, several requests at once.

        Args:
            server_ids: The gateway's ids, or what holds them: answers of :meth:`send`, packets, results of a bulk run,
                one or many. Results and a packet's messages that were not accepted are passed over.
            deadline: Seconds for this call, in place of the client's.

        Returns:
            One status per id, in the order of the ids. An id that the gateway does not know, among others, has the
            status -2, with the gateway's code (301, 302) as its ``error`` where it gave one; it forgets messages after
            about 40 days. An id that the answer left out has a status of ``None``.

        Raises:
            NotFound: the gateway does not know the one id that was asked about.
            GatewayError, ConnectionFailed, Unanswered: there is no answer.
        """
        ids = [server_id(one, "server_ids", 300) for one in flat(server_ids)]
        until = self._clock.monotonic() + self._deadline(deadline)
        return await _checks.check(ids, self._ask_aside, in_flight=self._checks_at_once(), until=until)

    async def check_packet(
        self, server_packet_id: str | int | Packet, *, deadline: float | None = None
    ) -> list[MessageStatus]:
        """Ask what became of all messages of a packet.

        Raises:
            NotFound: the gateway does not know the packet.
            GatewayError, ConnectionFailed, Unanswered: there is no answer.
        """
        command = CheckPacket(server_id(server_packet_id, "server_packet_id", 304))
        answer = await self._ask_aside(command, deadline=self._deadline(deadline))
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
        """Ask what became of the messages of many packets, several at once, in bounded memory.

        Example::

            async with client.check_packets(packets) as checks:
                async for check in checks:
                    print(check.server_packet_id, check.error or len(check.statuses))

        Leaving it early, with ``break`` or an error, ends the checks that are under way.

        Args:
            server_packet_ids: The gateway's numbers, or packets that hold them, of any length: one task reads them as
                they are needed, and closes the generator in the end.
            in_flight: Checks at once, at most. Left out, and at most, all connections but the two that are kept free
                for sends.
            deadline: Seconds for each check, in place of the client's.

        Returns:
            What to enter and iterate over: a :class:`PacketCheck` for each number, in order of arrival. A check that
            failed carries its error, of whatever kind, and does not end the rest; an error that the numbers' own
            iterator raises comes after the results before it.

        Raises:
            ValueError: ``in_flight`` or ``deadline`` is not above zero.
        """
        given = server_packet_ids
        ask = functools.partial(self._ask_aside, deadline=self._deadline(deadline))
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

        The gateway is asked by packet where several messages share one, else by ids: on the vendor's schedule after 1
        minute, then 2, growing by half up to an hour, and once more shortly before the time-out. A message that is
        scheduled is asked about from then on, one whose status is final no more. Checks that fail are made again next
        time.

        A status that is final stays so, and each message's final status is told once. -2, "unknown", is believed of an
        accepted message only after ten minutes and two checks, and not told before. Statuses from ``source`` only bring
        a message forward, and a polled status beats them. Statuses that this library does not know are told, and are
        not final.

        Args:
            sent_or_ids: Answers of :meth:`send`, packets, results of a bulk run, or the gateway's ids of messages,
                alone or many, mixed. Messages that were not accepted are passed over.
            poll_interval: Seconds between checks, in place of the schedule.
            timeout: Seconds until it gives up; left out, the 40 days for which the gateway remembers a message.
            source: Statuses that callbacks bring, such as a :class:`~smspilot_async.callbacks.CallbackInbox`, which any
                number of these may share; those of other messages are passed over. Its end changes nothing. Left out,
                the client's own inbox, if it has one.

        Returns:
            What to enter and iterate over: every change, as a :class:`MessageStatus`, until all are final or time is
            up. ``statuses`` has the last one of each message by its ``server_id``, ``pending`` the ids of those that
            are not final. The iteration raises what ``source`` raises, and :class:`AuthenticationError`,
            :class:`AccountBlocked` or :class:`ClientClosed` from a check, after the changes before it.

        Raises:
            InvalidMessage: something is neither a message, a packet, a result nor an id.
            ValueError: ``poll_interval`` or ``timeout`` is not above zero.
        """
        validate.positive(poll_interval=poll_interval, timeout=timeout)
        return Tracking(
            _tracking.tracked_in(sent_or_ids, self._clock),
            self._ask_aside,
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
        """Wait for the final status of one message; for many, :meth:`track` asks far less often.

        Args:
            sent: The answer of :meth:`send`, or the gateway's id.
            poll_interval: As with :meth:`track`.
            timeout: Seconds to wait; left out, 40 days.
            source: As with :meth:`track`.

        Returns:
            Its final status: delivered (2), not delivered (-1), or unknown to the gateway (-2).

        Raises:
            NotFinal: Time is up; it carries the last status, if there is one. Do not send the message again.
            AuthenticationError, AccountBlocked, ClientClosed: The gateway can not be asked.
            SmsPilotError: The message was not accepted: its own failure.
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
        """Ask for the balance, in roubles, with the gateway's digits."""
        return await self._ask(Balance("rur"), deadline)

    async def balance_sms(self, *, deadline: float | None = None) -> int:
        """Ask for the balance as the gateway's rough count of SMS."""
        return int(await self._ask(Balance("sms"), deadline))

    async def info(self, *, deadline: float | None = None) -> AccountInfo:
        """Ask about the account."""
        return await self._ask(Info(), deadline)

    # --- inbound ---------------------------------------------------------------------------------

    async def inbound(
        self, since: datetime | Literal["new"] | None = None, *, deadline: float | None = None
    ) -> list[InboundMessage]:
        """Ask for messages that people sent to the account's numbers.

        Args:
            since: Those since an aware datetime; or ``"new"``, those that no answer carried yet: that is destructive,
                a lost answer loses them unless they are asked for by date, so it is never repeated by itself; or all.
            deadline: Seconds for this call, in place of the client's.

        Raises:
            InvalidMessage: ``since`` is neither.
            GatewayError, ConnectionFailed, Unanswered: there is no answer.
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
        """Hand over what people send to the account's numbers, message by message, for ever, and lose nothing.

        ::

            async with client.listen(cursor="inbound.cursor") as inbox:
                async for sms in inbox:
                    ...

        It polls for new messages, and asks again by date at the start, after every failed poll and every 20th poll,
        since a lost answer or another reader may have marked some as read. A message counts as handed over once the
        next one is asked for: each comes at least once, and after a kill, a ``break`` or an error in the block the
        last one comes again, and no other. Within one answer they are sorted by (``created``, ``id``). Messages
        without an id come again with each sweep of their first minutes.

        Without a cursor, and at the first start with one, it begins now: what was created in the last ten minutes comes
        too, and so does what is older and unread, though that alone is not safe from a lost answer. Failed polls are
        repeated, at growing intervals of up to five minutes, and logged as warnings.

        Args:
            poll_interval: Seconds from one poll to the next.
            cursor: What is to survive this process: the path of a file (:class:`FileCursor`), or an
                :class:`InboundCursor` of your own. Left out, it lives in memory: after a restart messages of the last
                ten minutes come again, and those that were carried by an answer, but not handed over, may be lost.

        Returns:
            The listener; nothing is read or locked before it is entered or iterated over. Its ``last_poll`` tells how
            fresh it is.

        Raises:
            ValueError: if ``poll_interval`` is not above zero.
            TypeError: if ``cursor`` is none.
            CursorInUse: while iterating or entering: another listener holds the cursor.
            CursorError: likewise: the cursor's file is damaged, is none, or can not be read or written.
            AuthenticationError, AccountBlocked, ClientClosed: while iterating.
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

    async def _ask_aside(
        self, command: Command[Answer], until: float | None = None, *, deadline: float | None = None
    ) -> Answer | SmsPilotError:
        """Ask, on the connections that are not kept for sends, and return what came of it."""
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
    """Read all items, keeping them out of the frame that an error of theirs shows."""
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
