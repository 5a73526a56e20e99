"""A worker in a process of its own that runs until it is killed; it can stop itself (SIGSTOP) at a point of its work.

    corner_worker.py LEDGER URL KEY TIMEOUT [POINT]

The points are those of :mod:`crash_worker`, and ``before_write``: in the step that writes the request. The lease is the
library's own, and follows TIMEOUT.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import crash_worker

from smspilot_async import Client
from smspilot_async._network import http11
from smspilot_async._network.http11 import Connection
from smspilot_async.outbox import Outbox, _deliver
from smspilot_async.outbox._request import send_once
from smspilot_async.outbox._sqlite import SqliteHotPath

if TYPE_CHECKING:
    from smspilot_async._network.base import Progress

WORKER: Final = Path(__file__)


def state_of(pid: int) -> str:
    """Return what a process does: ``S`` sleeps, ``T`` is stopped, ``Z`` has ended."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


_hot_paths: list[Any] = []


def let_the_ledger_go() -> None:
    """Wait until no transaction of ours holds a SQLite ledger: stopped, it would lock everyone out."""
    for hot in _hot_paths:
        if isinstance(hot, SqliteHotPath):
            while not hot._jobs.empty():
                time.sleep(0.001)
            with contextlib.closing(sqlite3.connect(hot._path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")


def stop_at(left: str) -> None:
    """Stop this process when it first passes a point; none, where the name is empty."""

    def passing(point: str) -> None:
        nonlocal left
        if point == left:
            left = ""
            let_the_ledger_go()
            os.kill(os.getpid(), signal.SIGSTOP)

    crash_worker.passing = passing

    async def sending(*arguments: Any, **more: Any) -> Any:
        result = await send_once(*arguments, **more)
        passing("after_acceptance")
        return result

    ask = Connection.ask

    def asking(connection: Connection, request: bytes, progress: Progress, largest: int) -> Any:
        if progress.limit is not None:
            passing("before_write")
        return ask(connection, request, progress, largest)

    vars(http11)["Connection"].ask = asking
    settings: Any = vars(_deliver)
    settings.update(send_once=sending, _FIRST_BACK_OFF=20_000)


async def main(ledger: str, url: str, key: str, timeout: str, point: str = "") -> None:  # noqa: ASYNC109 - a string
    stop_at(point)
    async with (
        Client(key, url=url, timeout=float(timeout), allow_http=True) as client,
        Outbox(ledger) as outbox,
    ):
        hot_path = outbox._hot_path

        def watched() -> Any:
            _hot_paths.append(hot_path())
            return crash_worker.mine(_hot_paths[-1])

        vars(outbox)["_hot_path"] = watched
        async with outbox.worker(client) as worker:
            await worker.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
