"""The fast path: usual answers to a send or a check are read straight into models, in a fraction of the lenient time.

Usual is the answer of the gateway (2.6) to an accepted packet, and its answer about statuses: exactly the fields of
the protocol, in JSON each of its type. Anything else, even a number in quotes, is left to the lenient reader, which
also decides what is wrong with it. So every answer has one reading; this is only a short cut.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from xml.parsers import expat

from smspilot_async.models import KNOWN_STATUSES, MessageStatus, Packet, SentMessage
from smspilot_async.wire import _values
from smspilot_async.wire._json import JSON_LIBRARY
from smspilot_async.wire._read import UnreadableAnswer
from smspilot_async.wire.commands import Check, CheckPacket, Command, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Row = dict[str, Any]
    Types = list[tuple[type, ...]]

_PACKET: Final = ("server_packet_id", "balance", "cost")
_STATUS: Final = ("id", "server_id", "status", "modified")
_SENT: Final = (
    "id",
    "server_id",
    "from",
    "to",
    "text",
    "parts",
    "price",
    "status",
    "error",
    "send_datetime",
    "country",
    "operator",
)
_ID, _PARTS, _STATUS_CODE, _ERROR_CODE = map(_SENT.index, ("id", "parts", "status", "error"))
_CONTENT: Final = "#text"  # of an XML element; no attribute can have this name
_SENT_IN_XML: Final = tuple(_CONTENT if name == "text" else name for name in _SENT)

_MONEY: Final = frozenset({Decimal, int})
_SENT_TYPES: Final[Types] = [(int, str, str, str, str, int, money, int, int, str, str, str) for money in (Decimal, int)]
_STATUS_TYPES: Final[Types] = [(int, str, int, str)]
_LONGEST_AMOUNT: Final = 32
_LARGEST: Final = 2**63 - 1
_new = object.__new__
_known_status = KNOWN_STATUSES.get

# Of most messages these are the same.
_number: Final = lru_cache(maxsize=1024)(_values.integer)
_code: Final = lru_cache(maxsize=1024)(_values.decisive)
_price: Final = lru_cache(maxsize=1024)(_values.decimal)


class _UnusualAnswer(ValueError):
    """The lenient reader has to look at it."""


def read_fast(command: Command[Any], body: bytes) -> Packet | list[MessageStatus] | None:
    """Read the answer to a send or a check; ``None`` if it is not a usual one."""
    is_xml = body.startswith(b"<")
    try:
        if isinstance(command, Send):
            return _packet_from_xml(body) if is_xml else _packet_from_json(body)
        if isinstance(command, (Check, CheckPacket)):
            return _statuses_from_xml(body) if is_xml else _statuses_from_json(body)
    except (KeyError, ValueError, ArithmeticError, RecursionError, UnreadableAnswer, expat.ExpatError):
        pass  # the lenient reader says what is wrong, if anything is
    return None


def _refuse(*_: object) -> NoReturn:
    raise _UnusualAnswer


# --- JSON ----------------------------------------------------------------------------------------


def _packet_with_json(body: bytes) -> Packet:
    """Read a packet by the standard library."""
    document = _object(body, 1 + len(_PACKET))
    packet, balance, cost = (document.get(name) for name in _PACKET)
    if type(packet) is not str or not _MONEY.issuperset((type(balance), type(cost))):
        raise _UnusualAnswer
    rows = map(_in_range, _typed(document.get("send"), _SENT, _SENT_TYPES))
    return _packet(_values.identifier(packet), balance, cost, rows)


def _statuses_from_json(body: bytes) -> list[MessageStatus]:
    rows = _object(body, 1).get("check")
    return list(map(_status, _typed(rows, _STATUS, _STATUS_TYPES)))


def _amount(written: str) -> Decimal | None:
    """Read money; an absurdly long amount is not usual."""
    return _cached_amount(written) if len(written) <= _LONGEST_AMOUNT else None


@lru_cache(maxsize=1024)  # most messages cost the same
def _cached_amount(written: str) -> Decimal | None:
    return _values.decimal(Decimal(written))


_decode: Final = json.JSONDecoder(parse_float=_amount, parse_constant=_refuse).decode


def _object(body: bytes, length: int) -> Row:
    if b"\\u" in body:  # which half a character may be written with
        raise _UnusualAnswer
    document = _decode(body.decode())
    if type(document) is not dict or len(document) != length:
        raise _UnusualAnswer
    return document


def _typed(rows: Any, names: tuple[str, ...], types: Types) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row, in the order of their names, each of its type."""
    if type(rows) is not list:
        raise _UnusualAnswer
    values_of, length = itemgetter(*names), len(names)
    for row in rows:
        if type(row) is not dict or len(row) != length:
            raise _UnusualAnswer
        values = values_of(row)
        if tuple(map(type, values)) not in types:
            raise _UnusualAnswer
        yield values


