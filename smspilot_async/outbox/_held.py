"""What could not be written into the ledger before the process had to end: a file, synced, replayed at a start.

Only a sender that had to stop while the database was unavailable writes one. A file holds attempts' numbers, message
numbers and what the gateway answered; no phones and no texts. Replaying it twice does no harm. It stands beside a
SQLite ledger; for PostgreSQL in the folder that ``SMSPILOT_STATE`` names, or the user's own for state.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.files import create_private, json_line, sync_folder, write_all
from smspilot_async.outbox._ledger import Answer, MessageAnswer
from smspilot_async.outbox._states import Event
from smspilot_async.outbox._tokens import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["HeldAnswers"]

_SUFFIX: Final = ".answers"
_MONEY: Final = ("price", "cost")


class HeldAnswers:
    """The files of one ledger on this machine. Everything here blocks.

    Args:
        folder: Of the files; made at the first write.
        name: How they begin.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    @classmethod
    def beside(cls, path: Path) -> HeldAnswers:
        """Return those of a SQLite ledger."""
        return cls(path.resolve().parent, path.name)

    @classmethod
    def of_user(cls, uid: str) -> HeldAnswers:
        """Return those of a ledger on PostgreSQL."""
        return cls(state_folder(), uid)

    def keep(self, held: Answer | str) -> Path:
        """Write down an answer, or the token of a claim of unknown fate, and return its file once it is on the disk.

        Raises:
            OSError: It cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{self._name}.{secrets.token_hex(8)}{_SUFFIX}"
        descriptor = create_private(str(path))
        try:
            write_all(descriptor, json_line(_plain(held)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self._folder)
        return path

    def waiting(self) -> Iterator[tuple[Path, Answer | str]]:
        """Return what waits to be written into the ledger; a file without its end was never promised to anybody."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob(f"{glob.escape(self._name)}.*{_SUFFIX}")):
            text = path.read_text(encoding="utf-8")
            if text.endswith("\n"):
                yield path, _revived(json.loads(text))


def _plain(held: Answer | str) -> dict[str, Any]:
    if isinstance(held, str):
        return {"void": held}
    return attrs.asdict(held, value_serializer=lambda _owner, _field, value: _scalar(value))


def _scalar(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def _revived(fields: dict[str, Any]) -> Answer | str:
    if "void" in fields:
        return str(fields["void"])
    rows = [MessageAnswer(**{**_with_money(row), "event": Event(row["event"])}) for row in fields["rows"]]
    return Answer(**{**_with_money(fields), "rows": rows})


def _with_money(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if name in _MONEY and value is not None else value for name, value in fields.items()}
