"""Waiting for what another process, a thread or a database does; a test that would wait for ever fails."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 30.0


async def until(holds: Callable[[], Any], *, patience: float = PATIENCE) -> None:
    """Wait until something holds; it may be a coroutine function."""
    async with asyncio.timeout(patience):
        while True:
            held = holds()
            if await held if inspect.isawaitable(held) else held:
                return
            await asyncio.sleep(0.01)
