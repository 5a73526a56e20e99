"""A program that reads the stream of events, as the page does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from smspilot_async.emulator import Emulator


@attrs.define
class Received:
    """Everything that a reader has received.

    Attributes:
        cursor: Of the last event.
        messages: The rows by number, each as last received.
        rows: How many rows were received, repeated ones included.
        starts: How many times everything before was void.
    """

    cursor: str = ""
    messages: dict[str, dict[str, Any]] = attrs.Factory(dict)
    rows: int = 0
    starts: int = 0
    state: dict[str, Any] = attrs.Factory(dict)

    def take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        news = json.loads(fields["data"])
        self.cursor = fields["id"]
        if news["starts_over"]:
            self.messages, self.starts = {}, self.starts + 1
        self.messages.update({row["server_id"]: row for row in news["messages"]})
        self.rows += len(news["messages"])
        self.state = news.get("state", {})

    @property
    def statuses(self) -> dict[str, int]:
        """By text."""
        return {row["text"]: row["status"] for row in self.messages.values()}


@attrs.define
class Reader:
    """Reads events one by one."""

    blocks: AsyncIterator[str]
    received: Received

    async def until_quiet(self) -> Received:
        """Read on until nothing more waits."""
        self.received.take(await anext(self.blocks))
        while not self.received.state:
            self.received.take(await anext(self.blocks))
        return self.received

    async def until(self, **statuses: int) -> Received:
        """Read on until the messages with these texts have these statuses, and no others are there."""
        while self.received.statuses != statuses:
            self.received.take(await anext(self.blocks))
        return self.received


@asynccontextmanager
async def reading(
    emulator: Emulator, received: Received | None = None, *, in_url: bool = False
) -> AsyncGenerator[Reader]:
    """Follow an emulator, from where `received` ends; the cursor stands in a header, or in the URL."""
    received = received if received is not None else Received()
    query, cursor = (f"?after={received.cursor}", "") if in_url else ("", received.cursor)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=5) as http,
        http.stream("GET", f"{emulator.page_url}/events{query}", headers={"Last-Event-ID": cursor}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Reader(_blocks(answer), received)


async def _blocks(answer: httpx.Response) -> AsyncIterator[str]:
    text = ""
    async for piece in answer.aiter_text():
        text += piece
        *blocks, text = text.split("\n\n")
        for block in blocks:
            yield block
