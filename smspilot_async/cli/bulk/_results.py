"""The outcome of every row, and the file of results: one line per row of the list, in the list's order.

The file is created before anything is sent and never replaces another; every line is written as soon as it is known, so
that a killed run leaves behind what it knew.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.files import create_private
from smspilot_async._tools.spreadsheets import no_formula
from smspilot_async.cli._errors import Problem, reason
from smspilot_async.cli._output import one_line
from smspilot_async.errors import GatewayError, InvalidMessage, Outcome, OutcomeUnknown, SmsPilotError
from smspilot_async.models import Accepted, NotSent, Refused, SendResult, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self, TextIO

    from smspilot_async.cli.bulk._recipients import Recipient

COLUMNS: Final = ("line", "to", "outcome", "server_id", "packet", "parts", "price", "error_code", "error")

_phone_like = re.compile(r"[+\d\s().-]*").fullmatch
_MOST_UNWRITTEN: Final = 1000


def _outcome(word: str) -> Outcome:
    return Outcome(word)


@attrs.frozen(kw_only=True)
class RowOutcome:
    """The outcome of one row; the fields are the columns of the results."""

    line: int
    to: str = attrs.field(repr=False)
    outcome: Outcome = attrs.field(converter=_outcome)
    server_id: str | None = None
    packet: str | None = None
    parts: int | None = None
    price: Decimal | None = None
    error_code: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, result: SendResult[Recipient]) -> RowOutcome:
        """Return the outcome of a result."""
        row = result.item
        match result:
            case Accepted(sent=sent):
                return cls(
                    line=row.line,
                    to=row.to,
                    outcome=result.outcome,
                    server_id=sent.server_id,
                    packet=sent.server_packet_id,
                    parts=sent.parts if sent.parts is not None or row.message is None else row.message.size.parts,
                    price=sent.price,
                )
            case Unknown(error=error, sent=None):
                return cls._failed(row, result.outcome, error, error.server_packet_id)
            case NotSent(error=error):
                return cls._failed(row, result.outcome, error)
            case Refused(error=error, sent=sent) | Unknown(error=error, sent=sent):
                return cls._failed(row, result.outcome, error, None if sent is None else sent.server_packet_id)

    @classmethod
    def invalid(cls, row: Recipient) -> RowOutcome:
        """Return the outcome of a row that is not a valid message."""
        return cls._failed(row, Outcome.REFUSED, row.error)

    @classmethod
    def duplicate(cls, row: Recipient) -> RowOutcome:
        """Return the outcome of a row that was left out because it repeats another."""
        return cls.repeat(row.line, row.duplicate_of, row.to)

    @classmethod
    def repeat(cls, line: int, first: int | None, to: str = "") -> RowOutcome:
        """Return the outcome of a line that was left out because it repeats another."""
        return cls(line=line, to=to, outcome=Outcome.NOT_SENT, error=f"duplicate of line {first}")

    @classmethod
    def _failed(
        cls, row: Recipient, outcome: Outcome, error: SmsPilotError | None, packet: str | None = None
    ) -> RowOutcome:
        text = None if error is None else one_line(reason(error))
        return cls(line=row.line, to=row.to, outcome=outcome, packet=packet, error_code=code_of(error), error=text)


def code_of(error: SmsPilotError | None) -> int | None:
    """Return the gateway's code for an error, if it has one."""
    return error.code if isinstance(error, (GatewayError, InvalidMessage, OutcomeUnknown)) else None


