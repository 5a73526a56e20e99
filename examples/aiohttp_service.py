"""An aiohttp service that sends one-time codes, and learns from the gateway's callbacks what became of each.

It is meant for an internal network: anyone who can reach it can send. For the settings see ``codes.py``, and ``PORT``
(8080). Several workers share the port: start one process for each.

    python -m examples.aiohttp_service

    POST /codes {"phone": "79087964781", "code": "1234"}    {"id": 1, "state": "accepted"}
    GET /codes/1                                            {"id": 1, "state": "accepted", "status": 2}
    GET /health                                             the health of the client
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from examples.codes import CALLBACK_PATH, Codes
from smspilot_async import InvalidMessage
from smspilot_async.callbacks.aiohttp import callback_app

CODES = web.AppKey("CODES", Codes)
routes = web.RouteTableDef()


async def live(app: web.Application) -> AsyncIterator[None]:
    """Open the client with the application, and close it after the last request has ended."""
    async with app[CODES].running():
        yield


@routes.post("/codes")
async def send_code(request: web.Request) -> web.Response:
    """Send a code. An unknown is not an error (202): callers and proxies retry errors."""
    order = await request.json()
    try:
        sent = await request.app[CODES].send(order["phone"], order["code"])
    except InvalidMessage as error:
        return web.json_response({"state": error.outcome, "field": error.field}, status=422)
    return web.json_response(sent, status={"accepted": 201, "unknown": 202}.get(sent["state"], 503))


@routes.get("/codes/{id:[0-9]+}")
async def show_code(request: web.Request) -> web.Response:
    """Return what became of a code."""
    state = await request.app[CODES].state_of(int(request.match_info["id"]))
    if state is None:
        raise web.HTTPNotFound
    return web.json_response(state)


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Return the health of this worker's client, without any request."""
    return web.json_response(request.app[CODES].client.health().to_dict())


def create_app() -> web.Application:
    """Create the application of one worker."""
    app = web.Application()
    app[CODES] = codes = Codes()
    app.cleanup_ctx.append(live)
    app.add_routes(routes)
    app.add_subapp(CALLBACK_PATH, callback_app(codes.inbox))
    return app


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    web.run_app(create_app(), host="127.0.0.1", port=port, reuse_port=True, shutdown_timeout=10)
