"""A caller goes away: what still queues is withdrawn, what is on the wire goes on, and the hooks get the outcome."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import pytest
from listeners import Listener
from manual_clock import ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT, begun, failure_of

from smspilot_async import (
    Accepted,
    Client,
    ConnectionFailed,
    Hooks,
    Message,
    NotSent,
    OutcomeUnknown,
    Reason,
    Unknown,
)
from smspilot_async._network.base import Progress
from smspilot_async._network.http11 import Connection
from smspilot_async._network.transport import Transport
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from smspilot_async import SendResult

Work: TypeAlias = Coroutine[Any, Any, object]
Ready: TypeAlias = Callable[[], Awaitable[object]]
Way: TypeAlias = Callable[[Work, Ready], Awaitable[None]]


# --- ways to go away -----------------------------------------------------------------------------


def let_time_pass() -> None:
    """Make every timer of the loop due that is set within a minute."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + 60  # type: ignore[method-assign]


async def task_cancelled(work: Work, ready: Ready) -> None:
    task = asyncio.ensure_future(work)
    await ready()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def wait_for_ran_out(work: Work, ready: Ready) -> None:
    async def wait() -> None:
        await asyncio.wait_for(work, 30)

    task = asyncio.ensure_future(wait())
    await ready()
    let_time_pass()
    with pytest.raises(TimeoutError):
        await task


async def asyncio_timeout_ran_out(work: Work, ready: Ready) -> None:
    async def wait() -> None:
        async with asyncio.timeout(30):
            await work

    task = asyncio.ensure_future(wait())
    await ready()
    let_time_pass()
    with pytest.raises(TimeoutError):
        await task


async def anyio_scope_ran_out(work: Work, ready: Ready) -> None:
    async def wait() -> bool:
        with anyio.move_on_after(30) as scope:
            await work
        return scope.cancelled_caught

    task = asyncio.ensure_future(wait())
    await ready()
    let_time_pass()
    assert await task


async def anyio_scope_cancelled(work: Work, ready: Ready) -> None:
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            await work

    task = asyncio.ensure_future(wait())
    await ready()
    scope.cancel()
    await task
    assert scope.cancelled_caught


async def sibling_in_a_task_group_failed(work: Work, ready: Ready) -> None:
    async def sibling() -> None:
        await ready()
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises
        async with asyncio.TaskGroup() as group:
            group.create_task(work)
            group.create_task(sibling())
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


async def sibling_in_an_anyio_group_failed(work: Work, ready: Ready) -> None:
    async def caller() -> None:
        await work

    async def sibling() -> None:
        await ready()
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group raises
        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            group.start_soon(sibling)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


