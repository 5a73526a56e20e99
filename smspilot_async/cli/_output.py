"""Output: tables for a person, JSON for a program, and lines on stderr.

No text is trusted: what comes from the gateway, from senders or from files is never interpreted as markup, and
characters that control a terminal are shown as escapes. stdout carries results, stderr everything else.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import sys
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import attrs
import click
from rich.cells import cell_len, chop_cells
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.text import Text

from smspilot_async.cli._language import below, is_english, label, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from rich.console import RenderableType

    from smspilot_async.errors import Outcome

# C0, DEL and C1 control terminals; direction marks and line separators disguise a text; surrogates cannot be encoded.
_unsafe = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_white = re.compile(r"\s+")
_between_words = re.compile(r"(?<=\s)(?=\S)")
_GAP: Final = "  "
_NARROWEST: Final = 20  # cells beside a hanging indent; with less room there is no indent

Show: TypeAlias = "Callable[[Iterable[tuple[str, Tone]]], None]"
"""Shows lines in place of those before them."""
Tone: TypeAlias = Literal["plain", "title", "good", "bad", "doubt", "quiet"]
"""What a line says, for its colour on a terminal."""
_TONES: Final[Mapping[Tone, Mapping[str, Any]]] = {
    "plain": {},
    "title": {"bold": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "doubt": {"fg": "yellow"},
    "quiet": {"dim": True},
}


def safe(value: object) -> str:
    """Return a value as text with control characters escaped; ``None`` is empty."""
    return "" if value is None else _unsafe.sub(_escape, str(value))


def one_line(text: str) -> str:
    """Return a text on one line: white space folded, then :func:`safe`."""
    return safe(_white.sub(" ", text).strip())


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    return _NAMED.get(char) or (f"\\x{ord(char):02x}" if ord(char) <= 0xFF else f"\\u{ord(char):04x}")  # noqa: PLR2004


def to_json(value: Any) -> str:
    """Return a JSON document on one line; money and times are strings, with all their digits."""
    written = json.dumps(value, ensure_ascii=not stdout_is_utf8(), default=_plain, allow_nan=False)
    # Inside a JSON string an escape means the same character, and does not control a terminal.
    return _unsafe.sub(lambda found: f"\\u{ord(found.group()):04x}", written)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)  # type: ignore[arg-type]  # has() does not narrow to an instance
    return str(value)


def stdout_is_utf8() -> bool:
    """Return whether stdout can take any character."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


NOTHING_HANDED_OVER: Final = "nothing is handed to operators"
"""What a test does, for a person who may mistake it for a real send."""


def outcome_words(outcome: Outcome) -> str:
    """Return an outcome for a person: without the underscore."""
    return outcome.value.replace("_", " ")


