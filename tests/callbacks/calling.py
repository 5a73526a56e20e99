"""Calls made straight at an inbox, as an adapter makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async.callbacks import CallbackInbox

SECRET = "a secret for the tests alone"
BASE = "https://app.example/smspilot"


async def call(
    inbox: CallbackInbox, url: str | None, server_id: str | None, status: int, *, method: str = "GET", **more: object
) -> int:
    """Call a URL with a status, and return the HTTP status of the answer."""
    assert url is not None
    form = urlencode({"server_id": server_id, "status": status, "error": 0, **more}).encode()
    query, body = (form, b"") if method == "GET" else (b"", form)
    answer = await inbox.answer(method, url.removeprefix("https://app.example"), query, pieces(body))
    inbox.wake()
    return answer.status


async def pieces(*body: bytes) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece
