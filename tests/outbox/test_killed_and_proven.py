"""A worker killed with the gateway's answer on its way; the web application's callback proves what it has sent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from ledgers import PHONE
from serving import free_socket, on_uvicorn

from smspilot_async import Message, Outcome
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

SECRET = "a secret for the tests alone"
COMMAND = [sys.executable, "-m", "smspilot_async", "worker", "--callbacks"]


async def killed_worker(ledger_url: str, emulator: Emulator, callbacks: str) -> None:
    """Run a worker until the gateway has a message, and kill it before it has the answer."""
    settings = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger_url}
    environment = {**os.environ, **settings, "SMSPILOT_CALLBACK_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, callbacks, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    await emulator.wait_for(to=PHONE, timeout=60)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.usefixtures("uncounted")
async def test_a_callback_to_another_process_proves_what_a_killed_worker_has_sent(
    outbox: Outbox, emulator: Emulator, ledger_url: str
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    emulator.fail_next("send", Fault.SLOW)
    sock, url = free_socket()
    async with Outbox(ledger_url) as web:
        inbox = CallbackInbox(f"{url}/smspilot", secret=SECRET, sink=web.callback_sink())
        async with inbox, on_uvicorn(callback_app(inbox), sock):
            await killed_worker(ledger_url, emulator, f"{url}/smspilot")
            record = await outbox.get("1")
            assert record is not None
            assert record.state == "in_flight"
            emulator.set_status(emulator.messages[0].server_id, 2)
            await emulator.settled()
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.status) == (Outcome.ACCEPTED, 2)
    assert record.server_id == emulator.messages[0].server_id
