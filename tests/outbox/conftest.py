"""A ledger on each database, bound to the emulator on a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from ledger_fixtures import _state, desk, outbox
from postgres import Postgres

from smspilot_async.outbox._migrations import engine_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["_state", "desk", "outbox"]  # fixtures, by being here


@pytest.fixture
async def own_postgres() -> AsyncIterator[Postgres]:
    """PostgreSQL with fsync, which the test may crash."""
    cluster = await asyncio.to_thread(Postgres, fsync=True)
    yield cluster
    await asyncio.to_thread(cluster.stop)


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
