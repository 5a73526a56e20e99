"""How tests take errors in their hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from smspilot_async import SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Coroutine

PHONE = "79087964781"
OTHER_PHONE = "79131437355"
TEXT = "Ваш код 1234"


async def failure_of(work: Coroutine[Any, Any, object]) -> SmsPilotError:
    """The error of this library that a call must end in."""
    try:
        await work
    except SmsPilotError as error:
        return error
    raise AssertionError("it did not fail")


async def begun(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a call in a task of its own, and let it take its first step."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task