WAYS: list[Way] = [
    task_cancelled,
    wait_for_ran_out,
    asyncio_timeout_ran_out,
    anyio_scope_ran_out,
    anyio_scope_cancelled,
    sibling_in_a_task_group_failed,
    sibling_in_an_anyio_group_failed,
]
every_way = pytest.mark.parametrize("goes_away", WAYS, ids=lambda way: way.__name__)
CALLS: dict[str, Callable[[Client], Work]] = {
    "send": lambda client: client.send(PHONE, TEXT),
    "send_packet": lambda client: client.send_packet([Message(PHONE, TEXT)]),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
async def client(emulator: Emulator, listener: Listener) -> AsyncIterator[Client]:
    """A client with one connection, patient enough for an hour's jump of the loop's time."""
    async with Client(
        emulator.api_key, url=emulator.url, timeout=9000, deadline=8000, max_connections=1, hooks=[listener]
    ) as client:
        yield client


# --- on the wire ---------------------------------------------------------------------------------


@every_way
@every_call
async def test_what_is_on_the_wire_goes_on_without_its_caller_and_the_hooks_get_what_became_of_it(
    client: Client, emulator: Emulator, listener: Listener, goes_away: Way, call: Callable[[Client], Work]
) -> None:
    emulator.fail_next("send", Fault.SLOW)

    await goes_away(call(client), lambda: emulator.wait_for(to=PHONE))
    assert listener.results == []
    emulator.release()

    [result] = await listener.heard()
    assert isinstance(result, Accepted)
    assert result.item == Message(PHONE, TEXT)
    assert result.sent.server_id == emulator.messages[0].server_id
    assert len(emulator.messages) == 1


@every_call
async def test_a_deadline_on_the_wire_is_an_unknown_outcome_now_and_the_truth_for_the_hooks_later(
    manual_clock: ManualClock, emulator: Emulator, listener: Listener, call: Callable[[Client], Work]
) -> None:
    async with Client(emulator.api_key, url=emulator.url, deadline=5, timeout=60, hooks=[listener]) as client:
        emulator.fail_next("send", Fault.SLOW)
        waiting = await begun(failure_of(call(client)))
        await emulator.wait_for(to=PHONE)
        await manual_clock.advance(5)

        error = await waiting
        assert isinstance(error, OutcomeUnknown)
        assert error.reason is Reason.DEADLINE
        assert listener.results == []

        emulator.release()
        [result] = await listener.heard()
        assert isinstance(result, Accepted)


async def test_a_deadline_of_one_does_not_end_the_wait_of_another_in_the_same_packet(
    manual_clock: ManualClock, emulator: Emulator
) -> None:
    async with Client(emulator.api_key, url=emulator.url, timeout=60) as client:
        emulator.fail_next("send", Fault.SLOW)
        hurried = asyncio.ensure_future(failure_of(client.send(PHONE, TEXT, deadline=5)))
        patient = asyncio.ensure_future(client.send(OTHER_PHONE, TEXT, deadline=50))
        await emulator.wait_for(to=OTHER_PHONE)
        await manual_clock.advance(5)

        assert isinstance(await hurried, OutcomeUnknown)
        assert not patient.done()
        emulator.release()
        assert (await patient).server_id == emulator.messages[1].server_id


# --- still queued --------------------------------------------------------------------------------


@every_way
@every_call
async def test_what_still_queues_is_taken_back(
    client: Client, emulator: Emulator, listener: Listener, goes_away: Way, call: Callable[[Client], Work]
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    first = await begun(client.send(OTHER_PHONE, TEXT))
    await emulator.wait_for(to=OTHER_PHONE)

    await goes_away(call(client), idle)
    emulator.release()
    await first

    assert [(await listener.heard(2)) and result.item.to for result in listener.results].count(PHONE) == 1
    assert sorted(listener.kinds) == ["Accepted", "NotSent"]
    assert [message.to for message in emulator.messages] == [OTHER_PHONE]


async def test_a_send_that_is_cancelled_at_once_sends_nothing(
    client: Client, emulator: Emulator, listener: Listener
) -> None:
    task = await begun(client.send(PHONE, TEXT))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await listener.heard() == listener.results
    assert listener.kinds == ["NotSent"]
    assert emulator.messages == ()


@every_call
async def test_a_deadline_in_the_queue_takes_the_message_back(
    manual_clock: ManualClock, emulator: Emulator, listener: Listener, call: Callable[[Client], Work]
) -> None:
    async with Client(
        emulator.api_key, url=emulator.url, deadline=5, timeout=60, max_connections=1, hooks=[listener]
    ) as client:
        emulator.fail_next("send", Fault.SLOW)
        first = await begun(client.send(OTHER_PHONE, TEXT, deadline=50))
        await emulator.wait_for(to=OTHER_PHONE)
        waiting = await begun(failure_of(call(client)))
        await manual_clock.advance(5)

        assert type(await waiting) is ConnectionFailed
        emulator.release()
        await first

    assert sorted(listener.kinds) == ["Accepted", "NotSent"]
    assert [message.to for message in emulator.messages] == [OTHER_PHONE]


# --- between two attempts ------------------------------------------------------------------------


@every_call
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.BUSY_MESSAGE, Fault.TOO_MANY_REQUESTS])
async def test_what_waits_to_be_tried_again_is_not_when_its_caller_goes_away(
    manual_clock: ManualClock, emulator: Emulator, listener: Listener, call: Callable[[Client], Work], fault: Fault
) -> None:
    async with Client(emulator.api_key, url=emulator.url, hooks=[listener]) as client:
        emulator.fail_next("send", fault)
        task = await begun(call(client))
        await manual_clock.sleeper()
        task.cancel()
        await manual_clock.advance(60)

        [result] = await listener.heard()
        assert isinstance(result, NotSent)
        with suppress(asyncio.CancelledError):
            await task

    assert emulator.messages == ()


