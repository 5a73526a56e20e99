"""The file of a list: its bytes, encoding, delimiter, and rows with their line numbers.

An error in the file as a whole ends the command before anything is sent; an error in a row affects only that row. The
bytes are read once and parsed as often as needed, so that both passes over the list (the plan, then the sending) see
the same rows, even if the file changes in between.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk._template import brief, column_list, column_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Self

STDIN: Final = "-"
UTF8: Final = "utf-8"

_DELIMITERS: Final = ",;\t"
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM: Final = "\ufeff"
_LARGEST_CELL: Final = 131_072
_LONGEST: Final = 2**20  # of a line in bytes, and of a row in characters: a longer one is not a list
_MOST_COLUMNS: Final = 16_384  # as many as a spreadsheet has


class _RowTooLongError(Exception):
    """A row exceeds the limit, usually by an unclosed quote."""


class _Lines:
    """The file's lines for the CSV reader. The length of a row is limited: an unclosed quote would fill the memory."""

    def __init__(self, data: bytes, codec: str) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(data), encoding=codec, newline="")
        self._is_first = True
        self._length = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        if self._is_first:  # codecs with a fixed byte order keep the mark in the text, and some files have two
            self._is_first, line = False, line.lstrip(_BOM)
        self._length += len(line)
        if self._length > _LONGEST:
            raise _RowTooLongError
        return line

    def begin_row(self) -> None:
        self._length = 0


@attrs.frozen
class RawRow:
    """A row of the file.

    Attributes:
        line: The line it starts on, the header being 1.
        cells: Its cells, in the order of the columns; fewer if the row ends early.
        fault: Why it cannot be read; ``None`` if it can.
    """

    line: int
    cells: tuple[str, ...] = attrs.field(repr=False)
    fault: str | None = None


