from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async import MessageStatus
from smspilot_async.cli._output import (
    count,
    lines_as_ranges,
    live_lines,
    money,
    note,
    one_line,
    print_facts,
    print_line,
    print_table,
    progress_bar,
    safe,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_json_is_ascii_where_stdout_cannot_do_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1251"))
    assert to_json("Я😊") == '"\\u042f\\ud83d\\ude0a"'


def test_tables_take_nothing_for_markup_and_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "text"), [(1, NASTY), (2, "x" * 200)], right=("id",))
    out = capsys.readouterr().out
    assert r"[bold]\x1b[31mred\x9b2J\u202eltr\u2028\x00:smile:" in out
    assert out.count("x") - out.count(r"\x") == 202 - 1  # and one in the heading
    assert all(len(line) <= 80 and line == line.rstrip() for line in out.splitlines())


_words = st.text(st.sampled_from("abcяю-_./"), min_size=1, max_size=24)


@given(
    rows=st.lists(st.tuples(*[st.lists(_words, max_size=9).map(" ".join)] * 5), min_size=1, max_size=4),
    columns=st.sampled_from([60, 100]),
)
def test_no_word_is_broken_in_a_table(rows: list[tuple[str, ...]], columns: int) -> None:
    out = _printed(lambda: print_table(("server id", "id", "status", "error", "modified"), rows), columns)
    assert max(map(len, out.splitlines())) <= columns
    words = Counter(out.split())
    assert not Counter(" ".join(cell for row in rows for cell in row).split()) - words


@given(values=st.lists(st.lists(_words, min_size=1, max_size=30).map(" ".join), min_size=1, max_size=4))
def test_no_word_is_broken_in_facts(values: list[str]) -> None:
    names = ("rows", "to be sent", "duplicates", "balance")
    out = _printed(lambda: print_facts(dict(zip(names, values, strict=False))), 60)
    assert max(map(len, out.splitlines())) <= 60
    assert not Counter(" ".join(values).split()) - Counter(out.split())


def _printed(printing: Callable[[], None], columns: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", out := io.StringIO())
        printing()
    return out.getvalue()


def test_a_table_whose_columns_have_no_room_for_their_words_becomes_blocks() -> None:
    rows = [("1" * 20, "2" * 20, "3" * 20), ("4", "", "5")]
    assert _printed(lambda: print_table(("server id", "id", "status"), rows), 60).splitlines() == [
        "server id  11111111111111111111",
        "id         22222222222222222222",
        "status     33333333333333333333",
        "",
        "server id  4",
        "status     5",
        "",
    ]


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_gets_lines_that_are_broken_between_words(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    line = "dns         failed       " + "nohost.invalid:443: no such name " * 4
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123
        patch.delenv("COLUMNS", raising=False)
        patch.setattr(sys, "stderr", terminal)
        patch.setattr(sys, "stdout", terminal)
        note(line)
        print_line(line, indent=25)
    shown = _lines_at(ours)
    assert max(map(len, shown)) <= columns
    assert Counter(" ".join(shown).split()) == Counter(line.split() * 2)
    assert shown[-1].startswith(" " * 25 + "n")


def _all_at(terminal: int) -> str:
    read = b""
    with contextlib.suppress(OSError):  # Linux' word for the end of a terminal
        while piece := os.read(terminal, 4096):
            read += piece
    os.close(terminal)
    return read.decode()


def _lines_at(terminal: int) -> list[str]:
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", _all_at(terminal))
    return list(filter(None, re.split("[\r\n]+", shown)))


STANDING = "123,456 accepted, 7,890 refused, 0 unknown, 0 not sent\n1,234 messages/s, 154320.00 RUB"


@pytest.mark.parametrize("columns", [60, 100])
def test_the_progress_bar_keeps_ten_cells_and_breaks_no_word(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123
        for name, value in {"TERM": "xterm", "COLUMNS": str(columns)}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stderr", terminal)
        with progress_bar() as progress:
            progress.add_task(STANDING, total=1_000_000, completed=131_346)
    shown = _lines_at(ours)
    assert max(map(len, shown)) <= columns
    [bar, *_] = [line for line in shown if "131346/1000000" in line]
    assert len(re.findall("[━╸╺]", bar)) >= 10
    assert Counter(STANDING.split()) <= Counter(" ".join(shown).split())


def test_lines_that_replace_others_are_erased_in_the_end_and_leave_stdout_as_it_is() -> None:
    ours, theirs = pty.openpty()
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as terminal:  # noqa: PTH123
        for name, value in {"TERM": "xterm", "COLUMNS": "80"}.items():
            patch.setenv(name, value)
        patch.delenv("NO_COLOR", raising=False)  # an empty one forbids colours to older versions of rich
        patch.setattr(sys, "stderr", terminal)
        stdout = sys.stdout
        with live_lines() as show:
            show([("one", "good")])
            show([("two\x1b[2J", "doubt"), ("three", "plain")])
            assert sys.stdout is stdout
    shown = _all_at(ours)
    assert "\x1b[32mone" in shown
    assert re.search(r"\x1b\[33mtwo\\x1b\[2J\x1b\[0m\r\nthree", shown)
    assert shown.rpartition("three")[2].count("\x1b[1A\x1b[2K") == 2


def test_without_a_terminal_such_lines_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with live_lines() as show:
        show([("one", "good")])
    assert capsys.readouterr() == ("", "")


def test_in_a_pipe_a_line_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    note("word " * 100)
    print_line("word " * 100, indent=25)
    assert tuple(text.count("\n") for text in capsys.readouterr()) == (1, 1)


def test_a_terminal_that_was_closed_ends_nothing() -> None:
    went_on = False
    ours, theirs = pty.openpty()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.suppress(OSError),  # what is left to be written when it is closed
        open(theirs, "w", encoding="utf-8", buffering=1) as terminal,  # noqa: PTH123 - a file descriptor
    ):
        patch.setattr(sys, "stderr", terminal)
        os.close(ours)
        with pytest.raises(OSError, match="error"):
            terminal.write("the tests' own terminal is gone\n")
        note("still here")
        with progress_bar() as progress:
            progress.add_task("and here", total=1)
        went_on = True
    assert went_on


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
