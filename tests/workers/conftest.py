"""A ledger on PostgreSQL with the engine's tables, an emulator, and workers in processes of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from fleets import Fleet
from ledger_fixtures import _state, desk, outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from postgres import Postgres

    from smspilot_async.emulator import Emulator

__all__ = ["_state", "desk", "outbox"]  # fixtures, by being here


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    """Where a ledger may be made."""
    url = postgres.database()
    yield url
    postgres.drop(url)


@pytest.fixture
async def fleet(ledger_url: str, emulator: Emulator, tmp_path: Path, uncounted: None) -> AsyncIterator[Fleet]:
    """Workers of that ledger, each as on a machine of its own; killed at the end."""
    del uncounted
    fleet = Fleet(ledger_url, emulator.url, emulator.api_key, tmp_path)
    yield fleet
    await asyncio.to_thread(fleet.kill_all)
