"""The journal of a list's run: what was about to leave is on the disk before its first byte leaves.

A file of JSON lines beside the results. The head names the format and has fingerprints of the list and each option;
then there is a line for each packet that is about to leave, with the lines of its rows, and one for each row's
outcome. It holds no phones and no texts. An intent without an outcome is a message that may have been sent; an intent
whose outcome is "not sent" is as if it had never been. Each line has a checksum of all that stands before it, so that a
journal that has lost or changed a line is not taken for a whole one; journals of version 0.4.0 have none, and get them
from the line on that a later version adds. What a kill left of a last line was promised to no one.
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
_BEYOND_THE_END: Final = 2**40  # where Windows locks a byte, so that all others can still be read
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)  # a journal is made where it stands, so a link is not ours
_sync = getattr(os, "fdatasync", os.fsync)  # not every system tells data and metadata apart
_check = re.compile(rb',"check":"([0-9a-f]{8})"\}\Z')
_phones = re.compile(r"\d{7,}")

_WHAT_IS_KNOWN: Final = "The results beside it have what is known of its run."
MAY_HAVE_BEEN_SENT: Final = "may have been sent (the run ended before the answer)"


class JournalError(Exception):
    """An intent could not be written down, so its packet must not leave; the journal's ``failure`` says why."""


class _InUse(Problem):
    """Another run has locked the journal."""


@attrs.frozen
class Fingerprint:
    """What tells a run from all others that do not send the same to the same place.

    Attributes:
        parts: The list, the options that decide what is sent, and where it goes, as JSON can write them.
        former_parts: The same as journals of the versions 1 and 2 have it, which knew the gateway by its host alone.
    """

    parts: Mapping[str, Any] = attrs.field(repr=False)
    former_parts: Mapping[str, Any] = attrs.field(repr=False)

    def differences(self, version: int, digests: Mapping[Any, object]) -> list[str]:
        """Name the parts that have other digests than a journal's."""
        own = digests_of(self.former_parts if version < _VERSION else self.parts)
        return [name for name in dict.fromkeys([*own, *digests]) if digests.get(name) != own.get(name)]

    @property
    def whole(self) -> str:
        """The one digest that journals of version 1 have."""
        return _digest([*self.former_parts.values()])


