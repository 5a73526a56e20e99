"""``check_packets`` over many packets of 100 statuses, at 50 to 200 ms, on 100 connections.

The floor is arithmetic: packets / connections x mean latency. Beside it, what a bare ``gather`` of 1,000 posts over a
default httpx client completes.
"""

from __future__ import annotations

import asyncio

import httpx

from benchmarks.bench import Bench, Side, at_least, at_most
from benchmarks.messages import KEY
from benchmarks.side import Figures, Options, measured
from smspilot_async import Client

_CONNECTIONS = 100
_MEAN_LATENCY = 0.125
_PACKETS = 1_000


def run(bench: Bench) -> None:
    many = bench.amount(10_000, 3_000)
    url = bench.endpoint("50-200")
    runs, _ = bench.in_turn(
        {
            "few": Side("benchmarks.checks:check_packets", {"url": url, "packets": _PACKETS}),
            "many": Side("benchmarks.checks:check_packets", {"url": url, "packets": many}),
            "gather": Side("benchmarks.checks:gather", {"url": url, "packets": _PACKETS}),
        }
    )
    bench.compare(
        "checks",
        f"check_packets over {_PACKETS:,} packets, {_CONNECTIONS} connections, 50-200 ms",
        runs,
        ours=lambda run: run["few"]["seconds"],
        theirs=lambda _: _PACKETS / _CONNECTIONS * _MEAN_LATENCY,
        unit="s",
        beside="packets / connections x mean latency",
        goal=at_most(1.5),
    )
    bench.compare(
        "checks",
        f"check_packets over {many:,} packets: those that succeed",
        runs,
        ours=lambda run: run["many"]["succeeded"],
        theirs=lambda _: many,
        unit="packets",
        beside="all of them",
        goal=at_least(1),
    )
    bench.compare(
        "checks",
        f"check_packets over {_PACKETS:,} packets: those that succeed",
        runs,
        ours=lambda run: run["few"]["succeeded"],
        theirs=lambda run: run["gather"]["succeeded"],
        unit="packets",
        beside=f"gather({_PACKETS}) over a default httpx.AsyncClient",
        ratio=lambda ours, theirs: ours - theirs,
        goal=None,
        note="Here the ratio is a difference.",
    )


async def check_packets(options: Options) -> Figures:
    figures: Figures = {}
    succeeded = 0
    async with Client(KEY, url=options["url"], max_connections=_CONNECTIONS) as client:
        with measured(figures):
            async with client.check_packets(range(1, options["packets"] + 1), in_flight=_CONNECTIONS) as checks:
                async for check in checks:
                    succeeded += check.error is None and len(check.statuses) == 100
    return {**figures, "succeeded": succeeded}


async def gather(options: Options) -> Figures:
    figures: Figures = {}
    async with httpx.AsyncClient() as http:

        async def check(number: int) -> int:
            document = {"apikey": KEY, "check": True, "server_packet_id": str(number)}
            return len((await http.post(options["url"], json=document)).json()["check"])

        with measured(figures):
            answers = await asyncio.gather(*map(check, range(1, options["packets"] + 1)), return_exceptions=True)
    return {**figures, "succeeded": sum(answer == 100 for answer in answers)}