async def test_the_rest_of_a_packet_is_accepted_although_its_caller_went_while_one_waited(
    manual_clock: ManualClock, emulator: Emulator, listener: Listener
) -> None:
    async with Client(emulator.api_key, url=emulator.url, hooks=[listener]) as client:
        emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
        task = await begun(client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")]))
        await manual_clock.sleeper()
        task.cancel()
        await manual_clock.advance(60)
        await listener.heard(2)
        with suppress(asyncio.CancelledError):
            await task

    assert {result.item.text: type(result) for result in listener.results} == {"1": Accepted, "2": NotSent}
    assert [message.text for message in emulator.messages] == ["1"]


# --- the end of the loop, and of the client -------------------------------------------------------


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    """An emulator for tests that run loops of their own."""
    with Emulator.serve(port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


@every_call
def test_a_loop_that_ends_with_a_send_on_the_wire_tells_the_hooks_that_its_outcome_is_unknown(
    gateway: Emulator, listener: Listener, caplog: pytest.LogCaptureFixture, call: Callable[[Client], Work]
) -> None:
    async def main() -> None:
        client = Client(gateway.api_key, url=gateway.url, hooks=[listener])
        gateway.fail_next("send", Fault.SLOW)
        await begun(call(client))
        await gateway.wait_for(to=PHONE)

    asyncio.run(main())
    gc.collect()

    [result] = listener.results
    assert isinstance(result, Unknown)
    assert result.error.reason is Reason.CANCELLED
    assert [record for record in caplog.records if record.name != "smspilot_async"] == []


@every_call
def test_a_loop_that_ends_with_a_send_in_the_queue_has_sent_nothing(
    gateway: Emulator, listener: Listener, caplog: pytest.LogCaptureFixture, call: Callable[[Client], Work]
) -> None:
    async def main() -> None:
        client = Client(gateway.api_key, url=gateway.url, max_connections=1, hooks=[listener])
        gateway.fail_next("send", Fault.SLOW)
        await begun(client.send(OTHER_PHONE, TEXT))
        await gateway.wait_for(to=OTHER_PHONE)
        await begun(call(client))
        await idle()

    asyncio.run(main())
    gc.collect()

    assert PHONE not in [message.to for message in gateway.messages]
    assert all(isinstance(result, Unknown) == (result.item.to == OTHER_PHONE) for result in listener.results)
    assert [record for record in caplog.records if record.name != "smspilot_async"] == []


async def test_a_client_that_is_dropped_with_a_request_on_the_wire_takes_nothing_along(
    emulator: Emulator, listener: Listener
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    client = Client(emulator.api_key, url=emulator.url, hooks=[listener])
    task = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    del client, task
    gc.collect()
    emulator.release()

    assert await listener.heard() == listener.results
    assert listener.kinds == ["Accepted"]
    gc.collect()
    await idle()


# --- hooks ---------------------------------------------------------------------------------------


class Slow(Hooks):
    """A coroutine function that takes its time."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.results: list[SendResult[Message]] = []

    async def on_result(self, result: SendResult[Message]) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.results.append(result)


class Failing(Hooks):
    """Raises, with people's data in the error."""

    def on_result(self, result: SendResult[Message]) -> None:
        raise LookupError(result.item.text)


class FailingLater(Hooks):
    async def on_result(self, result: SendResult[Message]) -> None:
        await asyncio.sleep(0)
        raise LookupError(result.item.text)


async def test_each_of_several_hooks_gets_each_result_and_a_failing_one_does_no_harm(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    listeners = [Listener(), Listener()]
    hooks = [Failing(), listeners[0], FailingLater(), listeners[1], Hooks()]
    emulator.refuse(code=223, text="2")
    async with Client(emulator.api_key, url=emulator.url, hooks=hooks) as client:
        packet = await client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")])

    assert [row.accepted for row in packet.messages] == [True, False]
    assert [listener.kinds for listener in listeners] == [["Accepted", "Refused"]] * 2
    complaints = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [complaint.partition(" (")[0] for complaint in complaints] == [
        f"hook {name}.on_result raised LookupError" for name in ("Failing", "FailingLater")
    ] * 2
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_caller_does_not_wait_for_the_hooks_but_closing_does(emulator: Emulator) -> None:
    slow = Slow()
    client = Client(emulator.api_key, url=emulator.url, hooks=[slow])

    await client.send(PHONE, TEXT)
    await slow.begun.wait()
    closing = await begun(client.aclose())
    await idle()
    assert not closing.done()
    slow.go_on.set()
    await closing

    assert len(slow.results) == 1


async def test_closing_with_a_timeout_gives_the_hooks_every_result(emulator: Emulator) -> None:
    slow = Slow()
    client = Client(emulator.api_key, url=emulator.url, hooks=[slow])

    call = await begun(client.send_packet([Message(PHONE, TEXT), Message(OTHER_PHONE, TEXT)]))
    await slow.begun.wait()
    closing = await begun(client.aclose(timeout=0))
    await idle()
    assert not closing.done()
    slow.go_on.set()
    await asyncio.gather(call, closing)

    assert len(slow.results) == 2


async def test_a_caller_that_goes_away_while_the_hooks_listen_does_not_interrupt_them(emulator: Emulator) -> None:
    slow = Slow()
    async with Client(emulator.api_key, url=emulator.url, hooks=[slow]) as client:
        task = await begun(client.send_packet([Message(PHONE, TEXT)]))
        await slow.begun.wait()
        task.cancel()
        await asyncio.wait({task})
        slow.go_on.set()

    assert len(slow.results) == 1


async def test_hooks_that_flush_and_close_do_not_wait_for_each_other(emulator: Emulator) -> None:
    class Flushing(Listener):
        async def on_result(self, result: SendResult[Message]) -> None:  # type: ignore[override]
            super().on_result(result)
            await flushing_client.flush()

    listener = Flushing()
    flushing_client = Client(emulator.api_key, url=emulator.url, packet_size=1, hooks=[listener])
    async with asyncio.timeout(5):
        async with flushing_client:
            await asyncio.gather(*(flushing_client.send(PHONE, str(number)) for number in range(5)))
            await listener.heard(5)

    assert listener.kinds == ["Accepted"] * 5


async def test_a_hook_may_send(emulator: Emulator) -> None:
    class Answering(Listener):
        async def on_result(self, result: SendResult[Message]) -> None:  # type: ignore[override]
            super().on_result(result)
            if len(self.results) == 1:
                await sending_client.send(OTHER_PHONE, "The first went out")

    listener = Answering()
    async with Client(emulator.api_key, url=emulator.url, hooks=[listener]) as sending_client:
        await sending_client.send(PHONE, TEXT)
        await listener.heard(2)

    assert [message.to for message in emulator.messages] == [PHONE, OTHER_PHONE]


@pytest.mark.parametrize(
    ("owner", "moment"),
    [(Progress, "begin"), (Connection, "data_received"), (Connection, "time_out"), (Transport, "_put_back")],
)
async def test_a_question_that_is_cancelled_at_any_moment_leaves_its_connection_to_no_other(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, owner: type, moment: str
) -> None:
    genuine = getattr(owner, moment)

    def cancelled_at(self: Any, *args: Any) -> None:
        monkeypatch.undo()
        asking.cancel()
        genuine(self, *args)

    async with Client(emulator.api_key, url=emulator.url, max_connections=1, timeout=1) as client:
        await client.balance()
        monkeypatch.setattr(owner, moment, cancelled_at)
        if moment == "time_out":
            emulator.fail_next("balance", Fault.SLOW)
        asking = asyncio.create_task(client.balance())
        with suppress(asyncio.CancelledError):  # it was answered, where it is cancelled at the very end
            await asking
        assert asking.cancelled() or moment == "_put_back"
        emulator.release()
        assert await client.balance() == emulator.account.balance
