# ruff: noqa: ASYNC240, S608, SLF001 - the ledger's own parts are what is measured; it is a program
"""How far one PostgreSQL goes: what a packet costs it, and what follows for millions of messages a day.

    python -m benchmarks.far                 measures, and simulates with what it has measured
    python -m benchmarks.far --cpu-ms 5      simulates with a cost of one's own

The measurement runs claims and outcomes against a PostgreSQL with fsync, without a gateway, and reads from PostgreSQL
what they cost: rows, bytes, write-ahead log, commits, CPU. The simulation is a queue: places wait for the gateway, and
claims and outcomes for a core of the database; it gives the messages a second, and which of the two is the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from benchmarks.postgres import cluster
from smspilot_async import Client
from smspilot_async.emulator import Emulator
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._ledger import Answer, ClaimRequest, MessageAnswer
from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from smspilot_async.outbox._ledger import HotPath

_TICK: Final = os.sysconf("SC_CLK_TCK")
_DAY: Final = 36_000  # seconds of a day in which it sends: 10:00 to 20:00
_PLACES: Final = 8


@attrs.frozen(kw_only=True)
class Cost:
    """What a packet costs the database.

    Attributes:
        size: Messages in it.
        cpu_ms: Of PostgreSQL's processes, claim and outcome together.
        wal: Bytes of the write-ahead log.
        commits: Transactions: as many round trips.
        message_bytes, attempt_bytes: Of a row with its indexes, in the end.
    """

    size: int
    cpu_ms: float
    wal: float
    commits: float
    message_bytes: float
    attempt_bytes: float


async def measure(url: str, messages: int, size: int) -> Cost:
    """Claim and record so many messages, and return what a packet costs."""
    async with Emulator.serve(port=0) as emulator, Client(emulator.api_key, url=emulator.url) as client:
        await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        await _fill(outbox, messages)
        hot: Any = outbox._hot_path()
        await hot.open()
        before, cpu = await _figures(outbox), await _cpu(outbox)
        packets = sum(await asyncio.gather(*(_send(hot, size) for _ in range(_PLACES))))
        after, cpu = await _figures(outbox), await _cpu(outbox) - cpu
        sizes = await _row(
            outbox, "SELECT pg_total_relation_size('smspilot.message'), pg_total_relation_size('smspilot.attempt')"
        )
        await hot.aclose()
    return Cost(
        size=size,
        cpu_ms=1000 * cpu / packets,
        wal=float(after[0] - before[0]) / packets,
        commits=(after[1] - before[1]) / packets,
        message_bytes=sizes[0] / messages,
        attempt_bytes=sizes[1] / packets,
    )


async def _fill(outbox: Outbox, messages: int) -> None:
    tables = outbox._tables
    async with outbox._writing() as connection:
        now = await outbox._now(connection)
        insert = sa.insert(tables.campaign).values(name="promo", state="running", created_at=now)
        campaign = (await connection.execute(insert.returning(tables.campaign.c.id))).scalar_one()
        stream = sa.insert(tables.stream).values(campaign_id=campaign, lane=2).returning(tables.stream.c.id)
        number = (await connection.execute(stream)).scalar_one()
        await connection.exec_driver_sql(
            "INSERT INTO smspilot.message (stream_id, due, wanted_at, phone, text, hash, created_at) "
            f"SELECT {number}, {now}, {now}, '7908' || lpad(n::text, 7, '0'), repeat('Привет, Анна! ', 5), "
            f"sha256(n::text::bytea), {now} FROM generate_series(1, {messages}) n"
        )
    async with outbox._reading() as connection:
        await connection.exec_driver_sql("VACUUM ANALYZE smspilot.message")
        await connection.exec_driver_sql("CHECKPOINT")


async def _send(hot: HotPath, size: int) -> int:
    packets = 0
    while True:
        token = random.randbytes(16).hex()
        claim = await hot.claim(ClaimRequest(token=token, sender="far", size=size, lease=60_000_000))
        if claim.attempt_id is None:
            return packets
        rows = [
            MessageAnswer(id=one.id, event=Event.ACCEPTED, server_id=str(one.id), parts=2, status=0)
            for one in claim.messages
        ]
        answer = Answer(
            attempt_id=claim.attempt_id, outcome="answered", evidence=None, rows=rows, give_up_after=1, lane=2
        )
        await hot.record(answer)
        packets += 1


async def _row(outbox: Outbox, query: str) -> Any:
    async with outbox._reading() as connection:
        return (await connection.exec_driver_sql(query)).one()


async def _figures(outbox: Outbox) -> Any:
    await asyncio.sleep(1.5)  # until PostgreSQL has added up its statistics
    return await _row(
        outbox,
        "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, xact_commit FROM pg_stat_database "
        "WHERE datname = current_database()",
    )


async def _cpu(outbox: Outbox) -> float:
    """Return the seconds of CPU that PostgreSQL's processes have used."""
    (backend,) = await _row(outbox, "SELECT pg_backend_pid()")
    postmaster = int(_stat(backend)[1])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii").split()
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in (postmaster, *map(int, children))) / _TICK


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


