"""The lists of campaigns: rows of a file or a query, as text, one after the other.

:func:`read_rows` and :func:`sql_rows` give ``(line, values)``: the line to name to a person, and what stands in the
row by column, or why the row cannot be read. A file is never held in memory, but for a spreadsheet's. What cannot be
used as a list at all is a :class:`ListError` before the first row. Nothing here knows what a row is sent as, but for
:func:`recipient_phone` and :func:`parse_kind`, which read single cells.
"""

from __future__ import annotations

import itertools
import math
import re
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from smspilot_async._tools.csv_list import UTF8, CsvList, ListError, check_columns
from smspilot_async._tools.template import column_name
from smspilot_async.errors import InvalidMessage
from smspilot_async.outbox._extras import require_parquet, require_xlsx
from smspilot_async.text import Country, describe_phone, normalize_phone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "ListError",
    "ListRows",
    "ListSample",
    "Row",
    "parse_kind",
    "read_rows",
    "recipient_phone",
    "sample_list",
    "sql_rows",
]

Row: TypeAlias = "tuple[int, dict[str, str] | InvalidMessage]"
"""The line of a row, and its cells by column, or why it cannot be read (code 240)."""

_SPREADSHEETS: Final = {".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"}
_PARQUET: Final = {".parquet", ".pq"}
_ENCODINGS: Final = (UTF8, "cp1251", "utf-16")
_AT_ONCE: Final = 2_000
_BAD_ROW: Final = 240
_UNSUPPORTED_ZONE: Final = 213
_WRONG_PHONE: Final = 111
_fraction = re.compile(r"(\d{7,15})[.,]0+", re.ASCII).fullmatch
_KINDS: Final = {
    **dict.fromkeys(("code", "код", "коды"), "code"),
    **dict.fromkeys(("service", "сервис", "сервисное", "сервисный", "транзакционное", "transactional"), "service"),
    **dict.fromkeys(("marketing", "реклама", "рекламное", "рекламный", "маркетинг"), "marketing"),
}


class ListRows:
    """The rows of a list, read anew each time they are iterated over.

    Attributes:
        name: What to call it to a person.
        columns: The names of its columns, casefolded and stripped, after `map`; those without a name are left out.
    """

    def __init__(
        self,
        name: str,
        header: Sequence[str],
        rows: Callable[[], Iterator[tuple[int, Sequence[Any] | str]]],
        renamed: Mapping[str, str],
        digest: Callable[[], str] | None = None,
    ) -> None:
        self.name = name
        self._rows = rows
        self._digest = digest
        self._places = _places(header, renamed)
        self.columns: tuple[str, ...] = tuple(self._places)

    def __iter__(self) -> Iterator[Row]:
        places = tuple(self._places.items())
        for line, cells in self._rows():
            if isinstance(cells, str):
                yield line, InvalidMessage(cells, field="row", code=_BAD_ROW)
            else:
                yield line, {column: _text(cells[place]) for column, place in places if place < len(cells)}

    def digest(self) -> str | None:
        """Return a digest of the file, by which a changed list is known; ``None`` of a query."""
        return None if self._digest is None else self._digest()


def read_rows(path: str | Path, *, map: Mapping[str, str] | None = None, encoding: str = UTF8) -> ListRows:  # noqa: A002 - the contract's word
    """Return the rows of a file: CSV, a spreadsheet (its first sheet) or Parquet, by its suffix.

    It looks at the whole file at once: in an event loop, ``await asyncio.to_thread(read_rows, path)``.

    Args:
        path: The file. ``-`` is a CSV on stdin, which is then held in memory.
        map: Which column of the file is meant by a name: ``{"to": "Телефон"}``.
        encoding: Of a CSV file. Its delimiter is a comma, a semicolon or a tab, or is named by ``sep=;`` in the first
            line.

    Raises:
        ListError: It cannot be used as a list: not there, not in this encoding, without a column ``to``.
        ImportError: An extra is missing: ``xlsx``, ``parquet``.
    """
    renamed = {column_name(name): column_name(column) for name, column in (map or {}).items()}
    required = [*(map or {}).values(), *(() if "to" in renamed else ("to",))]
    return _opened(path, required, renamed, encoding)


