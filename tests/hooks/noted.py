"""A hook that notes everything, hooks with a veto of each temper, and a line that holds requests back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from smspilot_async import Hooks

if TYPE_CHECKING:
    from smspilot_async import Message, Observed, RequestInfo, RequestOutcome, SendResult
    from smspilot_async.emulator import Emulator


class Noted(Hooks):
    """Notes every call, in order.

    Attributes:
        calls: The names of the hooks that were called.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.clients: list[Observed] = []
        self.begun: list[RequestInfo] = []
        self.ended: list[tuple[RequestInfo, RequestOutcome]] = []
        self.results: list[SendResult[Message]] = []

    def on_client(self, client: Observed) -> None:
        self.calls.append("on_client")
        self.clients.append(client)

    def before_request(self, request: RequestInfo) -> None:
        self.calls.append("before_request")
        self.begun.append(request)

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        self.calls.append("after_request")
        self.ended.append((request, outcome))

    async def on_result(self, result: SendResult[Message]) -> None:
        self.calls.append("on_result")
        self.results.append(result)

    async def aclose(self) -> None:
        self.calls.append("aclose")

    @property
    def kinds(self) -> list[str]:
        return [type(result).__name__ for result in self.results]

    @property
    def outcomes(self) -> list[str]:
        return [outcome.kind for _, outcome in self.ended]


class OptOuts(Hooks):
    """Refuses what is said to hold the word "stop", at once or after a look-up."""

    def __init__(self, word: str = "stop") -> None:
        self.word = word

    def veto(self, message: Message) -> str | None:
        return "opted out" if self.word in message.text else None


class SlowOptOuts(OptOuts):
    """Looks up, which takes a turn of the loop."""

    async def veto(self, message: Message) -> str | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().veto(message)


class Broken(Hooks):
    """Has a veto that raises, with words that must not get out."""

    def veto(self, message: Message) -> str | None:
        raise LookupError(f"no row for {message.to}")


class Hanging(Hooks):
    """Has a veto that never answers.

    Attributes:
        asked: Set once it is awaited.
        was_cancelled: It is no longer awaited.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.was_cancelled = False

    async def veto(self, message: Message) -> str | None:
        del message
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return None


class Holding(httpx.AsyncBaseTransport):
    """Holds every request back until it is released.

    Attributes:
        is_reached: Set once it holds one.
        lets_go: To be set.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.is_reached = asyncio.Event()
        self.lets_go = asyncio.Event()
        self._emulator = emulator.transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.is_reached.set()
        await self.lets_go.wait()
        return await self._emulator.handle_async_request(request)