# --- the simulation ------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Fleet:
    """What is simulated.

    Attributes:
        places: Packets under way at once.
        cores: Of the database.
        latency: Of the gateway, in seconds: from and to.
    """

    places: int
    cores: int
    latency: tuple[float, float] = (0.05, 0.2)


def simulate(fleet: Fleet, cost: Cost, *, seconds: float = 60.0, seed: int = 1) -> tuple[float, float]:
    """Return the messages a second, and the share of the database's cores that are busy."""
    lot = random.Random(seed)
    cores = [0.0] * fleet.cores  # when each is free
    half = cost.cpu_ms / 2000
    busy, messages = 0.0, 0
    events = [(lot.uniform(0, fleet.latency[1]), place, "claim") for place in range(fleet.places)]
    heapq.heapify(events)
    while events:
        now, place, what = heapq.heappop(events)
        if now > seconds:
            break
        work = lot.expovariate(1 / half)
        done = max(heapq.heappop(cores), now) + work
        heapq.heappush(cores, done)
        busy += work
        if what == "claim":
            heapq.heappush(events, (done + lot.uniform(*fleet.latency), place, "outcome"))
        else:
            messages += cost.size
            heapq.heappush(events, (done, place, "claim"))
    return messages / seconds, min(1.0, busy / seconds / fleet.cores)


def show(cost: Cost) -> None:
    """Print what a packet costs, and what follows."""
    print(f"A packet of {cost.size}: {cost.cpu_ms:.1f} ms CPU of the database, {cost.wal / 1024:.0f} KiB of log,")
    print(
        f"{cost.commits:.1f} commits; a message takes {cost.message_bytes:.0f} bytes, "
        f"a request {cost.attempt_bytes:.0f}"
    )
    print("\nplaces  cores   messages/s   database busy   limit")
    for cores in (2, 8, 32):
        for places in (4, 16, 64, 256, 1024):
            rate, busy = simulate(Fleet(places=places, cores=cores), cost)
            limit = "the database's CPU" if busy > 0.9 else "the gateway's latency"
            print(f"{places:>6} {cores:>6} {rate:>12,.0f} {100 * busy:>14.0f} %   {limit}")
    print("\nmessages a day   a second   places   database's cores   log a second   kept for 41 days")
    for day in (1_000_000, 10_000_000, 100_000_000):
        rate = day / _DAY
        packets = rate / cost.size
        kept = 41 * day * (cost.message_bytes + cost.attempt_bytes / cost.size)
        print(
            f"{day:>14,} {rate:>10,.0f} {packets * 0.125 + 1:>8.0f} {packets * cost.cpu_ms / 1000:>18.2f} "
            f"{packets * cost.wal / 2**20:>10.1f} MiB {kept / 2**30:>14,.0f} GiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--cpu-ms", type=float, help="of the database for a packet; left out, it is measured")
    options = parser.parse_args()
    if options.cpu_ms is None:
        with cluster() as url:
            cost = asyncio.run(measure(url, options.messages, options.size))
    else:
        cost = Cost(
            size=options.size, cpu_ms=options.cpu_ms, wal=120_000, commits=2, message_bytes=700, attempt_bytes=2000
        )
    show(cost)


if __name__ == "__main__":
    main()
