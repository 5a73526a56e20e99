"""How long one ``send()`` takes, beside a bare httpx post of the same body: idle, and while a bulk run is at work.

Both take turns within one process. The goals compare with the bare post measured idle: how long a one-time code takes
must not depend on whether a campaign is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from statistics import median
from typing import TYPE_CHECKING

import httpx

from benchmarks.bench import Bench, Side, at_most
from benchmarks.messages import CREDENTIALS, HEADERS, KEY, pair
from smspilot_async import Client, Message
from smspilot_async.wire import Send, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from benchmarks.side import Figures, Options

_WARM_UP = 20
_PAUSE = 0.002  # lets the loop turn, so that the bulk run is always at work


def run(bench: Bench) -> None:
    cases = (
        ("0", "idle, server answers at once", {"calls": bench.amount(500, 100)}, 0.8),
        ("0", "beside a bulk run that takes all the CPU", {"calls": bench.amount(300, 60), "in_flight": 8}, 3.0),
        (
            "50-200",
            "beside a bulk run that takes all its connections, 50-200 ms",
            {"calls": bench.amount(40, 10), "in_flight": 18},
            3.0,
        ),
    )
    for latency, where, options, bound in cases:
        side = Side("benchmarks.latency:lone_send", {"url": bench.endpoint(latency), **options})
        runs, _ = bench.in_turn({"lone_send": side})
        bench.compare(
            "latency",
            f"a lone send(), {where}",
            runs,
            ours=lambda run: run["lone_send"]["send"] * 1000,
            theirs=lambda run: run["lone_send"]["post"] * 1000,
            unit="ms (median)",
            beside="httpx post, idle",
            goal=at_most(bound),
        )
        if "in_flight" in options:
            bench.compare(
                "latency",
                f"a lone send(), {where}",
                runs,
                ours=lambda run: run["lone_send"]["send"] * 1000,
                theirs=lambda run: run["lone_send"]["post_beside_bulk"] * 1000,
                unit="ms (median)",
                beside="httpx post, beside the same bulk run",
                goal=None,
            )


async def lone_send(options: Options) -> Figures:
    async with Client(KEY, url=options["url"]) as client, httpx.AsyncClient(timeout=30) as http:

        async def send(number: int) -> object:
            return await client.send(*pair(number))

        async def post(number: int) -> object:
            body = encode(Send([Message(*pair(number))], [number + 1]), CREDENTIALS, "json")
            response = await http.post(options["url"], content=body, headers=HEADERS)
            return response.json()["send"][0]["server_id"]

        await _times((send, post), _WARM_UP)
        if "in_flight" not in options:
            sends, posts = await _times((send, post), options["calls"])
            return {"send": median(sends), "post": median(posts)}
        (posts,) = await _times((post,), options["calls"])
        async with _bulk_at_work(client, options["in_flight"]):
            sends, posts_beside = await _times((send, post), options["calls"])
        return {"send": median(sends), "post": median(posts), "post_beside_bulk": median(posts_beside)}


async def _times(calls: tuple[Callable[[int], Awaitable[object]], ...], count: int) -> list[list[float]]:
    """Make so many calls of each kind, in turn, and take the seconds of each."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(count):
        for call, seconds in zip(calls, times, strict=True):
            began = time.perf_counter()
            await call(number)
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(_PAUSE)
    return times


@contextlib.asynccontextmanager
async def _bulk_at_work(client: Client, in_flight: int) -> AsyncIterator[None]:
    """Keep a bulk run at work during the body: as fast as it can, in this very loop."""
    is_over = False

    def endless() -> Iterator[tuple[str, str]]:
        for number in itertools.count(1_000_000):
            if is_over:
                return
            yield pair(number)

    async def run() -> None:
        async with client.bulk(endless(), packet_size=100, in_flight=in_flight) as run:
            async for _ in run:
                pass

    task = asyncio.create_task(run())
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        is_over = True
        await task
