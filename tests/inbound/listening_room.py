"""A client that listens to an emulator in the same loop, with everything in sight and both clocks turned by hand."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import httpx
from manual_clock import ManualClock

from smspilot_async import Client, CursorInUse, CursorState
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from datetime import timedelta

    from smspilot_async import InboundCursor, InboundListener

Request: TypeAlias = datetime | str

GATEWAY_START = datetime(2030, 1, 15, 15, 0, 20, tzinfo=UTC)


class Wire(httpx.AsyncBaseTransport):
    """The way to an emulator, where everything that is asked can be seen, and an answer be replaced.

    Attributes:
        log: What was asked, in order: ``"new"``, the time of a sweep, or the name of another command; and what else a
            test writes down there.
        answers: Rows to answer the next requests for inbound messages with, in place of the emulator's.
        has_date: Whether answers tell the gateway's time.
        ahead: How far the dates of the next answers run ahead.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.log: list[Any] = []
        self.answers: list[list[dict[str, Any]]] = []
        self.has_date = True
        self.ahead: list[timedelta] = []
        self._inner = emulator.transport
        self._now = emulator.clock.now

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        document = json.loads(request.content)
        self.log.append(_asked(document))
        if "inbound" in document and self.answers:
            body = json.dumps({"inbound": self.answers.pop(0)}).encode()
            return httpx.Response(200, content=body, headers={"Date": format_datetime(self._now(), usegmt=True)})
        response = await self._inner.handle_async_request(request)
        if not self.has_date:
            del response.headers["Date"]
        elif self.ahead:
            response.headers["Date"] = format_datetime(self._now() + self.ahead.pop(0), usegmt=True)
        return response

    def asked(self) -> list[Any]:
        """What was asked since the last time."""
        log, self.log[:] = self.log[:], []
        return log


def _asked(document: dict[str, Any]) -> Request:
    if "inbound" not in document:
        return next(name for name in document if name != "apikey")
    since = document.get("since")
    return "new" if since == "new" else datetime.fromisoformat(str(since)).replace(tzinfo=UTC)


@attrs.define
class DurableCursor:
    """A cursor that outlives its listeners, as a file would, and writes down what is done to it."""

    log: list[Any] = attrs.Factory(list)
    state: CursorState | None = None
    is_taken: bool = False

    async def acquire(self) -> None:
        if self.is_taken:
            raise CursorInUse("this cursor is in use")
        self.is_taken = True

    async def load(self) -> CursorState | None:
        return self.state

    async def save(self, state: CursorState) -> None:
        await asyncio.sleep(0)
        self.log.append("save")
        self.state = state

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002
        assert self.state is not None
        await asyncio.sleep(0)
        self.log.append(f"mark {id}")
        waiting = {key: at for key, at in self.state.waiting.items() if key != id}
        self.state = CursorState(self.state.since, {**self.state.handed_over, id: until}, waiting)

    def release(self) -> None:
        self.is_taken = False


@attrs.define
class Room:
    """A client that listens to an emulator, both with clocks that are turned by hand, three hours apart."""

    emulator: Emulator
    wire: Wire
    client: Client
    clock: ManualClock

    def sms(self, *texts: str) -> None:
        for text in texts:
            self.emulator.inbound("79087964781", text)

    async def advance(self, seconds: float) -> None:
        self.emulator.clock.advance(seconds=seconds)
        await self.clock.advance(seconds)

    async def next(self, inbox: InboundListener, turns: int | None = None) -> list[str]:
        """The next text, if one comes before it waits for time to pass, or before so many turns of the loop."""
        task = asyncio.ensure_future(anext(inbox))
        if turns is None:
            sleeper = asyncio.ensure_future(self.clock.sleeper())
            await asyncio.wait({task, sleeper}, return_when=asyncio.FIRST_COMPLETED)
            sleeper.cancel()
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return [] if task.cancelled() else [task.result().text or ""]

    async def rest(self, inbox: InboundListener) -> list[str]:
        """The texts that come before it waits for time to pass."""
        texts: list[str] = []
        while text := await self.next(inbox):
            texts += text
        return texts

    async def after(self, seconds: float, inbox: InboundListener) -> list[str]:
        """The texts that come once so many seconds have passed."""
        await self.advance(seconds)
        return await self.rest(inbox)

    async def some(self, count: int, cursor: InboundCursor) -> list[str]:
        """The first texts of a listener that is left after them, in the middle of the last one's work."""
        texts: list[str] = []
        async for sms in self.client.listen(cursor=cursor):
            texts.append(sms.text or "")
            if len(texts) == count:
                break
        return texts
