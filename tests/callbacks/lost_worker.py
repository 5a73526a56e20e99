"""A worker process that shares a sink, and sends to an emulator of another process.

``lost_worker.py FILE KEY URL send`` sends a message, prints what its hooks hear, and the error that its caller got;
``lost_worker.py FILE KEY URL serve`` takes calls, a line each: the URL, the number and the status.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys

from calling import BASE, SECRET, call
from sink_worker import say

from smspilot_async import Accepted, Client, Hooks, Message, OutcomeUnknown, SendResult
from smspilot_async.callbacks import CallbackInbox, SQLiteSink


class Saying(Hooks):
    def on_result(self, result: SendResult[Message]) -> None:
        say(type(result).__name__, *([result.sent.server_id] if isinstance(result, Accepted) else []))


async def send(client: Client) -> None:
    try:
        await client.send("79087964781", "text", id=7)
    except OutcomeUnknown as error:
        say(base64.b64encode(pickle.dumps(error)).decode())
    await asyncio.Event().wait()


async def serve(inbox: CallbackInbox) -> None:
    say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        url, server_id, status = line.split()
        say(await call(inbox, url, server_id, int(status)))


async def main(path: str, key: str, url: str, what: str) -> None:
    async with (
        CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox,
        Client(key, url=url, callbacks=inbox, hooks=[Saying()]) as client,
    ):
        await (send(client) if what == "send" else serve(inbox))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
