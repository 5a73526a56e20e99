"""A ledger on PostgreSQL with the engine's tables, an emulator, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from fleets import Fleet
from ledgers import Desk
from postgres import Postgres, programs

from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, without fsync; skipped on a machine that has none, but never in CI."""
    if programs() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed")
    cluster = Postgres()
    yield cluster
    cluster.stop()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a ledger on PostgreSQL keeps on this machine goes into the test's own folder."""
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "state"))


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    """Where a ledger may be made."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
async def outbox(ledger_url: str, client: Client) -> AsyncIterator[Outbox]:
    """An open outbox on a new ledger."""
    await Outbox.create(ledger_url, client)
    async with Outbox(ledger_url) as outbox:
        yield outbox


@pytest.fixture
async def desk(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """The same ledger, seen from inside."""
    desk = Desk(outbox, monkeypatch)
    await desk.hot.open()
    yield desk
    await desk.hot.aclose()


@pytest.fixture
async def fleet(ledger_url: str, emulator: Emulator, tmp_path: Path, uncounted: None) -> AsyncIterator[Fleet]:
    """Workers of that ledger, each as on a machine of its own; killed at the end."""
    del uncounted
    fleet = Fleet(ledger_url, emulator.url, emulator.api_key, tmp_path)
    yield fleet
    await asyncio.to_thread(fleet.kill_all)
