"""Encodes commands as documents: one builder per format, with the names and order of fields as in API-2.

JSON is compact and keeps Cyrillic unescaped. XML is written here and not by xmltodict, which loses carriage returns.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape, quoteattr

from smspilot_async.wire._json import dumps
from smspilot_async.wire.commands import Balance, Check, CheckPacket, Command, Cost, Inbound, Info, Send

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smspilot_async.models import Message
    from smspilot_async.wire.commands import Credentials, WireFormat

_DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>'
# A parser turns a bare carriage return into a line feed, so it travels as a reference.
_LINE_ENDS: Final = {"\r": "&#13;"}
_special = re.compile(r"""[&<>"\n\r\t]""").search  # most values are written as they are


def encode(command: Command[Any], credentials: Credentials, wire: WireFormat) -> bytes:
    """Write a command as the body of a request, UTF-8."""
    if wire == "json":
        return _json(command, credentials)
    return _xml(command, credentials).encode()


def _json(command: Command[Any], credentials: Credentials) -> bytes:
    document: dict[str, Any] = dict(credentials.fields)
    document |= _json_fields(command)
    return dumps(document)


def _json_fields(command: Command[Any]) -> dict[str, Any]:  # noqa: PLR0911 - one line per command reads best
    match command:
        case Send():
            return {"test": int(command.test), "cost": 0, "send": _json_messages(command)}
        case Cost():
            return {"test": 0, "cost": 1, "send": _json_messages(command)}
        case Check():
            return {"check": [{"server_id": server_id} for server_id in command.server_ids]}
        case CheckPacket():
            return {"check": True, "server_packet_id": command.server_packet_id}
        case Balance():
            return {"balance": command.unit}
        case Info():
            return {"info": True}
        case Inbound():
            return {"inbound": True, **_since(command)}
    raise TypeError(f"not a command of the gateway: {type(command).__name__}")


def _json_messages(command: Send | Cost) -> list[dict[str, str]]:
    rows = list(_rows(command))
    for fields, message in zip(rows, command.messages, strict=True):
        fields["text"] = message.text
    return rows


def _xml(command: Command[Any], credentials: Credentials) -> str:  # noqa: PLR0911 - the same
    match command:
        case Send():
            return _element("send", credentials, {"test": str(int(command.test)), "cost": "0"}, _xml_messages(command))
        case Cost():
            return _element("send", credentials, {"test": "0", "cost": "1"}, _xml_messages(command))
        case Check():
            rows = (f"<sms server_id={_quoted(server_id)}/>" for server_id in command.server_ids)
            return _element("check", credentials, {}, rows)
        case CheckPacket():
            return _element("check", credentials, {"server_packet_id": command.server_packet_id})
        case Balance():
            return _element("balance", credentials, {"return": command.unit})
        case Inbound():
            return _element("inbound", credentials, _since(command))
    return _element(command.name, credentials, {})


def _element(name: str, credentials: Credentials, attributes: dict[str, str], rows: Iterable[str] = ()) -> str:
    opening = f"{_DECLARATION}<{name}{_attributes(dict(credentials.fields) | attributes)}"
    content = "".join(rows)
    return f"{opening}>{content}</{name}>" if content else f"{opening}/>"


def _xml_messages(command: Send | Cost) -> Iterator[str]:
    for fields, message in zip(_rows(command), command.messages, strict=True):
        text = message.text
        yield f"<sms{_attributes(fields)}>{escape(text, _LINE_ENDS) if _special(text) else text}</sms>"


def _attributes(fields: dict[str, str]) -> str:
    return "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])


def _quoted(value: str) -> str:
    return quoteattr(value) if _special(value) else f'"{value}"'


def _rows(command: Send | Cost) -> Iterator[dict[str, str]]:
    """Yield the fields of each message, without its text."""
    return map(_message_fields, command.messages, command.ids, repeat(command))


def _message_fields(message: Message, id_: int, command: Send | Cost) -> dict[str, str]:
    fields = {"id": str(id_)}
    sender = message.sender or (command.senders.get(id_) if command.senders else None) or command.sender
    if sender is not None:
        fields["from"] = sender
    fields["to"] = message.to
    if message.send_at is not None:
        fields["send_datetime"] = gmt(message.send_at)
    callback = message.callback or command.callbacks.get(id_)
    if callback is not None:
        fields["callback"] = callback
    if message.callback_method is not None:
        fields["callback_method"] = message.callback_method
    if message.ttl is not None:
        fields["ttl"] = str(message.ttl)
    return fields


def _since(command: Inbound) -> dict[str, str]:
    if command.since is None:
        return {}
    return {"since": command.since if isinstance(command.since, str) else gmt(command.since)}


def gmt(moment: datetime) -> str:
    """Write an aware time as the gateway reads it: GMT, whole seconds, rounded down."""
    with contextlib.suppress(OverflowError):  # on the first and last possible day, hours do not matter
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")
