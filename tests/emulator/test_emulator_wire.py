"""Documents in and out, to the character and the type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async.emulator import TEST_KEY, Clock, Emulator
from smspilot_async.emulator.server._http import HttpRequest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
# What XML can carry, which is also what a message can: no control characters but white space, no surrogates.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
    | st.sampled_from("\r\n\t &<>\"'"),
    min_size=1,
    max_size=60,
)


def old(**options: Any) -> Emulator:
    return Emulator(profile="2.4.16", seed=1, clock=Clock(NOON), **options)


def new(**options: Any) -> Emulator:
    return Emulator(profile="2.6", seed=1, clock=Clock(NOON), **options)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "10"),
        (b" {}", "11"),
        (b"\xef\xbb\xbf{}", "11"),
        (b"hello", "11"),
        (b"<send/>", "11"),
        (b"[]", "11"),
        (b'{"apikey": "x"', "13"),
        (b"{'apikey': 'x'}", "13"),
        (b'{"a": NaN}', "13"),
        (b'{"a": "\xff"}', "13"),
        (b'{"a": "\\ud83d"}', "13"),
        (b'{"a": ' + b"[" * 100_000, "13"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "13"),
        (b"{}", "14"),
        (b'{"apikey": "x", "sned": []}', "14"),
        (b'{"info": false, "balance": null}', "14"),
        (b'{"a": "\\ud83d\\ude00", "info": true}', "100"),
    ],
)
def test_json_documents_are_refused(document: bytes, code: str, desk: Any) -> None:
    answer = desk.raw(document)
    assert code in answer.decode()
    if not document.startswith(b"<"):
        assert json.loads(answer)["error"]["code"] == code


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<send", "12"),
        ("<send></sms>", "12"),
        ("<send a=1/>", "12"),
        ("<send>&unknown;</send>", "12"),
        ('<!DOCTYPE send [<!ENTITY a "x">]><send>&a;</send>', "12"),
        ("<send>" + "<a>" * 30 + "</a>" * 30 + "</send>", "12"),
        ("<send>\x01</send>", "12"),
        ("", "12"),
        ("<sned/>", "14"),
        ("<info/>", "100"),
    ],
)
def test_xml_documents_are_refused(document: str, code: str, desk: Any) -> None:
    error = desk.xml(document)
    assert error.tag == "error"
    assert error.findtext("code") == code
    assert error.findtext("description")


def test_xml_in_an_unknown_encoding_is_refused(desk: Any) -> None:
    assert b"<code>12</code>" in desk.raw(b'<?xml version="1.0" encoding="no-such"?><info/>')


def test_xml_may_be_in_another_encoding(desk: Any, emulator: Emulator) -> None:
    message = f'<send apikey="{emulator.api_key}"><sms to="79087964781">Ы</sms></send>'
    desk.raw(f'<?xml version="1.0" encoding="windows-1251"?>{message}'.encode("cp1251"))
    assert emulator.messages[0].text == "Ы"


def test_extras_beside_any_command_are_tolerated(desk: Any) -> None:
    extras = {"debug": "a@example.com", "r": 51, "format": "json", "test": 0, "cost": 0, "no such": {"field": []}}
    assert desk.code(balance="rur", **extras) is None
    assert desk.code(info=True, **extras) is None
    assert desk.code(send=[{"to": 79087964781, "text": 1234, "unknown": None}], **extras) is None


SEND = {"to": "89087964781", "text": "Ура", "id": "12345"}


class TestProfiles:
    def test_2_6_answers_numbers(self, desk_of: Any) -> None:
        desk = desk_of(new())
        answer = desk.send(SEND)
        assert answer == {
            "send": [
                {
                    "id": 12345,
                    "server_id": "100000001",
                    "from": "SMSPILOT",
                    "to": "79087964781",
                    "text": "Ура",
                    "parts": 1,
                    "price": Decimal("1.25"),
                    "status": 0,
                    "error": 0,
                    "send_datetime": "",
                    "country": "RU",
                    "operator": "TELE2",
                }
            ],
            "server_packet_id": "5001",
            "balance": Decimal("999998.75"),
            "cost": Decimal("1.25"),
        }
        assert desk.json(check=True, server_packet_id=5001) == {
            "check": [{"id": 12345, "server_id": "100000001", "status": 0, "modified": "2026-01-31 15:00:00"}]
        }
        assert desk.send(SEND, cost=1) == {"cost": Decimal("1.25")}
        assert desk.json(apikey=None, info=True)["error"].keys() == {"code", "description", "description_ru"}
        assert desk.json(info=True)["info"].items() >= {"id": 1, "any_sender": 1, "name": "Emulated account"}.items()

    def test_2_6_answers_raw_utf_8_with_the_packet_first(self, desk_of: Any) -> None:
        emulator = new()
        question = {"apikey": emulator.api_key, "send": [{**SEND, "text": 'Ура "✓"\n\x7f\u2028😀'}]}
        body = desk_of(emulator).raw(json.dumps(question).encode())
        assert body.startswith(b'{"server_packet_id": "5001", "balance": 999998.75, "cost": 1.25, "send": [{"id": 1')
        assert '"text": "Ура \\"✓\\"\\n\x7f\u2028😀"'.encode() in body

    def test_2_4_16_answers_escapes_with_the_messages_first(self, desk_of: Any) -> None:
        emulator = old()
        body = desk_of(emulator).raw(json.dumps({"apikey": emulator.api_key, "send": [SEND]}).encode())
        assert body.startswith(b'{"send": [{"id": "12345", ')
        assert body.isascii()

    def test_half_a_surrogate_pair_is_escaped_in_both(self, desk_of: Any) -> None:
        for emulator in (old(), new()):
            emulator.inbound("79087964781", "Ы\ud83d")
            assert desk_of(emulator).json(inbound=True)["inbound"][0]["text"] == "Ы\ud83d"

    def test_2_4_16_repeats_the_key_of_who_asks_for_inbound_messages_and_writes_seen_with_a_space(
        self, desk_of: Any
    ) -> None:
        emulator = old()
        desk, other = desk_of(emulator), emulator.add_account()
        emulator.add_account(login="a@example.com", password="x")
        emulator.inbound("79087964781", "STOP")
        answer = desk.json(inbound=True)
        assert list(answer) == ["apikey", "inbound"]
        assert answer["apikey"] == emulator.api_key
        assert list(answer["inbound"][0]) == ["id", "phone", "num", "text", "created", "seen "]
        assert answer["inbound"][0]["seen "] == "0"
        assert desk.json(inbound=True, apikey=other.api_key) == {"apikey": other.api_key, "inbound": []}
        assert desk.json(inbound=True, apikey=None, login="a@example.com", password="x") == {"inbound": []}

    def test_2_6_repeats_no_key(self, desk_of: Any) -> None:
        emulator = new()
        emulator.inbound("79087964781", "STOP")
        answer = desk_of(emulator).json(inbound=True)
        assert list(answer) == ["inbound"]
        assert answer["inbound"][0]["seen"] == 0

    def test_2_4_16_answers_strings(self, desk_of: Any) -> None:
        desk = desk_of(old())
        answer = desk.send(SEND)
        assert answer["send"][0] == {
            "id": "12345",
            "server_id": "100000001",
            "from": "SMSPILOT",
            "to": "79087964781",
            "text": "Ура",
            "parts": "1",
            "price": "1.25",
            "status": "0",
            "error": "0",
            "send_datetime": "0000-00-00 00:00:00",
            "country": "RU",
            "operator": "TELE2",
        }
        assert (answer["server_packet_id"], answer["balance"], answer["cost"]) == ("5001", "999998.75", "1.25")
        assert desk.json(check=[{"server_id": 100000001}])["check"][0]["status"] == "0"
        assert desk.send(SEND, cost="1") == {"cost": "1.25"}
        assert desk.json(balance="rur") == {"balance": Decimal("999998.75")}
        assert desk.json(apikey=None, info=True)["error"] == {"code": "100", "description": "APIKEY is required"}
        assert "name" not in desk.json(info=True)["info"]

    def test_the_test_key_has_numbers_too(self, desk_of: Any) -> None:
        row = desk_of(new()).send(SEND, apikey=TEST_KEY)["send"][0]
        assert (row["id"], row["price"]) == (12345, Decimal("1.25"))

    def test_money_keeps_its_digits(self, desk_of: Any) -> None:
        emulator = new()
        emulator.account.balance = Decimal("20006.90")
        assert (
            desk_of(emulator).raw(json.dumps({"apikey": emulator.api_key, "balance": "rur"}).encode())
            == b'{"balance": 20006.90}'
        )

    @pytest.mark.parametrize("make", [old, new])
    def test_xml_is_the_same_in_both(self, make: Any, desk_of: Any) -> None:
        desk = desk_of(make())
        send = desk.xml('<send KEY><sms to="79087964781" id="7">Ура</sms><sms>x</sms></send>')
        assert send.attrib == {"server_packet_id": "5001", "balance": "999998.75", "cost": "1.25"}
        assert send[0].text == "Ура"
        assert send[0].attrib == {
            "id": "7",
            "server_id": "100000001",
            "from": "SMSPILOT",
            "to": "79087964781",
            "parts": "1",
            "price": "1.25",
            "status": "0",
            "error": "0",
            "send_datetime": "",
            "country": "RU",
            "operator": "TELE2",
        }
        assert (send[1].get("status"), send[1].get("error"), send[1].get("id")) == ("-2", "108", "0")
        check = desk.xml('<check KEY><sms server_id="100000001"/></check>')
        assert check[0].attrib.keys() == {"id", "server_id", "status", "modified"}
        assert len(desk.xml('<check KEY server_packet_id="5001"/>')) == 1
        assert desk.xml('<balance KEY return="rur"/>').text == "999998.75"
        assert desk.xml('<balance KEY return="sms"/>').text == "799999"
        assert desk.xml('<send KEY cost="1"><sms to="79087964781">x</sms></send>').text == "1.25"
        assert desk.xml("<info KEY/>").findtext("default_sender") == "SMSPILOT"
        assert len(desk.xml("<inbound KEY/>")) == 0
        desk.emulator.inbound("79087964781", "STOP")
        inbound = desk.xml("<inbound KEY/>")
        assert inbound.attrib == {}
        assert inbound[0].get("seen") == "0"


class TestCharacters:
    @given(text=TEXTS)
    def test_a_text_comes_back_to_the_character_in_json(self, text: str, desk_of: Any) -> None:
        emulator = new()
        answer = desk_of(emulator).send({"to": "79087964781", "text": text})
        assert emulator.messages[0].text == answer["send"][0]["text"] == text

    @given(text=TEXTS)
    def test_a_text_comes_back_to_the_character_in_xml(self, text: str, desk_of: Any) -> None:
        emulator = new()
        content = "".join(f"&#{ord(character)};" for character in text)
        answer = desk_of(emulator).xml(f'<send KEY><sms to="79087964781">{content}</sms></send>')
        assert emulator.messages[0].text == answer[0].text == text

    def test_attributes_are_escaped(self, desk: Any) -> None:
        answer = desk.xml('<send KEY><sms to="&quot;&lt;&amp;&#10;&#13;&#9;" from="x">t</sms></send>')
        assert answer[0].get("to") == '"<&\n\r\t'

    def test_what_xml_cannot_carry_is_replaced(self, emulator: Emulator, desk: Any) -> None:
        emulator.inbound("79087964781", "a\x00b\ud800c")
        assert desk.xml("<inbound KEY/>")[0].text == "a\ufffdb\ufffdc"

    @given(body=st.binary(max_size=60), start=st.sampled_from([b"", b"{", b"<?xml ", b'<?xml version="1.0"?><send>']))
    def test_any_bytes_are_answered(self, body: bytes, start: bytes) -> None:
        reply = new().exchange(HttpRequest(method="POST", body=start + body))
        assert reply.status == 200
        assert reply.body