@attrs.frozen
class Source:
    """A file that can be read as a list of recipients.

    Attributes:
        name: Its name in messages to the user.
        columns: The header's names, normalised by :func:`column_name`; ``""`` for a column without a name.
        delimiter: The character between the cells.
    """

    name: str
    columns: tuple[str, ...]
    delimiter: str
    _data: bytes = attrs.field(repr=False)
    _encoding: str

    @classmethod
    def open(cls, path: str, encoding: str = UTF8) -> Source:
        """Read a file, or stdin for ``-``.

        Raises:
            Problem: The file cannot be used; the line says why and what to do.
        """
        name = "stdin" if path == STDIN else path
        data = _read_bytes(path, name)
        codec = _check_encoding(data, encoding, name)
        delimiter, columns = _read_header(data, codec, name)
        return cls(name, columns, delimiter, data, codec)

    @property
    def digest(self) -> str:
        """A digest that identifies the content."""
        return hashlib.sha256(self._data).hexdigest()

    @property
    def lines(self) -> int:
        """The number of lines, including the header and those inside quotes."""
        return sum(1 for _ in io.TextIOWrapper(io.BytesIO(self._data), encoding=self._encoding, newline=""))

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows below the header; blank ones are skipped."""
        lines = _Lines(self._data, self._encoding)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        next(reader)
        while True:
            line = reader.line_num + 1
            lines.begin_row()
            try:
                cells = next(reader, None)
            except (csv.Error, _RowTooLongError) as wrong:
                yield RawRow(line, (), _quote_fault(wrong, line, reader.line_num))
                continue
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield RawRow(line, tuple(cells), _length_fault(cells, self.columns))


def _read_bytes(path: str, name: str) -> bytes:
    try:
        if path == STDIN:
            data = _read_lines(sys.stdin.buffer, name)
        else:
            with Path(path).open("rb") as file:
                data = _read_lines(file, name)
    except IsADirectoryError:
        raise Problem(f"{name} is a directory, not a file.") from None
    except FileNotFoundError:
        raise Problem(f"there is no file {name}.") from None
    except (OSError, ValueError) as wrong:
        raise Problem(f"{name} cannot be read: {getattr(wrong, 'strerror', None) or wrong}.") from None
    if not data or data.isspace():
        raise Problem(f"{name} is empty; it needs a header with the column 'to', and a row per message below it.")
    return data


def _read_lines(file: BinaryIO, name: str) -> bytes:
    """Return the content; a line that is too long ends the reading early, after two megabytes of two gigabytes."""
    chunks: list[bytes] = []
    unended = 0
    while chunk := file.read(_LONGEST):  # no longer than a line may be: only the first line in it can be too long
        ends = chunk.replace(b"\r", b"\n")
        if unended + (ends + b"\n").index(b"\n") > _LONGEST:
            raise Problem(
                f"{name}, line {_line_ends(chunks) + 1}: longer than {_LONGEST:,} bytes, the limit of a line; "
                "a list is a CSV file with a row per message."
            )
        last = ends.rfind(b"\n")
        unended = len(chunk) - 1 - last if last >= 0 else unended + len(chunk)
        chunks.append(chunk)
    return b"".join(chunks)


def _line_ends(chunks: list[bytes]) -> int:
    return sum(chunk.count(b"\n") for chunk in chunks) or sum(chunk.count(b"\r") for chunk in chunks)


def _check_encoding(data: bytes, encoding: str, name: str) -> str:
    codec = _codec(encoding)
    if data.startswith(_UTF16_MARKS) and not codec.startswith(("utf-16", "utf-32")):
        raise Problem(f"{name} is in UTF-16: save it as UTF-8, or add --encoding utf-16.")
    is_utf8 = codec in {"utf-8", "utf-8-sig"}
    if not is_utf8 and not data.isascii() and _decodes(data, "utf-8"):
        raise Problem(f"{name} is in UTF-8, not in {encoding}: omit --encoding {encoding}.")
    try:
        text = data.decode(codec)
    except UnicodeError as wrong:
        raise Problem(_undecodable(data, wrong, encoding, name, is_utf8=is_utf8)) from None
    if _was_misread(text):
        raise Problem(
            f"{name} holds text like 'РџСЂРёРІРµС‚': it was UTF-8, but read as cp1251 and then saved; "
            "export it again as UTF-8."
        )
    return "utf-8-sig" if is_utf8 else codec


def _codec(encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)
    except (LookupError, ValueError):
        raise Problem(f"--encoding {encoding}: no such encoding; utf-8 and cp1251 are the usual ones.") from None
    return codec


def _undecodable(data: bytes, wrong: UnicodeError, encoding: str, name: str, *, is_utf8: bool) -> str:
    start = wrong.start if isinstance(wrong, UnicodeDecodeError) else 0
    line = data.count(b"\n", 0, start) + 1
    where = f"{name}, line {line}: not in {encoding}"
    if is_utf8 and _decodes(data, "cp1251"):
        return f"{where}; if it comes from Excel or 1C, add --encoding cp1251."
    return f"{where}; name the file's encoding with --encoding."


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeError:
        return False
    return True


def _was_misread(text: str) -> bool:
    text = text.removeprefix(_BOM)
    if text.isascii():
        return False
    try:
        # Cyrillic text encoded in cp1251 is not valid UTF-8 by chance.
        text.encode("cp1251").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _read_header(data: bytes, codec: str, name: str) -> tuple[str, tuple[str, ...]]:
    splits = {delimiter: _first_row(data, codec, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda each: ("to" in splits[each], len(splits[each])))
    columns = splits[delimiter]
    if len(columns) > _MOST_COLUMNS:
        raise Problem(
            f"{name}: the header (line 1) has {len(columns):,} columns; a list has {_MOST_COLUMNS:,} at most."
        )
    repeated = sorted(column for column, times in Counter(columns).items() if column and times > 1)
    if repeated:
        raise Problem(f"{name}: the header has the column {brief(repeated[0])!r} twice.")
    if "to" not in columns:
        raise Problem(f"{name}: the header (line 1) has no column 'to'; it has: {column_list(columns)}.")
    return delimiter, columns


def _first_row(data: bytes, codec: str, delimiter: str) -> tuple[str, ...]:
    reader = csv.reader(_Lines(data, codec), delimiter=delimiter, strict=True)
    try:
        return tuple(column_name(cell) for cell in next(reader, []))
    except (csv.Error, _RowTooLongError):
        return ()


def _quote_fault(wrong: Exception, line: int, last: int) -> str:
    lines = f"lines {line} to {last}" if last > line else f"line {line}"
    if isinstance(wrong, _RowTooLongError):
        return f"a row of more than {_LONGEST:,} characters in {lines}: a quote is not closed"
    if "expected after" in str(wrong):
        return f"text after a closing quote: a quote in {lines} is not doubled, or not closed where it should be"
    if "field larger" in str(wrong):
        return f"a cell of more than {_LARGEST_CELL:,} characters in {lines}: a quote is not closed"
    return f"a quote opened in {lines} is never closed"


def _length_fault(cells: list[str], columns: tuple[str, ...]) -> str | None:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        return f"{len(cells)} cells, but the header has {len(columns)}: a text with the delimiter in it needs quotes"
    return None
