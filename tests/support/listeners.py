"""Hooks that remember their calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from smspilot_async import Hooks

if TYPE_CHECKING:
    from smspilot_async import Message, SendResult


class Listener(Hooks):
    """Remembers every result.

    Attributes:
        results: What it heard, in order.
    """

    def __init__(self) -> None:
        self.results: list[SendResult[Message]] = []
        self._changed = asyncio.Event()

    def on_result(self, result: SendResult[Message]) -> None:
        self.results.append(result)
        self._changed.set()

    async def heard(self, count: int = 1) -> list[SendResult[Message]]:
        """Wait until there were that many results."""
        while len(self.results) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.results

    @property
    def kinds(self) -> list[str]:
        """The names of the results' classes."""
        return [type(result).__name__ for result in self.results]
