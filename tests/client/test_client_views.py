"""Views of a client, with options of their own: they share all that it has, and change nothing of it."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT, begun, failure_of

from smspilot_async import Client, ClientClosed, ConnectionFailed, Hooks, InvalidMessage, Message
from smspilot_async.emulator import Account, Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from listeners import Listener


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    account = Account(senders=("SHOP", "CLINIC", "SMSPILOT"), any_sender=True)
    async with Emulator.serve(port=0, loop_protection=None, seed=1, account=account) as emulator:
        yield emulator


SENDS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "send": lambda client: client.send(PHONE, TEXT),
    "send_message": lambda client: client.send_message(Message(PHONE, TEXT)),
    "send_packet": lambda client: client.send_packet([(PHONE, TEXT)]),
    "bulk": lambda client: all_of(client, [(PHONE, TEXT)]),
}


async def all_of(client: Client, items: list[tuple[str, str]]) -> None:
    async with client.bulk(items) as run:
        assert [result.item async for result in run] == items


@pytest.mark.parametrize("send", SENDS)
async def test_every_send_of_a_view_in_test_mode_is_a_test_and_none_of_its_client(
    emulator: Emulator, client: Client, send: str
) -> None:
    view = client.with_options(test=True)

    await SENDS[send](view)
    assert (len(emulator.test_messages), len(emulator.messages)) == (1, 0)
    await SENDS[send](client)
    assert (len(emulator.test_messages), len(emulator.messages)) == (1, 1)
    assert (view.is_test, client.is_test) == (True, False)


async def test_test_mode_cannot_be_switched_off_by_a_view(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Client(emulator.api_key, url=emulator.url, test=True) as client:
        await client.with_options(test=False).send(PHONE, "1")
        await client.with_options(test=True).with_options(sender="SHOP").send(PHONE, "2")
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    async with Client(emulator.api_key, url=emulator.url) as client:
        await client.with_options(test=False).send(PHONE, "3")

    assert (len(emulator.test_messages), len(emulator.messages)) == (3, 0)


async def test_a_test_message_never_shares_a_packet_with_a_live_one(emulator: Emulator, client: Client) -> None:
    view = client.with_options(test=True)

    tests = [view.send(PHONE, f"test {number}") for number in range(5)]
    live = [client.send(PHONE, f"live {number}") for number in range(5)]
    answers = await asyncio.gather(*(one for pair in zip(tests, live, strict=True) for one in pair))

    assert {message.text for message in emulator.test_messages} == {f"test {number}" for number in range(5)}
    assert {message.text for message in emulator.messages} == {f"live {number}" for number in range(5)}
    assert len({answer.server_packet_id for answer in answers[::2]}) == 1
    assert len({answer.server_packet_id for answer in answers}) == 2


@pytest.mark.parametrize("send", SENDS)
async def test_a_views_sender_is_for_its_messages_that_name_none(emulator: Emulator, client: Client, send: str) -> None:
    await SENDS[send](client.with_options(sender="SHOP"))
    await SENDS[send](client)
    await client.with_options(sender="SHOP").send(PHONE, TEXT, sender="CLINIC")

    assert [message.sender for message in emulator.messages] == ["SHOP", "SMSPILOT", "CLINIC"]


async def test_messages_of_several_views_share_a_packet_each_under_its_own_sender(
    emulator: Emulator, client: Client
) -> None:
    shop, clinic = client.with_options(sender="SHOP"), client.with_options(sender="CLINIC")

    answers = await asyncio.gather(
        shop.send(PHONE, "shop"), clinic.send(OTHER_PHONE, "clinic"), client.send(PHONE, "neither")
    )

    assert len({answer.server_packet_id for answer in answers}) == 1
    assert {message.text: message.sender for message in emulator.messages} == {
        "shop": "SHOP",
        "clinic": "CLINIC",
        "neither": "SMSPILOT",
    }


async def test_a_message_of_a_view_keeps_its_sender_when_it_is_sent_again(emulator: Emulator) -> None:
    emulator.fail_next("send", Fault.BUSY)
    async with Client(emulator.api_key, url=emulator.url, wire="xml") as client:
        await client.with_options(sender="SHOP").send(PHONE, TEXT)

    assert [message.sender for message in emulator.messages] == ["SHOP"]


async def test_the_price_is_asked_under_the_views_sender(emulator: Emulator, client: Client) -> None:
    emulator.account.any_sender = False
    assert await client.with_options(sender="SHOP").cost([(PHONE, TEXT)]) > 0
    refused = await failure_of(client.with_options(sender="OTHER").cost([(PHONE, TEXT)]))
    assert "sender" in str(refused).lower()


async def test_hooks_get_the_very_object_that_was_sent_by_a_view(
    emulator: Emulator, client: Client, listener: Listener
) -> None:
    message = Message(PHONE, TEXT)
    await client.with_options(sender="SHOP").send_message(message)

    (result,) = await listener.heard()
    assert result.item is message
    assert emulator.messages[0].sender == "SHOP"


async def test_a_views_deadline_is_for_each_of_its_calls(manual_clock: ManualClock, emulator: Emulator) -> None:
    emulator.fail_next("send", Fault.SLOW)
    async with Client(emulator.api_key, url=emulator.url, max_connections=1) as client:
        busy = await begun(client.send(PHONE, TEXT))
        await emulator.wait_for(to=PHONE)
        view = client.with_options(deadline=2)
        calls = [await begun(failure_of(call)) for call in (view.send(PHONE, TEXT), view.balance(), view.check("1"))]
        longer = await begun(view.balance(deadline=10))

        await manual_clock.advance(2)
        assert {type(call.result()) for call in calls} == {ConnectionFailed}
        assert not longer.done()
        emulator.release()
        await longer
        await busy


async def test_a_hook_has_as_long_to_allow_a_message_as_the_views_deadline(manual_clock: ManualClock) -> None:
    class Slow(Hooks):
        async def veto(self, message: Message) -> None:
            del message
            await manual_clock.sleep(40)

    emulator = Emulator(seed=1)
    async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport, hooks=[Slow()]) as client:
        view = client.with_options(deadline=60)
        sent, packet = await manual_clock.drive(_both(view))

    assert sent.accepted
    assert len(packet.accepted) == 1


async def _both(view: Client) -> tuple[Any, Any]:
    return await asyncio.gather(view.send(PHONE, "1"), view.send_packet([(PHONE, "2")]))


@pytest.mark.parametrize("wrong", [{"deadline": 0}, {"deadline": "1"}, {"sender": "no such sender name"}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, InvalidMessage)):
        Client("KEY").with_options(**wrong)


# --- its life ------------------------------------------------------------------------------------


async def test_closing_a_view_closes_nothing_and_closing_the_client_closes_its_views(
    emulator: Emulator, client: Client
) -> None:
    async with client.with_options(test=True) as view:
        await view.send(PHONE, TEXT)
    await view.aclose()

    assert (await client.send(PHONE, TEXT)).accepted
    assert (await view.send(PHONE, TEXT)).accepted
    await client.aclose()
    assert isinstance(await failure_of(view.send(PHONE, TEXT)), ClientClosed)
    async with view:
        assert isinstance(await failure_of(view.balance()), ClientClosed)
    assert (len(emulator.test_messages), len(emulator.messages)) == (2, 1)


async def test_a_view_uses_its_clients_connections(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, max_connections=1) as client:
        await client.balance()
        session = client._session()

        assert client.with_options(test=True)._session() is session
        assert client.with_options(deadline=1).with_options(sender="SHOP").health() == client.health()


async def test_flushing_lets_test_messages_go_too(manual_clock: ManualClock, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, linger=10) as client:
        view = client.with_options(test=True)
        sending = [await begun(one.send(PHONE, TEXT)) for one in (client, view)]
        await idle()
        assert client.health().queued == 2

        await view.flush()

        assert all([(await one).accepted for one in sending])
    assert manual_clock.slept == []


async def test_closing_the_client_drains_test_messages_too(emulator: Emulator) -> None:
    client = Client(emulator.api_key, url=emulator.url, linger=10)
    sending = [await begun(one.send(PHONE, TEXT)) for one in (client.with_options(test=True), client)]

    await client.aclose()

    assert [(await one).accepted for one in sending] == [True, True]


async def test_closing_with_a_timeout_gives_up_test_messages_too(manual_clock: ManualClock, emulator: Emulator) -> None:
    emulator.fail_next("send", Fault.SLOW)
    client = Client(emulator.api_key, url=emulator.url, max_connections=1)
    await begun(failure_of(client.send(PHONE, TEXT)))
    await emulator.wait_for(to=PHONE)
    queued = await begun(failure_of(client.with_options(test=True).send(PHONE, TEXT)))

    closing = await begun(client.aclose(timeout=5))
    await manual_clock.advance(5)
    await closing

    assert type(await queued) is ConnectionFailed
    assert emulator.test_messages == ()


async def test_a_view_keeps_its_client_alive(emulator: Emulator) -> None:
    view = Client(emulator.api_key, url=emulator.url).with_options(deadline=5)
    gc.collect()

    assert (await view.send(PHONE, TEXT)).accepted
    await view.flush()


def test_a_view_says_what_it_is() -> None:
    client = Client("KEY")
    assert repr(client) == "<Client json over body, open>"
    assert repr(client.with_options(deadline=1)) == "<Client json over body, open, a view>"
    assert repr(client.with_options(test=True, sender="SHOP")) == "<Client json over body, open, test, a view>"
    assert repr(Client("KEY", test=True)) == "<Client json over body, open, test>"
