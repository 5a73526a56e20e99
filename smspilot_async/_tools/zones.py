"""Time zones as people write them: names, offsets from UTC, and offsets from Moscow.

A zone has one canonical spelling: its name in the IANA database, or ``+05:00``. What stands for no zone is refused and
never guessed: a bare number could be counted from UTC or from Moscow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

__all__ = ["parse_zone", "zone_of"]

_offset = re.compile(r"(?P<base>UTC|GMT|MSK|МСК)?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?").fullmatch
_MINUS: Final = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"))
_LARGEST_OFFSET: Final = timedelta(hours=15)
_MINUTES: Final = 60
_MOSCOW: Final = {"MSK", "МСК"}
_MOSCOW_OFFSET: Final = timedelta(hours=3)
_UTC: Final = {"UTC", "GMT", "Z"}
_LONGEST: Final = 64
_USUAL: Final = {
    name.casefold(): name
    for name in (
        *("Europe/Kaliningrad", "Europe/Moscow", "Europe/Simferopol", "Europe/Volgograd", "Europe/Saratov"),
        *("Europe/Astrakhan", "Europe/Ulyanovsk", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk"),
        *("Asia/Novosibirsk", "Asia/Barnaul", "Asia/Tomsk", "Asia/Novokuznetsk", "Asia/Krasnoyarsk", "Asia/Irkutsk"),
        *("Asia/Chita", "Asia/Yakutsk", "Asia/Khandyga", "Asia/Vladivostok", "Asia/Ust-Nera", "Asia/Magadan"),
        *("Asia/Sakhalin", "Asia/Srednekolymsk", "Asia/Kamchatka", "Asia/Anadyr", "Europe/Minsk", "Asia/Almaty"),
    )
}
"""Names that need no walk through the zone database, which takes a tenth of a second."""


def parse_zone(written: str) -> str:
    """Return the canonical name of a time zone.

    Args:
        written: ``Europe/Moscow`` in any case; ``+05:00``, ``+5``, ``UTC+5``; ``MSK``, ``MSK+2``, ``МСК-1``; ``UTC``.

    Raises:
        ValueError: It is none of these.

    >>> parse_zone("europe/moscow"), parse_zone("МСК+2"), parse_zone("UTC-3")
    ('Europe/Moscow', '+05:00', '-03:00')
    """
    name = written.strip()
    compact = name.replace(" ", "").translate(_MINUS).upper()
    if compact in _UTC:
        return "UTC"
    if compact in _MOSCOW:
        return "Europe/Moscow"
    if compact.isascii() or compact.startswith("МСК"):
        if found := _offset(compact):
            return _fixed(written, **found.groupdict())
        folded = name.casefold()
        if len(name) <= _LONGEST and (known := _USUAL.get(folded) or _names().get(folded)):
            return known
    raise _no_zone(written)


@cache
def zone_of(name: str) -> tzinfo:
    """Return the zone of a name that :func:`parse_zone` returned.

    Raises:
        ValueError: It is not one.
    """
    if name == "UTC":
        return UTC
    try:
        if name[:1] in {"+", "-"}:
            return datetime.strptime(name, "%z").tzinfo or UTC
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # malformed, a folder of the zone database, or not in it
        raise _no_zone(name) from None


def _fixed(written: str, base: str | None, sign: str, hours: str, minutes: str | None) -> str:
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if sign == "-":
        offset = -offset
    if base in _MOSCOW:
        offset += _MOSCOW_OFFSET
    if abs(offset) >= _LARGEST_OFFSET or int(minutes or 0) >= _MINUTES:
        raise _no_zone(written)
    if not offset:
        return "UTC"
    return f"{timezone(offset)}".removeprefix("UTC")


@cache
def _names() -> dict[str, str]:
    """Return the names of the zone database, by their casefolded form."""
    return {name.casefold(): name for name in available_timezones()}


def _no_zone(written: str) -> ValueError:
    shown = written.strip()[:_LONGEST]
    return ValueError(
        f"{shown!r} is not a time zone: write a name such as Europe/Moscow, or an offset such as +03:00 or MSK+2"
    )
