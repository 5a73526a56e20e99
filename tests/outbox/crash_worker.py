"""Processes that send from a ledger, and kill themselves at a point that their test names.

Each line of the input is a list of arguments, as JSON, and one process: LEDGER URL KEY POINT NTH PACKET_SIZE. Its
number and then how it ended are the output. They are forked from this one, which has imported everything and has no
thread: a process of its own would take longer to start than to send.

The point is one of those in :data:`POINTS`, or ``never``: then it sends until nothing is left, and ends well.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from typing import Any, Final

from smspilot_async import Client
from smspilot_async.outbox import Outbox, _deliver, _slots
from smspilot_async.outbox._request import send_once

POINTS: Final = ("before_intent", "after_intent", "after_acceptance", "before_outcome", "after_outcome")
IN_FLIGHT: Final = 4
TIMEOUT: Final = 3.0
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
    slots: Any = vars(_slots)
    slots.update(LEASE=0.5, RENEW=0.1)  # the next one need not wait for those of the dead

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


def run(arguments: list[str]) -> int:
    """Run a sender to its end, in a process of its own."""
    try:
        asyncio.run(main(*arguments))
    except BaseException:  # noqa: BLE001 - this process ends here, whatever it was
        traceback.print_exc()
        return 1
    return 0


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    pid = 0
    for line in sys.stdin:
        if pid:
            os.waitpid(pid, 0)  # not before: until now its number could not become another's
        if not (pid := os.fork()):
            os.close(0)
            os._exit(run(json.loads(line)))
        say(pid)
        ended: Any = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        say(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
