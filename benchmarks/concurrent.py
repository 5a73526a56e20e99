"""Ten thousand ``send()`` calls at once: client CPU, beside ``bulk`` and what waiting itself costs in asyncio.

A task for each call is the caller's own doing, and no library can make it cheaper: so the goal is what ``bulk`` needs
for as many messages, and one and a half times a ``gather`` of as many bare waits for an :class:`asyncio.Event`.
"""

from __future__ import annotations

import asyncio

from benchmarks.bench import Bench, Side, at_most
from benchmarks.messages import KEY, pairs
from benchmarks.side import Figures, Options, expect, measured
from smspilot_async import Accepted, Client

_CALLS = 10_000
_SIZE = 100
_ROUNDS = 3


def run(bench: Bench) -> None:
    options = {"url": bench.endpoint(), "rounds": bench.amount(_ROUNDS, 1)}
    runs, _ = bench.in_turn(
        {name: Side(f"benchmarks.concurrent:{name}", options) for name in ("send", "bulk", "waits")}
    )
    bench.compare(
        "concurrent",
        f"{_CALLS} concurrent send()",
        runs,
        ours=lambda run: run["send"]["cpu_per_call"],
        theirs=lambda run: run["bulk"]["cpu_per_call"] + 1.5 * run["waits"]["cpu_per_call"],
        unit="µs CPU/call",
        beside="bulk + 1.5 x gather of asyncio.Event waits",
        goal=at_most(1),
    )
    bench.compare(
        "concurrent",
        f"{_CALLS} concurrent send()",
        runs,
        ours=lambda run: run["send"]["cpu_per_call"],
        theirs=lambda run: run["bulk"]["cpu_per_call"],
        unit="µs CPU/call",
        beside="bulk",
        goal=at_most(1.6),
    )
    bench.compare(
        "concurrent",
        f"{_CALLS} concurrent send()",
        runs,
        ours=lambda run: run["send"]["cpu_per_call"] - run["bulk"]["cpu_per_call"],
        theirs=lambda run: run["waits"]["cpu_per_call"],
        unit="µs CPU/call above bulk",
        beside="gather of asyncio.Event waits",
        goal=None,
    )


# --- the sides -----------------------------------------------------------------------------------


def _figures(figures: Figures, options: Options) -> Figures:
    return {**figures, "cpu_per_call": figures["cpu"] / _CALLS / options["rounds"] * 1e6}


async def send(options: Options) -> Figures:
    figures: Figures = {}
    async with Client(KEY, url=options["url"], packet_size=_SIZE) as client:
        await _send_all(client)
        with measured(figures):
            for _ in range(options["rounds"]):
                await _send_all(client)
    return _figures(figures, options)


async def _send_all(client: Client) -> None:
    await asyncio.gather(*(client.send(to, text) for to, text in pairs(_CALLS)))


async def bulk(options: Options) -> Figures:
    figures: Figures = {}
    async with Client(KEY, url=options["url"]) as client:
        await _bulk(client)
        with measured(figures):
            for _ in range(options["rounds"]):
                await _bulk(client)
    return _figures(figures, options)


async def _bulk(client: Client) -> None:
    async with client.bulk(pairs(_CALLS), packet_size=_SIZE, in_flight=8) as run:
        expect(len([result async for result in run if isinstance(result, Accepted)]), _CALLS)


async def waits(options: Options) -> Figures:
    figures: Figures = {}
    await _wait_all()
    with measured(figures):
        for _ in range(options["rounds"]):
            await _wait_all()
    return _figures(figures, options)


async def _wait_all() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await asyncio.gather(*(event.wait() for _ in range(_CALLS)))
