"""Documents in, documents out: what the gateway reads and writes, in JSON and XML.

Both wires meet in `Request` and `Answer`, so that the commands know neither. Written from the protocol alone; the
client's codec is another piece of code, because a shared one would hide its own mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final, Literal

import attrs

from smspilot_async.emulator.gateway import _xml
from smspilot_async.emulator.gateway._errors import Refused, texts

Profile = Literal["2.4.16", "2.6"]
Value = str | int | Decimal | None

COMMANDS: Final = ("send", "check", "inbound", "balance", "info")
_XML_START: Final = b"<?xml"
_JSON_START: Final = b"{"
_NAMES_OF_2_4_16: Final = {"seen": "seen "}
"""Fields of a JSON answer whose names the vendor's sample of 2018 has in another way."""


class Wire(StrEnum):
    """The two forms of a document."""

    JSON = "json"
    XML = "xml"

    @property
    def content_type(self) -> str:
        """What its answers are labelled with."""
        return "application/json; charset=utf-8" if self is Wire.JSON else "text/xml; charset=utf-8"


@attrs.frozen
class Request:
    """A document that was understood as a command.

    Attributes:
        command: One of `COMMANDS`.
        fields: The top level: credentials, flags, `server_packet_id`, `return`, `since`.
        rows: The messages of a send, the ids of a check; `None` where the document has no list.
    """

    wire: Wire
    command: str
    fields: Mapping[str, Any] = attrs.field(repr=False)
    rows: list[Any] | None = attrs.field(default=None, repr=False)

    @property
    def is_priced_only(self) -> bool:
        """Whether a send only asks what it would cost."""
        return self.command == "send" and says_yes(self.fields.get("cost"))

    @property
    def asks_for_packet(self) -> bool:
        """Whether a check means a whole packet: no list, but ``true``, or an empty element that names a packet."""
        if self.rows is not None:
            return False
        return "server_packet_id" in self.fields if self.wire is Wire.XML else self.fields.get("check") in (True, 1)

    @property
    def fault_name(self) -> str:
        """What faults call it: its command, but for a send that only asks for the price."""
        return "cost" if self.is_priced_only else self.command


@attrs.frozen
class Rows:
    """An answer that is a list: of messages, statuses or inbound messages.

    A date that is not set is `None`; `text` is an element's content in XML.

    Attributes:
        api_key: The key of the request, which the 2.4.16 profile repeats in JSON before inbound messages.
    """

    name: str
    rows: Sequence[Mapping[str, Value]] = attrs.field(repr=False)
    head: Mapping[str, Value] = attrs.Factory(dict)
    api_key: str = attrs.field(default="", repr=False)


@attrs.frozen
class Fields:
    """An answer that is a set of named values: an account, an error."""

    name: str
    fields: Mapping[str, Value] = attrs.field(repr=False)


@attrs.frozen
class Single:
    """An answer that is one value: a cost, a balance.

    Attributes:
        always_number: It is a number in JSON whatever the profile.
    """

    name: str
    value: Value
    always_number: bool = False


Answer = Rows | Fields | Single


def says_yes(value: Any) -> bool:
    """Whether a flag is set: 1, as a number or a text, or true."""
    return str(value).lower() in ("1", "true", "yes")


def sniff(document: bytes) -> Wire:
    """The form of a document, by its first characters alone.

    Raises:
        Refused: 10 for nothing, 11 for anything else (white space or a byte order mark in front included).
    """
    if not document:
        raise Refused(10)
    if document.startswith(_XML_START):
        return Wire.XML
    if document.startswith(_JSON_START):
        return Wire.JSON
    raise Refused(11)


def guess(document: bytes) -> Wire:
    """The form in which to complain about a document that has none."""
    return Wire.XML if document.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"<") else Wire.JSON


def read(document: bytes, wire: Wire) -> Request:
    """The command that a document holds.

    Raises:
        Refused: 12 or 13 for a broken document, 14 for an unknown command.
    """
    return _read_xml(document) if wire is Wire.XML else _read_json(document)


def _read_xml(document: bytes) -> Request:
    root = _xml.read(document)
    if root.name not in COMMANDS:
        raise Refused(14)
    rows = [{**child.attributes, "text": child.text} for child in root.children if child.name == "sms"]
    return Request(Wire.XML, root.name, root.attributes, rows or None)


