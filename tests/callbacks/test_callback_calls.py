"""What a call says, and what makes it none of the gateway's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async.callbacks import _calls
from smspilot_async.callbacks._calls import LARGEST_FORM, Form


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


@given(st.binary(max_size=300) | st.binary(max_size=50).map(lambda tail: b"server_id=5&status=2&error=" + tail))
def test_no_bytes_break_the_reading(form: bytes) -> None:
    call = _calls.read(form)
    assert call is None or (-999 <= call.status <= 999 and call.server_id)
