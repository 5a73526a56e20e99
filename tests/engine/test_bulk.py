"""A stream of messages in, a stream of results out: nothing lost, nothing held without bound, stopped in time."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from manual_clock import idle
from watched import Source, assert_true, message, phone

from smspilot_async import (
    Accepted,
    AccountBlocked,
    AuthenticationError,
    Client,
    ClientClosed,
    ConnectionFailed,
    GatewayBusy,
    Hooks,
    InsufficientFunds,
    InvalidMessage,
    Message,
    NotSent,
    OutcomeUnknown,
    Refused,
    Retry,
    SmsPilotError,
    Unknown,
)
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from watched import Gateway

    from smspilot_async import SendResult
    from smspilot_async._sending.bulk import BulkRun

ONCE = Retry(attempts=1)


def kinds(results: list[Any]) -> list[str]:
    return [type(result).__name__ for result in results]


def assert_sums(run: BulkRun[Any], *, source: Source | None = None) -> None:
    stats = run.stats
    assert stats.accepted + stats.refused + stats.unknown + stats.not_sent == stats.read == stats.done
    assert stats.waiting == 0
    if source is not None:
        assert stats.read == source.read
        assert source.closed == 1


async def rest_of(run: BulkRun[Any]) -> tuple[list[Any], Exception | None]:
    """The results that are still to come, and the error after them."""
    results: list[Any] = []
    try:
        async for result in run:
            results.append(result)  # noqa: PERF401 - kept when an error ends it
    except Exception as error:  # noqa: BLE001 - it is looked at
        return results, error
    return results, None


# --- items ----------------------------------------------------------------------------------------


async def test_items_of_every_kind_come_back_with_their_results(gateway: Gateway) -> None:
    items: list[Any] = [
        message("message"),
        {"to": phone(1), "text": "mapping", "from": "SHOP"},
        {"to": phone(2), "text": "sender", "sender": "SHOP2", "id": 77},
        (phone(3), "pair"),
        [phone(4), "list"],
        {"to": phone(5), "text": "x", "texxt": "y"},
        {"to": phone(6)},
        {"text": "no phone"},
        {"to": phone(7), "text": "x", "from": "A-B", "sender": "C-D"},
        {1: 2},
        {phone(8): "a phone as a key"},
        (phone(9),),
        "ab",
        42,
        None,
        ("no phone", "text"),
    ]
    async with gateway.client() as client, client.bulk(items) as run:
        results, error = await rest_of(run)

    assert error is None
    assert {id(result.item) for result in results} == {id(item) for item in items}
    by_item = {id(result.item): result for result in results}
    assert kinds([by_item[id(item)] for item in items]) == ["Accepted"] * 5 + ["Refused"] * 11
    refused = [result.error for result in results if isinstance(result, Refused)]
    assert all(isinstance(error, InvalidMessage) for error in refused)
    assert {error.field for error in refused if isinstance(error, InvalidMessage)} >= {"texxt", "text", "to", "item"}
    assert not any(phone(8) in str(error) for error in refused)
    by_text = {entry.text: entry for entry in gateway.emulator.messages}
    assert by_text["mapping"].sender == "SHOP"
    assert by_text["sender"].sender == "SHOP2"
    assert by_text["sender"].id == 77
    assert_sums(run)
    assert run.stats.total == 16


async def test_the_four_results(gateway: Gateway) -> None:
    gateway.emulator.refuse(code=204, text="text 1")
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=0)
    async with gateway.client(retry=ONCE) as client, client.bulk(Source(3).pairs(), packet_size=3) as run:
        first, _ = await rest_of(run)
        gateway.emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        async with client.bulk([(phone(4), "lost"), (phone(5), "left")], packet_size=1, max_unknown=1) as second:
            await idle()
            results, error = await rest_of(second)

    assert kinds(sorted(first, key=lambda result: result.item)) == ["NotSent", "Refused", "Accepted"]
    assert kinds(results) == ["Unknown"]
    assert isinstance(error, OutcomeUnknown)
    assert_sums(run)
    assert_sums(second)
    assert "lost" in gateway.accepted
    assert "left" not in gateway.accepted


async def test_the_same_id_on_every_message_is_no_harm(gateway: Gateway) -> None:
    gateway.emulator.unknowns.rows_reordered = True
    items = [Message(phone(number % 3), f"text {number}", id=5) for number in range(50)]
    async with gateway.client() as client, client.bulk(items) as run:
        results, _ = await rest_of(run)

    assert kinds(results) == ["Accepted"] * 50
    assert_true(results, gateway.emulator)


async def test_test_messages_go_nowhere(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk(Source(3).pairs(), test=True) as run:
        results, _ = await rest_of(run)

    assert kinds(results) == ["Accepted"] * 3
    assert gateway.accepted == []
    assert len(gateway.emulator.test_messages) == 3


# --- the source -----------------------------------------------------------------------------------


@pytest.fixture(params=["pairs", "apairs"])
def kind_of_source(request: pytest.FixtureRequest) -> Callable[[Source], Any]:
    return lambda source: getattr(source, request.param)()


async def test_a_source_is_read_to_its_end_and_closed_once(
    gateway: Gateway, kind_of_source: Callable[[Source], Any]
) -> None:
    source = Source(250)
    async with gateway.client() as client, client.bulk(kind_of_source(source)) as run:
        results, error = await rest_of(run)

    assert error is None
    assert kinds(results) == ["Accepted"] * 250
    assert sorted(gateway.accepted) == sorted(f"text {number}" for number in range(250))
    assert_sums(run, source=source)
    assert [len(packet) for packet in gateway.packets] == [100, 100, 50]
    assert source.closed_in != {asyncio.current_task()}
    assert run.stats.total is None
    assert run.stats.eta is None


async def test_a_break_stops_the_reading_and_accounts_for_the_wire(
    gateway: Gateway, kind_of_source: Callable[[Source], Any]
) -> None:
    source = Source()
    async with gateway.client() as client:
        async with client.bulk(kind_of_source(source), packet_size=5) as run:
            async for _ in run:
                break
        assert_sums(run, source=source)
        assert source.read <= 5 * 4 + 1
        assert run.stats.accepted == len(gateway.accepted)
        assert len(source.closed_in) == 1
        assert client._session().submissions.when_closing == set()


async def test_a_break_with_packets_on_the_wire_waits_for_their_answers(gateway: Gateway) -> None:
    source = Source()
    async with gateway.client(max_connections=3) as client:  # one of them for campaigns
        run = await client.bulk(source.apairs(), packet_size=5).__aenter__()
        for _ in range(5):
            await anext(run)
        gateway.hold()
        await idle()
        while not gateway.transport.in_flight:
            await anext(run)
            await idle()
        leaving = asyncio.ensure_future(run.__aexit__(None, None, None))
        await idle()
        assert not leaving.done()
        await gateway.let_go()
        await leaving
        assert_sums(run, source=source)
        assert run.stats.accepted == len(gateway.accepted)
        assert run.stats.not_sent == run.stats.read - run.stats.accepted
        _, error = await rest_of(run)
        assert error is None


async def test_an_exception_in_the_body_comes_through(
    gateway: Gateway, kind_of_source: Callable[[Source], Any]
) -> None:
    source = Source()
    async with gateway.client() as client:
        run = client.bulk(kind_of_source(source), packet_size=5)

        async def fail() -> None:
            async with run:
                await anext(run)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
    assert_sums(run, source=source)
    assert run.stats.accepted == len(gateway.accepted)


async def test_a_cancelled_consumer_leaves_the_books_straight(
    gateway: Gateway, kind_of_source: Callable[[Source], Any]
) -> None:
    source = Source()
    runs: list[BulkRun[Any]] = []
    gateway.hold()

    async def consume() -> None:
        async with client.bulk(kind_of_source(source), packet_size=5) as run:
            runs.append(run)
            async for _ in run:
                pass

    async with gateway.client() as client:
        consumer = asyncio.ensure_future(consume())
        await idle()
        consumer.cancel()
        await idle()
        assert not consumer.done()  # what is on the wire is awaited
        await gateway.let_go()
        with pytest.raises(asyncio.CancelledError):
            await consumer

    assert_sums(runs[0], source=source)
    assert runs[0].stats.accepted == len(gateway.accepted) > 0


async def test_a_second_cancellation_does_not_wait_and_the_hooks_get_the_rest(gateway: Gateway) -> None:
    source = Source()
    gateway.hold()

    async def consume() -> None:
        async with client.bulk(source.pairs(), packet_size=5) as run:
            async for _ in run:
                pass

    async with gateway.client() as client:
        consumer = asyncio.ensure_future(consume())
        await idle()
        consumer.cancel()
        await idle()
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        await gateway.let_go()

    assert source.closed == 1
    heard = gateway.heard()
    assert sorted(heard) == sorted(gateway.accepted)
    assert set(heard.values()) == {"Accepted"}


async def test_an_error_in_the_source_comes_after_the_results_before_it(
    gateway: Gateway, kind_of_source: Callable[[Source], Any]
) -> None:
    source = Source(error_at=17)
    async with gateway.client() as client, client.bulk(kind_of_source(source), packet_size=5) as run:
        results, error = await rest_of(run)
        with pytest.raises(StopAsyncIteration):
            await anext(run)

    assert kinds(results) == ["Accepted"] * 17
    assert isinstance(error, LookupError)
    assert len(gateway.accepted) == 17
    assert_sums(run, source=source)


async def test_an_error_while_the_source_closes_comes_out(gateway: Gateway) -> None:
    def closing_badly() -> Iterator[tuple[str, str]]:
        try:
            yield phone(1), "one"
            yield phone(2), "two"
        finally:
            raise LookupError("not closed")

    async with gateway.client() as client, client.bulk(closing_badly()) as run:
        results, error = await rest_of(run)

    assert kinds(results) == ["Accepted"] * 2
    assert isinstance(error, LookupError)


async def test_what_is_no_source_is_an_error_of_the_iteration(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk(cast("list[Message]", 42)) as run:
        results, error = await rest_of(run)

    assert results == []
    assert isinstance(error, TypeError)


async def test_a_run_that_is_not_iterated_reads_nothing(gateway: Gateway) -> None:
    source = Source()
    async with gateway.client() as client, client.bulk(source.pairs()) as run:
        pass
    assert source.read == 0
    assert_sums(run)
    assert gateway.packets == []


async def test_a_source_that_was_cancelled_has_not_ended(gateway: Gateway) -> None:
    async def cancelled() -> AsyncIterator[tuple[str, str]]:
        yield phone(1), "before"
        raise asyncio.CancelledError

    async with gateway.client() as client, client.bulk(cancelled()) as run:
        results, error = await rest_of(run)

    assert kinds(results) == ["Accepted"]
    assert isinstance(error, RuntimeError)
    assert_sums(run)


async def test_a_reader_cancelled_from_outside_has_not_ended(gateway: Gateway) -> None:
    async def silent() -> AsyncIterator[tuple[str, str]]:
        yield phone(1), "before"
        await asyncio.Event().wait()

    async with gateway.client() as client, client.bulk(silent()) as run:
        await idle()
        [reader] = [task for task in asyncio.all_tasks() if task.get_name() == "smspilot bulk run"]
        reader.cancel()
        results, error = await rest_of(run)

    assert kinds(results) == ["NotSent"]
    assert isinstance(error, RuntimeError)
    assert_sums(run)
    assert gateway.packets == []


async def test_a_source_that_swallows_its_cancellation_is_stopped_all_the_same(gateway: Gateway) -> None:
    async def stubborn() -> AsyncIterator[tuple[str, str]]:
        number = 0
        while True:
            try:
                if number >= 3:
                    await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
            yield phone(number), f"text {number}"
            number += 1

    async with gateway.client() as client:
        async with client.bulk(stubborn(), packet_size=4) as run:
            await idle()
        assert_sums(run)
    assert run.stats.read == run.stats.not_sent == 4
    assert gateway.packets == []


async def test_a_source_slow_to_close_has_nothing_sent_after_the_end(gateway: Gateway) -> None:
    async def slow_to_close() -> AsyncIterator[tuple[str, str]]:
        try:
            yield phone(1), "read"
            await asyncio.Event().wait()
        finally:
            await gateway.clock.sleep(5)

    async with gateway.client() as client:
        run = await client.bulk(slow_to_close()).__aenter__()
        await idle()
        leaving = asyncio.ensure_future(run.__aexit__(None, None, None))
        await gateway.clock.advance(10)
        await leaving

    assert gateway.packets == []
    assert run.stats.not_sent == 1


async def test_a_mapping_that_raises_is_a_fault_of_the_source(gateway: Gateway) -> None:
    class Row(dict[str, str]):
        def items(self) -> Any:
            raise LookupError("the row is gone")

    items: list[Any] = [(phone(1), "one"), Row(to="1"), (phone(2), "two")]
    async with gateway.client() as client, client.bulk(items) as run:
        results, error = await rest_of(run)

    assert kinds(results) == ["Accepted"]
    assert isinstance(error, LookupError)
    assert_sums(run)


async def test_an_iterator_that_is_its_owners_is_not_closed(gateway: Gateway) -> None:
    class File:
        closed = False

        def __init__(self) -> None:
            self.lines = iter([(phone(1), "one")])

        def __iter__(self) -> File:
            return self

        def __next__(self) -> tuple[str, str]:
            return next(self.lines)

        def close(self) -> None:
            self.closed = True

    class AsyncRows:
        def __init__(self) -> None:
            self.rows = iter([(phone(2), "two")])

        def __aiter__(self) -> AsyncRows:
            return self

        async def __anext__(self) -> tuple[str, str]:
            for row in self.rows:
                return row
            raise StopAsyncIteration

    file = File()
    async with gateway.client() as client, client.bulk(file) as run:
        await rest_of(run)
        async with client.bulk(AsyncRows()) as again:
            await rest_of(again)
    assert not file.closed
    assert gateway.accepted == ["one", "two"]


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 2, 4])
async def test_so_many_packets_are_in_flight_and_never_more(gateway: Gateway, in_flight: int) -> None:
    gateway.hold()
    source = Source(100)
    async with gateway.client() as client, client.bulk(source.pairs(), packet_size=5, in_flight=in_flight) as run:
        await idle()
        assert gateway.transport.in_flight == min(in_flight, 3)  # few until the gateway has answered at all
        await gateway.let_go()
        await anext(run)
        gateway.hold()
        taken = 1
        while gateway.transport.in_flight < in_flight:
            await anext(run)
            await idle()
            taken += 1
            assert source.read - taken <= 5 * in_flight
        await gateway.let_go()
        await rest_of(run)

    assert gateway.transport.most_in_flight == in_flight
    assert_sums(run, source=source)


@pytest.mark.parametrize("invalid_every", [0, 2, 3, 1])
@pytest.mark.parametrize("in_flight", [1, 3])
async def test_no_more_is_read_than_was_promised(gateway: Gateway, in_flight: int, invalid_every: int) -> None:
    read = 0

    def source() -> Iterator[tuple[str, str]]:
        nonlocal read
        for number in range(300):
            read += 1
            yield phone(number), "" if invalid_every and number % invalid_every == 0 else f"text {number}"

    taken = 0
    async with gateway.client() as client, client.bulk(source(), packet_size=7, in_flight=in_flight) as run:
        while True:
            await idle()
            assert read - taken <= 7 * in_flight
            if not run._results:
                await gateway.clock.advance(1)  # a packet that was begun goes after a second
            assert read - taken <= 7 * in_flight
            if await anext(run, None) is None:
                break
            taken += 1
    assert taken == read == 300
    assert_sums(run)


async def test_one_message_and_then_invalid_ones_without_end_are_bounded_too(gateway: Gateway) -> None:
    def source() -> Iterator[Any]:
        yield phone(1), "valid"
        for _ in range(10**6):
            yield None

    async with gateway.client() as client, client.bulk(source(), packet_size=10, in_flight=2) as run:
        await idle()
        assert run.stats.read == 20
        await gateway.clock.advance(1)
        assert run.stats.accepted == 1
        for _ in range(500):
            await anext(run)
            await idle()
            assert run.stats.read - run._handed_out <= 20


async def test_a_slow_consumer_holds_the_sending_back(gateway: Gateway) -> None:
    source = Source(100)
    async with gateway.client() as client, client.bulk(source.pairs(), packet_size=5, in_flight=2) as run:
        await idle()
        await gateway.clock.advance(100)
        assert len(gateway.accepted) == 10
        for _ in range(4):
            await anext(run)
        await gateway.clock.advance(100)
        assert len(gateway.accepted) == 10
        await anext(run)
        await idle()
        assert len(gateway.accepted) == 15
        await rest_of(run)
    assert len(gateway.accepted) == 100


async def test_the_rate_is_limited(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk(Source(50).pairs(), packet_size=5, rate_limit=2.0) as run:
        taking = asyncio.ensure_future(rest_of(run))
        await idle()
        for packets in range(1, 11):
            assert len(gateway.packets) == packets
            await gateway.clock.advance(2.4)
            assert len(gateway.packets) == packets
            await gateway.clock.advance(0.1)
        await taking
        assert run.stats.rate == pytest.approx(50 / 22.5)


async def test_the_clients_own_rate_holds_for_campaigns_too(gateway: Gateway) -> None:
    async with (
        gateway.client(rate_limit=1.0) as client,
        client.bulk(Source(10).pairs(), packet_size=5) as one,
        client.bulk(Source(10).apairs(), packet_size=5, rate_limit=100) as other,
    ):
        await idle()
        for packets in range(1, 5):
            assert len(gateway.packets) == packets
            await gateway.clock.advance(5)
        await rest_of(one)
        await rest_of(other)


async def test_a_silent_source_has_its_unfinished_packet_sent_after_a_second(gateway: Gateway) -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[tuple[str, str]]:
        yield phone(1), "one"
        yield phone(2), "two"
        await more.wait()
        yield phone(3), "three"

    async with gateway.client() as client, client.bulk(source()) as run:
        await gateway.clock.advance(0.9)
        assert gateway.packets == []
        await gateway.clock.advance(0.2)
        assert gateway.packets == [["one", "two"]]
        assert kinds([await anext(run), await anext(run)]) == ["Accepted"] * 2
        await gateway.clock.advance(5)
        more.set()
        await idle()
        assert gateway.packets[1:] == [["three"]]  # the end of the source needs no second
        await rest_of(run)
        assert gateway.clock.slept == []


async def test_a_slow_source_has_no_more_packets_in_flight_than_a_fast_one(gateway: Gateway) -> None:
    due = asyncio.Semaphore(0)

    async def source() -> AsyncIterator[tuple[str, str]]:
        for number in range(12):
            await due.acquire()
            yield phone(number), f"text {number}"

    gateway.hold()
    async with gateway.client() as client, client.bulk(source(), packet_size=5, in_flight=2) as run:
        for _ in range(8):
            due.release()
            await gateway.clock.advance(1.1)
        read = run.stats.read
        for _ in range(4):
            due.release()
        await gateway.let_go()
        results, error = await rest_of(run)

    assert gateway.transport.most_in_flight == 2
    assert read == 4  # the fourth was asked for while there seemed to be time to fill the third packet
    assert error is None
    assert gateway.packets[:3] == [["text 0"], ["text 1"], ["text 2", "text 3"]]
    assert kinds(results) == ["Accepted"] * 12
    assert_sums(run)


async def test_a_slow_source_costs_no_more_than_so_many_unknown_packets(gateway: Gateway) -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        number = 0
        while True:
            await gateway.clock.sleep(1.5)
            yield phone(number), f"text {number}"
            number += 1

    gateway.emulator.random_faults({Fault.ACCEPT_THEN_SERVER_ERROR: 1.0})
    gateway.hold()
    async with gateway.client(retry=ONCE, deadline=1000, timeout=1000) as client, client.bulk(source()) as run:
        await gateway.clock.advance(20)
        await gateway.let_go()
        _, error = await rest_of(run)

    assert len(gateway.packets) == 3
    assert isinstance(error, OutcomeUnknown)
    assert_sums(run)


async def test_a_full_packet_calls_the_second_off(gateway: Gateway) -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        for number in range(3):
            yield phone(number), f"text {number}"
        await asyncio.Event().wait()

    async with gateway.client() as client, client.bulk(source(), packet_size=2) as run:
        await gateway.clock.advance(0.5)
        assert len(gateway.packets) == 1
        await gateway.clock.advance(0.5)
        assert len(gateway.packets) == 2
        assert run.stats.accepted == 3


# --- the circuit breaker ---------------------------------------------------------------------------------


@pytest.mark.parametrize("max_unknown", [1, 2, 3, 10])
@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.BUSY, Fault.ACCEPT_THEN_RESET])
async def test_no_answer_for_so_many_packets_stops_it(gateway: Gateway, max_unknown: int, fault: Fault) -> None:
    gateway.emulator.random_faults({fault: 1.0})
    source = Source()
    async with (
        gateway.client(retry=ONCE) as client,
        client.bulk(source.pairs(), packet_size=5, max_unknown=max_unknown) as run,
    ):
        results, error = await rest_of(run)

    assert len(gateway.packets) == max_unknown
    assert isinstance(error, GatewayBusy if fault is Fault.BUSY else OutcomeUnknown)
    assert_sums(run, source=source)
    assert len(results) == source.read <= 5 * (max_unknown + 4)
    assert kinds(results).count("NotSent" if fault is Fault.BUSY else "Unknown") == 5 * max_unknown


async def test_an_answer_sets_the_count_back(gateway: Gateway) -> None:
    for _ in range(10):
        for _ in range(2):
            gateway.emulator.fail_next("send", Fault.SERVER_ERROR)
        gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=0)
    source = Source(200)
    async with gateway.client(retry=ONCE) as client, client.bulk(source.pairs(), packet_size=5, in_flight=1) as run:
        _, error = await rest_of(run)

    assert error is None
    assert run.stats.unknown == 100
    assert run.stats.not_sent == 10
    assert run.stats.accepted == 90
    assert_sums(run, source=source)


async def test_a_gateway_that_dies_in_the_middle_costs_few_packets(gateway: Gateway) -> None:
    source = Source()
    async with gateway.client(retry=ONCE) as client, client.bulk(source.pairs(), packet_size=5, in_flight=4) as run:
        for _ in range(100):
            await anext(run)
        gateway.emulator.random_faults({Fault.SERVER_ERROR: 1.0})
        before = len(gateway.packets)
        results, error = await rest_of(run)

    assert isinstance(error, OutcomeUnknown)
    assert len(gateway.packets) - before <= 3 + 4 - 1
    assert kinds(results).count("Unknown") == run.stats.unknown == 5 * (len(gateway.packets) - before)
    assert_sums(run, source=source)


@pytest.mark.parametrize(
    ("code", "error"),
    [(112, InsufficientFunds), (241, InsufficientFunds), (101, AuthenticationError), (106, AccountBlocked)],
)
@pytest.mark.parametrize("whole", [False, True])
async def test_an_account_error_stops_it_at_once(
    gateway: Gateway, code: int, error: type[SmsPilotError], *, whole: bool
) -> None:
    if whole:
        gateway.emulator.unknowns.all_bad_refuses_packet = True
        gateway.emulator.refuse(code=code)
    else:
        gateway.emulator.refuse(code=code, text="text 7")
    source = Source()
    async with gateway.client() as client, client.bulk(source.pairs(), packet_size=5, in_flight=1) as run:
        results, raised = await rest_of(run)

    assert len(gateway.packets) == (1 if whole else 2)
    assert source.read == 5 * len(gateway.packets)
    assert_sums(run, source=source)
    if whole and code == 241:
        assert isinstance(raised, OutcomeUnknown)  # some may have been taken before the money ran out
        assert raised.code == code
        assert "Unknown" in kinds(results)
    else:
        assert isinstance(raised, error)
        assert set(kinds(results)) == {"NotSent", *(["Accepted"] if run.stats.accepted else [])}
    assert run.stats.accepted == len(gateway.accepted)


async def test_the_circuit_opens_before_the_next_packet_gets_the_connection() -> None:
    requests: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, content=b'{"error":{"code":"101","description":"APIKEY is invalid"}}')

    class Slow(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            assert isinstance(result, (Refused, NotSent))
            await asyncio.sleep(0.001)

    client = Client("KEY", transport=httpx.MockTransport(refuse), max_connections=1, hooks=[Slow()])
    async with client, client.bulk(Source().pairs(), packet_size=5) as run:
        _, error = await rest_of(run)

    assert isinstance(error, AuthenticationError)
    assert len(requests) == 1
    assert run.stats.not_sent == run.stats.read > 5


async def test_an_empty_account_stops_it(gateway: Gateway) -> None:
    gateway.emulator.account.balance = Decimal("12.50")
    source = Source()
    async with gateway.client() as client, client.bulk(source.pairs(), packet_size=4, in_flight=1) as run:
        results, error = await rest_of(run)

    assert isinstance(error, InsufficientFunds)
    assert kinds(results) == ["Accepted"] * 10 + ["NotSent"] * 2
    assert run.stats.cost == Decimal("12.50")
    assert run.stats.balance == Decimal(0)
    assert_sums(run, source=source)


async def test_once_the_circuit_is_open_what_was_read_is_not_sent(gateway: Gateway) -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        for number in range(7):
            yield phone(number), f"text {number}"
        await asyncio.Event().wait()

    gateway.hold()
    gateway.emulator.fail_next("send", Fault.SERVER_ERROR)
    async with (
        gateway.client(max_connections=3, retry=ONCE) as client,  # one connection for campaigns
        client.bulk(source(), packet_size=2, max_unknown=1, in_flight=4) as run,
    ):
        await idle()
        assert run.stats.read == 2  # one packet at a time while the next failure would be the last
        await gateway.let_go()
        results, error = await rest_of(run)
    assert kinds(results) == ["Unknown"] * 2
    assert isinstance(error, OutcomeUnknown)

    gateway.hold()
    gateway.emulator.fail_next("send", Fault.SERVER_ERROR)
    gateway.emulator.refuse(code=241, text="text 0")
    gateway.emulator.no_more_faults()
    async with (
        gateway.client(max_connections=3, retry=ONCE) as client,
        client.bulk(source(), packet_size=2, in_flight=4) as run,
    ):
        await idle()
        assert gateway.transport.in_flight == 1
        read = run.stats.read
        assert read > 4
        await gateway.let_go()
        results, error = await rest_of(run)

    assert isinstance(error, InsufficientFunds)
    assert kinds(results).count("NotSent") == read - 1
    assert {type(result.error) for result in results if isinstance(result, NotSent)} <= {
        ConnectionFailed,
        InsufficientFunds,
    }
    assert gateway.accepted == ["text 1"]
    assert_sums(run)


async def test_a_packet_that_waits_for_its_next_attempt_is_taken_back(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY)
    source = Source()
    async with gateway.client() as client:
        async with client.bulk(source.pairs(), packet_size=2, in_flight=1) as run:
            await idle()
            assert len(gateway.packets) == 1
        await gateway.clock.advance(100)
    assert len(gateway.packets) == 1
    assert run.stats.not_sent == 2
    assert_sums(run, source=source)


# --- stats ----------------------------------------------------------------------------------------


async def test_stats_say_how_far_it_is(gateway: Gateway) -> None:
    items = [(phone(number), "text " * 20) for number in range(20)]
    async with gateway.client() as client, client.bulk(items, packet_size=5, in_flight=1) as run:
        assert run.stats.rate == 0
        assert run.stats.eta is None
        assert run.stats.total == 20
        await gateway.clock.advance(10)
        assert (run.stats.read, run.stats.accepted) == (5, 5)
        gateway.hold()
        for _ in range(5):
            await anext(run)
        await idle()
        assert (run.stats.read, run.stats.waiting) == (10, 5)
        await gateway.clock.advance(5)
        await gateway.let_go()
        assert run.stats.done == 10
        assert run.stats.seconds == pytest.approx(15)
        assert run.stats.rate == pytest.approx(10 / 15)
        assert run.stats.eta == pytest.approx(15)
        results, _ = await rest_of(run)
        assert run.stats.eta == 0

    sent = [result.sent for result in results if isinstance(result, Accepted)]
    assert run.stats.parts == 20 * (sent[0].parts or 0) == sum(entry.parts for entry in gateway.emulator.messages)
    assert run.stats.cost == sum(entry.price for entry in gateway.emulator.messages)
    assert run.stats.balance == gateway.emulator.account.balance
    assert_sums(run)


# --- misuse ---------------------------------------------------------------------------------------


async def test_a_run_is_entered_once(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk(Source(1).pairs()) as run:
        with pytest.raises(RuntimeError, match="runs once"):
            await run.__aenter__()
        await rest_of(run)
        with pytest.raises(RuntimeError, match="runs once"):
            await run.__aenter__()


async def test_iterating_without_entering_says_what_to_do(gateway: Gateway) -> None:
    async with gateway.client() as client:
        with pytest.raises(RuntimeError, match="async with"):
            await anext(client.bulk([]))


async def test_two_consumers_share_the_results(gateway: Gateway) -> None:
    async with gateway.client() as client, client.bulk(Source(50).apairs(), packet_size=5) as run:
        (first, _), (second, _) = await asyncio.wait_for(asyncio.gather(rest_of(run), rest_of(run)), 5)
    assert len(first) + len(second) == 50


async def test_a_closed_client_runs_nothing(gateway: Gateway) -> None:
    client = gateway.client()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await client.bulk([]).__aenter__()


@pytest.mark.parametrize("patience", [None, 1.0])
async def test_a_client_closed_meanwhile_stops_it(gateway: Gateway, patience: float | None) -> None:
    gateway.hold()
    source = Source()
    client = gateway.client()
    async with client.bulk(source.pairs(), packet_size=5) as run:
        await idle()
        on_the_wire = gateway.transport.in_flight * 5
        closing = asyncio.ensure_future(client.aclose(timeout=patience))
        if patience is None:
            await gateway.let_go()
        await gateway.clock.advance(2)
        await closing
        results, error = await rest_of(run)

    assert isinstance(error, ClientClosed)
    assert kinds(results).count("Accepted" if patience is None else "Unknown") == on_the_wire == 15
    assert_sums(run, source=source)
    assert len(gateway.accepted) == 15


async def test_a_client_closed_while_the_consumer_is_slow_sends_nothing_more(gateway: Gateway) -> None:
    source = Source()
    client = gateway.client()
    async with client.bulk(source.pairs(), packet_size=5, in_flight=2) as run:
        await idle()
        await client.aclose()
        results, error = await rest_of(run)
        await idle()

    assert isinstance(error, ClientClosed)
    assert kinds(results) == ["Accepted"] * 10
    assert len(gateway.accepted) == 10
    assert_sums(run, source=source)


# --- other tasks ----------------------------------------------------------------------------------


async def test_no_failure_of_the_run_cancels_what_the_body_awaits(gateway: Gateway) -> None:
    source = Source(error_at=30)
    gateway.emulator.random_faults({Fault.SERVER_ERROR: 1.0})
    async with gateway.client(retry=ONCE) as client, client.bulk(source.pairs(), packet_size=5, max_unknown=1) as run:
        await gateway.clock.drive(gateway.clock.sleep(60))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        _, error = await rest_of(run)
    assert isinstance(error, OutcomeUnknown)


async def test_a_hook_at_work_is_not_cancelled_by_a_break(gateway: Gateway) -> None:
    ended: list[str] = []

    class Slow(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            await gateway.clock.sleep(1)
            ended.append(result.item.text)

    async with gateway.client(hooks=[Slow()]) as client:
        run = await client.bulk(Source().pairs(), packet_size=3, in_flight=1).__aenter__()
        await idle()
        leaving = asyncio.ensure_future(run.__aexit__(None, None, None))
        await gateway.clock.advance(60)
        await leaving
        await client.flush()
    assert ended == ["text 0", "text 1", "text 2"]
    assert_sums(run)


def test_the_loop_may_end_in_the_middle(gateway_of_its_own: Callable[[], Gateway]) -> None:
    """Everything is cancelled, as ``asyncio.run`` does after Ctrl-C: nothing hangs, and nothing is claimed falsely."""
    runs: list[BulkRun[Any]] = []
    gateways: list[Gateway] = []
    source = Source()

    async def main() -> None:
        gateway = gateway_of_its_own()
        gateways.append(gateway)
        gateway.hold()
        client = gateway.client(max_connections=4)
        reader = asyncio.ensure_future(consume(client))
        await idle()
        assert gateway.transport.in_flight == 2
        assert not reader.done()

    async def consume(client: Any) -> None:
        async with client.bulk(source.apairs(), packet_size=5) as run:
            runs.append(run)
            async for _ in run:
                pass

    asyncio.run(main())
    gc.collect()

    assert_sums(runs[0], source=source)
    results = gateways[0].heard()
    assert sorted(results.values()) == ["NotSent"] * runs[0].stats.not_sent + ["Unknown"] * 10
    assert_true(gateways[0].listener.results, gateways[0].emulator)


async def test_results_say_more_of_what_is_not_known(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=0)
    async with gateway.client() as client, client.bulk(Source(2).pairs()) as run:
        await idle()
        gateway.emulator.fail_next("send", Fault.ACCEPT_THEN_HTML)
        await gateway.clock.advance(1)
        results, _ = await rest_of(run)
    unknown = next(result for result in results if isinstance(result, Unknown))
    assert unknown.item[1] == "text 0"
    assert unknown.sent is not None
    assert isinstance(unknown.error, OutcomeUnknown)


# --- a gateway that asks for patience -------------------------------------------------------------


async def test_a_packet_waits_as_long_as_the_gateway_asks_up_to_five_minutes(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.TOO_MANY_REQUESTS, retry_after=300)
    async with gateway.client() as client, client.bulk([(phone(1), "text")]) as run:
        results, _ = await gateway.clock.drive(rest_of(run))
    assert kinds(results) == ["Accepted"]
    assert gateway.clock.slept == [300.0]


async def test_a_gateway_that_asks_for_more_stops_the_run_instead_of_making_it_sleep_for_days(gateway: Gateway) -> None:
    gateway.emulator.fail_next("send", Fault.TOO_MANY_REQUESTS, times=100, retry_after=301)
    source = Source(10_000)
    async with gateway.client() as client, client.bulk(source.pairs(), packet_size=5, max_unknown=3) as run:
        results, error = await rest_of(run)
    assert isinstance(error, GatewayBusy)
    assert error.retry_after == 301
    assert gateway.clock.slept == []
    assert len(gateway.packets) == 3
    assert kinds(results).count("NotSent") == 15
    assert_sums(run, source=source)
    assert gateway.accepted == []


@pytest.mark.parametrize("name", ["packet_size", "in_flight", "max_unknown"])
@pytest.mark.parametrize("value", [0, 1.5, float("inf"), True, "5"])
def test_counts_of_a_run_are_whole_numbers(gateway: Gateway, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number above 0"):
        gateway.client().bulk([], **{name: value})