def _read_json(document: bytes) -> Request:
    fields = _parse_json(document)
    command = next((name for name in COMMANDS if fields.get(name) not in (None, False)), None)
    if command is None:
        raise Refused(14)
    value = fields[command]
    rows = value if isinstance(value, list) else None
    if command == "balance":
        fields["return"] = value
    return Request(Wire.JSON, command, fields, rows)


def _parse_json(document: bytes) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(document.decode(), parse_constant=_refuse_constant)
        if b"\\ud" in document or b"\\uD" in document:
            json.dumps(parsed, ensure_ascii=False).encode()  # fails for half a surrogate pair, which is no character
    except (ValueError, RecursionError):
        raise Refused(13) from None
    return parsed


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def error(code: int, profile: Profile) -> Fields:
    """The error document of a code."""
    english, russian = texts(code)
    fields = {"code": str(code), "description": english}
    if profile == "2.6":
        fields["description_ru"] = russian
    return Fields("error", fields)


def write(answer: Answer, wire: Wire, profile: Profile) -> bytes:
    """The bytes of an answer."""
    return _write_xml(answer) if wire is Wire.XML else _write_json(answer, profile)


def _write_json(answer: Answer, profile: Profile) -> bytes:
    quoted = profile == "2.4.16"
    match answer:
        case Rows():
            members = _list_of_2_4_16(answer) if quoted else _list_of_2_6(answer)
        case Fields():
            members = {answer.name: _json_object(answer.fields, quoted=quoted)}
        case Single():
            members = {answer.name: _json_value(answer.value, quoted=quoted and not answer.always_number)}
    document = "{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}"
    return document.encode(errors="backslashreplace")  # of half a surrogate pair, which is no character


def _list_of_2_4_16(answer: Rows) -> dict[str, str]:
    key = {"apikey": _json_value(answer.api_key, quoted=True)} if answer.api_key else {}
    rows = [{_NAMES_OF_2_4_16.get(name, name): value for name, value in row.items()} for row in answer.rows]
    return key | {answer.name: _json_list(rows, quoted=True)} | _json_members(answer.head, quoted=True)


def _list_of_2_6(answer: Rows) -> dict[str, str]:
    return _json_members(answer.head, quoted=False) | {answer.name: _json_list(answer.rows, quoted=False)}


def _json_members(fields: Mapping[str, Value], *, quoted: bool) -> dict[str, str]:
    return {key: _json_value(value, quoted=quoted) for key, value in fields.items()}


def _json_list(rows: Sequence[Mapping[str, Value]], *, quoted: bool) -> str:
    return f"[{', '.join(_json_object(row, quoted=quoted) for row in rows)}]"


def _json_object(fields: Mapping[str, Value], *, quoted: bool) -> str:
    return "{" + ", ".join(f'"{key}": {_json_value(value, quoted=quoted)}' for key, value in fields.items()) + "}"


def _json_value(value: Value, *, quoted: bool) -> str:
    if isinstance(value, str):
        return encode_basestring_ascii(value) if quoted else encode_basestring(value)
    if value is None:
        return '"0000-00-00 00:00:00"' if quoted else '""'
    # A Decimal is written digit by digit: through a float, 405.60 would lose its last one.
    number = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return f'"{number}"' if quoted else number


def _write_xml(answer: Answer) -> bytes:
    match answer:
        case Rows():
            rows = "\n".join(_xml_row(row) for row in answer.rows)
            root = _xml.element(answer.name, _xml_attributes(answer.head), f"\n{rows}\n" if rows else "")
        case Fields():
            inner = "".join(
                f"\n{_xml.element(key, {}, _xml.escaped(_plain(value)))}" for key, value in answer.fields.items()
            )
            root = _xml.element(answer.name, {}, f"{inner}\n")
        case Single():
            root = _xml.element(answer.name, {}, _plain(answer.value))
    return (_xml.HEADER + root).encode()


def _xml_row(row: Mapping[str, Value]) -> str:
    attributes = {key: value for key, value in row.items() if key != "text"}
    return _xml.element("sms", _xml_attributes(attributes), _xml.escaped(_plain(row.get("text"))))


def _xml_attributes(values: Mapping[str, Value]) -> dict[str, str]:
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
