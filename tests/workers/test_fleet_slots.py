"""Each worker has its share of the slots, and gives up what it has too many of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from smspilot_async.outbox._fleet_slots import SHARES_FOR, FleetSlots, queue_of, surplus
from smspilot_async.outbox._slots import LEASE, Slot, share_slots
from smspilot_async.outbox._workers import see_worker

if TYPE_CHECKING:
    from ledgers import Desk


def slots(*owners: str | None) -> list[Slot]:
    return [Slot(n, owner) for n, owner in enumerate(owners)]


@pytest.mark.parametrize(
    ("rows", "workers", "expected"),
    [
        (slots("a", "a", "a", "a"), ["a"], []),
        (slots("a", "a", "a", "a"), ["a", "b"], [(3, "b"), (2, "b")]),
        (slots("a", "a", "a", "a"), ["a", "b", "c"], [(3, "b"), (2, "c")]),
        (slots("a", "a", "b", "b"), ["a", "b", "c"], []),  # of two who have as many, the other one gives
        (slots("b", "b", "a", "a"), ["a", "b", "c"], []),
        (slots("a", "b", None, None), ["a", "b", "c"], []),
        (slots("a", "a", None), ["a", "b"], [(1, "b")]),
        (slots("b", "b", "b", "b"), ["a", "b"], []),
    ],
)
def test_who_has_most_gives_to_who_has_fewest(
    rows: list[Slot], workers: list[str], expected: list[tuple[int, str]]
) -> None:
    assert surplus(rows, "a", workers) == expected


def test_of_two_who_have_as_many_one_gives() -> None:
    rows = slots("a", "a", "b", "b")
    assert surplus(rows, "b", ["a", "b", "c"]) == [(3, "c")]


def test_who_waits_without_an_engine_gets_its_share() -> None:
    rows = [Slot(0, "a", "cron"), Slot(1, "a")]
    assert surplus(rows, "a", ["a"]) == [(1, "cron")]


async def test_a_slot_goes_to_a_worker_that_came_later_with_a_job_of_its_own(desk: Desk) -> None:
    first, second = (FleetSlots(desk.hot, name, 2) for name in ("a", "b"))
    await first.make()
    for name in ("a", "b"):
        await desk.hot.transact(partial(see_worker, name, None))
    assert await first.take(0)
    assert await first.take(1)
    assert not await second.take(1)
    await first.renew()
    assert first.holds(0)
    assert not first.holds(1)
    await first.give_up(1)
    (job,) = await desk.execute("SELECT queue_name, args FROM smspilot_jobs.procrastinate_jobs")
    assert job == (queue_of("b"), {"n": 1})
    assert await second.take(1)


async def test_a_lost_worker_s_slots_are_free_after_their_lease_and_it_has_no_share_any_more(desk: Desk) -> None:
    first, second = (FleetSlots(desk.hot, name, 2) for name in ("a", "b"))
    await first.make()
    for name in ("a", "b"):
        await desk.hot.transact(partial(see_worker, name, None))
    await first.take(0)
    await desk.turn(LEASE - 0.5)
    assert not await second.take(0)
    await desk.turn(SHARES_FOR - LEASE + 1)
    await desk.hot.transact(partial(see_worker, "b", None))
    assert await second.take(0)
    assert await second.take(1)
    await second.renew()
    assert second.holds(1)


async def test_a_sender_without_an_engine_shares_the_slots_too(desk: Desk) -> None:
    fleet = FleetSlots(desk.hot, "a", 2)
    await fleet.make()
    idle = {True: 0, False: 0}
    for n in (-2, -1, 0, 1):
        await fleet.take(n)
    assert await desk.hot.transact(partial(share_slots, "cron", 2, idle)) == {True: 0, False: 0}
    await fleet.renew()
    for n in (-1, 1):
        assert not fleet.holds(n)
        await fleet.give_up(n)
    assert await desk.hot.transact(partial(share_slots, "cron", 2, idle)) == {True: 1, False: 1}
    assert await desk.execute("SELECT 1 FROM smspilot_jobs.procrastinate_jobs") != []
