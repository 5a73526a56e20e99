"""The small rules: time, parts, phones, credentials, where a document hides."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async import measure
from smspilot_async.emulator import TEST_KEY, Account, Clock, Emulator
from smspilot_async.emulator.gateway._errors import Refused
from smspilot_async.emulator.gateway._phones import read_phone
from smspilot_async.emulator.gateway._text import count_parts
from smspilot_async.emulator.server._http import HttpRequest, find_document, path_of

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class TestClock:
    def test_stands_still_until_it_is_turned(self) -> None:
        clock = Clock(NOON)
        assert clock.now() == NOON
        assert clock.advance(minutes=2, seconds=1) == clock.now() == NOON + timedelta(seconds=121)

    def test_shows_the_present_first(self) -> None:
        assert datetime.now(UTC) - Clock().now() < timedelta(seconds=2)

    def test_can_be_set_to_any_aware_moment(self) -> None:
        clock = Clock(NOON)
        clock.set(datetime(2025, 1, 1, 3, tzinfo=timezone(timedelta(hours=3))))
        assert clock.now() == datetime(2025, 1, 1, tzinfo=UTC)
        assert clock.now().tzinfo is UTC

    @pytest.mark.parametrize("turn", [lambda: Clock(datetime(2026, 1, 1)), lambda: Clock().set(datetime(2026, 1, 1))])  # noqa: DTZ001
    def test_refuses_a_naive_moment(self, turn: Any) -> None:
        with pytest.raises(ValueError, match="aware"):
            turn()

    def test_advances_forward_only(self) -> None:
        with pytest.raises(ValueError, match="forward"):
            Clock().advance(seconds=-1)

    def test_runs_at_its_speed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seconds = iter([100.0, 102.0, 110.0])
        monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
        clock = Clock(NOON, speed=60)
        assert clock.now() == NOON + timedelta(minutes=2)
        assert clock.now() == NOON + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ы" * 70, 1),
        ("ы" * 71, 2),
        ("ы" * 134, 2),
        ("ы" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("x" * 69 + "ы", 1),
        ("x" * 1530, 10),
        ("x" * 1531, 11),
        ("x" * 152 + "€" + "x" * 152, 3),
        ("€" * 765, 11),
        ("ы" * 66 + "😀" + "ы" * 66, 3),
        ("😀" * 335, 11),
        ("\ud800" * 134, 2),  # half a pair, which JSON can carry
    ],
)
def test_a_text_takes_so_many_parts(text: str, parts: int) -> None:
    assert count_parts(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x" * 152 + "€" + "x" * 152, 2),
        ("€" * 765, 10),
        ("€" * 765 + "x", 11),
        ("ы" * 66 + "😀" + "ы" * 66, 2),
        ("😀" * 335, 10),
        ("😀" * 335 + "x", 11),
        ("€" * 80, 1),
        ("😀" * 35, 1),
    ],
)
def test_a_text_takes_fewer_parts_where_their_borders_may_split_a_pair(text: str, parts: int) -> None:
    assert count_parts(text, pairs_split=True) == parts


@given(st.text(alphabet="ax€[я😀", max_size=400), st.booleans())
def test_the_client_counts_the_same_by_code_of_its_own(text: str, pairs_split: bool) -> None:  # noqa: FBT001
    size = measure(text)
    part = 153 if size.alphabet == "GSM-7" else 67
    divided = 1 if size.parts == 1 else -(-size.units // part)
    assert count_parts(text, pairs_split=pairs_split) == (divided if pairs_split else size.parts)


@pytest.mark.parametrize(
    ("raw", "digits", "country", "operator"),
    [
        ("79087964781", "79087964781", "RU", "TELE2"),
        ("89087964782", "79087964782", "RU", "TELE2"),
        ("+7 (908) 796-47-83", "79087964783", "RU", "TELE2"),
        ("79131437355", "79131437355", "RU", "MTS"),
        ("79261234567", "79261234567", "RU", "MEGAFON"),
        ("79031234567", "79031234567", "RU", "BEELINE"),
        ("79991234567", "79991234567", "RU", ""),
        ("87011234567", "77011234567", "KZ", ""),
        ("84912345678", "84912345678", "VN", ""),
        ("375291234567", "375291234567", "BY", ""),
        ("999123456789", "999123456789", "", ""),
    ],
)
def test_a_phone_is_read_as(raw: str, digits: str, country: str, operator: str) -> None:
    phone = read_phone(raw)
    assert (phone.digits, phone.country, phone.operator) == (digits, country, operator)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", 108),
        ("7908.7964781", 111),
        (" ", 108),
        ("abc", 111),
        ("7908796478x", 111),
        ("١٢٣٤٥٦٧٨٩٠", 111),
        ("79087964", 215),
        ("7" * 16, 215),
        ("7908796478", 215),
        ("790879647810", 215),
        ("8908796478", 215),
        ("890879647812", 215),
        ("7495123456", 215),
        ("770112345678", 215),
        ("37529123456", 215),
        ("3752912345678", 215),
        ("74951234567", 213),
    ],
)
def test_a_phone_is_refused_with(raw: str, code: int) -> None:
    with pytest.raises(Refused) as refusal:
        read_phone(raw)
    assert refusal.value.code == code


FORM = "application/x-www-form-urlencoded"
MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\nx\r\n'
    b'--B\r\nContent-Disposition: form-data; filename="name=.json"; name="json"\r\n\r\n{"a": "b+c\r\n"}\r\n--B--\r\n'
)


@pytest.mark.parametrize(
    ("request_", "document"),
    [
        ({"body": b"{}"}, b"{}"),
        ({"body": b"{}", "content_type": FORM}, b"{}"),
        ({"body": b"<?xml?><a/>", "content_type": "application/json"}, b"<?xml?><a/>"),
        ({"body": b"{}", "query": b"json={1}"}, b"{}"),
        ({"body": b"json=%7B%22a+b%22%7D", "content_type": FORM}, b'{"a b"}'),
        ({"body": b"json=%7B%7D"}, b"{}"),
        ({"body": b"x=1&xml=%3C%3Fxml", "content_type": f"{FORM}; charset=utf-8"}, b"<?xml"),
        ({"body": MULTIPART, "content_type": 'multipart/form-data; boundary="B"'}, b'{"a": "b+c\r\n"}'),
        ({"query": b"debug=a@b&json=%7B%7D", "method": "GET"}, b"{}"),
        ({"query": b"debug=a@b", "method": "GET"}, b""),
        ({"body": b" {}"}, b" {}"),
    ],
)
def test_the_document_is_found(request_: dict[str, Any], document: bytes) -> None:
    assert find_document(HttpRequest(**{"method": "POST", **request_})) == document


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api2.php", "/api2.php"),
        ("http://smspilot.ru/api2.php", "/api2.php"),
        ("HTTPS://smspilot.ru:443/api2.php", "/api2.php"),
        ("http://smspilot.ru", "/"),
    ],
)
def test_a_target_may_be_a_whole_url(target: str, path: str) -> None:
    assert path_of(target) == path


class TestAccounts:
    @pytest.mark.parametrize(
        ("credentials", "code"),
        [
            ({"apikey": None}, "100"),
            ({"apikey": ""}, "100"),
            ({"apikey": "nonsense"}, "101"),
            ({"apikey": 5}, "101"),
            ({"apikey": None, "login": "a@example.com"}, "401"),
            ({"apikey": None, "password": "x"}, "401"),
            ({"apikey": None, "login": "unknown@example.com", "password": "x"}, "400"),
            ({"apikey": None, "login": "somebody", "password": "x"}, "401"),
            ({"apikey": None, "login": "@example.com", "password": "x"}, "401"),
            ({"apikey": None, "login": "a@", "password": "x"}, "401"),
            ({"apikey": None, "login": "a b@example.com", "password": "x"}, "401"),
            ({"apikey": None, "login": "a@b@example.com", "password": "x"}, "401"),
            ({"apikey": None, "login": ["a@example.com"], "password": "x"}, "401"),
            ({"apikey": None, "login": "a@example.com", "password": "wrong"}, "401"),
            ({"apikey": None, "login": "a@example.com", "password": "secret"}, None),
            ({}, None),
        ],
    )
    def test_credentials_are_checked(
        self, credentials: dict[str, Any], code: str | None, emulator: Emulator, desk: Any
    ) -> None:
        emulator.add_account(login="a@example.com", password="secret")
        assert desk.code(info=True, **credentials) == code

    def test_a_login_without_a_password_never_opens(self, emulator: Emulator, desk: Any) -> None:
        emulator.add_account(login="a@example.com")
        assert desk.code(info=True, apikey=None, login="a@example.com", password="x") == "401"

    @pytest.mark.parametrize("code", [105, 106, 107, 122])
    def test_a_blocked_account_says_why(self, code: int, emulator: Emulator, desk: Any) -> None:
        emulator.account.blocked = code
        assert desk.code(balance="rur") == str(code)

    def test_only_allowed_addresses_may_ask(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.allowed_ips = ["127.0.0.1"]
        assert desk.code(info=True) is None
        emulator.account.allowed_ips = ["10.0.0.1"]
        assert desk.code(info=True) == "113"

    def test_each_has_money_and_messages_of_its_own(self, emulator: Emulator, desk: Any) -> None:
        other = emulator.add_account()
        assert other.id == 2
        row = desk.send({"to": "79087964781", "text": "x"}, apikey=other.api_key)["send"][0]
        assert emulator.account.balance == emulator.account.opening_balance
        assert other.balance < other.opening_balance
        assert desk.code(check=[{"server_id": row["server_id"]}]) == "302"
        assert desk.code(check=[{"server_id": row["server_id"]}], apikey=other.api_key) is None
        assert [message.account for message in emulator.messages] == [2]

    def test_two_never_share_a_key(self, emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="account 1 already has this key") as refused:
            emulator.add_account(api_key=emulator.api_key)
        assert emulator.api_key not in str(refused.value)

    def test_two_never_share_a_login(self, emulator: Emulator) -> None:
        emulator.add_account(login="a@example.com", password="x")
        with pytest.raises(ValueError, match="account 2 already has this login") as refused:
            emulator.add_account(login="a@example.com", password="y")
        assert "a@example.com" not in str(refused.value)

    def test_one_is_taken_in_once(self, emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="this account is already there"):
            emulator.add_account(emulator.account)
        twice = emulator.add_account(login="a@example.com")
        with pytest.raises(ValueError, match="this account is already there"):
            emulator.add_account(twice)

    @pytest.mark.parametrize("settings", [{"api_key": TEST_KEY}, {"account": Account(api_key=TEST_KEY)}])
    def test_the_vendors_test_key_is_there_already(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="the vendor's test key is in every emulator"):
            Emulator(**settings)

    def test_the_vendors_test_key_is_not_added_again(self, emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="the vendor's test key is in every emulator"):
            emulator.add_account(api_key=TEST_KEY)

    def test_the_first_one_may_be_given(self) -> None:
        account = Account(login="a@example.com", password="x")
        emulator = Emulator(account=account)
        assert emulator.account is account
        assert emulator.api_key == ""
        assert Emulator(account=Account(trial=True), api_key="K" * 64).api_key == "K" * 64

    def test_a_seed_repeats_the_key(self) -> None:
        assert Emulator(seed=3).api_key == Emulator(seed=3).api_key != Emulator(seed=4).api_key
        assert len(Emulator().api_key) == 64
        assert Emulator().api_key != Emulator().api_key

    def test_no_secret_is_shown(self, emulator: Emulator) -> None:
        account = emulator.add_account(login="a@example.com", password="secret")
        shown = repr(account) + repr(emulator.account)
        assert "secret" not in shown
        assert "a@example.com" not in shown
        assert emulator.api_key not in shown
