"""Sending windows: a pure function of a moment and a zone, held to a slow look at every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import available_timezones

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smspilot_async._tools.zones import _USUAL, zone_of
from smspilot_async.outbox._windows import SendingWindow, parse_zone

RUSSIA: Final = (
    *("Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk", "Asia/Krasnoyarsk"),
    *("Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka"),
)
ZONES: Final = (*RUSSIA, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "+05:45", "-09:30", "UTC")
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE: Final = 60 * 10**6


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**6


def moscow(text: str) -> int:
    return us(datetime.fromisoformat(f"{text}+03:00"))


def local(moment_us: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment_us // 10**6, UTC).astimezone(zone_of(zone))


WORKDAYS: Final = SendingWindow("10:00", "20:00", days="mon-sat", tz="Europe/Moscow")


@pytest.mark.parametrize(
    ("now", "ttl", "opens", "closes"),
    [
        ("2026-11-27 12:00", 0, "2026-11-27 10:00", "2026-11-27 20:00"),  # a Friday
        ("2026-11-27 09:59", 0, "2026-11-27 10:00", "2026-11-27 20:00"),
        ("2026-11-27 10:00", 0, "2026-11-27 10:00", "2026-11-27 20:00"),
        ("2026-11-27 20:00", 0, "2026-11-28 10:00", "2026-11-28 20:00"),
        ("2026-11-28 20:00", 0, "2026-11-30 10:00", "2026-11-30 20:00"),  # no Sunday
        ("2026-11-27 12:00", 60, "2026-11-27 10:00", "2026-11-27 19:00"),
        ("2026-11-27 19:00", 60, "2026-11-28 10:00", "2026-11-28 19:00"),
        ("2026-11-27 12:00", 599, "2026-11-28 10:00", "2026-11-28 10:01"),
    ],
)
def test_the_interval_is_the_present_or_the_next_one_and_leaves_room_for_the_ttl(
    now: str, ttl: int, opens: str, closes: str
) -> None:
    assert WORKDAYS.interval(moscow(now), None, ttl) == (moscow(opens), moscow(closes))


def test_a_row_s_own_zone_moves_the_hours() -> None:
    now = moscow("2026-11-27 12:00")
    assert [WORKDAYS.interval(now, zone)[1] - now for zone in ("Asia/Kamchatka", "+05:00", "Europe/Kaliningrad")] == [
        23 * 60 * MINUTE,  # it is past nine there: tomorrow's
        6 * 60 * MINUTE,
        9 * 60 * MINUTE,
    ]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    window = SendingWindow("22:00", "02:00", days="fri", tz="Europe/Moscow")
    friday = (moscow("2026-11-27 22:00"), moscow("2026-11-28 02:00"))
    for now in ("2026-11-27 21:00", "2026-11-27 23:00", "2026-11-28 01:59"):
        assert window.interval(moscow(now)) == friday
    assert window.interval(moscow("2026-11-28 02:00"))[0] == moscow("2026-12-04 22:00")


def test_nights_that_touch_are_one_interval() -> None:
    window = SendingWindow("00:00", "24:00", days="sat-sun", tz="Europe/Moscow")
    now = moscow("2026-11-28 23:30")
    assert window.interval(now, None, 60) == (moscow("2026-11-28 00:00"), moscow("2026-11-29 23:00"))
    always = SendingWindow("00:00", "24:00", tz="Europe/Moscow").interval(now, None, 1440)
    assert always[0] <= now < always[1]


@pytest.mark.parametrize("ttl", [600, 601, 1440])
def test_a_ttl_that_no_window_holds_is_refused(ttl: int) -> None:
    with pytest.raises(ValueError, match=f"a ttl of {ttl} minutes does not fit into a window from 10:00 to 20:00"):
        WORKDAYS.interval(moscow("2026-11-27 12:00"), None, ttl)


def test_where_the_clocks_change_it_opens_late_and_closes_early() -> None:
    new_york = "America/New_York"
    skipped = SendingWindow("02:30", "05:00", tz=new_york)  # 02:00 to 03:00 does not exist on 8 March 2026
    begin, _ = skipped.interval(us(datetime(2026, 3, 8, 6, tzinfo=UTC)))
    assert local(begin, new_york).time().isoformat("minutes") == "03:30"
    repeated = SendingWindow("01:30", "05:00", tz=new_york)  # 01:00 to 02:00 comes twice on 1 November 2026
    begin, _ = repeated.interval(us(datetime(2026, 11, 1, 5, tzinfo=UTC)))
    assert begin == us(datetime(2026, 11, 1, 6, 30, tzinfo=UTC))
    _, end = SendingWindow("00:30", "01:30", tz=new_york).interval(us(datetime(2026, 11, 1, 5, tzinfo=UTC)))
    assert end == us(datetime(2026, 11, 1, 5, 30, tzinfo=UTC))


hours = st.integers(0, 24 * 4 - 1).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
day_lists = st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True).map(",".join)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001 - a zone is put on it
    lambda when: us(when.replace(second=0, microsecond=0, tzinfo=UTC))
)


@given(opens=hours, closes=hours, days=day_lists, zone=st.sampled_from(ZONES), now=moments, ttl=st.integers(0, 240))
def test_no_minute_of_an_interval_or_of_its_ttl_is_outside_the_window(
    *, opens: str, closes: str, days: str, zone: str, now: int, ttl: int
) -> None:
    assume(opens != closes)
    window = SendingWindow(opens, closes, days=days, tz=zone)
    try:
        begin, end = window.interval(now, None, ttl)
    except ValueError:
        assert _length(opens, closes) <= ttl + 60  # the clocks may take an hour from it
        return
    assert begin < end
    assert now < end
    for moment in {begin, begin + (end - begin) // MINUTE // 2 * MINUTE, end - MINUTE, end + ttl * MINUTE - MINUTE}:
        assert is_open(window, local(moment, zone)), local(moment, zone)
    if now < begin:  # and nothing that was open is passed over, but where a ttl or the clocks take it away
        for moment in range(now, begin, 97 * MINUTE):
            assert not is_open(window, local(moment, zone)) or _near_its_end(window, moment, zone, ttl + 121)


def is_open(window: SendingWindow, when: datetime) -> bool:
    """The rule itself, told of one local minute."""
    clock = when.strftime("%H:%M")
    today, yesterday = DAYS[when.weekday()], DAYS[(when - timedelta(days=1)).weekday()]
    days = {DAYS[number] for number in _numbers(window.days)}
    if window.opens < window.closes:
        return today in days and window.opens <= clock < window.closes
    return (today in days and clock >= window.opens) or (yesterday in days and clock < window.closes)


def _numbers(days: str) -> set[int]:
    numbers = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(DAYS.index(first), DAYS.index(last or first) + 1))
    return numbers


def _near_its_end(window: SendingWindow, moment: int, zone: str, minutes: int) -> bool:
    return not all(is_open(window, local(moment + add * MINUTE, zone)) for add in range(0, minutes + 1, 15))


def _length(opens: str, closes: str) -> int:
    begin, end = (int(each[:2]) * 60 + int(each[3:]) for each in (opens, closes))
    return (end - begin) % (24 * 60)


@given(opens=hours, closes=hours, days=day_lists, zone=st.sampled_from(ZONES), column=st.none() | st.text())
def test_a_window_goes_through_json_and_back(opens: str, closes: str, days: str, zone: str, column: str | None) -> None:
    assume(opens != closes)
    window = SendingWindow(opens, closes, days=days, tz=zone, column=column)
    assert SendingWindow.from_json(window.to_json()) == window


def test_equal_windows_are_written_alike() -> None:
    one = SendingWindow("9:00", "20:00", days="sat, mon - fri", tz="europe/moscow")
    two = SendingWindow("09:00", "20:00", days="пн-сб", tz="МСК")
    assert one == two
    assert one.to_json() == two.to_json()
    assert one.days == "mon-sat"
    assert SendingWindow("9:00", "20:00", days="sat-mon", tz="UTC").days == "mon,sat-sun"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"opens": "10"}, "like '10:00'"),
        ({"opens": "25:00"}, "like '10:00'"),
        ({"closes": "24:01"}, "like '10:00'"),
        ({"closes": "10:60"}, "like '10:00'"),
        ({"closes": "10:00"}, "has no length"),
        ({"opens": "24:00"}, "has no length"),
        ({"days": ""}, "days is like"),
        ({"days": "mon-holiday"}, "days is like"),
        ({"tz": "Moscow"}, "is not a time zone"),
        ({"tz": None}, "needs tz"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(arguments: dict[str, str], complaint: str) -> None:
    fields = {"opens": "10:00", "closes": "20:00", "tz": "Europe/Moscow", **arguments}
    with pytest.raises(ValueError, match=complaint):
        SendingWindow(**fields)


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"opens": 1, "closes": "2"}', '{"open": "10:00"}', "null"])
def test_what_is_no_window_s_json_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        SendingWindow.from_json(written)


def test_with_a_column_each_row_says_its_zone_itself() -> None:
    window = SendingWindow("10:00", "20:00", tz="Europe/Moscow", column="Пояс")
    assert window.zone_for(" мск+4 ") == "+07:00"
    for written in (None, "", "  "):
        with pytest.raises(ValueError, match="the column 'Пояс' names no time zone"):
            window.zone_for(written)
    with pytest.raises(ValueError, match="is not a time zone"):
        window.zone_for("Омск")
    assert WORKDAYS.zone_for(None) == "Europe/Moscow"
    with pytest.raises(ValueError, match="opens nowhere"):
        SendingWindow("10:00", "20:00", column="zone").interval(0)


# --- zones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Europe/Moscow", "Europe/Moscow"),
        (" asia/yekaterinburg ", "Asia/Yekaterinburg"),
        ("+05:00", "+05:00"),
        ("+5", "+05:00"),
        ("\N{MINUS SIGN}0330", "-03:30"),
        ("UTC+5", "+05:00"),
        ("GMT -3", "-03:00"),
        ("utc", "UTC"),
        ("+00:00", "UTC"),
        ("MSK", "Europe/Moscow"),
        ("мск", "Europe/Moscow"),
        ("MSK+2", "+05:00"),
        ("МСК+2", "+05:00"),
        ("Мск +9", "+12:00"),
        ("МСК\N{EN DASH}1", "+02:00"),
        ("MSK-3", "UTC"),
    ],
)
def test_a_zone_has_one_name(written: str, name: str) -> None:
    assert parse_zone(written) == name
    assert parse_zone(name) == name


@pytest.mark.parametrize(
    "written",
    [
        *("", "5", "Moscow", "Москва", "+15:00", "MSK+13", "+5:61", "MSK+", "Europe", "../Europe/Moscow", "posixrules"),
        *("Europe/Moscow\0", "+٥", "мсk+2", "\ud800", "x" * 10_000),
    ],
)
def test_what_is_no_zone_is_refused_in_one_short_line(written: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone: write a name such as Europe/Moscow") as caught:
        parse_zone(written)
    assert len(str(caught.value)) < 600


@given(written=st.text() | st.from_regex(r"(UTC|MSK|МСК)?[+-]\d{1,2}(:?\d{2})?", fullmatch=True))
def test_any_text_is_a_zone_that_works_or_a_value_error(written: str) -> None:
    try:
        name = parse_zone(written)
    except ValueError:
        return
    assert parse_zone(name) == name
    assert WORKDAYS.interval(0, name)[1] > 0


def test_the_names_that_need_no_walk_are_in_the_zone_database() -> None:
    assert set(_USUAL.values()) <= available_timezones()
    assert zone_of("Europe/Moscow") is zone_of("Europe/Moscow")
