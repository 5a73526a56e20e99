"""Parsing of times and time zones, as written in a file or on the command line.

The zone of a time is never guessed: a time without one is read in the zone given, or refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from smspilot_async._tools import zones
from smspilot_async._tools.zones import zone_of

_iso = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE | re.ASCII,
).fullmatch
_dotted = re.compile(r"(\d\d?)\.(\d\d?)\.(\d{4}) (\d\d?):(\d\d)(?::(\d\d))?", re.ASCII).fullmatch
_date = re.compile(r"\d{4}-\d\d-\d\d|\d\d?\.\d\d?\.\d{4}", re.ASCII).fullmatch
_MOSCOW = timezone(timedelta(hours=3))


def parse_zone(written: str) -> tzinfo:
    """Read an IANA name (``Europe/Moscow``) or an offset (``+03:00``, ``+3``, ``UTC``, ``MSK+2``).

    Raises:
        ValueError: It is neither.
    """
    return zone_of(zones.parse_zone(written))


def parse_time(written: str, zone: tzinfo | None) -> datetime:
    """Read ``2026-12-31 18:00`` (also with seconds, ``T`` or an offset) or ``31.12.2026 18:00``; return it aware.

    Args:
        written: The time as written.
        zone: The zone of a time that names none; ``None`` refuses it.

    Raises:
        ValueError: It is not a time, names no zone, or does not exist (or exists twice) in the zone.
    """
    naive, own_zone = _read(written.strip())
    if own_zone is not None:
        return naive.replace(tzinfo=own_zone)
    if zone is None:
        raise ValueError(f"{written!r} names no time zone: add an offset such as +03:00, or say which zone with --tz")
    return _placed(naive, zone)


def parse_since(written: str, zone: tzinfo | None) -> datetime:
    """Read a time as :func:`parse_time` does, or a date alone (``2026-12-31``, ``31.12.2026``) as its midnight.

    A date alone is read in `zone`, or else in Moscow time, in which the gateway gives ``created``.

    Raises:
        ValueError: As for :func:`parse_time`.
    """
    if not _date(written.strip()):
        return parse_time(written, zone)
    try:
        return parse_time(f"{written.strip()} 00:00", _MOSCOW if zone is None else zone)
    except ValueError as wrong:
        raise ValueError(str(wrong).replace(" 00:00", "", 1)) from None


def _read(written: str) -> tuple[datetime, tzinfo | None]:
    if found := _iso(written):
        *numbers, zone = found.groups()
    elif found := _dotted(written):
        day, month, year, *rest = found.groups()
        numbers, zone = [year, month, day, *rest], None
    else:
        raise ValueError(f"{written!r} is not a time: write it as 2026-12-31 18:00 or 31.12.2026 18:00")
    try:
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        return datetime(year, month, day, hour, minute, second), parse_zone(zone) if zone else None  # noqa: DTZ001
    except ValueError as wrong:
        raise ValueError(f"{written!r} is not a time: {wrong}") from None


def _placed(naive: datetime, zone: tzinfo) -> datetime:
    early, late = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if early.utcoffset() == late.utcoffset():
        return early
    # The clocks change here: a time that is skipped does not survive the conversion to UTC and back.
    exists = early.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == naive
    problem = "comes twice" if exists else "does not exist"
    raise ValueError(f"{naive} {problem} in {zone} (the clocks change): write it with an offset such as +03:00")
