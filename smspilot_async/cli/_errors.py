"""Exit codes, and errors turned into one line for a person.

The line says what happened, to which message, whether it was sent, and what to do. It never contains the key: the
library's errors do not, and of any other exception only the type and the place are shown.
"""

from __future__ import annotations

import enum
import re
import traceback
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from smspilot_async.cli._language import said
from smspilot_async.cli._output import lost_output, note, note_verbatim, one_line
from smspilot_async.errors import (
    ERROR_CODES,
    ConnectionFailed,
    GatewayBusy,
    GatewayError,
    InvalidMessage,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    Unanswered,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE: Final = Path(__file__).parent.parent

_DOCTOR: Final = "To find out where it fails, and what to do, run: smspilot doctor."

_subject = re.compile(r"\A\w+(?: of (?:message \d+|a packet of \d+ messages))?: ")


class Exit(enum.IntEnum):
    """The exit codes of every command."""

    FINE = 0
    REFUSED = 1
    USAGE = 2
    UNKNOWN = 3
    FAILED = 4
    OUTPUT_LOST = 5
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Problem(click.ClickException):
    """One line for a person, and the exit code that goes with it.

    Args:
        line: What happened, whether anything was sent, and what to do.
        exit_code: How the command ends.
        error: The library's error, if it raised one.
        facts: Further members of the JSON output.
    """

    def __init__(
        self, line: str, exit_code: int = Exit.USAGE, *, error: SmsPilotError | None = None, **facts: Any
    ) -> None:
        super().__init__(line)
        vars(self)["exit_code"] = int(exit_code)  # click declares it for the class, and reads it from the instance
        self.error = error
        self.facts = facts

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line on stderr."""
        line = f"smspilot: {one_line(said(self.message))}"
        note_verbatim(line) if file is None else click.echo(line, file=file)


def final_code(code: int) -> int:
    """Report output that could not be written, and return the command's exit code."""
    lost = lost_output()
    if lost is None:
        return code
    note(f"smspilot: the output could not be written completely: {lost.strerror or lost}.")
    return code or Exit.OUTPUT_LOST


_NO_ARGUMENTS: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())  # its message is the help; click 8.2


def show(problem: click.ClickException) -> None:
    """Print on stderr what ended the command: one line, preceded by the usage if the command was used wrongly."""
    if not isinstance(problem, click.UsageError):
        problem.show()
        return
    if isinstance(problem, _NO_ARGUMENTS):
        for line in problem.message.splitlines():
            note_verbatim(line)
        return
    if problem.ctx is not None:
        for line in problem.ctx.get_usage().splitlines():
            note_verbatim(line)
        note(f"Try '{problem.ctx.command_path} --help' for help.")
        note("")
    note_verbatim(f"{said('Error:')} {said(problem.format_message())}")


def as_json(problem: click.ClickException) -> Mapping[str, Any]:
    """Return what ended the command as JSON data, in the same shape for every error."""
    ours = problem if isinstance(problem, Problem) else None
    if ours is not None and ours.error is not None:
        return {**ours.facts, "error": error_as_json(ours.error)}
    outcome = Outcome.UNKNOWN if problem.exit_code == Exit.UNKNOWN else Outcome.NOT_SENT
    message = problem.format_message()
    return {
        **(ours.facts if ours is not None else {}),
        "error": {"type": None, "outcome": outcome.value, "code": None, "reason": None, "message": message},
    }


def exit_code(error: SmsPilotError) -> Exit:
    """Return the exit code of a command that failed with this error."""
    match error:
        case OutcomeUnknown():
            return Exit.UNKNOWN
        case InvalidMessage():
            return Exit.USAGE
        case _:
            is_refused = error.outcome is Outcome.REFUSED and error.command == "send"
            return Exit.REFUSED if is_refused else Exit.FAILED


