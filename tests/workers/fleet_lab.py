# ruff: noqa: S603 - the programs that run here are ours
"""Five hosts: three workers, PostgreSQL, the gateway. What breaks is drawn by lot; the gateway is the judge.

The judge's own process is on no host, and is never cut off: it reads the ledger over PostgreSQL's Unix socket, and what
the gateway accepted from the gateway's file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import attrs
from fleets import Fleet, Verdict, fill, gateway_beside, is_over, judge
from hosts import Hosts
from postgres import Postgres

from smspilot_async import Message
from smspilot_async.outbox import LedgerUnavailable, Outbox
from smspilot_async.outbox._slots import URGENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fleets import Member

WORKERS: Final = ("w1", "w2", "w3")
DATABASE, GATEWAY = "db", "gw"
IN_FLIGHT: Final = 4
KEY: Final = "KEY"
_PATIENCE: Final = 300.0
_BEFORE, _AFTER = 2.0, 6.0
"""Seconds around a fault that count as its: afterwards slots of the lost are free, connections are back."""
_PHONE: Final = "79087964781"


@attrs.frozen(kw_only=True)
class Fault:
    """Something that breaks, and is whole again after some seconds."""

    kind: str
    host: str
    begins_after: float
    lasts: float


KINDS: Final = ("kill", "cut_database", "cut_gateway", "cut_both", "crash_database")


def draw(seed: int, faults: int, longest: float) -> list[Fault]:
    """Return the faults of a schedule, one after the other.

    Args:
        seed: Of the lot.
        faults: How many.
        longest: Seconds that one lasts at most.
    """
    lot = random.Random(seed)
    return [
        Fault(
            kind=lot.choice(KINDS),
            host=lot.choice(WORKERS),
            begins_after=lot.uniform(0.2, 2.0),
            lasts=lot.uniform(0.5, longest),
        )
        for _ in range(faults)
    ]


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a schedule.

    Attributes:
        verdict: The gateway's.
        bound: How many messages may be unknown: what was in flight on workers that were killed or cut.
        seconds: From the start of the campaign to its end.
        codes: How long each one that was enqueued while nothing was broken took from its commit to the gateway, in
            seconds.
        ended: Workers that ended, and were not killed.
    """

    verdict: Verdict
    bound: int
    seconds: float
    codes: list[float]
    ended: int

    @property
    def is_good(self) -> bool:
        """Nothing twice, nothing lost, no more unknown than allowed, all else sent, every worker still there."""
        states = self.verdict.states
        unknown = states.get("unknown", 0)
        return (
            not self.verdict.twice
            and not self.verdict.lost
            and unknown <= self.bound
            and states.keys() <= {"accepted", "unknown"}
            and not self.ended
        )


