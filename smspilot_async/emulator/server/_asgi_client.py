"""A request handed to an ASGI application in the same process, as a server would hand it over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import TypeAlias

    import httpx

    Event: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Event]]
    Send: TypeAlias = Callable[[Event], Awaitable[None]]
    Application: TypeAlias = Callable[[Event, Receive, Send], Awaitable[None]]


class NoAnswer(Exception):
    """The application returned before it answered."""


class _AnswerTooLarge(OSError):
    """The client stops reading; an application that goes on sending gets an ``OSError``, as ASGI specifies."""


async def ask(application: Application, request: httpx.Request, *, largest: int) -> tuple[int, bytes]:
    """The status of an application's answer, and as much of its body as is read.

    Raises:
        NoAnswer: There was none.
        Exception: The application's own.
    """
    exchange = _Exchange(request.content, largest)
    with suppress(_AnswerTooLarge):
        await application(_scope(request), exchange.receive, exchange.send)
    if exchange.status is None:
        raise NoAnswer
    return exchange.status, bytes(exchange.body)


@attrs.define
class _Exchange:
    content: bytes
    largest: int
    status: int | None = None
    body: bytearray = attrs.Factory(bytearray)
    _is_read: bool = False
    _answered: asyncio.Event = attrs.Factory(asyncio.Event)

    async def receive(self) -> Event:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        await self._answered.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        await asyncio.sleep(0)  # so that an answer without an end can be given up
        if event["type"] == "http.response.start":
            self.status = event["status"]
        elif event["type"] == "http.response.body":
            self.body += event.get("body", b"")
            if not event.get("more_body", False):
                self._answered.set()
            elif len(self.body) > self.largest:
                self._answered.set()
                raise _AnswerTooLarge


def _scope(request: httpx.Request) -> dict[str, Any]:
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": (url.host, url.port or {"https": 443}.get(url.scheme, 80)),
    }
