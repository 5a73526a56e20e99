"""``smspilot worker --check``: whether a worker of this machine works on a ledger."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result
from waiting import until

from smspilot_async.cli._app import app
from smspilot_async.outbox import _deliver

if TYPE_CHECKING:
    import pytest
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox


async def check(ledger: str, *options: str) -> Result:
    """Check as a healthcheck does, which has no key."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["worker", "--check", "--ledger", ledger, *options])


async def test_one_that_works_is_well_until_it_ends(outbox: Outbox, client: Client, ledger_url: str) -> None:
    assert ((before := await check(ledger_url)).exit_code, "none began" in before.output) == (4, True)
    async with outbox.worker(client):
        await until(outbox.workers)  # it has begun, and writes its row a little later
        working = await check(ledger_url)
        assert (working.exit_code, working.output) == (0, "the worker is well.\n")
        assert (await check(ledger_url, "--json")).output == '{"well": true}\n'
    assert (await check(ledger_url)).exit_code == 4


async def test_one_that_was_lost_is_not_and_the_line_says_since_when(desk: Desk, ledger_url: str) -> None:
    name = f"{socket.gethostname()}:17:abc"
    seen = await desk.now() - 11_000_000
    row = {"name": name, "version": "1", "started_at": seen, "seen_at": seen, "rate_limit": None}
    await desk.execute(desk.tables.worker.insert().values(**row))
    lost = await check(ledger_url)
    assert (lost.exit_code, "the last sign of one is of " in lost.output) == (4, True)


async def test_that_of_another_machine_does_not_count(
    outbox: Outbox, client: Client, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_deliver, "host_name", lambda: "another")
    async with outbox.worker(client):
        await until(outbox.workers)
        assert (await check(ledger_url)).exit_code == 4


async def test_a_ledger_that_cannot_be_read_is_exit_4() -> None:
    assert (await check("postgresql://x@127.0.0.1:1/x")).exit_code == 4
