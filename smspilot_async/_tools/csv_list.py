"""The file of a list: its bytes, encoding, delimiter, and rows with their line numbers.

An error in the file as a whole is a :class:`ListError`; an error in a row affects only that row. A list can be read as
often as needed: :meth:`CsvList.open` keeps its bytes, so that each pass sees the same rows even if the file changes in
between; :meth:`CsvList.stream` keeps nothing of it, however large it is.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import io
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async._tools.template import brief, column_list, column_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO, Self, TypeAlias

    Opener: TypeAlias = Callable[[], BinaryIO]

__all__ = ["STDIN", "UTF8", "CsvList", "ListError", "RawRow", "check_columns"]

STDIN: Final = "-"
UTF8: Final = "utf-8"

_DELIMITERS: Final = ",;\t"
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM: Final = "\ufeff"
_LARGEST_CELL: Final = 131_072
_LONGEST: Final = 2**20  # of a line in bytes, and of a row in characters: a longer one is not a list
_MOST_COLUMNS: Final = 16_384  # as many as a spreadsheet has
_separator = re.compile(r"\"?sep=(.)\"?[\r\n]*", re.IGNORECASE).fullmatch


class ListError(ValueError):
    """A file cannot be used as a list; the line says why and what to do.

    Attributes:
        missing: The column that it lacks, if that is why.
    """

    def __init__(self, line: str, *, missing: str | None = None) -> None:
        super().__init__(line)
        self.missing = missing


class _RowTooLongError(Exception):
    """A row exceeds the limit, usually by an unclosed quote."""


class _Lines:
    """The file's lines for the CSV reader. The length of a row is limited: an unclosed quote would fill the memory."""

    def __init__(self, opener: Opener, codec: str) -> None:
        self._text = io.TextIOWrapper(opener(), encoding=codec, newline="")
        self._is_first = True
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

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
        line: The line it starts on, the file's first being 1.
        cells: Its cells, in the order of the columns; fewer if the row ends early.
        fault: Why it cannot be read; ``None`` if it can.
    """

    line: int
    cells: tuple[str, ...] = attrs.field(repr=False)
    fault: str | None = None


@attrs.frozen
class CsvList:
    """A file that can be read as a list of recipients.

    Attributes:
        name: Its name in messages to the user.
        columns: The header's names, normalised by :func:`column_name`; ``""`` for a column without a name.
        delimiter: The character between the cells.
    """

    name: str
    columns: tuple[str, ...]
    delimiter: str
    _open: Opener = attrs.field(repr=False)
    _encoding: str
    _lines_before: int = 0
    """1 where the first line names the separator, as spreadsheets write it: ``sep=;``."""

    @classmethod
    def open(cls, path: str, encoding: str = UTF8, *, required: Sequence[str] = ("to",)) -> CsvList:
        """Read a file into memory, or stdin for ``-``.

        Args:
            path: The file.
            encoding: Its encoding.
            required: Columns that it must have.

        Raises:
            ListError: The file cannot be used.
        """
        name = _name(path)
        with _reading(path, name) as file:
            data = b"".join(_chunks(file, name))
        return cls._checked(partial(io.BytesIO, data), name, encoding, required)

    @classmethod
    def stream(cls, path: str, encoding: str = UTF8, *, required: Sequence[str] = ("to",)) -> CsvList:
        """Read a file as it is needed, after one look at all of it; the file must not change meanwhile.

        Args:
            path: The file; stdin can be read once only, so it is not one.
            encoding: Its encoding.
            required: Columns that it must have.

        Raises:
            ListError: The file cannot be used.
        """
        with _reading(path, path) as file:
            for _ in _chunks(file, path):
                pass
        return cls._checked(partial(_opened, path), path, encoding, required)

    @classmethod
    def _checked(cls, opener: Opener, name: str, encoding: str, required: Sequence[str]) -> CsvList:
        codec = _check_encoding(opener, encoding, name)
        separator = _named_separator(opener, codec)
        delimiter, columns = _read_header(opener, codec, name, separator, required)
        return cls(name, columns, delimiter, opener, codec, 0 if separator is None else 1)

    @property
    def digest(self) -> str:
        """A digest that identifies the content."""
        digest = hashlib.sha256()
        for piece in _pieces(self._open):
            digest.update(piece)
        return digest.hexdigest()

    @property
    def lines(self) -> int:
        """The number of lines, including the header and those inside quotes."""
        with io.TextIOWrapper(self._open(), encoding=self._encoding, newline="") as text:
            return sum(1 for _ in text)

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows below the header; blank ones are skipped.

        Raises:
            ListError: The file cannot be read any more, or has changed.
        """
        try:
            with _Lines(self._open, self._encoding) as lines:
                yield from self._rows(lines)
        except UnicodeError:
            problem = ListError(f"{self.name} has changed while it was read: it is no longer in its encoding.")
        except OSError as wrong:
            problem = ListError(f"{self.name} cannot be read: {wrong.strerror or wrong}.")
        else:
            return
        raise problem

    def _rows(self, lines: _Lines) -> Iterator[RawRow]:
        for _ in range(self._lines_before):
            next(lines)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        next(reader)
        while True:
            before = self._lines_before
            line = before + reader.line_num + 1
            lines.begin_row()
            try:
                cells = next(reader, None)
            except (csv.Error, _RowTooLongError) as wrong:
                yield RawRow(line, (), _quote_fault(wrong, line, before + reader.line_num))
                continue
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield RawRow(line, tuple(cells), _length_fault(cells, self.columns))


