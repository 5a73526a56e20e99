"""Fixtures of ledgers, for the folders that need them; each says by its own ``ledger_url`` where a ledger is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ledgers import Desk

from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smspilot_async import Client

__all__ = ["_state", "desk", "outbox"]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a ledger on PostgreSQL keeps on this machine goes into the test's own folder."""
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "state"))


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
