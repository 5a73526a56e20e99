"""Hooks are called for every request and every result, and nothing that they do changes either."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from noted import Holding, Noted
from outcomes import PHONE, TEXT, failure_of

from smspilot_async import (
    Client,
    ConnectionFailed,
    Hooks,
    InsufficientFunds,
    Message,
    NotFound,
    OutcomeUnknown,
    Reason,
    RequestInfo,
    RequestOutcome,
    Unanswered,
    Unknown,
)
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from manual_clock import ManualClock

    from smspilot_async import Observed

MESSAGES = [Message(f"7908796478{number}", f"text {number}") for number in range(5)]


def client_of(emulator: Emulator, *hooks: Hooks, **options: Any) -> Client:
    return Client(emulator.api_key, url=emulator.url, hooks=hooks, **options)


# --- requests ------------------------------------------------------------------------------------


async def test_hooks_are_called_before_a_sends_request_after_it_and_with_its_result(
    emulator: Emulator, noted: Noted
) -> None:
    async with client_of(emulator, noted) as client:
        await client.send(PHONE, TEXT)
    assert noted.calls == ["on_client", "before_request", "after_request", "on_result", "aclose"]
    ((request, outcome),) = noted.ended
    assert request is noted.begun[0]
    assert (request.command, request.wire, request.messages, request.attempt) == ("send", "json", 1, 1)
    assert (request.method, request.url) == ("POST", emulator.url)
    assert request.size > 50
    assert (outcome.kind, outcome.error, outcome.http_status) == ("answered", None, 200)
    assert outcome.seconds > 0


async def test_each_command_is_reported_by_its_name(emulator: Emulator, noted: Noted) -> None:
    async with client_of(emulator, noted, wire="xml") as client:
        packet = await client.send_packet(MESSAGES)
        await client.check([row for row in packet.messages if row.server_id])
        await client.cost(MESSAGES[:2])
        await client.balance()
        await client.info()
        await client.inbound()
    told = [(request.command, request.wire, request.messages) for request in noted.begun]
    assert told == [(name, "xml", size) for name, size in [("send", 5), ("check", 5), ("cost", 2)]] + [
        (name, "xml", 1) for name in ("balance", "info", "inbound")
    ]


async def test_a_refused_request_is_shown_with_its_error(emulator: Emulator, noted: Noted) -> None:
    async with client_of(emulator, noted) as client:
        error = await failure_of(client.check("123"))
    ((_, outcome),) = noted.ended
    assert (outcome.kind, outcome.error, outcome.http_status) == ("refused", error, 200)
    assert isinstance(error, NotFound)


async def test_a_message_that_is_put_off_inside_an_answer_is_reported_as_a_result(
    emulator: Emulator, noted: Noted
) -> None:
    poor = emulator.add_account(balance=0)
    async with Client(poor.api_key, url=emulator.url, hooks=[noted]) as client:
        assert isinstance(await failure_of(client.send(PHONE, TEXT)), InsufficientFunds)
    assert (noted.outcomes, noted.kinds) == (["answered"], ["NotSent"])


async def test_a_lost_answer_is_reported_as_unknown_and_its_result_names_the_message(
    emulator: Emulator, noted: Noted
) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with client_of(emulator, noted) as client:
        await failure_of(client.send_packet([attrs.evolve(message, id=n + 1) for n, message in enumerate(MESSAGES)]))
    assert noted.outcomes == ["unknown"]
    assert isinstance(noted.ended[0][1].error, OutcomeUnknown)
    assert [result.error.message_id for result in noted.results if isinstance(result, Unknown)] == [1, 2, 3, 4, 5]


async def test_a_request_that_reaches_no_server_is_reported_as_not_sent(noted: Noted) -> None:
    async with Client("KEY", url="http://127.0.0.1:9/", hooks=[noted], deadline=0.1) as client:
        assert isinstance(await failure_of(client.send(PHONE, TEXT)), ConnectionFailed)
    assert set(noted.outcomes) == {"not_sent"}
    assert {outcome.http_status for _, outcome in noted.ended} == {None}


async def test_attempts_are_counted(manual_clock: ManualClock, noted: Noted) -> None:
    emulator = Emulator(loop_protection=None, seed=1)
    emulator.fail_next("send", Fault.BUSY)
    emulator.fail_next("balance", Fault.SERVER_ERROR)
    async with client_of(emulator, noted, transport=emulator.transport) as client:
        await manual_clock.drive(client.send(PHONE, TEXT))
        await manual_clock.drive(client.balance())
    assert [(request.command, request.attempt, outcome.kind) for request, outcome in noted.ended] == [
        ("send", 1, "not_sent"),
        ("send", 2, "answered"),
        ("balance", 1, "unknown"),
        ("balance", 2, "answered"),
    ]
    assert [outcome.http_status for _, outcome in noted.ended][2] == 503


async def test_a_cancelled_read_is_reported_to_its_end(emulator: Emulator, noted: Noted) -> None:
    line = Holding(emulator)
    async with client_of(emulator, noted, transport=line) as client:
        call = asyncio.ensure_future(client.balance())
        await line.is_reached.wait()
        call.cancel()
        await asyncio.wait({call})
    assert call.cancelled()
    ((request, outcome),) = noted.ended
    assert request.command == "balance"
    assert isinstance(outcome.error, Unanswered)
    assert outcome.error.reason is Reason.CANCELLED


async def test_nothing_private_is_shown_of_a_request(emulator: Emulator, noted: Noted) -> None:
    with pytest.warns(UserWarning, match="query"):
        client = Client(
            emulator.api_key,
            url=f"{emulator.url}?token=T-55",
            hooks=[noted],
            request_style="query",
            referral="R-77",
        )
    async with client:
        await client.send(PHONE, TEXT)
    told = repr(attrs.asdict(noted.begun[0], filter=lambda field, _: field.name != "contexts")) + repr(noted.ended)
    for secret in (emulator.api_key, PHONE, TEXT, "R-77", "T-55"):
        assert secret not in told
    assert noted.begun[0].size > len(emulator.url) + len(TEXT)


async def test_a_request_knows_the_contexts_of_all_callers_in_its_packet(emulator: Emulator, noted: Noted) -> None:
    who: ContextVar[str] = ContextVar("who")

    async def visitor(name: str) -> None:
        who.set(name)
        await client.send(PHONE, name)

    async with client_of(emulator, noted) as client:
        await asyncio.gather(visitor("Anna"), visitor("Boris"))
        who.set("no visitor")
        await client.balance()
        await client.send_packet(MESSAGES)
    assert [[context[who] for context in request.contexts] for request in noted.begun] == [
        ["Anna", "Boris"],
        ["no visitor"],
        ["no visitor"],
    ]


# --- what hooks do wrong -------------------------------------------------------------------------


class Raising(Hooks):
    """Raises everywhere, with words that must not get out."""

    def on_client(self, client: Observed) -> None:  # noqa: ARG002 - the hooks' names
        raise ValueError(PHONE)

    def before_request(self, request: RequestInfo) -> None:  # noqa: ARG002 - the hooks' names
        raise ValueError(PHONE)

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:  # noqa: ARG002 - the hooks' names
        raise ValueError(PHONE)

    def on_result(self, result: object) -> None:  # noqa: ARG002 - the hooks' names
        raise ValueError(PHONE)

    async def aclose(self) -> None:
        raise ValueError(PHONE)


async def test_what_listening_hooks_raise_is_logged_by_type_and_goes_nowhere(
    emulator: Emulator, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(emulator, Raising(), noted) as client:
        sent = await client.send(PHONE, TEXT)
    assert [message.server_id for message in emulator.messages] == [sent.server_id]
    assert noted.calls == ["on_client", "before_request", "after_request", "on_result", "aclose"]
    said = [record.getMessage() for record in caplog.records if record.name == "smspilot_async"]
    lines = [getattr(Raising, name).__code__.co_firstlineno + 1 for name in noted.calls]
    assert said == [
        f"hook Raising.{name} raised ValueError (test_listening.py, line {line})"
        for name, line in zip(noted.calls, lines, strict=True)
    ]


class Misnamed(Hooks):
    def on_result(self) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes no result, so it is never come to."""


