"""A service under a flood: ``flood_server.py asgi|aiohttp COUNT``.

It sends a message, another one of the same id, and COUNT more, tracks all of them, and prints as JSON where it listens
and which URLs the gateway got. When its input ends, it prints what its application and its track have heard.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

from calling import SECRET
from outcomes import PHONE
from serving import free_socket, on_aiohttp, on_uvicorn

from smspilot_async import Client, Message
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks import aiohttp as aiohttp_adapter
from smspilot_async.callbacks import asgi as asgi_adapter
from smspilot_async.emulator import Emulator

NEVER = timedelta(days=1000)


async def main(adapter: str, count: int) -> None:
    sock, url = free_socket()
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    inbox = CallbackInbox(url, secret=SECRET)
    serving = (
        on_aiohttp(aiohttp_adapter.callback_app(inbox), sock)
        if adapter == "aiohttp"
        else on_uvicorn(asgi_adapter.callback_app(inbox), sock)
    )
    client = Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox)
    async with inbox, client, serving:
        sent = [await client.send(PHONE, "earlier", id=7), await client.send(PHONE, "later", id=7)]
        sent += (await client.send_packet([Message(PHONE, f"{number}") for number in range(count)])).messages
        async with client.track(sent, source=inbox) as changes:
            events: list[Any] = []
            heard: list[Any] = []
            tasks = [asyncio.create_task(note(inbox, events)), asyncio.create_task(note(changes, heard))]
            say([{"url": message.callback, "server_id": message.server_id} for message in emulator.messages])
            await asyncio.to_thread(sys.stdin.read)
            for task in tasks:
                task.cancel()
        say({"events": events, "heard": heard})


async def note(statuses: Any, where: list[Any]) -> None:
    async for status in statuses:
        where.append([status.server_id, status.status])  # noqa: PERF401 - it is cancelled, and what it has must stay


def say(document: Any) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
