"""An application that is to be killed: it writes each message down durably before it asks for the next."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from smspilot_async import Client, Retry


async def main(key: str, url: str, cursor: str, record: str) -> None:
    """Listen for ever; each message's id goes to the record, synced, and then to whoever started this."""
    file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    retry = Retry(first_delay=0.01)
    async with Client(key, url=url, retry=retry) as client, client.listen(every=0.01, cursor=cursor) as inbox:
        async for sms in inbox:
            line = b"%d\n" % (sms.id or 0)
            os.write(file, line)
            os.fsync(file)
            os.write(1, line)


if __name__ == "__main__":
    logging.disable()  # a tenth of the polls fails
    asyncio.run(main(*sys.argv[1:]))
