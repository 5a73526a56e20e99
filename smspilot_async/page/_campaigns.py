"""*Running* and *After*: one campaign, the orders that it takes, and what became of its messages."""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.responses import Response

from smspilot_async._tools.masks import masked_phone
from smspilot_async.errors import Outcome
from smspilot_async.outbox import Selection
from smspilot_async.page._shown import as_estimate, as_info, as_order, as_preview, as_progress, as_row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from smspilot_async.outbox import Campaign, CampaignMessage
    from smspilot_async.page._calls import Call

_SHOWN: Final = 100
_ORDERS_SHOWN: Final = 100
_KINDS: Final = {"html": "text/html; charset=utf-8", "csv": "text/csv; charset=utf-8"}
_REPORT_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""The report is drawn by this library, has no script, and is shown on its own: what it quotes is escaped there."""


async def campaign(call: Call) -> Any:
    """Return a campaign: its settings, how far it is, its last estimate, its orders."""
    desk, name = call.desk, call.text("name")

    async def look() -> Any:
        found = await call.campaign()
        orders = await desk.outbox.log(_ORDERS_SHOWN, campaign=name)
        return {
            "info": as_info(await found.info()),
            "progress": as_progress(await found.status()),
            "estimate": as_estimate(await found.last_estimate()),
            "unsettled": await found.count_unsettled(),
            "orders": [as_order(order) for order in orders],
        }

    return await desk.looks.at(("campaign", name), look) | {"failure": desk.failures.get(name)}


async def preview(call: Call) -> Any:
    """Return some messages as their recipients would get them."""
    return as_preview(await (await call.campaign()).preview(rows=5))


async def messages(call: Call) -> Any:
    """Return the first rows of a selection, such as the unknown ones."""
    found = (await call.campaign()).messages(outcome=call.text("select"))
    rows: list[Any] = []
    async with aclosing(cast("AsyncGenerator[CampaignMessage]", found)):
        async for row in found:
            if len(rows) == _SHOWN:
                return {"rows": rows, "more": True}
            rows.append(as_row(row))
    return {"rows": rows, "more": False}


# --- before it runs ------------------------------------------------------------------------------


async def estimate(call: Call) -> Any:
    """Ask what it would cost, and when it would end; nothing is sent."""
    rate = call.amount("rate")
    found = await call.campaign()
    await found.estimate(call.desk.client, rate=None if rate is None else float(rate), actor=call.person.name)
    return {}


async def test(call: Call) -> Any:
    """Send one real row to one's own phone."""
    found = await call.campaign()
    row, sent = await found.test(
        call.desk.client, to=call.text("to"), line=call.optional_whole("line"), actor=call.person.name
    )
    return {
        "line": row.line,
        "text": row.text.replace(row.to, masked_phone(row.to)),
        "server_id": sent.server_id,
        "parts": sent.parts,
    }


async def approve(call: Call) -> Any:
    """Approve it as it was estimated."""
    await (await call.campaign()).approve(
        actor=call.person.name,
        second_person=call.desk.settings.second_person,
        overlap_ok=call.flag("overlap_ok"),
    )
    return {}


# --- while it runs -------------------------------------------------------------------------------


async def start(call: Call) -> Any:
    """Let it send, all or a first wave."""
    await (await call.campaign()).start(first=call.optional_whole("first"), actor=call.person.name)
    return {}


async def pause(call: Call) -> Any:
    """Let nothing more of it leave."""
    await (await call.campaign()).pause(call.text("why"), actor=call.person.name)
    return {}


async def resume(call: Call) -> Any:
    """Let it send again, all or the next wave."""
    await (await call.campaign()).resume(first=call.optional_whole("first"), actor=call.person.name)
    return {}


async def cancel(call: Call) -> Any:
    """End it for good."""
    await (await call.campaign()).cancel(call.text("why"), actor=call.person.name)
    return {}


# --- afterwards ----------------------------------------------------------------------------------


async def count(call: Call) -> Any:
    """Count what an order would reach: what a person then has to write themselves."""
    found, select = await call.campaign(), call.text("select")
    if call.text("order") == "retry":
        return {"messages": await found.count_retried(select)}
    return {"messages": await found.count_unsettled(select)}


async def settle(call: Call) -> Any:
    """Settle unknown messages; nothing is sent."""
    found, as_ = await call.campaign(), cast("Any", call.text("as"))
    expect = call.whole("expect")
    settled = await found.settle(
        call.text("select"), as_=as_, expect=expect, actor=call.person.name, why=call.text("why")
    )
    return {"messages": settled}


async def retry(call: Call) -> Any:
    """Send some of its messages again."""
    found, selection = await call.campaign(), Selection(call.text("select"))
    if Outcome.UNKNOWN.value in selection.words and not call.flag("may_send_twice"):
        raise ValueError("unknown messages may have been sent: say that some people may get theirs twice")
    expect = call.whole("expect")
    again = await found.retry(selection, expect=expect, actor=call.person.name, why=call.text("why"))
    return {"messages": again}


async def report(call: Call) -> Response:
    """Return its report: a page with plots, or a table; neither has phones."""
    found, kind = await call.campaign(), call.text("as")
    if kind not in _KINDS:
        raise ValueError("a report is html or csv")
    content = await _written(call, found, kind)
    headers = {"content-security-policy": _REPORT_POLICY, "content-type": _KINDS[kind]}
    if kind == "csv":
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", found.name)
        headers["content-disposition"] = f'attachment; filename="{name}.csv"'
    return Response(content, headers=headers)


async def _written(call: Call, found: Campaign, kind: str) -> bytes:
    path = call.desk.folder / f"report-{secrets.token_hex(8)}.{kind}"
    await found.report(path)
    try:
        return await asyncio.to_thread(path.read_bytes)
    finally:
        await asyncio.to_thread(path.unlink)
