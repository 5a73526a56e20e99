"""Each switch for what is not known does what it says, and nothing while it is off."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import pytest

from smspilot_async import Client, MessageRefused
from smspilot_async.emulator import Clock, Emulator, Unknowns
from smspilot_async.emulator.server._http import HttpRequest

GOOD = [{"to": f"7908796478{digit}", "text": "x", "id": digit + 1} for digit in range(5)]
BAD = {"to": "x", "text": "x"}


def test_all_are_off_at_first(emulator: Emulator) -> None:
    assert emulator.unknowns == Unknowns()


def test_every_switch_is_documented() -> None:
    assert all(f"{field.name}:" in (Unknowns.__doc__ or "") for field in attrs.fields(Unknowns))


@pytest.mark.parametrize(("accepted", "code"), [(2, 241), (0, 112)])
def test_partly_accepted_then_an_error(accepted: int, code: int, emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.partly_accepted = accepted
    emulator.unknowns.partly_accepted_code = code
    assert desk.code(send=GOOD) == str(code)
    assert len(emulator.messages) == accepted
    assert emulator.account.opening_balance - emulator.account.balance == accepted * Decimal("1.25")


def test_a_packet_that_fits_is_accepted_whole(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.partly_accepted = 5
    assert desk.code(send=GOOD) is None


def test_rows_reordered(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.rows_reordered = True
    ids = [row["id"] for row in desk.send(*GOOD)["send"]]
    assert ids != [1, 2, 3, 4, 5]
    assert sorted(ids) == [1, 2, 3, 4, 5]
    assert [message.id for message in emulator.messages] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("missing", "left"), [(2, 3), (5, 0), (9, 0)])
def test_rows_missing(missing: int, left: int, emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.rows_missing = missing
    assert len(desk.send(*GOOD)["send"]) == left
    assert len(emulator.messages) == 5


def test_ids_zero(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.ids_zero = True
    answer = desk.send(*GOOD)
    assert {row["id"] for row in answer["send"]} == {0}
    checked = desk.json(check=True, server_packet_id=answer["server_packet_id"])["check"]
    assert {row["id"] for row in checked} == {0}
    assert emulator.messages[0].id == 1


def test_duplicate_phones_refused(emulator: Emulator, desk: Any) -> None:
    rows = [{"to": "79087964781", "text": text} for text in "ab"]
    assert [row["error"] for row in desk.send(*rows, test=1)["send"]] == [0, 0]
    emulator.unknowns.duplicate_phones_refused = True
    assert [row["error"] for row in desk.send(*rows)["send"]] == [0, 214]


def test_check_lag(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.check_lag = timedelta(seconds=10)
    server_id = desk.one()["server_id"]
    emulator.clock.advance(seconds=9)
    assert desk.status(server_id) == -2
    emulator.clock.advance(seconds=1)
    assert desk.status(server_id) == 1


def test_one_bad_refuses_the_packet(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.one_bad_refuses_packet = True
    assert desk.code(send=[*GOOD, BAD]) == "111"
    assert emulator.messages == ()
    assert desk.code(send=GOOD) is None


def test_all_bad_refuses_the_packet(emulator: Emulator, desk: Any) -> None:
    assert desk.code(send=[BAD]) is None
    emulator.unknowns.all_bad_refuses_packet = True
    assert desk.code(send=[BAD]) == "111"
    assert desk.code(send=[BAD, GOOD[0]]) is None


TOP = {"from": "SHOP", "ttl": 7, "callback": "http://127.0.0.1:1/top", "callback_method": "post"}


def test_fields_at_the_top_of_a_document_mean_nothing_at_first(emulator: Emulator, desk: Any) -> None:
    desk.send(GOOD[0], **TOP)
    message = emulator.messages[0]
    assert (message.sender, message.ttl, message.callback, message.callback_method) == ("SMSPILOT", None, None, "get")


def test_defaults_at_top(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.defaults_at_top = True
    own = {"from": "OWN", "ttl": 9, "callback": "http://127.0.0.1:1/own", "callback_method": "get"}
    desk.send(GOOD[0], {**GOOD[1], **own}, {**GOOD[2], "from": "", "ttl": None}, **TOP)
    assert [
        (message.sender, message.ttl, message.callback, message.callback_method) for message in emulator.messages
    ] == [
        ("SHOP", 7, "http://127.0.0.1:1/top", "post"),
        ("OWN", 9, "http://127.0.0.1:1/own", "get"),
        ("SHOP", 7, "http://127.0.0.1:1/top", "post"),
    ]


def test_defaults_at_top_are_judged_as_a_message_is(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.defaults_at_top = True
    assert [row["error"] for row in desk.send(GOOD[0], {**GOOD[1], "from": "OWN"}, **{"from": "x"})["send"]] == [115, 0]
    assert [row["error"] for row in desk.send(GOOD[2], {**GOOD[3], "ttl": 5}, ttl=0)["send"]] == [270, 0]


def test_defaults_at_top_in_xml(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.defaults_at_top = True
    desk.xml('<send KEY from="SHOP" ttl="7"><sms to="79087964781">x</sms><sms to="79087964782" ttl="8">x</sms></send>')
    assert [(message.sender, message.ttl) for message in emulator.messages] == [("SHOP", 7), ("SHOP", 8)]


@pytest.mark.parametrize("is_on", [False, True])
def test_a_test_at_the_top_is_the_whole_packets_in_any_case(is_on: bool, emulator: Emulator, desk: Any) -> None:  # noqa: FBT001
    emulator.unknowns.defaults_at_top = is_on
    desk.send(*GOOD, test=1)
    assert (len(emulator.messages), len(emulator.test_messages)) == (0, 5)


def test_trial_refuses_packet(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.trial_refuses_packet = True
    assert [row["error"] for row in desk.send(*GOOD[:3])["send"]] == [0, 0, 0]
    emulator.account.trial = True
    assert desk.code(send=[{**row, "text": "y"} for row in GOOD[:3]]) == "242"
    assert desk.code(send=GOOD, cost=1) == "242"
    assert [row["error"] for row in desk.send(*GOOD[3:])["send"]] == [0, 0]
    assert len(emulator.messages) == 5


async def test_connection_close(served: Emulator) -> None:
    question = {"apikey": served.api_key, "balance": "rur"}
    async with httpx.AsyncClient(trust_env=False) as client:
        assert "connection" not in (await client.post(served.url, json=question)).headers
        served.unknowns.connection_close = True
        assert (await client.post(served.url, json=question)).headers["connection"] == "close"
    address = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"HEAD /api2.php HTTP/1.1\r\nHost: smspilot.ru\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)  # until the other end closes it
    assert b"connection: close" in answer.lower()
    writer.close()


def test_error_status(emulator: Emulator) -> None:
    emulator.unknowns.error_status = 400
    assert emulator.exchange(HttpRequest(method="POST", body=b'{"info": true}')).status == 400


def test_max_messages(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.max_messages = 4
    assert desk.code(send=GOOD) == "240"
    assert desk.code(send=GOOD[:4]) is None


def test_max_bytes(emulator: Emulator) -> None:
    emulator.unknowns.max_bytes = 10
    reply = emulator.exchange(HttpRequest(method="POST", body=b'{"info": true}'))
    assert (reply.status, reply.content_type[:9]) == (413, "text/html")


def test_requests_per_second(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.requests_per_second = 2
    assert [desk.code(balance="rur") for _ in range(2)] == [None, None]
    reply = emulator.exchange(HttpRequest(method="POST", body=f'{{"apikey":"{emulator.api_key}","info":1}}'.encode()))
    assert (reply.status, reply.headers) == (429, (("Retry-After", "1"),))
    emulator.clock.advance(seconds=1)
    assert desk.code(balance="rur") is None


def test_messages_per_second(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.messages_per_second = 5
    emulator.unknowns.limit_answer = 110
    assert desk.code(send=GOOD, cost=1) is None
    assert desk.code(send=GOOD) is None
    assert desk.code(send=GOOD[:1]) == "110"
    assert desk.code(balance="rur") is None
    emulator.clock.advance(seconds=1)
    assert desk.code(send=[{"to": "79087964789", "text": "y"}]) is None
    assert len(emulator.messages) == 6


async def test_connections_per_key(served: Emulator) -> None:
    served.unknowns.connections_per_key = 1
    question = {"apikey": served.api_key, "balance": "rur"}
    async with httpx.AsyncClient(trust_env=False) as first, httpx.AsyncClient(trust_env=False) as second:
        statuses = [(await client.post(served.url, json=question)).status_code for client in (first, first, second)]
        assert statuses == [200, 200, 429]
    async with httpx.AsyncClient(trust_env=False) as third:
        served.drop_connections()
        assert (await third.post(served.url, json=question)).status_code == 200


@pytest.mark.parametrize(("zone", "shown"), [(None, "15:00"), (UTC, "12:00")])
def test_modified_zone(zone: Any, shown: str, desk_of: Any) -> None:
    emulator = Emulator(clock=Clock(datetime(2026, 1, 31, 12, tzinfo=UTC)))
    if zone:
        emulator.unknowns.modified_zone = zone
    desk = desk_of(emulator)
    row = desk.json(check=[{"server_id": desk.one()["server_id"]}])["check"][0]
    assert row["modified"] == f"2026-01-31 {shown}:00"


def test_https_callback_refused(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.https_callback_refused = True
    assert desk.one(callback="https://example.com/x")["error"] == 260
    assert desk.one(callback="http://example.com/x")["error"] == 0


@pytest.mark.parametrize(("pairs_split", "parts", "error"), [(False, 0, 221), (True, 10, 0)])
def test_pairs_split(pairs_split: bool, parts: int, error: int, emulator: Emulator, desk: Any) -> None:  # noqa: FBT001
    emulator.unknowns.pairs_split = pairs_split
    row = desk.one(text="€" * 765)
    assert (row["parts"], row["error"]) == (parts, error)


@pytest.mark.parametrize("pairs_split", [False, True])
async def test_the_client_lets_go_what_one_way_of_counting_allows(pairs_split: bool, emulator: Emulator) -> None:  # noqa: FBT001
    emulator.unknowns.pairs_split = pairs_split
    async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport) as client:
        if pairs_split:
            assert (await client.send("79087964781", "😀" * 335)).parts == 10
        else:
            with pytest.raises(MessageRefused) as refused:
                await client.send("79087964781", "😀" * 335)
            assert refused.value.code == 221


def test_a_reset_puts_everything_back(emulator: Emulator, desk: Any) -> None:
    emulator.unknowns.ids_zero = True
    emulator.inbound("79087964781", "x")
    desk.one()
    emulator.refuse(code=223)
    emulator.fail_next("*", "busy")
    emulator.reset()
    assert emulator.unknowns == Unknowns()
    assert emulator.messages == emulator.test_messages == ()
    assert emulator.inbound_messages == ()
    assert emulator.account.balance == emulator.account.opening_balance
    assert desk.one(id=3)["id"] == 3
