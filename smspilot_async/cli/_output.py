"""What a person or a program sees: tables, JSON, and lines on stderr.

Nothing here trusts a text: the gateway's, senders' and files' words are never taken for markup, and characters that a
terminal would obey are shown as escapes. stdout carries results, stderr everything else.
"""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# C0, DEL and C1 drive terminals; direction marks and line separators lie about what is written; surrogates can not be.
_unsafe = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_white = re.compile(r"\s+")


def safe(value: object) -> str:
    """Write a value so that a terminal shows it and obeys nothing in it; ``None`` is empty."""
    return "" if value is None else _unsafe.sub(_escape, str(value))


def one_line(text: str) -> str:
    """Fold white space, then make it :func:`safe`."""
    return safe(_white.sub(" ", text).strip())


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    return _NAMED.get(char) or (f"\\x{ord(char):02x}" if ord(char) <= 0xFF else f"\\u{ord(char):04x}")  # noqa: PLR2004


def to_json(value: Any) -> str:
    """Write one JSON document on one line; money and times are strings, with all their digits."""
    written = json.dumps(value, ensure_ascii=not _stdout_is_utf8(), default=_plain, allow_nan=False)
    # Inside a JSON string an escape means the same character, and no terminal obeys it.
    return _unsafe.sub(lambda found: f"\\u{ord(found.group()):04x}", written)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)  # type: ignore[arg-type]  # has() does not narrow to an instance
    return str(value)


def _stdout_is_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


NOBODY_GETS_IT: Final = "nothing is handed to operators"
"""What a test is, for a person who may take it for the real thing."""


def money(value: Decimal | None) -> str:
    """Write roubles with the digits they came with."""
    return "not known" if value is None else f"{value:f} RUB"


def count(number: int, one: str, many: str | None = None) -> str:
    """Count things: ``1 row``, ``1,000 rows``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def lines_as_ranges(lines: Iterable[int], *, most: int = 8) -> str:
    """Write sorted line numbers briefly: ``3, 5-9, 12``; at most so many pieces, then how many more lines there are."""
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
    """Tell whether there is somebody to ask."""
    return sys.stdin.isatty()


def _silence_stdout() -> None:
    # Whoever read our results has gone (``| head``). What was sent stays sent: the command ends as if it were read.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def stderr_console() -> Console:
    """Make the console for progress."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def note(line: str) -> None:
    """Say something that is no result: one line on stderr."""
    click.echo(safe(line), err=True)


def print_json(value: Any) -> None:
    """Print a result for a program."""
    _echo(to_json(value))


def print_line(line: str = "") -> None:
    """Print a line of a result for a person."""
    _echo(safe(line))


def _echo(line: str) -> None:
    try:
        click.echo(line)
    except BrokenPipeError:
        _silence_stdout()


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table for a person; long cells are folded, never cut.

    Args:
        head: The columns' titles.
        rows: Their cells.
        right: Titles of the columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in head:
        table.add_column(Text(title), overflow="fold", justify="right" if title in right else "left")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    _print_table(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one a line; what is not known is left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None and value != "":
            table.add_row(Text(name), Text(safe(value)))
    _print_table(table)


def _print_table(table: Table) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():  # cells are on one line each: `safe` leaves no line end in them
        _echo(line.rstrip())