def money(value: Decimal | None) -> str:
    """Return roubles with the digits they came with."""
    return "not known" if value is None else f"{value:f} RUB"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 row``, ``1,000 rows``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def lines_as_ranges(lines: Iterable[int], *, most: int = 8) -> str:
    """Return sorted line numbers briefly: ``3, 5-9, 12``; at most `most` ranges, then the number of further lines."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:most]]
    left = sum(last - first + 1 for first, last in runs[most:])
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def on_terminal() -> bool:
    """Return whether stdin is a terminal, so that the user can be asked."""
    return sys.stdin.isatty()


_NO_READER: Final = {errno.EPIPE, errno.EIO}  # the reader of a pipe has exited, a terminal was closed
_failures: list[OSError] = []


def begin_output() -> None:
    """Forget write failures of an earlier command in this process."""
    _failures.clear()


def give_up_stdout(wrong: OSError) -> None:
    """Stop writing to stdout without stopping the work: what was sent stays sent.

    If the reader has exited (``| head``), the command ends as if everything had been read.
    """
    _failures.append(wrong)
    _silence(sys.stdout)


def is_output_taken() -> bool:
    """Whether all that was printed has reached stdout."""
    return not _failures


def lost_output() -> OSError | None:
    """Return why stdout could not be written, such as a full disk; ``None`` if it was, or if its reader has exited."""
    return next((wrong for wrong in _failures if wrong.errno not in _NO_READER), None)


def _silence(stream: IO[str]) -> None:
    # At exit Python flushes what a stream still holds; if that fails, it exits with a code of its own.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _ClosableStream:
    """A terminal's stream; once the terminal is closed, nothing is written and nothing is raised."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or ignore that it is not possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or ignore that it is not possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bar(Progress):
    """A bar with its figures on one line and the description below it, which leaves no room beside the bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the lines to draw."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(said(task.description))

    def stop(self) -> None:
        """End it; where it is silent, rich below 14.3 writes an empty line all the same."""
        if not self.disable:
            super().stop()


def progress_bar(*, transient: bool = False) -> Progress:
    """Return a progress bar on stderr: disabled unless stderr is a terminal; a transient one is erased at its end."""
    console = _stderr_console()
    return _Bar(
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    )


def _stderr_console() -> Console:
    return Console(file=cast("IO[str]", _ClosableStream(sys.stderr)), markup=False, emoji=False, highlight=False)


@contextlib.contextmanager
def live_lines() -> Iterator[Show]:
    """Show lines on stderr that may be replaced, and erase them in the end; without a terminal, show nothing.

    Yields:
        What shows them.
    """
    console = _stderr_console()
    if not console.is_terminal:
        yield lambda _lines: None
        return
    # Nothing else is printed meanwhile, and stdout keeps its encoding.
    own: dict[str, Any] = {"auto_refresh": False, "redirect_stdout": False, "redirect_stderr": False}
    with Live(console=console, transient=True, **own) as live:

        def show(lines: Iterable[tuple[str, Tone]]) -> None:
            live.update(Group(*(Text(safe(said(line)), _rich_style(tone)) for line, tone in lines)), refresh=True)

        yield show


def _rich_style(tone: Tone) -> str:
    return " ".join(str(value) if name == "fg" else name for name, value in _TONES[tone].items())


def toned(text: str, tone: Tone) -> str:
    """Return a text with a tone's colour, unless ``NO_COLOR`` or the kind of terminal forbids it.

    Where stdout is not a terminal, it is removed when it is printed.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not _TONES[tone]:
        return text
    return click.style(text, **_TONES[tone])


def note(line: str) -> None:
    """Print one line on stderr in the user's language, broken between words on a terminal."""
    note_verbatim(said(line))


def note_verbatim(line: str) -> None:
    """Print one line on stderr as it is."""
    try:
        click.echo(for_reading(safe(line), sys.stderr), err=True)
    except OSError:  # the terminal was closed or the disk is full: that must not end the work
        _silence(sys.stderr)


def print_json(value: Any) -> None:
    """Print a result for a program."""
    _echo(to_json(value))


def print_line(line: str = "", *, indent: int = 0, tone: Tone = "plain") -> None:
    """Print a line of a result in the user's language; on a terminal it is broken between words, and indented."""
    print_verbatim(said(line), indent=indent, tone=tone)


def print_verbatim(line: str, *, indent: int = 0, tone: Tone = "plain") -> None:
    """Print a line as it is, for it holds texts of others, or is in the user's language already."""
    for piece in for_reading(safe(line), sys.stdout, indent=indent).split("\n"):
        _echo(toned(piece, tone))


_YES: Final = frozenset({"y", "yes", "д", "да"})
_NO: Final = frozenset({"", "n", "no", "н", "нет"})


def is_confirmed(question: str) -> bool:
    """Ask on stderr, in the user's language, until the answer is yes or no; no answer is a no.

    Raises:
        click.Abort: Ctrl-C, or the end of the input.
    """
    shown = for_reading(said(question), sys.stderr)
    if is_english():
        return click.confirm(shown, show_default=False, err=True)
    while True:
        answer = str(click.prompt(shown, default="", show_default=False, err=True)).strip().lower()
        if answer in _YES | _NO:
            return answer in _YES
        note("Error: invalid input")


class SaidLines:
    """A stdout whose lines are put into the user's language; for one who prints lines and knows of no language."""

    def write(self, text: str) -> int:
        """Write a line."""
        return sys.stdout.write(said(text))

    def flush(self) -> None:
        """Write what is held back."""
        sys.stdout.flush()

    @property
    def encoding(self) -> str:
        """Stdout's."""
        return sys.stdout.encoding

    def fileno(self) -> int:
        """Return stdout's descriptor, for lines of a log, which stay as they are."""
        return sys.stdout.fileno()


