"""Ten thousand forged calls at a real server in a process of its own, with good ones in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest
from calling import SECRET

from smspilot_async.callbacks._signing import LIFETIME, Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = Path(__file__).parent
FORGED, GOOD = 10_000, 200
HUGE = 1024 * 1024


class Caller:
    """A keep-alive connection, opened again where the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, method: str, target: str, body: bytes = b"", headers: str = "") -> int:
        """Make a request as it is, and return the status of the answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._where)
        head = f"{method} {target} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        status = 0
        try:
            self._writer.write(head.encode("latin-1"))
            self._writer.write(body)
            answer = await self._reader.readuntil(b"\r\n\r\n")
            status = int(answer.split()[1])
            length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if method != "HEAD":
                await self._reader.readexactly(int(length or 0))
            if b"connection: close" in answer.lower():
                await self.aclose()
        except OSError:
            await self.aclose()  # a server need not listen to the end of a huge body
        return status

    async def aclose(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def forgeries(earlier: dict[str, str], later: dict[str, str], now: float) -> Iterator[tuple[str, str, bytes]]:
    """Every kind of forgery, in turn, without end."""
    ours = urlsplit(later["url"]).path
    stranger = Signer("the secret of somebody else")
    says = f"?server_id={later['server_id']}&status=2&error=0"
    old = urlsplit(earlier["url"]).path
    expired = Signer(SECRET).sign(7, now - LIFETIME - 1)
    foreign = Signer(SECRET).sign(8, now)
    form = says[1:].encode()
    while True:
        yield "GET", f"/{stranger.sign(7, now)}{says}", b""  # wrong MAC
        yield "GET", ours[:-24] + foreign[-24:] + says, b""  # another message's MAC
        yield "GET", old + says, b""  # an earlier send's path for a reused id
        yield "GET", f"/{expired}{says}", b""
        yield "GET", ours[:-7] + says, b""  # cut
        yield "GET", ours + "A" * 5000 + says, b""  # over-long
        yield "PUT", ours + says, b""  # wrong method
        yield "HEAD", ours + says, b""
        yield "POST", f"/{stranger.sign(7, now)}", form + b"&x=" + b"x" * 4000
        yield "POST", ours, b""  # a good path, and nothing said
        yield "GET", ours + "?server_id=1&status=2&error=0", b""  # another message's number


def peak_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("the system does not tell")


@pytest.mark.usefixtures("uncounted")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="another system tells its memory otherwise")
@pytest.mark.parametrize("adapter", ["asgi", "aiohttp"])
async def test_of_ten_thousand_forged_calls_none_is_accepted_none_moves_a_status_and_memory_stays_flat(
    adapter: str,
) -> None:
    async with service(adapter) as (server, document):
        await flood(server, document)


@contextlib.asynccontextmanager
async def service(adapter: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "flood_server.py"),
        adapter,
        str(GOOD),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=HUGE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert server.stdout is not None
    try:
        yield server, json.loads(await server.stdout.readline())
    finally:
        if server.returncode is None:
            server.kill()
            await server.communicate()


async def flood(server: asyncio.subprocess.Process, messages: list[dict[str, str]]) -> None:
    earlier, later, *good = messages
    where = urlsplit(later["url"])
    async with Caller(str(where.hostname), where.port or 0) as caller:
        forged = forgeries(earlier, later, time.time())
        for _ in range(500):  # a server's own buffers find their size
            assert await caller.call(*next(forged)) == 404
        assert await caller.call("POST", "/x", b"x" * HUGE) in {404, 0}
        before = peak_kib(server.pid)
        answers: list[int] = []
        for number in range(FORGED - 500):
            method, target, body = next(forged)
            answers.append(await caller.call(method, target, body))
            if number % 500 == 0:  # huge bodies, at a good path and at a bad one
                for path in (where.path, "/x"):
                    assert await caller.call("POST", path, b"server_id=5&status=2&x=" + b"x" * HUGE) in {404, 0}
            if number % ((FORGED - 500) // GOOD) == 0 and good:
                message = good.pop()
                query = f"?server_id={message['server_id']}&status=2&error=0"
                assert await caller.call("GET", urlsplit(message["url"]).path + query) == 200
    assert set(answers) == {404}
    assert good == []
    assert peak_kib(server.pid) - before < 8 * 1024
    out, _ = await server.communicate(b"")
    told: dict[str, Any] = json.loads(out)
    forged_at = {earlier["server_id"], later["server_id"]}
    assert len(told["events"]) == len(told["heard"]) == GOOD
    assert not forged_at & {server_id for server_id, _ in told["events"] + told["heard"]}
