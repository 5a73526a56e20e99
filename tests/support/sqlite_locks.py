"""A SQLite file that another connection holds, and lets go of at a moment that no luck decides."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the lock of a writer on a file, new or not, until it is rolled back or the body ends."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield holder


@contextmanager
def held_until_wal_was_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Act like a worker that is switching a new file: any request for WAL mode is now refused at once."""
    with held(path) as holder:

        class Opening(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                try:
                    return super().execute(sql, *values)
                except sqlite3.OperationalError:
                    assert "WAL" in sql
                    holder.rollback()
                    raise

        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Opening))
        yield
        assert not holder.in_transaction  # or no one was refused
