"""``smspilot outbox`` and ``smspilot worker`` as a person runs them; workers, which end by signals, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from ledgers import PHONE

from smspilot_async import Message, Outcome
from smspilot_async.cli._app import app
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

COMMAND = [sys.executable, "-m", "smspilot_async"]


@pytest.fixture
def environment(emulator: Emulator, ledger_url: str) -> dict[str, str]:
    settings = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger_url}
    return {**os.environ, **settings, "PYTHONWARNINGS": "error", "COLUMNS": "120"}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Any]:
    async def run_(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run_


async def test_a_ledger_is_made_looked_at_and_halted(environment: dict[str, str], ledger_url: str) -> None:
    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner(env=environment).invoke, app, arguments)

    missing = await run("outbox", "status")
    assert (missing.exit_code, "outbox init" in missing.stderr) == (2, True)
    assert (await run("outbox", "init")).exit_code == 0
    assert (await run("outbox", "init")).exit_code == 2
    assert (await run("outbox", "upgrade")).stdout == f"The ledger's tables are of this version already ({VERSION}).\n"
    async with Outbox(ledger_url) as outbox:
        await outbox.enqueue(Message(PHONE, "Sale"), key="1", kind="marketing")
    halted = await run("outbox", "halt", "wrong text", "--as", "anna")
    assert (halted.exit_code, halted.stdout) == (0, "No marketing leaves any more; 0 messages left after the order.\n")
    assert (await run("outbox", "suppress", PHONE, "--json")).stdout == '{"added": 1, "list": "marketing"}\n'
    told = await run("outbox", "status", "--json")
    assert json.loads(told.stdout)["messages"]["pending"] == 1
    assert json.loads(told.stdout)["halted_why"] == "wrong text"
    assert "wrong text" in (await run("outbox", "status")).stdout
    assert (await run("outbox", "release", "mended")).exit_code == 0


async def worker(environment: dict[str, str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(*COMMAND, "worker", env=environment, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"sending from the ledger" in await process.stderr.readline()
    return process


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
async def test_a_deploy_makes_no_unknown(
    outbox: Outbox, emulator: Emulator, environment: dict[str, str], signal_: signal.Signals
) -> None:
    process = await worker(environment)
    emulator.fail_next("send", Fault.SLOW)
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await emulator.wait_for(to=PHONE)
    process.send_signal(signal_)
    assert process.stderr is not None
    assert b"stopping" in await process.stderr.readline()
    await outbox.enqueue(Message(PHONE, "Later"), key="2")
    emulator.release()
    assert await asyncio.wait_for(process.wait(), 60) == {signal.SIGTERM: 0, signal.SIGINT: 130}[signal_]
    records = [await outbox.get(key) for key in ("1", "2")]
    states = [record.state for record in records if record is not None]
    # A claim that was under way at the signal may still bring the second.
    assert states == (["accepted", "pending"] if len(emulator.messages) == 1 else ["accepted", "accepted"])


@pytest.mark.parametrize("world", ["test", "url", "account"])
async def test_a_worker_of_another_world_sends_nothing(
    outbox: Outbox, emulator: Emulator, run: Callable[..., Any], world: str
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    stranger = emulator.add_account(Account(api_key="B" * 64))
    async with Emulator.serve(port=0, account=Account(api_key=emulator.api_key)) as other:
        settings: dict[str, dict[str, str | None]] = {
            "test": {"SMSPILOT_TEST": "1"},
            "url": {"SMSPILOT_URL": other.url},
            "account": {"SMSPILOT_API_KEY": stranger.api_key},
        }
        words = {
            "test": "the client is test, the ledger is live",
            "url": "the endpoint is",
            "account": "the account is",
        }
        ended = await run("worker", **settings[world])
        assert (ended.returncode, words[world] in ended.stderr) == (2, True)
        assert not other.messages
    assert not emulator.messages
    record = await outbox.get("1")
    assert record is not None
    assert record.state == "pending"


async def test_a_second_worker_on_a_file_exits_and_names_the_first(
    tmp_path: Any, client: Any, environment: dict[str, str], run: Callable[..., Any]
) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    await Outbox.create(url, client)
    first = await worker({**environment, "SMSPILOT_LEDGER": url})
    second = await run("worker", SMSPILOT_LEDGER=url)
    assert (second.returncode, f"process {first.pid} on" in second.stderr) == (2, True)
    first.send_signal(signal.SIGTERM)
    assert await first.wait() == 0


async def test_a_worker_goes_on_once_the_gateway_is_back(
    outbox: Outbox, emulator: Emulator, environment: dict[str, str]
) -> None:
    process = await worker(environment)
    emulator.fail_next("send", Fault.RESET_BEFORE_READ)
    await outbox.enqueue(Message(PHONE, "First"), key="1")
    assert (await outbox.wait("1", timeout=30)).outcome is Outcome.UNKNOWN
    await outbox.enqueue(Message(PHONE, "Second"), key="2")
    assert (await outbox.wait("2", timeout=30)).outcome is Outcome.ACCEPTED
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
