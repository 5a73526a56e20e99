"""Slots for requests: no one waits while one is free, and none gets lost."""

from __future__ import annotations

import asyncio

import pytest
from manual_clock import idle

from smspilot_async._requests.slots import Slots


def free_places(slots: Slots, *, background: bool = False) -> int:
    count = 0
    while slots.take(background=background):
        count += 1
    for _ in range(count):
        slots.release(background=background)
    return count


@pytest.mark.parametrize(("total", "background"), [(1, 1), (2, 1), (3, 1), (4, 2), (20, 18)])
def test_two_places_are_kept_for_sends(total: int, background: int) -> None:
    assert free_places(Slots(total)) == total
    assert free_places(Slots(total), background=True) == background


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("granted", [False, True])
async def test_a_waiter_that_is_cancelled_takes_no_place(*, background: bool, granted: bool) -> None:
    slots = Slots(1)
    await slots.acquire(background=background)
    waiting = asyncio.ensure_future(slots.acquire(background=background))
    await idle()
    if granted:
        slots.release(background=background)
    waiting.cancel()
    await asyncio.wait([waiting])
    if not granted:
        slots.release(background=background)

    assert waiting.cancelled()
    assert free_places(slots, background=background) == 1


async def test_those_who_cannot_wait_go_first_and_the_rest_in_their_order() -> None:
    slots = Slots(1)
    await slots.acquire()
    order: list[str] = []

    async def wait(name: str, *, background: bool) -> None:
        await slots.acquire(background=background)
        order.append(name)
        slots.release(background=background)

    waiting = []
    for name, background in (("check", True), ("bulk", True), ("code", False), ("code 2", False)):
        waiting.append(asyncio.ensure_future(wait(name, background=background)))
        await asyncio.sleep(0)
    slots.release()
    await asyncio.gather(*waiting)

    assert order == ["code", "code 2", "check", "bulk"]
