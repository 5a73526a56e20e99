"""What SQLite says when a ledger's file cannot be used, in one line with what to do; it names no phone and no text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._errors import LedgerDamaged, LedgerUnavailable

if TYPE_CHECKING:
    import sqlite3

__all__ = ["unavailable"]

_DAMAGED: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
_ADVICE: Final = {
    "SQLITE_FULL": "Free space on its disk",
    "SQLITE_READONLY": "Make its file and folder writable",
    "SQLITE_CANTOPEN": "Make its file and folder readable and writable",
    "SQLITE_PERM": "Make its file and folder readable and writable",
    "SQLITE_IOERR": "Look at its disk",
    "SQLITE_BUSY": "Another program keeps it locked",
}


def unavailable(error: sqlite3.Error) -> LedgerUnavailable:
    """Say that a ledger's file cannot be used, why, and what to do."""
    name = "_".join(
        getattr(error, "sqlite_errorname", "").split("_")[:2]
    )  # SQLITE_READONLY_DIRECTORY is SQLITE_READONLY
    if name in _DAMAGED:
        return LedgerDamaged(
            f"the ledger's file is damaged, or is none: {error}. Nothing leaves any more. Keep the file, restore its "
            "latest backup, and give that backup's time: smspilot outbox adopt --ledger URL --restored-to "
            '"YYYY-MM-DD HH:MM +03:00".'
        )
    advice = f"{_ADVICE[name]}. " if name in _ADVICE else ""
    return LedgerUnavailable(
        f"the ledger cannot be used: {error}. {advice}Nothing leaves meanwhile; what is on the wire is recorded once "
        "it is back."
    )
