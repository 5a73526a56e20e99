"""How the library is used, for mypy and pyright to judge: never run, only checked, by ``make lint``.

Each ``assert_type`` is what an editor shows to whoever writes such a line. Where the type gets worse, lint fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, assert_never, assert_type

import attrs
from aiohttp import web
from matplotlib.figure import Figure

from smspilot_async import (
    ERROR_CODES,
    Accepted,
    AccountInfo,
    BulkRun,
    BulkStats,
    Client,
    ConnectionFailed,
    CursorState,
    DeliveryStatus,
    ErrorCode,
    FileCursor,
    GatewayError,
    Hooks,
    InboundCursor,
    InboundListener,
    InboundMessage,
    InvalidMessage,
    Message,
    MessageStatus,
    NotFinal,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Packet,
    PacketCheck,
    PacketChecks,
    PhoneKind,
    Reason,
    Refused,
    Retry,
    SendResult,
    SentMessage,
    SmsPilotError,
    TextSize,
    Tracking,
    Unanswered,
    Unknown,
    describe_phone,
    measure,
    normalize_phone,
    to_dicts,
)
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, StatusEvent
from smspilot_async.callbacks.aiohttp import callback_app as aiohttp_app
from smspilot_async.callbacks.asgi import callback_app as asgi_app
from smspilot_async.emulator import AcceptedMessage, Account, CallbackCall, Clock, Emulator, Fault, InboundSms, Refusal
from smspilot_async.notebook import Shown, progress, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


# --- a client, and what it answers ----------------------------------------------------------------


def makes_clients() -> None:
    assert_type(Client(), Client)
    Client("KEY", wire="xml", request_style="form", retry=Retry(attempts=1), hooks=[Hooks()])
    Client(lambda: "KEY", sender="SHOP", rate_limit=30, timeout=10, country="RU")
    Client(login="me@example.com", password="secret", transport=Emulator().transport)


def tells_about_itself(client: Client) -> None:
    assert_type(client.url, str)
    assert_type(client.is_test, bool)
    assert_type(client.gateway_time, datetime | None)


async def views_it(client: Client) -> None:
    assert_type(client.with_options(deadline=5, sender="SHOP", test=True), Client)
    async with client.with_options(test=True) as view:
        assert_type(view, Client)
        assert_type(await view.send("79087964781", "Hello"), SentMessage)


async def asks(client: Client, sent: SentMessage, packet: Packet) -> None:
    async with client as entered:
        assert_type(entered, Client)
    assert_type(
        await client.send("79087964781", "Hello", send_at=datetime.now(UTC), callback_method="post"), SentMessage
    )
    assert_type(await client.send_message(Message("79087964781", "Hello")), SentMessage)
    assert_type(await client.send_packet(Message(to, "Hello") for to in ("79087964781",)), Packet)
    assert_type(await client.cost([Message("79087964781", "Hello")]), Decimal)
    assert_type(await client.send_packet([("79087964781", "Hello"), {"to": "79087964782", "text": "Hello"}]), Packet)
    assert_type(await client.send_packet(orders()), Packet)
    assert_type(await client.cost([Row(to="79087964781", text="Hello")]), Decimal)
    assert_type(await client.check(sent), list[MessageStatus])
    assert_type(await client.check([sent, "10005", 10006]), list[MessageStatus])
    assert_type(await client.check_packet(packet), list[MessageStatus])
    assert_type(await client.wait_final(sent, timeout=60), MessageStatus)
    assert_type(await client.balance(), Decimal)
    assert_type(await client.balance_sms(), int)
    assert_type(await client.info(), AccountInfo)
    assert_type(await client.inbound("new"), list[InboundMessage])
    assert_type(await client.inbound(datetime.now(UTC)), list[InboundMessage])


def knows_what_it_answered(sent: SentMessage, status: MessageStatus, sms: InboundMessage, account: AccountInfo) -> None:
    assert_type(sent.server_id, str | None)
    assert_type(sent.price, Decimal | None)
    assert_type(sent.failure, SmsPilotError | None)
    assert_type(sent.accepted, bool)
    assert_type(status.status, DeliveryStatus | int | None)
    assert_type(sent.status, DeliveryStatus | int | None)
    assert_type(status.is_final, bool)
    assert_type(sms.created, datetime | None)
    assert_type(account.senders, tuple[str, ...])
    assert_type(account.extra, Mapping[str, Any])


def knows_statuses_by_name(status: MessageStatus) -> bool:
    if isinstance(status.status, DeliveryStatus):
        name: str = status.status.name
        print(name)
    assert_type(MessageStatus(status=3).status, DeliveryStatus | int | None)
    return status.status in {DeliveryStatus.DELIVERED, DeliveryStatus.NOT_DELIVERED, 7}


def measures() -> None:
    assert_type(measure("Привет"), TextSize)
    assert_type(measure("Привет").parts, int)
    assert_type(normalize_phone("+7 908 796-47-81"), str)
    assert_type(normalize_phone(9087964781, "RU"), str)
    assert_type(describe_phone("8 495 123-45-67", "RU"), PhoneKind)
    assert_type(describe_phone("79087964781").country, str | None)
    assert_type(describe_phone("79087964781").line, Literal["mobile", "landline"] | None)


# --- streams ------------------------------------------------------------------------------------------


class Order(Message):
    """An application's own kind of message."""


