"""Workers in processes of their own share a ledger through the engine; the gateway is the judge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleets import fill, is_over, judge, taken_by
from waiting import until

from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from fleets import Fleet
    from ledgers import Desk


async def test_one_is_killed_and_the_other_goes_on(desk: Desk, fleet: Fleet, emulator: Emulator) -> None:
    emulator.random_faults({Fault.SLOW: 1.0}, delay=0.05, command="send", seed=1)
    first, second = await asyncio.to_thread(fleet.start_ready, 2)
    await fill(desk.outbox, 1500)
    await until(lambda: len(emulator.messages) > 300)
    await asyncio.to_thread(first.kill)
    await until(lambda: is_over(desk.outbox))
    verdict = await judge(desk.outbox, taken_by(emulator))
    assert (verdict.twice, verdict.lost) == (0, 0)
    assert verdict.by_sender.keys() == {first.pid, second.pid}
    assert verdict.states.get("unknown", 0) <= 6 * 10
    assert set(verdict.states) <= {"accepted", "unknown"}
