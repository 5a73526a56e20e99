"""Lenient readers of single values: numbers may be numbers or strings, and "none" has many forms.

A reader returns ``None`` for a missing or invalid value, so that an odd price never hides that a message was accepted;
only values that decide about that (:func:`decisive`) are strict. Readers are called for every field of every row, so
the right type is tested first. They are hooks of cattrs, whose second argument is not needed here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from smspilot_async.models import MOSCOW
from smspilot_async.wire._read import UnreadableAnswer

_integer = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII).fullmatch
_decimal = re.compile(r"[+-]?[0-9]{1,30}([.,][0-9]{1,30})?", re.ASCII).fullmatch
_stamp = re.compile(r"[0-9]{9,11}", re.ASCII).fullmatch
_LARGEST: Final = 10**30
_LONGEST_PLAIN: Final = 30  # characters in which neither the number nor its exponent can be too large
LARGEST_CODE: Final = 99_999  # known ones end at 715; longer ones may be phones, and errors show their code


def _is_sane(value: int | Decimal) -> bool:
    return -_LARGEST < value < _LARGEST


def integer(value: Any, _type: object = None) -> int | None:
    """Read a whole number."""
    if type(value) is int:
        return value if -_LARGEST < value < _LARGEST else None
    if isinstance(value, str):
        stripped = value.strip()
        return int(stripped) if _integer(stripped) else None
    if isinstance(value, Decimal) and value != value.to_integral_value():
        return None
    return int(value) if isinstance(value, (int, Decimal)) and _is_sane(value) else None


def decisive(value: Any, _type: object = None) -> int | None:
    """Read a whole number that decides whether a message was accepted.

    Raises:
        UnreadableAnswer: There is a value, and it is not a whole number.
    """
    if type(value) is int and -LARGEST_CODE <= value <= LARGEST_CODE:
        return value
    number = code(value)
    if number is None and value is not None and not (isinstance(value, str) and not value.strip()):
        raise UnreadableAnswer("a status or error that is not a number")
    return number


def code(value: Any) -> int | None:
    """Read a status or an error code."""
    number = integer(value)
    return number if number is not None and abs(number) <= LARGEST_CODE else None


def decimal(value: Any, _type: object = None) -> Decimal | None:
    """Read money, with the digits that were sent."""
    if isinstance(value, Decimal):
        written = str(value)
        if len(written) <= _LONGEST_PLAIN and "E" not in written:
            return value
        return value if _is_sane(value) and abs(int(value.as_tuple().exponent)) <= 30 else None  # noqa: PLR2004
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if _is_sane(value) else None
    if isinstance(value, str) and _decimal(stripped := value.strip()):
        return Decimal(stripped.replace(",", "."))
    return None


def string(value: Any, _type: object = None) -> str | None:
    """Read a string; a number that should have been one keeps its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return str(value) if _is_sane(value) else None
    return None


def identifier(value: Any, _type: object = None) -> str | None:
    """Read an id that the gateway assigned."""
    text = value if isinstance(value, str) else string(value)
    return text.strip() or None if text is not None else None


def flag(value: Any, _type: object = None) -> bool | None:
    """Read 0 or 1."""
    number = integer(value)
    return None if number is None else number != 0


def gmt(value: Any, _type: object = None) -> datetime | None:
    """Read a time in GMT, or a Unix timestamp; aware, UTC."""
    if not value:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _stamp(value.strip()):
        return datetime.fromtimestamp(int(value), UTC)
    return _moment(value, UTC)


def moscow(value: Any, _type: object = None) -> datetime | None:
    """Read a time in Moscow time; aware, UTC+3."""
    return _moment(value, MOSCOW)


def zoneless(value: Any, _type: object = None) -> datetime | None:
    """Read a time whose zone is not known; naive."""
    return _moment(value, None)


def _moment(value: Any, zone: tzinfo | None) -> datetime | None:
    """Read ``YYYY-MM-DD HH:MM[:SS]``; ``None`` for no value, ``""`` and ``0000-00-00 00:00:00``."""
    if not isinstance(value, str):
        return None
    stripped = value.strip()
    if not stripped or stripped.startswith("0000"):
        return None
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        return None
    return moment.replace(tzinfo=zone) if zone is not None and moment.tzinfo is None else moment


def names(value: Any, _type: object = None) -> tuple[str, ...]:
    """Read a comma-separated list."""
    parts = value if isinstance(value, list) else (string(value) or "").split(",")
    return tuple(name for name in map(identifier, parts) if name)
