"""Answers as rows that pandas and polars take, with types that can be reckoned with."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

from smspilot_async import (
    Accepted,
    Client,
    GatewayError,
    InboundMessage,
    InsufficientFunds,
    InvalidMessage,
    Message,
    MessageStatus,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Packet,
    PacketCheck,
    Reason,
    Refused,
    SentMessage,
    Unknown,
    to_dicts,
)
from smspilot_async.emulator import Fault
from smspilot_async.models import MOSCOW

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

PHONE, OTHER, TEXT = "79087964781", "79087964782", "Ваш код 4921"
UNKNOWN = OutcomeUnknown("no answer", reason=Reason.TIMEOUT, message_id=7, server_packet_id="77")
NOON = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
SENT_COLUMNS = [
    "id", "server_id", "server_packet_id", "outcome", "to", "text", "sender", "parts", "price", "status", "state",
    "error", "failure", "send_at", "country", "operator",
]  # fmt: skip
STATUS_COLUMNS = ["id", "server_id", "status", "state", "error", "modified"]


async def test_a_packet_becomes_rows_with_phones_and_texts(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=221, to=OTHER)
    packet = await client.send_packet([Message(PHONE, TEXT, id=1), Message(OTHER, TEXT, id=2)])
    [taken, refused] = packet.to_dicts()
    [message] = emulator.messages
    assert list(taken) == list(refused) == SENT_COLUMNS
    assert (taken["id"], taken["server_id"], taken["to"], taken["text"]) == (1, message.server_id, PHONE, TEXT)
    assert (taken["outcome"], taken["state"], taken["error"], taken["failure"]) == ("accepted", "accepted", 0, None)
    assert isinstance(taken["price"], Decimal)
    assert taken["price"] == message.price
    assert (refused["outcome"], refused["error"]) == ("refused", 221)
    assert refused["failure"] == str(packet.messages[1].failure)


async def test_the_results_of_a_bulk_run_become_one_row_for_each_item(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=221, to=OTHER)
    source: list[Any] = [(PHONE, TEXT), {"to": OTHER, "text": TEXT}, ("12", TEXT)]
    async with client.bulk(source) as run:
        results = [result async for result in run]
    rows = to_dicts(results)
    assert {row["to"]: (row["outcome"], row["error"]) for row in rows} == {
        PHONE: ("accepted", 0),
        OTHER: ("refused", 221),
        "12": ("refused", 215),
    }
    assert all(row["text"] == TEXT for row in rows)


async def test_what_is_unknown_says_so_and_to_whom_it_went(client: Client, emulator: Emulator) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with client.bulk([Message(PHONE, TEXT, id=5)]) as run:
        [row] = to_dicts([result async for result in run])
    assert (row["outcome"], row["id"], row["to"], row["server_id"], row["price"]) == ("unknown", 5, PHONE, None, None)
    assert "may have been sent" in row["failure"]


def test_what_an_item_says_fills_what_no_answer_said() -> None:
    later = NOON.astimezone(MOSCOW)
    items: list[Any] = [
        {"to": "8 (908) 796-47-81", "text": TEXT, "from": "ANNA", "id": "3", "send_at": later},
        Message(PHONE, TEXT, sender="ANNA", id=3, send_at=datetime.now(UTC) + timedelta(days=1)),
        (79087964781, TEXT),
    ]
    mapping, message, pair = to_dicts([NotSent(item) for item in items])
    assert {row["to"] for row in (mapping, message, pair)} == {PHONE}
    assert {row["outcome"] for row in (mapping, message, pair)} == {"not_sent"}
    assert (mapping["sender"], mapping["id"], mapping["send_at"]) == ("ANNA", 3, NOON)
    assert mapping["send_at"].tzinfo is UTC
    assert (message["sender"], message["id"], message["send_at"]) == ("ANNA", 3, items[1].send_at)
    assert (pair["id"], pair["sender"], pair["send_at"], pair["error"], pair["failure"]) == (None,) * 5


@pytest.mark.parametrize(
    "item",
    [
        None,
        "79087964781",
        (),
        (None, 5),
        {},
        {"to": None, "id": True, "send_at": "now"},
        {"send_at": NOON.replace(tzinfo=None)},
    ],
    ids=repr,
)
def test_an_item_that_makes_no_message_still_makes_a_row(item: Any) -> None:
    error = InvalidMessage("is wrong", field="to", code=111)
    [row] = to_dicts(Refused(item, error))
    assert list(row) == SENT_COLUMNS
    assert (row["to"], row["text"], row["send_at"], row["id"]) == (None,) * 4
    assert (row["outcome"], row["error"], row["failure"]) == ("refused", 111, str(error))


def test_an_error_shows_what_it_knows_of_the_message() -> None:
    [row] = to_dicts(Unknown((PHONE, TEXT), UNKNOWN))
    assert (row["id"], row["server_packet_id"], row["outcome"]) == (7, "77", "unknown")
    funds = InsufficientFunds("no money", code=112, description="No money")
    [row] = to_dicts(NotSent((PHONE, TEXT), funds))
    assert (row["outcome"], row["error"], row["failure"]) == ("not_sent", 112, str(funds))


async def test_statuses_become_rows_with_their_words(client: Client, emulator: Emulator) -> None:
    sent = await client.send(PHONE, TEXT)
    emulator.clock.advance(minutes=2)
    [row] = to_dicts(await client.check(sent))
    assert list(row) == STATUS_COLUMNS
    assert (row["server_id"], row["status"], row["state"]) == (sent.server_id, 2, "delivered")
    assert row["modified"].tzinfo is None  # the zone is not known, and no row pretends otherwise


def test_a_failed_check_is_a_row_and_not_a_gap() -> None:
    lost = PacketCheck("78", error=NotFound("no such packet", code=304, description="?"))
    rows = to_dicts([PacketCheck("77", (MessageStatus(id=1, status=1),)), lost])
    assert [list(row) for row in rows] == [["server_packet_id", *STATUS_COLUMNS, "failure"]] * 2
    assert [row["server_packet_id"] for row in rows] == ["77", "78"]
    assert [row["state"] for row in rows] == ["with the operator", None]
    assert [row["failure"] for row in rows] == [None, str(lost.error)]


def test_inbound_messages_become_rows_in_utc() -> None:
    created = datetime(2030, 1, 15, 15, 0, tzinfo=MOSCOW)
    [row] = to_dicts(InboundMessage(id=1, phone=PHONE, num="5", text="STOP", created=created, seen=True))
    assert row == {"id": 1, "phone": PHONE, "num": "5", "text": "STOP", "created": NOON, "seen": True}
    assert row["created"].tzinfo is UTC


def test_what_is_no_answer_makes_no_row() -> None:
    with pytest.raises(TypeError, match=r"not of int$"):
        to_dicts([1])  # type: ignore[list-item]


# --- data frames ---------------------------------------------------------------------------------


def answers() -> Packet:
    """A packet whose first 150 messages leave most columns empty, and have prices with fewer digits than later ones."""
    ids = itertools.count(1)
    refusal = GatewayError("refused", code=221, description="TEXT too long")
    messages = [SentMessage(id=next(ids), to=PHONE, price=Decimal("2.5"), status=0, error=0) for _ in range(150)]
    last = SentMessage(
        id=next(ids), server_id="10", to=PHONE, price=Decimal("1.68"), status=3, send_at=NOON, failure=refusal
    )
    return Packet(messages=(*messages, last))


def test_pandas_takes_them_with_times_in_utc_and_money_with_its_digits() -> None:
    frame = pd.DataFrame(answers().to_dicts())
    assert list(frame.columns) == SENT_COLUMNS
    assert str(frame["id"].dtype) == str(frame["status"].dtype) == "int64"
    assert isinstance(frame["send_at"].dtype, pd.DatetimeTZDtype)
    assert str(frame["send_at"].dtype.tz) == "UTC"
    assert str(frame["outcome"].dtype) == "str"
    assert frame["price"].sum() == Decimal("376.68")
    assert frame["outcome"].value_counts().to_dict() == {"accepted": 150, "refused": 1}


def test_polars_takes_them_with_times_in_utc_and_money_with_its_digits() -> None:
    frame = pl.DataFrame(answers().to_dicts(), infer_schema_length=None)
    types = frame.schema
    assert frame.columns == SENT_COLUMNS
    assert types["id"] == types["status"] == pl.Int64
    assert types["send_at"] == pl.Datetime("us", "UTC")
    assert types["outcome"] == types["server_id"] == types["failure"] == pl.String
    assert types["price"] == pl.Decimal(38, 2)
    assert frame["price"].sum() == Decimal("376.68")
    assert frame["price"][-1] == Decimal("1.68")
    assert frame["send_at"][-1] == NOON


def test_polars_without_that_argument_does_not_take_them() -> None:
    with pytest.raises(pl.exceptions.ComputeError, match="infer_schema_length"):
        pl.DataFrame(answers().to_dicts())


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_both_take_statuses_checks_inbound_messages_and_results(frame: Any) -> None:
    statuses = [MessageStatus(id=1, server_id="10", status=2, modified=NOON.replace(tzinfo=None))]
    many: list[Any] = [
        statuses,
        [PacketCheck("77", tuple(statuses))],
        [InboundMessage(id=1, text="STOP", created=NOON, seen=False)],
        [Accepted((PHONE, TEXT), SentMessage(id=1)), Unknown((PHONE, TEXT), UNKNOWN)],
    ]
    for one in many:
        rows = to_dicts(one)
        assert frame(rows).shape == (len(rows), len(rows[0]))


@pytest.mark.parametrize(
    "item",
    [
        {"to": PHONE, "text": "a", "send_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))},
        {"to": PHONE, "text": "a", "id": 10**5000},
        {"to": PHONE, "text": "a", "id": "9" * 5000},
        {"to": 10**5000, "text": "a"},
    ],
)
def test_an_item_beyond_all_bounds_spoils_no_other_row(item: object) -> None:
    error = InvalidMessage("is wrong", field="item", code=240)
    rows = to_dicts([Refused(item, error), Refused((PHONE, "b"), error)])
    assert [row["text"] for row in rows] == ["a", "b"]
