from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle

from smspilot_async import (
    AuthenticationError,
    Client,
    ClientClosed,
    InvalidMessage,
    Message,
    NotFound,
    Packet,
    PacketCheck,
    Retry,
    Unanswered,
)
from smspilot_async.emulator import Fault
from smspilot_async.wire import CheckPacket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from tracking_desk import Desk

    from smspilot_async import PacketChecks
    from smspilot_async.emulator import Emulator


async def packets_of(client: Client, count: int, size: int = 1) -> list[Packet]:
    """Send packets, a few at a time."""

    async def send(number: int) -> Packet:
        return await client.send_packet([Message("79087964781", f"{number}-{n}") for n in range(size)])

    return await asyncio.gather(*map(send, range(count)))


async def all_of(checks: PacketChecks) -> list[PacketCheck]:
    async with checks:
        return [check async for check in checks]


class Meter:
    """Stands in for the client's way of asking, and sees how many ask at once."""

    def __init__(self) -> None:
        self.at_work = self.most = self.count = 0

    async def __call__(self, command: Any, until: float | None = None, *, deadline: float) -> Any:
        assert isinstance(command, CheckPacket)
        assert (until, deadline) == (None, 25.0)
        self.count += 1
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0)
        self.at_work -= 1
        return []


# --- over a socket -------------------------------------------------------------------------------


async def test_a_thousand_packets_over_few_connections(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport) as client:
        sent = await packets_of(client, 1000, size=2)
    emulator.clock.advance(minutes=1)
    connections = emulator.unknowns.connections_per_key = 20
    async with Client(emulator.api_key, url=emulator.url, max_connections=connections) as client:
        checks = await all_of(client.check_packets(packet for packet in sent))

    assert {check.server_packet_id for check in checks} == {packet.server_packet_id for packet in sent}
    assert [check.error for check in checks if check.error] == []
    told = {(status.server_id, status.status) for check in checks for status in check.statuses}
    assert told == {(message.server_id, message.status) for message in emulator.messages}
    assert len(told) == 2000


async def test_a_failing_packet_is_an_item_among_good_ones(client: Client, emulator: Emulator) -> None:
    sent = await packets_of(client, 9)
    numbers = sorted(packet.server_packet_id or "" for packet in sent)
    checks = await all_of(client.check_packets([*numbers[:4], "999", *numbers[4:]]))

    failed = [check for check in checks if check.error is not None]
    assert [(check.server_packet_id, check.statuses) for check in failed] == [("999", ())]
    assert isinstance(failed[0].error, NotFound)
    assert sorted(check.server_packet_id or "" for check in checks if check.error is None) == numbers
    assert len(emulator.messages) == 9


async def test_a_packet_whose_answer_is_lost_is_an_item_too(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, max_connections=3, retry=Retry(attempts=1)) as client:
        sent = await packets_of(client, 3)
        emulator.fail_next("check", Fault.ACCEPT_THEN_HTML)
        checks = await all_of(client.check_packets(sent))

    assert [type(check.error).__name__ for check in checks] == ["Unanswered", "NoneType", "NoneType"]
    assert isinstance(checks[0].error, Unanswered)


async def test_a_send_does_not_wait_behind_checks(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, max_connections=4) as client:
        sent = await packets_of(client, 2)
        emulator.fail_next("check", Fault.SLOW, times=4)
        async with client.check_packets([*sent, *sent]), client.check_packets([*sent, *sent]):
            await idle()
            await asyncio.wait_for(client.send("79087964781", "1234"), 5)
        emulator.release()


async def test_leaving_early_over_a_socket_frees_the_connections(client: Client, emulator: Emulator) -> None:
    sent = await packets_of(client, 50)
    async with client.check_packets(sent) as checks:
        async for _ in checks:
            break
    assert len(await all_of(client.check_packets(sent))) == 50
    assert len(emulator.messages) == 50


# --- bounds --------------------------------------------------------------------------------------


async def test_ten_thousand_queued_ids(desk: Desk) -> None:
    desk.line.answer = lambda _: {"check": [{"server_id": "1", "status": 2}]}
    async with desk.client.check_packets(range(1, 10_001)) as checks:
        count = 0
        async for check in checks:
            assert check.error is None
            count += 1
    assert count == 10_000


