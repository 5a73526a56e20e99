"""Rows of a list made into messages; each row is either a message or the reason why it cannot be one.

The columns are ``to``, ``text`` (or a template over all columns) and optionally ``from``, ``send_at`` and ``ttl``.
A bad row does not stop the run: it is refused here, with the code with which the gateway would have refused it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async._tools.template import Template, TemplateError
from smspilot_async.cli._errors import Problem
from smspilot_async.cli._times import parse_time
from smspilot_async.errors import InvalidMessage
from smspilot_async.models import Message, wrong_ttl
from smspilot_async.text import Country, describe_phone, dialled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from smspilot_async._tools.csv_list import CsvList, RawRow

_OPTIONAL: Final = ("from", "send_at", "ttl")
_UNSUPPORTED_ZONE: Final = 213
_BAD_LIST: Final = 240
_BAD_TIME: Final = 250
_whole = re.compile(r"\d{1,9}", re.ASCII).fullmatch


@attrs.frozen
class Recipient:
    """A row of the list.

    Attributes:
        position: Its place among the rows, from 0.
        line: The line of the file it starts on.
        to: The phone: in the gateway's form if it is valid, else as in the file.
        message: The message to send, or
        error: why there is none.
        duplicate_of: The line of the first row with the same phone and text, if this row repeats it.
        gaps: Columns of the template that are empty here.
        cells: The row as it stands in the file.
    """

    position: int
    line: int
    to: str = attrs.field(repr=False)
    message: Message | None = None
    error: InvalidMessage | None = None
    duplicate_of: int | None = None
    gaps: tuple[str, ...] = ()
    cells: tuple[str, ...] = attrs.field(default=(), repr=False)


@attrs.frozen
class Composer:
    """How rows become messages.

    Attributes:
        columns: The file's columns.
        text: The template, or the column ``text`` as it is.
        zone: The zone of times that name none.
        sender: The sender of rows that name none.
        country: How phones without ``+`` are read; ``None`` leaves them unchanged.
        only: The only country to send to; ``None`` for all.
    """

    columns: tuple[str, ...]
    text: Template
    zone: tzinfo | None = None
    sender: str | None = None
    country: Country | None = None
    only: Country | None = None

    @classmethod
    def plan(
        cls,
        source: CsvList,
        template: str | None,
        *,
        zone: tzinfo | None,
        sender: str | None,
        country: Country | None = None,
        only: Country | None = None,
    ) -> Composer:
        """Check the template against the columns, and return the composer.

        Raises:
            Problem: The template is wrong, or there is neither a template nor a column ``text``.
        """
        if template is None and "text" not in source.columns:
            raise Problem(
                f"{source.name}: the header has no column 'text'; add it, or say what to send with --template."
            )
        try:
            text = Template.parse("{text}" if template is None else template, filter(None, source.columns))
        except TemplateError as wrong:
            raise Problem(f"--template: {wrong}.") from None
        return cls(source.columns, text, zone, sender, country, only)

    @cached_property
    def _needed(self) -> frozenset[str]:
        return self.text.fields | {"to"}

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns that are not used."""
        used = {"to", "", *_OPTIONAL, *self.text.fields}
        return tuple(column for column in self.columns if column not in used)

    def recipients(self, source: CsvList) -> Iterator[Recipient]:
        """Yield the rows of the list; those that repeat an earlier row are marked."""
        first_lines: dict[bytes, int] = {}
        for position, row in enumerate(source.rows()):
            recipient = self._recipient(position, row)
            if recipient.message is not None:
                first = first_lines.setdefault(_fingerprint(recipient.message), row.line)
                if first != row.line:
                    recipient = attrs.evolve(recipient, duplicate_of=first)
            yield recipient

    def _recipient(self, position: int, row: RawRow) -> Recipient:
        values = dict(zip(self.columns, row.cells, strict=False))
        to = values.get("to", "").strip()
        try:
            message, gaps = self._message(row, values)
        except InvalidMessage as error:
            return Recipient(position, row.line, to, error=error, cells=row.cells)
        return Recipient(position, row.line, message.to, message, gaps=gaps, cells=row.cells)

    def _message(self, row: RawRow, values: Mapping[str, str]) -> tuple[Message, tuple[str, ...]]:
        if row.fault is not None:
            raise InvalidMessage(row.fault, field="row", code=_BAD_LIST)
        if not self._needed <= values.keys():
            missing = min(self._needed - values.keys())
            raise InvalidMessage(f"it ends before the column {missing!r}", field="row", code=_BAD_LIST)
        sender, send_at, ttl = [values.get(column, "").strip() for column in _OPTIONAL]
        text, gaps = self.text.render_with_gaps(values)
        message = Message(
            self._phone(values["to"]),
            text,
            sender=sender or self.sender,
            send_at=self._time(send_at) if send_at else None,
            ttl=_minutes(ttl) if ttl else None,
        )
        return message, gaps

    def _phone(self, written: str) -> str:
        to = written if self.country is None else dialled(written, self.country)
        if self.only is not None and (kind := describe_phone(to)).country != self.only:
            raise InvalidMessage(
                f"a number of {kind.name}, excluded by --only {self.only}", field="to", code=_UNSUPPORTED_ZONE
            )
        return to

    def _time(self, written: str) -> datetime:
        try:
            return parse_time(written, self.zone)
        except ValueError as wrong:
            raise InvalidMessage(str(wrong), field="send_at", code=_BAD_TIME) from None


def _minutes(written: str) -> int:
    if not _whole(written):
        raise wrong_ttl()
    return int(written)


def _fingerprint(message: Message) -> bytes:
    # A digest, because the texts of a long list would not fit into memory.
    return hashlib.blake2b(f"{message.to}\n{message.text}".encode(), digest_size=16).digest()
