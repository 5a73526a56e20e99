"""``client.health()`` says how a client is doing, without any request."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import START, idle
from noted import Holding
from outcomes import PHONE, TEXT, begun, failure_of

from smspilot_async import Client, Health, Message
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from manual_clock import ManualClock

MESSAGES = [Message(f"7908796478{number}", f"text {number}") for number in range(5)]
NOTHING = Health(
    is_open=True,
    last_success=None,
    failures_in_a_row=0,
    queued=0,
    in_flight=0,
    open_unknowns=0,
    listen_lag=None,
    balance=None,
    balance_at=None,
)


@pytest.fixture
def emulator() -> Emulator:
    """An emulator that takes every message, without a socket."""
    return Emulator(loop_protection=None, seed=1)


def client_of(emulator: Emulator, **options: Any) -> Client:
    return Client(emulator.api_key, transport=emulator.transport, url=emulator.url, **options)


def test_a_new_client_knows_nothing_and_needs_no_loop(emulator: Emulator) -> None:
    assert client_of(emulator).health() == NOTHING


async def test_an_answer_is_a_success_and_gives_the_balance(emulator: Emulator, manual_clock: ManualClock) -> None:
    async with client_of(emulator) as client:
        await client.send(PHONE, TEXT)
        after_send = client.health()
        await manual_clock.advance(60)
        balance = await client.balance()
        after_balance = client.health()
        await client.info()
    assert (after_send.last_success, after_send.balance_at) == (START, START)
    assert after_send.balance == after_balance.balance == balance
    assert after_balance.balance_at == START + timedelta(minutes=1)
    assert client.health().balance == balance


async def test_failures_in_a_row_are_counted_until_an_answer_comes(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        for _ in range(3):
            emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
            await failure_of(client.send(PHONE, TEXT))
        assert client.health().failures_in_a_row == 3
        assert client.health().last_success is None
        await client.balance()
        assert client.health().failures_in_a_row == 0


async def test_a_wrong_key_is_a_failure_and_a_refused_message_is_none(emulator: Emulator) -> None:
    async with Client("NO-SUCH-KEY", transport=emulator.transport, url=emulator.url) as client:
        await failure_of(client.balance())
        assert client.health().failures_in_a_row == 1
    async with client_of(emulator) as client:
        await failure_of(client.check("123"))
        assert client.health().failures_in_a_row == 0
        assert client.health().last_success is not None


async def test_an_account_without_money_is_a_failure_however_well_the_gateway_answers(emulator: Emulator) -> None:
    poor = emulator.add_account(balance=0)
    async with Client(poor.api_key, transport=emulator.transport, url=emulator.url) as client:
        await failure_of(client.send(PHONE, TEXT))
        await client.send_packet(MESSAGES)
        assert client.health().failures_in_a_row == 2
        assert client.health().last_success is None
        assert client.health().balance == 0


async def test_what_its_callers_gave_up_does_not_wait(emulator: Emulator) -> None:
    async with client_of(emulator, linger=60.0) as client:
        calls = [await begun(client.send(PHONE, f"text {number}")) for number in range(3)]
        assert client.health().queued == 3
        calls[0].cancel()
        await asyncio.wait({calls[0]})
        assert client.health().queued == 2
        await client.flush()
        await asyncio.gather(*calls[1:])


def test_what_queued_in_a_loop_that_is_gone_does_not_wait(emulator: Emulator) -> None:
    client = client_of(emulator, linger=60.0)

    async def begin() -> None:
        await begun(client.send(PHONE, TEXT))
        assert client.health().queued == 1

    asyncio.run(begin())
    assert (client.health().queued, client.health().in_flight) == (0, 0)


async def test_unknown_messages_stay_open(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await failure_of(client.send_packet(MESSAGES))
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await failure_of(client.send(PHONE, TEXT))
        await client.send(PHONE, TEXT)
    assert client.health().open_unknowns == 6


async def test_messages_queue_and_are_in_flight(emulator: Emulator, manual_clock: ManualClock) -> None:
    emulator.fail_next("send", Fault.BUSY)
    async with client_of(emulator, linger=1.0, rate_limit=None, max_pending=3) as client:
        calls = [await begun(client.send(PHONE, f"text {number}")) for number in range(2)]
        assert (client.health().queued, client.health().in_flight) == (2, 0)
        await manual_clock.advance(1)
        assert (client.health().queued, client.health().in_flight) == (2, 0), "between two attempts they wait"
        await manual_clock.advance(10)
        assert (client.health().queued, client.health().in_flight) == (0, 0)
        await asyncio.gather(*calls)


async def test_what_waits_for_its_answer_is_in_flight(emulator: Emulator) -> None:
    line = Holding(emulator)
    async with Client(emulator.api_key, transport=line, url=emulator.url) as client:
        call = asyncio.ensure_future(client.send_packet(MESSAGES))
        await line.is_reached.wait()
        assert (client.health().in_flight, client.health().queued) == (5, 0)
        line.lets_go.set()
        await call
        assert (client.health().in_flight, client.health().queued) == (0, 0)


async def test_the_lag_of_a_listener_is_counted_from_its_last_good_poll(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    async with client_of(emulator) as client:
        unused = client.listen()
        assert client.health().listen_lag is None, "it has not begun"
        async with client.listen(poll_interval=30) as inbox:
            waiting = asyncio.ensure_future(anext(inbox))
            await idle()
            await manual_clock.advance(20)
            assert client.health().listen_lag == 20
            await manual_clock.advance(20)
            assert client.health().listen_lag == 10, "it polled again after thirty"
            emulator.fail_next("inbound", Fault.SERVER_ERROR, times=100)
            await manual_clock.advance(100)
            assert client.health().listen_lag == 110
            waiting.cancel()
            await asyncio.wait({waiting})
        assert client.health().listen_lag is None, "no one is listening any more"
        del unused


async def test_a_listener_that_never_reaches_the_gateway_lags_from_its_begin(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("balance", Fault.SERVER_ERROR, times=100)
    async with client_of(emulator) as client, client.listen(poll_interval=30) as inbox:
        waiting = asyncio.ensure_future(anext(inbox))
        await idle()
        await manual_clock.advance(200)
        assert client.health().listen_lag == 200
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_it_distinguishes_open_from_closed(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.balance()
        assert client.health().is_open
    assert not client.health().is_open
    assert client.health().last_success is not None


async def test_it_works_from_any_thread(emulator: Emulator) -> None:
    told: list[Health] = []
    async with client_of(emulator) as client:
        await client.send(PHONE, TEXT)
        thread = threading.Thread(target=lambda: told.append(client.health()))
        thread.start()
        thread.join()
        assert told == [client.health()]


def test_it_is_ready_for_json() -> None:
    moment = datetime(2030, 1, 15, 12, tzinfo=UTC)
    health = Health(
        is_open=True,
        last_success=moment,
        failures_in_a_row=1,
        queued=2,
        in_flight=3,
        open_unknowns=4,
        listen_lag=5.5,
        balance=Decimal("10.50"),
        balance_at=moment,
    )
    assert json.loads(json.dumps(health.to_dict())) == {
        "is_open": True,
        "last_success": "2030-01-15T12:00:00+00:00",
        "failures_in_a_row": 1,
        "queued": 2,
        "in_flight": 3,
        "open_unknowns": 4,
        "listen_lag": 5.5,
        "balance": "10.50",
        "balance_at": "2030-01-15T12:00:00+00:00",
    }
    assert json.dumps(NOTHING.to_dict())
