"""Random faults for ten minutes on five hosts, and what the workers' memory, connections and files do; as root.

    python tests/workers/fleet_soak.py [--minutes N] [--rows N] [--seed N]

No worker is killed, so that its figures have a beginning; all are cut off now and then, and PostgreSQL crashes.
It ends with 1 where memory, connections or open files of a worker grow, or the gateway finds fault with the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.append(str(Path(__file__).parent.parent / "support"))

import attrs
from fleet_lab import KINDS, WORKERS, Fault, Lab
from fleets import fill, is_over, judge

if TYPE_CHECKING:
    from fleets import Member

    from smspilot_async.outbox import Outbox

_MORE_MEMORY: Final = 1.15
_MORE_FILES: Final = 4
_WARM: Final = 60.0


@attrs.frozen
class Figures:
    """What a process holds: resident MiB, TCP connections and open files."""

    memory: float
    connections: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Figures:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        files = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        return cls(pages * 4096 / 2**20, sum(name.startswith("socket:") for name in files), len(files))

    def is_flat(self, later: Figures) -> bool:
        """Return whether nothing has grown."""
        return later.memory <= self.memory * _MORE_MEMORY and later.files <= self.files + _MORE_FILES


async def soak(lab: Lab, minutes: float, rows: int, seed: int) -> bool:
    lot = random.Random(seed)
    async with lab.ledger() as (outbox, fleet):
        workers = {host: lab.start(fleet, host) for host in WORKERS}
        for worker in workers.values():
            await asyncio.to_thread(worker.ready)
        filling = asyncio.create_task(_fill(outbox, rows))
        until = time.monotonic() + 60 * minutes
        await asyncio.sleep(min(_WARM, 10 * minutes))
        begin = {host: Figures.of(worker.pid) for host, worker in workers.items()}
        while time.monotonic() < until:
            kind, host = lot.choice([kind for kind in KINDS if kind != "kill"]), lot.choice(WORKERS)
            await lab.break_(fleet, workers, Fault(kind=kind, host=host, begins_after=0, lasts=lot.uniform(0.5, 8)))
            await asyncio.sleep(lot.uniform(2, 10))
        filling.cancel()
        await asyncio.wait({filling})
        while not await is_over(outbox):  # noqa: ASYNC110 - it is in a database
            await asyncio.sleep(0.5)
        return await _report(lab, outbox, workers, begin)


async def _report(lab: Lab, outbox: Outbox, workers: dict[str, Member], begin: dict[str, Figures]) -> bool:
    is_good = True
    for host, before in begin.items():
        after = Figures.of(workers[host].pid)
        is_good = is_good and before.is_flat(after)
        sys.stdout.write(
            f"{host}: {before.memory:.1f} -> {after.memory:.1f} MiB, {before.connections} -> {after.connections} "
            f"connections, {before.files} -> {after.files} open files\n"
        )
    verdict = await judge(outbox, [number for number, _ in lab.accepted()])
    sys.stdout.write(f"{verdict}\n")
    return is_good and not verdict.twice and not verdict.lost


async def _fill(outbox: Outbox, rows: int) -> None:
    """Let there always be something to send, at a moderate pace."""
    number = 0
    while True:
        number += 1
        await fill(outbox, rows, name=f"promo-{number}")
        await asyncio.sleep(1.0)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=200, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smspilot-soak-") as folder:
        lab = Lab(Path(folder), timeout=3.0, delay=0.1, packet_size=50)
        try:
            return 0 if await soak(lab, options.minutes, options.rows, options.seed) else 1
        finally:
            lab.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
