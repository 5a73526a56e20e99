"""Whoever keeps a journal writes its intent down before the first byte of a packet leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smspilot_async import Accepted, Client, NotSent
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES = [("79087964781", f"no. {number}") for number in range(250)]


async def test_each_packet_is_announced_before_the_gateway_gets_it() -> None:
    emulator = Emulator(loop_protection=None)
    announced: list[tuple[str, str]] = []
    heard: list[int] = []

    async def note(items: Sequence[tuple[str, str]]) -> None:
        announced.extend(items)
        heard.append(len(emulator.messages))

    client = Client(emulator.api_key, transport=emulator.transport)
    async with client, client.bulk(MESSAGES, before_packet=note, in_flight=1) as run:
        results = [result async for result in run]
    assert announced == MESSAGES
    assert heard == [0, 100, 200]
    assert all(isinstance(result, Accepted) for result in results)


async def test_a_packet_is_announced_once_however_often_it_is_sent() -> None:
    emulator = Emulator(loop_protection=None)
    emulator.fail_next("send", Fault.BUSY_MESSAGE)
    announced: list[tuple[str, str]] = []

    async def note(items: Sequence[tuple[str, str]]) -> None:
        announced.extend(items)

    client = Client(emulator.api_key, transport=emulator.transport)
    async with client, client.bulk(MESSAGES[:10], before_packet=note) as run:
        results = [result async for result in run]
    assert announced == MESSAGES[:10]
    assert len(results) == len(emulator.messages) == 10


async def test_a_journal_that_cannot_be_written_stops_the_sending_and_is_raised() -> None:
    emulator = Emulator(loop_protection=None)
    written = 0

    async def note(items: Sequence[tuple[str, str]]) -> None:
        nonlocal written
        if written:
            raise OSError("the disk is full")
        written += len(items)

    results = []
    client = Client(emulator.api_key, transport=emulator.transport)
    run = client.bulk(MESSAGES, before_packet=note, in_flight=1)
    with pytest.raises(OSError, match="the disk is full"):  # noqa: PT012 - it comes out of the iteration
        async with client, run:
            async for result in run:
                results.append(result)  # noqa: PERF401 - those before the error count
    assert len(emulator.messages) == 100
    assert [type(result) for result in results] == [Accepted] * 100 + [NotSent] * run.stats.not_sent
    assert run.stats.read == run.stats.done
