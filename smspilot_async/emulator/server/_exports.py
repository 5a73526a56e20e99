"""Files of what is there, to look at elsewhere: messages and requests, as CSV for spreadsheets and as JSON.

They are written a piece at a time while they are sent, so that a large one neither fills the memory nor holds up the
gateway. No cell of a CSV file is run as a formula.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.responses import StreamingResponse

from smspilot_async._tools.spreadsheets import no_formula
from smspilot_async.emulator._core import EmulatorCore
from smspilot_async.emulator.gateway._messages import AcceptedMessage, as_json
from smspilot_async.emulator.gateway._requests import SUMMARY_FIELDS, whole_request
from smspilot_async.emulator.server._endpoints import guarded
from smspilot_async.emulator.server._lists import WRITTEN, Listed, messages_of, newest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.requests import Request

    from smspilot_async.emulator.server._endpoints import Endpoint

CSV: Final = "text/csv; charset=utf-8"
JSON: Final = "application/json"
_BOM: Final = "\ufeff"
"""Without it, spreadsheets take UTF-8 for something else."""
_MESSAGE_COLUMNS: Final = [field.name for field in attrs.fields(AcceptedMessage) if field.name != "history"]
_REQUEST_COLUMNS: Final = [*SUMMARY_FIELDS, "request", "answer"]


@attrs.frozen
class Exports:
    """The files of one emulator."""

    emulator: EmulatorCore

    def messages_csv(self) -> Endpoint:
        """The accepted messages, without their histories."""
        return _file("messages.csv", CSV, lambda: _as_csv(_MESSAGE_COLUMNS, self._messages()))

    def messages_json(self) -> Endpoint:
        """The accepted messages."""
        return _file("messages.json", JSON, lambda: _as_json(self._messages()))

    def requests_csv(self) -> Endpoint:
        """The requests that are remembered, with their texts and answers."""
        return _file("requests.csv", CSV, lambda: _as_csv(_REQUEST_COLUMNS, self._requests()))

    def requests_json(self) -> Endpoint:
        """The same."""
        return _file("requests.json", JSON, lambda: _as_json(self._requests()))

    def _messages(self) -> AsyncIterator[dict[str, Any]]:
        return _rows(Listed("messages", messages_of(self.emulator), as_json))

    def _requests(self) -> AsyncIterator[dict[str, Any]]:
        read = newest(self.emulator.requests, lambda request: request.number)
        return _rows(Listed("requests", read, whole_request))


async def _rows(listed: Listed[Any]) -> AsyncIterator[dict[str, Any]]:
    async for _, item in listed.numbered(chunk=WRITTEN):
        yield listed.shown(item)


async def _as_csv(columns: Sequence[str], rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    yield _BOM + _line(columns)
    async for row in rows:
        yield _line([_cell(row[column]) for column in columns])


async def _as_json(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    before = "[\n"
    async for row in rows:
        yield before + json.dumps(row, ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before.startswith(",") else "[]\n"


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return no_formula(value) if isinstance(value, str) else str(value)


def _file(name: str, media_type: str, content: Callable[[], AsyncIterator[str]]) -> Endpoint:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}

    async def endpoint(_request: Request) -> StreamingResponse:
        return StreamingResponse(content(), headers=headers, media_type=media_type)

    return guarded(endpoint)