class Lab:
    """The hosts, with a ledger and a gateway on them; to be closed at the end.

    Args:
        folder: For files.
        timeout: Of the workers' requests, in seconds; what is in flight on a lost one is unknown some four times later.
        delay: Of the gateway's answers, in seconds.
        packet_size: Messages in a packet.
    """

    def __init__(self, folder: Path, *, timeout: float, delay: float, packet_size: int) -> None:
        self._folder = folder
        self._timeout = timeout
        self._delay = delay
        self._packet_size = packet_size
        self._count = 0
        self.hosts = Hosts([*WORKERS, DATABASE, GATEWAY])
        self.postgres = Postgres(
            fsync=True, address=self.hosts.address(DATABASE), on=self.hosts.on(DATABASE) if os.geteuid() == 0 else ()
        )
        self._store = folder / "accepted"

    def close(self) -> None:
        self.postgres.stop()
        self.hosts.remove()

    def accepted(self) -> list[tuple[int, float]]:
        """Return the numbers of the messages that the gateway took, and when."""
        lines = (line.split() for line in self._store.read_text().splitlines())
        return [(int(number), float(at)) for number, at in lines]

    async def run(self, schedule: list[Fault], rows: int, *, quiet: float = 0.0) -> Outcome:
        """Send a campaign and codes while things break, and return what came of it.

        Args:
            schedule: What breaks.
            rows: Of the campaign.
            quiet: Seconds from its start until anything breaks.
        """
        async with self.ledger() as (outbox, fleet):
            return await self._send(outbox, fleet, schedule, rows, quiet)

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[tuple[Outbox, Fleet]]:
        """A new ledger and a new gateway, and a fleet for them; its workers are killed at the end."""
        self._count += 1
        self._store.write_text("")
        url = self.postgres.database()
        name = url.partition("@/")[2].partition("?")[0]
        remote = f"postgresql://postgres@{self.hosts.address(DATABASE)}/{name}"
        address, on = self.hosts.address(GATEWAY), self.hosts.on(GATEWAY)
        with gateway_beside(self._store, delay=self._delay, address=address, on=on) as (gateway, _):
            await asyncio.to_thread(self._make, url, gateway)
            fleet = Fleet(remote, gateway, KEY, self._folder / str(self._count))
            async with Outbox(url) as outbox:
                try:
                    yield outbox, fleet
                finally:
                    await asyncio.to_thread(fleet.kill_all)

    def _make(self, ledger: str, gateway: str) -> None:
        """Make the ledger, from a host that reaches the gateway."""
        program = (
            "import asyncio, sys\nfrom smspilot_async import Client\nfrom smspilot_async.outbox import Outbox\n"
            "async def main():\n"
            f" async with Client({KEY!r}, url={gateway!r}, allow_http=True) as client:\n"
            f"  await Outbox.create({ledger!r}, client)\n"
            "asyncio.run(main())"
        )
        subprocess.run([*self.hosts.on(GATEWAY), sys.executable, "-c", program], check=True)

    def start(self, fleet: Fleet, host: str) -> Member:
        """Start a worker on a host."""
        return fleet.start(
            prefix=self.hosts.on(host), timeout=self._timeout, packet_size=self._packet_size, in_flight=IN_FLIGHT
        )

    async def _send(self, outbox: Outbox, fleet: Fleet, schedule: list[Fault], rows: int, pause: float) -> Outcome:
        workers = {host: self.start(fleet, host) for host in WORKERS}
        for worker in workers.values():
            await asyncio.to_thread(worker.ready)
        await fill(outbox, rows)
        began = time.monotonic()
        quiet = Quiet()
        codes: dict[int, float] = {}
        enqueuing = asyncio.create_task(_codes(outbox, codes))
        await asyncio.sleep(pause)
        for fault in schedule:
            await asyncio.sleep(fault.begins_after)
            with quiet.broken():
                await self.break_(fleet, workers, fault)
        if schedule:
            await asyncio.sleep(_AFTER + pause / 2)  # codes once everything is whole again
        async with asyncio.timeout(_PATIENCE):
            enqueuing.cancel()
            await asyncio.wait({enqueuing})
            while not await is_over(outbox):  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.2)
        seconds = time.monotonic() - began
        ended = sum(worker.process.poll() is not None for worker in workers.values())
        accepted = self.accepted()
        verdict = await judge(outbox, [number for number, _ in accepted])
        packets = sum(IN_FLIGHT + URGENT for fault in schedule if fault.kind != "crash_database")
        return Outcome(
            verdict=verdict,
            bound=packets * self._packet_size,
            seconds=seconds,
            codes=quiet.ways(codes, dict(reversed(accepted))),
            ended=ended,
        )

    async def break_(self, fleet: Fleet, workers: dict[str, Member], fault: Fault) -> None:
        """Break something, and mend it after its time."""
        host = fault.host
        cut = {"cut_database": [DATABASE], "cut_gateway": [GATEWAY], "cut_both": [DATABASE, GATEWAY]}
        if fault.kind == "kill":
            await asyncio.to_thread(workers[host].kill)
            await asyncio.sleep(fault.lasts)
            workers[host] = self.start(fleet, host)
            await asyncio.to_thread(workers[host].ready)
        elif fault.kind == "crash_database":
            await asyncio.to_thread(self.postgres.shut)
            await asyncio.sleep(fault.lasts)
            await asyncio.to_thread(self.postgres.start)
        else:
            for other in cut[fault.kind]:
                self.hosts.cut(host, other)
            await asyncio.sleep(fault.lasts)
            for other in cut[fault.kind]:
                self.hosts.heal(host, other)


class Quiet:
    """When nothing was broken, by the clock on the wall."""

    def __init__(self) -> None:
        self._broken: list[tuple[float, float]] = []

    def broken(self) -> Quiet:
        return self

    def __enter__(self) -> None:
        self._broken.append((time.time() - _BEFORE, float("inf")))

    def __exit__(self, *_: object) -> None:
        self._broken[-1] = (self._broken[-1][0], time.time() + _AFTER)

    def ways(self, enqueued: dict[int, float], arrived: dict[int, float]) -> list[float]:
        """Return how long messages took that were enqueued in quiet times."""
        return [
            arrived[number] - at
            for number, at in enqueued.items()
            if number in arrived and not any(begin < at < end for begin, end in self._broken)
        ]


async def _codes(outbox: Outbox, written: dict[int, float]) -> None:
    """Enqueue a code ten times a second, and write down when its commit had returned."""
    number = 0
    while True:
        number += 1
        message = Message(_PHONE, f"Code {number}")
        try:
            record = await outbox.enqueue(message, key=f"code-{number}", kind="code", valid_for=900)
        except LedgerUnavailable:  # it may have been committed
            continue
        else:
            written[record.id] = time.time()
        finally:
            await asyncio.sleep(0.1)


__all__ = ["Fault", "Lab", "Outcome", "Quiet", "draw"]
