# ruff: noqa: ASYNC220, S603 - the program that runs here is ours
"""A sender that was stopped past its lease and goes on sends nothing twice; a second one on a file is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from corner_worker import WORKER, state_of
from ledgers import PHONE
from waiting import PATIENCE, until

from smspilot_async import Message, Outcome
from smspilot_async._tools.clock import boot_time
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox, SenderBusy
from smspilot_async.outbox._deliver import LEASE_MARGIN
from smspilot_async.outbox._request import longest_on_the_wire, start_within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ledgers import Desk
    from postgres import Postgres

    from smspilot_async.emulator import Emulator

TIMEOUT = 3.0

pytestmark = pytest.mark.usefixtures("uncounted")


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[Any]:
    from smspilot_async import Client  # noqa: PLC0415 - beside the one for types

    async with Client(emulator.api_key, url=emulator.url, timeout=TIMEOUT) as client:
        yield client


@contextmanager
def worker(outbox: Outbox, emulator: Emulator, point: str = "") -> Iterator[subprocess.Popen[bytes]]:
    ledger = outbox._url.render_as_string()
    command = [sys.executable, str(WORKER), ledger, emulator.url, emulator.api_key, str(TIMEOUT), point]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


async def outcomes_of_attempts(desk: Desk) -> list[str | None]:
    attempt = desk.tables.attempt
    return [row[0] for row in await desk.execute(sa.select(attempt.c.outcome).order_by(attempt.c.id))]


async def first_is_over(desk: Desk) -> bool:
    return (await outcomes_of_attempts(desk))[0] != "unknown"


async def is_accepted(desk: Desk, id_: int) -> bool:
    state: str = (await desk.row(id_)).state
    return state == "accepted"


async def stopped_past_its_lease(desk: Desk, process: subprocess.Popen[bytes], client: Any, point: str) -> None:
    """Wait until a sender has stopped itself, and its lease, and the time by which it may begin, are over."""
    await until(lambda: state_of(process.pid) == "T")
    over = boot_time() + start_within(client)
    await until(lambda: point == "after_acceptance" or boot_time() > over)
    await desk.turn(longest_on_the_wire(client) + LEASE_MARGIN + 1)


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)  # on SQLite the stopped one keeps its lock
@pytest.mark.parametrize("point", ["after_intent", "before_write"])
async def test_what_was_claimed_before_and_was_sent_by_another_does_not_leave(
    desk: Desk, client: Any, emulator: Emulator, point: str
) -> None:
    id_ = await desk.pending()
    with worker(desk.outbox, emulator, point) as process:
        await stopped_past_its_lease(desk, process, client, point)
        async with desk.outbox.worker(client):
            record = await desk.outbox.wait("key-1", timeout=PATIENCE)
            assert (record.outcome, record.reason) == (Outcome.UNKNOWN, "lease_over")
            message = desk.tables.message
            await desk.execute(sa.update(message).values(state="pending"))  # as an order to send again does
            await desk.outbox.wait("key-1", timeout=PATIENCE)
        process.send_signal(signal.SIGCONT)
        await until(lambda: first_is_over(desk))
    assert await outcomes_of_attempts(desk) == ["not_sent", "answered"]
    row = await desk.row(id_)
    assert (row.state, row.sent_twice) == ("accepted", False)
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("point", ["after_intent", "after_acceptance"])
async def test_a_sender_that_goes_on_says_what_became_of_its_message(
    desk: Desk, client: Any, emulator: Emulator, point: str
) -> None:
    id_ = await desk.pending()
    with worker(desk.outbox, emulator, point) as process:
        await until(lambda: state_of(process.pid) == "T")
        if desk.outbox._dialect == "sqlite":
            with pytest.raises(SenderBusy, match=f"process {process.pid} on "):
                await desk.outbox.drain(client)
        await stopped_past_its_lease(desk, process, client, point)
        await desk.hot.recover()
        assert (await desk.row(id_)).state == "unknown"
        process.send_signal(signal.SIGCONT)
        await until(lambda: is_accepted(desk, id_))
    assert (await desk.row(id_)).sent_twice is False
    assert len(emulator.messages) == 1


# --- the ledger is away at SIGTERM ---------------------------------------------------------------


async def test_an_answer_at_sigterm_while_postgresql_is_away_is_kept(
    own_postgres: Postgres, client: Any, emulator: Emulator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "state"))
    url = own_postgres.database()
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    settings = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": url}
    emulator.fail_next("send", Fault.SLOW)
    command = [sys.executable, "-m", "smspilot_async", "worker"]
    with subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.PIPE) as process:
        await emulator.wait_for(timeout=PATIENCE, to=PHONE)
        await asyncio.to_thread(own_postgres.shut)
        process.send_signal(signal.SIGTERM)
        emulator.release()
        _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors.decode()
    kept = list((tmp_path / "state").glob("*.answers"))  # a claim may have been under way, too
    assert kept
    assert all(str(path) in errors.decode() for path in kept)
    await asyncio.to_thread(own_postgres.start)
    async with Outbox(url) as outbox:
        await outbox.drain(client)
        record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.ACCEPTED
    assert not any(path.exists() for path in kept)
    assert len(emulator.messages) == 1
