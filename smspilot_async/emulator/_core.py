"""The emulator's state, and what tests do with it, without a socket.

It puts the parts together (gateway, faults, callbacks, time), and owns the lock under which the test's thread and the
server's thread use them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from email.utils import format_datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

import attrs

from smspilot_async.emulator._callbacks import CallbackCall, CallbackSender, call_for
from smspilot_async.emulator._clock import Clock
from smspilot_async.emulator.gateway import _test_key
from smspilot_async.emulator.gateway._accounts import Account, AccountStore, new_key
from smspilot_async.emulator.gateway._callback_faults import CallbackFaults
from smspilot_async.emulator.gateway._conversation import said_with
from smspilot_async.emulator.gateway._faults import Fault, FaultPlan
from smspilot_async.emulator.gateway._gateway import Gateway, Rule, matcher
from smspilot_async.emulator.gateway._messages import AcceptedMessage, InboundSms, StatusChange
from smspilot_async.emulator.gateway._pipeline import Pipeline
from smspilot_async.emulator.gateway._requests import RecordedRequest, RequestLog, record_of
from smspilot_async.emulator.gateway._settings import Settings
from smspilot_async.emulator.server._feed import Feed
from smspilot_async.emulator.server._http import API_PATH, PAGE_PATH, Ending, HttpRequest, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping

    from smspilot_async.emulator.gateway._refusals import Refusal
    from smspilot_async.emulator.gateway._unknowns import Unknowns
    from smspilot_async.emulator.gateway._wire import Profile
    from smspilot_async.emulator.server._asgi_client import Application
    from smspilot_async.emulator.server._http import Hold

Result = TypeVar("Result")

_CHUNK: Final = 2000
SERVICE_NUMBER: Final = "79021121075"


class Options(TypedDict, total=False):
    """The arguments of `Emulator`."""

    api_key: str | None
    account: Account | None
    profile: Profile
    clock: Clock | None
    seed: int | None
    loop_protection: timedelta | None
    undelivered: float
    handover: timedelta
    delivery: timedelta
    allow_remote_callbacks: bool
    callbacks_to: Application | str | None


class EmulatorCore:
    """The emulator without its server and transport.

    The arguments are those of `Emulator`.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        account: Account | None = None,
        profile: Profile = "2.6",
        clock: Clock | None = None,
        seed: int | None = None,
        loop_protection: timedelta | None = timedelta(minutes=5),
        undelivered: float = 0.0,
        handover: timedelta = timedelta(seconds=5),
        delivery: timedelta = timedelta(seconds=30),
        allow_remote_callbacks: bool = False,
        callbacks_to: Application | str | None = None,
    ) -> None:
        self.clock: Clock = clock if clock is not None else Clock()
        self._seed = seed
        self._lock = threading.RLock()
        self._pipeline = Pipeline()
        self._requests = RequestLog()
        self._listeners: list[Callable[[AcceptedMessage], None]] = []
        self.feed: Feed = Feed()
        self._callback_sender = CallbackSender(
            allow_remote=allow_remote_callbacks, on_made=lambda call: self.feed.note(call.server_id)
        )
        self.callbacks_to = callbacks_to
        self._url = f"http://127.0.0.1{API_PATH}"
        self._drop_connections: Callable[[], None] = lambda: None
        self._account_store = AccountStore()
        self._account = self._first_account(account, api_key)
        self._account_store.add(_test_key.new_account())
        self._given = Settings(
            profile=profile,
            loop_protection=loop_protection,
            undelivered=undelivered,
            handover=handover,
            delivery=delivery,
        )
        self._gateway = self._start_over()
        self.clock.on_turn(self._turned)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The gateway's address. Without a socket it is only a name, for which `transport` answers."""
        return self._url

    @property
    def page_url(self) -> str:
        """The address of its live page, for a browser on this machine. Only a served emulator has one."""
        for anywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
            if anywhere in self._url:
                return self._url.replace(anywhere, here).replace(API_PATH, PAGE_PATH)
        return self._url.replace(API_PATH, PAGE_PATH)

    @property
    def api_key(self) -> str:
        """The first account's key; empty if it only has a login."""
        return self._account.api_key or ""

    @property
    def account(self) -> Account:
        """The first account. Its attributes may be changed at any time."""
        return self._account

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts but that of the vendor's test key, the first one first."""
        with self._lock:
            return tuple(account for account in self._account_store.accounts if not account.is_for_tests)

    @property
    def settings(self) -> Settings:
        """Its settings. The attributes may be changed at any time; `reset` restores them."""
        return self._gateway.settings

    @property
    def unknowns(self) -> Unknowns:
        """The switches for what is not known about the live gateway."""
        return self._gateway.unknowns

    def add_account(self, account: Account | None = None, **fields: Any) -> Account:
        """Add an account, given as an `Account` or by its fields. Without a key and a login it gets a key.

        Raises:
            ValueError: It was added before, another account has its key or login, or its key is the vendor's test key,
                for which every emulator has an account.
        """
        account = account if account is not None else Account(**fields)
        if account.is_for_tests:
            raise ValueError("the vendor's test key is in every emulator: use it as it is, or take another key")
        with self._lock:
            if account.api_key is None and account.login is None:
                account.api_key = new_key(
                    None if self._seed is None else self._seed + len(self._account_store.accounts)
                )
            self._account_store.add(account)
        self.feed.note()
        return account

    # --- the truth --------------------------------------------------------------------------------------------------

    @property
    def messages(self) -> tuple[AcceptedMessage, ...]:
        """Every message that the gateway accepted, in order, each in its present state."""
        with self._lock:
            self.tick()
            return tuple(self._gateway.store.messages)

    @property
    def test_messages(self) -> tuple[AcceptedMessage, ...]:
        """The messages of test packets and of the vendor's test key, which were neither delivered nor charged.

        Only the newest 10,000 are remembered.
        """
        with self._lock:
            return tuple(self._gateway.store.test_messages)

    @property
    def inbound_messages(self) -> tuple[InboundSms, ...]:
        """Every inbound message, of all accounts, in order."""
        with self._lock:
            inboxes = self._gateway.inboxes.values()
            return tuple(sorted((sms for inbox in inboxes for sms in inbox.messages), key=lambda sms: sms.id))

    def conversation(self, phone: str) -> tuple[AcceptedMessage | InboundSms, ...]:
        """Return what was said with one phone, both ways, in order: accepted messages, and those that came in.

        Args:
            phone: Digits, in the international form.
        """
        with self._lock:
            return tuple(said_with(self._gateway, phone, 0, len(self.messages) + 1))

    @property
    def callbacks(self) -> tuple[CallbackCall, ...]:
        """The finished status callbacks, with the application's answers."""
        return self._callback_sender.made

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was refused, whole requests and single messages, in order: the newest 1000."""
        with self._lock:
            return self._pipeline.refusals.kept

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests to the gateway's address, in order, each with its text and its answer.

        The newest 1000 are remembered, or fewer: 16 KiB of each text and 8 MiB of all together. Only those of programs:
        what a foreign page in a browser asks for is turned away unread.
        """
        with self._lock:
            return self._requests.kept

    def on_request(self, listener: Callable[[RecordedRequest], None]) -> Callable[[], None]:
        """Call `listener` with each request to the gateway's address once it is answered.

        It is called in the thread that answers, with the state locked: it should be quick.

        Returns:
            What ends it.
        """
        with self._lock:
            self._requests.listeners.append(listener)
        return partial(self._unsubscribe, listener, self._requests.listeners)

    def subscribe(self, listener: Callable[[AcceptedMessage], None]) -> Callable[[], None]:
        """Call `listener` with each message when it is accepted and when its status changes.

        It is called in the thread that made the change, with the state locked: it should be quick.

        Returns:
            What ends it.
        """
        with self._lock:
            self._listeners.append(listener)
        return partial(self._unsubscribe, listener, self._listeners)

    async def wait_for(self, *, timeout: float = 5.0, **fields: Any) -> AcceptedMessage:  # noqa: ASYNC109
        """Return the first message that has these values, already accepted or yet to come.

        Args:
            timeout: Seconds of real time.
            fields: Attributes of `AcceptedMessage`, such as ``to="79087964781"`` or ``status=2``.

        Raises:
            TimeoutError: There was none in time.
            TypeError: Messages have no such attribute.
        """
        message = await self.first_message(matcher(**fields), timeout)
        if message is None:
            raise TimeoutError(f"no message with this {' and '.join(fields)} within {timeout:g} s")
        return message

    @property
    def callbacks_to(self) -> Application | str | None:
        """What takes the callbacks, wherever their URLs lead; `None` calls those URLs.

        An ASGI application in this process is called while `settled` is awaited, and in that loop, so that it may be
        the loop of the application. A URL of a scheme, a host and a port, such as ``"http://127.0.0.1:8000"``, takes
        their place in each callback's URL; path and query stay, so that a signed path can still be verified:
        ``https://shop.example/sms/3f9a?x=1`` is called at ``http://127.0.0.1:8000/sms/3f9a?x=1``.

        Raises:
            ValueError: On setting: the URL has a path, a query or a password, or it leads beyond this machine and
                callbacks may not.
        """
        return self._callback_sender.destination

    @callbacks_to.setter
    def callbacks_to(self, destination: Application | str | None) -> None:
        self._callback_sender.destination = destination

    async def settled(self) -> None:
        """Return when all status moves that are due are made, and their callbacks called and answered."""
        while True:
            self.tick()
            await self._callback_sender.send_in_process()
            idle = self._callback_sender.idle()
            if idle.done():
                return
            await asyncio.wrap_future(idle)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def inbound(
        self, phone: str, text: str, *, num: str = SERVICE_NUMBER, account: Account | None = None
    ) -> InboundSms:
        """Receive an SMS at the service number of an account (the first one)."""
        with self._lock:
            sms = self._gateway.receive(phone, text, num, account if account is not None else self._account)
        self.feed.note()
        return sms

    def fail_next(
        self,
        command: str,
        fault: Fault | str,
        *,
        times: int = 1,
        delay: float | None = None,
        retry_after: int = 1,
        status: int | None = None,
        row: int = 0,
    ) -> None:
        """Make the next requests of a command fail.

        Args:
            command: ``"send"``, ``"cost"``, ``"check"``, ``"balance"``, ``"info"``, ``"inbound"``, or ``"*"`` for any
                request.
            fault: How.
            times: How many of them.
            delay: Seconds for `Fault.SLOW`; without, it waits for `release`.
            retry_after: Seconds for `Fault.TOO_MANY_REQUESTS`.
            status: The HTTP status of the server errors, instead of 502 or 503.
            row: The message of the packet for `Fault.BUSY_MESSAGE`, from 0.

        Raises:
            ValueError: There is no such command or fault.
        """
        plan = FaultPlan(
            fault=Fault(fault), command=command, delay=delay, retry_after=retry_after, status=status, row=row
        )
        with self._lock:
            self._pipeline.faults.plan(plan, times)
        self.feed.note()

    def random_faults(
        self,
        shares: Mapping[Fault, float],
        *,
        command: str = "*",
        seed: int | None = None,
        delay: float | None = 0.05,
        retry_after: int = 1,
        row: int = 0,
    ) -> None:
        """Make a share of the requests of a command fail from now on, chosen by a seeded source.

        Args:
            shares: Which part of the requests meets which fault, such as ``{Fault.BUSY: 0.02}``.
            command: As for `fail_next`.
            seed: The emulator's own by default.
            delay: As for `fail_next`, like the rest.
            retry_after: Seconds.
            row: The message.

        Raises:
            ValueError: The shares are negative or more than 1 together.
        """
        plan = FaultPlan(fault=Fault.BUSY, command=command, delay=delay, retry_after=retry_after, row=row)
        with self._lock:
            self._pipeline.faults.draw_from(shares, self._seed if seed is None else seed, plan)
        self.feed.note()

    def no_more_faults(self) -> None:
        """Cancel all planned and random faults."""
        with self._lock:
            self._pipeline.faults.clear()
        self.feed.note()

    def drop_connections(self) -> None:
        """Close every connection that clients keep open, in an orderly way. Without a socket there are none."""
        self._drop_connections()

    def release(self) -> None:
        """Send the answers that `Fault.SLOW` holds back."""
        with self._lock:
            self._pipeline.release()

    def refuse(self, *, code: int, to: str | None = None, text: str | None = None) -> None:
        """Refuse messages with an error code from now on: those to a phone, with a text, or all.

        Args:
            code: The protocol's error code, or any other.
            to: Digits, in the international form.
            text: The whole text.
        """
        with self._lock:
            self._gateway.refusals.append(Rule(code, to, text))

    def fail_delivery(self, *, code: int = 601, to: str | None = None, text: str | None = None) -> None:
        """Accept messages from now on, but do not deliver them (-1), with an error code (600 to 603)."""
        with self._lock:
            self._gateway.failures.append(Rule(code, to, text))

    def set_status(self, server_id: str, status: int, error: int = 0) -> None:
        """Move a message to a status now, callback included, unless its status is final.

        Raises:
            KeyError: There is no such message, or it is a test message, whose status does not change.
        """
        with self._lock:
            message = self._gateway.store.get(server_id)
            if message is None:
                raise KeyError(f"there is no message {server_id}")
            if message.test:
                raise KeyError(f"{server_id} is a test message: it is not delivered, and its status does not change")
            self._gateway.store.move(server_id, StatusChange(self.clock.now(), status, error))

    def tick(self) -> None:
        """Make the status moves that are due. Advancing the clock does so too, and so does the server."""
        with self._lock:
            self._gateway.store.make_due(self.clock.now())

    def reset(self) -> None:
        """Forget messages, requests, refusals, faults, switches and rules, and restore opening balances and settings.

        Accounts and time stay.
        """
        with self._lock:
            self._pipeline.faults.clear()
            self._pipeline.refusals.clear()
            self._requests.clear()
            self._callback_sender.clear()
            for account in self._account_store.accounts:
                account.balance = account.opening_balance
            self._gateway = self._start_over()
            self.feed.start_over()
        self.release()

    # --- for the server and the transport ---------------------------------------------------------------------------

    def exchange(self, request: HttpRequest) -> Reply:
        """Answer a request to the gateway's address, and record both."""
        started = time.perf_counter()
        with self._lock:
            self.tick()
            refusals, store = self._pipeline.refusals, self._gateway.store
            refused, accepted = refusals.count, store.accepted
            refusals.request = self._requests.count + 1
            reply = self._pipeline.answer(request, self._gateway)
            record = record_of(
                request,
                reply,
                number=refusals.request,
                at=self.clock.now(),
                accepted=store.accepted - accepted,
                refused=refusals.count - refused,
                code=refusals.first_code_after(refused),
            )
            self._requests.add(record)
        self._finish(record, reply.hold, started)
        return reply

    def _finish(self, record: RecordedRequest, hold: Hold | None, started: float) -> None:
        def finish() -> None:
            with self._lock:
                self._requests.finish(record, time.perf_counter() - started)
            self.feed.note()  # a balance, a fault or what was read may have changed

        if hold is None:
            finish()
        else:
            self.feed.note()
            hold.when_over(finish)

    async def first_message(self, meets: Callable[[AcceptedMessage], bool], timeout: float) -> AcceptedMessage | None:  # noqa: ASYNC109
        """Return the first matching message, already accepted or coming within so many seconds; else `None`."""
        found: Future[AcceptedMessage] = Future()
        found.set_running_or_notify_cancel()  # so that giving up here cannot collide with a message coming in there

        def look(message: AcceptedMessage) -> None:
            if not found.done() and meets(message):
                found.set_result(message)

        stop = self.subscribe(look)  # before those that are there are looked through, so that none is missed
        try:
            async for message in self._messages_in_turns():
                if meets(message):
                    return message
            return await asyncio.wait_for(asyncio.wrap_future(found), timeout)
        except TimeoutError:
            return None
        finally:
            stop()

    async def _messages_in_turns(self) -> AsyncIterator[AcceptedMessage]:
        """The accepted messages; the loop has its turn between any two chunks of them."""
        position, chunk = 0, self.messages[:_CHUNK]
        while chunk:
            for message in chunk:
                yield message
            await asyncio.sleep(0)
            position += len(chunk)
            with self._lock:
                chunk = tuple(self._gateway.store.messages[position : position + _CHUNK])

    async def called_back(self) -> None:
        """Wait until it is settled, but make no calls in this loop, which is not the application's."""
        while not (idle := self._callback_sender.idle()).done():
            await asyncio.wrap_future(idle)

    def resets_unread(self) -> bool:
        """Whether the request that is just coming in is to be reset before it is read."""
        with self._lock:
            if not self._pipeline.faults.take_unread():
                return False
            reset = Reply(ending=Ending.RESET, fault=str(Fault.RESET_BEFORE_READ))
            unread = HttpRequest(method="")
            record = record_of(unread, reset, number=self._requests.count + 1, at=self.clock.now())
            self._requests.add(record)
        self._finish(record, None, time.perf_counter())
        return True

    def forget_connection(self, connection: Hashable) -> None:
        """Stop counting a connection that was closed."""
        with self._lock:
            self._gateway.limits.forget(connection)

    def listens_at(self, url: str, drop_connections: Callable[[], None]) -> None:
        """Note the address of its server."""
        self._url = url
        self._drop_connections = drop_connections

    def headers_of(self, reply: Reply) -> list[tuple[str, str]]:
        """The headers of a reply. The date is the clock's."""
        return [
            ("Date", format_datetime(self.clock.now(), usegmt=True)),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *([("Connection", "close")] if self.unknowns.connection_close else []),
            *reply.headers,
        ]

    def state(self) -> dict[str, Any]:
        """Its state, for the control API."""
        with self._lock:
            return {
                "now": self.clock.now().isoformat(),
                "messages": len(self._gateway.store.messages),
                "test_messages": self._gateway.store.tests_accepted,
                "inbound": sum(len(inbox.messages) for inbox in self._gateway.inboxes.values()),
                "requests": self._requests.count,
                "refusals": self._pipeline.refusals.count,
                "callbacks": self._callback_sender.count,
                "pending_faults": self._pipeline.faults.pending,
                "settled": self._callback_sender.idle().done(),
            }

    def overview(self) -> dict[str, Any]:
        """What the page shows beside messages: the state, the accounts, and the planned faults."""
        with self._lock:
            return {
                **self.state(),
                "speed": self.clock.speed,
                "url": self._url,
                "balances": [_balance(account) for account in self.accounts],
                "unread": sum(inbox.unseen for inbox in self._gateway.inboxes.values()),
                "faults": self._pipeline.faults.waiting(),
            }

    def inspect(self, look: Callable[[Gateway], Result]) -> Result:
        """What `look` finds in the gateway, while nothing in it changes."""
        with self._lock:
            self.tick()
            return look(self._gateway)

    def look_up(self, server_ids: Iterable[str]) -> list[AcceptedMessage]:
        """The messages that have these numbers, test messages included, each in its present state."""
        with self._lock:
            found = map(self._gateway.store.get, server_ids)
            return [message for message in found if message is not None]

    def _first_account(self, account: Account | None, api_key: str | None) -> Account:
        account = account if account is not None else Account()
        account.api_key = api_key or account.api_key
        return self.add_account(account)

    def _start_over(self) -> Gateway:
        random = Random(self._seed)  # noqa: S311 - it must be repeatable
        gateway = Gateway(
            clock=self.clock, accounts=self._account_store, random=random, settings=attrs.evolve(self._given)
        )
        gateway.store.listeners.append(self._on_change)
        self._callback_faults = CallbackFaults(gateway.unknowns, Random(self._seed))  # noqa: S311 - it must be repeatable
        return gateway

    def _on_change(self, message: AcceptedMessage) -> None:
        self.feed.note(message.server_id)
        if message.test:
            return
        if message.callback and len(message.history) > 1:
            for call in self._callback_faults.calls_now(call_for(message, message.callback)):
                self._callback_sender.submit(call)
        for listener in tuple(self._listeners):
            listener(message)

    def _turned(self) -> None:
        self.tick()
        self.feed.note()

    def _unsubscribe(self, listener: Callable[[Any], None], listeners: list[Callable[[Any], None]]) -> None:
        with self._lock:
            if listener in listeners:
                listeners.remove(listener)


def _balance(account: Account) -> dict[str, Any]:
    return {"id": account.id, "account": account.masked, "balance": str(account.balance)}
