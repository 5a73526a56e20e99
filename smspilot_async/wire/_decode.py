"""Decodes documents into models: cattrs maps rows, lenient readers map fields; unknown fields go to ``extra``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from smspilot_async.models import AccountInfo, InboundMessage, MessageStatus, Packet, SentMessage
from smspilot_async.wire import _values
from smspilot_async.wire._fast_path import read_fast
from smspilot_async.wire._read import UnreadableAnswer, read
from smspilot_async.wire.commands import Balance, Check, CheckPacket, Command, Cost, Inbound, Info, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = TypeVar("Answer")
Model = TypeVar("Model")

_SECRET: Final = frozenset({"apikey", "login", "password"})
_SHORTEST_ROW: Final = 16  # bytes, on average: masses of shorter ones cost seconds, and are not an answer
_FEW_ROWS: Final = 1000


class ErrorDocument(Exception):
    """The gateway answered with an error document.

    Attributes:
        code: Its code; ``None`` if there is no readable one.
        description: Its text, unchanged: it may repeat what was sent.
    """

    def __init__(self, code: int | None, description: str) -> None:
        super().__init__(code)
        self.code = code
        self.description = description


def decode(command: Command[Answer], body: bytes) -> Answer:
    """Read the answer to a command.

    Raises:
        ErrorDocument: It is an error document.
        UnreadableAnswer: It cannot be understood as an answer to this command.
    """
    if (answer := read_fast(command, body)) is not None:
        return answer  # type: ignore[return-value] # it is what this command is answered with
    document = read(body, repair_surrogates=isinstance(command, Inbound))
    key = _answer_key(command, document)
    if document.get(key) is None and document.get("error"):
        raise _error(document["error"])
    if key not in document:
        raise UnreadableAnswer(f"a document without {key!r}")
    rows = document[key]
    if isinstance(rows, (list, dict)) and len(rows) > _FEW_ROWS + len(body) // _SHORTEST_ROW:
        raise UnreadableAnswer("too many rows")
    return _ANSWERS[type(command)](document)  # type: ignore[no-any-return]


def _answer_key(command: Command[Any], document: Mapping[str, Any]) -> str:
    """A price request is answered with ``cost`` alone; if there is also ``send``, it was a real send."""
    return "send" if isinstance(command, Cost) and document.get("send") is not None else command.name


def _error(content: Any) -> ErrorDocument | UnreadableAnswer:
    """Read the error in any of its shapes; with code 0 the gateway says that there is none."""
    fields = content[0] if isinstance(content, list) else content
    if not isinstance(fields, dict):
        fields = {"code": fields, "description": fields if _values.integer(fields) is None else ""}
    code = None if isinstance(fields.get("code"), bool) else _values.code(fields.get("code"))
    if code == 0:
        return UnreadableAnswer("an error document without an error")
    return ErrorDocument(code, _values.string(fields.get("description")) or "")


# --- rows ----------------------------------------------------------------------------------------


def _structurer(
    model: type[Model], readers: Mapping[str, Callable[[Any, Any], Any]], **renamed: str
) -> Callable[[Mapping[str, Any]], Model]:
    """Return a function that turns a row into a model.

    Args:
        model: The attrs class.
        readers: The reader of each attribute.
        renamed: The names of attributes that differ in the document.
    """
    converter = cattrs.Converter(detailed_validation=False)
    overrides = {name: override(rename=renamed.get(name), struct_hook=reader) for name, reader in readers.items()}
    overrides["extra"] = override(struct_hook=lambda value, _: value)
    structure = make_dict_structure_fn(model, converter, **overrides)  # type: ignore[arg-type]
    known = frozenset(renamed.get(name, name) for name in readers)

    def from_row(row: Mapping[str, Any]) -> Model:
        if known.issuperset(row):
            return structure(row, model)
        stripped = {key.strip(): value for key, value in row.items()}  # the vendor's own sample has "seen "
        fields = {key: value for key, value in stripped.items() if key in known}
        fields["extra"] = {
            key: _without_secrets(value)
            for key, value in stripped.items()
            if key not in known and key.lower() not in _SECRET
        }
        return structure(fields, model)

    return from_row


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if key.strip().lower() not in _SECRET}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value


_sent_message = _structurer(
    SentMessage,
    {
        "id": _values.integer,
        "server_id": _values.identifier,
        "server_packet_id": _values.identifier,
        "sender": _values.string,
        "to": _values.string,
        "text": _values.string,
        "parts": _values.integer,
        "price": _values.decimal,
        "status": _values.decisive,
        "error": _values.decisive,
        "send_at": _values.gmt,
        "country": _values.string,
        "operator": _values.string,
    },
    sender="from",
    send_at="send_datetime",
)
_packet_fields = _structurer(
    Packet,
    {
        "messages": lambda rows, _: tuple(map(_sent_message, _rows(rows))),
        "server_packet_id": _values.identifier,
        "balance": _values.decimal,
        "cost": _values.decimal,
    },
    messages="send",
)
_message_status = _structurer(
    MessageStatus,
    {
        "id": _values.integer,
        "server_id": _values.identifier,
        "status": _values.integer,
        "error": _values.integer,
        "modified": _values.zoneless,
    },
)
_inbound_message = _structurer(
    InboundMessage,
    {
        "id": _values.integer,
        "phone": _values.string,
        "num": _values.string,
        "text": _values.string,
        "created": _values.moscow,
        "seen": _values.flag,
    },
)
_account_info = _structurer(
    AccountInfo,
    {
        "id": _values.integer,
        "tariff_id": _values.integer,
        "name": _values.string,
        "email": _values.string,
        "phone": _values.string,
        "balance": _values.decimal,
        "date": _values.zoneless,
        "senders": _values.names,
        "default_sender": _values.string,
        "any_sender": _values.flag,
    },
)


def _rows(content: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer: a list, a single row, or an object of rows, as PHP writes a list with gaps."""
    if content in (None, "", {}):
        return []
    if isinstance(content, dict):
        nested = list(content.values())
        content = nested if nested and all(isinstance(row, dict) for row in nested) else [content]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UnreadableAnswer("rows that are not objects")
    return content


# --- answers -------------------------------------------------------------------------------------


def _packet(document: dict[str, Any]) -> Packet:
    rows = _rows(document["send"])
    for row in rows:
        row["server_packet_id"] = document.get("server_packet_id")  # each message has its packet's id
    return _packet_fields({**document, "send": rows})


def _cost(document: dict[str, Any]) -> Any:
    if document.get("send") is not None:
        return _packet(document)
    return _required(_values.decimal(document["cost"]))


def _info(document: dict[str, Any]) -> AccountInfo:
    if not isinstance(document["info"], dict):
        raise UnreadableAnswer("an info without fields")
    return _account_info(document["info"])


def _required(value: Model | None) -> Model:
    if value is None:
        raise UnreadableAnswer("an amount that is not a number")
    return value


_ANSWERS: Final[Mapping[type, Callable[[dict[str, Any]], Any]]] = {
    Send: _packet,
    Cost: _cost,
    Check: lambda document: list(map(_message_status, _rows(document["check"]))),
    CheckPacket: lambda document: list(map(_message_status, _rows(document["check"]))),
    Balance: lambda document: _required(_values.decimal(document["balance"])),
    Info: _info,
    Inbound: lambda document: list(map(_inbound_message, _rows(document["inbound"]))),
}