@attrs.frozen
class Customer:
    """An application's own data, which knows no gateway."""

    phone: str


class Row(TypedDict):
    """A row with the fields of a message, such as a database gives."""

    to: str
    text: str


async def orders() -> AsyncIterator[Order]:
    yield Order("79087964781", "Hello")


async def keeps_the_type_of_items(client: Client, rows: list[dict[str, str]], pairs: Iterator[tuple[str, str]]) -> None:
    assert_type(client.bulk(rows), BulkRun[dict[str, str]])
    assert_type(client.bulk(pairs, country="RU"), BulkRun[tuple[str, str]])
    async with client.bulk(orders()) as run:
        assert_type(run, BulkRun[Order])
        assert_type(run.plot(), Figure)
        async for result in run:
            assert_type(result, Accepted[Order] | Refused[Order] | Unknown[Order] | NotSent[Order])
            assert_type(result.item, Order)
    assert_type(run.stats, BulkStats)
    assert_type(run.stats.cost, Decimal)


async def shows_it_in_a_notebook(client: Client, packet: Packet, checks: list[PacketCheck]) -> None:
    async with progress(client.bulk(orders())) as run:
        assert_type(run, BulkRun[Order])
        results = [result async for result in run]
    assert_type(to_dicts(results), list[dict[str, Any]])
    assert_type(packet.to_dicts(), list[dict[str, Any]])
    assert_type(show(checks, private=True), Shown)
    show(run)
    show(await client.info())
    to_dicts(await client.inbound())


def handles_every_result(result: SendResult[Customer]) -> str:
    match result:
        case Accepted(item, sent):
            assert_type(item, Customer)
            assert_type(sent, SentMessage)
            return "accepted"
        case Refused(item, error):
            assert_type(item, Customer)
            assert_type(error, SmsPilotError)
            return "refused"
        case Unknown(error=unknown):
            assert_type(unknown, OutcomeUnknown)
            return "unknown"
        case NotSent(error=why):
            assert_type(why, SmsPilotError | None)
            return "not_sent"
        case _:
            assert_never(result)


def tells_results_apart_by_their_word(result: SendResult[Customer]) -> SentMessage | SmsPilotError | None:
    if result.outcome is Outcome.ACCEPTED:
        assert_type(result, Accepted[Customer])
        return result.sent
    if result.outcome is Outcome.UNKNOWN:
        assert_type(result.error, OutcomeUnknown)
    return result.error


async def carries_its_own_rows(client: Client, customers: list[Customer]) -> None:
    run = client.bulk(customers, message=lambda customer: (customer.phone, "Hello"))
    assert_type(run, BulkRun[Customer])
    async with run:
        async for result in run:
            assert_type(result.item, Customer)


def passes_for_a_wider_one(result: Accepted[Order]) -> SendResult[Message]:
    return result


async def follows_results(client: Client, packet: Packet, results: list[SendResult[Order]]) -> None:
    assert_type(client.track(results), Tracking)
    assert_type(client.track(results).plot(), Figure)
    assert_type(client.track([*results, packet, "10005"]), Tracking)
    assert_type(await client.check(results), list[MessageStatus])
    assert_type(await client.check(results[0]), list[MessageStatus])
    assert_type(await client.check([*results, packet, "10005"]), list[MessageStatus])


async def follows(client: Client, packet: Packet, inbox: CallbackInbox, statuses: AsyncIterator[MessageStatus]) -> None:
    assert_type(client.track(packet), Tracking)
    client.track(["10005", 10006], poll_interval=30, timeout=600, source=inbox)
    client.track("10005", source=statuses)
    async with client.track(packet) as changes:
        async for change in changes:
            assert_type(change, MessageStatus)
    assert_type(client.check_packets([packet, "1234", 1235], in_flight=4), PacketChecks)
    async with client.check_packets([packet]) as checks:
        async for check in checks:
            assert_type(check, PacketCheck)
            assert_type(check.error, SmsPilotError | None)


