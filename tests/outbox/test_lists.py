"""Lists of campaigns: every form of the same list gives the same rows, and a bad row is bad by its line."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import random
import re
import sqlite3
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbooks import write_xlsx

from smspilot_async.errors import InvalidMessage
from smspilot_async.outbox._lists import ListError, parse_kind, read_rows, recipient_phone, sql_rows
from smspilot_async.outbox._template import mixed_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER: Final = ("Имя", "Телефон", "Часовой пояс")
ROWS: Final = (("Иван", "+7 908 796-47-81", "МСК+2"), ("Анна", "8 (908) 796-47-82", "Europe/Moscow"))
MAP: Final = {"to": "Телефон", "tz": "часовой пояс"}
EXPECTED: Final = [
    (2, {"to": "+7 908 796-47-81", "tz": "МСК+2", "имя": "Иван"}),
    (3, {"to": "8 (908) 796-47-82", "tz": "Europe/Moscow", "имя": "Анна"}),
]


def write_csv(path: Path, rows: Sequence[Sequence[str]], *, encoding: str = "utf-8", first: str = "") -> Path:
    text = io.StringIO(newline="")
    text.write(first)
    csv.writer(text, delimiter=";").writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def write_parquet(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    pq.write_table(pa.table({name: [row[at] for row in rows] for at, name in enumerate(header)}), path)
    return path


def write_sqlite(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE people ({', '.join(f'[{name}]' for name in header)})")
        database.executemany(f"INSERT INTO people VALUES ({', '.join('?' * len(header))})", rows)
    database.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"SEP=;"\n'])
def test_the_same_rows_come_from_every_csv(tmp_path: Path, encoding: str, first: str) -> None:
    path = write_csv(tmp_path / "list.csv", [HEADER, *ROWS], encoding=encoding, first=first)
    rows = read_rows(path, map=MAP, encoding=encoding)
    assert rows.columns == ("to", "tz", "имя")
    assert [(line - bool(first), values) for line, values in rows] == EXPECTED
    assert list(rows) == list(rows)  # it can be gone through again


def test_the_same_rows_come_from_a_spreadsheet_parquet_and_a_query(tmp_path: Path) -> None:
    assert list(read_rows(write_xlsx(tmp_path / "list.xlsx", [HEADER, *ROWS]), map=MAP)) == EXPECTED
    parquet = read_rows(write_parquet(tmp_path / "list.parquet", HEADER, ROWS), map=MAP)
    query = sql_rows(write_sqlite(tmp_path / "people.db", HEADER, ROWS), "SELECT * FROM people", map=MAP)
    assert list(parquet) == list(query) == [(line - 1, values) for line, values in EXPECTED]
    assert parquet.columns == query.columns == ("to", "tz", "имя")


def test_a_separator_that_the_first_line_names_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("sep=|\nto|name\n79087964781|a, b; c\n", encoding="utf-8")
    assert list(read_rows(path)) == [(3, {"to": "79087964781", "name": "a, b; c"})]
    path.write_text("sep=;\nto,name\n1,x\n", encoding="utf-8")
    with pytest.raises(ListError, match=r"the header \(line 2\) has no column 'to'; it has: to,name"):
        read_rows(path)


def test_numbers_of_a_spreadsheet_are_texts_without_a_fraction(tmp_path: Path) -> None:
    rows = [("to", "sum", "note"), (79087964781, 1250.5, "a"), (79087964782.0, 1250, ""), ("", "", "")]
    path = write_xlsx(tmp_path / "list.xlsx", rows, first_row=3)
    assert list(read_rows(path)) == [
        (4, {"to": "79087964781", "sum": "1250.5", "note": "a"}),
        (5, {"to": "79087964782", "sum": "1250", "note": ""}),
    ]


def test_values_of_parquet_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(
        pa.table(
            {
                "to": pa.array([79087964781, 79087964782], pa.int64()),
                "sum": [Decimal("10.00"), Decimal("10.50")],
                "when": [datetime(2026, 12, 31, 18, 0), None],  # noqa: DTZ001 - files have such
                "day": [date(2026, 12, 31), None],
                "share": [float("nan"), 0.5],
                "vip": [True, False],
            }
        ),
        path,
    )
    first, second = (values for _, values in read_rows(path))
    assert first == {
        "to": "79087964781",
        "sum": "10",
        "when": "2026-12-31 18:00",
        "day": "2026-12-31",
        "share": "",
        "vip": "TRUE",
    }
    assert second == {"to": "79087964782", "sum": "10.50", "when": "", "day": "", "share": "0.5", "vip": "FALSE"}


def test_a_row_that_cannot_be_read_is_bad_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('to;name\n1;"x"y\n2;ok\n3;a;b\n4\n', encoding="utf-8")
    found = dict(read_rows(path))
    assert [line for line, values in found.items() if isinstance(values, InvalidMessage)] == [2, 4]
    assert found[3] == {"to": "2", "name": "ok"}
    assert found[5] == {"to": "4"}
    fault = found[2]
    assert isinstance(fault, InvalidMessage)
    assert (fault.field, fault.code) == ("row", 240)


@pytest.mark.parametrize(
    ("map_", "complaint"),
    [
        (None, "has no column 'to'; it has: имя, телефон, часовой пояс"),
        ({"to": "Phone"}, "has no column 'Phone'"),
        ({"name": "Имя"}, "has no column 'to'"),
        ({"to": "Телефон", "tz": "Пояс"}, "has no column 'Пояс'"),
    ],
)
def test_a_column_that_is_not_there_is_named(tmp_path: Path, map_: dict[str, str] | None, complaint: str) -> None:
    lists = {
        "csv": write_csv(tmp_path / "list.csv", [HEADER, *ROWS]),
        "xlsx": write_xlsx(tmp_path / "list.xlsx", [HEADER, *ROWS]),
        "parquet": write_parquet(tmp_path / "list.parquet", HEADER, ROWS),
    }
    for path in lists.values():
        with pytest.raises(ListError, match=complaint):
            read_rows(path, map=map_)
    with pytest.raises(ListError, match=complaint):
        sql_rows(write_sqlite(tmp_path / "people.db", HEADER, ROWS), "SELECT * FROM people", map=map_)


@pytest.mark.parametrize("name", ["list.csv", "list.xlsx", "list.parquet"])
def test_what_is_no_list_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ListError, match=f"there is no file .*{name}"):
        read_rows(path)
    path.write_bytes(b"\x00\x01 not a list \xff" * 10)
    with pytest.raises(ListError, match=name):
        read_rows(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ListError, match=r"is a directory, not a file\."):
        read_rows(path)


def test_an_empty_spreadsheet_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="has no column 'to'; it has: none"):
        read_rows(write_xlsx(tmp_path / "list.xlsx", []))


def test_a_csv_that_changes_while_it_is_read_says_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "list.csv", [("to", "name"), *((str(number), "x" * 100) for number in range(2000))])
    rows = iter(read_rows(path))
    next(rows)
    path.write_bytes(b"\xff" * 300_000)
    with pytest.raises(ListError, match="has changed while it was read"):
        for _ in rows:
            pass
    path.unlink()


@pytest.mark.parametrize(
    ("url", "query", "complaint"),
    [
        ("nonsense", "SELECT 1", "not the URL of a database"),
        ("klingon://x", "SELECT 1", "not the URL of a database"),
        ("mysql+pymysql://x/y", "SELECT 1", "needs its driver: pip install pymysql"),
        ("sqlite:///{tmp}/no/such.db", "SELECT 1", "the query fails: unable to open database file"),
        ("sqlite:///{tmp}/a.db", "SELEKT 1", "the query fails: near "),
        ("sqlite:///{tmp}/a.db", "SELECT 1 AS a", "its result has no column 'to'; it has: a"),
        ("sqlite:///{tmp}/a.db", "CREATE TABLE x (a)", "its result has no column 'to'; it has: none"),
    ],
)
def test_a_query_that_does_not_do_is_one_clear_line(tmp_path: Path, url: str, query: str, complaint: str) -> None:
    with pytest.raises(ListError, match=complaint):
        sql_rows(url.format(tmp=tmp_path), query)


def test_a_query_of_postgresql_is_streamed(postgres: Any) -> None:
    url = postgres.database()
    rows = sql_rows(url, "SELECT 79087964780 + n AS to, '5%' AS share FROM generate_series(1, 5000) n ORDER BY n")
    found = list(rows)
    assert found[0] == (1, {"to": "79087964781", "share": "5%"})
    assert [line for line, _ in found] == list(range(1, 5001))


def test_what_an_extra_brings_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for name, extra in (("list.xlsx", "outbox,xlsx"), ("list.parquet", "outbox,parquet")):
        with pytest.raises(ImportError, match=rf"pip install 'smspilot-async\[{extra}\]'"):
            read_rows(tmp_path / name)


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    paths = [
        write_csv(tmp_path / "list.csv", [HEADER, *ROWS]),
        write_xlsx(tmp_path / "list.xlsx", [HEADER, *ROWS]),
        write_parquet(tmp_path / "list.parquet", HEADER, ROWS),
    ]
    first = [read_rows(path, map=MAP).digest() for path in paths]
    assert first == [read_rows(path, map=MAP).digest() for path in paths]
    assert len(set(first)) == 3
    write_csv(paths[0], [HEADER, *ROWS[::-1]])
    assert read_rows(paths[0], map=MAP).digest() != first[0]
    assert sql_rows("sqlite://", "SELECT 1 AS 'to'").digest() is None


# --- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("9087964781", "79087964781"),
        ("8 908 796-47-81", "79087964781"),
        ("+7 (908) 796 47 81", "79087964781"),
        ("79087964781.0", "79087964781"),
        (" 79087964781,00 ", "79087964781"),
        ("9087964781.0", "79087964781"),
        ("+79087964781.0", "79087964781"),
    ],
)
def test_a_phone_is_read_as_people_and_spreadsheets_write_it(written: str, phone: str) -> None:
    assert recipient_phone(written, "RU") == phone


@pytest.mark.parametrize(
    ("written", "code", "why"),
    [
        ("", 108, "required"),
        ("7.9087964781E+10", 111, "spreadsheet"),
        ("8 495 123-45-67", 111, "a landline"),
        ("8 800 555 35 35", 111, "a landline"),
        ("+7 701 123 45 67", 213, "a number of Kazakhstan; the list is for RU"),
        ("+375 29 123-45-67", 213, "a number of Belarus"),
        ("123.0", 111, "spreadsheet"),
        ("позвонить", 111, "digits"),
    ],
)
def test_a_landline_a_foreign_number_and_what_is_no_phone_are_refused(written: str, code: int, why: str) -> None:
    with pytest.raises(InvalidMessage, match=why) as caught:
        recipient_phone(written, "RU")
    assert caught.value.code == code


def test_without_a_country_numbers_are_taken_as_they_are() -> None:
    assert recipient_phone("+375291234567.0", None) == "375291234567"
    assert recipient_phone("74951234567", None) == "74951234567"


@pytest.mark.parametrize(
    ("written", "kind"), [(" Реклама", "marketing"), ("service", "service"), ("КОД", "code"), ("сервисное", "service")]
)
def test_a_kind_is_named_by_its_usual_words(written: str, kind: str) -> None:
    assert parse_kind(written) == kind


@pytest.mark.parametrize("written", ["", "spam", "x" * 1000])
def test_what_is_no_kind_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no kind: write code, service or marketing"):
        parse_kind(written)


def test_words_of_two_alphabets_are_found() -> None:
    assert mixed_words("Cкидка на iPhone и Хбox, 5G-роутер") == ["Cкидка", "Хбox"]
    assert mixed_words("Sale") == mixed_words("Скидка") == mixed_words("Wi-Fi для всех") == []


# --- forged and foreign rows ------------------------------------------------------------------------

_cells = st.text() | st.sampled_from(['"', '""', ";", ",", "\r", "\n", "=1+1", "9087964781", "+7 908 796-47-81", "\0"])
_lines = st.lists(st.lists(_cells, max_size=4), max_size=5)
_files = st.binary() | _lines.map(
    lambda rows: ("to;name\n" + "\n".join(map(";".join, rows))).encode("utf-8", "replace")
)


@settings(deadline=None)
@given(data=_files)
def test_whatever_stands_in_a_file_is_no_list_or_gives_rows_by_their_lines(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("forged") / "list.csv"
    path.write_bytes(data)
    with contextlib.suppress(ListError):
        rows = list(read_rows(path))
        lines = [line for line, _ in rows]
        assert lines == sorted(set(lines))
        for _, values in rows:
            if isinstance(values, InvalidMessage):
                assert values.code == 240
            else:
                _refused_or_right(values.get("to", ""))


def _refused_or_right(written: str) -> None:
    with contextlib.suppress(InvalidMessage):
        phone = recipient_phone(written, "RU")
        digits = "".join(char for char in re.split("[.,]0+$", written)[0] if char in "0123456789")
        assert len(phone) == 11
        assert phone.startswith("79")
        assert phone[1:] == digits[-10:]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["9087964781", "8 908 796-47-82", "+79087964783"]),
            # Python's writer leaves a lone \r without quotes, where no reader can know what it was.
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=20),
        ),
        min_size=1,
    ),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_spreadsheet_wrote_comes_back_row_by_row(
    *, rows: list[tuple[str, str]], delimiter: str, end: str, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "list.csv"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows([("to", "name"), *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    found = [values for _, values in read_rows(path, encoding=encoding)]
    assert found == [{"to": to, "name": name.strip()} for to, name in rows]


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("to;name\n" + f"79087964781;{'Имя' * 20}\n" * 90_000, encoding="utf-8")
    size = path.stat().st_size
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 90_000
    assert size > 10 * 2**20
    assert peak < 7 * 2**20  # chunks of a megabyte, decoded


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_a_damaged_file_is_no_list_or_gives_its_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    if suffix == "xlsx":
        write_xlsx(path, [HEADER, *ROWS])
    else:
        write_parquet(path, HEADER, ROWS)
    whole = path.read_bytes()
    chance = random.Random(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            list(read_rows(path, map=MAP))
        except ListError:
            refused += 1
    assert refused > 100
