"""Every command over a real socket: in both languages, all request styles, and both type profiles of the gateway."""

from __future__ import annotations

import warnings
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from smspilot_async import Client, DuplicateMessage, ExposureWarning, Message, NotFound
from smspilot_async.emulator import TEST_KEY, Emulator
from smspilot_async.wire import RequestStyle, WireFormat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOSCOW = timezone(timedelta(hours=3))
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)

pytestmark = [
    pytest.mark.parametrize("profile", ["2.4.16", "2.6"]),
    pytest.mark.parametrize("style", get_args(RequestStyle)),
    pytest.mark.parametrize("wire", get_args(WireFormat)),
]
Profile = Literal["2.4.16", "2.6"]


@asynccontextmanager
async def gateway(
    wire: WireFormat, style: RequestStyle, profile: Profile, key: str | None = None, **settings: Any
) -> AsyncIterator[tuple[Emulator, Client]]:
    async with Emulator.serve(port=0, profile=profile, seed=1) as emulator:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExposureWarning)
            client = Client(key or emulator.api_key, url=emulator.url, wire=wire, request_style=style, **settings)
        async with client:
            yield emulator, client


async def test_a_packet_of_every_field(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    messages = [
        Message("89087964781", ' Привет, <мир> & "ты"\'\r\n\t 😀 ', sender="SMSPILOT", id=11),
        Message(
            "+7 913 143-73-55",
            "a" * 161,
            send_at=SOON.astimezone(MOSCOW),
            callback="http://127.0.0.1:9/status?a=1&b=<2>",
            callback_method="post",
            ttl=60,
        ),
        Message("+84901234567", "third"),
    ]
    async with gateway(wire, style, profile) as (emulator, client):
        packet = await client.send_packet(messages)
        kept = emulator.messages

    first, second, third = packet.messages
    assert [row.accepted for row in packet.messages] == [True, True, True]
    assert (packet.balance, packet.cost, packet.extra) == (Decimal("999995.00"), Decimal("5.00"), {})
    assert {row.server_packet_id for row in packet.messages} == {packet.server_packet_id}
    assert (first.id, first.server_id, first.sender, first.to) == (11, kept[0].server_id, "SMSPILOT", "79087964781")
    assert first.text == messages[0].text
    assert (first.parts, first.price, first.status, first.error, first.send_at) == (1, Decimal("1.25"), 0, 0, None)
    assert (first.country, first.operator, first.extra) == ("RU", "TELE2", {})
    assert (second.parts, second.price, second.status, second.send_at) == (2, Decimal("2.50"), 3, SOON)
    assert second.id
    assert (third.to, third.country) == ("84901234567", "VN")

    assert [sms.text for sms in kept] == [message.text for message in messages]
    assert [sms.to for sms in kept] == [message.to for message in messages]
    assert (kept[1].send_at, kept[1].callback, kept[1].callback_method, kept[1].ttl) == (
        SOON,
        messages[1].callback,
        "post",
        60,
    )


async def test_one_message(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile, sender="SHOP") as (emulator, client):
        sent = await client.send("79087964781", "Ваш код 1234")
        (kept,) = emulator.messages
    assert (sent.server_id, sent.id, sent.sender, kept.sender) == (kept.server_id, kept.id, "SHOP", "SHOP")
    assert sent.accepted


async def test_refused_beside_accepted(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile) as (emulator, client):
        await client.send("79087964781", "again")
        packet = await client.send_packet([Message("79087964781", "again", id=1), Message("79087964781", "new", id=2)])
        assert len(emulator.messages) == 2
    refused, accepted = packet.messages
    assert isinstance(refused.failure, DuplicateMessage)
    assert (refused.id, refused.failure.code, refused.failure.message_id, refused.status) == (1, 243, 1, -2)
    assert (accepted.id, accepted.accepted) == (2, True)


async def test_a_test_packet_goes_nowhere(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile, test=True) as (emulator, client):
        assert (await client.send("79087964781", "x")).accepted
        assert (emulator.messages, len(emulator.test_messages)) == ((), 1)


async def test_a_price(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile) as (emulator, client):
        price = await client.cost([Message("79087964781", "я" * 71), Message("79087964782", "x")])
        assert emulator.messages == ()
    assert (type(price), str(price)) == (Decimal, "3.75")


async def test_statuses_by_message_and_by_packet(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    messages = [Message("79087964781", "a", id=1), Message("79087964782", "b", id=2)]
    async with gateway(wire, style, profile) as (emulator, client):
        emulator.unknowns.modified_zone = UTC
        packet = await client.send_packet(messages)
        emulator.clock.advance(minutes=1)
        now = emulator.clock.now().astimezone(UTC)
        by_packet = await client.check_packet(packet)
        by_message = await client.check([packet.messages[1], str(packet.messages[0].server_id)])
        with pytest.raises(NotFound) as not_found:
            await client.check(["99"])
    assert [(row.id, row.server_id, row.status) for row in by_packet] == [
        (1, packet.messages[0].server_id, 2),
        (2, packet.messages[1].server_id, 2),
    ]
    assert by_message == by_packet[::-1]
    modified = by_packet[0].modified
    assert modified is not None
    assert modified.tzinfo is None
    assert abs(modified.replace(tzinfo=UTC) - now) <= timedelta(minutes=1)
    assert not_found.value.code == 302


async def test_balances(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile) as (emulator, client):
        emulator.account.balance = Decimal("405.60")
        roubles, count = await client.balance(), await client.balance_sms()
    assert (type(roubles), str(roubles)) == (Decimal, "405.60")
    assert (type(count), count) == (int, 324)


async def test_account(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile) as (emulator, client):
        emulator.account.senders = ("SHOP", "79161234567")
        info = await client.info()
    assert (info.id, info.tariff_id, info.email, info.phone) == (1, 1, "dev@example.com", "79087964781")
    assert (info.balance, info.date) == (Decimal("1000000.00"), datetime(2012, 1, 21, 7, 25))  # noqa: DTZ001
    assert (info.senders, info.default_sender, info.any_sender) == (("SHOP", "79161234567"), "SMSPILOT", True)
    assert info.name == (None if profile == "2.4.16" else "Emulated account")
    assert info.extra == {}


async def test_inbound_messages(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile) as (emulator, client):
        first = emulator.inbound("79087964781", " STOP\r\n<&> ")
        assert [sms.seen for sms in await client.inbound("new")] == [False]
        emulator.clock.advance(hours=1)
        emulator.inbound("79087964782", "Да")
        (new,) = await client.inbound("new")
        both = await client.inbound()
        late = await client.inbound(emulator.clock.now().astimezone(MOSCOW) - timedelta(minutes=1))
        none = await client.inbound("new")
    assert [sms.text for sms in both] == [" STOP\r\n<&> ", "Да"]
    assert (both[0].id, both[0].phone, both[0].num, both[0].seen) == (first.id, "79087964781", "79021121075", True)
    assert both[0].created == first.created.replace(second=0, microsecond=0)
    assert both[0].created is not None
    assert both[0].created.utcoffset() == timedelta(hours=3)
    assert (new.text, new.seen) == ("Да", False)
    assert [sms.text for sms in late] == ["Да"]
    assert none == []


async def test_the_vendors_test_key(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with gateway(wire, style, profile, key=TEST_KEY) as (emulator, client):
        sent = await client.send("79087964781", "x", id=5)
        (status,) = await client.check([sent])
        assert emulator.messages == ()
    assert (sent.id, sent.accepted) == (5, True)
    assert (status.id, status.server_id) == (0, sent.server_id)
    assert status.status in {-1, 0, 1, 2}


async def test_login_and_password(wire: WireFormat, style: RequestStyle, profile: Profile) -> None:
    async with Emulator.serve(port=0, profile=profile) as emulator:
        emulator.add_account(login="info@smspilot.ru", password="12\"<&>'Ж")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExposureWarning)
            client = Client(
                login="info@smspilot.ru",
                password="12\"<&>'Ж",
                url=emulator.url,
                wire=wire,
                request_style=style,
            )
        async with client:
            assert (await client.info()).id == 2
