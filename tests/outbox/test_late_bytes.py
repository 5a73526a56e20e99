# ruff: noqa: ASYNC220, S603 - the program that runs here is ours
"""What a sender wrote into a path that was cut: nothing of it arrives once its lease is over, dead or stopped.

As root, with a host of its own for the sender. The gateway is the judge.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from corner_worker import WORKER
from cut_paths import CutPath, cut_path
from waiting import PATIENCE, until

from smspilot_async import Message
from smspilot_async._tools.clock import boot_time
from smspilot_async.emulator import Emulator
from smspilot_async.outbox._request import longest_on_the_wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

__all__ = ["cut_path"]  # a fixture, by being here

PHONE = "79087964781"
TIMEOUT = 3.0

pytestmark = pytest.mark.usefixtures("uncounted")


@pytest.fixture
async def emulator(cut_path: CutPath) -> AsyncIterator[Emulator]:
    """A gateway at this end of the path."""
    async with Emulator.serve(host=cut_path.here, port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    from smspilot_async import Client  # noqa: PLC0415 - beside the one for types

    async with Client(emulator.api_key, url=emulator.url, timeout=TIMEOUT, allow_http=True) as client:
        yield client


PLAIN = """
import asyncio, sys
from smspilot_async import Client

async def main():
    async with Client(sys.argv[2], url=sys.argv[1], timeout=60, allow_http=True) as client:
        for text in ("First", "Second"):
            await client.send("79087964781", text)
            print("sent", flush=True)
            sys.stdin.readline()

asyncio.run(main())
"""


async def test_the_system_delivers_what_a_killed_process_wrote(cut_path: CutPath, emulator: Emulator) -> None:
    """The reason for it all, and the proof that the other test could fail: a request without a limit arrives late."""
    command = [*cut_path.prefix, sys.executable, "-c", PLAIN, emulator.url, emulator.api_key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        cut_path.cut()
        process.stdin.write("\n")
        process.stdin.flush()
        await until(lambda: cut_path.unacknowledged() == 1)
        process.kill()
    cut_path.heal()
    await until(lambda: len(emulator.messages) == 2)


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_nothing_arrives_after_the_lease(
    outbox: Outbox, client: Client, emulator: Emulator, cut_path: CutPath, fate: signal.Signals
) -> None:
    ledger = outbox._url.render_as_string()
    command = [*cut_path.prefix, sys.executable, str(WORKER), ledger, emulator.url, emulator.api_key, str(TIMEOUT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            await outbox.enqueue(Message(PHONE, "First"), key="1")
            await outbox.wait("1", timeout=PATIENCE)
            cut_path.cut()
            await outbox.enqueue(Message(PHONE, "Second"), key="2")
            await until(lambda: cut_path.unacknowledged() == 1)
            over = boot_time() + longest_on_the_wire(client)
            os.kill(process.pid, fate)
            await until(lambda: cut_path.unacknowledged() == 0)
            assert boot_time() < over
            cut_path.heal()
            record = await outbox.get("2")
            assert record is not None
            assert record.state == "in_flight"
            assert [message.text for message in emulator.messages] == ["First"]
        finally:
            process.kill()
