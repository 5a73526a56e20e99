"""Accounts, switches and settings as JSON, both ways: each field of a class by its type.

Durations are seconds, money is a text of digits, a time zone its offset, a collection a list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs

LONGEST: Final = 10**10
"""Seconds of a duration: three hundred years, which can still be added to a date."""


def as_plain(record: attrs.AttrsInstance, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a record as JSON has them."""
    names = (field.name for field in attrs.fields(type(record)) if field.init and field.name not in without)
    return {name: plain(getattr(record, name)) for name in names}


def read_fields(cls: type[attrs.AttrsInstance], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some fields of a class, of what JSON has.

    Raises:
        ValueError: There is no such field, or it cannot have this value.
    """
    kinds = get_type_hints(cls)
    known = [field.name for field in attrs.fields(cls) if field.init]
    for name in given:
        if name not in known:
            raise ValueError(f"there is no field {name!r}; there are {', '.join(known)}")
    return {name: _read_field(name, kinds[name], value) for name, value in given.items()}


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    return value


def _offset(zone: tzinfo) -> str:
    offset = zone.utcoffset(None)
    return str(zone) if offset is None else datetime(2000, 1, 1, tzinfo=zone).isoformat()[-6:]


def _read_field(name: str, kind: Any, value: Any) -> Any:
    for one in alternatives(kind):
        try:
            return _READERS[one][1](value) if one in _READERS else _read_literal(one, value)
        except (TypeError, ValueError, InvalidOperation):
            continue
    raise ValueError(f"{name} must be {' or '.join(map(_described, alternatives(kind)))}")


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one that it is."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _described(kind: Any) -> str:
    return _READERS[kind][0] if kind in _READERS else " or ".join(map(repr, get_args(kind)))


def _read_literal(kind: Any, value: Any) -> Any:
    assert get_origin(kind) is Literal  # noqa: S101 - a field of a new type needs a reader
    if type(value) not in map(type, get_args(kind)) or value not in get_args(kind):
        raise ValueError
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return read


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError
    return float(value)


def _seconds(value: Any) -> timedelta:
    if type(value) not in (int, float) or not 0 <= value <= LONGEST:
        raise ValueError
    return timedelta(seconds=value)


def _money(value: Any) -> Decimal:
    if type(value) not in (int, float, str):
        raise TypeError
    amount = Decimal(str(value))
    if not amount.is_finite():
        raise ValueError
    return amount


def _zone(value: Any) -> tzinfo:
    zone = datetime.fromisoformat(f"2000-01-01T00:00:00{value}").tzinfo
    if zone is None:
        raise ValueError
    return zone


def _naive(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        raise ValueError
    return moment


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError
    return tuple(value)


def _amounts(value: Any) -> dict[str, Decimal]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _money(one) for name, one in value.items()}


_WRITERS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (Decimal, str),
    (timedelta, timedelta.total_seconds),
    (datetime, datetime.isoformat),
    (tzinfo, _offset),
    (Mapping, lambda amounts: {name: plain(amount) for name, amount in amounts.items()}),
    (str, str),
    (Collection, list),
)
_LIST: Final = ("a list of strings", _strings)
_READERS: Final[dict[Any, tuple[str, Callable[[Any], Any]]]] = {
    NoneType: ("null", _exactly(NoneType)),
    bool: ("true or false", _exactly(bool)),
    str: ("a string", _exactly(str)),
    int: ("a whole number from 0", _whole),
    float: ("a share from 0 to 1", _share),
    Decimal: ('an amount, such as "12.50"', _money),
    timedelta: (f"seconds (0 to {LONGEST})", _seconds),
    tzinfo: ('an offset, such as "+03:00"', _zone),
    datetime: ("a time without a zone, such as 2026-01-31T12:00:00", _naive),
    Collection[str]: _LIST,
    Sequence[str]: _LIST,
    Mapping[str, Decimal]: ('amounts by name, such as {"MTS": "1.50"}', _amounts),
}
"""By type: what it is called, and what makes it of JSON or raises."""
