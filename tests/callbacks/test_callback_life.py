"""An inbox through closing, opening again, and one event loop after another."""

from __future__ import annotations

import asyncio
import gc
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from calling import BASE, SECRET, call
from listeners import Listener
from manual_clock import idle
from outcomes import PHONE, TEXT, failure_of

from smspilot_async import Client, Hooks, Message, MessageStatus, OutcomeUnknown, SendResult, Unknown
from smspilot_async.callbacks import CallbackInbox, SQLiteSink
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path

    from smspilot_async.callbacks import StatusEvent

NEVER = timedelta(days=1000)


async def soon(work: Awaitable[Any]) -> Any:
    """What must not hang, with a limit that only a fault reaches."""
    async with asyncio.timeout(5):
        return await work


def quiet_emulator() -> Emulator:
    return Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)


def client_of(emulator: Emulator, inbox: CallbackInbox) -> Client:
    return Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox)


@contextmanager
def dying_loop(left: list[asyncio.Task[object]]) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that is closed with uncancelled tasks in it; ``left`` keeps them alive."""
    dead = asyncio.new_event_loop()
    yield dead
    left += asyncio.all_tasks(dead)
    dead.close()
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


# --- one loop after another ----------------------------------------------------------------------


@pytest.mark.parametrize("is_shared", [False, True])
def test_events_are_read_in_one_loop_after_another(tmp_path: Path, *, is_shared: bool) -> None:
    inbox = CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(tmp_path / "statuses.db") if is_shared else None)

    async def one(id_: int) -> None:
        waiting = asyncio.ensure_future(anext(inbox))
        await asyncio.sleep(0.01)  # it waits for news
        url = inbox.urls_for([(id_, Message(PHONE, TEXT))])[id_]
        assert await call(inbox, url, f"{id_}", 1) == 200
        assert (await soon(asyncio.wait_for(waiting, 5))).id == id_
        again = asyncio.ensure_future(anext(inbox))
        await asyncio.sleep(0.01)
        again.cancel()

    asyncio.run(one(1))
    asyncio.run(one(2))

    asyncio.run(inbox.aclose())


def test_a_track_gets_calls_in_one_loop_after_another() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    client = client_of(emulator, inbox)

    async def one(number: int) -> None:
        sent = await client.send(PHONE, f"{TEXT} {number}")
        async with client.track(sent, source=inbox) as changes:
            following = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.01)
            assert await call(inbox, emulator.messages[number].callback, sent.server_id, 2) == 200
            assert (await asyncio.wait_for(following, 5)).status == 2

    asyncio.run(one(0))
    asyncio.run(one(1))
    gc.collect()


def test_an_answer_lost_in_one_loop_is_found_by_a_call_in_the_next() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    client = client_of(emulator, inbox)

    async def lose() -> OutcomeUnknown:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        error = await failure_of(client.send(PHONE, TEXT))
        assert isinstance(error, OutcomeUnknown)
        return error

    async def find(error: OutcomeUnknown) -> str | None:
        [message] = emulator.messages
        assert await call(inbox, message.callback, message.server_id, 1) == 200
        return (await asyncio.wait_for(inbox.wait_accepted(error), 5)).server_id

    assert asyncio.run(find(asyncio.run(lose()))) == emulator.messages[0].server_id


def test_a_loop_that_ended_in_the_middle_of_everything_harms_no_later_one() -> None:
    inbox = CallbackInbox(BASE, secret=SECRET)
    url = inbox.urls_for([(7, Message(PHONE, TEXT))])[7]
    left: list[asyncio.Task[object]] = []

    async def begin() -> None:
        left.append(asyncio.ensure_future(anext(aiter(inbox.watch({"5"})))))
        await asyncio.sleep(0.01)

    async def hear() -> None:
        hearing = asyncio.ensure_future(anext(aiter(inbox.watch({"5"}))))
        await asyncio.sleep(0.01)
        assert await call(inbox, url, "5", 2) == 200
        assert (await asyncio.wait_for(hearing, 5)).server_id == "5"
        await soon(inbox.aclose())

    with dying_loop(left) as dead:
        dead.run_until_complete(begin())
    asyncio.run(hear())


def test_a_waiter_in_a_dead_loop_does_not_keep_the_proof_from_others() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    client = client_of(emulator, inbox)
    left: list[asyncio.Task[object]] = []

    async def lose() -> OutcomeUnknown:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        error = await failure_of(client.send(PHONE, TEXT))
        assert isinstance(error, OutcomeUnknown)
        left.extend(asyncio.ensure_future(inbox.wait_accepted(error)) for _ in range(5))
        await idle()
        return error

    async def find(error: OutcomeUnknown) -> set[str | None]:
        [message] = emulator.messages
        waiting = [asyncio.ensure_future(inbox.wait_accepted(error)) for _ in range(5)]
        await idle()
        assert await call(inbox, message.callback, message.server_id, 1) == 200
        found = {sent.server_id for sent in await soon(asyncio.gather(*waiting))}
        await inbox.aclose()
        return found

    with dying_loop(left) as dead:
        error = dead.run_until_complete(lose())
    assert asyncio.run(find(error)) == {emulator.messages[0].server_id}


def test_a_hook_that_died_with_its_loop_keeps_the_proof_from_no_later_one() -> None:
    """The client is closed in the moment in which the gateway's echo comes, so it has no session in the later loop."""
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    heard: list[str] = []
    left: list[asyncio.Task[object]] = []

    class Hanging(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            heard.append(type(result).__name__)
            if isinstance(result, Unknown):
                await asyncio.Event().wait()

    class Closing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await emulator.transport.handle_async_request(request)
            if b'"check"' in request.content:
                await client.aclose()
            return response

    client = Client(emulator.api_key, url=emulator.url, transport=Closing(), callbacks=inbox, hooks=[Hanging()])

    async def lose() -> None:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        left.append(asyncio.ensure_future(client.send(PHONE, TEXT)))
        await idle()
        assert heard == ["Unknown"]

    async def find() -> None:
        [message] = emulator.messages
        assert await call(inbox, message.callback, message.server_id, 1) == 200
        await idle()
        await inbox.aclose()

    with dying_loop(left) as dead:
        dead.run_until_complete(lose())
    asyncio.run(find())
    assert heard == ["Unknown", "Accepted"]


def test_a_call_proves_in_the_next_loop_what_was_on_the_wire_when_its_own_was_closed() -> None:
    inbox = CallbackInbox(BASE, secret=SECRET)
    listener = Listener()
    left: list[asyncio.Task[object]] = []
    with Emulator.serve(port=0, loop_protection=None, seed=1, handover=NEVER) as emulator:
        client = Client(emulator.api_key, url=emulator.url, hooks=[listener], callbacks=inbox)

        async def send() -> None:
            emulator.fail_next("send", Fault.SLOW)
            sending = asyncio.ensure_future(client.send(PHONE, TEXT))
            while not emulator.messages:  # in another thread
                await asyncio.wait({sending}, timeout=0.01)

        async def prove() -> None:
            async with client:
                await client.balance()
                await soon(listener.heard())
                assert await call(inbox, message.callback, message.server_id, 1) == 200
                await soon(listener.heard(2))
            await inbox.aclose()

        with dying_loop(left) as dead:
            dead.run_until_complete(send())
        emulator.release()
        [message] = emulator.messages
        asyncio.run(prove())

    assert listener.kinds == ["Unknown", "Accepted"]


async def test_an_open_question_of_the_inbox_keeps_a_client_that_was_dropped() -> None:
    emulator = quiet_emulator()
    async with CallbackInbox(BASE, secret=SECRET) as inbox:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        client = client_of(emulator, inbox)
        unknown = await failure_of(client.send(PHONE, TEXT))
        assert isinstance(unknown, OutcomeUnknown)
        del client
        gc.collect()
        [message] = emulator.messages

        assert await call(inbox, message.callback, message.server_id, 1) == 200
        assert (await soon(inbox.wait_accepted(unknown))).server_id == message.server_id


# --- closed, and opened again --------------------------------------------------------------------


async def test_an_answer_that_was_lost_before_the_client_was_closed_is_found_once_it_is_open_again() -> None:
    emulator = quiet_emulator()
    async with CallbackInbox(BASE, secret=SECRET) as inbox:
        client = client_of(emulator, inbox)
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        async with client:
            error = await failure_of(client.send(PHONE, TEXT))
            assert isinstance(error, OutcomeUnknown)
        [message] = emulator.messages
        async with client:
            assert await call(inbox, message.callback, message.server_id, 1) == 200
            assert (await soon(inbox.wait_accepted(error))).server_id == message.server_id


async def test_to_track_with_a_closed_inbox_is_to_poll_and_fails_in_no_task() -> None:
    async def first_status() -> int | None:
        emulator = quiet_emulator()
        inbox = CallbackInbox(BASE, secret=SECRET)
        await inbox.aclose()
        async with client_of(emulator, inbox) as client:
            sent = await client.send(PHONE, TEXT)
            async with client.track(str(sent.server_id), source=inbox, poll_interval=0.01) as changes:
                change: MessageStatus = await soon(anext(changes))
                return change.status

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    assert await first_status() == 0
    gc.collect()  # asyncio reports a task's unretrieved exception once the task is collected
    assert faults == []


async def test_a_proof_that_closing_broke_off_is_begun_again_by_the_next_call() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    async with client_of(emulator, inbox) as client:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        error = await failure_of(client.send(PHONE, TEXT))
        assert isinstance(error, OutcomeUnknown)
        [message] = emulator.messages
        await call(inbox, message.callback, message.server_id, 1)
        await inbox.aclose()  # the proof has not even begun
        async with inbox:
            await call(inbox, message.callback, message.server_id, 2)
            assert (await soon(inbox.wait_accepted(error))).server_id == message.server_id


async def test_a_track_goes_on_hearing_calls_when_the_inbox_is_opened_again() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    async with client_of(emulator, inbox) as client:
        sent = await client.send(PHONE, TEXT)
        async with client.track(sent, source=inbox) as changes:
            await asyncio.sleep(0.01)
            await inbox.aclose()
            async with inbox:
                await asyncio.sleep(0.01)
                await call(inbox, emulator.messages[0].callback, sent.server_id, 2)
                assert (await soon(anext(changes))).status == 2


async def test_a_track_that_began_while_the_inbox_was_closed_gets_calls_once_it_is_open() -> None:
    emulator = quiet_emulator()
    inbox = CallbackInbox(BASE, secret=SECRET)
    await inbox.aclose()
    async with client_of(emulator, inbox) as client:
        sent = await client.send(PHONE, TEXT)
        async with client.track(sent, source=inbox) as changes:
            await idle()
            async with inbox:
                await call(inbox, emulator.messages[0].callback, sent.server_id, 2)
                assert (await soon(anext(changes))).status == 2


async def test_closing_ends_the_loop_that_reads_a_file_which_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "statuses.db").write_bytes(b"this is no database" * 100)
    inbox = CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(tmp_path / "statuses.db"))

    async def read() -> list[StatusEvent]:
        return [event async for event in inbox]

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0.05)
    await inbox.aclose()
    assert await asyncio.wait_for(reading, 5) == []
    assert inbox._log._thread is None  # type: ignore[attr-defined]


async def test_a_track_that_is_left_before_its_first_step_leaves_nothing_behind() -> None:
    emulator = quiet_emulator()
    async with CallbackInbox(BASE, secret=SECRET) as inbox, client_of(emulator, inbox) as client:
        sent = await client.send(PHONE, TEXT)
        async with client.track(sent, source=inbox):
            pass
        assert not inbox._watching._watches
