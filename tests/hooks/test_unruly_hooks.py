"""Whatever a hook raises, and however long it hangs: the truth about a message is kept, and reaches other hooks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle
from outcomes import PHONE, TEXT, failure_of

from smspilot_async import Client, Hooks, Message, OutcomeUnknown, VetoFailed
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from manual_clock import ManualClock
    from noted import Noted

    from smspilot_async import BulkRun, RequestInfo, RequestOutcome, SendResult

MESSAGES = [Message(f"7908796478{number}", f"text {number}") for number in range(3)]


@pytest.fixture
def emulator() -> Emulator:
    """An emulator that takes every message, without a socket."""
    return Emulator(loop_protection=None, seed=1)


def client_of(emulator: Emulator, *hooks: Hooks, **options: Any) -> Client:
    return Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=hooks, **options)


class StoppedTest(BaseException):
    """What test tools raise, past every ``except Exception``."""


class Unruly(Hooks):
    """Raises what is no ``Exception`` from one of its methods."""

    def __init__(self, method: str, error: type[BaseException]) -> None:
        self._method = method
        self._error = error

    def _raise_in(self, method: str) -> None:
        if method == self._method:
            raise self._error

    def veto(self, message: Message) -> str | None:
        del message
        self._raise_in("veto")
        return None

    def before_request(self, request: RequestInfo) -> None:
        del request
        self._raise_in("before_request")

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        del request, outcome
        self._raise_in("after_request")

    async def on_result(self, result: object) -> None:
        del result
        self._raise_in("on_result")

    async def aclose(self) -> None:
        self._raise_in("aclose")


@pytest.mark.parametrize("error", [asyncio.CancelledError, StoppedTest])
@pytest.mark.parametrize("method", ["before_request", "after_request", "on_result", "aclose"])
async def test_a_cancellation_of_a_hooks_own_goes_nowhere(
    emulator: Emulator, noted: Noted, method: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(emulator, Unruly(method, error), noted) as client:
        sent = await client.send(PHONE, TEXT)
        packet = await client.send_packet(MESSAGES)
    assert [sent.server_id, *(row.server_id for row in packet.messages)] == [
        message.server_id for message in emulator.messages
    ]
    assert noted.kinds == ["Accepted"] * 4
    assert noted.calls[-1] == "aclose"
    assert f"hook Unruly.{method} raised {error.__name__}" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError, StoppedTest])
async def test_a_veto_that_raises_a_cancellation_of_its_own_does_not_cancel_its_caller(
    emulator: Emulator, noted: Noted, error: type[BaseException]
) -> None:
    async with client_of(emulator, Unruly("veto", error), noted) as client:
        for call in (client.send(PHONE, TEXT), client.send_packet(MESSAGES)):
            failure = await failure_of(call)
            assert isinstance(failure, VetoFailed)
            assert failure.reason == f"Unruly.veto raised {error.__name__}"
    assert noted.kinds == ["NotSent"] * 4
    assert len(emulator.messages) == 0


def test_an_interrupt_between_an_answer_and_its_result_is_no_claim_that_nothing_was_sent(emulator: Emulator) -> None:
    loop = asyncio.new_event_loop()
    client = client_of(emulator, Unruly("after_request", SystemExit))
    call = loop.create_task(failure_of(client.send(PHONE, TEXT)))
    with pytest.raises(SystemExit):
        loop.run_until_complete(call)
    assert len(emulator.messages) == 1
    assert isinstance(loop.run_until_complete(call), OutcomeUnknown)
    loop.run_until_complete(client.aclose())
    loop.close()


class Stuck(Hooks):
    """Never finishes hearing a result, nor closing."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()

    async def on_result(self, result: object) -> None:
        del result
        self.is_reached.set()
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        await asyncio.Event().wait()


async def test_a_hook_that_hangs_does_not_keep_a_closing_client_nor_other_hooks(
    emulator: Emulator, noted: Noted, manual_clock: ManualClock
) -> None:
    stuck = Stuck()
    client = client_of(emulator, stuck, Stuck(), noted)
    call = asyncio.ensure_future(client.send_packet(MESSAGES))
    await stuck.is_reached.wait()
    closing = asyncio.ensure_future(client.aclose(timeout=5))
    await manual_clock.advance(16)
    assert closing.done()
    assert len((await call).accepted) == 3
    assert noted.kinds == ["Accepted"] * 3
    assert noted.calls[-1] == "aclose"


async def test_a_hook_that_holds_up_a_bulk_run_is_named_in_the_log_and_not_cut_off(
    emulator: Emulator, manual_clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Hooks):
        def __init__(self) -> None:
            self.database = asyncio.Event()
            self.heard = 0

        async def on_result(self, result: object) -> None:
            del result
            await self.database.wait()
            self.heard += 1

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "smspilot_async"]

    slow = Slow()
    client = client_of(emulator, slow)
    reading = asyncio.ensure_future(_all_of(client.bulk(MESSAGES)))
    await manual_clock.advance(29)
    early = warnings()
    await manual_clock.advance(2)
    await manual_clock.advance(1000)
    late, waits = warnings(), not reading.done()
    slow.database.set()
    assert len(await reading) == slow.heard == 3
    await client.aclose()
    assert early == []
    assert late == ["hook Slow.on_result: still not finished after 30 s"]
    assert waits


async def _all_of(run: BulkRun[Message]) -> list[SendResult[Message]]:
    async with run:
        return [result async for result in run]


async def test_a_hook_may_close_the_client_while_another_packet_is_not_answered(
    emulator: Emulator, noted: Noted, manual_clock: ManualClock
) -> None:
    class Closing(Hooks):
        async def on_result(self, result: object) -> None:
            del result
            await client.aclose(timeout=1)
            closed.set()

    closed = asyncio.Event()
    emulator.fail_next("send", Fault.SLOW)
    client = client_of(emulator, Closing(), noted)
    slow = asyncio.ensure_future(failure_of(client.send(PHONE, "slow")))
    await idle()
    await client.send(PHONE, "quick")
    await manual_clock.advance(5)
    assert closed.is_set()
    assert isinstance(await slow, OutcomeUnknown)
    assert sorted(noted.kinds) == ["Accepted", "Unknown"]
