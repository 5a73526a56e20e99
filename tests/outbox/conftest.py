"""A ledger on each database, bound to the emulator on a socket; a PostgreSQL for the whole run of a test process."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from ledgers import Desk
from postgres import Postgres, programs

from smspilot_async.outbox import Outbox
from smspilot_async.outbox._migrations import engine_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from smspilot_async import Client


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, without fsync; skipped on a machine that has none, but never in CI."""
    if programs() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed")
    cluster = Postgres()
    yield cluster
    cluster.stop()


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """PostgreSQL with fsync, which the test may crash."""
    cluster = await asyncio.to_thread(Postgres, fsync=True)
    yield cluster
    await asyncio.to_thread(cluster.stop)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a ledger on PostgreSQL keeps on this machine goes into the test's own folder."""
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """These ledgers have no tables for workers on many machines, which take longer to make than the rest."""
    monkeypatch.setattr(engine_tables, "is_engine_installed", lambda: False)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a ledger may be made, on each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/sms.db"
        return
    cluster: Postgres = request.getfixturevalue("postgres")
    url = cluster.database()
    yield url
    cluster.drop(url)


@pytest.fixture
async def outbox(ledger_url: str, client: Client) -> AsyncIterator[Outbox]:
    """An open outbox on a new ledger."""
    await Outbox.create(ledger_url, client)
    async with Outbox(ledger_url) as outbox:
        yield outbox


@pytest.fixture
async def desk(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """The same ledger, seen from inside: its hot path, its rows, its clock."""
    desk = Desk(outbox, monkeypatch)
    await desk.hot.open()
    yield desk
    await desk.hot.aclose()
