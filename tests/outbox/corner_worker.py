"""A worker in a process of its own that runs until it is killed; it can stop itself (SIGSTOP) at a point of its work.

    corner_worker.py LEDGER URL KEY TIMEOUT [POINT]

The points are those of :mod:`crash_worker`, and ``before_write``: in the step that writes the request. The lease is the
library's own, and follows TIMEOUT.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import crash_worker

from smspilot_async import Client
from smspilot_async._network.connection import Stream
from smspilot_async.outbox import Outbox, _deliver

WORKER: Final = Path(__file__)


def state_of(pid: int) -> str:
    """Return what a process does: ``S`` sleeps, ``T`` is stopped, ``Z`` has ended."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def stop_at(left: str) -> None:
    """Stop this process when it first passes a point; none, where the name is empty."""

    def passing(point: str) -> None:
        nonlocal left
        if point == left:
            left = ""
            os.kill(os.getpid(), signal.SIGSTOP)

    crash_worker.passing = passing
    send_once = _deliver.send_once

    async def sending(*arguments: Any, **more: Any) -> Any:
        result = await send_once(*arguments, **more)
        passing("after_acceptance")
        return result

    write = Stream.write

    async def writing(stream: Stream, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if stream._limit is not None and not buffer:  # all that httpcore has written goes now
            passing("before_write")
        await write(stream, buffer, timeout)

    Stream.write = writing  # type: ignore[method-assign]
    settings: Any = vars(_deliver)
    settings.update(send_once=sending, _FIRST_BACK_OFF=20_000)


async def main(ledger: str, url: str, key: str, timeout: str, point: str = "") -> None:  # noqa: ASYNC109 - a string
    stop_at(point)
    async with (
        Client(key, url=url, timeout=float(timeout), allow_http=True) as client,
        Outbox(ledger) as outbox,
    ):
        hot_path = outbox._hot_path
        vars(outbox)["_hot_path"] = lambda: crash_worker.mine(hot_path())
        async with outbox.worker(client) as worker:
            await worker.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
