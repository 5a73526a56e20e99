"""Lines of progress, where there is no terminal to show a bar on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from smspilot_async._tools import clock as clocks
from smspilot_async.cli._output import note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

A_LINE_EACH: Final = 10.0
"""Seconds."""


@contextlib.asynccontextmanager
async def noting(line: Callable[[], str | Awaitable[str]] | None) -> AsyncIterator[None]:
    """Print a line on stderr every ten seconds while the block runs.

    Args:
        line: Returns how far it is; ``None`` to print nothing.
    """
    if line is None:
        yield
        return
    saying = asyncio.ensure_future(_say(line))
    try:
        yield
    finally:
        saying.cancel()


async def _say(line: Callable[[], str | Awaitable[str]]) -> None:
    while True:
        await clocks.current().sleep(A_LINE_EACH)
        text = line()
        note(text if isinstance(text, str) else await text)