@pytest.mark.parametrize(
    ("connections", "wanted", "most"), [(20, None, 18), (20, 5, 5), (20, 50, 18), (3, None, 1), (1, None, 1), (2, 9, 1)]
)
async def test_two_connections_are_kept_free(connections: int, wanted: int | None, most: int) -> None:
    client, meter = Client("K", max_connections=connections), Meter()
    client._ask_in_background = meter  # type: ignore[method-assign, assignment]
    assert len(await all_of(client.check_packets(range(1, 200), in_flight=wanted))) == 199
    assert meter.most == most


async def test_ids_are_read_as_they_are_needed(desk: Desk) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1, 10_000):
            read.append(number)
            yield number

    desk.emulator.fail_next("check", Fault.SLOW, times=100)
    async with desk.client.check_packets(numbers(), in_flight=7):
        await idle()
        assert read == [1, 2, 3, 4, 5, 6, 7]
    desk.emulator.release()


async def test_a_deadline_of_each_check(desk: Desk) -> None:
    desk.emulator.fail_next("check", Fault.SLOW, times=3)
    task = asyncio.ensure_future(all_of(desk.client.check_packets([1, 2, 3], deadline=2, in_flight=1)))
    await desk.clock.advance(5.9)
    assert not task.done()
    await desk.clock.advance(0.2)
    assert [type(check.error) for check in await task] == [Unanswered] * 3
    desk.emulator.release()


@pytest.mark.parametrize("wrong", [{"in_flight": 0}, {"in_flight": -1}, {"in_flight": 1.5}, {"deadline": 0}])
def test_bounds_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Client("K").check_packets([1], **wrong)


# --- sources -------------------------------------------------------------------------------------


async def _slowly(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


async def test_any_source_of_packets_and_ids(desk: Desk) -> None:
    packet = await desk.packet(2)
    number = packet.server_packet_id
    assert number is not None
    for source in (number, int(number), packet, [packet], (int(number),), iter([number]), _slowly([packet])):
        checks = await all_of(desk.client.check_packets(source))
        assert [(check.server_packet_id, len(check.statuses)) for check in checks] == [(number, 2)]


async def test_what_is_no_id_is_an_item_with_its_error(desk: Desk) -> None:
    packet = await desk.packet(1)
    given = ["не номер", Packet(messages=()), packet, None, {"a": 1}]
    checks = await all_of(desk.client.check_packets(given, in_flight=1))  # type: ignore[arg-type]

    assert [check.server_packet_id for check in checks] == ["не номер", None, packet.server_packet_id, None, None]
    assert [isinstance(check.error, InvalidMessage) for check in checks] == [True, True, False, True, True]


async def test_a_failing_source_comes_after_the_results_before_it(desk: Desk) -> None:
    packet = await desk.packet(1)

    async def broken() -> AsyncIterator[Packet]:
        yield packet
        yield packet
        raise OSError("disk")

    got = []
    with pytest.raises(OSError, match="disk"):  # noqa: PT012
        async with desk.client.check_packets(broken()) as checks:
            async for check in checks:
                got.append(check.error)  # noqa: PERF401
    assert got == [None, None]


# --- errors and ends -----------------------------------------------------------------------------


async def test_an_error_of_the_account_is_delivered_with_each_packet(desk: Desk) -> None:
    client = Client("X" * 64, url=desk.emulator.url, transport=desk.emulator.transport)
    async with client:
        checks = await all_of(client.check_packets([1, 2, 3]))
    assert [type(check.error) for check in checks] == [AuthenticationError] * 3


async def test_a_closed_client_is_an_error_of_each_packet(desk: Desk) -> None:
    await desk.client.aclose()
    checks = await all_of(desk.client.check_packets([1, 2]))
    assert [type(check.error) for check in checks] == [ClientClosed] * 2


async def test_cancelling_the_body_ends_the_checks(desk: Desk) -> None:
    desk.emulator.fail_next("check", Fault.SLOW, times=100)
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(all_of(desk.client.check_packets(range(1, 1000))))
    await idle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    desk.emulator.release()


async def test_a_failing_packet_leaves_the_bodys_own_awaits_alone(desk: Desk) -> None:
    async with desk.client.check_packets(["999"] * 5) as checks:
        await idle()  # all of them fail in the meantime
        await asyncio.sleep(0)
        assert len([check async for check in checks]) == 5


def test_a_check_shows_how_many_statuses_it_has_and_compares_by_them() -> None:
    assert repr(PacketCheck("5")) == "PacketCheck(server_packet_id='5', statuses=(0), error=None)"
    assert PacketCheck("5") == PacketCheck("5")
