"""The emulator as an ASGI application: the gateway's address, the control API, the page, and else a 404.

The endpoint of the gateway is raw ASGI, because the ways in which an answer can fail are below what a framework's
response can say. The rest is ordinary Starlette.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from smspilot_async.emulator.server._asgi import disconnected
from smspilot_async.emulator.server._endpoints import nothing_there, wrong_method
from smspilot_async.emulator.server._http import API_PATH, LARGEST_BODY, PAGE_PATH, Ending, HttpRequest, Reply, path_of
from smspilot_async.emulator.server._operations import control_routes
from smspilot_async.emulator.server._origin_guard import is_allowed
from smspilot_async.emulator.server._page import page

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from smspilot_async.emulator._core import EmulatorCore
    from smspilot_async.emulator.server._connection import ClientConnection


def create_app(emulator: EmulatorCore) -> ASGIApp:
    """The application that serves an emulator. Its server has to put a `ClientConnection` into the scope's state."""
    control = control_routes(emulator)

    async def not_found(request: Request, _error: Exception) -> Response:
        if request.url.path.startswith(f"{PAGE_PATH}/"):
            return nothing_there(request.url.path, control)
        return _page(404, "Not Found")

    async def not_allowed(request: Request, _error: Exception) -> Response:
        if request.url.path.startswith(f"{PAGE_PATH}/"):
            return wrong_method(request.url.path, request.method, control)
        return _page(405, "Method Not Allowed")

    app = Starlette(
        routes=[
            Route(API_PATH, _Gateway(emulator)),
            Route(PAGE_PATH, page),
            Mount(PAGE_PATH, Router(control, redirect_slashes=False)),
        ],
        exception_handlers={404: not_found, 405: not_allowed},
    )
    app.router.redirect_slashes = False
    return _AbsoluteTargets(app)


class _AbsoluteTargets:
    """Understands requests of clients that take the emulator for their proxy and name the whole URL."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "path": path_of(scope["path"])}, receive, send)


class _Gateway:
    """The gateway's address."""

    def __init__(self, emulator: EmulatorCore) -> None:
        self._emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: ClientConnection = scope["state"]["connection"]
        if not is_allowed(scope):
            await self._answer(Reply.page(403, "Forbidden"), send)
            return
        if self._emulator.resets_unread():
            connection.reset()
            await disconnected(receive)  # or the server would complain about a missing answer
            return
        try:
            request = _request(scope, await _read(receive))
        except _TooLarge:
            request = _request(scope, b"", is_too_large=True)
        except _Disconnected:
            return  # half a request is not answered
        await self._send_reply(self._emulator.exchange(request), connection, receive, send)

    async def _send_reply(self, reply: Reply, connection: ClientConnection, receive: Receive, send: Send) -> None:
        if reply.hold is not None:
            await reply.hold.wait()
        match reply.ending:
            case Ending.ANSWER:
                await self._answer(reply, send)
                return
            case Ending.RESET:
                connection.reset()
            case Ending.CLOSE:
                connection.close()
            case Ending.HALF_ANSWER:
                await self._answer(reply, send, cut=len(reply.body) // 2)
                connection.close()
        await disconnected(receive)

    async def _answer(self, reply: Reply, send: Send, cut: int | None = None) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self._emulator.headers_of(reply)]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body[:cut], "more_body": cut is not None})


def _request(scope: Scope, body: bytes, *, is_too_large: bool = False) -> HttpRequest:
    client = scope.get("client")
    return HttpRequest(
        method=scope["method"],
        query=scope["query_string"],
        content_type=_header(scope, b"content-type"),
        body=body,
        client=client[0] if client else "",
        connection=scope["state"]["connection"],
        is_too_large=is_too_large,
    )


def _header(scope: Scope, name: bytes) -> str:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


class _TooLarge(Exception):
    pass


class _Disconnected(Exception):
    pass


async def _read(receive: Receive) -> bytes:
    """A request's body, unless it is larger than any packet: then the server discards the rest."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        size += len(message["body"])
        if size > LARGEST_BODY:
            raise _TooLarge
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


def _page(status: int, reason: str) -> Response:
    page = Reply.page(status, reason)
    return Response(page.body, page.status, media_type="text/html")
