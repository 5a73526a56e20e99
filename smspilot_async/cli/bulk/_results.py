"""The outcome of every row, and the file of results: one line per row of the list, in the list's order.

The file is created before anything is sent and never replaces another; every line is written as soon as those before it
are known, so that a killed run leaves behind what it knew. After its own columns it has those of the list.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import itertools
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
from smspilot_async.errors import (
    ERROR_CODES,
    GatewayBusy,
    GatewayError,
    Outcome,
    OutcomeUnknown,
    Reason,
)
from smspilot_async.models import status_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self, TextIO

    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.outbox import CampaignMessage

COLUMNS: Final = ("line", "to", "outcome", "status", "server_id", "packet", "parts", "price", "error_code", "error")
MAY_HAVE_BEEN_SENT: Final = "may have been sent (the run ended before the answer)"
REPEAT: Final = "repeat"
"""The field of a bad row in the ledger that repeats an earlier line."""
_FROM_THE_LIST: Final = "list_"
_NOT_REACHED: Final = "the gateway could not be reached"
_INVALID: Final = "invalid"

_phone_like = re.compile(r"[+\d\s().-]*").fullmatch
_MOST_UNWRITTEN: Final = 1000


def _outcome(word: str) -> Outcome:
    return Outcome(word)


@attrs.frozen(kw_only=True)
class RowOutcome:
    """The outcome of one row; the fields are the columns of the results, and ``cells`` is the row of the list."""

    line: int
    to: str = attrs.field(repr=False)
    outcome: Outcome = attrs.field(converter=_outcome)
    status: str | None = None
    server_id: str | None = None
    packet: str | None = None
    parts: int | None = None
    price: Decimal | None = None
    error_code: int | None = None
    error: str | None = None
    cells: tuple[str, ...] = attrs.field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data, without the row of the list."""
        return attrs.asdict(self, filter=lambda attribute, _: attribute.name != "cells")

    @classmethod
    def of(cls, row: Recipient, message: CampaignMessage) -> RowOutcome:
        """Return the outcome of a row of the ledger's campaign; what is undecided will not be sent by this run."""
        known: dict[str, Any] = {"line": row.line, "to": row.to, "cells": row.cells}
        if (first := repeated_line(message)) is not None:
            return attrs.evolve(cls.repeat(row.line, first, row.to), cells=row.cells)
        if message.id is None:
            return cls(**known, outcome=Outcome.REFUSED, error_code=message.code, error=one_line(message.why or ""))
        if message.outcome is Outcome.ACCEPTED:
            return cls(
                **known,
                outcome=message.outcome,
                status=None if message.status_at is None else status_word(message.status),
                server_id=message.server_id,
                packet=message.packet,
                parts=message.parts,
                price=message.price,
            )
        outcome = message.outcome or (Outcome.UNKNOWN if message.state == "in_flight" else Outcome.NOT_SENT)
        return cls(
            **known,
            outcome=outcome,
            packet=None if outcome is Outcome.NOT_SENT else message.packet,
            error_code=message.code,
            error=_why(outcome, message.reason, message.code),
        )

    @classmethod
    def repeat(cls, line: int, first: int | None, to: str = "") -> RowOutcome:
        """Return the outcome of a line that was left out because it repeats another."""
        return cls(line=line, to=to, outcome=Outcome.NOT_SENT, error=f"duplicate of line {first}")


def repeated_line(message: CampaignMessage) -> int | None:
    """Return the line that a row repeats, and is not sent for; ``None`` of any other row."""
    if message.id is not None or not (message.why or "").startswith(f"{REPEAT}: "):
        return None
    return int((message.why or "").removeprefix(f"{REPEAT}: "))