def for_reading(line: str, stream: IO[str], *, indent: int = 0) -> str:
    """Return a line broken between words to the width of the terminal; for a pipe or a file, unchanged."""
    width = _terminal_width(stream)
    if width is None:
        return line
    indent = indent if width - indent >= _NARROWEST else 0
    head, *rest = wrapped(line[indent:], width - indent)
    return "\n".join([line[:indent] + head, *(" " * indent + each for each in rest)])


def stdout_width() -> int:
    """Return the width of stdout in cells: ``COLUMNS``, else the terminal's, else 80."""
    return Console().width


def _terminal_width(stream: IO[str]) -> int | None:
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):  # the last: started without this stream
        return None
    wanted = os.environ.get("COLUMNS", "")  # as rich and click do
    return int(wanted) if wanted.isdigit() and int(wanted) else width or None


def wrapped(text: str, width: int) -> list[str]:
    """Break a text between words into lines of at most `width` cells; only longer words are cut."""
    lines, line = [], ""
    for word in _between_words.split(text):
        if line and cell_len((line + word).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        *whole, line = chop_cells(line + word, width) if cell_len(word.rstrip()) > width else [line + word]
        lines += whole
    return [*lines, line.rstrip()]


def _echo(line: str) -> None:
    try:
        click.echo(line)
    except OSError as wrong:
        give_up_stdout(wrong)


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table for a person; cells are broken between words, and nothing is cut off.

    If the columns would be too narrow for their words, each row is printed as a block of lines.

    Args:
        head: The columns' titles.
        rows: Their cells.
        right: Titles of the columns that are aligned to the right.
    """
    width = stdout_width()
    cells = [[safe(below(title, cell)) for title, cell in zip(head, row, strict=True)] for row in rows]
    titles = [label(title) for title in head]
    widths = _fitted([titles, *cells], width)
    if widths is None:
        for row in cells:
            _print_named(dict(zip(titles, row, strict=True)))
            _echo("")
        return
    to_right = [title in right for title in head]
    _print_row(titles, widths, to_right, is_head=True)
    for row in cells:
        _print_row(row, widths, to_right)


def _fitted(rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Return column widths at which no word that fits on a line is broken; ``None`` if there are none."""
    longest_title = max(map(cell_len, rows[0]))
    columns = list(zip(*rows, strict=True))
    least = [max(_longest_word(cell, width - longest_title - len(_GAP)) for cell in column) for column in columns]
    widths = [max(map(cell_len, column)) for column in columns]
    room = width - len(_GAP) * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        shrinkable = [number for number, each in enumerate(widths) if each > least[number]]
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths


def _longest_word(cell: str, width: int) -> int:
    return max((length for length in map(cell_len, cell.split()) if length <= width), default=1)


def _print_row(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool], *, is_head: bool = False) -> None:
    blocks = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for pieces in itertools.zip_longest(*blocks, fillvalue=""):
        padded = (_padded(*each) for each in zip(pieces, widths, to_right, strict=True))
        line = _GAP.join(padded).rstrip()
        _echo(toned(line, "title") if is_head else line)


def _padded(text: str, width: int, to_right: bool) -> str:  # noqa: FBT001 - it is called with zipped values
    space = " " * (width - cell_len(text))
    return space + text if to_right else text + space


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in the user's language, one per line; unknown values are omitted."""
    known = {name: value for name, value in facts.items() if value is not None and value != ""}
    _print_named({label(name): safe(below(name, value)) for name, value in known.items()})


def _print_named(facts: Mapping[str, str]) -> None:
    known = {name: value for name, value in facts.items() if value}
    indent = max(map(cell_len, known), default=0) + len(_GAP)
    room = max(stdout_width() - indent, 1)
    for name, value in known.items():
        first, *rest = wrapped(value, room)
        _echo(toned(_padded(name, indent, to_right=False), "title") + first)
        for line in rest:
            _echo(" " * indent + line)
