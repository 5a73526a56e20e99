"""Answers as rows for data frames: flat dicts of plain values.

Phones and texts are included. All rows of a kind have the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias

import attrs

from smspilot_async._statuses.checks import PacketCheck
from smspilot_async.errors import InvalidMessage, OutcomeUnknown, SmsPilotError
from smspilot_async.models import (
    Accepted,
    InboundMessage,
    Message,
    MessageStatus,
    NotSent,
    Packet,
    Refused,
    SendResult,
    SentMessage,
    Unknown,
    status_word,
)
from smspilot_async.text import normalize_phone

Row: TypeAlias = dict[str, Any]
Tabular: TypeAlias = Packet | SentMessage | PacketCheck | MessageStatus | InboundMessage | SendResult[Any]


def to_dicts(answers: Tabular | Iterable[Tabular]) -> list[dict[str, Any]]:
    """Return answers as rows for pandas and polars: flat dicts of plain values, **phones and texts included**.

    ::

        rows = to_dicts(results)
        pandas.DataFrame(rows)
        polars.DataFrame(rows, infer_schema_length=None)

    polars infers a column's type from 100 rows unless it uses all (as above); it then rounds prices with
    more digits in later rows. pandas turns whole numbers into floats if some are missing.

    Args:
        answers: A packet, results of a bulk run, statuses, checks of packets, or inbound messages: one or many, of one
            kind.

    Returns:
        A row for each message, in order; all rows of a kind have the same keys.

        Packets and results: ``id``, ``server_id``, ``server_packet_id``, ``outcome`` (``"accepted"``,
        ``"refused"``, ``"unknown"`` or ``"not_sent"``), ``to``, ``text``, ``sender``, ``parts``, ``price``
        (``Decimal``, roubles), ``status``, ``state`` (the status in words), ``error`` (the gateway's code), ``failure``
        (why, in words), ``send_at`` (aware, UTC), ``country``, ``operator``. Values that are missing from the gateway's
        answer are taken from the bulk run's item.

        Statuses: ``id``, ``server_id``, ``status``, ``state``, ``error``, ``modified`` (without a time zone). Checks of
        packets also have ``server_packet_id`` and ``failure``; a failed check is one row.

        Inbound messages: ``id``, ``phone``, ``num``, ``text``, ``created`` (aware, UTC), ``seen``.

    Raises:
        TypeError: Something is none of these.
    """
    if isinstance(answers, Iterable):
        return [row for answer in answers for row in _rows(answer)]
    return _rows(answers)


def _rows(answer: Any) -> list[Row]:
    match answer:
        case Packet(messages=messages):
            return [_sent(message) for message in messages]
        case SentMessage():
            return [_sent(answer)]
        case Accepted() | Refused() | Unknown() | NotSent():
            return [_result(answer)]
        case PacketCheck():
            return _check(answer)
        case MessageStatus():
            return [_status(answer)]
        case InboundMessage():
            return [_inbound(answer)]
    raise TypeError(f"rows are made of answers and results, not of {type(answer).__name__}")


# --- what was sent -------------------------------------------------------------------------------


def _sent(sent: SentMessage) -> Row:
    return {
        "id": sent.id,
        "server_id": sent.server_id,
        "server_packet_id": sent.server_packet_id,
        "outcome": sent.outcome.value,
        "to": sent.to,
        "text": sent.text,
        "sender": sent.sender,
        "parts": sent.parts,
        "price": sent.price,
        "status": sent.status,
        "state": status_word(sent.status) or None,
        "error": sent.error,
        "failure": None if sent.failure is None else str(sent.failure),
        "send_at": _in_utc(sent.send_at),
        "country": sent.country,
        "operator": sent.operator,
    }


def _result(result: SendResult[Any]) -> Row:
    error = None if isinstance(result, Accepted) else result.error
    row = _sent(result.sent or SentMessage())
    for name, value in (*_failure(error), *_given(result.item)):
        if row[name] is None:
            row[name] = value
    return row | {"outcome": result.outcome.value}


def _failure(error: SmsPilotError | None) -> Iterable[tuple[str, Any]]:
    if error is None:
        return ()
    server_packet_id = error.server_packet_id if isinstance(error, OutcomeUnknown) else None
    return (
        ("id", error.message_id),
        ("server_packet_id", server_packet_id),
        ("error", getattr(error, "code", None)),
        ("failure", str(error)),
    )


def _given(item: Any) -> Iterable[tuple[str, Any]]:
    """Return the fields of the caller's own item, as far as they are valid: an invalid item may contain anything."""
    fields: dict[Any, Any]
    match item:
        case Message():
            fields = attrs.asdict(item, recurse=False)
        case Mapping():
            fields = {"sender": item.get("from"), **item}
        case (to, text):
            fields = {"to": to, "text": text}
        case _:
            fields = {}
    return (
        ("id", _number(fields.get("id"))),
        ("to", _phone(fields.get("to"))),
        ("text", _of_kind(str, fields.get("text"))),
        ("sender", _of_kind(str, fields.get("sender"))),
        ("send_at", _moment(fields.get("send_at"))),
    )


def _of_kind(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _number(value: Any) -> int | None:
    try:
        return int(value) if isinstance(value, (int, str)) and str(value).isdecimal() else None
    except ValueError:  # thousands of digits
        return None


def _phone(value: Any) -> str | None:
    if not isinstance(value, (str, int)):
        return None
    with suppress(InvalidMessage):
        return normalize_phone(value)
    with suppress(ValueError):  # a number of thousands of digits
        return str(value)
    return None


def _moment(value: Any) -> datetime | None:
    try:
        return _in_utc(value) if isinstance(value, datetime) and value.utcoffset() is not None else None
    except OverflowError:  # beyond the year 9999, in UTC
        return None


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


# --- statuses and inbound messages ---------------------------------------------------------------


def _status(status: MessageStatus) -> Row:
    return {
        "id": status.id,
        "server_id": status.server_id,
        "status": status.status,
        "state": status_word(status.status) or None,
        "error": status.error,
        "modified": status.modified,
    }


def _check(check: PacketCheck) -> list[Row]:
    failure = None if check.error is None else str(check.error)
    statuses = check.statuses or ((MessageStatus(),) if failure else ())
    return [{"server_packet_id": check.server_packet_id, **_status(status), "failure": failure} for status in statuses]


def _inbound(sms: InboundMessage) -> Row:
    return {
        "id": sms.id,
        "phone": sms.phone,
        "num": sms.num,
        "text": sms.text,
        "created": _in_utc(sms.created),
        "seen": sms.seen,
    }
