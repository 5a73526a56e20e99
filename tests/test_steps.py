from __future__ import annotations

import asyncio

import pytest
from steps import step


async def test_a_step_that_does_not_move_fails_and_says_which() -> None:
    with pytest.raises(AssertionError, match=r"orders: nothing has moved for 0\.01 s"):
        async with step("orders", 0.01):
            await asyncio.Event().wait()


async def test_a_step_that_moves_may_take_longer() -> None:
    loop = asyncio.get_running_loop()
    async with step("orders", 0.5) as moved:
        end = loop.time() + 0.6
        while loop.time() < end:
            await asyncio.sleep(0.01)
            moved()


async def test_a_timeout_within_a_step_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="the gateway's"):
        async with step("orders"):
            raise TimeoutError("the gateway's")
