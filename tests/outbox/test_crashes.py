# ruff: noqa: S603 - the program that runs here is ours
"""A sender killed with SIGKILL, at every point and at random moments, and gone on with; the gateway is the judge.

Nobody gets a message twice, nobody is lost: what the ledger calls accepted is at the gateway, under the same number,
what it calls refused or not sent is not there, and only of what it calls unknown nobody can say.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from crash_worker import IN_FLIGHT, LEASE, PACKET_SIZE, POINTS

from smspilot_async import Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox._deliver import URGENT_PLACES

if TYPE_CHECKING:
    from ledgers import Desk

ROWS = 300
KILLS = 5
PATIENCE = 60.0
MOST_UNKNOWN_PER_KILL = (IN_FLIGHT + URGENT_PLACES) * PACKET_SIZE
WORKER = Path(__file__).with_name("crash_worker.py")
FAULTS = {Fault.BUSY: 0.05, Fault.TOO_MANY_REQUESTS: 0.03, Fault.RESET_BEFORE_READ: 0.03, Fault.ACCEPT_THEN_RESET: 0.04}

pytestmark = pytest.mark.usefixtures("uncounted")


class Killed:
    """A ledger whose senders are killed."""

    def __init__(self, desk: Desk, ledger_url: str, gateway: Emulator) -> None:
        self.desk = desk
        self.url = ledger_url
        self.gateway = gateway

    async def fill(self) -> None:
        async with self.desk.outbox._writing() as connection:
            for number in range(ROWS):
                message = Message(f"7908{number:07d}", f"Text {number}")
                await self.desk.outbox.enqueue(message, key=str(number), connection=connection)

    def run(self, point: str = "never", nth: int = 1) -> subprocess.Popen[bytes]:
        arguments = [self.url, self.gateway.url, self.gateway.api_key, point, str(nth)]
        return subprocess.Popen([sys.executable, str(WORKER), *arguments], stderr=subprocess.PIPE)

    def killed_by_itself(self, point: str, nth: int) -> None:
        with self.run(point, nth) as process:
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL, errors.decode()

    def killed_after(self, accepted: int) -> bool:
        """Kill it when the gateway has accepted some more; tell whether it lived that long."""
        goal = len(self.gateway.messages) + accepted
        with self.run() as process:
            until = time.monotonic() + PATIENCE
            while process.poll() is None and len(self.gateway.messages) < goal and time.monotonic() < until:
                time.sleep(0.001)
            process.kill()
        return process.returncode == -signal.SIGKILL

    def to_the_end(self) -> None:
        with self.run() as process:
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors.decode()

    async def check(self, kills: int) -> None:
        await self.desk.turn(LEASE + 1)
        await self.desk.hot.recover()
        message = self.desk.tables.message
        rows: list[Any] = await self.desk.execute(sa.select(message.c.id, message.c.state, message.c.server_id))
        taken = Counter(message.id for message in self.gateway.messages)
        numbers = {message.id: message.server_id for message in self.gateway.messages}
        assert max(taken.values()) == 1, "somebody got it twice"
        states = {row.id: row.state for row in rows}
        assert len(states) == ROWS
        assert set(states.values()) <= {"accepted", "unknown"}, Counter(states.values())
        assert {row.id: row.server_id for row in rows if row.state == "accepted"}.items() <= numbers.items()
        # Those that nobody killed for were on the wire when the gateway failed.
        unknown = sum(state == "unknown" for state in states.values())
        failed = await self.desk.execute(
            sa.select(sa.func.count()).where(
                self.desk.tables.attempt.c.outcome == "unknown", self.desk.tables.attempt.c.evidence != "lease_over"
            )
        )
        assert unknown <= kills * MOST_UNKNOWN_PER_KILL + failed[0][0] * PACKET_SIZE
        assert set(taken) >= {id_ for id_, state in states.items() if state == "accepted"}


@pytest.fixture
async def killed(desk: Desk, ledger_url: str, emulator: Emulator) -> Killed:
    killed = Killed(desk, ledger_url, emulator)
    await killed.fill()
    return killed


@pytest.mark.parametrize("point", POINTS)
async def test_a_sender_killed_at_a_point_sends_nobody_twice_and_loses_nobody(killed: Killed, point: str) -> None:
    await asyncio.to_thread(killed.killed_by_itself, point, 3)
    await asyncio.to_thread(killed.to_the_end)
    await killed.check(kills=1)


@pytest.mark.parametrize("seed", [1])
async def test_a_sender_killed_at_any_moment_under_faults_sends_nobody_twice(killed: Killed, seed: int) -> None:
    chance = random.Random(seed)
    killed.gateway.random_faults(FAULTS, command="send", seed=seed)
    kills = 0
    for _ in range(KILLS):
        kills += await asyncio.to_thread(killed.killed_after, chance.randrange(1, ROWS // KILLS))
    await asyncio.to_thread(killed.to_the_end)
    await killed.check(kills)
    assert kills
