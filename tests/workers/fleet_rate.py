"""How many messages three workers send in any ten seconds under a rate limit: at most one percent more than it.

    python tests/workers/fleet_rate.py [--rate N] [--seconds N] [--packet-size N]

It prints the most in any ten seconds, by the gateway's clock, and ends with 1 if that is too many.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).parent.parent / "support"))

from fleets import Fleet, fill, gateway_beside, new_ledger
from postgres import Postgres
from rates import most_in

from smspilot_async.outbox import Outbox

WINDOW: Final = 10.0
WORKERS: Final = 3
TOO_MANY: Final = 1.01


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=300, help="messages a second, of all workers")
    parser.add_argument("--packet-size", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    cluster = Postgres(fsync=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "accepted"
        with gateway_beside(store, delay=0.1) as (url, _):
            ledger = await new_ledger(cluster, url)
            async with Outbox(ledger) as outbox:
                await fill(outbox, int(options.rate * options.seconds * 2))
            fleet = Fleet(ledger, url, "KEY", Path(folder))
            more = {"rate_limit": options.rate, "packet_size": options.packet_size, "in_flight": 12, "timeout": 10.0}
            await asyncio.to_thread(lambda: fleet.start_ready(WORKERS, **more))
            await asyncio.sleep(options.seconds)
            await asyncio.to_thread(fleet.kill_all)
        times = sorted(float(line.split()[1]) for line in store.read_text(encoding="ascii").splitlines())
    cluster.stop()
    most, allowed = most_in(times, WINDOW), options.rate * WINDOW
    pause = max(later - earlier for earlier, later in pairwise(times))
    sys.stdout.write(
        f"{len(times)} messages in {times[-1] - times[0]:.1f} s; at most {most} in any {WINDOW:.0f} s, which is "
        f"{most / allowed:.4f} of {allowed:.0f}; the longest pause was {1000 * pause:.0f} ms\n"
    )
    return int(most > TOO_MANY * allowed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
