"""Limits of steps that take as long as the machine is slow: one fails once nothing has moved in it for a while."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

PATIENCE: Final = 60.0


@asynccontextmanager
async def step(name: str, seconds: float = PATIENCE) -> AsyncGenerator[Callable[[], None]]:
    """Limit a step.

    Args:
        name: What is said if it fails.
        seconds: How long it may go without moving.

    Yields:
        To be called when the step has moved; it gives it the same time again.

    Raises:
        AssertionError: Nothing has moved for so long.
    """
    loop, limit = asyncio.get_running_loop(), asyncio.timeout(seconds)
    try:
        async with limit:
            yield lambda: limit.reschedule(loop.time() + seconds)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"{name}: nothing has moved for {seconds:g} s") from None
