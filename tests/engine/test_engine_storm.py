"""Whole campaigns in bad weather: every fault of the emulator, a gateway that takes half a packet, a dead one."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from campaigns import IMPATIENT, Numbered, campaign, stormy
from watched import Source, phone

from smspilot_async import (
    Accepted,
    BulkStats,
    Client,
    ConnectionFailed,
    NotSent,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    Unknown,
)
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manual_clock import ManualClock
    from watched import Gateway


EVERY_FAULT = dict.fromkeys(Fault, 0.02)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR")


@pytest.mark.parametrize("protection", ["off", "on"])
async def test_many_messages_under_every_fault(protection: str) -> None:
    await under_every_fault(20_000, protection)


@pytest.mark.volume
@pytest.mark.parametrize("protection", ["off", "on"])
async def test_a_hundred_thousand_messages_under_every_fault(protection: str) -> None:
    await under_every_fault(100_000, protection)


async def under_every_fault(count: int, protection: str) -> None:
    emulator = stormy(3, protection, shares=EVERY_FAULT)

    sent = await campaign(emulator, map(Numbered, range(count)))

    sent.assert_true()
    assert sent.errors == []
    assert sent.stats.read == count
    assert 0 < sent.stats.unknown < sent.stats.read / 4
    assert sent.stats.accepted > sent.stats.read / 2
    lost = [number for number, result in sent.results.items() if isinstance(result, Unknown) and number in sent.record]
    assert lost  # some of the unknown ones were accepted: that is what the word is for


@pytest.mark.parametrize("code", [110, 204])
async def test_partly_accepted_under_a_code_that_says_nothing_was(code: int) -> None:
    """The one way to send twice: the gateway takes some of a packet, and then says what it only says of none.

    110 is repeated because the vendor asks for it, 204 is split because it names a message's fault. With loop
    protection the gateway refuses the repetition, and the client reports those as unknown. Without it, they go out
    twice, and the client cannot know.
    """
    protected = stormy(5, "on", shares={})
    unprotected = stormy(5, shares={})
    for emulator in (protected, unprotected):
        emulator.unknowns.partly_accepted = 3
        emulator.unknowns.partly_accepted_code = code

    sent = await campaign(protected, map(Numbered, range(10)), packet_size=10)
    assert {len(taken) for taken in sent.record.values()} == {1}
    for number in sent.record:
        result = sent.results[number]
        assert isinstance(result, (Accepted, Unknown)), result
        if isinstance(result, Unknown):
            assert result.error.reason is Reason.DUPLICATE

    # It says 110 for ever: a second of patience shows as much as the usual ten minutes.
    sent = await campaign(unprotected, map(Numbered, range(10)), packet_size=10, patience=1)
    bugs = [result for result in sent.results.values() if "bug" in str(getattr(result, "error", ""))]
    assert not bugs
    assert max(map(len, sent.record.values())) > 1  # to be known, and asked of the vendor


# --- a dead gateway -------------------------------------------------------------------------------


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine where nothing listens, kept from others meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("max_unknown", [1, 3])
async def test_connection_refused_stops_a_campaign_of_a_million(manual_clock: ManualClock, max_unknown: int) -> None:
    source = Source(10**6)
    with closed_port() as port:
        async with Client("KEY", url=f"http://127.0.0.1:{port}/api2.php") as client:
            stats, results, error = await manual_clock.drive(consumed(client, source, max_unknown=max_unknown))

    assert isinstance(error, ConnectionFailed)
    assert stats.read == stats.not_sent == len(results) == source.read <= 100 * max_unknown
    assert {type(result) for result in results} == {NotSent}
    assert source.closed == 1


@pytest.mark.parametrize("max_unknown", [1, 3, 7])
async def test_503_stops_a_campaign_of_a_million(gateway: Gateway, max_unknown: int) -> None:
    source = Source(10**6)
    gateway.emulator.random_faults({Fault.SERVER_ERROR: 1.0})
    async with gateway.client() as client:
        stats, results, error = await consumed(client, source, max_unknown=max_unknown)

    assert isinstance(error, OutcomeUnknown)
    assert error.http_status == 503
    assert len(gateway.packets) == max_unknown
    assert stats.unknown == 100 * max_unknown
    assert stats.read == stats.unknown + stats.not_sent == len(results) == source.read <= 100 * (max_unknown + 3)
    assert source.closed == 1


async def test_a_proxy_that_answers_in_html_stops_it_over_a_socket(emulator: Emulator) -> None:
    source = Source(10**6)
    emulator.random_faults({Fault.SERVER_ERROR: 1.0})
    async with Client(emulator.api_key, url=emulator.url) as client:
        stats, _, error = await consumed(client, source, max_unknown=3)

    assert isinstance(error, OutcomeUnknown)
    assert stats.unknown == 300
    assert emulator.messages == ()


async def consumed(client: Client, source: Source, *, max_unknown: int) -> tuple[BulkStats, list[Any], Any]:
    results: list[Any] = []
    error: Exception | None = None
    async with client.bulk(source.pairs(), max_unknown=max_unknown) as run:
        try:
            async for result in run:
                results.append(result)  # noqa: PERF401 - kept when an error ends it
        except SmsPilotError as failure:
            error = failure
    return run.stats, results, error


# --- many callers ---------------------------------------------------------------------------------


async def test_ten_thousand_callers_under_every_fault() -> None:
    emulator = stormy(9, shares=dict.fromkeys(Fault, 0.02))
    chance = random.Random(1)
    outcomes: dict[int, Any] = {}

    async def call(client: Client, number: int) -> None:
        try:
            outcomes[number] = await client.send(phone(number), f"text {number}")
        except SmsPilotError as error:
            outcomes[number] = error

    client = Client(emulator.api_key, url=emulator.url, transport=emulator.transport, retry=IMPATIENT, max_pending=500)
    async with client:
        calls = [asyncio.ensure_future(call(client, number)) for number in range(10_000)]
        await asyncio.sleep(0)
        for cancelled in chance.sample(calls, 1000):
            cancelled.cancel()
        await asyncio.wait(calls)

    record: dict[int, str] = {}
    for message in emulator.messages:
        assert int(message.text[5:]) not in record
        record[int(message.text[5:])] = message.server_id
    for number, outcome in outcomes.items():
        if not isinstance(outcome, SmsPilotError):
            assert record[number] == outcome.server_id
        elif not isinstance(outcome, OutcomeUnknown):
            assert number not in record
    assert len(outcomes) >= 9000


async def test_an_answer_about_other_messages_is_not_believed() -> None:
    body = b'{"send":[{"id":"0","server_id":"1","to":"79990000000","status":"0","error":"0"}],"balance":"1"}'
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    async with Client("KEY", transport=transport) as client, client.bulk([(phone(1), "one")], max_unknown=2) as run:
        results = [result async for result in run]
    assert [type(result) for result in results] == [Unknown]
