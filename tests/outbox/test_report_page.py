"""The page of a campaign's report: what it says, what it never says, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_report import HOUR, NOON, group, report, us

from smspilot_async.outbox._report_data import MOST_BINS, Order, ReportData, Series, bins_of
from smspilot_async.outbox._report_html import render
from smspilot_async.outbox._report_words import why_of
from smspilot_async.outbox._windows import SendingWindow


class _Reader(HTMLParser):
    """Read the page as a person does: its texts, and every address in it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def texts(data: ReportData) -> str:
    return "\n".join(read(render(data)).texts)


def test_it_says_how_the_campaign_stands() -> None:
    said = texts(report())
    for words in (
        "promo-11",
        "paused: wrong text",
        "made 2026-11-25 12:00 by anna · started 2026-11-26 12:00",
        "delivered (89.7 % of the accepted)",
        "950 (95.0 %) · 40 bad rows · 10 repeats",
        "810 (81.0 %) · 140 not sent",
        "780 (78.0 %) · 20 refused · 10 unknown",
        "700 (70.0 %) · 50 not delivered · 30 on the way",
        "204: Sender unregistered",
        "on a suppression list",
        "no answer: its sender was killed or stopped",
        "Привет, {name|друг}!",
        "10:00 to 20:00, mon-sun, time of Europe/Moscow",
        "111: Invalid phone",
        "boris",
        "messages in 1 h",
    ):
        assert words in said, words


def test_money_is_planned_spent_and_open_to_the_kopeck() -> None:
    said = texts(report())
    assert "2,500.00 RUB" in said
    assert "3,000.00 RUB" in said
    assert "1,837.50 RUB" in said  # 700 × 2.50 + 70 × 1.25
    assert "25.00 RUB" in said  # 10 unknown of two parts at 1.25
    assert "accepted, but the gateway named no price" in said
    assert "not known" in texts(report(dearest=None))


def test_a_campaign_that_has_not_begun_has_a_report_too() -> None:
    data = report(
        state="draft",
        reason=None,
        started_at=None,
        groups=(),
        prices={},
        series=None,
        rows=0,
        bad=0,
        duplicates=0,
        bad_rows={},
        planned=None,
        budget=None,
        orders=(),
        template=None,
        sender=None,
        window=None,
    )
    said = texts(data)
    for words in ("Nothing has left yet.", "Every message was accepted.", "Each row has its own text.", "none"):
        assert words in said
    assert "Bad rows" not in said


def test_a_test_run_says_that_nothing_was_sent() -> None:
    assert "test: nothing was really sent" in texts(report(is_test=True))
    assert "test: nothing was really sent" not in texts(report())


def test_zones_are_told_apart_where_there_are_several() -> None:
    groups = (group("accepted", 10, zone="+05:00", status=2), group("accepted", 30, zone="Europe/Moscow", status=-1))
    said = texts(report(groups=groups))
    assert "By time zone" in said
    assert said.index("Europe/Moscow\n30") < said.index("+05:00\n10")
    assert "the window is open in one of its zones" in said


def test_it_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = render(report())
    reader = read(page)
    assert reader.tags.isdisjoint({"script", "link", "iframe", "img", "object", "embed", "form", "base", "image"})
    assert all(address.startswith("#") for address in reader.addresses)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r"@import|url\((?!#)", page)
    assert page.count("<svg") == 3
    assert "<?xml" not in page
    assert render(report()) == page  # nothing in it is of the moment


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "\"' onload='x", "<img src=x>", "&lt;", "$x$", "{name}"])
def test_what_people_wrote_stays_text(evil: str) -> None:
    order = Order(at=NOON, actor=evil, action=evil, why=evil, count=1)
    window = SendingWindow("10:00", "20:00", column=evil)
    data = report(
        name=evil,
        reason=evil,
        created_by=evil,
        template=evil,
        sender=evil,
        series=None,
        window=window,
        orders=(order,),
        groups=(group("refused", 1, reason=evil, zone="+05:00"),),
    )
    reader = read(render(data))
    assert reader.tags.isdisjoint({"script", "img"})
    assert "\n".join(reader.texts).count(evil) >= 10


@given(first=st.integers(0, 2 * 10**15), length=st.integers(0, 400 * 24 * HOUR))
def test_bins_hold_every_moment_and_are_few(first: int, length: int) -> None:
    start, width, bins = bins_of(first, first + length)
    assert start <= first
    assert (first + length - start) // width == bins - 1
    assert bins <= MOST_BINS


def test_windows_of_several_zones_are_merged_and_end_with_the_plot() -> None:
    data = report(groups=tuple(group("accepted", 1, zone=zone) for zone in ("", "+05:00", "-05:00")))
    series = Series(start=us(datetime(2026, 11, 26, tzinfo=UTC)), width=HOUR, bins=24, sent={}, delivered={})
    hours = [((begin - series.start) // HOUR, (end - series.start) // HOUR) for begin, end in data.windows(series)]
    assert hours == [(0, 1), (5, 24)]


@pytest.mark.parametrize(
    ("state", "reason", "code", "words"),
    [
        ("refused", "gateway", 204, "204: Sender unregistered"),
        ("not_sent", "busy", 110, "110: "),
        ("refused", None, 9999, "9999: an unknown code"),
        ("unknown", "some_new_word", None, "some new word"),
        ("refused", None, None, "without a reason"),
    ],
)
def test_a_reason_is_said_in_words(state: str, reason: str | None, code: int | None, words: str) -> None:
    assert words in why_of(state, reason, code)
