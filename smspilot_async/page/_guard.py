"""What stands before every request: the page's own name, no order from a foreign page, and headers that bind browsers.

A hostile page in the same browser must not order anything, and a foreign name that was made to point at this machine
(DNS rebinding) must not even read. The page's own script is the only one that runs, and writes no HTML: what a message,
a list or a campaign's name says is text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from smspilot_async.page._settings import PageSettings

__all__ = ["Guard"]

_READS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """An application that only this page's own requests reach."""

    def __init__(self, app: ASGIApp, settings: PageSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal := self._refusal(Request(scope)):
            await PlainTextResponse(refusal, 403)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _refusal(self, request: Request) -> str | None:
        host = request.headers.get("host", "")
        if not self._settings.is_own_name(host):
            return "the page is not served under this name; --name adds one"
        if request.method not in _READS and not _is_same_origin(request, host):
            return "an order has to come from the page itself"
        return None


def _is_same_origin(request: Request, host: str) -> bool:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    return site in {None, "same-origin"} and (origin is None or _netloc(origin) == host)


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
