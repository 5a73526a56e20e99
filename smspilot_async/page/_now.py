"""*Now*: what the ledger does, its log, and the orders that hold for everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.responses import PlainTextResponse

from smspilot_async.outbox import prometheus
from smspilot_async.page._shown import as_info, as_order, as_overview

if TYPE_CHECKING:
    from starlette.responses import Response

    from smspilot_async.outbox import Overview
    from smspilot_async.page._calls import Call, Desk

_ORDERS_SHOWN: Final = 50
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_FOR_BALANCE: Final = 15.0
"""Seconds for which a balance is shown: it is the gateway's to say."""


async def overview(desk: Desk) -> Overview:
    """Look at the ledger, and now and then at the balance."""

    async def balance() -> Any:
        return (await desk.outbox.overview(desk.client)).balance

    known = await desk.looks.at("balance", balance, _FOR_BALANCE)
    seen = await desk.looks.at("overview", desk.outbox.overview)
    return attrs.evolve(seen, balance=known)


async def now(call: Call) -> Any:
    """Return what *Now* shows."""
    desk = call.desk
    orders = await desk.looks.at("log", lambda: desk.outbox.log(_ORDERS_SHOWN))
    return {"overview": as_overview(await overview(desk)), "log": [as_order(order) for order in orders]}


async def campaigns(call: Call) -> Any:
    """Return all campaigns, the newest first."""
    found = await call.desk.looks.at("campaigns", call.desk.outbox.campaigns.list)
    return {"campaigns": [as_info(info) for info in reversed(found)]}


async def halt(call: Call) -> Any:
    """Let marketing, or nothing at all, leave."""
    halted = await call.desk.outbox.halt(call.text("why"), everything=call.flag("everything"), actor=call.person.name)
    return {"left_after": halted.left_after}


async def release(call: Call) -> Any:
    """Let everything leave again."""
    await call.desk.outbox.release(call.text("why"), actor=call.person.name)
    return {}


async def metrics(desk: Desk) -> Response:
    """Return what Prometheus reads."""
    return PlainTextResponse(prometheus(await overview(desk)), headers={"content-type": _PROMETHEUS})
