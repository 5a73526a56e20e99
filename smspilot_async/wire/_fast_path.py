"""The fast path: msgspec reads the usual answer to a send straight into rows, in less than half the lenient time.

Usual is the answer of the gateway (2.6) to an accepted packet: exactly the fields of the protocol, each of its type.
Anything else, even a number in quotes, is left to the lenient reader, which also decides what is wrong with it. So
every answer has one reading; this is only a short cut.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Final

from smspilot_async.models import Packet, SentMessage
from smspilot_async.wire import _values
from smspilot_async.wire._json import JSON_LIBRARY

if TYPE_CHECKING:
    from collections.abc import Callable

_MONEY: Final = frozenset({Decimal, int})
_LONGEST_AMOUNT: Final = 32
_LARGEST: Final = 2**63 - 1
_new = object.__new__


def _never_fast(_: bytes) -> Packet | None:
    return None


def _with_msgspec() -> Callable[[bytes], Packet | None]:
    import msgspec  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] # noqa: PLC0415

    number = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
    code = Annotated[int, msgspec.Meta(ge=-_values.LARGEST_CODE, le=_values.LARGEST_CODE)]
    row = msgspec.defstruct(
        "Row",
        [
            ("id", number),
            ("server_id", str),
            ("sender", str),
            ("to", str),
            ("text", str),
            ("parts", number),
            ("price", Any),
            ("status", code),
            ("error", code),
            ("send_at", str),
            ("country", str),
            ("operator", str),
        ],
        rename={"sender": "from", "send_at": "send_datetime"},
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

    def read_fast(body: bytes) -> Packet | None:
        try:
            answer: Any = decode(body)
        except (ValueError, ArithmeticError):
            return None
        amounts = {type(answer.balance), type(answer.cost), *(type(row.price) for row in answer.send)}
        return _packet(answer) if amounts <= _MONEY else None

    return read_fast


def _amount(written: str) -> Decimal | None:
    """Read money; an absurdly long amount is not usual."""
    return _cached_amount(written) if len(written) <= _LONGEST_AMOUNT else None


@lru_cache(maxsize=1024)  # most messages cost the same
def _cached_amount(written: str) -> Decimal | None:
    return _values.decimal(Decimal(written))


def _packet(answer: Any) -> Packet:
    number = _values.identifier(answer.server_packet_id)
    return Packet(
        messages=tuple([_sent_message(row, number) for row in answer.send]),
        server_packet_id=number,
        balance=_values.decimal(answer.balance),
        cost=_values.decimal(answer.cost),
    )


def _sent_message(row: Any, packet: str | None) -> SentMessage:
    """Set the fields directly, in a third of the constructor's time."""
    sent = _new(SentMessage)
    fields = sent.__dict__
    fields["id"] = row.id
    fields["server_id"] = row.server_id.strip() or None
    fields["server_packet_id"] = packet
    fields["sender"] = row.sender
    fields["to"] = row.to
    fields["text"] = row.text
    fields["parts"] = row.parts
    fields["price"] = row.price if type(row.price) is Decimal else _values.decimal(row.price)
    fields["status"] = row.status
    fields["error"] = row.error
    fields["send_at"] = _values.gmt(row.send_at) if row.send_at else None
    fields["country"] = row.country
    fields["operator"] = row.operator
    fields["extra"] = {}
    fields["failure"] = None
    return sent


read_fast: Final = _never_fast if JSON_LIBRARY == "json" else _with_msgspec()
"""Read the answer to a send; ``None`` if it is not a usual one."""
