"""A process that sends from a ledger, and kills itself at a point that its test names.

    crash_worker.py LEDGER URL KEY POINT NTH PACKET_SIZE

The point is one of those in :data:`POINTS`, or ``never``: then it sends until nothing is left, and ends well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any, Final

from smspilot_async import Client
from smspilot_async.outbox import Outbox, _deliver

POINTS: Final = ("before_intent", "after_intent", "after_acceptance", "before_outcome", "after_outcome")
IN_FLIGHT: Final = 4
TIMEOUT: Final = 1.0
LEASE: Final = 3 * TIMEOUT + 0.2

_left: dict[str, int] = dict.fromkeys(POINTS, 0)


def passing(point: str) -> None:
    """Die here, if it is the time."""
    if point in _left:
        _left[point] -= 1
        if not _left[point]:
            os.kill(os.getpid(), signal.SIGKILL)


def mine(hot: Any) -> Any:
    """Put the points around what a sender asks of its ledger."""
    claim, record = hot.claim, hot.record

    async def claim_(request: Any) -> Any:
        passing("before_intent")
        claimed = await claim(request)
        if claimed.attempt_id is not None:
            passing("after_intent")
        return claimed

    async def record_(answer: Any) -> None:
        passing("before_outcome")
        await record(answer)
        passing("after_outcome")

    hot.claim, hot.record = claim_, record_
    return hot


async def main(ledger: str, url: str, key: str, point: str, *numbers: str) -> None:
    nth, packet_size = map(int, numbers)
    _left[point] = nth
    settings: Any = vars(_deliver)
    settings.update(LEASE_MARGIN=0.2, _FIRST_BACK_OFF=20_000)
    send_once = _deliver.send_once

    async def sending(*arguments: Any, **more: Any) -> Any:
        result = await send_once(*arguments, **more)
        passing("after_acceptance")
        return result

    settings["send_once"] = sending
    async with Client(key, url=url, timeout=TIMEOUT) as client, Outbox(ledger) as outbox:
        hot_path = outbox._hot_path
        vars(outbox)["_hot_path"] = lambda: mine(hot_path())
        while True:
            await outbox.drain(client, packet_size=packet_size, in_flight=IN_FLIGHT)
            messages = (await outbox.status()).messages
            if not messages["pending"]:
                return
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
