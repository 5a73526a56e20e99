"""What a path proves, and what is no path of ours."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async.callbacks._signing import LIFETIME, LONGEST_SEGMENT, Signer, nonce_in, redact

NOW = 1_800_000_000.0
SECRET = "a secret for the tests alone"
signer = Signer(SECRET)
ids = st.integers(0, 2**63 - 1)


@given(ids, st.floats(0, 4e9))
def test_a_signed_path_proves_its_send_until_it_expires(id_: int, now: float) -> None:
    path = signer.sign(id_, now)
    send = signer.verify(path, now)
    assert send is not None
    assert send.id == id_
    assert send.nonce == nonce_in(f"https://app.example/sms/{path}")
    assert signer.verify(path, min(int(now) + LIFETIME, 2**32 - 1) + 1) is None


def test_two_sends_of_one_id_have_nothing_in_common_but_the_id() -> None:
    first, second = (signer.verify(signer.sign(7, NOW), NOW) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id == second.id
    assert first.nonce != second.nonce


def test_a_path_is_good_for_41_days_to_the_second() -> None:
    path = signer.sign(7, NOW)
    assert signer.verify(path, NOW + 41 * 24 * 3600 - 1)
    assert signer.verify(path, NOW + 41 * 24 * 3600) is None


@given(ids, st.integers(0, LONGEST_SEGMENT - 1), st.characters())
def test_one_changed_character_makes_it_another_path(id_: int, place: int, character: str) -> None:
    path = signer.sign(id_, NOW)
    changed = path[:place] + character + path[place + 1 :]
    assert (signer.verify(changed, NOW) is None) == (changed != path)


@given(ids, ids)
def test_the_signature_of_one_message_is_worth_nothing_for_another(id_: int, other: int) -> None:
    path, second = signer.sign(id_, NOW), signer.sign(other, NOW)
    mac = 24  # characters
    assert signer.verify(path[:-mac] + second[-mac:], NOW) is None


@given(st.text(max_size=200) | st.text(string.ascii_letters + string.digits + "-_", min_size=60, max_size=60))
def test_no_other_text_is_a_path(text: str) -> None:
    assert signer.verify(text, NOW) is None
    assert signer.verify("cb1-" + text[4:], NOW) is None
    assert not signer.is_account(text)


def test_what_is_cut_or_longer_is_not_looked_at() -> None:
    path = signer.sign(7, NOW)
    for other in (path[:-1], path[1:], path + "A", path + "=", path * 1000, "", path + "\n"):
        assert signer.verify(other, NOW) is None


def test_the_first_secret_signs_and_each_is_accepted() -> None:
    old, new = Signer("an old secret, long enough"), Signer(["a new secret, long enough", "an old secret, long enough"])
    assert new.verify(old.sign(7, NOW), NOW)
    assert old.verify(new.sign(7, NOW), NOW) is None
    assert new.is_account(old.account_segment)
    assert not old.is_account(new.account_segment)


def test_the_path_of_the_account_names_no_send_and_the_other_way_round() -> None:
    assert signer.verify(signer.account_segment, NOW) is None
    assert signer.is_account(signer.account_segment)
    assert not signer.is_account(signer.sign(7, NOW))


def test_a_path_is_made_of_what_a_url_takes_and_is_short() -> None:
    allowed = set(string.ascii_letters + string.digits + "-_")
    for path in (signer.sign(2**63 - 1, NOW), signer.account_segment):
        assert set(path) <= allowed
        assert len(path) <= LONGEST_SEGMENT == 60


@pytest.mark.parametrize("secrets", ["short", b"short", [], None, "", ["a secret that is long enough", ""]])
def test_a_secret_that_can_be_guessed_is_refused(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="at least 16 characters") as caught:
        Signer(secrets)
    assert "short" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    assert SECRET not in repr(signer)


def test_redaction_takes_the_path_out_whole_and_leaves_the_rest() -> None:
    path = signer.sign(7, NOW)
    assert redact(f"GET /sms/{path}?status=2 HTTP/1.1") == "GET /sms/cb1-…?status=2 HTTP/1.1"
    assert redact(f"https://app.example/{signer.account_segment} 200") == "https://app.example/cb0-… 200"
    assert redact("nothing to hide") == "nothing to hide"
