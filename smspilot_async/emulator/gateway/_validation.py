"""Whether one message of a packet is well-formed, and what it would cost.

These are the rules that need nothing but the message, its account and the time; those about repetition and money are
the gateway's, because they need its memory.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from smspilot_async.emulator.gateway._errors import Refused
from smspilot_async.emulator.gateway._phones import read_phone
from smspilot_async.emulator.gateway._text import MAX_PARTS, count_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.emulator.gateway._accounts import Account
    from smspilot_async.emulator.gateway._unknowns import Unknowns

_SENDER: Final = re.compile(r"[A-Za-z0-9.-]{3,11}|[0-9]{10,16}", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_NO_MOMENT: Final = ("", "0", "0000-00-00 00:00:00")
_LONGEST_TTL: Final = 1440
_LONGEST_URL: Final = 2048


@attrs.frozen(kw_only=True)
class Draft:
    """A message that may be accepted."""

    id: int | None
    to: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sender: str = attrs.field(repr=False)
    parts: int
    price: Decimal
    country: str
    operator: str
    send_at: datetime | None
    ttl: int | None
    callback: str | None = attrs.field(repr=False)
    callback_method: Literal["get", "post"]


def validate(row: Mapping[str, Any], account: Account, unknowns: Unknowns) -> Draft:
    """The message that a row of a send request describes.

    Raises:
        Refused: With the code of the first field that is wrong.
    """
    phone = read_phone(as_text(row.get("to")))
    text = _text(row)
    parts = count_parts(text, pairs_split=unknowns.pairs_split)
    if parts > MAX_PARTS:
        raise Refused(221)
    return Draft(
        id=_id(row.get("id")),
        to=phone.digits,
        text=text,
        sender=_sender(as_text(row.get("from")), account),
        parts=parts,
        price=parts * account.price_of(phone.country, phone.operator),
        country=phone.country,
        operator=phone.operator,
        send_at=_send_at(as_text(row.get("send_datetime"))),
        ttl=_ttl(row.get("ttl")),
        callback=_callback(as_text(row.get("callback")), https=not unknowns.https_callback_refused),
        callback_method="post" if as_text(row.get("callback_method")).lower() == "post" else "get",
    )


def as_text(value: Any) -> str:
    """A field as text, whether it came as a text, a number or not at all."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else "" if value is None else str(value)


def as_whole(value: Any) -> int | None:
    """A field as a whole number, or `None` if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def read_moment(text: str) -> datetime | None:
    """A moment of the wire, ``YYYY-MM-DD HH:MM:SS`` in GMT, or `None` if it is not one."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def _text(row: Mapping[str, Any]) -> str:
    text = as_text(row.get("text"))
    if not text:
        raise Refused(220)
    return text


def _id(value: Any) -> int | None:
    if value is None or value == "":
        return None
    whole = as_whole(value)
    if whole is None:
        raise Refused(230)
    return whole


def _sender(name: str, account: Account) -> str:
    name = name or account.default_sender
    if not name:
        raise Refused(200)
    if not _SENDER.fullmatch(name):
        raise Refused(115)
    if not account.any_sender and name not in account.senders and name != account.default_sender:
        raise Refused(204)
    return name


def _send_at(text: str) -> datetime | None:
    if text in _NO_MOMENT:
        return None
    moment = _from_stamp(text) if text.isdecimal() else read_moment(text)
    if moment is None:
        raise Refused(250)
    return moment


def _from_stamp(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _ttl(value: Any) -> int | None:
    if value is None or value == "":
        return None
    minutes = as_whole(value)
    if minutes is None or not 1 <= minutes <= _LONGEST_TTL:
        raise Refused(270)
    return minutes


def _callback(url: str, *, https: bool) -> str | None:
    if not url:
        return None
    if len(url) > _LONGEST_URL:
        raise Refused(260)
    try:
        parts = urlsplit(url)
        nowhere = not parts.hostname or parts.port == 0  # reading a port beyond 65535 raises
    except ValueError:
        raise Refused(260) from None
    if nowhere or parts.scheme not in ({"http", "https"} if https else {"http"}):
        raise Refused(260)
    return url
