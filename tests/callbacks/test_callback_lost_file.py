"""A sink whose file is deleted, replaced or overwritten while it is in use: what is answered OK is in the file."""
# ruff: noqa: ASYNC240 - a test may look at a small file

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
from typing import TYPE_CHECKING, TypeAlias

import pytest
from calling import BASE, SECRET, call
from outcomes import PHONE, TEXT
from test_callback_sqlite import line_of, worker

from smspilot_async import Message
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, StatusEvent, _sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SOME = range(1, 21)
Notes: TypeAlias = "list[Callable[[sqlite3.Connection], object]]"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a file that is open keeps its name there")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statuses.db"


@pytest.fixture
async def inbox(path: Path) -> AsyncIterator[CallbackInbox]:
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
        yield inbox


async def called(inbox: CallbackInbox, number: int) -> int:
    """The answer to a call for a message of its own."""
    return await call(inbox, inbox.urls_for([(number, Message(PHONE, TEXT))])[number], f"{number}", 1)


async def kept_in(path: Path) -> list[int | None]:
    """What a process finds in the file after a power cut: read from a copy, so that nothing is tidied up first."""
    copy = path.with_name("copy.db")
    for end in ("", "-wal"):
        if path.with_name(path.name + end).exists():
            shutil.copy(f"{path}{end}", f"{copy}{end}")
    sink = SQLiteSink(copy)
    kept = [stored.event.id for stored in await sink.read(0, 1000)]
    await sink.aclose()
    for end in ("", "-wal", "-shm"):
        copy.with_name(copy.name + end).unlink(missing_ok=True)
    return kept


# --- ways to lose a file -------------------------------------------------------------------------


def delete(path: Path) -> None:
    path.unlink()


def delete_with_all_beside_it(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def delete_only_the_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace_by_a_new_one(path: Path) -> None:
    another = path.with_name("another.db")
    with contextlib.closing(sqlite3.connect(another)) as database:
        database.execute("CREATE TABLE of_somebody_else (x)")
    another.replace(path)


def empty(path: Path) -> None:
    os.truncate(path, 0)


WAYS = [delete, delete_with_all_beside_it, delete_only_the_log, move_away, replace_by_a_new_one, empty]


@pytest.mark.parametrize("lose", WAYS)
async def test_an_event_that_is_answered_ok_after_it_is_in_the_file(
    inbox: CallbackInbox, path: Path, lose: Callable[[Path], None]
) -> None:
    assert [await called(inbox, number) for number in SOME] == [200] * 20
    lose(path)
    assert [await called(inbox, number) for number in (21, 22)] == [200, 200]
    assert {21, 22} <= set(await kept_in(path))


@pytest.mark.parametrize("lose", WAYS)
async def test_it_reaches_the_application_that_reads(
    inbox: CallbackInbox, path: Path, lose: Callable[[Path], None]
) -> None:
    assert [await called(inbox, number) for number in SOME] == [200] * 20
    assert [(await anext(inbox)).id for _ in SOME] == list(SOME)
    lose(path)
    assert await called(inbox, 21) == 200
    async with asyncio.timeout(5):
        assert (await anext(inbox)).id == 21


@pytest.mark.parametrize("lose", [delete, move_away, replace_by_a_new_one, empty])
async def test_two_workers_find_the_same_new_file(path: Path, lose: Callable[[Path], None]) -> None:
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as one,
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as other,
    ):
        assert [await called(one, 1), await called(other, 2)] == [200, 200]
        for number in (1, 2):  # in turn: who begins to read after the other is done with an event does not get that
            assert [(await anext(one)).id, (await anext(other)).id] == [number, number]
        lose(path)
        assert [await called(one, 3), await called(other, 4), await called(one, 5)] == [200] * 3
        assert set(await kept_in(path)) == {3, 4, 5}
        async with asyncio.timeout(5):
            for inbox in (one, other):
                assert [(await anext(inbox)).id for _ in range(3)] == [3, 4, 5]


@pytest.mark.parametrize("lose", [delete, move_away, empty])
async def test_processes_find_the_same_new_file(path: Path, lose: Callable[[Path], None]) -> None:
    async with worker(path, "obey") as one, worker(path, "obey") as other:
        for process in (one, other):
            assert await line_of(process) == "ready"
            assert await told(process, 1) == "1 200"
        for round_ in range(2, 12):
            lose(path)
            assert [await told(one, round_ * 10), await told(other, round_ * 10 + 1)] == [
                f"{round_ * 10} 200",
                f"{round_ * 10 + 1} 200",
            ]
            assert set(await kept_in(path)) == {round_ * 10, round_ * 10 + 1}


async def told(process: asyncio.subprocess.Process, number: int) -> str:
    assert process.stdin is not None
    process.stdin.write(b"%d\n" % number)
    return await line_of(process)


async def test_what_was_moved_away_is_whole(inbox: CallbackInbox, path: Path) -> None:
    assert [await called(inbox, number) for number in SOME] == [200] * 20
    move_away(path)
    assert await called(inbox, 21) == 200
    alone = path.with_name("moved.db")
    assert await kept_in(alone) == list(SOME)


