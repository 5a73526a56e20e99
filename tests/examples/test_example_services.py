"""The example services: every status arrives, by callback where the gateway calls, by polling where calls get lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service_process import serving
from steps import step

from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from service_process import Framework

    from smspilot_async.emulator import Emulator

MESSAGES = 1000


async def settle(emulator: Emulator) -> None:
    """Let all statuses become final, and all callbacks be answered."""
    emulator.clock.advance(minutes=1)
    async with step("callbacks") as moved:
        settled, seen = asyncio.ensure_future(emulator.settled()), 0
        while not settled.done():
            await asyncio.wait([settled], timeout=1)
            if (made := len(emulator.callbacks)) > seen:
                seen = made
                moved()
        await settled


def true_statuses(emulator: Emulator) -> dict[int | None, int]:
    return {message.id: message.status for message in emulator.messages}


async def test_every_status_arrives_by_callback_and_none_by_polling(
    framework: Framework, workers: int, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.fail_next("check", Fault.SERVER_ERROR)
    async with serving(framework, emulator, tmp_path, workers=workers, CHECK_EVERY="3600") as service:
        ids = await service.orders(MESSAGES)
        await settle(emulator)
        statuses = await service.final_statuses(ids)
        healths = await service.busy_workers(workers)
    assert statuses == true_statuses(emulator)
    assert len(statuses) == MESSAGES
    assert set(statuses.values()) == {-1, 2}
    assert len(emulator.callbacks) == 2 * MESSAGES
    assert all(call.acknowledged for call in emulator.callbacks)
    assert emulator.state()["pending_faults"] == 1  # the fault still waits: no check was made
    for health in healths:
        assert health["is_open"]
        assert (health["queued"], health["in_flight"], health["open_unknowns"]) == (0, 0, 0)


async def test_polling_fills_in_what_callbacks_do_not_bring(
    framework: Framework, workers: int, emulator: Emulator, tmp_path: Path
) -> None:
    unknowns = emulator.unknowns
    unknowns.callbacks_lost = unknowns.callbacks_doubled = unknowns.callbacks_late = 0.2
    async with serving(framework, emulator, tmp_path, workers=workers, CHECK_EVERY="0.5") as service:
        ids = await service.orders(MESSAGES)
        await settle(emulator)
        statuses = await service.final_statuses(ids)
    assert statuses == true_statuses(emulator)
    assert len(statuses) == MESSAGES
    called = {call.server_id for call in emulator.callbacks if call.status in {-1, 2}}
    assert len(called) < 0.9 * MESSAGES  # the others' final statuses were asked for


async def test_a_callback_turns_an_unknown_into_accepted(
    framework: Framework, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with serving(framework, emulator, tmp_path, workers=1, CHECK_EVERY="3600") as service:
        status, answer = await service.order(1)
        assert (status, answer["state"]) == (202, "unknown")
        emulator.clock.advance(minutes=1)
        await service.until(f"/codes/{answer['id']}", "state", "accepted")
    assert [message.id for message in emulator.messages] == [answer["id"]]


async def test_what_makes_no_message_is_refused_and_a_code_that_there_is_not_is_not_found(
    framework: Framework, emulator: Emulator, tmp_path: Path
) -> None:
    async with serving(framework, emulator, tmp_path, workers=1) as service:
        answer = await service.order(10**12)  # a phone of too many digits
        states = await service.all_states()
    assert answer == (422, {"state": "refused", "field": "to"})
    assert states == {}
    assert emulator.messages == ()
