"""The sink in a file: shared by processes, safe from kills."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from calling import BASE, SECRET, call
from listeners import Listener
from outcomes import PHONE, TEXT
from sqlite_locks import held, held_until_wal_was_refused

from smspilot_async import Accepted, Client, Message, MessageStatus, SentMessage
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, StatusEvent
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = Path(__file__).parent
NEVER = timedelta(days=1000)
FULL = 2  # the number by which SQLite tells synchronous=FULL
EVENT = StatusEvent(
    id=7, server_id="5", status=1, error=None, received=datetime(2030, 1, 1, 12, 0, 0, 5, UTC), nonce=b"n" * 12
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statuses.db"


@pytest.fixture
async def sink(path: Path) -> AsyncIterator[SQLiteSink]:
    sink = SQLiteSink(path)
    yield sink
    await sink.aclose()


@contextlib.asynccontextmanager
async def worker(path: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that shares the sink; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "sink_worker.py"),
        str(path),
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


# --- one process ---------------------------------------------------------------------------------


async def test_a_thread_that_could_not_be_started_is_started_by_the_next_call(
    sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without_new_threads(monkeypatch), pytest.raises(RuntimeError):
        await sink.store(EVENT)
    async with asyncio.timeout(5):
        assert await sink.store(EVENT)
    assert await sink.end() == 1


async def test_a_sink_that_learns_no_number_keeps_the_results_from_no_hook(
    sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    emulator, listener = Emulator(seed=1), Listener()
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    client = Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox, hooks=[listener])
    with without_new_threads(monkeypatch):
        await client.send_packet([Message(PHONE, text) for text in ("1", "2", "3")])
        await client.aclose()
    assert listener.kinds == ["Accepted"] * 3
    assert "the sink could not record a number (RuntimeError)" in caplog.text


@contextlib.contextmanager
def without_new_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where a container's limit is reached."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield


def modes(path: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.glob(f"{path.name}*")}


async def test_its_files_are_for_their_owner_alone(sink: SQLiteSink, path: Path) -> None:
    previous = os.umask(0)
    try:
        assert await sink.store(EVENT)
    finally:
        os.umask(previous)
    assert modes(path) == dict.fromkeys(("statuses.db", "statuses.db-wal", "statuses.db-shm"), "0o600")


async def test_the_mode_of_a_file_that_is_there_stays(sink: SQLiteSink, path: Path) -> None:
    os.close(os.open(path, os.O_CREAT, 0o640))
    assert await sink.store(EVENT)
    assert modes(path)["statuses.db"] == "0o640"


async def test_an_event_comes_back_as_it_was_stored(sink: SQLiteSink) -> None:
    assert await sink.store(EVENT)
    [stored] = await sink.read(0, 10)
    assert stored.event == EVENT
    assert [stored] == await sink.find(["5", "6"]) == await sink.of_send(EVENT.nonce)
    assert await sink.read(stored.position, 10) == []


async def test_an_event_that_comes_twice_is_kept_once(sink: SQLiteSink) -> None:
    later = attrs.evolve(EVENT, received=EVENT.received + timedelta(minutes=1))
    assert all(await asyncio.gather(sink.store(EVENT), sink.store(later), sink.store(EVENT)))
    assert [stored.event for stored in await sink.read(0, 10)] == [EVENT]


async def test_a_send_and_a_number_belong_together_once_an_answer_has_said_so(sink: SQLiteSink) -> None:
    sink.bind(EVENT.nonce, "5")
    assert await sink.store(EVENT)
    assert not await sink.store(attrs.evolve(EVENT, server_id="6"))
    assert not await sink.store(attrs.evolve(EVENT, nonce=b"m" * 12))
    assert [stored.is_bound for stored in await sink.read(0, 10)] == [True]


async def test_one_path_cannot_fill_the_disk(sink: SQLiteSink) -> None:
    answers = [await sink.store(attrs.evolve(EVENT, server_id=f"{number}")) for number in range(40)]
    assert answers == [True] * 32 + [False] * 8
    assert await sink.store(attrs.evolve(EVENT, nonce=b"m" * 12))


async def test_what_is_older_than_any_path_is_forgotten(path: Path, sink: SQLiteSink) -> None:
    old = attrs.evolve(EVENT, received=datetime.now(UTC) - timedelta(days=42))
    await sink.store(old)
    await sink.aclose()
    again = SQLiteSink(path)
    await again.store(attrs.evolve(EVENT, nonce=b"m" * 12, received=datetime.now(UTC)))
    assert [stored.event.nonce for stored in await again.read(0, 10)] == [b"m" * 12]
    await again.aclose()


async def test_the_file_is_written_through_to_the_disk_and_holds_no_path(path: Path, sink: SQLiteSink) -> None:
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    url = inbox.urls_for([(7, Message(PHONE, TEXT))])[7]
    assert await call(inbox, url, "5", 1) == 200
    assert await pragma(sink, "synchronous") == FULL
    await inbox.aclose()
    holds = partial(holds_of, path)
    assert holds(b"smspilot_events")
    assert not holds(url[-56:].encode())
    assert not holds(PHONE.encode())


async def pragma(sink: SQLiteSink, name: str) -> object:
    [value] = await asyncio.wrap_future(sink._submit(lambda: sink._opened().execute(f"PRAGMA {name}").fetchone()))
    return value


def holds_of(path: Path, what: bytes) -> bool:
    return what in path.read_bytes()


@pytest.fixture(params=["no/folder.db", "a folder", "another program's"])
def impossible(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path at which there is, and can be, no database."""
    (tmp_path / "a folder").mkdir()
    (tmp_path / "another program's").write_text("its own format, longer than the head of a database" * 9)
    path: Path = tmp_path / request.param
    return path