def explain(error: SmsPilotError, *, about: str = "") -> str:
    """Return one line: what happened, to what, whether it was sent, and what to do.

    Args:
        error: The library's error; its own text says most of it.
        about: How to name the message it is about; by default, as the library names it.
    """
    words = f"{about}: {bare(error)}" if about else str(error)
    words = words if words.endswith((".", "!", "?")) else f"{words}."
    return f"{words} Nothing was sent." if isinstance(error, InvalidMessage) else words


def explain_end(error: SmsPilotError, *, about: str = "") -> str:
    """Return a line about what ended a command; if the gateway was not reached, it points to ``smspilot doctor``."""
    line = explain(error, about=about)
    return f"{line} {_DOCTOR}" if isinstance(error, ConnectionFailed) else line


def bare(error: SmsPilotError) -> str:
    """Return an error's text without the library's name for the message or packet."""
    return _subject.sub("", str(error), count=1)


def reason(error: SmsPilotError) -> str:
    """Return the reason in a few words, the same for every message it applies to."""
    match error:
        case GatewayError():
            return f"{_verb(error)}{_code_in_words(error)}"
        case InvalidMessage(code=code):
            return str(error).removesuffix(f" (the gateway's code {code})")
        case OutcomeUnknown():
            return f"may have been sent ({no_answer(error)})"
        case _:
            return bare(error)


def _verb(error: GatewayError) -> str:
    if error.outcome is Outcome.REFUSED:
        return "refused by the gateway"
    return "the gateway is busy" if isinstance(error, GatewayBusy) else "the gateway answered"


def _code_in_words(error: GatewayError) -> str:
    status = "" if error.http_status in {None, HTTPStatus.OK} else f" (HTTP {error.http_status})"
    if error.code is not None and error.code in ERROR_CODES:
        return f": {error.code}, {ERROR_CODES[error.code].text}{status}"
    words = f": {error.code}, an unknown code" if error.code is not None else "" if status else " without a code"
    return f"{words}: {error.description}{status}" if error.description else f"{words}{status}"


def no_answer(error: Unanswered) -> str:
    """Return what came instead of an answer."""
    match error.reason:
        case Reason.HTTP_STATUS:
            return f"HTTP {error.http_status} instead of an answer"
        case Reason.PARTIAL:
            code = error.code if isinstance(error, OutcomeUnknown) else None
            text = f", {ERROR_CODES[code].text}," if code is not None and code in ERROR_CODES else ""
            return f"error {code}{text} for the whole packet, part of which may have been accepted"
        case reason:
            return _NO_ANSWER[reason]


_NO_ANSWER: Final = {
    Reason.TIMEOUT: "no answer in time",
    Reason.DEADLINE: "no answer before the deadline",
    Reason.CANCELLED: "interrupted before the answer came",
    Reason.DISCONNECTED: "the connection broke before the answer",
    Reason.UNREADABLE: "the answer cannot be read",
    Reason.TOO_LARGE: "the answer is too large",
    Reason.MISMATCH: "the answer does not fit the messages",
    Reason.DUPLICATE: "error 243, duplicate, after an earlier attempt, which was probably accepted",
    Reason.SENT_BY_COST: "a price request was answered as a send",
}


def error_as_json(error: SmsPilotError) -> Mapping[str, Any]:
    """Return an error as JSON data."""
    return {
        "type": type(error).__name__,
        "outcome": error.outcome.value,
        "code": getattr(error, "code", None),
        "reason": error.reason.value if isinstance(error, Unanswered) else None,
        "message": str(error),
    }


def unexpected(error: BaseException, *, paid: bool) -> Problem:
    """Return a bug of this program as a line without secrets: its type, and the places it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if _ours(frame)]
    where = " > ".join(places[-4:]) or "the start"
    line = f"a bug in this program, please report it: {type(error).__name__} at {where}."
    if not paid:
        return Problem(line, Exit.FAILED)
    return Problem(f"{line} What it was sending may have been sent.", Exit.UNKNOWN)


def _ours(frame: traceback.FrameSummary) -> bool:
    return Path(frame.filename).is_relative_to(_PACKAGE)
