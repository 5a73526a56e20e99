"""The page that shows the emulator in a browser, and the stream of events that keeps it live.

The page is sent as one file that loads nothing from anywhere. It runs under a policy that lets only its own script run,
and asks of browsers that even that script writes no HTML (Trusted Types): whatever a message says, it is text.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from smspilot_async.emulator.server._asgi import disconnected
from smspilot_async.emulator.server._http import HTML
from smspilot_async.emulator.server._origin_guard import has_local_name, is_same_origin

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from smspilot_async.emulator._core import EmulatorCore
    from smspilot_async.emulator.gateway._messages import AcceptedMessage
    from smspilot_async.emulator.server._feed import Changes

_FRAME: Final = 0.02
"""Seconds between two events: changes that come faster travel together."""
_SCRIPTS: Final = ("page.js", "rooms.js", "live.js")
_HEARTBEAT: Final = 10.0
"""Seconds without a change after which an event goes out all the same, so that a page notices a dead connection."""


async def page(request: Request) -> Response:
    """The page itself. It holds no data, so a link from elsewhere may lead to it."""
    if not has_local_name(request):
        return _forbidden()
    content, policy = await asyncio.to_thread(_content)  # it reads a file
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return Response(content, headers=headers, media_type=HTML)


class Events:
    """Server-sent events of all changes from the reader's cursor on (``Last-Event-ID``, or ``?after=``).

    Each event is an object: ``messages`` that came or changed; ``starts_over`` if what was sent before is void;
    ``state`` in the last one before a pause. Without a cursor, or with one from before a reset, it begins with the
    oldest change that is remembered.
    """

    def __init__(self, emulator: EmulatorCore) -> None:
        self._emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if not is_same_origin(request):
            await _forbidden()(scope, receive, send)
            return
        cursor = request.headers.get("last-event-id") or request.query_params.get("after", "")
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send_events(self._emulator, cursor, send))
            await disconnected(receive)
            sending.cancel()


async def _send_events(emulator: EmulatorCore, cursor: str, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    news, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        if not news.is_set():  # the thread of a busy gateway need not say it thousands of times
            loop.call_soon_threadsafe(news.set)

    with emulator.feed.watched(wake):
        while True:
            news.clear()
            changes = emulator.feed.after(cursor)
            event = _event(emulator, changes)
            # A server with a slow reader waits here, and nothing is kept for it meanwhile.
            await send({"type": "http.response.body", "body": event, "more_body": True})
            cursor = changes.cursor
            if changes.are_all:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), _HEARTBEAT)
            await asyncio.sleep(_FRAME)


def _event(emulator: EmulatorCore, changes: Changes) -> bytes:
    event: dict[str, Any] = {
        "starts_over": changes.starts_over,
        "messages": [_row(message) for message in emulator.look_up(changes.server_ids)],
    }
    if changes.are_all:
        event["state"] = emulator.overview()
    return f"id: {changes.cursor}\ndata: {json.dumps(event)}\n\n".encode()


def _row(message: AcceptedMessage) -> dict[str, Any]:
    return {
        "server_id": message.server_id,
        "to": message.to,
        "text": message.text,
        "sender": message.sender,
        "parts": message.parts,
        "price": str(message.price),
        "status": message.status,
        "error": message.error,
        "test": message.test,
        "accepted_at": message.accepted_at.isoformat(),
    }


@cache
def _content() -> tuple[bytes, str]:
    """The page in one piece, and the policy that lets its own style and script run, by their hashes."""
    folder = resources.files("smspilot_async.emulator").joinpath("static")
    page, style, *scripts = (folder.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", *_SCRIPTS))
    script = "".join(scripts)
    page = page.replace("<style>", f"<style>{style}").replace("<script>", f"<script>{script}")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return page.encode(), policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _forbidden() -> Response:
    return PlainTextResponse("this page may not read from the emulator", 403)
