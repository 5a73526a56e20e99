from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING

import pytest

from smspilot_async import MessageStatus, NotFinal, Outcome, SmsPilotError
from smspilot_async._statuses.rules import Known, beats, is_truly_unknown, pause_before
from smspilot_async._statuses.tracking import not_final

if TYPE_CHECKING:
    from collections.abc import Callable


def polled(status: int | None) -> Known:
    return Known(MessageStatus(server_id="1", status=status), is_polled=True)


def called(status: int | None) -> Known:
    return Known(MessageStatus(server_id="1", status=status), is_polled=False)


# --- the schedule --------------------------------------------------------------------------------


def test_the_schedule_begins_at_a_minute_then_two_and_grows_by_half_up_to_an_hour() -> None:
    pauses = [pause_before(poll) for poll in range(1, 13)]

    assert pauses[:5] == [60, 120, 180, 270, 405]
    assert pauses[-3:] == [3075.46875, 3600, 3600]


def test_the_schedule_holds_for_years() -> None:
    assert pause_before(100_000) == 3600


def test_every_fixes_the_schedule() -> None:
    assert {pause_before(poll, 7.5) for poll in (1, 2, 3, 100)} == {7.5}


# --- which status is believed --------------------------------------------------------------------


def test_the_first_status_is_taken_whatever_its_source() -> None:
    assert beats(called(0), None)
    assert beats(polled(0), None)


@pytest.mark.parametrize("final", [-2, -1, 2])
@pytest.mark.parametrize("later", [0, 1, 3, 7])
def test_nothing_goes_back_from_final(final: int, later: int) -> None:
    for known, new in itertools.product((polled, called), repeat=2):
        assert not beats(new(later), known(final))


def test_a_final_poll_stays() -> None:
    assert not beats(called(2), polled(-1))
    assert not beats(polled(2), polled(-1))


def test_a_final_poll_beats_a_final_call() -> None:
    assert beats(polled(-1), called(2))
    assert not beats(called(-1), called(2))


def test_a_poll_beats_a_call_even_backwards() -> None:
    assert beats(polled(0), called(1))


@pytest.mark.parametrize("known", [polled, called])
def test_a_call_only_brings_a_message_forward(known: Callable[[int], Known]) -> None:
    forward = [(3, 0), (3, 1), (0, 1), (0, 2), (1, 2), (1, -1)]
    for before, after in forward:
        assert beats(called(after), known(before))
    for before, after in [(0, 3), (1, 3), (1, 0), (0, 0)]:
        assert not beats(called(after), known(before))


def test_an_unknown_status_is_taken_once() -> None:
    assert beats(called(7), polled(1))
    assert beats(called(1), called(7))
    assert not beats(called(7), called(7))
    assert not polled(7).status.is_final


@pytest.mark.parametrize(
    ("age", "polls", "lost"),
    [(0, 1, False), (599.9, 9, False), (600, 1, False), (600, 2, True), (86400, 2, True), (-5, 3, False)],
)
def test_lost_takes_ten_minutes_and_two_polls(age: float, polls: int, lost: bool) -> None:  # noqa: FBT001
    assert is_truly_unknown(age, polls) is lost


# --- the error -----------------------------------------------------------------------------------


def test_not_final_says_that_it_was_accepted_and_carries_the_last_status() -> None:
    status = MessageStatus(id=5, server_id="10", status=1)
    error = not_final("10", status)

    assert isinstance(error, SmsPilotError)
    assert isinstance(error, TimeoutError)
    assert error.outcome is Outcome.ACCEPTED
    assert error.status is status
    assert (error.message_id, error.command) == (5, "check")
    assert "the last one is 1" in str(error)
    assert "accepted" in str(error)


def test_not_final_of_a_message_without_a_status() -> None:
    error = not_final("10", None)

    assert error.status is None
    assert error.message_id is None
    assert "no status at all" in str(error)


def test_not_final_pickles_whole() -> None:
    error = not_final("10", MessageStatus(id=5, server_id="10", status=1))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert type(copy) is NotFinal
    assert str(copy) == str(error)
    assert copy.status == error.status
    assert copy.message_id == 5