class Results:
    """The file of results, open for one run.

    Attributes:
        path: Its path.
        failure: Why it could not be written; ``None`` while it could.
        unwritten: The outcomes that are not in it yet; after a failure, those missing from it.
    """

    def __init__(self, path: str, file: TextIO, *, draft: str | None = None) -> None:
        self.path = path
        self._draft = draft
        self.failure: OSError | None = None
        self.unwritten: list[RowOutcome] = []
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._next = 0
        self._early: dict[int, RowOutcome] = {}

    @classmethod
    def create(cls, path: str) -> Results:
        """Create the file.

        Raises:
            Problem: It already exists, or cannot be created.
        """
        check_free(path)
        try:
            results = cls(path, _create(path))
            results._write_head()
        except (OSError, ValueError) as wrong:
            raise _not_creatable(path, wrong) from None
        return results

    @classmethod
    def rewrite(cls, path: str) -> Results:
        """Write a new file beside that of an earlier run, and replace it once the new one is complete.

        Raises:
            Problem: It cannot be created.
        """
        draft = f"{path}.new"
        try:
            Path(draft).unlink(missing_ok=True)  # left by a killed run, or a link to another place
            results = cls(path, _create(draft), draft=draft)
            results._write_head()
        except (OSError, ValueError) as wrong:
            raise _not_creatable(draft, wrong) from None
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.flush()
        try:
            if self.failure is None:
                os.fsync(self._file.fileno())
        except OSError as wrong:
            self.failure = wrong
        with contextlib.suppress(OSError):  # already reported in `failure`
            self._file.close()
        if self._draft is not None:
            self._take_place(Path(self._draft), is_whole=error is None and self.failure is None)

    def _take_place(self, draft: Path, *, is_whole: bool) -> None:
        try:
            if is_whole:
                draft.replace(self.path)
            else:
                draft.unlink()
        except OSError as wrong:
            self.failure = self.failure or wrong

    def settle(self, position: int, outcome: RowOutcome) -> None:
        """Record the outcome of a row; it is written after those of all rows before it."""
        self._early[position] = outcome
        while (ready := self._early.pop(self._next, None)) is not None:
            self.unwritten.append(ready)
            self._next += 1
        if len(self.unwritten) >= _MOST_UNWRITTEN:
            self.flush()

    def flush(self) -> None:
        """Write what is known, so that it survives this process; a failure is kept in ``failure``, not raised."""
        if self.failure is not None:
            return
        try:
            self._writer.writerows(map(_cells, self.unwritten))
            self._file.flush()
        except OSError as wrong:
            self.failure = wrong
        else:
            self.unwritten.clear()

    def _write_head(self) -> None:
        self._writer.writerow(COLUMNS)
        self._file.flush()


def lines_sent(path: str) -> set[int]:
    """Return the lines that the results of an earlier run report as sent or unknown; none if there are no results.

    Raises:
        Problem: They cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8", errors="replace", newline="") as file:
            return {int(row["line"]) for row in csv.DictReader(file) if _was_sent(row)}
    except FileNotFoundError:
        return set()
    except (OSError, csv.Error) as wrong:
        why = getattr(wrong, "strerror", None) or str(wrong)
    raise Problem(f"the results {path} cannot be read: {why}. Nothing was sent.")


def _was_sent(row: Mapping[str, str | None]) -> bool:
    return row.get("outcome") in {Outcome.ACCEPTED, Outcome.UNKNOWN} and (row.get("line") or "").isdecimal()


def check_free(path: str) -> None:
    """Check what :meth:`Results.create` needs, before the user is asked anything.

    Raises:
        Problem: The file already exists, or its folder does not exist or is not writable.
    """
    if os.path.lexists(path):
        raise Problem(
            f"{path} already exists: it may be the results of a run that has sent this list. Nothing was sent. "
            "If that run did not finish, --resume continues it; otherwise name another file with --results."
        )
    folder = Path(path).parent
    if not folder.is_dir():
        raise _not_creatable(path, FileNotFoundError(errno.ENOENT, "there is no such folder"))
    if not os.access(folder, os.W_OK):
        raise _not_creatable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _create(path: str) -> TextIO:
    return os.fdopen(create_private(path), "w", encoding="utf-8", newline="")


def _not_creatable(path: str, wrong: Exception) -> Problem:
    why = getattr(wrong, "strerror", None) or str(wrong)
    return Problem(
        f"the results cannot be written to {path}: {why}. Nothing was sent; choose another path with --results."
    )


def _cells(outcome: RowOutcome) -> list[Any]:
    values = attrs.asdict(outcome)
    values["price"] = None if outcome.price is None else f"{outcome.price:f}"
    values["error"] = no_formula(outcome.error or "")
    values["to"] = outcome.to if _phone_like(outcome.to) else no_formula(one_line(outcome.to))
    values["server_id"], values["packet"] = (
        no_formula(one_line(each or "")) for each in (outcome.server_id, outcome.packet)
    )
    return [values[column] for column in COLUMNS]