@pytest.mark.parametrize("lose", [delete, replace_by_a_new_one, empty])
async def test_a_file_that_is_lost_between_the_commit_and_the_answer_is_noticed(
    inbox: CallbackInbox, path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None]
) -> None:
    transact = SQLiteSink._transact
    times = 1

    def losing(sink: SQLiteSink, database: sqlite3.Connection, events: list[StatusEvent], notes: Notes) -> object:
        nonlocal times
        answers = transact(sink, database, events, notes)
        if events and times:
            times -= 1
            lose(path)
        return answers

    monkeypatch.setattr(SQLiteSink, "_transact", losing)
    assert await called(inbox, 1) == 200
    assert times == 0
    assert await kept_in(path) == [1]


async def test_a_file_that_is_lost_again_and_again_is_answered_with_503(
    inbox: CallbackInbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = SQLiteSink._transact

    def losing(sink: SQLiteSink, database: sqlite3.Connection, events: list[StatusEvent], notes: Notes) -> object:
        answers = transact(sink, database, events, notes)
        delete(path)
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteSink, "_transact", losing)
        assert await called(inbox, 1) == 503
    assert await called(inbox, 1) == 200
    assert await kept_in(path) == [1]


# --- what is no sink any more --------------------------------------------------------------------


def write_over_its_beginning(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"something else, longer than the head of a database; " * 400)


def write_over_all_of_it(path: Path) -> None:
    path.write_bytes(b"something else" * 10_000)


def copy_another_over_it(path: Path) -> None:
    another = path.with_name("another.db")
    with contextlib.closing(sqlite3.connect(another)) as database:
        database.execute("CREATE TABLE of_somebody_else (x)")
        database.executemany("INSERT INTO of_somebody_else VALUES (?)", [("x" * 4000,)] * 100)
        database.commit()
    shutil.copyfile(another, path)


@pytest.mark.parametrize("overwrite", [write_over_its_beginning, write_over_all_of_it, copy_another_over_it])
async def test_nothing_is_answered_ok_that_an_overwritten_file_does_not_hold(
    inbox: CallbackInbox, path: Path, overwrite: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    assert [await called(inbox, number) for number in SOME] == [200] * 20
    await checkpoint(inbox)  # else the log beside it holds all of it, and mends the file
    overwrite(path)
    assert [await called(inbox, number) for number in (21, 22)] == [503, 503]
    assert "could not be stored: DatabaseError" in caplog.text
    path.unlink()  # as the log asks for
    assert await called(inbox, 23) == 200
    assert await kept_in(path) == [23]


async def checkpoint(inbox: CallbackInbox) -> None:
    sink = inbox._log
    assert isinstance(sink, SQLiteSink)
    checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    await asyncio.wrap_future(sink._submit(lambda: sink._opened().execute(checkpoint).fetchone()))


async def test_a_file_that_is_replaced_by_no_database_is_answered_with_503_until_it_is_gone(
    inbox: CallbackInbox, path: Path
) -> None:
    assert await called(inbox, 1) == 200
    other = path.with_name("other")
    other.write_bytes(b"no database" * 1000)
    other.replace(path)
    assert [await called(inbox, 2), await called(inbox, 3)] == [503, 503]
    assert path.read_bytes() == b"no database" * 1000
    path.unlink()
    assert await called(inbox, 4) == 200
    assert await kept_in(path) == [4]


# --- what is no loss -----------------------------------------------------------------------------


async def test_a_checkpoint_is_no_loss(
    inbox: CallbackInbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = 0
    real = _sqlite._open

    def counting(path: str) -> sqlite3.Connection:
        nonlocal opened
        opened += 1
        return real(path)

    monkeypatch.setattr(_sqlite, "_open", counting)
    for number in SOME:
        assert await called(inbox, number) == 200
        await checkpoint(inbox)
    assert opened == 0
    assert "deleted or replaced" not in caplog.text


async def test_a_process_may_change_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink("statuses.db")) as inbox:
        assert await called(inbox, 1) == 200
        monkeypatch.chdir(tmp_path / "b")
        assert await called(inbox, 2) == 200
    assert await kept_in(tmp_path / "a" / "statuses.db") == [1, 2]
    assert list((tmp_path / "b").iterdir()) == []


async def test_a_link_that_is_turned_to_another_file_is_followed(path: Path) -> None:
    path.symlink_to(path.with_name("one.db"))
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
        assert await called(inbox, 1) == 200
        path.unlink()
        path.symlink_to(path.with_name("two.db"))
        assert await called(inbox, 2) == 200
    assert await kept_in(path.with_name("one.db")) == [1]
    assert await kept_in(path.with_name("two.db")) == [2]


async def test_a_sink_that_was_closed_meanwhile_reads_on_in_a_new_file(path: Path) -> None:
    inbox = CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path))
    async with inbox:
        assert [await called(inbox, number) for number in (1, 2, 3)] == [200] * 3
        assert [(await anext(inbox)).id for _ in range(3)] == [1, 2, 3]
    path.unlink()
    async with inbox, asyncio.timeout(5):
        assert await called(inbox, 4) == 200
        assert (await anext(inbox)).id == 4