@attrs.frozen(kw_only=True)
class ListSample:
    """What a list looks like before it is known which column is which.

    Attributes:
        columns: Its header, casefolded and stripped; ``""`` for a column without a name.
        rows: Its first rows: cells by column.
        encoding: Of a CSV file, as it was found.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...] = attrs.field(repr=False)
    encoding: str


def sample_list(path: str | Path, *, rows: int = 5) -> ListSample:
    """Return the columns and first rows of a file, whatever its columns are called; of a CSV find the encoding.

    It looks at the whole file at once: in an event loop, ``await asyncio.to_thread(sample_list, path)``.

    Args:
        path: As for :func:`read_rows`.
        rows: How many.

    Raises:
        ListError: It cannot be read.
        ImportError: As for :func:`read_rows`.
    """
    problem: ListError | None = None
    for encoding in _ENCODINGS:
        try:
            listed = _opened(path, (), {}, encoding)
            first = itertools.islice((cells for _, cells in listed if not isinstance(cells, InvalidMessage)), rows)
            return ListSample(columns=listed.columns, rows=tuple(first), encoding=encoding)
        except ListError as error:
            problem = problem or error
    assert problem is not None  # noqa: S101 - one of them has failed
    raise problem


def _opened(path: str | Path, required: Sequence[str], renamed: Mapping[str, str], encoding: str) -> ListRows:
    suffix = Path(path).suffix.casefold()
    if suffix in _SPREADSHEETS:
        return _spreadsheet(Path(path), required, renamed)
    if suffix in _PARQUET:
        return _parquet(Path(path), required, renamed)
    opener = CsvList.open if str(path) == "-" else CsvList.stream
    listed = opener(str(path), encoding, required=required)

    def rows() -> Iterator[tuple[int, Sequence[Any] | str]]:
        return ((row.line, row.fault or row.cells) for row in listed.rows())

    return ListRows(listed.name, listed.columns, rows, renamed, lambda: listed.digest)


def sql_rows(url: str, query: str, *, map: Mapping[str, str] | None = None) -> ListRows:  # noqa: A002 - as above
    """Return the rows of a query, streamed. A row's line is its number, from 1.

    Args:
        url: Of any database that SQLAlchemy can reach.
        query: A SELECT with an ORDER BY: a killed import continues by these numbers.
        map: As for :func:`read_rows`.

    Raises:
        ListError: The query fails, or its columns will not do.
    """
    renamed = {column_name(name): column_name(column) for name, column in (map or {}).items()}
    engine = _engine(url)

    def results() -> Iterator[Any]:
        options = {"stream_results": True, "yield_per": _AT_ONCE, "no_parameters": True}
        problem: ListError
        try:
            with (
                engine.connect() as connection,
                # psycopg warns of a cursor that is open when its connection closes.
                closing(connection.execution_options(**options).exec_driver_sql(query)) as result,
            ):
                yield tuple(result.keys()) if result.returns_rows else ()
                yield from result if result.returns_rows else ()
        except DBAPIError as error:
            problem = ListError(f"the query fails: {str(error.orig).partition(chr(10))[0]}.")
        except SQLAlchemyError as error:
            problem = ListError(f"the query cannot be run ({type(error).__name__}).")
        else:
            return
        finally:
            engine.dispose()
        raise problem

    def rows() -> Iterator[tuple[int, Sequence[Any] | str]]:
        found = results()
        next(found)
        yield from enumerate(found, 1)

    looking = results()
    header = [column_name(column) for column in next(looking)]
    looking.close()  # type: ignore[attr-defined] # it is a generator
    check_columns(header, [*(map or {}).values(), *(() if "to" in renamed else ("to",))], "the query", "its result")
    return ListRows("the query", header, rows, renamed)


def recipient_phone(written: str, country: Country | None) -> str:
    """Return the phone of a row in the gateway's form.

    Args:
        written: The cell. The ``.0`` of a spreadsheet is left away.
        country: With ``"RU"``, ten digits get their 7; landlines and numbers of other countries are refused.

    Raises:
        InvalidMessage: It is not a phone (108, 111, 215), a landline (111), or of another country (213).
    """
    cell = written.strip()
    whole = _fraction(cell.removeprefix("+"))
    phone = normalize_phone(cell[: cell.index(whole[1]) + len(whole[1])] if whole else cell, country)
    if country is not None:
        kind = describe_phone(phone if phone[0] == "7" else f"+{phone}")
        if kind.country != country:
            raise InvalidMessage(
                f"a number of {kind.name}; the list is for {country}", field="to", code=_UNSUPPORTED_ZONE
            )
        if kind.line == "landline":
            raise InvalidMessage("a landline, which gets no SMS", field="to", code=_WRONG_PHONE)
    return phone


def parse_kind(written: str) -> str:
    """Return the kind that a cell names: ``"code"``, ``"service"`` or ``"marketing"``.

    Args:
        written: One of these, or a usual Russian word for it, such as ``реклама``.

    Raises:
        ValueError: It is none of these.
    """
    if kind := _KINDS.get(written.strip().casefold()):
        return kind
    raise ValueError(f"{written.strip()[:40]!r} is no kind: write code, service or marketing")


# --- columns and cells ---------------------------------------------------------------------------


def _places(header: Sequence[str], renamed: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each column, under the name by which it is requested."""
    named = {target: header.index(column) for target, column in renamed.items()}
    taken = set(named.values())
    rest = {name: place for place, name in enumerate(header) if name and place not in taken and name not in named}
    return {**named, **rest}


