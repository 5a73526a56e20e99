"""A gateway that says "not now" in the middle of a run says nothing about any message: it is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from manual_clock import idle
from watched import Gateway, Source, phone

from smspilot_async import (
    Accepted,
    AccountBlocked,
    BulkRun,
    GatewayBusy,
    InsufficientFunds,
    InvalidMessage,
    Message,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Reason,
    Refused,
    Retry,
)
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_NOW = [Fault.BUSY, Fault.TOO_MANY_REQUESTS]


async def consumed(run: BulkRun[Any]) -> tuple[list[Any], Exception | None]:
    results: list[Any] = []
    async with run:
        try:
            async for result in run:
                results.append(result)  # noqa: PERF401 - those before the error count
        except Exception as error:  # noqa: BLE001 - the run's end is what is asked about
            return results, error
    return results, None


@pytest.mark.parametrize("fault", NOT_NOW)
async def test_a_gateway_that_is_busy_for_minutes_is_waited_for_and_everybody_is_reached_once(
    gateway: Gateway, fault: Fault
) -> None:
    gateway.emulator.fail_next("send", fault, times=30)
    client = gateway.client()
    results, error = await gateway.clock.drive(consumed(client.bulk(Source(400).pairs(), packet_size=100)))

    assert error is None
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert sorted(gateway.accepted) == sorted(f"text {number}" for number in range(400))
    if fault is Fault.BUSY:  # HTTP 429 names its own pause, of a second
        assert gateway.clock.monotonic() > 1060
        assert max(gateway.clock.slept) == 60


@pytest.mark.parametrize("fault", NOT_NOW)
async def test_when_patience_ends_the_rest_was_not_sent_and_nothing_more_is_read(
    gateway: Gateway, fault: Fault
) -> None:
    source = Source(10_000)
    client = gateway.client()
    gateway.emulator.fail_next("send", fault, times=10_000)
    results, error = await gateway.clock.drive(consumed(client.bulk(source.pairs(), packet_size=10, patience=100)))

    assert isinstance(error, GatewayBusy)
    assert {result.outcome for result in results} == {Outcome.NOT_SENT}
    assert len(results) == source.read <= 50
    assert gateway.clock.monotonic() == pytest.approx(1100, abs=1)
    assert gateway.accepted == []


async def test_it_says_meanwhile_what_it_waits_for(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY, times=6)
    client = gateway.client()
    async with client.bulk(Source(5).pairs(), packet_size=5) as run:
        await idle()
        assert run.busy is not None
        assert run.busy.code == 110
        await gateway.clock.advance(120)
        results = [result async for result in run]
        assert run.busy is None

    assert [result.outcome for result in results] == [Outcome.ACCEPTED] * 5
    warnings = [record.getMessage() for record in caplog.records if "not now" in record.getMessage()]
    assert warnings == ['packet of 5: the gateway answered "not now" (110, HTTP 200); retried for up to 600 s']


async def test_one_message_that_stays_busy_does_not_delay_those_that_were_taken(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=0, times=100)
    client = gateway.client()
    run = client.bulk(Source(3).pairs(), packet_size=3)
    results, error = await gateway.clock.drive(consumed(run))

    assert error is None
    assert sorted(result.outcome for result in results) == ["accepted", "accepted", "not_sent"]
    [left] = [result for result in results if isinstance(result, NotSent)]
    assert isinstance(left.error, GatewayBusy)
    assert left.sent is not None
    assert gateway.clock.monotonic() < 1010


@pytest.mark.parametrize(
    "options", [{"retry": Retry(attempts=1)}, {"patience": 0}], ids=["Retry(attempts=1)", "patience=0"]
)
async def test_without_patience_it_is_not_waited_for(gateway: Gateway, options: dict[str, Any]) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY, times=10_000)
    client = gateway.client(**({"retry": options["retry"]} if "retry" in options else {}))
    run = client.bulk(Source(1000).pairs(), packet_size=10, patience=options.get("patience", 600))
    results, error = await gateway.clock.drive(consumed(run))

    assert isinstance(error, GatewayBusy)
    assert {result.outcome for result in results} == {Outcome.NOT_SENT}
    assert gateway.clock.monotonic() < 1020


@pytest.mark.parametrize(
    ("code", "error"), [(112, InsufficientFunds), (105, AccountBlocked), (107, AccountBlocked), (122, AccountBlocked)]
)
async def test_an_account_that_may_not_send_wrongs_no_message_and_a_second_run_reaches_everybody(
    gateway: Gateway, code: int, error: type[Exception]
) -> None:
    client = gateway.client()
    gateway.emulator.unknowns.all_bad_refuses_packet = True
    left: list[Any] = []
    run = client.bulk(Source(400).pairs(), packet_size=50, in_flight=2)
    async with run:
        async for _ in run:
            if run.stats.done >= 100:
                break
    sent = {message.text for message in gateway.emulator.messages}
    rest = [(phone(number), f"text {number}") for number in range(400) if f"text {number}" not in sent]
    gateway.emulator.refuse(code=code)
    results, ended = await consumed(client.bulk(rest, packet_size=50))
    assert isinstance(ended, error)
    assert {result.outcome for result in results} == {Outcome.NOT_SENT}

    gateway.emulator._gateway.refusals.clear()
    left = [pair for pair in rest if pair[1] not in set(gateway.accepted)]
    results, ended = await consumed(client.bulk(left, packet_size=50))
    assert ended is None
    assert sorted(gateway.accepted) == sorted(f"text {number}" for number in range(400))


# --- what a document error for a whole packet is worth -------------------------------------------


@pytest.mark.parametrize(
    ("options", "packets"),
    [({"split_packets": False}, 1), ({"retry": Retry(attempts=1)}, 1)],
    ids=["split_packets=False", "Retry(attempts=1)"],
)
async def test_a_packet_that_must_not_be_split_is_unknown_where_one_message_is_at_fault(
    gateway: Gateway, options: dict[str, Any], packets: int
) -> None:
    gateway.emulator.unknowns.one_bad_refuses_packet = True
    gateway.emulator.refuse(code=111, text="text 2")
    client = gateway.client(**options)
    results, error = await consumed(client.bulk(Source(5).pairs(), packet_size=5))

    assert error is None
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    assert {result.error.reason for result in results} == {Reason.PARTIAL}
    assert {result.error.code for result in results} == {111}
    assert len(gateway.packets) == packets


async def test_split_packets_false_believes_no_refusal_of_a_whole_packet(gateway: Gateway) -> None:
    gateway.emulator.unknowns.partly_accepted = 2
    gateway.emulator.unknowns.partly_accepted_code = 112
    client = gateway.client(split_packets=False)
    results, error = await consumed(client.bulk(Source(5).pairs(), packet_size=5))

    assert isinstance(error, OutcomeUnknown)  # it stops: the account is empty
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    with pytest.raises(OutcomeUnknown):
        await client.send_packet([Message(phone(number), "another text") for number in range(5)])


# --- a caller's own rows -------------------------------------------------------------------------


@attrs.frozen
class Customer:
    number: int
    phone: str


async def test_results_carry_the_callers_own_rows(gateway: Gateway) -> None:
    rows = [Customer(number, phone(number)) for number in range(5)]

    def greet(customer: Customer) -> Message | tuple[str, str]:
        if customer.number == 3:
            raise InvalidMessage("has no name", field="name", code=220)
        pair = (customer.phone, f"text {customer.number}")
        return Message(*pair) if customer.number % 2 else pair

    client = gateway.client()
    results, error = await consumed(client.bulk(rows, message=greet))

    assert error is None
    assert sorted(result.item.number for result in results if isinstance(result, Accepted)) == [0, 1, 2, 4]
    [refused] = [result for result in results if isinstance(result, Refused)]
    assert refused.item is rows[3]
    assert gateway.accepted == [f"text {number}" for number in (0, 1, 2, 4)]


async def test_an_error_in_making_a_message_ends_the_run_like_one_of_the_source(gateway: Gateway) -> None:
    def make(number: int) -> tuple[str, str]:
        return phone(number), f"text {1 // (3 - number)}"

    def rows() -> Iterator[int]:
        yield from range(10)

    client = gateway.client()
    results, error = await consumed(client.bulk(rows(), message=make, packet_size=2))

    assert isinstance(error, ZeroDivisionError)
    assert len(results) == len(gateway.accepted) == 3
