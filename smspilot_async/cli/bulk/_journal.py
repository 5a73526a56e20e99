"""The journal of a run: the intent to send a packet is on disk before its first byte is sent.

A file of JSON lines beside the results. The head names the format and has fingerprints of the list and of each option;
then there is one line per packet about to be sent, with the line numbers of its rows, and one line per outcome of a
row. It contains no phones and no texts. An intent without an outcome is a message that may have been sent; an intent
whose outcome is "not sent" counts as if it had not been written. Each line has a checksum of everything before it, so
that lost or changed lines are detected; journals of version 0.4.0 have none, and get them from the first line that a
later version adds. An incomplete last line, left by a kill, is dropped: nothing was sent on account of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import zlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.files import LockedFile, create_private, in_thread, json_line, sync_folder, write_all
from smspilot_async.cli._errors import Problem
from smspilot_async.cli._output import count, lines_as_ranges
from smspilot_async.cli.bulk._results import RowOutcome
from smspilot_async.errors import ERROR_CODES, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.models import Message

_FORMAT: Final = "smspilot_async bulk journal"
_VERSION: Final = 3
_BEYOND_THE_END: Final = 2**40  # the byte that is locked on Windows, so that all others can still be read
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)  # journals are created in place, so a link is not one of ours
_sync = getattr(os, "fdatasync", os.fsync)  # not every system has fdatasync
_check = re.compile(rb',"check":"([0-9a-f]{8})"\}\Z')
_phones = re.compile(r"\d{7,}")

_WHAT_IS_KNOWN: Final = "The results file beside it has what is known about its run."
MAY_HAVE_BEEN_SENT: Final = "may have been sent (the run ended before the answer)"


class JournalError(Exception):
    """An intent could not be written, so its packet must not be sent; the journal's ``failure`` says why."""


class _InUse(Problem):
    """Another run has locked the journal."""


@attrs.frozen
class Fingerprint:
    """What identifies a run: runs with the same fingerprint send the same to the same place.

    Attributes:
        parts: The list, the options that decide what is sent, the gateway and the account, as JSON data.
        former_parts: The same as in journals of versions 1 and 2, which identified the gateway by its host alone.
    """

    parts: Mapping[str, Any] = attrs.field(repr=False)
    former_parts: Mapping[str, Any] = attrs.field(repr=False)

    def differences(self, version: int, digests: Mapping[Any, object]) -> list[str]:
        """Return the names of the parts whose digests differ from a journal's."""
        own = digests_of(self.former_parts if version < _VERSION else self.parts)
        return [name for name in dict.fromkeys([*own, *digests]) if digests.get(name) != own.get(name)]

    @property
    def whole(self) -> str:
        """The single digest that journals of version 1 have."""
        return _digest([*self.former_parts.values()])


class Seal:
    """The checksum in each line of a journal: of everything in the file before it.

    Attributes:
        is_due: Whether a line without a checksum is damaged, as it is after the first one with.
    """

    def __init__(self) -> None:
        self._sum = 0
        self.is_due = False

    def add(self, record: Mapping[str, Any]) -> bytes:
        """Return a record as a line with its checksum."""
        line = json_line(record)
        body, end = line[:-2], line[-2:]
        sealed = b'%b,"check":"%08x"%b' % (body, zlib.crc32(body, self._sum), end)
        self._sum = zlib.crc32(sealed, self._sum)
        return sealed

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