def _text(cell: Any) -> str:
    """Return a cell as a person sees it."""
    match cell:
        case str():
            return cell.strip()
        case None:
            return ""
        case bool():
            return "TRUE" if cell else "FALSE"
        case float() | Decimal():
            return _number(cell)
        case datetime():
            return cell.isoformat(" ", "seconds").removesuffix(":00")
        case _:
            return str(cell).strip()


def _number(cell: float | Decimal) -> str:
    """Return a number without a fraction if it is whole: spreadsheets keep phones as fractions."""
    if math.isnan(cell):
        return ""
    if math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return f"{cell:f}" if isinstance(cell, Decimal) else repr(cell)


# --- spreadsheets, Parquet, databases ------------------------------------------------------------


def _check_there(path: Path) -> None:
    if path.is_dir():
        raise ListError(f"{path} is a directory, not a file.")
    if not path.is_file():
        raise ListError(f"there is no file {path}.")


def _file_digest(path: Path) -> Callable[[], str]:
    import hashlib  # noqa: PLC0415 - of files other than CSV only

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return digest


def _spreadsheet(path: Path, required: Sequence[str], renamed: Mapping[str, str]) -> ListRows:
    require_xlsx()
    import python_calamine as calamine  # noqa: PLC0415 - an extra

    _check_there(path)
    problem: ListError
    try:
        with calamine.CalamineWorkbook.from_path(path) as book:
            sheet = book.get_sheet_by_index(0)
            first_line = (sheet.start or (0, 0))[0] + 1
            table = cast("list[list[Any]]", sheet.to_python(skip_empty_area=True))
    except calamine.PasswordError:
        problem = ListError(f"{path} is protected by a password: save it without one.")
    except (calamine.CalamineError, OSError, IndexError) as wrong:
        problem = ListError(f"{path} cannot be read as a spreadsheet ({type(wrong).__name__}).")
    else:
        header = [column_name(_text(cell)) for cell in table[0]] if table else []
        check_columns(header, required, str(path), f"the header (line {first_line})")

        def rows() -> Iterator[tuple[int, Sequence[Any] | str]]:
            for line, cells in enumerate(table[1:], first_line + 1):
                if any(_text(cell) for cell in cells):
                    yield line, cells

        return ListRows(str(path), header, rows, renamed, _file_digest(path))
    raise problem


def _parquet(path: Path, required: Sequence[str], renamed: Mapping[str, str]) -> ListRows:
    require_parquet()
    import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # type: ignore[import-untyped] # noqa: PLC0415

    _check_there(path)
    problem: ListError
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError, UnicodeError) as wrong:
        problem = ListError(f"{path} cannot be read as Parquet ({type(wrong).__name__}).")
    else:
        header = [column_name(name) for name in names]
        check_columns(header, required, str(path), "its schema")

        def rows() -> Iterator[tuple[int, Sequence[Any] | str]]:
            line = 0
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=_AT_ONCE):
                        columns = [column.to_pylist() for column in batch.columns]
                        for cells in zip(*columns, strict=True):
                            line += 1
                            yield line, cells
            except (pa.ArrowException, OSError, UnicodeError) as wrong:
                raise ListError(f"{path}, after row {line}: cannot be read ({type(wrong).__name__}).") from None

        return ListRows(str(path), header, rows, renamed, _file_digest(path))
    raise problem


def _engine(url: str) -> sa.Engine:
    problem: ListError
    try:
        parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return sa.create_engine(parsed, poolclass=sa.pool.NullPool)
    except (ArgumentError, NoSuchModuleError, ValueError):
        problem = ListError("this is not the URL of a database: write it like postgresql://user@host/database.")
    except ImportError as missing:
        problem = ListError(f"this database needs its driver: pip install {missing.name}.")
    raise problem
