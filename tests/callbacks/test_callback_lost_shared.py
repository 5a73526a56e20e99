"""A lost answer is known to all workers of a sink: whichever is called proves it, and the sender's hooks are called."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest
from calling import BASE, SECRET, call
from listeners import Listener
from manual_clock import ManualClock, idle
from outcomes import PHONE, TEXT, failure_of
from sqlite_locks import held
from test_callback_sqlite import as_a_kill_would_leave, line_of

from smspilot_async import Accepted, Client, OutcomeUnknown, SentMessage
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, _lost_answers
from smspilot_async.callbacks._lost_answers import LostAnswer, LostAnswers, MemoryLostAnswers
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.errors import send_nonce_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
NEVER = timedelta(days=1000)
SINCE = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Line(httpx.AsyncBaseTransport):
    """The way of one worker to the gateway, on which checks can be cut off."""

    def __init__(self, emulator: Emulator) -> None:
        self.is_cut = False
        self.checks = 0
        self._inner = emulator.transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if b'"check"' in await request.aread():
            self.checks += 1
            if self.is_cut:
                raise httpx.ReadError("cut")
        return await self._inner.handle_async_request(request)


@attrs.frozen
class Worker:
    inbox: CallbackInbox
    client: Client
    listener: Listener
    line: Line

    async def settled(self) -> None:
        """Wait until the sink has done what was asked of it, and nothing is ready to go on."""
        sink = self.inbox._log
        assert isinstance(sink, SQLiteSink)
        for _ in range(4):
            await asyncio.wrap_future(sink._submit(lambda: None))
            await idle()


@contextlib.asynccontextmanager
async def working(emulator: Emulator, path: Path, key: str | None = None) -> AsyncIterator[Worker]:
    listener, line = Listener(), Line(emulator)
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox,
        Client(
            key or emulator.api_key, url=emulator.url, transport=line, callbacks=inbox, hooks=[listener], deadline=2
        ) as client,
    ):
        yield Worker(inbox, client, listener, line)


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statuses.db"


@pytest.fixture
async def one(emulator: Emulator, path: Path, manual_clock: ManualClock) -> AsyncIterator[Worker]:
    del manual_clock  # it is the clock of both
    async with working(emulator, path) as worker:
        yield worker


@pytest.fixture
async def other(emulator: Emulator, path: Path, one: Worker) -> AsyncIterator[Worker]:
    del one
    async with working(emulator, path) as worker:
        yield worker


async def lose(worker: Worker, emulator: Emulator) -> OutcomeUnknown:
    """Send, and lose the answer."""
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    error = await failure_of(worker.client.send(PHONE, TEXT, id=7))
    assert isinstance(error, OutcomeUnknown)
    await worker.settled()
    return error


# --- one after the other -------------------------------------------------------------------------


async def test_the_worker_that_is_called_proves_it_and_the_hooks_of_the_sender_get_it_once(
    emulator: Emulator, one: Worker, other: Worker, manual_clock: ManualClock
) -> None:
    error = await lose(one, emulator)
    one.line.is_cut = True  # by itself it can prove nothing
    [message] = emulator.messages
    assert await call(other.inbox, message.callback, message.server_id, 1) == 200
    await other.settled()
    assert other.line.checks == 1
    waiting = asyncio.ensure_future(one.inbox.wait_accepted(error))
    for _ in range(100):
        await manual_clock.advance(0.3)
        await one.settled()
    sent = await waiting
    assert (sent.id, sent.server_id) == (7, message.server_id)
    assert one.listener.kinds == ["Unknown", "Accepted"]
    assert one.listener.results[1] == Accepted(one.listener.results[0].item, sent)
    assert other.listener.kinds == []
    assert one.client.health().open_unknowns == 0
    assert await call(other.inbox, message.callback, message.server_id, 2) == 200
    assert await call(one.inbox, message.callback, message.server_id, 2) == 200
    await other.settled()
    await one.settled()
    assert one.listener.kinds == ["Unknown", "Accepted"]
    assert other.line.checks == 1


async def test_any_worker_may_wait_for_it(emulator: Emulator, one: Worker, other: Worker) -> None:
    error = await lose(one, emulator)
    waiting = asyncio.ensure_future(other.inbox.wait_accepted(pickle.loads(pickle.dumps(error))))  # noqa: S301
    await other.settled()
    assert not waiting.done()
    [message] = emulator.messages
    assert await call(other.inbox, message.callback, message.server_id, 1) == 200
    await other.settled()
    assert waiting.done()
    assert (await waiting).server_id == message.server_id
    assert (await other.inbox.wait_accepted(copy.copy(error))).server_id == message.server_id


async def test_one_that_was_called_before_the_answer_was_known_to_be_lost_is_looked_up_by_who_waits(
    emulator: Emulator, one: Worker, other: Worker, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(failure_of(one.client.send(PHONE, TEXT)))
    await idle()
    [message] = emulator.messages
    assert await call(other.inbox, message.callback, message.server_id, 1) == 200
    await manual_clock.advance(31)
    error = await sending
    assert isinstance(error, OutcomeUnknown)
    one.line.is_cut = True
    await one.settled()
    waiting = asyncio.ensure_future(other.inbox.wait_accepted(error))
    await other.settled()
    assert (await asyncio.wait_for(waiting, 5)).server_id == message.server_id
    emulator.release()


async def test_a_number_that_is_not_its_own_proves_nothing(emulator: Emulator, one: Worker, other: Worker) -> None:
    async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport) as stranger:
        foreign = await stranger.send(PHONE, TEXT, id=8)
    await lose(one, emulator)
    one.line.is_cut = True
    lost = emulator.messages[1]
    assert await call(other.inbox, lost.callback, foreign.server_id, 2) == 200
    await other.settled()
    assert other.line.checks == 1
    assert await call(other.inbox, lost.callback, lost.server_id, 1) == 200
    await other.settled()
    found = await one.inbox._proofs._answers.find_lost(one.inbox.nonce_of(lost.callback or ""))
    assert found is not None
    assert found.sent is not None
    assert found.sent.server_id == lost.server_id


async def test_a_worker_without_a_client_leaves_the_proof_to_the_others(
    emulator: Emulator, one: Worker, path: Path, manual_clock: ManualClock
) -> None:
    error = await lose(one, emulator)
    [message] = emulator.messages
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as alone:
        assert await call(alone, message.callback, message.server_id, 1) == 200
        waiting = asyncio.ensure_future(one.inbox.wait_accepted(error))
        await manual_clock.advance(1)
        await one.settled()
        assert (await waiting).server_id == message.server_id


async def test_the_client_of_the_right_account_is_asked(
    emulator: Emulator, path: Path, manual_clock: ManualClock
) -> None:
    del manual_clock
    another = emulator.add_account(Account()).api_key
    async with working(emulator, path) as one, working(emulator, path, another) as other:
        Client(emulator.api_key, url=emulator.url, transport=other.line, callbacks=other.inbox)  # dropped at once
        here = Client(emulator.api_key, url=emulator.url, transport=other.line, callbacks=other.inbox)
        await lose(one, emulator)
        one.line.is_cut = True
        [message] = emulator.messages
        assert await call(other.inbox, message.callback, message.server_id, 1) == 200
        await other.settled()
        found = await other.inbox._proofs._answers.find_lost(other.inbox.nonce_of(message.callback or ""))
        assert found is not None
        assert found.sent is not None
        await here.aclose()


async def test_an_inbox_keeps_no_client_alive(emulator: Emulator) -> None:
    inbox = CallbackInbox(BASE, secret=SECRET)
    client = Client(emulator.api_key, transport=emulator.transport, callbacks=inbox)
    alive = weakref.ref(client)
    del client
    gc.collect()
    assert alive() is None


async def test_after_a_restart_it_can_still_be_waited_for(emulator: Emulator, path: Path) -> None:
    async with working(emulator, path) as before:
        error = await lose(before, emulator)
        killed = as_a_kill_would_leave(path)
    [message] = emulator.messages
    async with working(emulator, killed) as after:
        waiting = asyncio.ensure_future(after.inbox.wait_accepted(error))
        await after.settled()
        assert await call(after.inbox, message.callback, message.server_id, 1) == 200
        assert (await asyncio.wait_for(waiting, 5)).server_id == message.server_id
    async with working(emulator, killed) as again:
        assert (await asyncio.wait_for(again.inbox.wait_accepted(error), 5)).server_id == message.server_id
        assert again.line.checks == 0


async def test_what_no_worker_lost_is_not_waited_for(emulator: Emulator, one: Worker, other: Worker) -> None:
    error = await lose(one, emulator)
    elsewhere = CallbackInbox(BASE, secret=SECRET)
    with pytest.raises(LookupError):
        await elsewhere.wait_accepted(error)
    with pytest.raises(LookupError):
        await other.inbox.wait_accepted(7)  # an id stands for a send of this worker


# --- what is kept --------------------------------------------------------------------------------


async def test_no_phone_no_text_and_no_url_is_kept(emulator: Emulator, one: Worker, path: Path) -> None:
    await lose(one, emulator)
    [message] = emulator.messages
    kept = b"".join(file.read_bytes() for file in path.parent.glob("statuses.db*"))
    assert one.inbox.nonce_of(message.callback or "") in kept
    for private in (PHONE, TEXT, (message.callback or "")[-50:]):
        assert private.encode() not in kept


@pytest.fixture(params=["memory", "sqlite"])
async def answers(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[LostAnswers]:
    if request.param == "memory":
        yield MemoryLostAnswers()
        return
    sink = SQLiteSink(path)
    yield sink
    await sink.aclose()


async def test_it_is_accepted_once(answers: LostAnswers) -> None:
    nonce = b"n" * 12
    assert await answers.find_lost(nonce) is None
    answers.accept_lost(nonce, SentMessage(id=7, server_id="5"))
    assert await answers.find_lost(nonce) is None
    answers.put_lost(nonce, 7, SINCE)
    assert await answers.find_lost(nonce) == LostAnswer(7)
    answers.accept_lost(nonce, SentMessage(id=7, server_id="5", status=1, error=0))
    answers.accept_lost(nonce, SentMessage(id=7, server_id="6", status=2))
    answers.put_lost(nonce, 7, SINCE)
    assert await answers.find_lost(nonce) == LostAnswer(7, SentMessage(id=7, server_id="5", status=1, error=0))


async def test_memory_keeps_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lost_answers, "_REMEMBERED", 2)
    answers = MemoryLostAnswers()
    for number in range(3):
        answers.put_lost(b"%d" % number, number, SINCE)
    assert [await answers.find_lost(b"%d" % number) for number in range(3)] == [None, LostAnswer(1), LostAnswer(2)]


async def test_a_file_keeps_them_for_as_long_as_a_callback_is_good(path: Path) -> None:
    sink = SQLiteSink(path)
    now = datetime.now(UTC)
    sink.put_lost(b"old", 1, now - timedelta(days=42))
    sink.put_lost(b"new", 2, now - timedelta(days=40))
    await sink.aclose()
    again = SQLiteSink(path)
    again.put_lost(b"now", 3, now)
    assert [await again.find_lost(nonce) for nonce in (b"old", b"new", b"now")] == [None, LostAnswer(2), LostAnswer(3)]
    await again.aclose()


async def test_one_that_could_not_be_written_down_is_written_with_what_comes_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._sqlite._BUSY", 0.01)
    sink = SQLiteSink(path)
    assert await sink.end() == 0
    with held(path):
        sink.put_lost(b"lost", 7, SINCE)
        await asyncio.wrap_future(sink._submit(lambda: None))
    sink.bind(b"another", "5")
    assert await sink.find_lost(b"lost") == LostAnswer(7)
    await sink.aclose()


# --- processes -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def process(path: Path, emulator: Emulator, what: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that shares the sink; it is killed in the end."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "lost_worker.py"),
        str(path),
        emulator.api_key,
        emulator.url,
        what,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def serve(serving: asyncio.subprocess.Process, emulator: Emulator, status: int) -> str:
    """Let a process be called about the message."""
    [message] = emulator.messages
    assert serving.stdin is not None
    serving.stdin.write(f"{message.callback} {message.server_id} {status}\n".encode())
    return await line_of(serving)


async def error_of(sending: asyncio.subprocess.Process) -> OutcomeUnknown:
    assert await line_of(sending) == "Unknown"
    error = pickle.loads(base64.b64decode(await line_of(sending)))  # noqa: S301 - our own
    assert isinstance(error, OutcomeUnknown)
    return error


async def written_down(path: Path, error: OutcomeUnknown) -> None:
    """Wait until the sender has written down that the answer was lost, which it does soon, not at once."""
    sink, nonce = SQLiteSink(path), send_nonce_of(error)
    assert nonce is not None
    async with asyncio.timeout(60):
        while await sink.find_lost(nonce) is None:
            pass
    await sink.aclose()


async def test_a_call_that_reaches_another_process_notifies_the_senders_hooks_that_it_was_accepted(path: Path) -> None:
    async with (
        Emulator.serve(port=0, loop_protection=None, handover=NEVER, delivery=NEVER) as emulator,
        process(path, emulator, "serve") as serving,
    ):
        assert await line_of(serving) == "ready"
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        async with process(path, emulator, "send") as sending:
            await error_of(sending)
            assert await serve(serving, emulator, 1) == "200"
            assert await line_of(sending) == f"Accepted {emulator.messages[0].server_id}"


async def test_a_call_that_comes_after_the_sender_was_killed_proves_it_to_waiters(path: Path) -> None:
    async with (
        Emulator.serve(port=0, loop_protection=None, handover=NEVER, delivery=NEVER) as emulator,
        process(path, emulator, "serve") as serving,
    ):
        assert await line_of(serving) == "ready"
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        async with process(path, emulator, "send") as sending:
            error = await error_of(sending)
            await written_down(path, error)
            sending.kill()
        async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
            waiting = asyncio.ensure_future(inbox.wait_accepted(error))
            assert await serve(serving, emulator, 1) == "200"
            async with asyncio.timeout(60):
                assert (await waiting).server_id == emulator.messages[0].server_id