async def test_a_file_that_cannot_be_opened_is_an_error_when_the_inbox_is_entered(impossible: Path) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(sqlite3.OperationalError, match=r"cannot be opened \(.+\).+a folder that exists") as caught:
        async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(impossible)):
            pass
    assert str(impossible) in str(caught.value)
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_an_inbox_is_entered_while_another_worker_mends_the_file_after_a_kill(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY

    def opening(_: str) -> sqlite3.Connection:
        raise busy

    monkeypatch.setattr("smspilot_async.callbacks._sqlite._open", opening)
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)):
        pass


async def test_an_inbox_that_was_not_entered_and_cannot_open_its_file_answers_503(
    impossible: Path,
) -> None:
    sink = SQLiteSink(impossible)
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    assert await call(inbox, inbox.urls_for([(7, Message(PHONE, TEXT))])[7], "5", 1) == 503
    await sink.aclose()


async def test_an_inbox_is_entered_while_another_worker_holds_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._sqlite._BUSY", 0.01)
    with held(path) as holder:
        async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
            holder.rollback()
            assert await call(inbox, inbox.urls_for([(7, Message(PHONE, TEXT))])[7], "5", 1) == 200


async def test_a_file_that_another_holds_for_too_long_is_answered_with_503_and_later_with_ok(
    path: Path, sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._sqlite._BUSY", 0.01)
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    url = inbox.urls_for([(7, Message(PHONE, TEXT))])[7]
    assert await call(inbox, url, "5", 0) == 200
    with held(path):
        assert await call(inbox, url, "5", 1) == 503
    assert await call(inbox, url, "5", 1) == 200


async def test_a_worker_that_opens_a_new_file_while_another_does_waits_for_it(
    path: Path, sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_until_wal_was_refused(path, monkeypatch):
        assert await sink.store(EVENT)
    assert await pragma(sink, "journal_mode") == "wal"


async def test_an_opening_that_another_held_up_for_too_long_leaves_nothing_half_made(
    path: Path, sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._sqlite._BUSY", 0.01)
    with held(path), pytest.raises(sqlite3.OperationalError, match="database is locked"):
        await sink.store(EVENT)
    assert await sink.store(EVENT)
    assert (await pragma(sink, "journal_mode"), await pragma(sink, "synchronous")) == ("wal", FULL)


async def test_a_number_that_could_not_be_written_down_is_written_with_the_next_event(
    path: Path, sink: SQLiteSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.callbacks._sqlite._BUSY", 0.01)
    assert await sink.end() == 0
    with held(path):
        sink.bind(EVENT.nonce, "5")
        await asyncio.wrap_future(sink._submit(lambda: None))
    assert await sink.store(EVENT)
    assert [stored.is_bound for stored in await sink.read(0, 10)] == [True]


async def test_an_invalid_server_id_does_not_keep_events_from_being_stored(path: Path) -> None:
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
        urls = inbox.urls_for([(7, Message(PHONE, TEXT)), (8, Message(PHONE, TEXT))])
        answer = Accepted(Message(PHONE, TEXT), SentMessage(id=7, server_id="\ud800"))
        inbox.settled(urls[7], 7, answer, Uncalled(), asyncio.Event(), is_late=False)
        assert await call(inbox, urls[8], "5", 1) == 200


class Uncalled:
    async def check_one(self, server_id: str) -> MessageStatus:
        raise NotImplementedError

    def cleared_up(self, result: Accepted[Message], hooks_done: asyncio.Event) -> None:
        raise NotImplementedError


# --- restarts ------------------------------------------------------------------------------------


def as_a_kill_would_leave(path: Path) -> Path:
    killed = path.with_name("killed.db")
    shutil.copy(path, killed)
    shutil.copy(f"{path}-wal", f"{killed}-wal")
    return killed


async def test_what_was_not_handed_over_comes_again_after_a_restart_and_the_rest_does_not(path: Path) -> None:
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
        for number in (1, 2, 3):
            assert await call(inbox, inbox.urls_for([(number, Message(PHONE, TEXT))])[number], f"{number}", 1) == 200
        assert [(await anext(inbox)).id for _ in range(2)] == [1, 2]
        await asyncio.wrap_future(inbox._log._submit(lambda: None))  # type: ignore[attr-defined]
        killed = as_a_kill_would_leave(path)
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(killed)) as again:
        assert [(await anext(again)).id for _ in range(2)] == [2, 3]


@contextlib.asynccontextmanager
async def service(emulator: Emulator, path: Path) -> AsyncIterator[tuple[CallbackInbox, Client]]:
    """A service as it runs from one restart to the next."""
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox) as client,
    ):
        yield inbox, client


async def test_a_track_after_a_restart_gets_what_was_called_before_it(path: Path) -> None:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    async with service(emulator, path) as (inbox, client):
        sent = await client.send(PHONE, TEXT)
        assert await call(inbox, emulator.messages[0].callback, sent.server_id, 2) == 200
    emulator.fail_next("check", Fault.RESET_AFTER_READ, times=100)
    async with (
        service(emulator, path) as (inbox, client),
        client.track(sent.server_id or "", source=inbox) as changes,
    ):
        assert [status.status async for status in changes] == [2]


# --- several processes ---------------------------------------------------------------------------


async def test_an_event_that_one_worker_took_reaches_the_application_of_another(path: Path) -> None:
    async with worker(path, "read") as reading:
        assert await line_of(reading) == "ready"
        async with worker(path, "store", "1") as storing:
            assert await line_of(storing) == "1"
        assert await line_of(reading) == "1 1 1"


async def test_the_worker_that_tracks_a_message_gets_a_call_that_another_worker_took(path: Path) -> None:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as one,
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as other,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=one) as client,
    ):
        sent = await client.send(PHONE, TEXT)
        emulator.fail_next("check", Fault.RESET_AFTER_READ, times=100)
        async with client.track(sent, source=one) as changes:
            assert await call(other, emulator.messages[0].callback, sent.server_id, 1) == 200
            assert await call(other, emulator.messages[0].callback, sent.server_id, 2) == 200
            assert [status.status async for status in changes] == [1, 2]
        assert await call(other, emulator.messages[0].callback, "999", 2) == 404


