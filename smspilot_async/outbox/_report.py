"""A campaign's report as a file: a page with plots, a table for spreadsheets, or Parquet; its suffix decides.

Tables are written as a stream, one row of the list after the other; the page is made of counts (:mod:`._report_data`).
A file appears under its name when it is whole, and only its owner can read it.
"""

from __future__ import annotations

import asyncio
import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from smspilot_async._tools.files import create_private
from smspilot_async._tools.spreadsheets import no_formula
from smspilot_async._tools.zones import zone_of
from smspilot_async.models import status_word
from smspilot_async.outbox._campaign_info import messages
from smspilot_async.outbox._campaign_rows import campaign_row
from smspilot_async.outbox._extras import require_parquet, require_report
from smspilot_async.outbox._report_data import gather, zone_shown
from smspilot_async.outbox._report_words import why_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from smspilot_async.outbox._campaign_info import CampaignMessage
    from smspilot_async.outbox._campaign_rows import Access

__all__ = ["write_report"]

_AT_ONCE: Final = 2_000
_RUSSIAN_LENGTH: Final = 11
_COLUMNS: Final = (
    *("line", "outcome", "why", "code", "server_id", "parts", "price", "status", "settled_at", "status_at"),
    "sent_twice",
)


class _Table(Protocol):
    """A file of rows that is being written."""

    def write(self, rows: Sequence[CampaignMessage]) -> None:
        """Write some more rows."""
        ...

    def close(self) -> None:
        """End the file."""
        ...


async def write_report(access: Access, name: str, path: str | Path, *, phones: bool = False) -> None:
    """Write a campaign's report.

    Args:
        access: To the ledger.
        name: The campaign's.
        path: Where: ``.html`` for the page, ``.csv`` for spreadsheets (semicolons, a decimal comma, a BOM),
            ``.parquet``. An existing file is replaced.
        phones: Tables get a column with phones, as text. The page never has any.

    Raises:
        ValueError: The suffix is none of these.
        CampaignMissing: No campaign has this name.
        ImportError: An extra is missing.
        OSError: The file cannot be written.
    """
    target = Path(path)
    match target.suffix.casefold():
        case ".html" | ".htm":
            require_report()
            data = await gather(access, name)
            await asyncio.to_thread(_write_page, target, data)
        case ".csv":
            zone = await zone_shown(access, name)
            await _write_table(access, name, target, lambda part: CsvTable(part, zone, phones=phones))
        case ".parquet" | ".pq":
            require_parquet()
            await _write_table(access, name, target, lambda part: ParquetTable(part, phones=phones))
        case suffix:
            raise ValueError(f"a report is .html, .csv or .parquet, not {suffix!r}")


def _write_page(target: Path, data: Any) -> None:
    from smspilot_async.outbox._report_html import render  # noqa: PLC0415 - it needs an extra

    page = render(data).encode()
    part = _part_of(target)
    with os.fdopen(create_private(str(part)), "wb") as file:
        file.write(page)
    part.replace(target)


async def _write_table(access: Access, name: str, target: Path, make: Callable[[Path], _Table]) -> None:
    async with access.reading() as connection:
        row = await campaign_row(connection, access.tables, name=name)
    part = await asyncio.to_thread(_part_of, target)
    table = await asyncio.to_thread(make, part)
    try:
        chunk: list[CampaignMessage] = []
        async for message in messages(access, row["id"], None):
            chunk.append(message)
            if len(chunk) == _AT_ONCE:
                await asyncio.to_thread(table.write, chunk)
                chunk = []
        await asyncio.to_thread(table.write, chunk)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_discard, table, part))
        raise
    await asyncio.to_thread(table.close)
    await asyncio.to_thread(part.replace, target)


def _discard(table: _Table, part: Path) -> None:
    table.close()
    part.unlink(missing_ok=True)


def _part_of(target: Path) -> Path:
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    return part


class CsvTable:
    """Rows for a spreadsheet, which reads numbers and times with the customs of its country: those with semicolons."""

    def __init__(self, path: Path, zone: str, *, phones: bool) -> None:
        self._file = os.fdopen(create_private(str(path)), "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, delimiter=";", lineterminator="\r\n")
        self._zone = zone_of(zone)
        self._phones = phones
        self._file.write("\ufeff")
        self._writer.writerow(_with_phone(_COLUMNS, "to") if phones else _COLUMNS)

    def write(self, rows: Sequence[CampaignMessage]) -> None:
        self._writer.writerows(map(self._cells, rows))

    def _cells(self, row: CampaignMessage) -> list[Any]:
        cells = [
            row.line,
            row.state,
            no_formula(row.why or why_of(row.state, row.reason, row.code)) if row.state != "accepted" else "",
            row.code,
            no_formula(row.server_id or ""),
            row.parts,
            "" if row.price is None else f"{row.price:f}".replace(".", ","),
            "" if row.status is None else status_word(row.status),
            self._time(row.settled_at),
            self._time(row.status_at),
            "yes" if row.sent_twice else "",
        ]
        return _with_phone(cells, phone_as_text(row.to or "")) if self._phones else cells

    def _time(self, when: datetime | None) -> str:
        return "" if when is None else when.astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def close(self) -> None:
        self._file.close()


def _with_phone(cells: Sequence[Any], phone: str) -> list[Any]:
    return [cells[0], phone, *cells[1:]]


def phone_as_text(phone: str) -> str:
    """Return a phone that a spreadsheet keeps as text, and that every reader of phones reads: ``7 908 796-47-81``.

    Its bare digits would become a number, shown as ``7,90879E+10`` and saved so.
    """
    if len(phone) == _RUSSIAN_LENGTH and phone[0] == "7":
        return f"7 {phone[1:4]} {phone[4:7]}-{phone[7:9]}-{phone[9:]}"
    return f"{phone[:-7]} {phone[-7:-4]}-{phone[-4:]}" if phone else ""


class ParquetTable:
    """Rows with types: times in UTC, prices as decimals."""

    def __init__(self, path: Path, *, phones: bool) -> None:
        import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # type: ignore[import-untyped] # noqa: PLC0415

        moment = pa.timestamp("us", tz="UTC")
        kinds = {
            "line": pa.int64(),
            "to": pa.string(),
            "outcome": pa.string(),
            "why": pa.string(),
            "code": pa.int32(),
            "server_id": pa.string(),
            "parts": pa.int16(),
            "price": pa.decimal128(18, 6),
            "status": pa.int16(),
            "settled_at": moment,
            "status_at": moment,
            "sent_twice": pa.bool_(),
        }
        if not phones:
            del kinds["to"]
        self._pa = pa
        self._schema = pa.schema(kinds)
        os.close(create_private(str(path)))
        self._writer = pq.ParquetWriter(path, self._schema)

    def write(self, rows: Sequence[CampaignMessage]) -> None:
        if rows:
            self._writer.write_table(self._pa.Table.from_pylist([self._values(row) for row in rows], self._schema))

    def _values(self, row: CampaignMessage) -> dict[str, Any]:
        why = None if row.state == "accepted" else row.why or why_of(row.state, row.reason, row.code)
        values = {name: getattr(row, name, None) for name in self._schema.names}
        return values | {"outcome": row.state, "why": why}

    def close(self) -> None:
        self._writer.close()
