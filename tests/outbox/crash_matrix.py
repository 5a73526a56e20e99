"""The whole crash matrix: a campaign of 10,000 messages on each database, a faulty gateway, and 205 kills.

    python tests/outbox/crash_matrix.py [--rows N] [--kills N] [--seed N] [--ledger sqlite|postgresql|both]

It prints a table, and ends with 1 where a message was sent twice or lost, or where ledger and gateway say different
things of one that is not unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

sys.path.append(str(Path(__file__).parent.parent / "support"))

from crash_worker import POINTS
from crashes import Crashes, Verdict
from postgres import Postgres

from smspilot_async import Client
from smspilot_async.emulator import Emulator
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKET_SIZE: Final = 5
EACH_MARK: Final = 20
COLUMNS: Final = (
    ("ledger", lambda name, _: name),
    ("messages", lambda _, verdict: verdict.messages),
    ("kills", lambda _, verdict: verdict.kills),
    ("accepted", lambda _, verdict: verdict.accepted),
    ("refused", lambda _, verdict: verdict.refused),
    ("of both, the gateway says the same", lambda _, verdict: verdict.agree),
    ("unknown", lambda _, verdict: verdict.unknown),
    ("of these at the gateway", lambda _, verdict: verdict.unknown_at_gateway),
    ("by faults", lambda _, verdict: verdict.by_faults),
    ("most by one kill", lambda _, verdict: verdict.most_by_one_kill),
    ("bound", lambda _, verdict: verdict.bound),
    ("accepted twice", lambda _, verdict: verdict.twice),
    ("lost", lambda _, verdict: verdict.lost + verdict.strange),
)


@contextmanager
def new_ledger(kind: str) -> Iterator[str]:
    """Where a ledger may be made, for as long as the matrix runs."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="smspilot-crashes-") as folder:
            yield f"sqlite:///{folder}/sms.db"
        return
    cluster = Postgres()
    try:
        yield cluster.database()
    finally:
        cluster.stop()


async def matrix(url: str, *, rows: int, kills: int, seed: int) -> Verdict:
    """Kill senders of a campaign at each point and at random moments, and judge."""
    chance = random.Random(seed)
    async with (
        Emulator.serve(port=0, loop_protection=None, seed=seed) as gateway,
        Client(gateway.api_key, url=gateway.url) as client,
    ):
        await Outbox.create(url, client)
        async with Outbox(url) as outbox:
            with closing(Crashes(outbox, gateway, rows=rows, packet_size=PACKET_SIZE)) as crashes:
                campaign = await crashes.fill_campaign(client)
                crashes.break_the_gateway(seed)
                for point in POINTS:
                    await crashes.kill_at(point, chance.randrange(1, 10))
                await kill_sometimes(crashes, chance, kills, rows)
                await crashes.to_the_end()
                assert (await campaign.info()).state == "finished"
                return await crashes.judge()


async def kill_sometimes(crashes: Crashes, chance: random.Random, kills: int, rows: int) -> None:
    for number in range(kills):
        if number % EACH_MARK == 0:
            say(f"{number} of {kills} random kills", sys.stderr)
        if not await crashes.kill_sometime(chance, max(2, rows // max(1, kills))):
            say(f"nothing was left to send after {number} random kills: give it more rows", sys.stderr)
            return


def say(line: str, file: TextIO = sys.stdout) -> None:
    print(line, file=file, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", choices=["sqlite", "postgresql", "both"], default="both")
    chosen = parser.parse_args()
    kinds = ["sqlite", "postgresql"] if chosen.ledger == "both" else [chosen.ledger]
    is_good = True
    say(f"seed {chosen.seed}")
    say("| " + " | ".join(name for name, _ in COLUMNS) + " |")
    say("|" + "---|" * len(COLUMNS))
    for kind in kinds:
        with new_ledger(kind) as url:
            verdict = asyncio.run(matrix(url, rows=chosen.rows, kills=chosen.kills, seed=chosen.seed))
        say("| " + " | ".join(str(value(kind, verdict)) for _, value in COLUMNS) + " |")
        is_good = is_good and verdict.is_good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