def _in_range(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse numbers that the lenient reader has to look at."""
    if (
        -_LARGEST <= values[_ID] <= _LARGEST
        and -_LARGEST <= values[_PARTS] <= _LARGEST
        and -_values.LARGEST_CODE <= values[_STATUS_CODE] <= _values.LARGEST_CODE
        and -_values.LARGEST_CODE <= values[_ERROR_CODE] <= _values.LARGEST_CODE
    ):
        return values
    raise _UnusualAnswer


def _packet_with_msgspec() -> Callable[[bytes], Packet]:
    """Return a reader of packets by msgspec, which checks the types while it reads."""
    import msgspec  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] # noqa: PLC0415

    number = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
    code = Annotated[int, msgspec.Meta(ge=-_values.LARGEST_CODE, le=_values.LARGEST_CODE)]
    types = {"id": number, "parts": number, "price": Any, "status": code, "error": code}
    renamed = {"from": "sender", "send_datetime": "send_at"}
    row = msgspec.defstruct(
        "Row",
        [(renamed.get(name, name), types.get(name, str)) for name in _SENT],
        rename={attribute: name for name, attribute in renamed.items()},
        forbid_unknown_fields=True,
        gc=False,
    )
    packet = msgspec.defstruct(
        "Answer",
        [("send", GenericAlias(list, row)), ("server_packet_id", str), ("balance", Any), ("cost", Any)],
        forbid_unknown_fields=True,
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(packet, float_hook=_amount).decode

    def read(body: bytes) -> Packet:
        answer: Any = decode(body)
        if not _MONEY.issuperset({type(answer.balance), type(answer.cost), *(type(row.price) for row in answer.send)}):
            raise _UnusualAnswer
        rows = map(msgspec.structs.astuple, answer.send)
        return _packet(_values.identifier(answer.server_packet_id), answer.balance, answer.cost, rows)

    return read


_packet_from_json: Final = _packet_with_json if JSON_LIBRARY == "json" else _packet_with_msgspec()


# --- XML -----------------------------------------------------------------------------------------


def _packet_from_xml(body: bytes) -> Packet:
    document, rows = _read_xml(body, "send", _SENT_IN_XML)
    if len(document) != len(_PACKET):
        raise _UnusualAnswer
    packet, balance, cost = itemgetter(*_PACKET)(document)
    values = map(_with_numbers, rows)
    return _packet(_values.identifier(packet), _price(balance), _price(cost), values)


def _statuses_from_xml(body: bytes) -> list[MessageStatus]:
    document, rows = _read_xml(body, "check", _STATUS)
    if document:
        raise _UnusualAnswer
    return list(map(_status, rows))


def _read_xml(body: bytes, root: str, names: tuple[str, ...]) -> tuple[Row, list[tuple[str, ...]]]:
    """Return the attributes of the root, and the values of each ``<sms>``, its content included."""
    body.decode()  # expat takes some bytes that are not UTF-8,
    if b"\0" in body:  # and UTF-16 despite its arguments
        raise _UnusualAnswer
    document: Row = {}
    row: Row = {}
    rows: list[tuple[str, ...]] = []
    depth, length, values_of = 0, len(names), itemgetter(*names)

    def start(name: str, attributes: Row) -> None:
        nonlocal depth, row
        depth += 1
        if depth == 2 and name == "sms":  # noqa: PLR2004 - the root and its rows
            row = attributes
        elif depth == 1 and name == root:
            document.update(attributes)
        else:
            raise _UnusualAnswer

    def content(text: str) -> None:
        if depth == 2:  # noqa: PLR2004 - white space between rows does not matter
            row[_CONTENT] = row[_CONTENT] + text if _CONTENT in row else text

    def end(_name: str) -> None:
        nonlocal depth
        if depth == 2:  # noqa: PLR2004
            if len(row) != length:
                raise _UnusualAnswer
            rows.append(values_of(row))
        depth -= 1

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = content
    parser.StartDoctypeDeclHandler = _refuse
    parser.Parse(body, True)  # noqa: FBT003 - expat takes no keyword
    return document, rows


# --- models: their fields are set directly, in a third of the constructor's time ------------------


def _packet(number: str | None, balance: Any, cost: Any, rows: Iterable[tuple[Any, ...]]) -> Packet:
    return Packet(
        messages=tuple([_sent_message(number, values) for values in rows]),
        server_packet_id=number,
        balance=_values.decimal(balance),
        cost=_values.decimal(cost),
    )


def _with_numbers(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Read the numbers of XML, and refuse what is out of range."""
    id_, server_id, sender, to, text, parts, price, status, error, *rest = values
    return _values.integer(id_), server_id, sender, to, text, _number(parts), price, _code(status), _code(error), *rest


def _sent_message(packet: str | None, values: tuple[Any, ...]) -> SentMessage:
    id_, server_id, sender, to, text, parts, price, status, error, send_at, country, operator = values
    sent = _new(SentMessage)
    fields = sent.__dict__
    fields["id"] = id_
    fields["server_id"] = server_id.strip() or None
    fields["server_packet_id"] = packet
    fields["sender"] = sender
    fields["to"] = to
    fields["text"] = text
    fields["parts"] = parts
    fields["price"] = price if type(price) is Decimal else _price(price)
    fields["status"] = _known_status(status, status)
    fields["error"] = error
    fields["send_at"] = _values.gmt(send_at) if send_at else None
    fields["country"] = country
    fields["operator"] = operator
    fields["extra"] = {}
    fields["failure"] = None
    return sent


def _status(values: tuple[Any, ...]) -> MessageStatus:
    id_, server_id, status, modified = values
    made = _new(MessageStatus)
    fields = made.__dict__
    fields["id"] = _values.integer(id_)
    fields["server_id"] = server_id.strip() or None
    number = _number(status)
    fields["status"] = _known_status(number, number)
    fields["error"] = None
    fields["modified"] = _values.zoneless(modified)
    fields["extra"] = {}
    return made
