"""The inbox as an ASGI application, for FastAPI, Starlette, or alone on any ASGI server. It imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    from smspilot_async.callbacks._inbox import CallbackInbox, CallbackResponse

    Scope: TypeAlias = MutableMapping[str, Any]
    Event: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Event]]
    Send: TypeAlias = Callable[[Event], Awaitable[None]]

__all__ = ["callback_app"]


def callback_app(inbox: CallbackInbox) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Make the application that the gateway calls.

    ::

        app.mount("/smspilot", callback_app(inbox))

    The path where it is mounted is that of the inbox's ``url``. It answers ``OK`` (200) to a call that is stored, 404
    to everything else, and 503 if a call cannot be stored. Entering and closing the inbox is the application's part;
    where this one stands alone on a server, it opens the inbox, and the server does not start with a sink that cannot
    be opened.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answering = inbox.answer(scope["method"], scope["path"], scope["query_string"], _body(receive))
            del scope  # its query may hold a phone, which no frame of this library shows an error tracker
            await _write(inbox, answering, send)
        elif scope["type"] == "lifespan":
            await _live(inbox, receive, send)
        else:
            await send({"type": "websocket.close"})

    return app


async def _write(inbox: CallbackInbox, answering: Awaitable[CallbackResponse], send: Send) -> None:
    try:
        answer = await answering
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(answer.body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
    finally:
        inbox.wake()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionResetError
        yield event.pop("body", b"")
        if not event.get("more_body", False):
            return


async def _live(inbox: CallbackInbox, receive: Receive, send: Send) -> None:
    """Start and stop when the server does, if it stands alone."""
    await receive()
    try:
        await inbox.open()
    except Exception as error:  # noqa: BLE001 - the server says why, and does not start
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
