"""Rows of lists: a bad row by its line, or a right message, and nothing else, whatever stands in them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smspilot_async import Message
from smspilot_async.errors import ERROR_CODES, InvalidMessage
from smspilot_async.outbox import Selection, SendingWindow
from smspilot_async.outbox._campaign_settings import CampaignSettings
from smspilot_async.outbox._estimate import fit
from smspilot_async.outbox._import import Counts, _chained
from smspilot_async.outbox._rows import BadRow, Composer, Row
from smspilot_async.text import describe_phone, measure

if TYPE_CHECKING:
    from collections.abc import Mapping

PHONE = "79087964781"
WINDOW = SendingWindow("10:00", "20:00", column="tz").to_json()
TEMPLATES = [None, "{text}", "Привет, {name}!", "{name|друг} {sex:Уважаемый|Уважаемая|Здравствуйте}", "Скидка {{10}} %"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([PHONE, "8 908 796-47-81", "9087964781.0", 79087964781.0, "+49 151 12345678", "84951234567"]),
    st.sampled_from(
        ["", "м", "Анна", "Пётр" * 100, "Cкидка", "=1+1", "\0", "\ud800", "MSK+2", "Europe/Moscow", "реклама"]
    ),
)
names = st.sampled_from(
    ["to", "To", " text", "text", "name", "sex", "from", "sender", "ttl", "send_at", "kind", "tz", ""]
)
mappings = st.dictionaries(st.one_of(names, st.text(max_size=5), st.integers()), scalars, max_size=8)
items = st.one_of(mappings, st.tuples(scalars, scalars), scalars, st.just(Message(PHONE, "Да")))


@settings(max_examples=400, deadline=None)
@given(
    item=items,
    template=st.sampled_from(TEMPLATES),
    country=st.sampled_from(["RU", None]),
    window=st.sampled_from([None, WINDOW]),
)
@example(item={"to": PHONE, "text": "x", "ttl": "90", "tz": "MSK"}, template=None, country="RU", window=WINDOW)
@example(item={"to": PHONE, "text": "x", "TEXT": "y"}, template=None, country="RU", window=None)
def test_a_row_is_a_right_message_or_a_bad_row_by_its_line(
    item: Any, template: str | None, country: Any, window: str | None
) -> None:
    composed = Composer(CampaignSettings(template=template, country=country, window=window, max_parts=3)).compose(
        7, item
    )
    assert composed.line == 7
    _chained(b"", 7, item)  # whatever it is, the running hash takes it
    if isinstance(composed, BadRow):
        assert composed.code in ERROR_CODES
        assert composed.why
        return
    message = composed.message
    Message(f"+{message.to}", message.text, sender=message.sender, ttl=message.ttl)  # the gateway would take it
    assert composed.size == measure(message.text)
    assert composed.size.parts <= 3
    assert composed.kind in {"marketing", "service"}
    assert (composed.zone != "") == (window is not None)
    if country == "RU":
        kind = describe_phone(f"+{message.to}")
        assert (kind.country, kind.line) != ("RU", "landline")
        assert kind.country == "RU"
    if composed.extra is not None:
        assert all(isinstance(value, str) for value in json.loads(composed.extra).values())


@settings(max_examples=100, deadline=None)
@given(item=mappings, template=st.text(max_size=12).map("Привет {{name}} {}".format))
def test_a_template_makes_campaigns_or_says_what_is_wrong(item: Mapping[Any, Any], template: str) -> None:
    try:
        (campaign := CampaignSettings(template=template)).check()
    except ValueError:
        return
    assert isinstance(Composer(campaign).compose(1, {**item, "to": PHONE}), (Row, BadRow))


def compose(item: Any, **more: Any) -> Row | BadRow:
    return Composer(CampaignSettings(**more)).compose(1, item)


@pytest.mark.parametrize(
    ("written", "to"),
    [
        ("8 (908) 796-47-81", PHONE),
        ("908 796 47 81", PHONE),
        (9087964781, PHONE),
        (79087964781.0, PHONE),
        ("79087964781.0", PHONE),
        ("+7-908-796-47-81", PHONE),
    ],
)
def test_phones_follow_the_country(written: Any, to: str) -> None:
    row = compose({"to": written, "text": "Да"})
    assert isinstance(row, Row)
    assert row.message.to == to


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ({"to": ""}, "to"),
        ({"to": "74951234567"}, "to"),
        ({"to": "+380501234567"}, "to"),
        ({"text": ""}, "text"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": "1441"}, "ttl"),
        ({"send_at": "2026-01-01 10:00"}, "send_at"),
        ({"kind": "code"}, "kind"),
        ({"kind": "spam"}, "kind"),
        ({"sender": "!"}, "sender"),
        ({"name": b"Anna"}, "name"),
    ],
)
def test_a_bad_row_names_the_field_and_never_its_content(cells: dict[str, Any], field: str) -> None:
    row = compose({"to": PHONE, "text": "Привет", **cells})
    assert isinstance(row, BadRow)
    assert row.field == field
    assert not row.why.startswith(field)
    assert PHONE not in row.why
    assert "Привет" not in row.why


def test_columns_of_a_row_are_found_however_they_are_written() -> None:
    row = compose({"TO": PHONE, " Text ": "Да", "From": "MYSHOP", "TTL": 60.0, "Имя": "Анна"})
    assert isinstance(row, Row)
    assert (row.message.sender, row.message.ttl, row.extra) == ("MYSHOP", 60, json.dumps({"имя": "Анна"}))


def test_a_row_that_the_list_could_not_read_is_bad() -> None:
    row = compose(InvalidMessage("an unfinished quotation", field="row", code=240))
    assert isinstance(row, BadRow)
    assert (row.code, row.field) == (240, "row")


def test_a_campaign_s_settings_are_one_text_whichever_way_they_came() -> None:
    one = CampaignSettings(template="Да", rate_limit=5.0, window=WINDOW)
    assert CampaignSettings.from_json(one.to_json()) == one
    assert CampaignSettings.from_json(one.to_json()).to_json() == one.to_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"template": "{"},
        {"template": "\0"},
        {"rate_limit": 0.0},
        {"rate_limit": float("inf")},
        {"max_parts": 11},
        {"unique": "name"},
        {"kind": "code"},
        {"country": "US"},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CampaignSettings(**wrong).check()


def test_words_of_a_selection() -> None:
    assert Selection("Undelivered, expired,204").words == ("undelivered", "expired", "204")
    for wrong in ("", "nonsense", "refused, nonsense", "99999"):
        with pytest.raises(ValueError, match="selects nothing"):
            Selection(wrong)


def test_counts_survive_being_written_down() -> None:
    counts = Counts()
    for line, text in [(1, "Да"), (2, "Cкидка"), (3, "Да" * 80)]:
        row = compose({"to": PHONE, "text": text})
        assert isinstance(row, Row)
        counts.add(attrs_line(row, line))
    assert Counts.from_json(counts.to_json()) == counts
    assert (counts.parts, counts.mixed, counts.longest) == (5, 1, [3, 160])
    assert counts.groups == {"RU/1": 2, "RU/3": 1}


def attrs_line(row: Row, line: int) -> Row:
    return Row(line, row.message, row.zone, row.kind, row.size, row.country, row.extra)


# --- the calendar --------------------------------------------------------------------------------

HOUR = 3_600_000_000
MIDNIGHT = int(dt.datetime(2026, 11, 30, tzinfo=dt.UTC).timestamp() * 1_000_000)  # a Monday, in UTC
FOREVER = MIDNIGHT + 60 * 24 * HOUR


def test_without_a_window_it_is_the_rate_alone() -> None:
    assert fit({"": 7200}, None, 1.0, MIDNIGHT, FOREVER) == (7200, MIDNIGHT + 2 * HOUR)
    assert fit({"": 7200}, None, 1.0, MIDNIGHT, MIDNIGHT + HOUR) == (3600, None)


def test_a_window_holds_what_does_not_fit_until_the_next_day() -> None:
    window = SendingWindow("10:00", "12:00", tz="UTC")
    assert fit({"": 7200}, window, 1.0, MIDNIGHT, FOREVER) == (7200, MIDNIGHT + 12 * HOUR)
    assert fit({"": 10800}, window, 1.0, MIDNIGHT, FOREVER) == (10800, MIDNIGHT + 35 * HOUR)
    assert fit({"": 10800}, window, 1.0, MIDNIGHT + 11 * HOUR, MIDNIGHT + 24 * HOUR) == (3600, None)


def test_the_zone_that_closes_first_goes_first() -> None:
    window = SendingWindow("10:00", "12:00", column="tz")
    # +01:00 is open from 9 to 11, UTC from 10 to 12; one message a second
    zones = {"UTC": 3600, "+01:00": 7200}
    assert fit(zones, window, 1.0, MIDNIGHT, MIDNIGHT + 24 * HOUR) == (10800, MIDNIGHT + 12 * HOUR)
    assert fit({"UTC": 7200, "+01:00": 7200}, window, 1.0, MIDNIGHT, MIDNIGHT + 24 * HOUR) == (10800, None)


def test_an_expiry_before_the_first_window_lets_nothing_fit() -> None:
    window = SendingWindow("10:00", "12:00", tz="UTC")
    assert fit({"": 5}, window, 1.0, MIDNIGHT, MIDNIGHT + HOUR) == (0, None)