def _why(outcome: Outcome, why: str | None, code: int | None) -> str | None:
    """Return the reason in a few words."""
    if outcome is Outcome.UNKNOWN:
        return _why_unknown(why, code)
    if why is not None and why.startswith("http_") and why.removeprefix("http_").isdecimal():
        status = int(why.removeprefix("http_"))
        kind = GatewayBusy if outcome is Outcome.NOT_SENT else GatewayError
        return one_line(reason(kind("", code=None, http_status=status)))
    if why == _INVALID:
        text = ERROR_CODES[code].text if code is not None and code in ERROR_CODES else "invalid"
        return f"it makes no message any more: {text}"
    if code is not None:
        known = ERROR_CODES.get(code)
        kind = known.error if known is not None and issubclass(known.error, GatewayError) else GatewayError
        return one_line(reason(kind("", code=code)))
    return {None: None, "ConnectionFailed": _NOT_REACHED}.get(why, why)


def _why_unknown(why: str | None, code: int | None) -> str:
    try:
        known = Reason(why or "")
    except ValueError:
        return MAY_HAVE_BEEN_SENT
    if known is Reason.HTTP_STATUS:
        return "may have been sent (an error page instead of an answer)"
    return one_line(reason(OutcomeUnknown("", reason=known, code=code)))


class Results:
    """The file of results, open for one run.

    Attributes:
        path: Its path.
        failure: Why it could not be written; ``None`` while it could.
        unwritten: The outcomes that are not in it yet; after a failure, those missing from it.
    """

    def __init__(self, path: str, file: TextIO, *, draft: str | None = None, list_columns: Sequence[str] = ()) -> None:
        self.path = path
        self._list_columns = list_columns
        self._draft = draft
        self.failure: OSError | None = None
        self.unwritten: list[RowOutcome] = []
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._next = 0
        self._early: dict[int, RowOutcome] = {}

    @classmethod
    def create(cls, path: str, list_columns: Sequence[str] = ()) -> Results:
        """Create the file.

        Args:
            path: Where.
            list_columns: The columns of the list, which come after those of the results.

        Raises:
            Problem: It already exists, or cannot be created.
        """
        check_free(path)
        try:
            results = cls(path, _create(path), list_columns=list_columns)
            results._write_head()
        except (OSError, ValueError) as wrong:
            raise _not_creatable(path, wrong) from None
        return results

    @classmethod
    def rewrite(cls, path: str, list_columns: Sequence[str] = ()) -> Results:
        """Write a new file beside that of an earlier run, and replace it once the new one is complete.

        Args:
            path: Where.
            list_columns: As for :meth:`create`.

        Raises:
            Problem: It cannot be created.
        """
        draft = f"{path}.new"
        try:
            Path(draft).unlink(missing_ok=True)  # left by a killed run, or a link to another place
            results = cls(path, _create(draft), draft=draft, list_columns=list_columns)
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
            self._writer.writerows(map(self._row, self.unwritten))
            self._file.flush()
        except OSError as wrong:
            self.failure = wrong
        else:
            self.unwritten.clear()

    def _write_head(self) -> None:
        named = [_own_name(column) for column in self._list_columns if column]
        self._writer.writerow([*COLUMNS, *named])
        self._file.flush()

    def _row(self, outcome: RowOutcome) -> list[Any]:
        padded = itertools.chain(outcome.cells, itertools.repeat(""))
        listed = [_harmless(cell) for column, cell in zip(self._list_columns, padded, strict=False) if column]
        return [*_cells(outcome), *listed]


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
    """Return the cells of :data:`COLUMNS`."""
    return [
        outcome.line,
        _harmless(one_line(outcome.to)),
        outcome.outcome,
        outcome.status,
        *(no_formula(one_line(each or "")) for each in (outcome.server_id, outcome.packet)),
        outcome.parts,
        None if outcome.price is None else f"{outcome.price:f}",
        outcome.error_code,
        no_formula(outcome.error or ""),
    ]


def _harmless(cell: str) -> str:
    return cell if _phone_like(cell) else no_formula(cell)


def _own_name(column: str) -> str:
    """Return the name of a column of the list in the results, where it may mean something else."""
    return f"{_FROM_THE_LIST}{column}" if column in COLUMNS else no_formula(column)
