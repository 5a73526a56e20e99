"""The arguments of the control API, checked: what is wrong with one is said in words."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.emulator.gateway._faults import Fault
from smspilot_async.emulator.server._fields import read_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    import attrs

DEFAULT_TIMEOUT: Final = 5.0
LONGEST_TIMEOUT: Final = 600


class Mistake(Exception):
    """What was wrong with a request, in words, and the HTTP status of the answer."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


def check_names(body: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse fields that are not known."""
    for name in body:
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "there is none here"
            raise Mistake(f"there is no field {name!r}; {there_are}")


def _given(body: dict[str, Any], name: str) -> Any:
    if name not in body:
        raise Mistake(f"{name} is missing")
    return body[name]


def text(body: dict[str, Any], name: str) -> str:
    """A string, or a whole number as one."""
    value = _given(body, name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a phone or a server_id may be written as a number
    if not isinstance(value, str):
        raise Mistake(f"{name} must be a string")
    return value


def whole(body: dict[str, Any], name: str, *, least: int, most: int | None = None) -> int:
    """A whole number, or a string of digits as one."""
    value = _given(body, name)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise Mistake(f"{name} must be a whole number from {least}{limit}")
    return value


def seconds(body: dict[str, Any], name: str, *, most: float = sys.float_info.max) -> float:
    """A duration."""
    value = _given(body, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        raise Mistake(f"{name} must be seconds, 0 {'or more' if most == sys.float_info.max else f'to {most:g}'}")
    return value


def moment(body: dict[str, Any], name: str) -> datetime:
    """An aware time."""
    try:
        moment = datetime.fromisoformat(body[name])
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Mistake(f"{name} must be a time with its zone, such as 2026-01-31T12:00:00+00:00")
    return moment


def one_of(body: dict[str, Any], name: str, known: Sequence[str]) -> str:
    """One of some words."""
    value = _given(body, name)
    if value not in known:
        raise Mistake(f"there is no {name} {value!r}; there are {', '.join(known)}")
    return str(value)


def shares(body: dict[str, Any]) -> dict[Fault, float]:
    """Which share of the requests meets which fault."""
    shares = _given(body, "shares")
    if not isinstance(shares, dict) or not all(type(share) in (int, float) for share in shares.values()):
        raise Mistake('shares must be an object such as {"busy": 0.02}')
    known = [fault.value for fault in Fault]
    return {Fault(one_of({"fault": name}, "fault", known)): share for name, share in shares.items()}


def rule(body: dict[str, Any]) -> dict[str, str]:
    """Which messages a rule is for."""
    return {name: text(body, name) for name in ("to", "text") if body.get(name) is not None}


def record_fields(cls: type[attrs.AttrsInstance], body: dict[str, Any]) -> dict[str, Any]:
    """The values of some fields of a class."""
    try:
        return read_fields(cls, body)
    except ValueError as wrong:
        raise Mistake(str(wrong)) from None


def take_timeout(query: dict[str, Any]) -> float:
    """The time that a query gives, taken out of it."""
    try:
        patience = float(query.pop("timeout", DEFAULT_TIMEOUT))
    except ValueError:
        patience = -1
    if not 0 <= patience <= LONGEST_TIMEOUT:
        raise Mistake(f"timeout must be seconds, from 0 to {LONGEST_TIMEOUT}")
    return patience
