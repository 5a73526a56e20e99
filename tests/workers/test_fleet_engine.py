"""What the engine loses costs a second at most: nothing is lost, nothing leaves twice, everything due is sent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from fleets import fill, is_over, judge, taken_by
from ledgers import PHONE
from waiting import until

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import LedgerUnavailable, Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ledgers import Desk

    from smspilot_async.outbox import FleetWorker

ROWS = 1600


@pytest.fixture
async def join(ledger_url: str, desk: Desk, client: Client) -> AsyncIterator[Callable[[], FleetWorker]]:
    """Makes a worker with an outbox of its own."""
    del desk  # which makes the ledger
    async with contextlib.AsyncExitStack() as stack:
        outboxes = [await stack.enter_async_context(Outbox(ledger_url)) for _ in range(8)]
        yield lambda: outboxes.pop().fleet_worker(client, packet_size=10)


async def all_is_sent_once(desk: Desk, emulator: Emulator, messages: int) -> None:
    before = -1

    async def moved() -> bool:
        return len(emulator.messages) > before or await is_over(desk.outbox)

    while not await is_over(desk.outbox):  # as long as the machine takes, while anything moves
        await until(moved)
        before = len(emulator.messages)
    verdict = await judge(desk.outbox, taken_by(emulator))
    assert (verdict.states, verdict.twice, verdict.lost) == ({"accepted": messages}, 0, 0)


def slow(emulator: Emulator) -> None:
    emulator.random_faults({Fault.SLOW: 1.0}, delay=0.1, command="send", seed=1)


async def test_its_rows_are_deleted_under_way(desk: Desk, join: Callable[[], FleetWorker], emulator: Emulator) -> None:
    slow(emulator)
    async with join(), join():
        await fill(desk.outbox, ROWS)
        for share in (0.2, 0.4):
            goal = ROWS * share
            await until(lambda goal=goal: len(emulator.messages) > goal)  # type: ignore[misc]
            await desk.execute("TRUNCATE smspilot_jobs.procrastinate_jobs CASCADE")
            await desk.execute("TRUNCATE smspilot_jobs.procrastinate_workers CASCADE")
        await all_is_sent_once(desk, emulator, ROWS)
        # The engine has begun again, too: what is enqueued now is sent, and the workers are there.
        await until(lambda: _count(desk, "SELECT count(*) FROM smspilot_jobs.procrastinate_workers", 2))
        await desk.outbox.enqueue(Message(PHONE, "Hello"), key="1")
        assert (await desk.outbox.wait("1")).state == "accepted"


async def _count(desk: Desk, query: str, expected: int) -> bool:
    return bool((await desk.execute(query))[0][0] == expected)


async def test_messages_that_no_job_was_deferred_for_are_found_by_the_look(
    desk: Desk, join: Callable[[], FleetWorker], emulator: Emulator
) -> None:
    async with join():
        await desk.execute("ALTER TABLE smspilot.message DISABLE TRIGGER USER")
        await desk.pending(kind="marketing")
        await all_is_sent_once(desk, emulator, 1)


async def test_slots_that_have_nothing_to_send_are_given_up_but_for_those_of_codes(
    desk: Desk, join: Callable[[], FleetWorker], emulator: Emulator
) -> None:
    held = "SELECT count(*) FROM smspilot.slot WHERE owner IS NOT NULL AND n"
    async with join():
        await fill(desk.outbox, 50)
        await all_is_sent_once(desk, emulator, 50)
        await until(lambda: _count(desk, f"{held} >= 0", 0))
        await until(lambda: _count(desk, f"{held} < 0", 2))


async def test_a_worker_that_joins_has_its_share_at_once(
    desk: Desk, join: Callable[[], FleetWorker], emulator: Emulator
) -> None:
    slow(emulator)
    async with join():
        await fill(desk.outbox, ROWS)
        await until(lambda: len(emulator.messages) > 50)
        async with join():

            async def is_shared() -> bool:
                return [worker.slots for worker in await desk.outbox.workers()] == [3, 3]

            await until(is_shared)
            assert not await is_over(desk.outbox)
        await all_is_sent_once(desk, emulator, ROWS)


async def test_a_rolling_deploy_under_load_makes_no_unknown(
    desk: Desk, join: Callable[[], FleetWorker], emulator: Emulator
) -> None:
    slow(emulator)
    async with contextlib.AsyncExitStack() as stack:
        old = [join() for _ in range(4)]
        for worker in old:
            await worker.__aenter__()
        await fill(desk.outbox, ROWS)
        await until(lambda: len(emulator.messages) > 50)
        for worker in old:
            await worker.__aexit__(None, None, None)
            await stack.enter_async_context(join())
        assert not await is_over(desk.outbox)
        await all_is_sent_once(desk, emulator, ROWS)
    assert await desk.execute("SELECT 1 FROM smspilot.attempt WHERE outcome <> 'answered'") == []


async def test_what_lost_workers_left_is_swept(desk: Desk, join: Callable[[], FleetWorker]) -> None:
    path = "SET LOCAL search_path = smspilot_jobs"
    jobs = [
        ("stuck", "doing", 20),
        ("for a worker that is gone", "todo", 20),
        ("under way", "doing", 1),
    ]
    async with join() as worker:
        async with desk.outbox._writing() as connection:
            await connection.exec_driver_sql(path)
            for queue, status, minutes in jobs:
                await connection.exec_driver_sql(
                    "INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES "
                    f"('{queue}', 'nothing', '{status}')"
                )
                await connection.exec_driver_sql(
                    "INSERT INTO procrastinate_events (job_id, type, at) SELECT id, 'started', now() - interval "
                    f"'{minutes} minutes' FROM procrastinate_jobs WHERE queue_name = '{queue}'"
                )
            await connection.exec_driver_sql(
                "UPDATE procrastinate_events SET at = now() - interval '20 minutes' WHERE type = 'deferred' AND "
                "job_id IN (SELECT id FROM procrastinate_jobs WHERE task_name = 'nothing')"
            )
        assert worker._sender is not None
        await worker._sender.sweep()
    left = await desk.execute("SELECT queue_name FROM smspilot_jobs.procrastinate_jobs WHERE task_name = 'nothing'")
    assert left == [("under way",)]


async def test_a_worker_outlives_a_database_that_is_away(client: Client, emulator: Emulator) -> None:
    from postgres import Postgres  # noqa: PLC0415 - beside the one for types

    cluster = await asyncio.to_thread(Postgres)
    try:
        url = cluster.database()
        await Outbox.create(url, client)
        async with Outbox(url) as outbox, outbox.fleet_worker(client):
            await outbox.enqueue(Message(PHONE, "Hello"), key="1")
            assert (await outbox.wait("1")).state == "accepted"
            await asyncio.to_thread(cluster.shut)
            with pytest.raises(LedgerUnavailable):
                await outbox.enqueue(Message(PHONE, "Away"), key="2")
            await asyncio.to_thread(cluster.start)
            began = time.monotonic()
            await outbox.enqueue(Message(PHONE, "Back"), key="3")
            assert (await outbox.wait("3")).state == "accepted"
            assert time.monotonic() - began < 30
            await until(outbox.workers)
    finally:
        await asyncio.to_thread(cluster.stop)
    assert [message.text for message in emulator.messages] == ["Hello", "Back"]