class Seal:
    """The checksum in each line of a journal: of everything in the file before it.

    Attributes:
        is_due: Lines without one are damaged from here on.
    """

    def __init__(self) -> None:
        self._sum = 0
        self.is_due = False

    def add(self, record: Mapping[str, Any]) -> bytes:
        """Write a record as a line with its checksum."""
        line = json_line(record)
        body, end = line[:-2], line[-2:]
        sealed = b'%b,"check":"%08x"%b' % (body, zlib.crc32(body, self._sum), end)
        self._sum = zlib.crc32(sealed, self._sum)
        return sealed

    def read(self, line: bytes) -> dict[str, Any]:
        """Read a record from a line without its end.

        Raises:
            ValueError: It is no record, it was changed, or a line before it is missing.
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
            raise ValueError("no record")  # noqa: TRY004 - one kind of error for every line that is none
        record.pop("check", None)
        return record


class Journal:
    """The journal, open and locked for one run.

    Attributes:
        path: Where it is.
        failure: Why it could not be written, once it could not; then
        unwritten: holds the outcomes that it lacks: the next run will take them for unknown.
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
        """Make it; it must not be there yet.

        Raises:
            Problem: It is there, or cannot be made.
        """
        try:
            descriptor = create_private(path)
        except (OSError, ValueError) as wrong:
            why = getattr(wrong, "strerror", None) or str(wrong)
            raise Problem(f"the journal {path} cannot be made: {why}. Nothing was sent.") from None
        journal = cls(path, descriptor)
        try:
            journal._begin(fingerprint)
        except _InUse:  # a --resume was quicker, and the journal is that run's now
            journal.close()
            raise
        except BaseException:
            journal.remove()
            raise
        return journal

    @classmethod
    def resume(cls, path: str, fingerprint: Fingerprint) -> Journal:
        """Open the one that a run has left, and read what became of that run's messages.

        Raises:
            Problem: There is none, another run holds it, or it belongs to another list.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | _NO_LINK | _BINARY)
        except FileNotFoundError:
            raise Problem(
                f"there is nothing to resume: no journal {path} was left by a run. Nothing was sent."
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

    # --- what it knows ---------------------------------------------------------------------------

    @property
    def settled(self) -> int:
        """How many rows an earlier run has sent, or may have sent."""
        left_out = sum(outcome.outcome is Outcome.NOT_SENT for outcome in self._outcomes.values())
        return len(self._open_lines) + len(self._outcomes) - left_out

    def check(self, sent: Iterable[int], results: str) -> None:
        """Compare it with the lines that the results call sent, or maybe sent: it must know all of them.

        Raises:
            Problem: It does not, so it has lost lines.
        """
        missing = sorted(line for line in sent if line not in self._open_lines and line not in self._outcomes)
        if missing:
            rows, lines = count(len(missing), "row"), lines_as_ranges(missing)
            raise Problem(
                f"{self.path} is damaged: it knows nothing of {rows} that {results} calls sent, or maybe sent (lines "
                f"{lines}). Nothing was sent now; both files were left as they are. To send to the others, make a list "
                "of them, and name other results."
            )

    def outcome_of(self, row: Recipient) -> RowOutcome | None:
        """Tell what became of a row in an earlier run; ``None`` where it is still to be sent."""
        outcome = self._outcomes.get(row.line)
        if outcome is not None:
            return attrs.evolve(outcome, to=row.to)
        if row.line in self._open_lines:
            return RowOutcome(line=row.line, to=row.to, outcome=Outcome.UNKNOWN, error=MAY_HAVE_BEEN_SENT)
        return None

    # --- writing ---------------------------------------------------------------------------------

    def leave_out(self, duplicates: Iterable[tuple[int, int]]) -> None:
        """Write down which lines repeat an earlier one and are not to be sent, now or ever.

        Raises:
            Problem: It could not be written.
        """
        # A later run could not tell, once the first of them has become invalid: its time may have passed.
        try:
            self._append({"duplicates": list(duplicates)})
        except JournalError:
            raise self._not_writable(self.failure) from None

    async def intend(self, rows: Sequence[Recipient]) -> None:
        """Write down, durably, that these rows are about to leave in one packet.

        Raises:
            JournalError: It could not be written; the packet must not leave.
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
        """Note what became of a row of which an intent was written."""
        with self._guard:
            if outcome.line in self._open_lines:
                self._open_lines.discard(outcome.line)
                self._pending.append(outcome)

    async def flush(self) -> None:
        """Hand the outcomes to the system, where they survive this process; a failure is kept, not raised."""
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
            with contextlib.suppress(OSError):  # then half a line stays, which the next run takes off
                os.ftruncate(self._descriptor, self._size)
            raise JournalError from None
        self._size += len(data)

    # --- its life --------------------------------------------------------------------------------

    def _begin(self, fingerprint: Fingerprint) -> None:
        try:
            self._write_head(fingerprint)  # first of all: without its head it is refused by --resume
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
            f"{self.path} belongs to {whose}: --resume needs the FILE, the options, the URL and the API key of the run "
            "that it goes on with. Nothing was sent."
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
            f"{self.path} is damaged, or no journal of ours; it was left as it is. Nothing was sent now. "
            f"{_WHAT_IS_KNOWN}"
        )

    def _empty(self) -> Problem:
        return Problem(
            f"{self.path} is empty, so it does not tell what was sent. Nothing was sent now. {_WHAT_IS_KNOWN} "
            "If there are no results either, no run has sent this list: remove this file, and leave --resume out."
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
        """Unlock it, and leave it for a run that goes on with this one."""
        with self._guard:
            if self._pending:
                self._write_pending()
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def remove(self) -> None:
        """Take it away: there is nothing to go on with."""
        if sys.platform == "win32":  # pragma: no cover - what is open cannot be removed there
            self.close()
        with contextlib.suppress(OSError):
            Path(self.path).unlink()
        self.close()


def body_hash(messages: Iterable[Message | None]) -> str:
    """Make the digest of what a packet says, to whom, and how."""
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
        # No money, a blocked account, a busy gateway: that says nothing about a message, but 0.4.0 called it refused.
        return known.error.outcome is Outcome.REFUSED
    return outcome.outcome is not Outcome.NOT_SENT


def digests_of(parts: Mapping[str, Any]) -> dict[str, str]:
    """Make a digest of each part of a fingerprint."""
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
