from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from smspilot_async.cli._times import parse_since, parse_time, parse_zone

MOSCOW = ZoneInfo("Europe/Moscow")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("written", "offset"),
    [
        ("Europe/Moscow", 3),
        ("+03:00", 3),
        ("+3", 3),
        ("-0330", -3.5),
        ("UTC+5", 5),
        ("utc", 0),
        (" GMT ", 0),
        ("Z", 0),
    ],
)
def test_zones_are_names_or_offsets(written: str, offset: float) -> None:
    assert datetime(2026, 1, 1, tzinfo=parse_zone(written)).utcoffset() == timedelta(hours=offset)


@pytest.mark.parametrize("written", ["Mars/Olympus", "", "/etc/passwd", "Europe", "+25", "three", "\0"])
def test_what_is_no_zone_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        parse_zone(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-12-31 18:00", datetime(2026, 12, 31, 15, tzinfo=UTC)),
        ("2026-12-31T18:00:05", datetime(2026, 12, 31, 15, 0, 5, tzinfo=UTC)),
        ("31.12.2026 18:00", datetime(2026, 12, 31, 15, tzinfo=UTC)),
        (" 1.2.2026 9:05:07 ", datetime(2026, 2, 1, 6, 5, 7, tzinfo=UTC)),
        ("2026-12-31 18:00+05:00", datetime(2026, 12, 31, 13, tzinfo=UTC)),
        ("2026-12-31 18:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_its_own_zone_or_the_one_that_was_named(written: str, meant: datetime) -> None:
    assert parse_time(written, MOSCOW) == meant


def test_an_aware_time_keeps_its_zone() -> None:
    assert parse_time("2026-12-31 18:00+05:00", None).tzinfo == timezone(timedelta(hours=5))


def test_a_naive_time_is_never_guessed_at() -> None:
    with pytest.raises(
        ValueError, match="names no time zone: add an offset such as \\+03:00, or say which zone with --tz"
    ):
        parse_time("2026-12-31 18:00", None)


@pytest.mark.parametrize("written", ["tomorrow", "2026-12-31", "18:00", "2026-13-01 10:00", "2026-12-31 25:00", ""])
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(written, MOSCOW)


@pytest.mark.parametrize(
    ("written", "problem"), [("2026-03-29 02:30", "does not exist"), ("2026-10-25 02:30", "comes twice")]
)
def test_an_hour_that_the_clocks_skip_or_repeat_is_refused(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_time(written, BERLIN)


@pytest.mark.parametrize("written", ["2026-11-28", "28.11.2026", " 2026-11-28 "])
def test_a_date_alone_is_its_beginning_in_the_zone_or_in_moscow(written: str) -> None:
    assert parse_since(written, None) == datetime(2026, 11, 28, tzinfo=timezone(timedelta(hours=3)))
    assert parse_since(written, BERLIN) == datetime(2026, 11, 28, tzinfo=BERLIN)


def test_a_time_since_is_read_as_any_other() -> None:
    assert parse_since("2026-11-28 10:00", BERLIN) == datetime(2026, 11, 28, 10, tzinfo=BERLIN)
    assert parse_since("2026-11-28T10:00Z", None) == datetime(2026, 11, 28, 10, tzinfo=UTC)
    with pytest.raises(ValueError, match="names no time zone"):
        parse_since("2026-11-28 10:00", None)


@pytest.mark.parametrize("written", ["2026-02-30", "31.06.2026", "yesterday", "2026-11"])
def test_a_date_that_there_is_not_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=f"'{written}' is not a time"):
        parse_since(written, None)
