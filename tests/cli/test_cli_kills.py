# ruff: noqa: S603 - the program that runs here is ours
"""``bulk`` killed with SIGKILL at random moments, and resumed until the list is done.

The gateway's record is the judge: no message is sent twice, and one that is not sent is unknown in the results.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from cli_running import command, environment

from smspilot_async.emulator import Emulator, Fault

KILLS = int(os.environ.get("KILLS", "5"))  # in all; `make bulk-kills` has 50
KILLS_PER_LIST = 5
ROWS = 2000
PATIENCE = 60.0


class Campaign:
    """A list that goes out through runs that are killed, but for the last."""

    def __init__(self, gateway: Emulator, seed: int) -> None:
        self.random = random.Random(seed)
        self.gateway = gateway
        self.prefix = f"79{seed:03d}"
        self.list = Path(f"list{seed}.csv")
        self.results = Path(f"{self.list}.results.csv")
        self.ledger = Path(f"{self.results}.ledger")
        rows = (f"{phone},Hello {at}" for at, phone in enumerate(self.phones))
        self.list.write_text("\n".join(["to,text", *rows]) + "\n", encoding="utf-8")

    @property
    def phones(self) -> list[str]:
        return [f"{self.prefix}{number:06d}" for number in range(ROWS)]

    def run(self) -> subprocess.Popen[bytes]:
        # A kill before there was a ledger was a kill before anything was sent.
        resume = ["--resume"] if self.ledger.exists() else []
        return subprocess.Popen(
            command("bulk", str(self.list), "--yes", *resume),
            env=environment(self.gateway, PYTHONWARNINGS="error"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def kill_somewhere(self, left: int) -> bool:
        """Run it, and kill it when the gateway has accepted some more; return whether it lived that long."""
        accepted = len(self.gateway.messages)
        goal = accepted + self.random.randrange(1, 2 * (ROWS - accepted) // (left + 1) + 2)
        with self.run() as process:
            give_up = time.monotonic() + PATIENCE
            while process.poll() is None and len(self.gateway.messages) < min(goal, ROWS):
                assert time.monotonic() < give_up
                time.sleep(0.002)
            # Not only right after an acceptance: while an answer is read, or the next intent is written.
            time.sleep(self.random.random() * 0.02)
            process.kill()
        return process.returncode == -signal.SIGKILL

    def finish(self) -> None:
        if self.ledger.exists():
            with self.run() as process:
                assert process.stderr is not None
                err = process.stderr.read().decode()
                assert process.wait(PATIENCE) in {0, 3}, err
        self.judge()

    def judge(self) -> None:
        with self.results.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["line"]) for row in rows] == list(range(2, ROWS + 2))
        times = Counter(message.to for message in self.gateway.messages)
        by_outcome = {
            name: {row["to"] for row in rows if row["outcome"] == name} for name in ("accepted", "unknown", "not_sent")
        }
        assert max(times.values()) == 1, "accepted twice"
        assert by_outcome["accepted"] <= times.keys(), "believed to be sent"
        assert set(self.phones) - times.keys() <= by_outcome["unknown"], "lost"
        assert not by_outcome["not_sent"]
        assert len(by_outcome["accepted"]) + len(by_outcome["unknown"]) == ROWS
        assert len(by_outcome["unknown"]) <= KILLS_PER_LIST * 400, "more than what can be on the wire at a kill"


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("part", range(KILLS // KILLS_PER_LIST))
def test_runs_killed_at_random_moments_send_nothing_twice_and_lose_nothing(part: int) -> None:
    kills, seed = 0, 100 * part
    while kills < KILLS_PER_LIST:
        with Emulator.serve(loop_protection=None) as gateway:
            gateway.random_faults({Fault.SLOW: 1.0}, command="send", seed=seed, delay=0.03)
            campaign = Campaign(gateway, seed)
            for left in reversed(range(KILLS_PER_LIST - kills)):
                if not campaign.kill_somewhere(left):
                    break
                kills += 1
            campaign.finish()
        seed += 1
