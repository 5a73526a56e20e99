"""What a call says, and what makes it none of the gateway's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async.callbacks import _form as _calls
from smspilot_async.callbacks._form import LARGEST_FORM, Form


def test_the_gateways_own_example_is_read() -> None:
    assert _calls.read(b"server_id=1233211233&status=2&error=0") == Form("1233211233", 2, 0)


def test_unknown_parameters_are_ignored_whatever_they_hold() -> None:
    assert _calls.read(b"x=%FF%00&server_id=5&server_id2=6&status=-1&y&error=601") == Form("5", -1, 601)


@pytest.mark.parametrize("error", [b"", b"&error="])
def test_an_error_may_be_missing(error: bytes) -> None:
    assert _calls.read(b"server_id=5&status=1" + error) == Form("5", 1, None)


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"status=2&error=0",
        b"server_id=5",
        b"server_id=0&status=2",
        b"server_id=&status=2",
        b"server_id=5%205&status=2",
        b"server_id=%D9%A5&status=2",
        b"server_id=" + b"5" * 65 + b"&status=2",
        b"server_id=5&status=",
        b"server_id=5&status=two",
        b"server_id=5&status=2.0",
        b"server_id=5&status=+2",
        b"server_id=5&status=2000",
        b"server_id=5&status=%D9%A2",
        b"server_id=5&status=2&error=x",
        b"server_id=5&status=2&error=-1",
        b"server_id=5&status=2&error=999999",
        b"server_id=5&status=2&status=1",
        b"server_id=5&server_id=6&status=2",
        b"server_id=5&status=2&\xff",
        b"&".join([b"server_id=5&status=2", *(b"x=1" for _ in range(40))]),
        b"server_id=5&status=2&x=" + b"x" * LARGEST_FORM,
    ],
)
def test_a_value_that_is_missing_wrong_doubled_or_too_long_makes_it_no_call(form: bytes) -> None:
    assert _calls.read(form) is None


def multipart(
    *fields: tuple[str, str], boundary: bytes = b"--------------------------7d1a", end: bytes = b"\r\n"
) -> bytes:
    """Write a form as curl does when it is given an array of fields."""
    parts = [
        b"--" + boundary + end + f'Content-Disposition: form-data; name="{name}"'.encode() + end + end + value.encode()
        for name, value in fields
    ]
    return end.join([*parts, b"--" + boundary + b"--" + end])


FIELDS = [("server_id", "5"), ("x", "\u0444"), ("status", "-1"), ("error", "601")]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("boundary", [b"-------------7d1a", b"X", b"'a+b=_c/d'"])
def test_a_form_in_parts_is_read_too(boundary: bytes, end: bytes) -> None:
    assert _calls.read(multipart(*FIELDS, boundary=boundary, end=end)) == Form("5", -1, 601)


def test_other_headers_of_a_part_and_its_name_without_quotes_do_no_harm() -> None:
    form = multipart(*FIELDS[1:]).replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
    bare = b"----------------------------7d1a\r\ncontent-disposition: form-data;name=server_id\r\n\r\n5\r\n"
    assert _calls.read(bare + form) == Form("5", -1, 601)


@pytest.mark.parametrize(
    "form",
    [
        b"--",
        b"--\r\n",
        b"--x",
        b"--x--\r\n",
        multipart(*FIELDS[1:]),
        multipart(*FIELDS, ("status", "2")),
        multipart(*FIELDS)[:-39],  # cut off inside the last value
        multipart(("server_id", "5\n6"), ("status", "2")),
        multipart(("server_id", "5"), ("status", " 2")),
        multipart(("server_id", "5"), ("filename", "status"), ("x", "2")),
        multipart(*FIELDS, *[("x", "1")] * 40),
        multipart(*FIELDS, ("x", "x" * LARGEST_FORM)),
    ],
)
def test_a_form_in_parts_is_believed_no_more_than_another(form: bytes) -> None:
    assert _calls.read(form) is None


@given(
    st.binary(max_size=300)
    | st.binary(max_size=50).map(lambda tail: b"server_id=5&status=2&error=" + tail)
    | st.binary(max_size=50).map(lambda tail: multipart(*FIELDS) + tail)
)
def test_no_bytes_break_the_reading(form: bytes) -> None:
    call = _calls.read(form)
    assert call is None or (-999 <= call.status <= 999 and call.server_id)
