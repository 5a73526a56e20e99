"""A worker process that shares a sink.

``sink_worker.py FILE store COUNT [FIRST]``, ``sink_worker.py FILE read``, ``sink_worker.py FILE take SECONDS`` for one
that competes, with claims that last so long, ``sink_worker.py FILE hold SECONDS`` for one that keeps the first event in
hand, or ``sink_worker.py FILE obey``, which stores the numbers that it reads, a line each.
"""

from __future__ import annotations

import asyncio
import sys

from calling import BASE, SECRET, call

from smspilot_async import Message
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, _claims


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def store(inbox: CallbackInbox, count: int) -> None:
    """Take calls, several at a time, and print the number of each that was answered ``OK``."""

    async def one(number: int) -> None:
        url = inbox.urls_for([(number, Message("79087964781", "text"))])[number]
        if await call(inbox, url, str(number), 1) == 200:
            say(number)

    first = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    for start in range(first, first + count, 10):
        await asyncio.gather(*(one(number) for number in range(start, min(start + 10, first + count))))


async def read(inbox: CallbackInbox, *, holding: bool) -> None:
    """Print what an application gets."""
    say("ready")
    async for event in inbox:
        say(event.id, event.server_id, event.status)
        if holding:
            await asyncio.Event().wait()


async def obey(inbox: CallbackInbox) -> None:
    """Take a call for each number on stdin, and print the number and the HTTP status of the answer."""
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        url = inbox.urls_for([(int(line), Message("79087964781", "text"))])[int(line)]
        say(int(line), await call(inbox, url, line.strip(), 1))


async def main(path: str, what: str) -> None:
    competing = what in {"take", "hold"}
    if competing:
        setattr(_claims, "LEASE", float(sys.argv[3]))  # noqa: B010 - a constant, shorter here
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path), competing=competing) as inbox:
        if what == "store":
            await store(inbox, int(sys.argv[3]))
        elif what == "obey":
            await obey(inbox)
        else:
            await read(inbox, holding=what == "hold")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
