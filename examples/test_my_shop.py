"""Tests of an application with an outbox, to be copied: `smspilot_outbox` is a ledger and a gateway of the test's own.

They need ``pip install 'smspilot-async[outbox,emulator]' pytest pytest-asyncio``. Nothing in it sleeps: the ledger's
and the gateway's clock is one, and stands still until it is turned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from smspilot_async_pytest import LedgerOfTest

PHONE = "79087964781"

pytestmark = pytest.mark.asyncio


# --- the application: in your project it is imported --------------------------------------------------


async def confirm(order: int) -> None:
    """Enqueue the SMS about an order; in a real shop within the order's own transaction."""
    async with Outbox() as outbox:  # the fixture has set its address
        await outbox.enqueue(Message(PHONE, f"Order {order} is placed"), key=f"order-{order}")


async def send_code(code: int) -> None:
    """Enqueue a code that is worth nothing after two minutes."""
    async with Outbox() as outbox:
        await outbox.enqueue(Message(PHONE, f"Code {code}"), key=f"code-{code}", kind="code", valid_for=120)


async def outcome_of(key: str) -> Outcome | None:
    """Return what became of a message."""
    async with Outbox() as outbox:
        record = await outbox.get(key)
        return None if record is None else record.outcome


# --- its tests ----------------------------------------------------------------------------------------


async def test_an_order_is_confirmed_once(smspilot_outbox: LedgerOfTest) -> None:
    await confirm(7)
    await confirm(7)  # the request came again
    assert await outcome_of("order-7") is None  # nothing leaves before a worker sends
    sent = await smspilot_outbox.drain()
    assert sent.accepted == 1
    assert [message.text for message in smspilot_outbox.emulator.messages] == ["Order 7 is placed"]


async def test_a_code_that_is_late_is_not_sent(smspilot_outbox: LedgerOfTest) -> None:
    await send_code(1234)
    smspilot_outbox.advance(minutes=3)  # the worker was away
    await smspilot_outbox.drain()
    assert smspilot_outbox.emulator.messages == ()
    assert await outcome_of("code-1234") is Outcome.REFUSED


async def test_a_lost_answer_stays_unknown(smspilot_outbox: LedgerOfTest) -> None:
    smspilot_outbox.emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await confirm(7)
    await smspilot_outbox.drain()
    smspilot_outbox.advance(hours=1)
    await smspilot_outbox.drain()
    assert await outcome_of("order-7") is Outcome.UNKNOWN
    assert len(smspilot_outbox.emulator.messages) == 1