async def test_a_hook_that_could_not_even_be_called_is_logged(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(emulator, Misnamed()) as client:
        await client.send(PHONE, TEXT)
    assert "hook Misnamed.on_result raised TypeError" in caplog.messages


class Async(Hooks):
    async def before_request(self, request: RequestInfo) -> None:  # type: ignore[override]
        del request


@pytest.mark.parametrize(
    ("hooks", "says"),
    [
        ([5], "hooks must hold objects of subclasses of Hooks, not int"),
        ([Noted], "hooks must hold objects of subclasses of Hooks, not Noted, a class"),
        ([Noted(), None], "not NoneType"),
        (5, "hooks must be a list of Hooks objects, not int"),
        (Noted(), "hooks must be a list of Hooks objects, not Noted"),
        ([Async()], "Async.before_request must not be a coroutine function"),
    ],
)
def test_what_is_no_hook_is_refused_when_the_client_is_made(hooks: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Client("KEY", hooks=hooks)


async def test_a_hook_is_called_for_what_it_overrides_only(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnResult(Hooks):
        def on_result(self, result: object) -> None:
            pass

    def must_not_be_made(**_: object) -> RequestInfo:
        raise AssertionError

    monkeypatch.setattr("smspilot_async._requests.requester.RequestInfo", must_not_be_made)
    async with client_of(emulator, OnResult()) as client:
        await client.send(PHONE, TEXT)


# --- the logger ----------------------------------------------------------------------------------


def test_an_application_that_sets_up_no_logging_sees_none_of_ours() -> None:
    code = "import logging, smspilot_async; logging.getLogger('smspilot_async').warning('to whom it may concern')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert (done.stdout, done.stderr) == ("", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("smspilot_async").handlers)
