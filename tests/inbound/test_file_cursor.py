"""The cursor's file: its lock, and what a kill or a full disk leaves of it."""
# ruff: noqa: ASYNC240 - a test may look at a small file

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle

from smspilot_async import CursorError, CursorInUse, CursorState, FileCursor, InboundCursor, SmsPilotError
from smspilot_async._inbound import cursor as _cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from listening_room import Room

    from smspilot_async._tools.files import LockedFile

SINCE = datetime(2030, 1, 15, 15, 0, 20, tzinfo=UTC)
STATE = CursorState(SINCE, {1: SINCE + timedelta(seconds=5), 2: SINCE}, {3: SINCE - timedelta(days=1)})
LOCKS = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbound.cursor"


@pytest.fixture
async def cursor(path: Path) -> AsyncIterator[FileCursor]:
    cursor = FileCursor(path)
    await cursor.acquire()
    yield cursor
    cursor.release()


async def reread(path: Path) -> CursorState | None:
    """What the next process finds."""
    cursor = FileCursor(path)
    await cursor.acquire()
    try:
        return await cursor.load()
    finally:
        cursor.release()


# --- what it keeps -------------------------------------------------------------------------------


async def test_it_is_a_cursor_and_names_its_file(path: Path, cursor: FileCursor) -> None:
    assert isinstance(cursor, InboundCursor)
    assert repr(cursor) == f"FileCursor({str(path)!r})"


async def test_at_first_there_is_nothing(path: Path, cursor: FileCursor) -> None:
    assert await cursor.load() is None
    assert not path.exists()


async def test_it_reads_what_was_saved_and_marked(path: Path, cursor: FileCursor) -> None:
    await cursor.save(STATE)
    assert await cursor.load() == STATE
    await cursor.mark(3, SINCE)
    await cursor.mark(4, SINCE)
    cursor.release()
    assert await reread(path) == CursorState(SINCE, {**STATE.handed_over, 3: SINCE, 4: SINCE})


async def test_saving_makes_the_file_small_again(path: Path, cursor: FileCursor) -> None:
    await cursor.save(CursorState(SINCE))
    small = path.stat().st_size
    for number in range(100):
        await cursor.mark(number, SINCE)
    await cursor.save(CursorState(SINCE))
    assert path.stat().st_size == small
    assert await cursor.load() == CursorState(SINCE)


async def test_marks_after_a_saving_go_to_the_new_file(path: Path, cursor: FileCursor) -> None:
    await cursor.save(CursorState(SINCE))
    await cursor.mark(1, SINCE)
    await cursor.save(CursorState(SINCE))
    await cursor.mark(2, SINCE)
    cursor.release()
    assert await reread(path) == CursorState(SINCE, {2: SINCE})


async def test_it_leaves_no_file_open(path: Path, cursor: FileCursor, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 1  # the lock
    real_open, real_close = os.open, os.close

    def opening(*args: Any) -> int:
        nonlocal left
        left += 1
        return real_open(*args)

    def closing(descriptor: int) -> None:
        nonlocal left
        left -= 1
        real_close(descriptor)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "close", closing)
    for _ in range(3):
        await cursor.save(STATE)
        await cursor.mark(5, SINCE)
    cursor.release()
    assert left == 0
    assert await reread(path) is not None


async def test_only_its_owner_reads_it(path: Path, cursor: FileCursor) -> None:
    await cursor.save(STATE)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_order_of_calls(path: Path) -> None:
    cursor = FileCursor(path)
    with pytest.raises(RuntimeError, match="not acquired"):
        await cursor.load()
    await cursor.acquire()
    with pytest.raises(RuntimeError, match="must be saved before"):
        await cursor.mark(1, SINCE)
    cursor.release()
    cursor.release()


# --- a kill at any moment ------------------------------------------------------------------------


async def test_a_file_cut_anywhere_in_its_last_mark_is_as_before_it(path: Path, cursor: FileCursor) -> None:
    await cursor.save(STATE)
    await cursor.mark(4, SINCE)
    whole = path.read_bytes()
    await cursor.mark(5, SINCE)
    longer = path.read_bytes()
    cursor.release()
    for length in range(len(whole), len(longer)):
        path.write_bytes(longer[:length])
        found = await reread(path)
        assert found is not None
        assert set(found.handed_over) == {1, 2, 4}


