from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smspilot_async._tools.csv_list import CsvList
from smspilot_async.cli._errors import Problem
from smspilot_async.cli._times import parse_zone
from smspilot_async.cli.bulk._recipients import Composer, Recipient

if TYPE_CHECKING:
    from smspilot_async.text import Country


def recipients(
    content: str,
    template: str | None = None,
    *,
    tz: str | None = None,
    sender: str | None = None,
    **countries: Country | None,
) -> list[Recipient]:
    Path("list.csv").write_text(content, encoding="utf-8")
    source = CsvList.open("list.csv")
    zone = None if tz is None else parse_zone(tz)
    return list(Composer.plan(source, template, zone=zone, sender=sender, **countries).recipients(source))


def refusal(content: str, template: str | None = None, tz: str | None = None) -> tuple[int, str]:
    error = recipients(content, template, tz=tz)[0].error
    assert error is not None
    return error.code, str(error)


def test_a_row_becomes_a_message() -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    row = f"+7 (908) 796-47-81,  two spaces kept,SHOP,{soon:%Y-%m-%d %H:%M},60"
    [recipient] = recipients(f"to,text,from,send_at,ttl\n{row}\n", tz="UTC")
    message = recipient.message
    assert message is not None
    assert (recipient.line, recipient.position, recipient.to) == (2, 0, "79087964781")
    assert (message.to, message.text, message.sender, message.ttl) == ("79087964781", "  two spaces kept", "SHOP", 60)
    assert message.send_at == soon.replace(second=0, microsecond=0)


def test_optional_columns_may_be_empty_or_end_early() -> None:
    first, second = recipients("to,text,from,send_at,ttl\n79087964781,x, ,,\n79087964782,x\n", sender="SHOP")
    assert first.message is not None
    assert second.message is not None
    assert (first.message.sender, first.message.send_at, first.message.ttl) == ("SHOP", None, None)
    assert second.message.sender == "SHOP"


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (",x,,,", 108),
        ("abc,x,,,", 111),
        ("7,x,,,", 215),
        ("79087964781,,,,", 220),
        (f"79087964781,{'я' * 700},,,", 221),
        ("79087964781,x,!!,,", 115),
        ("79087964781,x,,soon,", 250),
        ("79087964781,x,,2031-01-01 10:00,", 250),
        ("79087964781,x,,2001-01-01 10:00Z,", 250),
        ("79087964781,x,,,soon", 270),
        ("79087964781,x,,,1441", 270),
        ("79087964781,x,,,-1", 270),
        ("79087964781", 240),
        ("79087964781,x,,,,one too many", 240),
        ('79087964781,"x"x,,,', 240),
    ],
)
def test_a_bad_row_has_the_gateway_s_code_for_its_fault(row: str, code: int) -> None:
    assert refusal(f"to,text,from,send_at,ttl\n{row}\n")[0] == code


def test_a_row_that_ends_early_names_the_column() -> None:
    assert "ends before the column 'name'" in refusal("to,name\n79087964781\n", "{name}")[1]


def test_the_template_goes_before_the_column_and_can_use_it() -> None:
    content = "to,text,name\n79087964781,Hello,Ann\n"
    assert [row.message and row.message.text for row in recipients(content, "{text}, {name}!")] == ["Hello, Ann!"]


def test_neither_text_nor_template_is_refused() -> None:
    with pytest.raises(Problem, match="no column 'text'; add it, or say what to send with --template"):
        recipients("to,name\n1,x\n")


def test_a_wrong_template_is_refused() -> None:
    with pytest.raises(Problem, match=r"--template: no column matches \{x\}; the file has name, to\."):
        recipients("to,name,\n1,x,\n", "{x}")


def test_repeats_name_the_row_they_repeat() -> None:
    content = "to,text\n79087964781,a\n79087964781,b\n8 908 796-47-81,a\nbad,a\nbad,a\n+79087964781,a\n"
    assert [row.duplicate_of for row in recipients(content)] == [None, None, 2, None, None, 2]


RUSSIAN = [
    ("908 796-47-81", "79087964781"),
    ("8 495 123-45-67", "74951234567"),
    ("+84 95 123-45-67", "84951234567"),
    ("852 9123-4567", "85291234567"),
    ("+89087964781", "89087964781"),
]


@pytest.mark.parametrize(("written", "digits"), RUSSIAN)
def test_phones_are_read_as_the_list_s_country_writes_them(written: str, digits: str) -> None:
    [recipient] = recipients(f"to,text\n{written},x\n", country="RU")
    assert recipient.message is not None
    assert recipient.to == recipient.message.to == digits


@pytest.mark.parametrize("country", [None, "RU"])
def test_a_spreadsheet_s_float_is_refused_with_its_reason(country: Country | None) -> None:
    [recipient] = recipients("to,text\n79087964781.0,x\n", country=country)
    assert recipient.error is not None
    assert recipient.to == "79087964781.0"
    assert (recipient.error.code, "a spreadsheet wrote it as a number" in str(recipient.error)) == (111, True)


def test_only_one_country_s_rows_make_messages() -> None:
    phones = [
        "79087964781",
        "908 796-47-82",
        "8 495 123-45-67",
        "+90 532 123 45 67",
        "8 701 796-47-81",
        "+999 12345678",
    ]
    rows = recipients("to,text\n" + "".join(f"{phone},x\n" for phone in phones), country="RU", only="RU")
    assert [row.message is not None for row in rows] == [True] * 3 + [False] * 3
    reasons = [(row.error.field, row.error.code, str(row.error)) for row in rows if row.error]
    assert [reason[:2] for reason in reasons] == [("to", 213)] * 3
    for (*_, reason), name in zip(reasons, ["Turkey", "Kazakhstan", "an unknown country"], strict=True):
        assert f"a number of {name}, excluded by --only RU" in reason


def test_a_row_that_is_read_as_an_earlier_one_repeats_it() -> None:
    content = "to,text\n+79087964781,a\n908 796-47-81,a\n"
    assert [row.duplicate_of for row in recipients(content, country="RU")] == [None, 2]
    assert [row.duplicate_of for row in recipients(content)] == [None, None]


def test_empty_gaps_are_remembered() -> None:
    [recipient] = recipients("to,name\n79087964781, \n", "Hi {name}!")
    assert recipient.gaps == ("name",)


def test_columns_that_nothing_uses_are_named() -> None:
    Path("list.csv").write_text("to,name,sender,from,city,\n", encoding="utf-8")
    source = CsvList.open("list.csv")
    assert Composer.plan(source, "{name}", zone=None, sender=None).unused == ("sender", "city")


def test_nothing_about_people_shows_in_a_repr() -> None:
    [recipient] = recipients("to,text\n79087964781,secret\n")
    assert "7908" not in repr(recipient)
    assert "secret" not in repr(recipient)
