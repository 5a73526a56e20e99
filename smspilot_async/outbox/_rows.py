"""Rows of a list made into messages: each becomes a message, or the reason why it cannot. Pure functions of a row.

A reason names a field and never its content: phones and texts are personal data.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.template import brief
from smspilot_async.errors import InvalidMessage
from smspilot_async.models import Message
from smspilot_async.outbox._lists import parse_kind, recipient_phone
from smspilot_async.outbox._template import MissingField, Template, column_name
from smspilot_async.outbox._windows import SendingWindow
from smspilot_async.text import TextSize, describe_phone, measure

if TYPE_CHECKING:
    from smspilot_async.outbox._campaign_settings import CampaignSettings

__all__ = ["BadRow", "Composer", "Row"]

_OWN: Final = frozenset({"to", "text", "from", "sender", "ttl", "send_at", "kind"})
_KINDS: Final = ("marketing", "service")
_PAIR: Final = 2
_NO_TEXT, _TOO_LONG = 220, 221
_BAD_LIST, _BAD_TIME, _BAD_TTL = 240, 250, 270

_minutes = re.compile(r"[0-9]{1,9}", re.ASCII).fullmatch


@attrs.frozen
class BadRow:
    """A row that makes no message.

    Attributes:
        line: Of the list.
        code: With which the gateway would have refused it, if it has one.
        field: Which field is wrong; empty if it is none.
        why: In words, without its content.
    """

    line: int
    code: int | None
    field: str
    why: str


@attrs.frozen
class Row:
    """A row that makes a message.

    Attributes:
        line: Of the list.
        message: Without a number; its `send_at` stays in the ledger.
        zone: In which its window opens; empty where the campaign has none of its own for each row.
        kind: ``"marketing"`` or ``"service"``.
        size: Of the text.
        country: Of the phone.
        extra: The row's other columns, as JSON; ``None`` if it has none.
    """

    line: int
    message: Message = attrs.field(repr=False)
    zone: str
    kind: str
    size: TextSize
    country: str
    extra: str | None = attrs.field(repr=False)


class Composer:
    """Makes rows, by a campaign's settings.

    Args:
        settings: The campaign's.
    """

    def __init__(self, settings: CampaignSettings) -> None:
        self._settings = settings
        self._template = None if settings.template is None else Template.parse(settings.template)
        self._window = None if settings.window is None else SendingWindow.from_json(settings.window)

    def compose(self, line: int, item: Any) -> Row | BadRow:
        """Make a row of an item: a mapping of columns, a pair ``(to, text)``, or a :class:`Message`."""
        try:
            return self._row(line, item)
        except InvalidMessage as error:
            why = str(error).removeprefix(f"{error.field}: ").removesuffix(f" (the gateway's code {error.code})")
            return BadRow(line, error.code, _printable(error.field or ""), _printable(why))

    def _row(self, line: int, item: Any) -> Row:
        if isinstance(item, InvalidMessage):  # of what reads the list
            raise item
        cells = {} if isinstance(item, Message) else _cells(item)
        written = f"+{item.to}" if isinstance(item, Message) else cells.get("to", "")
        phone = recipient_phone(written, self._settings.country)
        del written  # a traceback may show this frame's variables
        message = item if isinstance(item, Message) else self._message(phone, cells)
        size = measure(message.text)
        if size.parts > self._settings.max_parts:
            parts = f"{size.parts} parts, more than the {self._settings.max_parts} that max_parts allows"
            raise InvalidMessage(f"the text makes {parts}", field="text", code=_TOO_LONG)
        country = describe_phone(f"+{phone}").country or ""
        return Row(line, message, self._zone(cells), self._kind(cells), size, country, _extra(cells))

    def _message(self, phone: str, cells: Mapping[str, str]) -> Message:
        ttl = cells.get("ttl", "").strip()
        sender = cells.get("sender", "").strip() or cells.get("from", "").strip() or self._settings.sender
        return Message(
            f"+{phone}",
            self._text(cells),
            sender=sender,
            send_at=_moment(cells.get("send_at", "").strip()),
            ttl=_whole_minutes(ttl) if ttl else None,
        )

    def _text(self, cells: Mapping[str, str]) -> str:
        if self._template is None:
            return cells.get("text", "")
        try:
            return self._template.render(cells)
        except MissingField as error:
            problem = InvalidMessage(str(error), field="text", code=_NO_TEXT)
        raise problem

    def _zone(self, cells: Mapping[str, str]) -> str:
        if self._window is None or self._window.column is None:
            return ""
        try:
            return self._window.zone_for(cells.get(column_name(self._window.column)))
        except ValueError:
            problem = InvalidMessage("the row names no time zone", field=self._window.column, code=_BAD_TIME)
        raise problem

    def _kind(self, cells: Mapping[str, str]) -> str:
        if not (written := cells.get("kind", "").strip()):
            return self._settings.kind
        with contextlib.suppress(ValueError):
            if (kind := parse_kind(written)) in _KINDS:
                return kind
        raise InvalidMessage("a campaign sends marketing or service messages", field="kind", code=_BAD_LIST)


def _printable(text: str) -> str:
    """Return a text that every database takes: a column may be named anything."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _cells(item: Any) -> dict[str, str]:
    """Return the columns of a row as text, by their names as templates write them."""
    if isinstance(item, (tuple, list)) and len(item) == _PAIR:
        item = {"to": item[0], "text": item[1]}
    if not isinstance(item, Mapping):
        raise InvalidMessage(
            f"needs a mapping, a pair (to, text) or a Message, not {type(item).__name__}", field="row", code=_BAD_LIST
        )
    cells: dict[str, str] = {}
    for name, value in item.items():
        column = column_name(str(name))
        if column in cells:
            raise InvalidMessage("two columns have the same name", field=brief(column), code=_BAD_LIST)
        cells[column] = _as_text(column, value)
    return cells


def _as_text(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():  # a spreadsheet knows no other numbers
        return str(int(value))
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, (date, time)):  # and so datetimes
        return value.isoformat()
    raise InvalidMessage(f"is a {type(value).__name__}, not a text", field=brief(column), code=_BAD_LIST)


def _whole_minutes(written: str) -> int:
    if not _minutes(written):
        raise InvalidMessage("must be a whole number of minutes from 1 to 1440", field="ttl", code=_BAD_TTL)
    return int(written)


def _moment(written: str) -> datetime | None:
    if not written:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() is None:
        raise InvalidMessage("needs a date and a time with an offset", field="send_at", code=_BAD_TIME)
    return moment


def _extra(cells: Mapping[str, str]) -> str | None:
    """Return the columns that are no message's, for follow-ups and results."""
    others = {name: value for name, value in cells.items() if name not in _OWN and value}
    return json.dumps(others) if others else None
