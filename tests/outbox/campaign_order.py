"""A process that gives orders to a campaign as it is told to, one a line, all at the moment that the line names.

    campaign_order.py LEDGER CAMPAIGN

A line is ``ORDER MOMENT``, in seconds since 1970; the answer is ``done``, or ``refused`` where the campaign stands
elsewhere.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from smspilot_async.outbox import CampaignStateError, Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from smspilot_async.outbox import Campaign

ORDERS: Final[dict[str, Callable[[Campaign], Coroutine[Any, Any, None]]]] = {
    "approve": lambda campaign: campaign.approve(),
    "start": lambda campaign: campaign.start(),
    "resume": lambda campaign: campaign.resume(),
    "cancel": lambda campaign: campaign.cancel(),
    "pause": lambda campaign: campaign.pause("wait"),
}


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(ledger: str, name: str) -> None:
    async with Outbox(ledger) as outbox:
        campaign = await outbox.campaigns.get(name)
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            order, moment = line.split()
            await asyncio.sleep(max(0.0, float(moment) - time.time()))
            try:
                await ORDERS[order](campaign)
            except CampaignStateError:
                say("refused")
            else:
                say("done")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
