"""The engine: what becomes of each row, and what ends the sending. The gateway's record is the judge."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from smspilot_async import Accepted, Client, ConnectionFailed, InsufficientFunds, Message, OutcomeUnknown, Retry
from smspilot_async.cli.bulk._journal import JournalError
from smspilot_async.cli.bulk._recipients import Recipient
from smspilot_async.cli.bulk._sending import BulkEngine
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from manual_clock import ManualClock

    from smspilot_async.emulator import Emulator

PATIENCE = 30.0


def row(at: int) -> Recipient:
    return Recipient(at, at + 2, "79087964781", Message("79087964781", f"text {at}"))


def rows(count: int) -> list[Recipient]:
    return [row(at) for at in range(count)]


async def drain(engine: BulkEngine, recipients: Sequence[Recipient]) -> dict[str, int]:
    results = [result async for packet in engine.results(recipients) for result in packet]
    assert sorted(result.item.position for result in results) == list(range(len(recipients)))
    for result in results:
        if isinstance(result, Accepted):
            assert result.sent.text == f"text {result.item.position}"
    return dict(Counter(type(result).__name__ for result in results))


def client_of(gateway: Emulator) -> Client:
    return Client(gateway.api_key, url=gateway.url)


async def send(gateway: Emulator, count: int, *, in_flight: int = 4) -> tuple[BulkEngine, dict[str, int]]:
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2, in_flight=in_flight)
        return engine, await drain(engine, rows(count))


def texts(gateway: Emulator) -> list[str]:
    return [message.text for message in gateway.messages]


async def test_packets_are_full_but_for_the_last(gateway: Emulator) -> None:
    engine, found = await send(gateway, 5)
    assert found == {"Accepted": 5}
    assert engine.stopped_by is None
    assert engine.rate > 0
    packets = Counter(message.server_packet_id for message in gateway.messages)
    assert sorted(packets.values()) == [1, 2, 2]


@pytest.mark.parametrize(("rate_limit", "seconds", "packets"), [(2, 2, [2, 2, 1]), (0.5, 8, [1] * 5), (500, 0, [5])])
async def test_no_second_sees_more_messages_than_the_rate_allows(
    gateway: Emulator, manual_clock: ManualClock, rate_limit: float, seconds: float, packets: list[int]
) -> None:
    async with client_of(gateway) as client:
        start = manual_clock.monotonic()
        assert await manual_clock.drive(drain(BulkEngine(client, rate_limit=rate_limit), rows(5))) == {"Accepted": 5}
        assert manual_clock.monotonic() - start == seconds
    found = Counter(message.server_packet_id for message in gateway.messages)
    assert sorted(found.values(), reverse=True) == packets


async def test_results_are_tied_to_their_rows_where_messages_are_equal(gateway: Emulator) -> None:
    gateway.account.loop_protection = None
    same = [Recipient(at, at + 2, "79087964781", Message("79087964781", "text")) for at in range(6)]
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2)
        results = [result async for packet in engine.results(same) for result in packet]
    assert sorted(result.item.line for result in results) == [2, 3, 4, 5, 6, 7]
    assert len({result.sent.server_id for result in results if isinstance(result, Accepted)}) == 6


async def test_several_packets_are_in_flight(gateway: Emulator) -> None:
    gateway.fail_next("send", Fault.SLOW, times=2)
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2, in_flight=2)
        sending = asyncio.ensure_future(drain(engine, rows(8)))
        for at in (1, 3):
            await gateway.wait_for(text=f"text {at}", timeout=PATIENCE)
        gateway.release()
        assert await sending == {"Accepted": 8}


async def test_an_account_error_ends_the_sending_and_the_rest_is_not_sent(gateway: Emulator) -> None:
    gateway.account.balance = Decimal("2.50")
    engine, found = await send(gateway, 10, in_flight=1)
    assert found == {"Accepted": 2, "NotSent": 8}
    assert isinstance(engine.stopped_by, InsufficientFunds)


async def test_three_unknown_packets_in_a_row_end_the_sending(gateway: Emulator) -> None:
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET, times=9)
    engine, found = await send(gateway, 20)
    assert found == {"Unknown": 6, "NotSent": 14}
    assert isinstance(engine.stopped_by, OutcomeUnknown)
    assert len(texts(gateway)) == len(set(texts(gateway))) == 6


async def test_no_connection_ends_the_sending_and_nothing_was_sent() -> None:
    async with Client("K", url="http://127.0.0.1:9/", retry=Retry(attempts=1)) as client:
        engine = BulkEngine(client, packet_size=2)
        assert await drain(engine, rows(20)) == {"NotSent": 20}
    assert isinstance(engine.stopped_by, ConnectionFailed)


async def test_an_intent_comes_before_the_first_byte_and_names_the_rows(gateway: Emulator) -> None:
    intended: list[int] = []

    async def intend(packet: Sequence[Recipient]) -> None:
        positions = [each.position for each in packet]
        assert not {f"text {position}" for position in positions} & set(texts(gateway))
        intended.extend(positions)
        await asyncio.sleep(0)

    async with client_of(gateway) as client:
        engine = BulkEngine(client, intend=intend, packet_size=2)
        assert await drain(engine, rows(9)) == {"Accepted": 9}
    assert sorted(intended) == list(range(9))


async def test_where_the_intent_cannot_be_written_the_packet_stays_and_the_sending_ends(gateway: Emulator) -> None:
    async def intend(packet: Sequence[Recipient]) -> None:
        if packet[0].position >= 4:
            raise JournalError

    async with client_of(gateway) as client:
        engine = BulkEngine(client, intend=intend, packet_size=2, in_flight=1)
        assert await drain(engine, rows(20)) == {"Accepted": 4, "NotSent": 16}
    assert engine.stopped_by is None
    assert sorted(texts(gateway)) == [f"text {at}" for at in range(4)]


async def on_the_wire(gateway: Emulator, engine: BulkEngine) -> asyncio.Future[dict[str, int]]:
    gateway.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(drain(engine, rows(10)))
    await gateway.wait_for(text="text 1", timeout=PATIENCE)
    return sending


async def test_stopping_waits_for_the_packet_on_the_wire_and_sends_no_other(gateway: Emulator) -> None:
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2, in_flight=1)
        sending = await on_the_wire(gateway, engine)
        engine.stop()
        engine.stop()
        gateway.release()
        assert await sending == {"Accepted": 2, "NotSent": 8}
    assert engine.stopped_by is None
    assert len(texts(gateway)) == 2


async def test_an_engine_that_was_stopped_before_it_began_sends_nothing(gateway: Emulator) -> None:
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2)
        engine.stop()
        assert await drain(engine, rows(5)) == {"NotSent": 5}
    assert engine.rate == 0.0
    assert not texts(gateway)


async def test_quitting_does_not_wait(gateway: Emulator) -> None:
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2, in_flight=1)
        sending = await on_the_wire(gateway, engine)
        engine.quit()
        assert await sending == {"Unknown": 2, "NotSent": 8}
    assert engine.stopped_by is None


async def test_a_cancelled_sending_still_accounts_for_every_row(gateway: Emulator) -> None:
    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2, in_flight=1)
        sending = await on_the_wire(gateway, engine)
        sending.cancel()
        await asyncio.sleep(0)
        gateway.release()
        assert await sending == {"Accepted": 2, "NotSent": 8}


async def test_a_fault_in_the_list_comes_out_after_what_was_sent(gateway: Emulator) -> None:
    def broken() -> Iterator[Recipient]:
        yield from rows(3)
        raise RuntimeError("broken")

    async with client_of(gateway) as client:
        engine = BulkEngine(client, packet_size=2)
        with pytest.raises(RuntimeError, match="broken"):
            async for _ in engine.results(broken()):
                pass
    assert sorted(texts(gateway)) == ["text 0", "text 1", "text 2"]
