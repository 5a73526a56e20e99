"""What the commands do to the gateway's state, and what they refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async.emulator import TEST_KEY, Account, Clock, Emulator, StatusChange

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "79087964781"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class TestSend:
    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"to": ""}, 108),
            ({"to": None}, 108),
            ({"to": "phone"}, 111),
            ({"to": ["79087964781"]}, 111),
            ({"to": "12345"}, 215),
            ({"to": "790879647810"}, 215),
            ({"to": "74951234567"}, 213),
            ({"to": 79087964781}, 0),
            ({"to": 79087964781.0}, 0),
            ({"from": "ab"}, 115),
            ({"from": "abcdefghijkl"}, 115),
            ({"from": "МАГАЗИН"}, 115),
            ({"from": "79087964781"}, 0),
            ({"from": "Taxi-12.Ru"}, 0),
            ({"text": ""}, 220),
            ({"text": None}, 220),
            ({"text": "ы" * 671}, 221),
            ({"id": "x"}, 230),
            ({"id": 1.5}, 230),
            ({"id": True}, 230),
            ({"id": "-7"}, 0),
            ({"id": None}, 0),
            ({"id": ""}, 0),
            ({"send_datetime": "tomorrow"}, 250),
            ({"send_datetime": "2026-02-30 00:00:00"}, 250),
            ({"send_datetime": "9" * 40}, 250),
            ({"send_datetime": "0000-00-00 00:00:00"}, 0),
            ({"send_datetime": 1769860800}, 0),
            ({"callback": "ftp://example.com"}, 260),
            ({"callback": "http://"}, 260),
            ({"callback": "http://[x"}, 260),
            ({"callback": "http://127.0.0.1:99999/"}, 260),
            ({"callback": "http://127.0.0.1:0/"}, 260),
            ({"callback": "https://example.com/x"}, 0),
            ({"ttl": 0}, 270),
            ({"ttl": 1441}, 270),
            ({"ttl": "soon"}, 270),
            ({"ttl": "1440"}, 0),
            ({"ttl": ""}, 0),
        ],
    )
    def test_a_message_is_judged_by_its_fields(self, fields: dict[str, Any], code: int, desk: Any) -> None:
        row = desk.send({"to": PHONE, "text": "Привет", **fields}, {"to": "79087964782", "text": "good"})["send"]
        assert row[0]["error"] == code
        assert row[0]["status"] == (-2 if code else 0)
        assert row[1]["error"] == 0

    def test_accepted_and_refused_are_shown_side_by_side(self, emulator: Emulator, desk: Any) -> None:
        answer = desk.send({"to": PHONE, "text": "a", "id": 1}, {"to": "x", "text": "b", "id": 2})
        assert [(row["id"], row["status"], row["server_id"]) for row in answer["send"]] == [
            (1, 0, "100000001"),
            (2, -2, "0"),
        ]
        assert answer["cost"] == Decimal("1.25")
        assert [message.text for message in emulator.messages] == ["a"]

    def test_the_record_has_everything(self, desk_of: Any) -> None:
        emulator = Emulator(clock=Clock(NOON))
        desk_of(emulator).send(
            {
                "to": "8" + PHONE[1:],
                "text": "x" * 161,
                "id": 9,
                "from": "SHOP",
                "send_datetime": "2026-01-31 13:00:00",
                "ttl": 60,
                "callback": "http://127.0.0.1:1/cb",
                "callback_method": "POST",
            }
        )
        (message,) = emulator.messages
        assert (message.server_packet_id, message.id, message.to, message.sender) == ("5001", 9, PHONE, "SHOP")
        assert (message.parts, message.price, message.ttl) == (2, Decimal("2.50"), 60)
        assert (message.callback, message.callback_method) == ("http://127.0.0.1:1/cb", "post")
        assert (message.status, message.send_at) == (3, NOON + timedelta(hours=1))
        assert message.accepted_at == message.modified == NOON
        assert PHONE not in repr(message)
        assert "xxx" not in repr(message)

    @pytest.mark.parametrize("rows", [[], "text", True, [1], [{"to": PHONE, "text": "x"}, None], {"to": PHONE}])
    def test_a_list_is_needed(self, rows: Any, desk: Any) -> None:
        assert desk.code(send=rows) == "240"

    def test_xml_without_messages_is_no_list(self, desk: Any) -> None:
        assert desk.xml("<send KEY></send>").findtext("code") == "240"

    def test_only_registered_senders_where_the_account_is_strict(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.any_sender = False
        assert desk.one(text="1", **{"from": "OTHER"})["error"] == 204
        assert desk.one(text="2", **{"from": "SMSPILOT"})["error"] == 0
        emulator.account.default_sender = ""
        assert desk.one(text="3")["error"] == 200

    def test_money_goes_and_runs_out_within_a_packet(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.balance = Decimal("3.00")
        answer = desk.send(*({"to": PHONE, "text": str(number)} for number in range(3)))
        assert [row["error"] for row in answer["send"]] == [0, 0, 112]
        assert answer["balance"] == emulator.account.balance == Decimal("0.50")

    def test_prices_follow_operator_then_country(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.prices = {"KZ": Decimal("9.10"), "MTS": Decimal("2.00"), "RU": Decimal("3.00")}
        prices = [desk.one(to)["price"] for to in ("77011234567", "79131437355", PHONE, "375291234567")]
        assert prices == [Decimal("9.10"), Decimal("2.00"), Decimal("3.00"), Decimal("1.25")]

    def test_a_price_sends_nothing(self, emulator: Emulator, desk: Any) -> None:
        rows = [{"to": PHONE, "text": "x"}, {"to": PHONE, "text": "x"}, {"to": "bad", "text": "x"}]
        assert desk.send(*rows, cost="1") == {"cost": Decimal("2.50")}
        assert desk.code(send=rows[2:], cost=1) == "111"
        assert emulator.messages == ()
        assert emulator.account.balance == emulator.account.opening_balance

    def test_trial_takes_two_of_a_packet(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.trial = True
        answer = desk.send(*({"to": PHONE, "text": str(number)} for number in range(3)))
        assert [row["error"] for row in answer["send"]] == [0, 0, 242]

    def test_the_blacklist_refuses(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.blacklist = {PHONE}
        assert desk.one()["error"] == 243
        assert desk.one("79087964782")["error"] == 0

    def test_any_code_can_be_forced(self, emulator: Emulator, desk: Any) -> None:
        emulator.refuse(to=PHONE, code=212)
        emulator.refuse(text="Скидки!", code=223)
        emulator.refuse(to="79087964783", text="both", code=715)
        assert desk.one(PHONE)["error"] == 212
        assert desk.one("79087964782", "Скидки!")["error"] == 223
        assert desk.one("79087964783", "both")["error"] == 715
        assert desk.one("79087964783", "one")["error"] == 0

    def test_an_unheard_of_code_has_a_text_too(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.blocked = 999
        assert desk.json(info=True)["error"] == {"code": "999", "description": "Error", "description_ru": "Ошибка"}


class TestLoopProtection:
    def test_the_same_text_to_the_same_phone_is_refused_for_five_minutes(self, emulator: Emulator, desk: Any) -> None:
        errors = [desk.one()["error"], desk.one()["error"], desk.one(text="other")["error"]]
        emulator.clock.advance(minutes=4, seconds=59)
        errors.append(desk.one()["error"])
        emulator.clock.advance(seconds=1)
        errors.append(desk.one()["error"])
        assert errors == [0, 243, 0, 243, 0]

    def test_it_sees_within_a_packet(self, desk: Any) -> None:
        answer = desk.send({"to": PHONE, "text": "x"}, {"to": "8" + PHONE[1:], "text": "x"})
        assert [row["error"] for row in answer["send"]] == [0, 243]

    def test_refused_messages_leave_no_trace(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.balance = Decimal(0)
        assert desk.one()["error"] == 112
        emulator.account.balance = Decimal(10)
        assert desk.one()["error"] == 0

    @pytest.mark.parametrize(
        ("emulators", "accounts", "second"),
        [
            (None, "emulator", 0),
            (timedelta(minutes=5), None, 0),
            (None, timedelta(minutes=1), 243),
        ],
    )
    def test_it_is_a_setting(self, emulators: Any, accounts: Any, second: int, desk_of: Any) -> None:
        desk = desk_of(Emulator(loop_protection=emulators, account=Account(loop_protection=accounts)))
        assert [desk.one()["error"], desk.one()["error"]] == [0, second]
        answer = desk.send({"to": PHONE, "text": "y"}, {"to": PHONE, "text": "y"})
        assert [row["error"] for row in answer["send"]] == [0, second]


class TestStatuses:
    def test_they_move_by_the_clock(self, emulator: Emulator, desk: Any) -> None:
        server_id = desk.one()["server_id"]
        seen = [desk.status(server_id)]
        for seconds in (4, 1, 24, 1):
            emulator.clock.advance(seconds=seconds)
            seen.append(desk.status(server_id))
        assert seen == [0, 0, 1, 1, 2]
        (message,) = emulator.messages
        start = message.accepted_at
        assert message.history == (
            StatusChange(start, 0),
            StatusChange(start + timedelta(seconds=5), 1),
            StatusChange(start + timedelta(seconds=30), 2),
        )
        assert message.modified == start + timedelta(seconds=30)

    def test_a_scheduled_message_waits(self, desk_of: Any) -> None:
        emulator = Emulator(clock=Clock(NOON))
        desk = desk_of(emulator)
        row = desk.one(send_datetime="2026-01-31 13:00:00")
        assert (row["status"], row["send_datetime"]) == (3, "2026-01-31 13:00:00")
        emulator.clock.advance(minutes=59)
        assert desk.status(row["server_id"]) == 3
        emulator.clock.advance(minutes=1)
        assert desk.status(row["server_id"]) == 0
        emulator.clock.advance(minutes=1)
        assert [change.status for change in emulator.messages[0].history] == [3, 0, 1, 2]

    def test_a_unix_stamp_schedules_too(self, desk_of: Any) -> None:
        row = desk_of(Emulator(clock=Clock(NOON))).one(send_datetime=str(int(NOON.timestamp()) + 60))
        assert (row["status"], row["send_datetime"]) == (3, "2026-01-31 12:01:00")

    def test_a_time_that_is_past_is_now(self, desk_of: Any) -> None:
        assert desk_of(Emulator(clock=Clock(NOON))).one(send_datetime="2020-01-01 00:00:00")["status"] == 0

    def test_what_is_not_delivered_within_its_ttl_expires(self, desk_of: Any) -> None:
        emulator = Emulator(delivery=timedelta(minutes=10))
        desk = desk_of(emulator)
        rows = desk.send(*({"to": PHONE, "text": str(ttl), "ttl": ttl} for ttl in (9, 10)))["send"]
        emulator.clock.advance(minutes=8, seconds=59)
        assert [desk.status(row["server_id"]) for row in rows] == [1, 1]
        emulator.clock.advance(seconds=1)
        assert [desk.status(row["server_id"]) for row in rows] == [-1, 1]
        emulator.clock.advance(minutes=1)
        expired, delivered = emulator.messages
        assert expired.history[1:] == (
            StatusChange(expired.accepted_at + timedelta(seconds=5), 1),
            StatusChange(expired.accepted_at + timedelta(minutes=9), -1, 600),
        )
        assert (delivered.status, delivered.error) == (2, 0)

    def test_what_no_operator_has_answered_for_a_day_expires(self, desk_of: Any) -> None:
        emulator = Emulator(delivery=timedelta(days=30))
        desk = desk_of(emulator)
        server_id = desk.one()["server_id"]
        emulator.clock.advance(days=1, seconds=4)
        assert desk.status(server_id) == 1
        emulator.clock.advance(seconds=1)
        assert (emulator.messages[0].status, emulator.messages[0].error) == (-1, 600)

    def test_what_no_operator_gets_in_time_expires_without_having_been_there(self, desk_of: Any) -> None:
        emulator = Emulator(handover=timedelta(minutes=2), delivery=timedelta(minutes=3))
        desk_of(emulator).one(ttl=1)
        emulator.clock.advance(hours=1)
        assert [(change.status, change.error) for change in emulator.messages[0].history] == [(0, 0), (-1, 600)]

    def test_a_scheduled_message_lives_from_when_it_goes_out(self, desk_of: Any) -> None:
        emulator = Emulator(clock=Clock(NOON), delivery=timedelta(minutes=5))
        desk_of(emulator).one(send_datetime="2026-01-31 13:00:00", ttl=2)
        emulator.clock.advance(hours=2)
        assert emulator.messages[0].history[-1] == StatusChange(NOON + timedelta(hours=1, minutes=2), -1, 600)

    def test_a_failure_after_the_end_of_its_life_is_an_expiry(self, desk_of: Any) -> None:
        emulator = Emulator(delivery=timedelta(minutes=2))
        emulator.fail_delivery(code=603)
        desk_of(emulator).one(ttl=1)
        emulator.clock.advance(minutes=5)
        assert emulator.messages[0].error == 600

    def test_a_seeded_share_fails(self, desk_of: Any) -> None:
        def run() -> list[tuple[int, int]]:
            emulator = Emulator(seed=5, undelivered=0.3)
            desk_of(emulator).send(*({"to": PHONE, "text": str(number)} for number in range(200)))
            emulator.clock.advance(minutes=1)
            return [(message.status, message.error) for message in emulator.messages]

        first = run()
        assert first == run()
        assert set(first) == {(2, 0), (-1, 600), (-1, 601), (-1, 602), (-1, 603)}
        assert 30 < sum(status == -1 for status, _ in first) < 90

    def test_a_failure_can_be_ordered(self, emulator: Emulator, desk: Any) -> None:
        emulator.fail_delivery(to=PHONE, code=603)
        desk.send({"to": PHONE, "text": "x"}, {"to": "79087964782", "text": "x"})
        emulator.clock.advance(minutes=1)
        assert [(message.status, message.error) for message in emulator.messages] == [(-1, 603), (2, 0)]

    def test_a_status_can_be_set_by_hand_until_it_is_final(self, emulator: Emulator, desk: Any) -> None:
        server_id = desk.one()["server_id"]
        emulator.set_status(server_id, -1, 600)
        emulator.clock.advance(minutes=1)
        assert (emulator.messages[0].status, emulator.messages[0].error) == (-1, 600)

    def test_a_status_is_set_of_a_message_that_goes_somewhere_and_of_no_other(
        self, emulator: Emulator, desk: Any
    ) -> None:
        with pytest.raises(KeyError, match="there is no message 1"):
            emulator.set_status("1", 2)
        server_id = desk.send({"to": PHONE, "text": "x"}, test=1)["send"][0]["server_id"]
        with pytest.raises(KeyError, match="a test message: it is not delivered, and its status does not change"):
            emulator.set_status(server_id, 2)

    def test_a_held_record_does_not_change(self, emulator: Emulator, desk: Any) -> None:
        desk.one()
        (before,) = emulator.messages
        emulator.clock.advance(minutes=1)
        assert (before.status, emulator.messages[0].status) == (0, 2)


class TestCheck:
    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"check": []}, "303"),
            ({"check": ["100000001"]}, "303"),
            ({"check": {}}, "303"),
            ({"check": {"server_id": "100000001"}}, "303"),
            ({"check": "100000001"}, "303"),
            ({"check": "true"}, "303"),
            ({"check": ""}, "303"),
            ({"check": 100000001}, "303"),
            ({"check": "5001", "server_packet_id": "5001"}, "303"),
            ({"check": [{}]}, "300"),
            ({"check": [{"server_id": ""}]}, "300"),
            ({"check": True}, "300"),
            ({"check": [{"server_id": "x"}]}, "301"),
            ({"check": [{"server_id": "7"}]}, "302"),
            ({"check": True, "server_packet_id": "7"}, "304"),
            ({"check": True, "server_packet_id": "x"}, "304"),
            ({"check": [{"server_id": 100000001}]}, None),
            ({"check": True, "server_packet_id": 5001}, None),
            ({"check": 1, "server_packet_id": "5001"}, None),
        ],
    )
    def test_a_request_is_judged(self, fields: dict[str, Any], code: str | None, desk: Any) -> None:
        desk.one()
        assert desk.code(**fields) == code

    def test_xml_without_ids_is_refused(self, desk: Any) -> None:
        assert desk.xml("<check KEY/>").findtext("code") == "303"
        assert desk.xml("<check KEY><message server_id='1'/></check>").findtext("code") == "303"

    def test_a_packet_answers_its_accepted_messages(self, desk: Any) -> None:
        answer = desk.send({"to": PHONE, "text": "a", "id": 5}, {"to": "x", "text": "b"}, {"to": PHONE, "text": "c"})
        rows = desk.json(check=True, server_packet_id=answer["server_packet_id"])["check"]
        assert [(row["id"], row["server_id"]) for row in rows] == [(5, "100000001"), (0, "100000002")]

    def test_a_packet_of_only_refused_ones_is_none(self, desk: Any) -> None:
        answer = desk.send({"to": "x", "text": "b"})
        assert desk.code(check=True, server_packet_id=answer["server_packet_id"]) == "304"

    def test_an_unknown_id_among_known_ones_is_a_row(self, emulator: Emulator, desk: Any) -> None:
        asked = [{"server_id": desk.one()["server_id"]}, {"server_id": "7"}]
        assert [row["status"] for row in desk.json(check=asked)["check"]] == [0, -2]
        emulator.unknowns.missing_id_refuses_check = True
        assert desk.code(check=asked) == "302"

    def test_messages_are_forgotten_after_forty_days(self, emulator: Emulator, desk: Any) -> None:
        answer = desk.send({"to": PHONE, "text": "x"})
        emulator.clock.advance(days=40)
        assert desk.status(answer["send"][0]["server_id"]) == 2
        emulator.clock.advance(seconds=1)
        assert desk.code(check=[{"server_id": answer["send"][0]["server_id"]}]) == "302"
        assert desk.code(check=True, server_packet_id=answer["server_packet_id"]) == "304"
        assert len(emulator.messages) == 1


class TestTestPackets:
    def ask_test_key(self, desk: Any) -> Callable[..., Any]:
        return lambda **fields: desk.json(**{"apikey": TEST_KEY, **fields})

    def test_the_test_key_sends_and_stores_nothing(self, emulator: Emulator, desk: Any) -> None:
        ask = self.ask_test_key(desk)
        before = ask(balance="rur")
        answer = ask(send=[{"to": PHONE, "text": str(number), "id": number} for number in range(1, 11)])
        assert {row["status"] for row in answer["send"]} == {0}
        checked = ask(check=True, server_packet_id=answer["server_packet_id"])["check"]
        assert {row["id"] for row in checked} == {0}
        assert {row["status"] for row in checked} == {-1, 0, 1, 2}
        assert ask(check=[{"server_id": "123456"}])["check"][0]["id"] == 0
        assert ask(balance="rur") == before
        assert emulator.messages == ()
        assert len(emulator.test_messages) == 10

    @pytest.mark.parametrize("flag", [1, "1", True])
    def test_a_test_packet_goes_nowhere(self, flag: Any, emulator: Emulator, desk: Any) -> None:
        row = desk.send({"to": PHONE, "text": "x", "id": 4}, test=flag)["send"][0]
        assert (row["status"], row["id"]) == (0, 4)
        assert desk.json(check=[{"server_id": row["server_id"]}])["check"][0]["id"] == 0
        assert emulator.messages == ()
        assert emulator.test_messages[0].test
        assert emulator.account.balance == emulator.account.opening_balance

    def test_a_test_is_no_loop(self, desk: Any) -> None:
        errors = [desk.send({"to": PHONE, "text": "x"}, test=test)["send"][0]["error"] for test in (1, 1, 0)]
        assert errors == [0, 0, 0]


class TestBalanceAndInfo:
    @pytest.mark.parametrize(("unit", "balance"), [("rur", 405.6), ("sms", 324), (True, 324), ("other", 405.6)])
    def test_the_balance_in_roubles_or_messages(self, unit: Any, balance: float, emulator: Emulator, desk: Any) -> None:
        emulator.account.balance = Decimal("405.60")
        assert float(desk.json(balance=unit)["balance"]) == balance

    def test_where_nothing_costs_anything_no_messages_are_left(self, emulator: Emulator, desk: Any) -> None:
        emulator.account.price = Decimal(0)
        assert desk.json(balance="sms") == {"balance": 0}

    def test_info_shows_the_account(self, desk_of: Any) -> None:
        account = Account(senders=["A-1", "B.2"], default_sender="B.2", any_sender=False, name="Иван")
        assert desk_of(Emulator(account=account)).json(info=True) == {
            "info": {
                "id": 1,
                "tariff_id": 1,
                "email": "dev@example.com",
                "phone": "79087964781",
                "balance": Decimal("1000000.00"),
                "date": "2012-01-21 07:25",
                "senders": "A-1,B.2",
                "default_sender": "B.2",
                "any_sender": 0,
                "name": "Иван",
            }
        }


class TestInbound:
    def ids(self, answer: Any) -> list[int]:
        return [row["id"] for row in answer["inbound"]]

    def test_it_shows_moscow_time_to_the_minute(self, desk_of: Any) -> None:
        emulator = Emulator(clock=Clock(NOON + timedelta(seconds=42)))
        emulator.inbound(PHONE, " STOP\r\n", num="79020000000")
        assert desk_of(emulator).json(inbound=True)["inbound"] == [
            {
                "id": 1,
                "phone": PHONE,
                "num": "79020000000",
                "text": " STOP\r\n",
                "created": "2026-01-31 15:00",
                "seen": 0,
            }
        ]

    def test_new_ones_are_new_once(self, emulator: Emulator, desk: Any) -> None:
        emulator.inbound(PHONE, "1")
        assert self.ids(desk.json(inbound=True, since="new")) == [1]
        emulator.inbound(PHONE, "2")
        assert self.ids(desk.json(inbound=True, since="new")) == [2]
        assert self.ids(desk.json(inbound=True, since="new")) == []
        assert all(sms.seen for sms in emulator.inbound_messages)

    def test_a_dated_answer_marks_them_too(self, emulator: Emulator, desk: Any) -> None:
        emulator.inbound(PHONE, "1")
        assert [row["seen"] for row in desk.json(inbound=True)["inbound"]] == [0]
        assert [row["seen"] for row in desk.json(inbound=True)["inbound"]] == [1]
        assert self.ids(desk.json(inbound=True, since="new")) == []

    def test_since_is_gmt(self, desk_of: Any) -> None:
        emulator = Emulator(clock=Clock(NOON))
        for text in "123":
            emulator.inbound(PHONE, text)
            emulator.clock.advance(minutes=10)
        desk = desk_of(emulator)
        assert self.ids(desk.json(inbound=True, since="2026-01-31 12:10:00")) == [2, 3]
        assert self.ids(desk.json(inbound=True, since="2026-01-31 12:10:01")) == [3]
        answer = desk.xml('<inbound KEY since="2026-01-31 12:20:00"/>')
        assert [sms.get("id") for sms in answer] == ["3"]

    @pytest.mark.parametrize("since", ["yesterday", "2026-01-31", "2026-01-31 12:10", "2026-13-01 00:00:00", 5])
    def test_a_malformed_since_is_refused(self, since: Any, desk: Any) -> None:
        assert desk.code(inbound=True, since=since) == "500"

    def test_they_are_forgotten_after_forty_days(self, emulator: Emulator, desk: Any) -> None:
        emulator.inbound(PHONE, "1")
        emulator.clock.advance(days=41)
        assert self.ids(desk.json(inbound=True)) == self.ids(desk.json(inbound=True, since="new")) == []

    def test_each_account_has_its_own(self, emulator: Emulator, desk: Any) -> None:
        other = emulator.add_account()
        emulator.inbound(PHONE, "1")
        emulator.inbound(PHONE, "2", account=other)
        assert self.ids(desk.json(inbound=True)) == [1]
        assert self.ids(desk.json(inbound=True, apikey=other.api_key)) == [2]
        assert [sms.id for sms in emulator.inbound_messages] == [1, 2]