def _opened(path: str) -> BinaryIO:
    return Path(path).open("rb")


def _name(path: str) -> str:
    return "stdin" if path == STDIN else path


@contextlib.contextmanager
def _reading(path: str, name: str) -> Iterator[BinaryIO]:
    problem: ListError
    try:
        if path == STDIN:
            yield sys.stdin.buffer
        else:
            with Path(path).open("rb") as file:
                yield file
    except ListError:
        raise
    except IsADirectoryError:
        problem = ListError(f"{name} is a directory, not a file.")
    except FileNotFoundError:
        problem = ListError(f"there is no file {name}.")
    except (OSError, ValueError) as wrong:
        problem = ListError(f"{name} cannot be read: {getattr(wrong, 'strerror', None) or wrong}.")
    else:
        return
    raise problem


def _chunks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the content; a line that is too long ends the reading early, after two megabytes of two gigabytes."""
    ends_seen = returns_seen = unended = 0
    is_blank = True
    while chunk := file.read(_LONGEST):  # no longer than a line may be: only the first line in it can be too long
        ends = chunk.replace(b"\r", b"\n")
        if unended + (ends + b"\n").index(b"\n") > _LONGEST:
            raise ListError(
                f"{name}, line {(ends_seen or returns_seen) + 1}: longer than {_LONGEST:,} bytes, the limit of a line; "
                "a list is a CSV file with a row per message."
            )
        last = ends.rfind(b"\n")
        unended = len(chunk) - 1 - last if last >= 0 else unended + len(chunk)
        ends_seen += chunk.count(b"\n")
        returns_seen += chunk.count(b"\r")
        is_blank = is_blank and chunk.isspace()
        yield chunk
    if is_blank:
        raise ListError(f"{name} is empty; it needs a header with the column 'to', and a row per message below it.")


def _check_encoding(opener: Opener, encoding: str, name: str) -> str:
    codec = _codec(encoding)
    if _starts_with_utf16_mark(opener) and not codec.startswith(("utf-16", "utf-32")):
        raise ListError(f"{name} is in UTF-16: save it as UTF-8, or add --encoding utf-16.")
    is_utf8 = codec in {"utf-8", "utf-8-sig"}
    if not is_utf8 and not _is_ascii(opener) and _wrong_line(opener, "utf-8") is None:
        raise ListError(f"{name} is in UTF-8, not in {encoding}: omit --encoding {encoding}.")
    if (line := _wrong_line(opener, codec)) is not None:
        where = f"{name}, line {line}: not in {encoding}"
        if is_utf8 and _wrong_line(opener, "cp1251") is None:
            raise ListError(f"{where}; if it comes from Excel or 1C, add --encoding cp1251.")
        raise ListError(f"{where}; name the file's encoding with --encoding.")
    if _was_misread(opener, codec):
        raise ListError(
            f"{name} holds text like 'РџСЂРёРІРµС‚': it was UTF-8, but read as cp1251 and then saved; "
            "export it again as UTF-8."
        )
    return "utf-8-sig" if is_utf8 else codec


def _codec(encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)
        codecs.getincrementaldecoder(codec)
    except (LookupError, ValueError):
        raise ListError(f"--encoding {encoding}: no such encoding; utf-8 and cp1251 are the usual ones.") from None
    return codec


def _starts_with_utf16_mark(opener: Opener) -> bool:
    with opener() as file:
        return file.read(len(_UTF16_MARKS[0])) in _UTF16_MARKS


def _pieces(opener: Opener) -> Iterator[bytes]:
    with opener() as file:
        while chunk := file.read(_LONGEST):
            yield chunk


def _is_ascii(opener: Opener) -> bool:
    return all(chunk.isascii() for chunk in _pieces(opener))


def _wrong_line(opener: Opener, codec: str) -> int | None:
    """Return the first line that a codec cannot decode; ``None`` if it decodes all."""
    decoder = codecs.getincrementaldecoder(codec)()
    before, chunk = 0, b""
    try:
        for chunk in _pieces(opener):
            decoder.decode(chunk)
            before += chunk.count(b"\n")
        chunk = b""
        decoder.decode(b"", final=True)
    except UnicodeError as wrong:
        start = wrong.start if isinstance(wrong, UnicodeDecodeError) else 0
        return before + chunk.count(b"\n", 0, start) + 1
    return None


def _was_misread(opener: Opener, codec: str) -> bool:
    """Return whether Cyrillic text encoded in cp1251 is valid UTF-8, which it is not by chance."""
    decoder, again = codecs.getincrementaldecoder(codec)(), codecs.getincrementaldecoder("utf-8")()
    is_ascii = is_first = True
    try:
        for chunk in _pieces(opener):
            text = decoder.decode(chunk)
            text, is_first = text.removeprefix(_BOM) if is_first else text, False
            is_ascii = is_ascii and text.isascii()
            again.decode(text.encode("cp1251"))
        again.decode(b"", final=True)
    except UnicodeError:
        return False
    return not is_ascii


def _named_separator(opener: Opener, codec: str) -> str | None:
    with _Lines(opener, codec) as lines:
        try:
            found = _separator(next(lines, ""))
        except _RowTooLongError:
            return None
        return None if found is None else found[1]


def _read_header(
    opener: Opener, codec: str, name: str, separator: str | None, required: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    skipped = 0 if separator is None else 1
    where = f"the header (line {skipped + 1})"
    splits = {each: _first_row(opener, codec, each, skipped) for each in separator or _DELIMITERS}
    wanted = {column_name(column) for column in required}
    delimiter = max(splits, key=lambda each: (len(wanted.intersection(splits[each])), len(splits[each])))
    columns = splits[delimiter]
    check_columns(columns, required, name, where)
    return delimiter, columns


def check_columns(columns: Sequence[str], required: Sequence[str], name: str, where: str) -> None:
    """Check the header of a list.

    Args:
        columns: Its names, as :func:`column_name` writes them.
        required: Those that it must have.
        name: The file's name, for the message.
        where: What to call the header, for the message.

    Raises:
        ListError: It will not do.
    """
    if len(columns) > _MOST_COLUMNS:
        raise ListError(f"{name}: {where} has {len(columns):,} columns; a list has {_MOST_COLUMNS:,} at most.")
    repeated = sorted(column for column, times in Counter(columns).items() if column and times > 1)
    if repeated:
        raise ListError(f"{name}: the header has the column {brief(repeated[0])!r} twice.")
    for column in required:
        if column_name(column) not in columns:
            raise ListError(
                f"{name}: {where} has no column {column!r}; it has: {column_list(columns)}.", missing=column
            )


def _first_row(opener: Opener, codec: str, delimiter: str, skipped: int) -> tuple[str, ...]:
    with _Lines(opener, codec) as lines:
        for _ in range(skipped):
            next(lines)
        try:
            return tuple(column_name(cell) for cell in next(csv.reader(lines, delimiter=delimiter, strict=True), []))
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
