"""An emulator behind a transport that notes every packet, counts requests in flight, and holds answers back on demand.

Also the judge: what the library claims about messages, against the emulator's record of what it accepted.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
from manual_clock import ManualClock, idle

from smspilot_async import Accepted, Client, Message, NotSent, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from listeners import Listener

    from smspilot_async import SendResult
    from smspilot_async.emulator import Emulator

Item = TypeVar("Item")


class WatchedTransport(httpx.AsyncBaseTransport):
    """Passes requests on to the emulator.

    Attributes:
        packets: The texts of each send, in the order of arrival.
        urls: Of each request.
        in_flight, most_in_flight: Requests without an answer, now and at most.
        answers: While it is not set, answers are held back; the gateway has acted already.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.packets: list[list[str]] = []
        self.bodies: list[bytes] = []
        self.urls: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._emulator = emulator.transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(str(request.url))
        self.bodies.append(request.content)
        document = json.loads(request.content or parse_qs(urlsplit(str(request.url)).query)["json"][0])
        if "send" in document:
            self.packets.append([row["text"] for row in document["send"]])
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            response = await self._emulator.handle_async_request(request)
            await self.answers.wait()
        finally:
            self.in_flight -= 1
        return response


class Gateway:
    """An emulator, and everything that is known about its clients."""

    def __init__(self, emulator: Emulator, listener: Listener, clock: ManualClock) -> None:
        self.emulator = emulator
        self.listener = listener
        self.clock = clock
        self.transport = WatchedTransport(emulator)

    def client(self, **options: Any) -> Client:
        options = {"transport": self.transport, "hooks": [self.listener], "url": self.emulator.url, **options}
        return Client(self.emulator.api_key, **options)

    def hold(self) -> None:
        self.transport.answers.clear()

    async def let_go(self) -> None:
        self.transport.answers.set()
        await idle()

    @property
    def packets(self) -> list[list[str]]:
        return self.transport.packets

    @property
    def accepted(self) -> list[str]:
        """The texts that the gateway accepted, in order."""
        return [message.text for message in self.emulator.messages]

    def heard(self) -> dict[str, str]:
        """The hooks' result of each text; fails if there were two."""
        assert_once(result.item.text for result in self.listener.results)
        return {result.item.text: type(result).__name__ for result in self.listener.results}


def assert_once(texts: Iterable[str]) -> None:
    twice = [text for text, times in Counter(texts).items() if times > 1]
    assert twice == []


def assert_true(results: Iterable[SendResult[Message]], emulator: Emulator) -> None:
    """Hold claims about messages, whose texts are unique, against the record."""
    record = {message.text: message.server_id for message in emulator.messages}
    assert_once(message.text for message in emulator.messages)
    for result in results:
        match result:
            case Accepted(item, sent):
                assert record.get(item.text) == sent.server_id, result
            case Refused(item) | NotSent(item):
                assert item.text not in record, result
            case Unknown():
                pass


def phone(number: int) -> str:
    return f"7908{number:07}"


def message(text: str, **fields: Any) -> Message:
    """A message whose phone follows from its text, so that no two share one by accident."""
    return Message(phone(sum(map(ord, text)) * 7919 % 10**7), text, **fields)


class Source:
    """A source of numbered pairs that counts how far it was read, and how often it was closed.

    Attributes:
        read: Items handed out.
        closed: How often it was closed, whichever way.
    """

    def __init__(self, count: int = 10**6, *, error_at: int | None = None) -> None:
        self.count = count
        self.error_at = error_at
        self.read = 0
        self.closed = 0
        self.closed_in: set[asyncio.Task[Any] | None] = set()

    def pairs(self) -> Iterator[tuple[str, str]]:
        try:
            for number in range(self.count):
                if number == self.error_at:
                    raise LookupError("the source is broken")
                self.read += 1
                yield phone(number), f"text {number}"
        finally:
            self.closed += 1
            self.closed_in.add(asyncio.current_task())

    async def apairs(self) -> AsyncIterator[tuple[str, str]]:
        try:
            for number in range(self.count):
                if number == self.error_at:
                    raise LookupError("the source is broken")
                await asyncio.sleep(0)
                self.read += 1
                yield phone(number), f"text {number}"
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            self.closed += 1
            self.closed_in.add(asyncio.current_task())
