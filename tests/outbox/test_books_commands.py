"""The books of a ledger from the command line: each command as a person gives it, in this process."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from ledgers import PHONE

from smspilot_async import Client, Message
from smspilot_async.cli._app import app
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from click.testing import Result
    from ledgers import Desk

    from smspilot_async.outbox import Outbox

    Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(ledger_url: str) -> Run:
    async def run_(*arguments: str) -> Result:
        environment = {"SMSPILOT_LEDGER": ledger_url, "COLUMNS": "120"}
        return await asyncio.to_thread(CliRunner().invoke, app, ["outbox", *arguments], env=environment)

    return run_


async def unknown(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await outbox.enqueue(Message(PHONE, "Ready", sender="INFORM"), key="order-1")
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert (await outbox.drain(client)).unknown == 1


async def printed(run: Run, *arguments: str) -> Any:
    result = await run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


async def test_settling_says_first_how_many_and_then_takes_that_number(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, run: Run
) -> None:
    await unknown(outbox, client, emulator)
    await desk.turn(120)
    looked = await run("settle", "assume_sent")
    assert (looked.exit_code, looked.output) == (0, "1 unknown message would be settled. To do it: --expect 1\n")
    wrong = await run("settle", "assume_sent", "--expect", "2")
    assert (wrong.exit_code, "1 messages would be settled, not 2" in wrong.output) == (2, True)
    done = await run("settle", "assume_sent", "order-1", "--expect", "1", "--as", "anna", "--why", "asked them")
    assert (done.exit_code, done.output) == (0, "1 message settled as assume sent.\n")
    log = await run("log")
    assert "anna  settle assume_sent, 1 message: asked them" in log.output


async def test_the_vendors_list_is_looked_at_and_then_believed(
    outbox: Outbox, client: Client, emulator: Emulator, run: Run, tmp_path: Path
) -> None:
    await unknown(outbox, client, emulator)
    file = tmp_path / "cabinet.csv"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    file.write_text(f"id;дата;телефон;текст\n{emulator.messages[0].server_id};{now};{PHONE};Ready\n", encoding="cp1251")
    looked = await run("reconcile", str(file))
    assert (looked.exit_code, "To do it: --expect 1" in looked.output) == (0, True)
    assert (await printed(run, "reconcile", str(file), "--expect", "1"))["accepted"] == {"1": 2}
    record = await outbox.get("order-1")
    assert record is not None
    assert record.state == "accepted"
    missing = await run("reconcile", str(tmp_path / "nothing.csv"))
    assert (missing.exit_code, "cannot be read" in missing.output) == (2, True)


async def test_a_phone_is_looked_up_and_forgotten(outbox: Outbox, client: Client, emulator: Emulator, run: Run) -> None:
    await unknown(outbox, client, emulator)
    shown = await run("evidence", PHONE)
    assert {f"Phone {PHONE}", "  key: order-1", "  text: Ready", "  state: unknown"} <= set(shown.output.splitlines())
    assert (await printed(run, "evidence", PHONE))["messages"][0]["key"] == "order-1"
    assert (await printed(run, "forget", PHONE)) == {"messages": 1, "cancelled": 0, "in_flight": 0}
    assert (await printed(run, "evidence", PHONE))["messages"] == []
    assert (await run("evidence", "no phone")).exit_code == 2


async def test_a_statement_is_a_table_that_says_what_is_open(
    outbox: Outbox, client: Client, emulator: Emulator, run: Run
) -> None:
    await unknown(outbox, client, emulator)
    month = datetime.now(UTC).strftime("%Y-%m")
    shown = await run("statement", "--month", month)
    assert (shown.exit_code, "INFORM" in shown.output, "total" in shown.output) == (0, True, True)
    assert "1 message unknown" in shown.output
    assert (await printed(run, "statement", "--month", month))["total"]["unknown"] == 1
    wrong = await run("statement", "--month", "May")
    assert (wrong.exit_code, "write it as 2026-11" in wrong.output) == (2, True)


async def test_a_ledger_is_adopted_and_purged_by_times_with_a_zone(outbox: Outbox, client: Client, run: Run) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="order-1")
    assert (await run("adopt", "--restored-to", "2026-01-01 10:00")).exit_code == 2  # no zone
    assert (await printed(run, "adopt", "--restored-to", "now")) == {"unknown": 0}
    adopted = await printed(run, "adopt", "--restored-to", "2026-01-01 10:00", "--tz", "Europe/Moscow", "--as", "anna")
    assert adopted == {"unknown": 1}
    assert (await outbox.drain(client)).accepted == 0
    assert (await printed(run, "purge", "2020-01-01 00:00 +03:00")) == {"messages": 0, "attempts": 0}
    late = await run("purge", "2100-01-01 00:00 +03:00")
    assert (late.exit_code, "41 days" in late.output) == (2, True)


@pytest.mark.parametrize("policy", ["guess", "probe", "probe:0", "probe:soon"])
def test_a_worker_says_what_is_no_policy(policy: str) -> None:
    environment = {"SMSPILOT_API_KEY": "K", "SMSPILOT_LEDGER": "sqlite:///sms.db"}
    result = CliRunner().invoke(app, ["worker", "--unknown", policy], env=environment)
    assert (result.exit_code, "probe:300" in result.output) == (2, True)


def test_a_worker_with_callbacks_needs_the_secret() -> None:
    environment = {"SMSPILOT_API_KEY": "K", "SMSPILOT_LEDGER": "sqlite:///sms.db"}
    result = CliRunner().invoke(app, ["worker", "--callbacks", "https://app.example/smspilot"], env=environment)
    assert (result.exit_code, "16 characters" in result.output) == (2, True)