class DatabaseCursor:
    """An application's own cursor is one by having the methods."""

    async def acquire(self) -> None: ...
    async def load(self) -> CursorState | None: ...
    async def save(self, state: CursorState) -> None: ...
    async def mark(self, id: int, until: datetime) -> None: ...  # noqa: A002 - the protocol's name
    def release(self) -> None: ...


async def listens(client: Client) -> None:
    assert_type(client.listen(cursor="inbound.cursor"), InboundListener)
    client.listen(cursor=FileCursor("inbound.cursor"))
    cursor: InboundCursor = DatabaseCursor()
    async with client.listen(cursor=cursor) as inbox:
        async for sms in inbox:
            assert_type(sms, InboundMessage)


# --- hooks and callbacks ------------------------------------------------------------------------------


AsgiEvent: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [AsgiEvent, Callable[[], Awaitable[AsgiEvent]], Callable[[AsgiEvent], Awaitable[None]]], Awaitable[None]
]


class PlainHook(Hooks):
    def on_result(self, result: SendResult[Message]) -> None:
        assert_type(result.item, Message)


class Intents(Hooks):
    async def before_packet(self, messages: Sequence[Message]) -> None:
        assert_type(messages[0], Message)


class AsyncHook(Hooks):
    async def on_result(self, result: SendResult[Message]) -> None:
        assert_type(result.item, Message)


async def is_called_back(client: Client) -> None:
    sink = SQLiteSink("callbacks.db")
    CallbackInbox("https://example.com/smspilot", secret="one", sink=SQLiteSink("statuses.db"), competing=True)
    async with CallbackInbox("https://example.com/smspilot", secret=["new", "old"], sink=sink) as inbox:
        assert_type(inbox, CallbackInbox)
        async for event in inbox:
            assert_type(event, StatusEvent)
            assert_type(event.status, DeliveryStatus | int | None)
        assert_type(aiohttp_app(inbox), web.Application)
        assert_type(asgi_app(inbox), AsgiApp)
    Client(callbacks=inbox)
    client.track("10005", source=inbox)
    assert_type(await client.wait_final("10005", timeout=60, source=inbox), MessageStatus)


# --- errors -------------------------------------------------------------------------------------------


async def tells_errors_apart(client: Client) -> None:
    try:
        await client.send("79087964781", "Hello")
    except InvalidMessage as error:
        assert_type(error.field, str)
        assert_type(error.code, int)
    except OutcomeUnknown as error:
        assert_type(error.reason, Reason)
        assert_type(error.server_packet_id, str | None)
        assert_type(error.code, int | None)
    except Unanswered as error:
        assert_type(error.http_status, int | None)
    except GatewayError as error:
        assert_type(error.code, int | None)
        assert_type(error.description, str)
        assert_type(error.retry_after, float | None)
    except NotFinal as error:
        assert_type(error.status, MessageStatus | None)
    except ConnectionFailed as error:
        assert_type(error.command, str | None)
    except SmsPilotError as error:
        assert_type(error.outcome, Outcome)
        assert_type(error.message_id, int | None)
    assert_type(ERROR_CODES[243], ErrorCode)
    assert_type(ERROR_CODES[243].error, type[GatewayError])


def decides_by_outcome(error: SmsPilotError) -> bool:
    match error.outcome:
        case Outcome.NOT_SENT:
            return True
        case Outcome.ACCEPTED | Outcome.REFUSED | Outcome.UNKNOWN:
            return False
        case _:
            assert_never(error.outcome)


# --- the emulator -------------------------------------------------------------------------------------


async def emulates(smspilot_emulator: Emulator) -> None:
    async with Emulator.serve(port=0, seed=1, loop_protection=None) as emulator:
        assert_type(emulator, Emulator)
    with Emulator.serve(account=Account(balance=Decimal(10))) as emulator:
        assert_type(emulator, Emulator)
    assert_type(smspilot_emulator.messages, tuple[AcceptedMessage, ...])
    assert_type(smspilot_emulator.clock, Clock)
    assert_type(smspilot_emulator.clock.advance(minutes=2), datetime)
    assert_type(smspilot_emulator.inbound("79087964781", "STOP"), InboundSms)
    assert_type(smspilot_emulator.callbacks, tuple[CallbackCall, ...])
    assert_type(await smspilot_emulator.wait_for(to="79087964781"), AcceptedMessage)
    smspilot_emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    smspilot_emulator.random_faults({Fault.BUSY: 0.02})
    smspilot_emulator.settings.loop_protection = None
    smspilot_emulator.callbacks_to = asgi_app(CallbackInbox("https://example.com/smspilot", secret="secret"))
    assert_type(smspilot_emulator.refusals, tuple[Refusal, ...])
    assert_type(smspilot_emulator.accounts, tuple[Account, ...])
