from __future__ import annotations

import io
import json
import os
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async import MessageStatus
from smspilot_async.cli._output import (
    count,
    lines_as_ranges,
    money,
    one_line,
    print_facts,
    print_line,
    print_table,
    safe,
    to_json,
)

NASTY = "[bold]\x1b[31mred\x9b2J\u202eltr\u2028\x00:smile:"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Привет 😊 [b]x[/b]", "Привет 😊 [b]x[/b]"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202e\u2066\u200f\ufeff", r"\u202e\u2066\u200f\ufeff"),
        (None, ""),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: object, shown: str) -> None:
    assert safe(text) == shown


@given(text=st.text(alphabet=st.characters(exclude_categories=())))
def test_no_text_reaches_a_terminal_with_control_characters(text: str) -> None:
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in safe(text))


def test_white_space_is_folded_into_one_line() -> None:
    assert one_line(" a\n\n b\t\x1b ") == r"a b \x1b"


@given(
    value=st.recursive(
        st.text(alphabet=st.characters()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_comes_back_to_the_character_and_is_printable(value: object) -> None:
    written = to_json(value)
    assert json.loads(written) == value
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in written)


def test_json_keeps_the_digits_of_money_and_the_zone_of_times() -> None:
    value = {
        "price": Decimal("1.10"),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "status": MessageStatus(status=2),
        "e": ValueError,
    }
    assert json.loads(to_json(value)) == {
        "price": "1.10",
        "at": "2026-01-02T00:00:00+00:00",
        "status": {"id": None, "server_id": None, "status": 2, "error": None, "modified": None, "extra": {}},
        "e": "<class 'ValueError'>",
    }


def test_json_is_ascii_where_stdout_can_not_do_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1251"))
    assert to_json("Я😊") == '"\\u042f\\ud83d\\ude0a"'


def test_tables_take_nothing_for_markup_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "text"), [(1, NASTY), (2, "x" * 200)], right=("id",))
    out = capsys.readouterr().out
    assert r"[bold]\x1b[31mred\x9b2J\u202eltr\u2028\x00:smile:" in out
    assert out.count("x") - out.count(r"\x") == 202 - 1  # and one in the heading
    assert all(len(line) <= 80 and line == line.rstrip() for line in out.splitlines())


def test_facts_leave_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"balance": Decimal("1.50"), "name": None, "e-mail": "", "date": NASTY})
    assert capsys.readouterr().out.splitlines() == [
        "balance  1.50",
        r"date     [bold]\x1b[31mred\x9b2J\u202eltr\u2028\x00:smile:",
    ]


def test_a_reader_who_has_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stdout:  # noqa: PTH123 - a file descriptor
        monkeypatch.setattr(sys, "stdout", stdout)
        print_line("one")
        print_line("two")
        print_table(("a",), [("b",)])


@pytest.mark.parametrize(
    ("lines", "written"),
    [
        ([], ""),
        ([3], "3"),
        ([2, 3, 4, 7, 9, 10], "2-4, 7, 9-10"),
        ([1, 3, 5, 7, 8, 9, 11], "1, 3, 5 and 4 more"),
    ],
)
def test_line_numbers_are_written_briefly(lines: list[int], written: str) -> None:
    assert lines_as_ranges(lines, most=3) == written


def test_counts_and_money() -> None:
    assert (count(1, "row"), count(1000, "row"), count(2, "reply", "replies")) == ("1 row", "1,000 rows", "2 replies")
    assert (money(Decimal("1.10")), money(Decimal("1E+2")), money(None)) == ("1.10 RUB", "100 RUB", "not known")
