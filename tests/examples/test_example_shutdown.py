"""The example services are stopped in the middle of traffic, and no message is left without a word about it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aiohttp
from service_process import phone, serving
from steps import PATIENCE

from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

    from service_process import Framework, Service

CALLERS = 2000
ANSWERED_BEFORE = 300
CONNECTIONS = 20  # of one client to the gateway


async def ordered(service: Service, number: int) -> dict[str, Any] | None:
    """The answer to an order; ``None`` if the service was gone already."""
    try:
        _, answer = await service.order(number)
    except aiohttp.ClientError:
        return None
    return answer


def judge(states: dict[int, str], emulator: Emulator) -> None:
    """Compare what the service says with what the gateway took."""
    taken = {message.id for message in emulator.messages}
    assert len({message.to for message in emulator.messages}) == len(emulator.messages)  # none was sent twice
    assert taken <= states.keys()
    by_state = {state: {id_ for id_ in states if states[id_] == state} for state in states.values()}
    assert by_state.keys() <= {"accepted", "refused", "not_sent", "unknown"}
    assert by_state["accepted"] <= taken
    assert taken <= by_state["accepted"] | by_state.get("unknown", set())


async def test_after_sigterm_in_the_middle_of_traffic_every_message_is_accounted_for(
    framework: Framework, workers: int, emulator: Emulator, tmp_path: Path
) -> None:
    for number in range(0, CALLERS, 10):
        emulator.refuse(code=115, to=phone(number))
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    faults = {Fault.ACCEPT_THEN_RESET: 0.1, Fault.RESET_AFTER_READ: 0.1, Fault.BUSY: 0.1, Fault.SLOW: 0.5}
    emulator.random_faults(faults, command="send", delay=0.1)
    async with serving(framework, emulator, tmp_path, workers=workers) as service:
        calls = [asyncio.create_task(ordered(service, number)) for number in range(CALLERS)]
        for _, call in zip(range(ANSWERED_BEFORE), asyncio.as_completed(calls), strict=False):
            await call
        service.terminate()
        answers = [answer for answer in await asyncio.gather(*calls) if answer is not None]
        await service.ended()
    assert ANSWERED_BEFORE <= len(answers) < CALLERS
    emulator.no_more_faults()
    async with serving(framework, emulator, tmp_path, workers=1) as service:
        states = await service.all_states()
    judge(states, emulator)
    assert {"accepted", "refused", "unknown"} <= set(states.values())
    for answer in answers:
        assert states[answer["id"]] == answer["state"]


async def test_what_the_gateway_does_not_answer_before_the_end_is_unknown_and_what_still_queues_is_not_sent(
    framework: Framework, emulator: Emulator, tmp_path: Path
) -> None:
    async with serving(framework, emulator, tmp_path, workers=1, GRACE="6") as service:
        accepted = await service.orders(10)
        emulator.fail_next("send", Fault.SLOW, times=CALLERS)  # until it is released, which never happens
        calls = []
        for number in range(10, 10 + CONNECTIONS):
            calls.append(asyncio.create_task(service.order(number)))
            await emulator.wait_for(to=phone(number), timeout=PATIENCE)
        calls += [asyncio.create_task(service.order(number)) for number in range(100, 105)]
        await service.until("/health", "queued", 5)
        service.terminate()
        answers = [(status, answer["state"]) for status, answer in await asyncio.gather(*calls)]
        await service.ended()
    assert answers == [(202, "unknown")] * CONNECTIONS + [(503, "not_sent")] * 5
    async with serving(framework, emulator, tmp_path, workers=1) as service:
        states = await service.all_states()
    judge(states, emulator)
    assert [states[id_] for id_ in accepted] == ["accepted"] * 10
    assert sorted(states.values()) == ["accepted"] * 10 + ["not_sent"] * 5 + ["unknown"] * CONNECTIONS


async def test_what_was_on_its_way_when_a_worker_was_killed_is_unknown_after_a_minute(
    framework: Framework, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    async with serving(framework, emulator, tmp_path, workers=1) as service:
        call = asyncio.create_task(ordered(service, 1))
        message = await emulator.wait_for(to=phone(1), timeout=PATIENCE)
        service.kill()
        assert await call is None
    async with serving(framework, emulator, tmp_path, workers=1) as service:
        assert (await service.show(f"/codes/{message.id}"))["state"] == "sending"
        with closing(sqlite3.connect(tmp_path / "codes.db")) as database, database:
            database.execute("UPDATE codes SET began = began - 61")
        assert (await service.show(f"/codes/{message.id}"))["state"] == "unknown"
    assert len(emulator.messages) == 1
