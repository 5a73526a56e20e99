"""A campaign pauses when its sender or its text is at fault, and not for phones that are."""

from __future__ import annotations

import pytest

from smspilot_async.outbox._faults import Faults
from smspilot_async.outbox._ledger import MessageAnswer
from smspilot_async.outbox._states import Event


def accepted(many: int) -> list[MessageAnswer]:
    return [MessageAnswer(id=number, event=Event.ACCEPTED) for number in range(many)]


def refused(code: int, many: int = 1) -> list[MessageAnswer]:
    return [MessageAnswer(id=number, event=Event.REFUSED, code=code) for number in range(many)]


@pytest.mark.parametrize("code", [115, 200, 201, 204, 223, 226, 248, 630, 645])
def test_twenty_in_a_row_pause_it(code: int) -> None:
    faults = Faults()
    assert faults.count(1, [*accepted(50), *refused(code, 19)]) is None
    assert faults.count(1, refused(code)) == code


def test_two_per_cent_of_the_last_thousand_pause_it() -> None:
    faults = Faults()
    for _ in range(19):
        assert faults.count(1, [*refused(223), *accepted(49)]) is None
    assert faults.count(1, refused(223)) == 223


def test_fewer_than_two_per_cent_do_not() -> None:
    faults = Faults()
    for _ in range(100):
        assert faults.count(1, [*refused(223), *accepted(55)]) is None


def test_answers_older_than_the_last_thousand_do_not_count() -> None:
    faults = Faults()
    assert faults.count(1, refused(204, 19)) is None
    assert faults.count(1, accepted(1000)) is None
    assert faults.count(1, refused(204, 19)) is None


@pytest.mark.parametrize("code", [111, 243, 240, 112])
def test_faults_of_one_message_or_of_the_account_pause_no_campaign(code: int) -> None:
    assert Faults().count(1, refused(code, 500)) is None


def test_different_faults_and_other_campaigns_count_apart() -> None:
    faults = Faults()
    assert faults.count(1, [*refused(204, 19), *refused(223, 19)]) is None
    assert faults.count(2, refused(204, 19)) is None


def test_a_packet_that_is_refused_as_a_whole_is_one_answer() -> None:
    faults = Faults()
    whole = [MessageAnswer(id=number, event=Event.PUT_BACK, code=204) for number in range(100)]
    assert [faults.count(1, whole) for _ in range(20)] == [None] * 19 + [204]


def test_it_is_counted_anew_after_a_pause() -> None:
    faults = Faults()
    assert faults.count(1, refused(204, 20)) == 204
    assert faults.count(1, refused(204, 19)) is None


def test_what_has_no_answer_does_not_count() -> None:
    faults = Faults()
    assert faults.count(1, [MessageAnswer(id=1, event=Event.UNANSWERED, code=204)] * 100) is None
