"""The vendor's public test key: nothing is stored, any check is answered, and every status comes to an end."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import Client, Message
from smspilot_async.emulator import TEST_KEY, Account, Clock, Emulator
from smspilot_async.emulator.gateway import _store

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[..., Any]

PHONE = "79087964781"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(clock=Clock(NOON))


@pytest.fixture
def ask(desk: Any) -> Ask:
    return lambda **fields: desk.json(**{"apikey": TEST_KEY, **fields})


def rows(count: int) -> list[dict[str, Any]]:
    return [{"to": PHONE, "text": str(number), "id": number} for number in range(1, count + 1)]


def numbers(answer: Any) -> list[str]:
    return [row["server_id"] for row in answer.get("send") or answer["check"]]


def test_its_account_is_the_vendors(ask: Ask) -> None:
    info = ask(info=True)["info"]
    assert (info["name"], info["default_sender"], info["senders"]) == ("Букин Геннадий", "INFORM", "INFORM")
    assert info["balance"] == ask(balance="rur")["balance"] == Decimal("20006.97")


def test_every_packet_has_the_same_number_and_its_messages_count_from_the_same(ask: Ask) -> None:
    for count in (3, 2):
        answer = ask(send=rows(count))
        assert answer["server_packet_id"] == "123456"
        assert numbers(answer) == ["10000", "10001", "10002"][:count]
        assert answer["balance"] == Decimal("20006.97")
        assert {row["from"] for row in answer["send"]} == {"INFORM"}


def test_refused_messages_take_no_number(ask: Ask) -> None:
    answer = ask(send=[{"to": PHONE, "text": "a"}, {"to": "x", "text": "b"}, {"to": PHONE, "text": "c"}])
    assert numbers(answer) == ["10000", "0", "10001"]


@pytest.mark.parametrize("packet", ["123456", "1234", 7])
def test_any_packet_is_answered(packet: Any, ask: Ask) -> None:
    assert numbers(ask(check=True, server_packet_id=packet)) == ["10000"]
    ask(send=rows(3))
    assert numbers(ask(check=True, server_packet_id=packet)) == ["10000", "10001", "10002"]


def test_any_packet_is_answered_in_xml(desk: Any) -> None:
    (row,) = desk.xml(f'<check apikey="{TEST_KEY}" server_packet_id="1234"/>')
    assert (row.get("id"), row.get("server_id"), row.get("status")) == ("0", "10000", "2")


def test_any_message_is_answered(ask: Ask) -> None:
    ids = ["10000", "10001", "10002", "77", "9" * 5000]
    answer = ask(check=[{"server_id": number} for number in ids])
    assert numbers(answer) == ids
    assert {row["id"] for row in answer["check"]} == {0}


def test_what_is_no_number_is_refused_as_ever(ask: Ask) -> None:
    assert ask(check=True, server_packet_id="x")["error"]["code"] == "304"
    assert ask(check=True)["error"]["code"] == "300"
    assert ask(check=[{"server_id": "x"}])["error"]["code"] == "301"


def test_statuses_move_to_an_end(emulator: Emulator, ask: Ask) -> None:
    asked = [{"server_id": number} for number in numbers(ask(send=rows(5)))]

    def statuses() -> list[int]:
        return [row["status"] for row in ask(check=asked)["check"]]

    assert statuses() == [2, 2, 1, 0, -1]
    emulator.clock.advance(seconds=5)
    assert statuses() == [2, 2, 1, 1, -1]
    emulator.clock.advance(seconds=25)
    assert statuses() == [2, 2, 2, 2, -1]
    modified = [row["modified"] for row in ask(check=asked)["check"]]
    assert modified == [f"2026-01-31 15:00:{second}" for second in ("00", "00", "30", "30", "00")]


def test_a_message_that_takes_an_old_number_starts_over(emulator: Emulator, ask: Ask) -> None:
    ask(send=rows(3))
    emulator.clock.advance(minutes=1)
    ask(send=rows(3))
    assert ask(check=[{"server_id": "10002"}])["check"][0]["status"] == 1


def test_numbers_that_were_never_given_come_to_an_end_too(emulator: Emulator, ask: Ask) -> None:
    assert ask(check=[{"server_id": "778"}])["check"][0]["status"] == 0
    emulator.clock.advance(minutes=1)
    assert ask(check=[{"server_id": "778"}])["check"][0]["status"] == 2


def test_the_status_of_a_test_packet_of_an_own_account_comes_to_an_end(emulator: Emulator, desk: Any) -> None:
    sent = desk.send(*rows(5), test=1)
    emulator.clock.advance(minutes=1)
    answer = desk.json(check=True, server_packet_id=sent["server_packet_id"])
    assert numbers(answer) == numbers(sent)
    assert {row["status"] for row in answer["check"]} == {2, -1}
    assert desk.code(check=[{"server_id": "10000"}]) == "302"
    assert desk.code(check=True, server_packet_id="123456") == "304"


def test_it_sees_nothing_of_another_account(emulator: Emulator, ask: Ask, desk: Any) -> None:
    own = desk.one(id=5)["server_id"]
    emulator.clock.advance(minutes=1)
    row = ask(check=[{"server_id": own}])["check"][0]
    assert row["id"] == 0
    assert desk.status(own) == 2


def test_what_it_sent_is_on_record(emulator: Emulator, ask: Ask) -> None:
    ask(send=rows(2))
    ask(send=rows(1))
    assert [message.server_id for message in emulator.test_messages] == ["10000", "10001", "10000"]
    assert {message.server_packet_id for message in emulator.test_messages} == {"123456"}
    assert emulator.messages == ()


def test_of_what_it_sent_the_newest_are_kept(emulator: Emulator, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "KEPT_TESTS", 3)
    for count in (2, 1, 1, 1):
        ask(send=rows(count))
    assert [message.server_id for message in emulator.test_messages] == ["10000"] * 3
    assert emulator.look_up(["10000"]) == [emulator.test_messages[-1]]
    assert emulator.look_up(["10001"]) == []
    assert emulator.state()["test_messages"] == 5


def test_a_reset_forgets_them(emulator: Emulator, ask: Ask) -> None:
    ask(send=rows(3))
    emulator.reset()
    assert numbers(ask(check=True, server_packet_id="123456")) == ["10000"]
    assert emulator.test_messages == ()


def test_its_account_may_be_asked_of_any_emulator(desk_of: Any) -> None:
    desk = desk_of(Emulator(account=Account(trial=True), profile="2.4.16"))
    assert desk.json(apikey=TEST_KEY, balance="rur") == {"balance": Decimal("20006.97")}


async def test_a_client_under_it_follows_its_messages_to_the_end(emulator: Emulator) -> None:
    last = {}
    async with Client(TEST_KEY, url=emulator.url, transport=emulator.transport) as client:
        packet = await client.send_packet([Message(PHONE, text) for text in "abcde"])
        async with client.track(packet, poll_interval=0.01) as changes:
            async for status in changes:
                last[status.server_id] = status.status
                emulator.clock.advance(seconds=10)
    assert last == {"10000": 2, "10001": 2, "10002": 2, "10003": 2, "10004": -1}
