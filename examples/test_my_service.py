"""Tests of a service that sends SMS, to be copied: the fixture ``smspilot_emulator`` is a whole gateway, on a socket.

They need ``pip install 'smspilot-async[emulator]' pytest pytest-asyncio``; with anyio's plugin for pytest, write
``pytest.mark.anyio`` instead. Nothing in it sleeps, and nothing leaves the machine.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from smspilot_async import Client, GatewayError, OutcomeUnknown
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

PHONE = "79087964781"

pytestmark = pytest.mark.asyncio


# --- the service: in your project it is imported ------------------------------------------------------


async def send_code(client: Client, phone: str, code: int) -> str:
    """Send a code; return what to show to the person who waits for it."""
    try:
        sent = await client.send(phone, f"Ваш код {code}")
    except OutcomeUnknown:
        return "wait"  # it may be on its way: a second one might confuse, and costs
    except GatewayError:
        return "refused"
    return str(sent.server_id)


async def is_delivered(client: Client, server_id: str) -> bool:
    """Return whether the code has arrived."""
    [status] = await client.check(server_id)
    return status.delivered


async def unsubscribed(client: Client) -> list[str]:
    """Return the phones that have sent STOP since the last call."""
    return [sms.phone for sms in await client.inbound("new") if sms.phone and sms.text == "STOP"]


async def statuses(inbox: CallbackInbox, number: int) -> list[int | None]:
    """Return what the next callbacks say."""
    return [(await anext(inbox)).status for _ in range(number)]


# --- its tests ----------------------------------------------------------------------------------------


async def test_the_code_goes_out(smspilot_emulator: Emulator) -> None:
    async with Client() as client:  # the fixture has set its address and key
        await send_code(client, "+7 908 796-47-81", 1234)
    [message] = smspilot_emulator.messages
    assert (message.to, message.text) == (PHONE, "Ваш код 1234")


async def test_a_lost_answer_sends_no_second_code(smspilot_emulator: Emulator) -> None:
    smspilot_emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with Client() as client:
        assert await send_code(client, PHONE, 1234) == "wait"
    assert len(smspilot_emulator.messages) == 1


async def test_an_empty_account_is_reported(smspilot_emulator: Emulator) -> None:
    smspilot_emulator.refuse(code=112)
    async with Client() as client:
        assert await send_code(client, PHONE, 1234) == "refused"
    assert smspilot_emulator.messages == ()


async def test_the_code_arrives_after_a_while(smspilot_emulator: Emulator) -> None:
    async with Client() as client:
        server_id = await send_code(client, PHONE, 1234)
        assert not await is_delivered(client, server_id)
        smspilot_emulator.clock.advance(minutes=2)
        assert await is_delivered(client, server_id)


async def test_the_status_arrives_by_callback(smspilot_emulator: Emulator) -> None:
    inbox = CallbackInbox("https://app.example/smspilot", secret=secrets.token_hex())
    smspilot_emulator.callbacks_to = callback_app(inbox)  # your whole FastAPI application will do as well
    async with inbox, Client(callbacks=inbox) as client:
        await send_code(client, PHONE, 1234)
        smspilot_emulator.clock.advance(minutes=2)
        await smspilot_emulator.settled()  # the gateway calls the application
        assert await statuses(inbox, 2) == [1, 2]


async def test_a_phone_that_sends_stop_is_unsubscribed(smspilot_emulator: Emulator) -> None:
    smspilot_emulator.inbound(PHONE, "STOP")
    async with Client() as client:
        assert await unsubscribed(client) == [PHONE]
        assert await unsubscribed(client) == []
