"""Waiting for work that must not be left under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


async def outlast(work: asyncio.Future[Value], on_cancel: Callable[[], object] = lambda: None) -> Value:
    """Wait for work that must end in its own time: a cancellation is raised after its end.

    Args:
        work: A future, or a task of its own.
        on_cancel: Called at each cancellation, to have the work end soon.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if cancelled is None:
        return work.result()
    work.exception()  # retrieved, so asyncio does not warn about it
    raise cancelled
