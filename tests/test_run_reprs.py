"""What the repr of something that runs shows: its state and counts, and nothing of its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smspilot_async import BulkRun, Client, InboundListener, Message, PacketChecks, Tracking

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

PHONES = ["79087964781", "79087964782", "79087964783"]
TEXT = "Ваш код 4921"


def shown(run: BulkRun[Message] | PacketChecks | Tracking | InboundListener) -> str:
    text = repr(run)
    assert not any(private in text for private in (*PHONES, TEXT))
    return text


async def test_a_bulk_run(client: Client) -> None:
    source = [Message(to, TEXT) for to in PHONES]
    run = client.bulk(source, packet_size=1, in_flight=1)
    nothing = "0 read, 0 accepted, 0 refused, 0 unknown, 0 not sent, 0 waiting"
    assert shown(run) == f"<BulkRun, not entered: {nothing}>"

    async with run:
        assert shown(run) == f"<BulkRun, running: {nothing}>"
        await anext(run)
        assert shown(run).startswith("<BulkRun, running: ")
        run._stop(None)
        assert shown(run).startswith("<BulkRun, stopping: ")
    stats = run.stats
    counts = f"{stats.accepted} accepted, 0 refused, 0 unknown, {stats.not_sent} not sent, 0 waiting"
    assert shown(run) == f"<BulkRun, over: {stats.read} read, {counts}>"


async def test_checks_of_packets(client: Client) -> None:
    packets = [await client.send_packet([Message(to, TEXT)]) for to in PHONES]
    checks = client.check_packets(packets)
    assert shown(checks) == "<PacketChecks, not entered: 0 results, 0 of them not taken yet>"

    async with checks:
        await anext(checks)
        assert shown(checks).startswith("<PacketChecks, running: ")
        _ = [check async for check in checks]
        assert shown(checks) == "<PacketChecks, over: 3 results, 0 of them not taken yet>"


async def test_a_tracking(client: Client) -> None:
    packet = await client.send_packet([Message(to, TEXT) for to in PHONES])
    changes = client.track(packet)
    assert shown(changes) == "<Tracking, not entered: 0 messages final, 3 pending>"

    async with changes:
        assert shown(changes) == "<Tracking, running: 0 messages final, 3 pending>"
    assert shown(changes) == "<Tracking, over: 0 messages final, 3 pending>"


@pytest.mark.parametrize("is_entered", [False, True])
async def test_a_listener(client: Client, emulator: Emulator, *, is_entered: bool) -> None:
    for to in PHONES:
        emulator.inbound(to, TEXT)
    listener = client.listen()
    assert shown(listener) == "<InboundListener, not started: 0 messages, 0 waiting>"

    if is_entered:
        await listener.__aenter__()
    await anext(listener)
    assert shown(listener) == "<InboundListener, listening: 1 messages, 2 waiting>"
    await listener.aclose()
    assert shown(listener) == "<InboundListener, closed: 1 messages, 2 waiting>"