async def test_a_listener_goes_on_after_a_torn_mark(room: Room, path: Path) -> None:
    room.sms("one", "two", "three")
    assert await room.some(3, FileCursor(path)) == ["one", "two", "three"]
    path.write_bytes(path.read_bytes() + b"[3,18")
    assert await room.some(1, FileCursor(path)) == ["three"]
    async with room.client.listen(cursor=path) as inbox:
        assert await room.rest(inbox) == ["three"]
    assert await reread(path) is not None


async def test_it_is_replaced_whole_and_durably(cursor: FileCursor, monkeypatch: pytest.MonkeyPatch) -> None:
    await cursor.save(STATE)
    steps: list[str] = []
    real: dict[str, Any] = {"fsync": os.fsync, "fdatasync": _cursor._sync, "replace": Path.replace, "write": os.write}

    def note(name: str) -> Any:
        def call(*args: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
            steps.append("fsync folder" if is_folder else name)
            return real[name](*args)

        return call

    monkeypatch.setattr(os, "fsync", note("fsync"))
    monkeypatch.setattr(os, "write", note("write"))
    monkeypatch.setattr(_cursor, "_sync", note("fdatasync"))
    monkeypatch.setattr(Path, "replace", note("replace"))
    await cursor.save(STATE)
    assert steps == ["write", "fsync", "replace", "fsync folder"]
    steps.clear()
    await cursor.mark(1, SINCE)
    assert steps == ["write", "fdatasync"]


async def test_a_full_disk_leaves_the_old_file(path: Path, cursor: FileCursor, monkeypatch: pytest.MonkeyPatch) -> None:
    await cursor.save(STATE)
    before = path.read_bytes()

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CursorError, match=r"inbound\.cursor cannot be used: No space left on device\.$"):
        await cursor.save(CursorState(SINCE + timedelta(days=1)))
    assert path.read_bytes() == before


