"""A small sample of the crash matrix, on both databases; ``make crash-matrix`` is all of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from crash_worker import POINTS
from crashes import Crashes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

ROWS, PACKET_SIZE = 300, 10
KILLS = 5

pytestmark = pytest.mark.usefixtures("uncounted")


@pytest.fixture
def crashes(desk: Desk, emulator: Emulator) -> Iterator[Crashes]:
    crashes = Crashes(desk.outbox, emulator, rows=ROWS, packet_size=PACKET_SIZE)
    yield crashes
    crashes.close()


async def test_senders_of_an_outbox_killed_at_every_point_send_none_twice_and_lose_none(
    crashes: Crashes, desk: Desk
) -> None:
    await crashes.fill()
    for point in POINTS:
        await crashes.kill_at(point, 3)
    await crashes.to_the_end(desk.turn)
    verdict = await crashes.judge()
    assert verdict.is_good, verdict
    assert verdict.kills == len(POINTS)


async def test_senders_of_a_campaign_killed_at_every_point_and_at_random_moments_under_faults_send_none_twice(
    crashes: Crashes, desk: Desk, client: Client
) -> None:
    chance = random.Random(1)
    campaign = await crashes.fill_campaign(client)
    crashes.break_the_gateway(seed=1)
    for point in POINTS:
        await crashes.kill_at(point, chance.randrange(1, 4))
    for _ in range(KILLS):
        await crashes.kill_sometime(chance, ROWS // KILLS // 2)
    await crashes.to_the_end(desk.turn)
    assert (await campaign.info()).state == "finished"
    verdict = await crashes.judge()
    assert verdict.is_good, verdict
    assert verdict.kills > len(POINTS)
    assert verdict.accepted  # which of the few refusals fall into an unknown packet is chance


async def test_the_judge_sees_what_a_ledger_says_otherwise(crashes: Crashes, desk: Desk, client: Client) -> None:
    await crashes.fill_campaign(client)
    await desk.outbox.drain(client)
    assert (await crashes.judge()).is_good
    changes = ("server_id = 'x'", "state = 'refused', code = 213", "phone = '79087964780'", "price = 0")
    for number, change in enumerate(changes, 1):
        await desk.execute(f"UPDATE {desk.tables.message.fullname} SET {change} WHERE line = {number}")
        verdict = await crashes.judge()
        assert (verdict.is_good, verdict.agree) == (False, ROWS - number)
