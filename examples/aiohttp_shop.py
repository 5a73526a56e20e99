"""An aiohttp shop: the order and its SMS are committed together, and the SMS leaves after the commit.

    python -m examples.aiohttp_shop

It does what ``fastapi_shop.py`` does, with SQLAlchemy's connections in the place of its sessions.
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from examples.shop import Shop, key_of, open_shop, place_order, shown
from smspilot_async import InvalidMessage

SHOP = web.AppKey("shop", Shop)


async def shop_context(app: web.Application) -> AsyncIterator[None]:
    """Open the shop with the application; leaving records what is on the wire."""
    async with open_shop() as shop:
        app[SHOP] = shop
        yield


async def place(request: web.Request) -> web.Response:
    """Place an order, and enqueue the SMS about it in the same transaction."""
    order, shop = await request.json(), request.app[SHOP]
    try:
        async with shop.engine.begin() as connection:
            number = await place_order(shop.outbox, connection, order["phone"], order["goods"])
    except InvalidMessage as error:
        return web.json_response({"detail": {"field": error.field}}, status=422)
    return web.json_response({"order": number}, status=201)


async def show(request: web.Request) -> web.Response:
    """Return what became of an order's SMS."""
    record = await request.app[SHOP].outbox.get(key_of(int(request.match_info["number"])))
    if record is None:
        raise web.HTTPNotFound
    return web.json_response(shown(record))


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application()
    app.cleanup_ctx.append(shop_context)
    app.router.add_post("/orders", place)
    app.router.add_get("/orders/{number:\\d+}/sms", show)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), port=int(os.environ.get("PORT", "8080")))
