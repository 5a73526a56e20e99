"""Journals of runs up to version 0.6, which are continued once: the ledger is their successor.

A file of JSON lines beside the results. The head names the format and has fingerprints of the list and of each option;
then there is one line per packet about to be sent, with the line numbers of its rows, and one line per outcome of a
row. An intent without an outcome is a message that may have been sent; an intent whose outcome is "not sent" counts as
if it had not been written. Each line has a checksum of everything before it, so that lost or changed lines are
detected; journals of version 0.4.0 have none. An incomplete last line, left by a kill, is dropped: nothing was sent on
account of it. A journal is only read, and stays beside the ledger until nothing is left to continue.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.files import LockedFile
from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk._ledger import Earlier, differing, digest
from smspilot_async.cli.bulk._results import MAY_HAVE_BEEN_SENT, RowOutcome
from smspilot_async.errors import ERROR_CODES, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from smspilot_async.cli.bulk._ledger import Fingerprint
    from smspilot_async.cli.bulk._recipients import Recipient

_FORMAT: Final = "smspilot_async bulk journal"
_VERSION: Final = 3
_BEYOND_THE_END: Final = 2**40  # the byte that is locked on Windows, so that all others can still be read
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)  # journals are created in place, so a link is not one of ours
_check = re.compile(rb',"check":"([0-9a-f]{8})"\}\Z')

_WHAT_IS_KNOWN: Final = "The results file beside it has what is known about its run."


class Seal:
    """The checksum in each line of a journal: of everything in the file before it.

    Attributes:
        is_due: Whether a line without a checksum is damaged, as it is after the first one with.
    """

    def __init__(self) -> None:
        self._sum = 0
        self.is_due = False

    def read(self, line: bytes) -> dict[str, Any]:
        """Return the record of a line (without its line end).

        Raises:
            ValueError: It is not a record, it was changed, or a line before it is missing.
        """
        if found := _check.search(line):
            self.is_due = True
            if int(found[1], 16) != zlib.crc32(line[: found.start()], self._sum):
                raise ValueError("another checksum")
        elif self.is_due:
            raise ValueError("no checksum")
        self._sum = zlib.crc32(line + b"\n", self._sum)
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("not a record")  # noqa: TRY004 - one type of error for every bad line
        record.pop("check", None)
        return record


class OldJournal:
    """A journal that an earlier version has left, locked while it is open.

    Attributes:
        path: Its path.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._seal = Seal()
        self._open_lines: set[int] = set()
        self._outcomes: dict[int, RowOutcome] = {}

    @classmethod
    def read(cls, path: str, fingerprint: Fingerprint) -> OldJournal:
        """Open the journal that a run has left, and read the outcomes of its messages.

        Raises:
            Problem: There is none, it is in use or damaged, or it belongs to another list.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | _NO_LINK | _BINARY)
        except (OSError, ValueError) as wrong:
            why = getattr(wrong, "strerror", None) or str(wrong)
            raise Problem(f"the journal {path} cannot be opened: {why}. Nothing was sent.") from None
        journal = cls(path, descriptor)
        try:
            journal._read_existing(fingerprint)
        except BaseException:
            journal.close()
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def earlier(self) -> Earlier:
        """Return what its runs have come to."""
        decided = [outcome for outcome in self._outcomes.values() if outcome.outcome is not Outcome.NOT_SENT]
        return Earlier(
            settled=self._open_lines | {outcome.line for outcome in decided},
            repeats={line for line, outcome in self._outcomes.items() if outcome.outcome is Outcome.NOT_SENT},
            unknown=self._open_lines | {outcome.line for outcome in decided if outcome.outcome is Outcome.UNKNOWN},
            spent=sum((outcome.price for outcome in decided if outcome.price is not None), Decimal(0)),
        )

    def outcome_of(self, row: Recipient) -> RowOutcome | None:
        """Return the outcome of a row in an earlier run; ``None`` if it is still to be sent."""
        outcome = self._outcomes.get(row.line)
        if outcome is not None:
            return attrs.evolve(outcome, to=row.to, cells=row.cells)
        if row.line in self._open_lines:
            return RowOutcome(
                line=row.line, to=row.to, outcome=Outcome.UNKNOWN, error=MAY_HAVE_BEEN_SENT, cells=row.cells
            )
        return None

    def close(self) -> None:
        """Unlock it, and leave it for a run that continues this one."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def remove(self) -> None:
        """Delete it: there is nothing to continue."""
        self.close()
        with contextlib.suppress(OSError):
            Path(self.path).unlink()

    def _read_existing(self, fingerprint: Fingerprint) -> None:
        assert self._descriptor is not None  # noqa: S101 - it is open
        lock = LockedFile(self._descriptor, at=_BEYOND_THE_END)
        if not (lock.try_lock() and os.fstat(self._descriptor).st_nlink):
            raise Problem(f"{self.path} is in use: another run is sending this list. Nothing was sent.")
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            data = file.read()
        if not data:
            raise self._empty()
        whole = data[: data.rfind(b"\n") + 1]
        head, *records = whole.split(b"\n")[:-1] or [b""]
        self._check_head(head, fingerprint)
        for record in records:
            self._read_record(record)

    def _check_head(self, line: bytes, fingerprint: Fingerprint) -> None:
        try:
            head = self._seal.read(line)
        except ValueError:
            raise self._no_journal() from None
        if head.get("format") != _FORMAT:
            raise self._no_journal()
        match head:
            case {"version": 1, "fingerprint": whole} if whole == digest([*fingerprint.former_parts.values()]):
                return
            case {"version": 1}:
                whose = "another list, to other options, or to another gateway"
            case {"version": (2 | 3) as version, "fingerprints": {**digests}} if (
                version < _VERSION or self._seal.is_due
            ):
                others = _differences(fingerprint, version, digests)
                if not others:
                    return
                whose = f"a run with another {' and another '.join(others)}"
            case {"version": 2 | 3}:
                raise self._no_journal()
            case _:
                raise Problem(f"{self.path} was written by another version of this program. Nothing was sent.")
        raise Problem(
            f"{self.path} belongs to {whose}: --resume needs the same FILE, options, URL and API key as the run "
            "that it continues. Nothing was sent."
        )

    def _read_record(self, line: bytes) -> None:
        try:
            record = self._seal.read(line)
            if "intent" in record:
                for first, last in record["intent"]:
                    self._open_lines.update(range(first, last + 1))
            elif "duplicates" in record:
                for repeat, first in record["duplicates"]:
                    self._outcomes[repeat] = RowOutcome.repeat(repeat, first)
            else:
                outcome = _outcome(record)
                self._open_lines.discard(outcome.line)
                if _is_decided(outcome):
                    self._outcomes[outcome.line] = outcome
        except (ValueError, TypeError, KeyError, ArithmeticError):
            raise self._no_journal() from None

    def _no_journal(self) -> Problem:
        return Problem(
            f"{self.path} is damaged, or not a journal; it was left unchanged. Nothing was sent now. {_WHAT_IS_KNOWN}"
        )

    def _empty(self) -> Problem:
        return Problem(
            f"{self.path} is empty, so it does not show what was sent. Nothing was sent now. {_WHAT_IS_KNOWN} "
            "If there are no results either, no run has sent this list: remove this file, and omit --resume."
        )


def _outcome(record: dict[str, Any]) -> RowOutcome:
    if "price" in record:
        record["price"] = Decimal(record["price"])
    if not isinstance(record["line"], int):
        raise TypeError
    return RowOutcome(to="", **record)


def _is_decided(outcome: RowOutcome) -> bool:
    if outcome.outcome is Outcome.REFUSED and (known := ERROR_CODES.get(outcome.error_code or 0)) is not None:
        # No money, a blocked account, a busy gateway: not about the message itself, but 0.4.0 recorded them as refused.
        return known.error.outcome is Outcome.REFUSED
    return outcome.outcome is not Outcome.NOT_SENT


def _differences(fingerprint: Fingerprint, version: int, digests: Mapping[Any, object]) -> list[str]:
    """Return the names of the parts whose digests differ from a journal's."""
    parts = fingerprint.former_parts if version < _VERSION else fingerprint.parts
    return differing({name: digest(value) for name, value in parts.items()}, digests)
