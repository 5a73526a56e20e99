"""How long a status callback takes to be answered, alone and while forged ones pour in on other connections.

``python -m benchmarks.callbacks`` is the service: the inbox on uvicorn, with an application that reads it. The side
measures both in turn at the same service, so that the ratio is one of the same minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, cast

from benchmarks.bench import Bench, Side, at_most
from benchmarks.side import expect, peer
from smspilot_async import Message
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.side import Figures, Options

_BASE = "http://127.0.0.1/sms"
_SECRET = "only this process can reach it"  # noqa: S105
_MESSAGE = Message("79087964781", "text")
_WARM_UP = 300
_PAUSE = 0.002
_FLOODS = 2


def run(bench: Bench) -> None:
    side = Side(
        "benchmarks.callbacks:answered", {"calls": bench.amount(2000, 300), "forged": bench.amount(10_000, 1_500)}
    )
    runs, missing = bench.in_turn({"answered": side})
    what, beside = f"p99 of a good call among {side.options['forged']} forged ones", "p99 of a good call alone"
    if missing:
        bench.leave_out("callbacks", what, beside, at_most(5), missing["answered"])
        return
    bench.compare(
        "callbacks",
        what,
        runs,
        ours=lambda run: run["answered"]["flooded"] * 1000,
        theirs=lambda run: run["answered"]["calm"] * 1000,
        unit="ms",
        beside=beside,
        goal=at_most(5),
    )


async def answered(options: Options) -> Figures:
    peer("uvicorn", "uvicorn")
    with _service() as port:
        async with _connection(port) as line:
            good = _good_calls()
            await _times(line, good, _WARM_UP)
            calm = await _times(line, good, options["calls"])
            async with _flood(port, options["forged"]) as is_over:
                flooded = await _times(line, good, None, is_over)
    return {"calm": _p99(calm), "flooded": _p99(flooded)}


class _Line:
    """A kept-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, target: str) -> int:
        self._writer.write(f"GET {target} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head.split()[1])


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[_Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield _Line(reader, writer)
    writer.close()
    await writer.wait_closed()


def _good_calls() -> Iterator[str]:
    inbox = CallbackInbox(_BASE, secret=_SECRET)
    for number in itertools.count(1):
        url = inbox.urls_for([(number, _MESSAGE)])[number]
        yield f"{url.removeprefix('http://127.0.0.1')}?server_id={number}&status=2&error=0"


async def _times(
    line: _Line, targets: Iterator[str], count: int | None, is_over: asyncio.Event | None = None
) -> list[float]:
    """Make so many calls, or until it is over, and take the seconds of each."""
    times: list[float] = []
    while len(times) != count and not (is_over is not None and is_over.is_set()):
        target = next(targets)
        began = time.perf_counter()
        expect(await line.get(target), 200)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE)
    return times


@contextlib.asynccontextmanager
async def _flood(port: int, forged: int) -> AsyncIterator[asyncio.Event]:
    """Make forged calls during the body, one after another on each of a few connections."""
    is_over = asyncio.Event()
    # What an attacker runs is no part of this machine's patience: it is a process of its own.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.callbacks", str(port), str(forged), stdout=subprocess.PIPE
    )

    async def watch() -> None:
        await process.communicate()
        is_over.set()

    watching = asyncio.create_task(watch())
    yield is_over
    await watching
    expect(process.returncode, 0)


async def _pour(port: int, forged: int) -> None:
    async def one() -> None:
        async with _connection(port) as line:
            for _ in range(forged // _FLOODS):
                target = f"/sms/cb1-{secrets.token_urlsafe(42)}?server_id=1&status=2&error=0"
                expect(await line.get(target), 404)

    await asyncio.gather(*(one() for _ in range(_FLOODS)))


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


@contextlib.contextmanager
def _service() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.callbacks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process, cast("IO[str]", process.stdin):  # it ends when its input does
        yield int(cast("IO[str]", process.stdout).readline())


async def _serve() -> None:
    uvicorn = peer("uvicorn", "uvicorn")
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with CallbackInbox(_BASE, secret=_SECRET) as inbox:
        server = uvicorn.Server(uvicorn.Config(callback_app(inbox), log_config=None))

        async def read() -> None:
            async for _ in inbox:
                pass

        async def stop() -> None:
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = True

        reading, stopping = asyncio.create_task(read()), asyncio.create_task(stop())
        print(sock.getsockname()[1], flush=True)
        await server.serve(sockets=[sock])
        reading.cancel()
        await stopping


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_pour(int(sys.argv[1]), int(sys.argv[2])))
    else:
        asyncio.run(_serve())
