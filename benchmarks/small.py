"""Small requests, 8, 64 and 512 at once: client CPU of a check of a packet of one, and requests per second.

Beside it the same by hand: with aiohttp, and over bare sockets with a timeout, which is the floor in asyncio. Both read
the answer with ``json`` and check its status; validation, retries, hooks and an outcome are this library's alone.

Where the microseconds go that a bare socket does not take, by a profile (64 at once, Python 3.11): two fifths are the
answer's JSON into a status and what it proves; a quarter is reading the answer's head and where it ends; the rest is
the command's JSON, the slot, the deadline's timer, five coroutines from client to connection, and half a microsecond
for whether a mock stands in httpx's place. They stay: each of them is a promise of the library.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.bench import Bench, Run, Side, at_least, at_most
from benchmarks.messages import CREDENTIALS, HEADERS, KEY
from benchmarks.server import PACKETS_OF_ONE
from benchmarks.side import Figures, Options, expect, measured, peer
from smspilot_async import Client
from smspilot_async.wire import CheckPacket, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_AT_ONCE = (8, 64, 512)
_TIMEOUT = 30.0


def run(bench: Bench) -> None:
    url, requests = bench.endpoint(), bench.amount(10_000, 2_000)
    sides = {
        f"{name} {at_once}": Side(f"benchmarks.small:{name}", {"url": url, "requests": requests, "at_once": at_once})
        for at_once in _AT_ONCE
        for name in ("smspilot", "aiohttp", "raw_socket")
    }
    runs, missing = bench.in_turn(sides)
    for at_once in _AT_ONCE:
        what = f"small requests, {at_once} at once"
        for name, beside, goal in (("aiohttp", "aiohttp by hand", at_most(1.0)), ("raw_socket", "raw socket", None)):
            side = f"{name} {at_once}"
            if side in missing:
                bench.leave_out("small", what, beside, goal, missing[side])
                continue
            bench.compare(
                "small",
                what,
                runs,
                ours=_cpu_of(f"smspilot {at_once}"),
                theirs=_cpu_of(side),
                unit="µs CPU/request",
                beside=beside,
                goal=goal,
            )
        if f"aiohttp {at_once}" not in missing:
            bench.compare(
                "small",
                what,
                runs,
                ours=_rate_of(f"smspilot {at_once}"),
                theirs=_rate_of(f"aiohttp {at_once}"),
                unit="requests/s",
                beside="aiohttp by hand",
                goal=at_least(1.0),
            )
    bench.compare(
        "small",
        "small requests, 512 at once",
        runs,
        ours=_cpu_of("smspilot 512"),
        theirs=_cpu_of("smspilot 8"),
        unit="µs CPU/request",
        beside="8 at once",
        goal=at_most(1.2),
    )


def _cpu_of(side: str) -> Callable[[Run], float]:
    return lambda run: run[side]["cpu"] / run[side]["requests"] * 1e6


def _rate_of(side: str) -> Callable[[Run], float]:
    return lambda run: run[side]["requests"] / run[side]["seconds"]


# --- the sides -----------------------------------------------------------------------------------


async def smspilot(options: Options) -> Figures:
    at_once = options["at_once"]
    async with Client(KEY, url=options["url"], max_connections=at_once + 2) as client:  # two are kept for sends

        async def check(number: int) -> int | None:
            return (await client.check_packet(PACKETS_OF_ONE + number))[0].status

        return await _measured(check, options)


async def aiohttp(options: Options) -> Figures:
    aiohttp = peer("aiohttp", "aiohttp")
    connector = aiohttp.TCPConnector(limit=options["at_once"])
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:

        async def check(number: int) -> int:
            async with http.post(options["url"], data=_body(number), headers=HEADERS) as response:
                return _status(await response.read())

        return await _measured(check, options)


async def raw_socket(options: Options) -> Figures:
    url = urlsplit(options["url"])
    free = [await asyncio.open_connection(url.hostname, url.port) for _ in range(options["at_once"])]
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: "

    async def check(number: int) -> int:
        body = _body(number)
        reader, writer = free.pop()
        async with asyncio.timeout(_TIMEOUT):
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            document = await reader.readexactly(length)
        free.append((reader, writer))
        return _status(document)

    try:
        return await _measured(check, options)
    finally:
        for _, writer in free:
            writer.close()


def _body(number: int) -> bytes:
    return encode(CheckPacket(str(PACKETS_OF_ONE + number)), CREDENTIALS, "json")


def _status(document: bytes) -> int:
    return int(json.loads(document)["check"][0]["status"])


async def _measured(check: Callable[[int], Awaitable[int | None]], options: Options) -> Figures:
    figures: Figures = {"requests": options["requests"]}
    await _all(check, 2 * options["at_once"], options["at_once"])
    with measured(figures):
        await _all(check, options["requests"], options["at_once"])
    return figures


async def _all(check: Callable[[int], Awaitable[int | None]], requests: int, at_once: int) -> None:
    numbers = iter(range(1, requests + 1))

    async def work() -> None:
        for number in numbers:
            expect(await check(number), 2)

    await asyncio.gather(*(work() for _ in range(at_once)))
