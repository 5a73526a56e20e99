"""Sending windows: at what hours, on which days and in whose time zone a campaign may reach people.

Pure functions of a moment and a zone. Streams of a campaign hold one zone each; their ``open_from`` and ``open_until``
come from :meth:`SendingWindow.interval`. Where the clocks change, a window opens at the later and closes at the earlier
of the moments that its hours could mean: it never reaches a minute beyond what was asked.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.zones import parse_zone, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

__all__ = ["SendingWindow", "parse_zone"]

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RUSSIAN_DAYS: Final[dict[str, str]] = dict(zip(("пн", "вт", "ср", "чт", "пт", "сб", "вс"), _DAYS, strict=True))
_AHEAD: Final = 9
"""Days to look ahead: a window on one day of the week, of which one occurrence is just over."""
_hour = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII).fullmatch
_END_OF_DAY: Final = 24 * 60


def _day_numbers(written: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in written.replace(" ", "").casefold().split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first, written), _day(last or first, written)
        numbers.update(number % len(_DAYS) for number in range(begin, (end if end >= begin else end + len(_DAYS)) + 1))
    return tuple(sorted(numbers))


def _day(word: str, written: str) -> int:
    name = _RUSSIAN_DAYS.get(word, word)
    if name not in _DAYS:
        raise ValueError(f"days is like 'mon-sat' or 'mon,wed,fri', not {written!r}")
    return _DAYS.index(name)


def _days(written: str) -> str:
    """Return days in one spelling, so that equal windows compare equal."""
    runs: list[list[int]] = []
    for number in _day_numbers(written):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(_DAYS[run[0]] if len(run) == 1 else f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}" for run in runs)


def _time_of_day(written: str) -> str:
    found = _hour(written.strip())
    if found is None or not (int(found[2]) < 60 and _minutes(found[0]) <= _END_OF_DAY):  # noqa: PLR2004
        raise ValueError(f"an hour of a window is like '10:00', up to '24:00', not {written!r}")
    return f"{int(found[1]):02}:{found[2]}"


def _minutes(written: str) -> int:
    hours, _, minutes = written.partition(":")
    return int(hours) * 60 + int(minutes)


def _zone(written: str | None) -> str | None:
    return None if written is None else parse_zone(written)


@attrs.frozen
class SendingWindow:
    """The hours in which a campaign may send, in the zone of each row.

    ::

        SendingWindow("10:00", "20:00", days="mon-sat", tz="Europe/Moscow")
        SendingWindow("22:00", "02:00", days="fri,sat", column="zone")

    Args:
        opens: Local time, ``HH:MM``.
        closes: Local time, up to ``24:00``. One that is earlier than ``opens`` is the next day's, and belongs to the
            day on which the window opens.
        days: Days of the week, such as ``"mon-sat"`` or ``"mon,wed,fri"``; all by default.
        tz: The zone of rows, by its name (``Europe/Moscow``), or as ``+05:00`` or ``MSK+2``.
        column: The column of the list with each row's own zone. A row without one is a bad row, whatever `tz` is.

    Raises:
        ValueError: An argument makes no sense, or there is neither `tz` nor `column`.
    """

    opens: str = attrs.field(converter=_time_of_day)
    closes: str = attrs.field(converter=_time_of_day)
    days: str = attrs.field(default="mon-sun", converter=_days, kw_only=True)
    tz: str | None = attrs.field(default=None, converter=_zone, kw_only=True)
    column: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.opens in {self.closes, "24:00"}:
            raise ValueError(f"a window from {self.opens} to {self.closes} has no length; all day is 00:00 to 24:00")
        if self.tz is None and self.column is None:
            raise ValueError("a window needs tz, the zone of its hours, or column, where each row says its own")

    def zone_for(self, written: str | None) -> str:
        """Return the canonical zone of a row.

        Args:
            written: The value of the row's `column`; ignored without one.

        Raises:
            ValueError: There is a `column`, and this is not a zone.
        """
        if self.column is None:
            assert self.tz is not None  # noqa: S101 - checked when it was made
            return self.tz
        if written is None or not written.strip():
            raise ValueError(f"the column {self.column!r} names no time zone")
        return parse_zone(written)

    def interval(self, now_us: int, zone: str | None = None, ttl_minutes: int = 0) -> tuple[int, int]:
        """Return the interval in which messages may leave: the one that `now_us` is in, or the next.

        Args:
            now_us: The moment, in microseconds of UTC since 1970.
            zone: The zone, by its canonical name; left out, `tz`.
            ttl_minutes: How long the gateway may go on trying. The interval ends so much before the window closes.

        Returns:
            Its begin and end in microseconds of UTC; the end is not part of it. Of a window that never closes, the
            end is some days ahead.

        Raises:
            ValueError: No window is as long as the ttl, or there is no zone.
        """
        name = zone or self.tz
        if name is None:
            raise ValueError(f"a window with the zones of column {self.column!r} opens nowhere without one")
        ttl = ttl_minutes * _MINUTE
        for begin, end in self._open(now_us, zone_of(name)):
            if begin < end - ttl and now_us < end - ttl:
                return begin, end - ttl
        raise ValueError(
            f"a ttl of {ttl_minutes} minutes does not fit into a window from {self.opens} to {self.closes}: a message "
            "could arrive after it closes"
        )

    def _open(self, now_us: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
        """Yield the intervals around and after a moment; those that touch are one."""
        begin = end = None
        for opens, closes in self._occurrences(now_us, zone):
            if end is not None and opens <= end:
                end = max(end, closes)
                continue
            if begin is not None and end is not None:
                yield begin, end
            begin, end = opens, closes
        if begin is not None and end is not None:
            yield begin, end

    def _occurrences(self, now_us: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
        today = datetime.fromtimestamp(now_us // _SECOND, UTC).astimezone(zone).date()
        numbers = _day_numbers(self.days)
        opens, closes = _minutes(self.opens), _minutes(self.closes)
        if closes <= opens:
            closes += _END_OF_DAY
        for ahead in range(-2, _AHEAD):
            day = today + timedelta(days=ahead)
            if day.weekday() in numbers:
                begin, end = max(_moments(day, opens, zone)), min(_moments(day, closes, zone))
                if begin < end:
                    yield begin, end

    def to_json(self) -> str:
        """Return it as JSON, in one spelling: equal windows give equal texts."""
        return json.dumps(attrs.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, written: str) -> SendingWindow:
        """Return what :meth:`to_json` wrote.

        Raises:
            ValueError: It did not.
        """
        try:
            fields: Any = json.loads(written)
            return cls(**fields)
        except (TypeError, AttributeError) as wrong:
            problem = ValueError(f"not a sending window: {type(wrong).__name__}")
        raise problem


def _moments(day: date, minutes: int, zone: tzinfo) -> tuple[int, int]:
    """Return what a local time can mean, in microseconds: two moments where the clocks change."""
    days, rest = divmod(minutes, _END_OF_DAY)
    local = datetime.combine(day + timedelta(days=days), time(rest // 60, rest % 60), zone)
    first, second = (int(local.replace(fold=fold).timestamp()) * _SECOND for fold in (0, 1))
    return first, second
