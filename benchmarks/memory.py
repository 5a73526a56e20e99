"""Peak memory and CPU per message of a long stream beside a short one: both must stay flat."""

from __future__ import annotations

from benchmarks.bench import Bench, Side, at_most
from benchmarks.messages import KEY, pairs
from benchmarks.side import Figures, Options, expect, measured, peak_memory
from smspilot_async import Accepted, Client

_SHORT = 10_000


def run(bench: Bench) -> None:
    long = bench.amount(1_000_000, 100_000)
    sides = {
        name: Side("benchmarks.memory:stream", {"url": bench.endpoint(), "messages": messages})
        for name, messages in (("long", long), ("short", _SHORT))
    }
    runs, _ = bench.in_turn(sides)
    what = f"streaming {long:,} messages"
    bench.compare(
        "memory",
        what,
        runs,
        ours=lambda run: run["long"]["peak"],
        theirs=lambda run: run["short"]["peak"],
        ratio=lambda long, short: long - short,
        unit="MiB at most",
        beside=f"streaming {_SHORT:,}",
        goal=at_most(10),
        note="Here the ratio is a difference, in MiB.",
    )
    bench.compare(
        "memory",
        what,
        runs,
        ours=lambda run: run["long"]["cpu_per_message"],
        theirs=lambda run: run["short"]["cpu_per_message"],
        unit="µs CPU/message",
        beside=f"streaming {_SHORT:,}",
        goal=at_most(1.1),
    )


async def stream(options: Options) -> Figures:
    figures: Figures = {}
    async with Client(KEY, url=options["url"]) as client:
        await _stream(client, 2_000)
        with measured(figures):
            accepted = await _stream(client, options["messages"])
    expect(accepted, options["messages"])
    return {**figures, "peak": peak_memory(), "cpu_per_message": figures["cpu"] / options["messages"] * 1e6}


async def _stream(client: Client, count: int) -> int:
    accepted = 0
    async with client.bulk(pairs(count), packet_size=100, in_flight=8) as run:
        async for result in run:
            accepted += isinstance(result, Accepted)
    return accepted
