"""The example services' own file, which the first of several workers makes."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlite_locks import held_until_wal_was_refused

from examples.codes import CodeStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "codes.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[CodeStore]:
    store = CodeStore(path)
    yield store
    await store.close()


async def test_a_worker_that_opens_a_new_store_while_another_does_is_not_refused(
    path: Path, store: CodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_until_wal_was_refused(path, monkeypatch):
        assert await store.begin() == 1


async def test_a_store_that_could_not_be_opened_is_opened_the_next_time(path: Path, store: CodeStore) -> None:
    await asyncio.to_thread(path.write_text, "no database")
    with pytest.raises(sqlite3.DatabaseError):
        await store.begin()
    await asyncio.to_thread(path.unlink)
    assert await store.begin() == 1
