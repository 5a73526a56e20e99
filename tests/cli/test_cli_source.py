from __future__ import annotations

import codecs
import errno
import os
import tracemalloc
from pathlib import Path

import pytest

from smspilot_async._tools.csv_list import CsvList, ListError, RawRow

ROWS = "to,text\n79087964781,Привет\n"


def source(content: str | bytes, encoding: str = "utf-8") -> CsvList:
    data = content.encode() if isinstance(content, str) else content
    Path("list.csv").write_bytes(data)
    return CsvList.open("list.csv", encoding)


def rows(content: str | bytes, encoding: str = "utf-8") -> list[RawRow]:
    return list(source(content, encoding).rows())


def complaint(content: str | bytes, encoding: str = "utf-8") -> str:
    with pytest.raises(ListError) as caught:
        source(content, encoding)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (ROWS.encode(), "utf-8"),
        (ROWS.encode("utf-8-sig"), "utf-8"),
        (ROWS.encode("utf-8-sig"), "utf-8-sig"),
        (codecs.BOM_UTF8 + ROWS.encode("utf-8-sig"), "utf-8"),
        (ROWS.replace("to,text", '"to","text"').encode("utf-8-sig"), "utf-8"),
        (ROWS.encode("utf-16")[2:], "utf-16-le"),
        (ROWS.encode("utf-16"), "utf-16-le"),
        (ROWS.encode("cp1251"), "cp1251"),
        (ROWS.encode("cp1251"), "windows-1251"),
        (ROWS.encode("koi8-r"), "koi8-r"),
        (ROWS.encode("utf-16"), "utf-16"),
        (ROWS.replace("\n", "\r\n").encode(), "utf-8"),
        (ROWS.replace("\n", "\r").encode(), "utf-8"),
        (ROWS.replace(",", ";").encode(), "utf-8"),
        (ROWS.replace(",", "\t").encode(), "utf-8"),
        (ROWS.replace("to,text", " To , TEXT ").encode(), "utf-8"),
        (ROWS.rstrip("\n").encode(), "utf-8"),
    ],
)
def test_the_same_list_is_read_from_every_form_of_it(data: bytes, encoding: str) -> None:
    assert rows(data, encoding) == [RawRow(2, ("79087964781", "Привет"))]
    assert CsvList.open("list.csv", encoding).columns == ("to", "text")


def test_a_delimiter_in_the_header_s_other_names_does_not_mislead() -> None:
    assert source('to;"a,b,c,d";text\n').columns == ("to", "a,b,c,d", "text")
    assert source("to\n79087964781\n").columns == ("to",)


def test_cp1251_read_as_utf8_says_which_option_helps() -> None:
    data = "to,text\n1,Hello\n2,Привет\n".encode("cp1251")
    assert complaint(data) == "list.csv, line 3: not in utf-8; if it comes from Excel or 1C, add --encoding cp1251."


@pytest.mark.parametrize("text", ["Привет", "И", "emoji 😊", "Ünïcode"])
def test_utf8_read_as_cp1251_is_noticed(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        data = f"to,text\n1,{text}\n".encode(encoding)
        assert complaint(data, "cp1251") == "list.csv is in UTF-8, not in cp1251: omit --encoding cp1251."


def test_text_that_was_misread_before_it_was_saved_is_noticed() -> None:
    assert "was UTF-8, but read as cp1251" in complaint("to,text\n1,Ответ\n".encode().decode("cp1251"))


def test_a_bom_before_plain_ascii_is_no_misread_text() -> None:
    assert rows(codecs.BOM_UTF8 + b"to,text\n1,Hello\n") == [RawRow(2, ("1", "Hello"))]


def test_ascii_is_fine_in_every_encoding() -> None:
    assert len(rows("to,text\n1,x\n", "cp1251")) == 1


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (ROWS.encode("utf-16"), "utf-8", "UTF-16"),
        (codecs.BOM_UTF16_BE + b"x", "cp1251", "UTF-16"),
        (b"to,text\n1,\x98\xff\n", "utf-8", "line 2: not in utf-8; name the file's encoding with --encoding"),
        (b"to,text\n1,\x98\xff\n", "cp1251", "line 2: not in cp1251"),
        (b"to,text\n1,x\n\n", "utf-16", "not in utf-16"),
        (ROWS.encode(), "klingon", "--encoding klingon: no such encoding"),
        (ROWS.encode(), "base64", "no such encoding"),
    ],
)
def test_a_wrong_encoding_is_one_clear_line(data: bytes, encoding: str, words: str) -> None:
    assert words in complaint(data, encoding)


@pytest.mark.parametrize("data", [b"", b" \n\n", b"\n\n"])
def test_an_empty_file_is_refused(data: bytes) -> None:
    assert complaint(data).startswith("list.csv is empty")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("phone,text", "line 1) has no column 'to'; it has: phone, text"),
        (",,", "it has: none"),
        ("to,text,Text", "the column 'text' twice"),
        ("to,To", "the column 'to' twice"),
        ('to,"text', "no column 'to'"),
    ],
)
def test_a_header_that_does_not_do_is_refused(header: str, words: str) -> None:
    assert words in complaint(f"{header}\n1,x\n")


