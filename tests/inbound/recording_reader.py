"""An application that is to be killed: it writes each message down durably before it asks for the next."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from smspilot_async import Client, Retry
from smspilot_async._tools import clock as _clock

SPEED = 100.0  # at most as fast as the gateway's clock, whose dates are not believed beyond the time that has passed
EVERY = 0.01  # seconds of everybody else's clock


class Flying(_clock.Clock):
    """A clock whose seconds pass a hundred times as fast, except for timeouts."""

    def monotonic(self) -> float:
        return super().monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / SPEED)


async def main(key: str, url: str, cursor: str, record: str) -> None:
    """Listen endlessly; each message's id goes to the record, synced, and then to stdout."""
    file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    client = Client(key, url=url, retry=Retry(first_delay=EVERY * SPEED), deadline=25 * SPEED)
    async with client, client.listen(poll_interval=EVERY * SPEED, cursor=cursor) as inbox:
        async for sms in inbox:
            line = b"%d\n" % (sms.id or 0)
            os.write(file, line)
            os.fsync(file)
            os.write(1, line)


if __name__ == "__main__":
    logging.disable()  # a tenth of the polls fails
    with _clock.use(Flying()):
        asyncio.run(main(*sys.argv[1:]))
