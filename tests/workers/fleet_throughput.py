"""How much 1, 2 and 4 workers send, each with four connections, and what the limit is.

    python tests/workers/fleet_throughput.py [--delay SECONDS] [--packet-size N] [--seconds N]

It prints the messages a second between the first and the last quarter of the time, how much of N times one worker that
is, and the cores that workers, PostgreSQL and the gateway were busy with.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).parent.parent / "support"))

from fleets import Fleet, fill, gateway_beside, new_ledger
from postgres import Postgres

from smspilot_async.outbox import Outbox

EACH: Final = 4
_TICK: Final = os.sysconf("SC_CLK_TCK")
_BUSY: Final = 0.85


def cpu_of(pids: list[int]) -> float:
    """Return the seconds of CPU that processes have used, their children's included that have ended."""
    seconds = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        seconds += sum(map(int, fields[11:15])) / _TICK
    return seconds


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def busy() -> tuple[float, float]:
    """Return the seconds that the machine's cores were busy with anything, and all that there were."""
    fields = [int(field) / _TICK for field in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


async def measure(cluster: Postgres, url: str, store: Path, options: argparse.Namespace, workers: int) -> float:
    ledger = await new_ledger(cluster, url)
    postmaster = int((cluster.data / "postmaster.pid").read_text(encoding="ascii").split()[0])
    async with Outbox(ledger) as outbox:
        await fill(outbox, options.rows, state="paused")
        with tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(ledger, url, "KEY", Path(folder))
            more = {"packet_size": options.packet_size, "in_flight": EACH * workers, "timeout": 10.0}
            members = await asyncio.to_thread(lambda: fleet.start_ready(workers, **more))
            await (await outbox.campaigns.get("promo")).resume()
            await asyncio.sleep(options.seconds / 4)
            groups = {
                "workers": [member.pid for member in members],
                "PostgreSQL": [postmaster, *children(postmaster)],
                "gateway": [options.gateway],
            }
            before = {name: cpu_of(pids) for name, pids in groups.items()}
            size, began, machine = await asyncio.to_thread(lambda: store.stat().st_size), time.monotonic(), busy()
            await asyncio.sleep(options.seconds * 3 / 4)
            seconds = time.monotonic() - began
            with store.open() as file:
                file.seek(size)
                messages = file.read().count("\n")
            cores = {name: (cpu_of(pids) - before[name]) / seconds for name, pids in groups.items()}
            now = busy()
            share = (now[0] - machine[0]) / (now[1] - machine[1])
            await asyncio.to_thread(fleet.kill_all)
    rate = messages / seconds
    used = ", ".join(f"{name} {value:.2f}" for name, value in cores.items())
    limit = "this machine's CPU" if share > _BUSY else "the gateway's latency"
    sys.stdout.write(
        f"{workers} workers: {rate:.0f} messages/s; cores: {used}; the machine {100 * share:.0f} % busy; "
        f"the limit is {limit}\n"
    )
    sys.stdout.flush()
    return rate


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds until the gateway answers")
    parser.add_argument("--packet-size", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    cluster = Postgres(fsync=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "accepted"
        with gateway_beside(store, delay=options.delay) as (url, options.gateway):
            one = 0.0
            for workers in (1, 2, 4):
                rate = await measure(cluster, url, store, options, workers)
                one = one or rate
                sys.stdout.write(f"    {rate / one / workers:.2f} of {workers} times one worker\n")
    cluster.stop()


if __name__ == "__main__":
    asyncio.run(main())
