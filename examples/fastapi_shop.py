"""A FastAPI shop: the order and its SMS are committed together, and the SMS leaves after the commit.

    uvicorn examples.fastapi_shop:app

A request that fails after it has enqueued sends nothing; a process that is killed right after the commit sends after
its restart. For the settings see ``shop.py``.

    POST /orders {"phone": "79087964781", "goods": "tea"}    {"order": 1}
    GET /orders/1/sms                                        {"state": "accepted", "reason": null, "status": 0}
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop import Shop, key_of, open_shop, place_order, shown
from smspilot_async import InvalidMessage


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Shop]]:
    """Open the shop with the application; leaving records what is on the wire."""
    async with open_shop() as shop:
        yield {"shop": shop}


def shop_of(request: Request) -> Shop:
    """Return the shared state."""
    shop: Shop = request.state.shop
    return shop


OurShop = Annotated[Shop, Depends(shop_of)]
app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """What somebody orders."""

    phone: str
    goods: str


@app.post("/orders", status_code=201)
async def place(order: Order, shop: OurShop) -> dict[str, int]:
    """Place an order, and enqueue the SMS about it in the same transaction."""
    try:
        async with AsyncSession(shop.engine) as session, session.begin():
            number = await place_order(shop.outbox, session, order.phone, order.goods)
    except InvalidMessage as error:
        raise HTTPException(422, {"field": error.field}) from None
    return {"order": number}


@app.get("/orders/{number}/sms")
async def show(number: int, shop: OurShop) -> dict[str, Any]:
    """Return what became of an order's SMS."""
    record = await shop.outbox.get(key_of(number))
    if record is None:
        raise HTTPException(404)
    return shown(record)
