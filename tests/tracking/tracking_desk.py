"""An emulator within the loop that shares the client's time, and a record of what it was asked, and when."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import httpx
from manual_clock import ManualClock

from smspilot_async import Accepted, Client, Message, NotSent, Packet, Refused, SendResult, Unknown
from smspilot_async.emulator import Clock as EmulatorClock
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

FOR_EVER = timedelta(days=1000)


class SharedTime(EmulatorClock):
    """The emulator's clock, which shows the client's time."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()


@attrs.frozen
class Asked:
    """A check that reached the gateway: when, and by packet or by ids."""

    at: float
    packet: str | None
    ids: tuple[str, ...]


class Line(httpx.AsyncBaseTransport):
    """The transport to the emulator: notes every check, and answers some by itself."""

    def __init__(self, emulator: Emulator, clock: ManualClock) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
        self._inner = emulator.transport
        self._clock = clock
        self._start = clock.monotonic()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        document = json.loads(await request.aread())
        if "check" in document:
            rows = document["check"] if isinstance(document["check"], list) else []
            ids = tuple(row["server_id"] for row in rows)
            self.asked.append(Asked(self._clock.monotonic() - self._start, document.get("server_packet_id"), ids))
        if (answer := self.answer(document)) is not None:
            return httpx.Response(200, content=json.dumps(answer).encode())
        return await self._inner.handle_async_request(request)

    @property
    def times(self) -> list[float]:
        """The seconds at which it was asked."""
        return [asked.at for asked in self.asked]


@attrs.define
class Desk:
    """An emulator and a client of it, by one clock."""

    emulator: Emulator
    client: Client
    line: Line
    clock: ManualClock

    async def packet(self, size: int = 3, **fields: Any) -> Packet:
        """Send a packet."""
        return await self.client.send_packet([Message("79087964781", f"text {n}", **fields) for n in range(size)])


async def results_of_every_kind(desk: Desk) -> list[SendResult[Message]]:
    """Send messages of which one is accepted, one refused, one lost and one vetoed, and return all four results."""
    refused, lost = Message("79087964781", "refused"), Message("79087964781", "lost")
    accepted, not_sent = Message("79087964781", "accepted"), Message("79087964781", "not sent")
    desk.emulator.refuse(code=212, text="refused")
    results: list[SendResult[Message]] = []
    for message in (refused, accepted, lost):
        if message is lost:
            desk.emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        async with desk.client.bulk([message]) as run:
            results += [result async for result in run]
    results.append(NotSent(not_sent))
    assert {type(result) for result in results} == {Accepted, Refused, Unknown, NotSent}
    return results
