"""Seeded schedules of faults on five hosts: three workers, PostgreSQL, the gateway; as root, with `ip netns`.

    python tests/workers/fleet_matrix.py [--schedules N] [--rows N] [--faults N] [--seed N]

A worker is killed, cut off from the database, the gateway or both, PostgreSQL crashes; codes are enqueued beside the
campaign. It prints a line for each schedule and one for all, and ends with 1 where a message was sent twice or lost,
where more is unknown than was in flight on the broken, or where anything waits for a person.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "support"))

from fleet_lab import Lab, Outcome, draw


def in_quiet(codes: list[float]) -> str:
    """Say how long codes took outside the faults."""
    if not codes:
        return "no codes in quiet"
    ways = [1000 * way for way in sorted(codes)]
    return f"{len(ways)} codes in quiet, median {ways[len(ways) // 2]:.0f} ms, p99 {ways[int(len(ways) * 0.99)]:.0f} ms"


def line(seed: int, kinds: list[str], outcome: Outcome) -> str:
    verdict, states = outcome.verdict, outcome.verdict.states
    cells = [
        f"{seed:>4}",
        "good" if outcome.is_good else f"BAD {states}, workers that ended: {outcome.ended}",
        f"{outcome.seconds:.1f} s",
        f"accepted {states.get('accepted', 0)}",
        f"unknown {states.get('unknown', 0)} of {outcome.bound} allowed",
        f"twice {verdict.twice}",
        f"lost {verdict.lost}",
        in_quiet(outcome.codes),
        ", ".join(kinds),
    ]
    return " | ".join(cells)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=30)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--faults", type=int, default=4)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds that a fault lasts at most")
    parser.add_argument("--quiet", type=float, default=8.0, help="seconds before the first fault")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds until the gateway answers")
    parser.add_argument("--packet-size", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bad, codes = 0, list[float]()
    with tempfile.TemporaryDirectory(prefix="smspilot-fleet-") as folder:
        lab = Lab(Path(folder), timeout=3.0, delay=options.delay, packet_size=options.packet_size)
        try:
            for seed in range(options.seed, options.seed + options.schedules):
                schedule = draw(seed, options.faults, options.longest)
                outcome = await lab.run(schedule, options.rows, quiet=options.quiet)
                bad += not outcome.is_good
                codes += outcome.codes
                sys.stdout.write(line(seed, [fault.kind for fault in schedule], outcome) + "\n")
                sys.stdout.flush()
        finally:
            lab.close()
    sys.stdout.write(f"{options.schedules - bad} of {options.schedules} schedules are good; {in_quiet(codes)}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