def test_columns_without_a_name_are_let_be() -> None:
    assert rows("to,text,,\n1,x,,\n") == [RawRow(2, ("1", "x", "", ""))]


def test_a_file_that_is_not_there_a_folder_and_an_unreadable_one_are_refused() -> None:
    Path("folder").mkdir()
    for path, words in [("none.csv", "there is no file"), ("folder", "is a directory"), ("nul\0", "cannot be read")]:
        with pytest.raises(ListError, match=words):
            CsvList.open(path)


def test_a_file_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: str) -> None:  # root, who runs many a test, reads everything
        raise PermissionError(errno.EACCES, "Permission denied", f"{path} {mode}")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ListError, match=r"list\.csv cannot be read: Permission denied"):
        CsvList.open("list.csv")


def test_line_numbers_are_those_where_a_row_starts() -> None:
    found = rows('to,text\n1,"two\nlines"\n\n2,x\n"3","a\r\nb\rc"\n4,y\n,\n')
    assert [(row.line, row.cells) for row in found] == [
        (2, ("1", "two\nlines")),
        (5, ("2", "x")),
        (6, ("3", "a\r\nb\rc")),
        (9, ("4", "y")),
    ]


def test_a_broken_quote_spoils_its_own_row_and_says_which_lines_are_gone() -> None:
    found = rows('to,text\n1,"a"b\n2,ok\n3,"open\n4,x\n5,"again"\n6,ok\n7,"never closed\n8,x\n')
    assert [(row.line, row.fault and row.fault[-60:]) for row in found] == [
        (2, "e in line 2 is not doubled, or not closed where it should be"),
        (3, None),
        (4, "ines 4 to 6 is not doubled, or not closed where it should be"),
        (7, None),
        (8, "a quote opened in lines 8 to 9 is never closed"),
    ]


def test_a_cell_without_end_spoils_its_own_row() -> None:
    found = rows(f"to,text\n1,{'x' * 140_000}\n2,ok\n")
    assert [bool(row.fault) for row in found] == [True, False]
    assert "more than 131,072 characters in line 2" in (found[0].fault or "")


def test_more_cells_than_columns_spoil_a_row() -> None:
    found = rows("to,text\n1,Hello, world\n2,x,\n3\n")
    assert [row.fault and row.fault[:7] for row in found] == ["3 cells", None, None]


def test_the_rows_can_be_gone_through_again() -> None:
    again = source(ROWS)
    Path("list.csv").unlink()
    assert list(again.rows()) == list(again.rows())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_its_lines_are_counted_as_rows_count_them(end: str) -> None:
    content = end.join(["to,text", "1,x", '2,"a', 'b"', "", "3,y"])
    found = source(content.encode("utf-16"), "utf-16")
    assert found.lines == 6
    assert [row.line for row in found.rows()] == [2, 3, 6]


# --- files that are no list, and would fill the memory --------------------------------------------


@pytest.mark.parametrize(
    ("head", "line"), [(b"", 1), (b"to,text\n1,x\n", 3), (b"to,text\r\n1,x\r\n", 3), (b"to\r1\r", 3)]
)
def test_a_line_of_two_gigabytes_is_not_read(head: bytes, line: int) -> None:
    Path("list.csv").write_bytes(head)
    os.truncate("list.csv", 2**31)  # zeros, which take no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(
            ListError, match=rf"list\.csv, line {line}: longer than 1,048,576 bytes, the limit of a line"
        ):
            CsvList.open("list.csv")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_may_be_long(end: str) -> None:
    lines = ["to,text" + "," * 1000, *(f"{at},{'x' * 100_000}" for at in range(30)), "last," + "," * (2**20 - 20)]
    found = rows(end.join(lines))
    assert [row.line for row in found] == list(range(2, 33))
    assert {len(row.cells[1]) for row in found[:-1]} == {100_000}


def test_a_row_over_lines_without_end_spoils_itself_and_not_the_memory() -> None:
    found = rows("to,text\n1,ok\n2" + ',"x\n"' * 240_000)
    assert found[0].fault is None
    assert max(len(row.cells) for row in found) == 2
    assert (found[1].fault or "").startswith("a row of more than 1,048,576 characters in lines 3 to ")


def test_a_header_of_200_000_columns_is_one_short_line() -> None:
    assert complaint("to,text" + ",c" * 199_998) == (
        "list.csv: the header (line 1) has 200,000 columns; a list has 16,384 at most."
    )


def test_a_header_of_many_columns_is_not_shown_whole() -> None:
    names = [f"column {number}" for number in range(16_000)]
    assert complaint(",".join(names)).endswith("column 18, column 19 and 15,980 more.")
    assert complaint(f"{'x' * 1000},y").endswith(f"it has: {'x' * 59}…, y.")
    assert rows(f"to,{','.join(names)}\n1,x\n") == [RawRow(2, ("1", "x"))]
