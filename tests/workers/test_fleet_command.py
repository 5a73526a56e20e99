# ruff: noqa: ASYNC220, S603 - the program that runs here is ours
"""``smspilot worker`` on PostgreSQL is a worker of a fleet, where the extra is installed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fleets import fill
from waiting import until

from smspilot_async import __version__
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from ledgers import Desk


@pytest.mark.usefixtures("uncounted")
async def test_a_worker_of_the_command_ends_well_at_sigterm(desk: Desk, ledger_url: str, emulator: Emulator) -> None:
    await fill(desk.outbox, 5000)
    emulator.random_faults({Fault.SLOW: 1.0}, delay=0.1, command="send", seed=1)
    environment = {**os.environ, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger_url}
    command = [sys.executable, "-m", "smspilot_async", "worker", "--url", emulator.url, "--packet-size", "20"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        await until(lambda: emulator.messages)
        (worker,) = await desk.outbox.workers()
        assert worker.version == __version__
        assert worker.slots > 0
        jobs = await desk.execute("SELECT count(*) FROM smspilot_jobs.procrastinate_jobs WHERE status = 'doing'")
        assert jobs[0][0] > 0
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, said
    assert "ended:" in said
    assert (await desk.states()).keys() == {"accepted", "pending"}  # it was far from done
    assert await desk.outbox.workers() == []
    assert await desk.execute("SELECT n FROM smspilot.slot WHERE owner IS NOT NULL") == []
    assert await desk.execute("SELECT id FROM smspilot_jobs.procrastinate_workers") == []