async def test_a_lost_answer_is_found_by_a_call_that_another_worker_took(path: Path) -> None:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as one,
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as other,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=one) as client,
    ):
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        [result] = await asyncio.gather(client.send(PHONE, TEXT, id=7), return_exceptions=True)
        assert isinstance(result, Exception)
        assert await call(other, emulator.messages[0].callback, emulator.messages[0].server_id, 1) == 200
        assert (await one.wait_accepted(7)).server_id == emulator.messages[0].server_id


@pytest.mark.parametrize("answered", [1, 7, 30, 95, 200])
async def test_whatever_was_answered_ok_before_a_kill_is_there_after_it(path: Path, answered: int) -> None:
    told = []
    async with worker(path, "store", "100000") as killed, worker(path, "store", "100000", "500000") as beside:
        for _ in range(answered):
            told += [await line_of(killed), await line_of(beside)]
        killed.kill()
        assert killed.stdout is not None
        told += (await killed.stdout.read()).decode().split()  # what was answered until the very end
        told += [await line_of(beside) for _ in range(20)]  # which does not suffer from it
    sink = SQLiteSink(path)
    stored, position = set[str | None](), 0
    while rows := await sink.read(position, 1000):
        stored |= {row.event.server_id for row in rows}
        position = rows[-1].position
    await sink.aclose()
    assert set(told) <= stored
