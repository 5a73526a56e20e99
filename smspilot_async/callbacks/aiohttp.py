"""The inbox as an aiohttp application, to be added to one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from aiohttp import web
except ImportError as _missing:
    raise ImportError(
        f"smspilot_async.callbacks.aiohttp needs {_missing.name}: pip install 'smspilot-async[aiohttp]'",
        name=_missing.name,
    ) from None

if TYPE_CHECKING:
    from smspilot_async.callbacks._inbox import CallbackInbox

__all__ = ["callback_app"]


def callback_app(inbox: CallbackInbox) -> web.Application:
    """Make the application that the gateway calls.

    ::

        app.add_subapp("/smspilot", callback_app(inbox))

    The prefix is the path of the inbox's ``url``. It answers ``OK`` (200) to a call that is stored, 404 to everything
    else, and 503 if a call cannot be stored. It opens the inbox when the server starts, which fails with a sink that
    cannot be opened. Closing the inbox is the application's part.
    """

    async def call(request: web.Request) -> web.StreamResponse:
        try:
            body = request.content.iter_any()
            answer = await inbox.answer(request.method, request.path, request.url.raw_query_string.encode(), body)
            response = web.Response(
                status=answer.status, body=answer.body, content_type="text/plain", headers={"Cache-Control": "no-store"}
            )
            if not request.content.is_eof():  # a body that is not needed
                response.force_close()
            await response.prepare(request)
            await response.write_eof()
        finally:
            inbox.wake()
        return response

    async def open_inbox(_: web.Application) -> None:
        await inbox.open()

    app = web.Application()
    app.on_startup.append(open_inbox)
    app.router.add_route("*", "/{path:.*}", call)
    return app