async def test_a_short_write_is_completed(cursor: FileCursor, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    await cursor.save(STATE)
    assert await cursor.load() == STATE


# --- what is no cursor ---------------------------------------------------------------------------

HEAD = b'{"format":"smspilot_async inbound cursor","version":1,"since":"2030-01-15T15:00:20+00:00","handed_over":'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not a cursor of listen"),
        (b"hello\n", "is not a cursor of listen"),
        (b"\xff\xfe\x00\n", "is not a cursor of listen"),
        (b"[1,2]\n", "is not a cursor of listen"),
        (b"[" * 100_000 + b"\n", "is not a cursor of listen"),
        (b'{"format":"other"}\n', "is not a cursor of listen"),
        (HEAD + b'[],"waiting":[]}', "is not a cursor of listen"),
        (b'{"format":"smspilot_async inbound cursor","version":2}\n', "is a cursor of another version than 1"),
        (b'{"format":"smspilot_async inbound cursor","version":1}\n', "is a damaged cursor"),
        (HEAD.replace(b"+00:00", b"") + b'[],"waiting":[]}\n', "is a damaged cursor"),
        (HEAD.replace(b"2030", b"YYYY") + b'[],"waiting":[]}\n', "is a damaged cursor"),
        (HEAD + b'[1],"waiting":[]}\n', "is a damaged cursor"),
        (HEAD + b'[[1,1e300]],"waiting":[]}\n', "is a damaged cursor"),
        (HEAD + b'[],"waiting":{}}\nnonsense\n', "is a damaged cursor"),
        (HEAD + b'[],"waiting":[]}\n[1,5]\n\n', "is a damaged cursor"),
    ],
)
async def test_a_file_that_is_no_cursor_is_named_and_left_alone(
    room: Room, path: Path, content: bytes, complaint: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(CursorError) as caught:
        await anext(room.client.listen(cursor=path))
    assert str(caught.value).startswith(f"listen: {path} {complaint}")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert room.wire.asked() == []
    assert isinstance(caught.value, SmsPilotError)
    assert await locks(path)


async def test_a_folder_that_does_not_exist_is_named(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "inbound.cursor"
    with pytest.raises(CursorError) as caught:
        await anext(room.client.listen(cursor=str(path)))
    assert str(caught.value) == f"listen: the cursor {path} cannot be used: No such file or directory."


async def test_it_holds_no_phones_and_no_texts(room: Room, path: Path) -> None:
    room.sms("a secret")
    room.emulator.clock.advance(days=1)
    async with room.client.listen(cursor=path) as inbox:
        await anext(inbox)
        kept = path.read_text()
        assert await room.rest(inbox) == []
        kept += path.read_text()
    assert "secret" not in kept
    assert "9087964781" not in kept


# --- the lock ------------------------------------------------------------------------------------


async def locks(path: Path) -> bool:
    """Whether the file is free."""
    try:
        await reread(path)
    except CursorInUse:
        return False
    except CursorError:
        return True
    return True


async def test_a_second_listeners_error_names_the_file(room: Room, path: Path) -> None:
    async with room.client.listen(cursor=path) as inbox:
        await room.rest(inbox)
        with pytest.raises(CursorInUse) as caught:
            await anext(room.client.listen(cursor=path))
        assert str(caught.value) == f"listen: the cursor {path} is in use by another listener. Nothing was read."
    assert await locks(path)


async def test_one_cursor_object_serves_one_listener(room: Room, path: Path) -> None:
    cursor = FileCursor(path)
    async with room.client.listen(cursor=cursor):
        with pytest.raises(CursorInUse):
            await anext(room.client.listen(cursor=cursor))
        assert not await locks(path)
    async with room.client.listen(cursor=cursor):
        pass


async def test_two_names_of_a_file_are_one_cursor(cursor: FileCursor, path: Path, tmp_path: Path) -> None:
    await cursor.save(STATE)
    alias = tmp_path / "alias"
    alias.symlink_to(path)
    assert not await locks(alias)
    cursor.release()
    other = FileCursor(alias)
    await other.acquire()
    await other.save(CursorState(SINCE))
    other.release()
    assert alias.is_symlink()
    assert await reread(path) == CursorState(SINCE)


async def test_another_process_holds_it_as_long_as_it_lives(path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220, S603 - it answers at once, and is ours
        [sys.executable, "-c", LOCKS, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert not await locks(path)
        process.kill()
        process.wait()
        assert await locks(path)


@pytest.mark.parametrize("how", ["break", "aclose", "cancel"])
async def test_however_a_listener_is_left_the_file_is_free(room: Room, path: Path, how: str) -> None:
    inbox = room.client.listen(cursor=path)
    if how == "break":
        room.sms("one")
        async for _ in inbox:
            break
        del inbox
    elif how == "aclose":
        await room.rest(inbox)
        await inbox.aclose()
    else:
        task = asyncio.ensure_future(anext(inbox))
        await room.clock.sleeper()
        task.cancel()
        await asyncio.wait({task})
    assert await locks(path)


async def test_a_lock_that_cannot_be_had_for_another_reason_leaves_no_file_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []

    def unsupported(descriptor: int, _: int) -> None:
        left.append(descriptor)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(CursorError, match="cannot be used"):
        await FileCursor(path).acquire()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(left[0])


# --- threads -------------------------------------------------------------------------------------


async def test_files_are_touched_in_threads_only(room: Room, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: set[threading.Thread] = set()
    real = os.open

    def noted(*args: Any, **more: Any) -> int:
        places.add(threading.current_thread())
        return real(*args, **more)

    monkeypatch.setattr(os, "open", noted)
    monkeypatch.setattr(os, "fsync", lambda _: places.add(threading.current_thread()))
    room.sms("one")
    async with room.client.listen(cursor=path) as inbox:
        await room.rest(inbox)
    assert places
    assert threading.main_thread() not in places


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_thread(
    cursor: FileCursor, path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    await cursor.save(CursorState(SINCE))
    begun, go_on = threading.Event(), threading.Event()

    def slow(_descriptor: int) -> None:
        begun.set()
        go_on.wait()
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_cursor, "_sync", slow)
    task = asyncio.ensure_future(cursor.mark(1, SINCE))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await idle()
    task.cancel()
    await idle()
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    cursor.release()
    found = await reread(path)
    assert found is not None
    assert set(found.handed_over) == {1}


async def test_a_cancellation_while_locking_leaves_it_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = _cursor._lock

    def slow(path: Path) -> LockedFile:
        begun.set()
        go_on.wait()
        return real(path)

    monkeypatch.setattr(_cursor, "_lock", slow)
    cursor = FileCursor(path)
    task = asyncio.ensure_future(cursor.acquire())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await cursor.acquire()
    cursor.release()
