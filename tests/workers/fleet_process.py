"""A worker of a fleet in a process of its own, until SIGTERM: fleet_process.py SETTINGS, as JSON.

Its lease is short, so that what a killed one had in flight is soon unknown. It says when it is ready, and at its end
what it has sent, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from typing import Any

from smspilot_async import Client
from smspilot_async.outbox import Outbox, _deliver


async def main(settings: dict[str, Any]) -> None:
    logging.basicConfig(level=settings.get("log", "ERROR"))
    hurried: Any = vars(_deliver)
    hurried.update(LEASE_MARGIN=0.2, _FIRST_BACK_OFF=20_000)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with (
        Client(
            settings["key"],
            url=settings["url"],
            timeout=settings["timeout"],
            rate_limit=settings.get("rate_limit"),
            allow_http=True,
        ) as client,
        Outbox(settings["ledger"]) as outbox,
    ):
        make: Any = outbox.fleet_worker if settings.get("engine", True) else outbox.worker
        async with make(client, packet_size=settings["packet_size"], in_flight=settings["in_flight"]) as worker:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            ended = asyncio.ensure_future(worker.wait())
            told = asyncio.ensure_future(stopping.wait())
            await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
    sys.stdout.write(json.dumps({"accepted": worker.sent.accepted, "unknown": worker.sent.unknown}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
