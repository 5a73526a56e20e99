"""Mistakes that the checkers must find: never run, only checked, by ``make lint``.

Each wrong line says which error it is, to mypy and to pyright. Where a checker does not find it any more, the comment
suppresses nothing, which is an error as well: of mypy's strictness, and of the pyrightconfig.json beside this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from smspilot_async import Accepted, Client, Hooks, Message, MessageStatus, Refused, SendResult, Unknown
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async import BulkRun, GatewayError, SentMessage, SmsPilotError


def settings_that_are_none() -> None:
    Client(wire="yaml")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client(request_style="header")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client(timeout=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client(12345)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client("KEY", "https://example.com")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Client(hooks=Hooks())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client(country="DE")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Client(retries=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def calls_that_can_not_work(client: Client, sent: SentMessage) -> None:
    await client.send(79087964781, "Hello")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.send("79087964781", None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.send("79087964781", "Hello", "SHOP")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.send("79087964781", "Hello", send_at="18:00")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.send("79087964781", "x", callback_method="put")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.send_packet(["Hello"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    await client.inbound("old")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.check_packet(sent)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    print(sent.price + 0.5)  # type: ignore[operator] # pyright: ignore[reportOperatorIssue]
    sent.server_id = "1"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def what_is_set_when_a_client_is_made(client: Client) -> None:
    client.is_test = False  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    client.url = "https://example.com"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


async def items_that_are_no_messages(client: Client) -> None:
    await client.send_packet([("79087964781", 1234)])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    await client.cost(["Hello"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    client.bulk([1, 2])  # type: ignore[type-var] # pyright: ignore[reportArgumentType]
    client.bulk([1, 2], message=lambda number: number)  # type: ignore[arg-type, return-value] # pyright: ignore[reportArgumentType]


def options_that_a_view_can_not_have(client: Client) -> None:
    client.with_options(timeout=5)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.with_options(deadline="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def forgotten_await(client: Client) -> None:
    print(client.send("79087964781", "Hello").server_id)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


async def forgotten_async(client: Client) -> None:
    for _ in client.bulk([Message("79087964781", "Hello")]):  # type: ignore[attr-defined] # pyright: ignore[reportGeneralTypeIssues]
        pass
    with client:  # type: ignore[attr-defined] # pyright: ignore[reportGeneralTypeIssues]
        pass


def another_kind_of_item(run: BulkRun[Message]) -> BulkRun[str]:
    return run  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def item_of_the_wrong_type(result: SendResult[Message]) -> str:
    return result.item  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def forgets_what_was_not_sent(result: SendResult[Message]) -> str:
    match result:
        case Accepted():
            return "accepted"
        case Refused() | Unknown():
            return "not accepted"
        case _:
            assert_never(result)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def looks_at_an_answer_that_may_not_be(result: SendResult[Message]) -> str | None:
    return result.sent.server_id  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]


class HookForSomethingElse(Hooks):
    def on_result(self, result: SentMessage) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError


def error_without_a_code(error: SmsPilotError) -> None:
    print(error.code)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def status_that_is_no_status(status: MessageStatus) -> str:
    MessageStatus(status="2")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    print(status.status.name)  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    return status.status  # type: ignore[return-value] # pyright: ignore[reportReturnType]


def code_that_may_be_missing(error: GatewayError) -> int:
    return error.code  # type: ignore[return-value] # pyright: ignore[reportReturnType]


async def source_of_something_else(client: Client, lines: AsyncIterator[str]) -> None:
    client.track(lines)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.track("10005", source=lines)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.listen(cursor=lines)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    CallbackInbox("https://example.com/smspilot")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def former_names(client: Client) -> None:
    client.track("10005", every=30)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.listen(every=30)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.check_packets("1234", concurrency=4)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.wait_final("10005", every=30)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def emulator_of_the_wrong_kind(emulator: Emulator) -> None:
    Emulator.serve(speed=60)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Emulator(profile="3.0")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    emulator.fail_next(Fault.BUSY)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    emulator.settings.delivery = 30  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    emulator.callbacks_to = 8000  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    emulator.messages.append(None)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