class Journal:
    """The journal, open and locked for one run.

    Attributes:
        path: Its path.
        failure: Why it could not be written; ``None`` while it could.
        unwritten: After a failure, the outcomes missing from it: the next run will take them for unknown.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.failure: OSError | None = None
        self.unwritten: list[RowOutcome] = []
        self._descriptor: int | None = descriptor
        self._size = 0
        self._seal = Seal()
        self._guard = threading.Lock()
        self._open_lines: set[int] = set()
        self._outcomes: dict[int, RowOutcome] = {}
        self._pending: list[RowOutcome] = []

    @classmethod
    def create(cls, path: str, fingerprint: Fingerprint) -> Journal:
        """Create a journal.

        Raises:
            Problem: It already exists, or cannot be created.
        """
        try:
            descriptor = create_private(path)
        except (OSError, ValueError) as wrong:
            why = getattr(wrong, "strerror", None) or str(wrong)
            raise Problem(f"the journal {path} cannot be created: {why}. Nothing was sent.") from None
        journal = cls(path, descriptor)
        try:
            journal._begin(fingerprint)
        except _InUse:  # a --resume was faster and now owns the journal
            journal.close()
            raise
        except BaseException:
            journal.remove()
            raise
        return journal

    @classmethod
    def resume(cls, path: str, fingerprint: Fingerprint) -> Journal:
        """Open the journal that a run has left, and read the outcomes of its messages.

        Raises:
            Problem: There is none, it is in use or damaged, or it belongs to another list.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | _NO_LINK | _BINARY)
        except FileNotFoundError:
            raise Problem(
                f"there is nothing to resume: there is no journal {path} of an earlier run. Nothing was sent."
            ) from None
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

    # --- reading ---------------------------------------------------------------------------------

    @property
    def settled(self) -> int:
        """The number of rows that an earlier run has sent, or may have sent."""
        left_out = sum(outcome.outcome is Outcome.NOT_SENT for outcome in self._outcomes.values())
        return len(self._open_lines) + len(self._outcomes) - left_out

    def check(self, sent: Iterable[int], results: str) -> None:
        """Check that it knows every line that the results report as sent or unknown.

        Raises:
            Problem: It does not, so it has lost lines.
        """
        missing = sorted(line for line in sent if line not in self._open_lines and line not in self._outcomes)
        if missing:
            rows, lines = count(len(missing), "row"), lines_as_ranges(missing)
            raise Problem(
                f"{self.path} is damaged: it does not contain {rows} that {results} reports as sent or unknown (lines "
                f"{lines}). Nothing was sent now; both files were left unchanged. To send to the others, make a list "
                "of them, and name other results."
            )

    def outcome_of(self, row: Recipient) -> RowOutcome | None:
        """Return the outcome of a row in an earlier run; ``None`` if it is still to be sent."""
        outcome = self._outcomes.get(row.line)
        if outcome is not None:
            return attrs.evolve(outcome, to=row.to)
        if row.line in self._open_lines:
            return RowOutcome(line=row.line, to=row.to, outcome=Outcome.UNKNOWN, error=MAY_HAVE_BEEN_SENT)
        return None

    # --- writing ---------------------------------------------------------------------------------

    def leave_out(self, duplicates: Iterable[tuple[int, int]]) -> None:
        """Record which lines repeat an earlier one and are not to be sent, now or by a later run.

        Raises:
            Problem: It could not be written.
        """
        # A later run could not know if the first of them has become invalid since, such as by a send_at in the past.
        try:
            self._append({"duplicates": list(duplicates)})
        except JournalError:
            raise self._not_writable(self.failure) from None

    async def intend(self, rows: Sequence[Recipient]) -> None:
        """Record durably that these rows are about to be sent in one packet.

        Raises:
            JournalError: It could not be written; the packet must not be sent.
        """
        await in_thread(self._write_intent, [row.line for row in rows], [row.message for row in rows])

    def _write_intent(self, lines: list[int], messages: Sequence[Message | None]) -> None:
        intent = {"intent": _ranges(lines), "sha256": body_hash(messages)}
        with self._guard:
            self._append(intent)
            self._open_lines.update(lines)
            descriptor = self._descriptor
        if descriptor is None:
            raise JournalError
        try:
            _sync(descriptor)
        except OSError as wrong:
            self.failure = wrong
        if self.failure is not None:
            raise JournalError

    def settle(self, outcome: RowOutcome) -> None:
        """Record the outcome of a row whose intent was written."""
        with self._guard:
            if outcome.line in self._open_lines:
                self._open_lines.discard(outcome.line)
                self._pending.append(outcome)

    async def flush(self) -> None:
        """Write the outcomes, so that they survive this process; a failure is kept in ``failure``, not raised."""
        if self._pending:
            await in_thread(self._write_outcomes)

    def _write_outcomes(self) -> None:
        with self._guard:
            self._write_pending()

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, []
        try:
            self._append(*map(_written, pending))
        except JournalError:
            self.unwritten += pending

    def _append(self, *records: Mapping[str, Any]) -> None:
        if self._descriptor is None or self.failure is not None:
            raise JournalError
        data = b"".join(map(self._seal.add, records))
        try:
            write_all(self._descriptor, data)
        except OSError as wrong:
            self.failure = wrong
            with contextlib.suppress(OSError):  # then an incomplete line remains, which the next run drops
                os.ftruncate(self._descriptor, self._size)
            raise JournalError from None
        self._size += len(data)

    # --- opening and closing ---------------------------------------------------------------------

    def _begin(self, fingerprint: Fingerprint) -> None:
        try:
            self._write_head(fingerprint)  # first: --resume refuses a journal without a head
            self._lock()
        except OSError as wrong:
            raise self._not_writable(wrong) from None

    def _write_head(self, fingerprint: Fingerprint) -> None:
        assert self._descriptor is not None  # noqa: S101 - it is open
        fingerprints = digests_of(fingerprint.parts)
        head = self._seal.add({"format": _FORMAT, "version": _VERSION, "fingerprints": fingerprints})
        write_all(self._descriptor, head)
        self._size = len(head)
        os.fsync(self._descriptor)
        sync_folder(Path(self.path).parent)

    def _read_existing(self, fingerprint: Fingerprint) -> None:
        assert self._descriptor is not None  # noqa: S101 - it is open
        self._lock()
        try:
            data = _read(self._descriptor)
            if not data:
                raise self._empty()
            self._size = data.rfind(b"\n") + 1
            head, *records = data[: self._size].split(b"\n")[:-1] or [b""]
            self._check_head(head, fingerprint)
            for record in records:
                self._read_record(record)
            os.ftruncate(self._descriptor, self._size)
        except OSError as wrong:
            raise self._not_writable(wrong) from None

    def _check_head(self, line: bytes, fingerprint: Fingerprint) -> None:
        try:
            head = self._seal.read(line)
        except ValueError:
            raise self._no_journal() from None
        if head.get("format") != _FORMAT:
            raise self._no_journal()
        match head:
            case {"version": 1, "fingerprint": fingerprint.whole}:
                return
            case {"version": 1}:
                whose = "another list, to other options, or to another gateway"
            case {"version": (2 | 3) as version, "fingerprints": {**digests}} if (
                version < _VERSION or self._seal.is_due
            ):
                others = fingerprint.differences(head["version"], digests)
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

    def _not_writable(self, wrong: OSError | None) -> Problem:
        why = wrong and (wrong.strerror or str(wrong))
        return Problem(f"the journal {self.path} cannot be written: {why}. Nothing was sent.")

    def _lock(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - it is open
        lock = LockedFile(self._descriptor, at=_BEYOND_THE_END)
        if lock.try_lock() and os.fstat(self._descriptor).st_nlink:
            return
        raise _InUse(f"{self.path} is in use: another run is sending this list. Nothing was sent.")

    def close(self) -> None:
        """Unlock it, and leave it for a run that continues this one."""
        with self._guard:
            if self._pending:
                self._write_pending()
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def remove(self) -> None:
        """Delete it: there is nothing to continue."""
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            self.close()
        with contextlib.suppress(OSError):
            Path(self.path).unlink()
        self.close()


def body_hash(messages: Iterable[Message | None]) -> str:
    """Return a digest of the messages of a packet."""
    fields = [None if message is None else attrs.astuple(message) for message in messages]
    return hashlib.sha256(json.dumps(fields, default=str).encode()).hexdigest()


def _written(outcome: RowOutcome) -> dict[str, Any]:
    values = attrs.asdict(outcome, filter=lambda attribute, value: attribute.name != "to" and value is not None)
    if outcome.price is not None:
        values["price"] = f"{outcome.price:f}"
    if outcome.error is not None:
        values["error"] = _phones.sub("…", outcome.error)  # a gateway may quote what was sent to it
    return values


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


def digests_of(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each part of a fingerprint."""
    return {name: _digest(value) for name, value in parts.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _ranges(lines: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    return ranges


def _read(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()
