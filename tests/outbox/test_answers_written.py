"""Whatever a packet holds and whatever is answered, each message is claimed and recorded with its own values."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from smspilot_async.outbox._ledger import MessageAnswer
from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledgers import Desk

TEXTS = [
    "plain",
    "quotes \"' and \\ backslashes",
    "lines\nand\ttabs\r\n",
    "\u2028\x1f\x7f",
    "💬 emoji ё",
    "[1, null]",
    "",
    "null",
]


async def numbers(desk: Desk, count: int) -> tuple[int, list[int]]:
    """Messages of a running campaign that an attempt holds, and the attempt."""
    await desk.campaign(rows=count)
    claim = await desk.claim(count)
    assert claim.attempt_id is not None
    assert len(claim.messages) == count
    return claim.attempt_id, [one.id for one in claim.messages]


def accepted(id_: int, server_id: str | None, **more: Any) -> MessageAnswer:
    return MessageAnswer(id=id_, event=Event.ACCEPTED, server_id=server_id, **more)


async def written(desk: Desk, answers: Sequence[MessageAnswer], attempt: int) -> list[tuple[Any, ...]]:
    await desk.record(attempt, *answers)
    rows = [await desk.row(one.id) for one in answers]
    assert {row.state for row in rows} == {"accepted"}
    assert not any(row.sent_twice for row in rows)
    return [(row.server_id, row.parts, row.price, row.status) for row in rows]


MIXED = [
    ("10000", 1, "1.69", 0),
    ("10001", 1, "1.69", 0),
    ("9999", 1, "1.69", 0),
    ("10002", 2, "3.38", 0),
    ("10003", 1, "1.690", 0),
    (None, 1, "1.69", 0),
    ("номер", 1, "1.69", 0),
    ("nomer", 1, "1.69", 0),
    ("a b ", None, None, None),
    (" a b", None, None, None),
    ("10004", 1, "1.69", 3),
]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1), slice(None, None, 2)])
async def test_each_message_gets_its_own_answer(desk: Desk, order: slice) -> None:
    attempt, ids = await numbers(desk, len(MIXED))
    chosen = list(zip(ids, MIXED, strict=True))[order]
    answers = [
        accepted(id_, server_id, parts=parts, price=None if price is None else Decimal(price), status=status)
        for id_, (server_id, parts, price, status) in chosen
    ]
    assert await written(desk, answers, attempt) == [
        (server_id, parts, None if price is None else Decimal(price), status)
        for _, (server_id, parts, price, status) in chosen
    ]


async def test_messages_whose_numbers_lie_far_apart_get_their_own_answers(desk: Desk) -> None:
    number = await desk.campaign(rows=1)
    stream = (await desk.execute(sa.select(desk.tables.stream.c.id)))[-1][0]
    assert number
    for id_ in (2**20, 2**33, 2**33 + 2):
        await desk.fill(stream, 1, id=id_)
    claim = await desk.claim()
    assert claim.attempt_id is not None
    answers = [accepted(one.id, f"{place}") for place, one in enumerate(claim.messages)]
    assert [row[0] for row in await written(desk, answers, claim.attempt_id)] == ["0", "1", "2", "3"]


async def test_a_packet_is_claimed_as_it_was_enqueued(desk: Desk) -> None:
    await desk.campaign()
    stream = (await desk.execute(sa.select(desk.tables.stream.c.id)))[-1][0]
    far = await desk.now() + 3_600_000_000
    some: list[dict[str, Any]] = [
        {},
        {"sender": "MYSHOP"},
        {"ttl": 5, "valid_until": far},
        {"callback": "https://example.org/a?b=\"'", "callback_method": "post", "sender": "O'Hara"},
        {"tries": 4},
    ]
    for number, text in enumerate(TEXTS):
        await desk.fill(stream, 1, text=text, **some[number % len(some)])
    claim = await desk.claim()
    names = ("id", "phone", "text", "sender", "ttl", "valid_until", "callback", "callback_method", "tries")
    assert [one.text for one in claim.messages] == TEXTS
    for one in claim.messages:
        row = await desk.row(one.id)  # the claim counts itself
        assert [getattr(one, name) for name in names] == [getattr(row, name) for name in names]


async def test_of_a_refused_packet_no_more_leave_together_than_may(desk: Desk) -> None:
    await desk.campaign(rows=3)
    stream = (await desk.execute(sa.select(desk.tables.stream.c.id)))[-1][0]
    await desk.fill(stream, 3, most=4)
    claim = await desk.claim()
    assert len(claim.messages) == 4
    assert [one.tries for one in claim.messages] == [1] * 4
    assert len((await desk.claim()).messages) == 2
    assert not (await desk.claim()).messages
