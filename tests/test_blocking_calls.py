"""The detector of blocking calls acts: a test in which the library, or what it calls, blocks the loop fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING

import httpx
import pytest

from smspilot_async import Client, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async.emulator import Emulator


SUPPORT = Path(__file__).with_name("support")


def sleeps() -> None:
    time.sleep(0.001)


def connects() -> None:
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", 9))


def looks_a_name_up() -> None:
    socket.getaddrinfo("127.0.0.1", 9)


def opens() -> None:
    Path(__file__).open("rb").close()


def looks_at_a_file() -> None:
    Path(__file__).stat()


def writes() -> None:
    os.write(1, b"")


def syncs() -> None:
    os.fsync(1)


def waits_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=1)


class Doing(httpx.AsyncBaseTransport):
    """A transport that does something in the middle of a request."""

    def __init__(self, something: Callable[[], None]) -> None:
        self._something = something

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._something()
        return httpx.Response(200, json={"balance": 1}, request=request)


WAYS_TO_BLOCK = [sleeps, connects, looks_a_name_up, opens, writes, looks_at_a_file, syncs, waits_for_a_lock]


@pytest.mark.parametrize("way", WAYS_TO_BLOCK)
async def test_what_blocks_is_noted_even_where_the_library_takes_it_for_a_failure(
    way: Callable[[], None], blocking_calls: list[str]
) -> None:
    async with Client("KEY", transport=Doing(way)) as client:
        with pytest.raises(OutcomeUnknown):
            await client.send("79087964781", "text")
    [call] = blocking_calls
    assert "door.py" in call
    blocking_calls.clear()


async def test_the_emulators_own_loop_is_watched_too(
    emulator: Emulator, client: Client, blocking_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "exchange", lambda *_: sleeps())
    with pytest.raises(OutcomeUnknown):
        await client.send("79087964781", "text")
    assert "time.sleep" in blocking_calls[0]
    blocking_calls.clear()


async def test_tests_themselves_may_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    sleeps()


def run_example(folder: Path, hook: str, *runner: str) -> str:
    """Run one test in a process of its own, with a detector: the output. Its hook holds the loop up."""
    example = f"""
import threading
import time

from coverage import Coverage
from smspilot_async import Client, Hooks
from smspilot_async.emulator import Emulator

class Slow(Hooks):
    def on_result(self, result):
{indent(dedent(hook), " " * 8)}

async def test_it_blocks():
    emulator = Emulator()
    async with Client(emulator.api_key, transport=emulator.transport, hooks=[Slow()]) as client:
        await client.send("79087964781", "text")
"""
    (folder / "test_example.py").write_text(example, encoding="utf-8")
    paths = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    return subprocess.run(  # noqa: S603 - our own command
        [
            sys.executable,
            "-m",
            *runner,
            "pytest",
            "-p",
            "blocking_calls",
            "-p",
            "no:cacheprovider",
            "-o",
            "asyncio_mode=auto",
        ],
        cwd=folder,
        env={**inherited, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_a_test_that_leaves_a_note_fails(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "time.sleep(0.001)")
    assert "blocked the event loop: time.sleep, called for " in printed
    assert "1 passed, 1 error" in printed


def test_the_lock_of_what_counts_the_lines_run_is_no_blocking_call(tmp_path: Path) -> None:
    hook = """
        lock = Coverage.current()._collector.data_lock
        assert lock.acquire(blocking=False)
        threading.Timer(0.05, lock.release).start()
        assert lock.acquire()
        lock.release()
    """
    printed = run_example(tmp_path, hook, "coverage", "run", "--source=smspilot_async", "-m")
    assert "1 passed" in printed
    assert "error" not in printed
