"""A small sample of the crash matrix, on both databases; ``make crash-matrix`` is all of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from crash_worker import POINTS
from crashes import Crashes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

    from smspilot_async.emulator import Emulator

ROWS, PACKET_SIZE = 300, 10
KILLS = 5

pytestmark = pytest.mark.usefixtures("uncounted")


@pytest.fixture
async def crashes(desk: Desk, emulator: Emulator) -> AsyncIterator[Crashes]:
    crashes = Crashes(desk.outbox, emulator, rows=ROWS, packet_size=PACKET_SIZE)
    await crashes.fill()
    yield crashes
    crashes.close()


async def test_senders_killed_at_every_point_send_none_twice_and_lose_none(crashes: Crashes, desk: Desk) -> None:
    for point in POINTS:
        await crashes.kill_at(point, 3)
    await crashes.to_the_end(desk.turn)
    verdict = await crashes.judge()
    assert verdict.is_good, verdict
    assert verdict.kills == len(POINTS)


async def test_senders_killed_at_random_moments_under_faults_send_none_twice_and_lose_none(
    crashes: Crashes, desk: Desk
) -> None:
    chance = random.Random(1)
    crashes.break_the_gateway(seed=1)
    for _ in range(KILLS):
        await crashes.kill_sometime(chance, ROWS // KILLS)
    await crashes.to_the_end(desk.turn)
    verdict = await crashes.judge()
    assert verdict.is_good, verdict
    assert verdict.kills
    assert verdict.refused
