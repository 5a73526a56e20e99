"""What is tried again by itself, how often and when; all of it by a clock turned by hand."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from manual_clock import ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT, begun, failure_of
from raw_servers import answering, http, raw_server

from smspilot_async import (
    BadRequest,
    Client,
    ConnectionFailed,
    DuplicateMessage,
    GatewayBusy,
    Message,
    OutcomeUnknown,
    Reason,
    Retry,
    Unanswered,
)
from smspilot_async._requests import retry as _retry
from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from listeners import Listener

KEY = "K" * 64
ACCEPTED = b'{"send":[{"id":"0","server_id":"10001","status":"0","error":"0"}],"server_packet_id":"7"}'


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_spread", lambda low, _high: low)


@pytest.fixture
async def client(manual_clock: ManualClock, emulator: Emulator, listener: Listener) -> AsyncIterator[Client]:  # noqa: ARG001
    async with Client(emulator.api_key, url=emulator.url, hooks=[listener]) as client:
        yield client


def texts(emulator: Emulator) -> list[str]:
    return [message.text for message in emulator.messages]


# --- how long ------------------------------------------------------------------------------------


def test_the_delay_doubles_from_half_a_second_up_to_the_longest(no_jitter: None) -> None:  # noqa: ARG001
    retry = Retry(attempts=9)
    error = ConnectionFailed("away")

    assert [retry.delay(attempt, error) for attempt in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_no_attempt_is_too_late_for_a_delay() -> None:
    """A bulk run whose patience is a day gets that far."""
    assert Retry(first_delay=1e300).delay(5000, ConnectionFailed("away")) == Retry().longest_delay


def test_the_delay_varies_by_up_to_half_and_never_beyond_the_longest() -> None:
    delays = [Retry().delay(attempt, ConnectionFailed("away")) for attempt in (1, 5) for _ in range(1000)]

    first, last = delays[:1000], delays[1000:]
    assert all(0.5 <= delay <= 0.75 for delay in first)
    assert len(set(first)) > 900
    assert set(last) == {8.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first_delay": 0},
        {"first_delay": float("nan")},
        {"first_delay": "1"},
        {"longest_delay": -1},
        {"longest_delay": None},
    ],
    ids=str,
)
def test_a_schedule_that_makes_no_sense_is_refused_in_one_sentence(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ValueError, match=rf"^{name} must be a (whole )?number [a-z0-9 ]+(, not \S+)?$"):
        Retry(**wrong)


# --- 110 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_busy_gateway_is_asked_again_up_to_four_times(
    client: Client, emulator: Emulator, manual_clock: ManualClock, times: int
) -> None:
    emulator.fail_next("send", Fault.BUSY, times=times)

    await manual_clock.drive(client.send(PHONE, TEXT))

    assert len(emulator.messages) == 1
    assert len(manual_clock.slept) == times
    bounds = itertools.pairwise([0.5, 1.0, 2.0, 4.0])
    assert all(low <= slept <= high for slept, (low, high) in zip(manual_clock.slept, bounds, strict=False))


async def test_the_fourth_failure_is_raised(client: Client, emulator: Emulator, manual_clock: ManualClock) -> None:
    emulator.fail_next("send", Fault.BUSY, times=5)

    error = await manual_clock.drive(failure_of(client.send(PHONE, TEXT)))

    assert isinstance(error, GatewayBusy)
    assert len(manual_clock.slept) == 3
    emulator.no_more_faults()


async def test_of_a_packet_only_the_busy_message_is_sent_again(
    client: Client, emulator: Emulator, manual_clock: ManualClock, listener: Listener
) -> None:
    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    emulator.refuse(code=223, text="3")
    messages = [Message(PHONE, text) for text in "1234"]

    packet = await manual_clock.drive(client.send_packet(messages))

    assert texts(emulator) == ["1", "4", "2"]
    assert [row.accepted for row in packet.messages] == [True, True, False, True]
    first, second = emulator.messages[0], emulator.messages[2]
    assert packet.server_packet_id == packet.messages[0].server_packet_id == first.server_packet_id
    assert packet.messages[1].server_packet_id == second.server_packet_id
    assert packet.balance == emulator.account.balance
    assert packet.cost == 3 * emulator.account.price
    assert [result.item.text for result in await listener.heard(4)] == ["1", "3", "4", "2"]


async def test_a_message_that_stays_busy_is_not_sent_and_the_others_are_accepted_once(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=0, times=3)

    packet = await manual_clock.drive(client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")]))

    assert [type(row.failure) for row in packet.messages] == [type(None), GatewayBusy]
    assert texts(emulator) == ["1"]
    assert len(manual_clock.slept) == 3


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Fault.ACCEPT_THEN_RESET, OutcomeUnknown),
        (Fault.RESET_AFTER_READ, OutcomeUnknown),
        (Fault.SERVER_ERROR, OutcomeUnknown),
    ],
)
async def test_a_second_attempt_that_is_lost_leaves_that_message_unknown_and_the_others_accepted(
    client: Client, emulator: Emulator, manual_clock: ManualClock, fault: Fault, failure: type[Exception]
) -> None:
    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    emulator.fail_next("send", fault)

    packet = await manual_clock.drive(client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")]))

    assert [type(row.failure) for row in packet.messages] == [type(None), failure]
    assert texts(emulator).count("2") == (fault is Fault.ACCEPT_THEN_RESET)


async def test_a_duplicate_after_an_earlier_attempt_of_ours_may_be_that_attempt(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.BUSY)
    emulator.refuse(code=243)

    error = await manual_clock.drive(failure_of(client.send(PHONE, TEXT)))

    assert isinstance(error, OutcomeUnknown)
    assert (error.reason, error.code) == (Reason.DUPLICATE, 243)


async def test_the_same_of_one_message_of_a_packet(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    emulator.refuse(code=243, text="2")

    packet = await manual_clock.drive(client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")]))

    failure = packet.messages[1].failure
    assert isinstance(failure, OutcomeUnknown)
    assert failure.reason is Reason.DUPLICATE
    assert packet.messages[0].accepted


async def test_a_duplicate_at_the_first_attempt_is_a_refusal(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=243)

    assert type(await failure_of(client.send(PHONE, TEXT))) is DuplicateMessage


# --- 429 -----------------------------------------------------------------------------------------


async def test_the_log_names_the_status_of_a_refusal_without_a_code(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fail_next("send", Fault.TOO_MANY_REQUESTS)
    async with Client(emulator.api_key, url=emulator.url, retry=Retry(attempts=1)) as client:
        await failure_of(client.send(PHONE, TEXT))

    assert "packet of 1: not sent (HTTP 429)" in caplog.messages


async def test_too_many_requests_are_asked_again_after_the_seconds_that_the_gateway_names(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.TOO_MANY_REQUESTS, retry_after=7)

    await manual_clock.drive(client.send(PHONE, TEXT))

    assert manual_clock.slept == [7.0]
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("call", ["send", "balance"])
@pytest.mark.parametrize("value", ["25", "3600", "date"])
async def test_a_retry_after_beyond_the_deadline_is_raised_at_once(
    manual_clock: ManualClock, call: str, value: str
) -> None:
    moment = format_datetime(manual_clock.now() + timedelta(hours=1), usegmt=True)
    headers = {"Retry-After": moment if value == "date" else value}
    client = Client(KEY, transport=httpx.MockTransport(lambda _: httpx.Response(429, headers=headers)))

    error = await failure_of(client.send(PHONE, TEXT) if call == "send" else client.balance())

    assert isinstance(error, GatewayBusy)
    assert error.retry_after == (3600.0 if value == "date" else float(value))
    assert manual_clock.slept == []


@pytest.mark.parametrize(
    ("value", "slept"),
    [("3", [3.0]), ("0", [0.0]), ("date", [9.0]), ("past", [0.0]), ("soon", [0.5]), ("", [0.5])],
)
async def test_a_retry_after_is_seconds_or_a_date_and_else_ignored(
    manual_clock: ManualClock,
    no_jitter: None,  # noqa: ARG001
    value: str,
    slept: list[float],
) -> None:
    moments = {"date": manual_clock.now() + timedelta(seconds=9), "past": manual_clock.now() - timedelta(days=1)}
    header = format_datetime(moments[value], usegmt=True) if value in moments else value
    answers = iter([httpx.Response(429, headers={"Retry-After": header}), httpx.Response(200, content=ACCEPTED)])
    client = Client(KEY, transport=httpx.MockTransport(lambda _: next(answers)))

    await manual_clock.drive(client.send(PHONE, TEXT))

    assert manual_clock.slept == [delay for delay in slept if delay]


# --- what did not leave --------------------------------------------------------------------------


class Away(httpx.AsyncBaseTransport):
    """Cannot be reached the first times, and proves it as httpcore does."""

    def __init__(self, times: int, behind: httpx.AsyncBaseTransport) -> None:
        self.times = times
        self.behind = behind

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.times:
            self.times -= 1
            await request.extensions["trace"]("connection.connect_tcp.started", {})
            raise httpx.ConnectError("refused")
        return await self.behind.handle_async_request(request)


CALLS: dict[str, Callable[[Client], Any]] = {
    "send": lambda client: client.send(PHONE, TEXT),
    "send_packet": lambda client: client.send_packet([Message(PHONE, TEXT)]),
    "balance": lambda client: client.balance(),
    "inbound new": lambda client: client.inbound("new"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_what_did_not_leave_is_tried_again_even_where_nothing_else_is(
    emulator: Emulator, manual_clock: ManualClock, call: str
) -> None:
    emulator.inbound(PHONE, "STOP")
    async with Client(emulator.api_key, url=emulator.url, transport=Away(3, emulator.transport)) as client:
        await manual_clock.drive(CALLS[call](client))

    assert len(manual_clock.slept) == 3
    assert len(emulator.messages) == call.startswith("send")


@pytest.mark.parametrize("call", CALLS)
async def test_four_attempts_without_a_connection_are_enough(
    emulator: Emulator, manual_clock: ManualClock, call: str
) -> None:
    away = Away(99, emulator.transport)
    async with Client(emulator.api_key, url=emulator.url, transport=away) as client:
        error = await manual_clock.drive(failure_of(CALLS[call](client)))

    assert type(error) is ConnectionFailed
    assert away.times == 99 - 4


@pytest.mark.parametrize("call", CALLS)
async def test_a_client_that_is_told_to_try_once_tries_once(
    emulator: Emulator, manual_clock: ManualClock, call: str
) -> None:
    away = Away(99, emulator.transport)
    client = Client(emulator.api_key, url=emulator.url, transport=away, retry=Retry(attempts=1))

    await failure_of(CALLS[call](client))

    assert away.times == 98
    assert manual_clock.slept == []


@pytest.mark.parametrize("call", CALLS)
async def test_no_attempt_begins_after_the_deadline(
    emulator: Emulator,
    manual_clock: ManualClock,
    no_jitter: None,  # noqa: ARG001
    call: str,
) -> None:
    away = Away(99, emulator.transport)
    client = Client(emulator.api_key, url=emulator.url, transport=away, deadline=3.5, retry=Retry(attempts=9))

    error = await manual_clock.drive(failure_of(CALLS[call](client)))

    assert type(error) is ConnectionFailed
    assert sum(manual_clock.slept) <= 3.5
    assert away.times == 99 - 3


async def test_a_first_attempt_that_did_not_leave_makes_no_duplicate_of_a_later_one(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.refuse(code=243)
    client = Client(emulator.api_key, url=emulator.url, transport=Away(1, emulator.transport))

    assert type(await manual_clock.drive(failure_of(client.send(PHONE, TEXT)))) is DuplicateMessage


async def test_a_busy_message_that_then_cannot_leave_stays_not_sent_because_of_that(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    class AwayAfterwards(Away):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            self.times = 99
            return response

    emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    client = Client(emulator.api_key, url=emulator.url, transport=AwayAfterwards(0, emulator.transport))

    packet = await manual_clock.drive(client.send_packet([Message(PHONE, "1"), Message(PHONE, "2")]))

    assert [type(row.failure) for row in packet.messages] == [type(None), GatewayBusy]


# --- reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"<html>", status="503 Busy"), Reason.HTTP_STATUS),
        (http(b"<html>"), Reason.UNREADABLE),
        (http(b"{"), Reason.UNREADABLE),
        (http(b" " * 100_000), Reason.TOO_LARGE),
    ],
)
async def test_a_read_is_asked_four_times_before_it_gives_up(
    manual_clock: ManualClock, answer: bytes, reason: Reason
) -> None:
    async with raw_server(answering(answer)) as server, Client(KEY, url=server.url) as client:
        error = await manual_clock.drive(failure_of(client.balance()))

    assert type(error) is Unanswered
    assert error.reason is reason
    assert len(server.requests) == 4


async def test_a_read_that_the_gateway_refuses_is_not_asked_again(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.account.blocked = 14

    assert type(await failure_of(client.balance())) is BadRequest
    assert manual_clock.slept == []


async def test_a_read_waits_no_longer_than_its_deadline(manual_clock: ManualClock, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, timeout=60) as client:
        emulator.fail_next("balance", Fault.SLOW)
        waiting = await begun(failure_of(client.balance(deadline=5)))
        await manual_clock.advance(5)

        assert isinstance(await waiting, (Unanswered, ConnectionFailed))


# --- the rate limit ------------------------------------------------------------------------------


async def test_sends_keep_to_the_rate(emulator: Emulator, manual_clock: ManualClock) -> None:
    async with Client(emulator.api_key, url=emulator.url, rate_limit=10, packet_size=5) as client:
        await manual_clock.drive(_all(client.send(PHONE, str(number)) for number in range(20)))

    assert sum(manual_clock.slept) == pytest.approx(1.5)
    assert len(emulator.messages) == 20


async def _all(works: Any) -> None:
    await asyncio.gather(*works)


async def test_a_turn_that_would_come_after_the_deadline_is_not_waited_for(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    async with Client(emulator.api_key, url=emulator.url, rate_limit=0.1) as client:
        await client.send(PHONE, "1")
        error = await failure_of(client.send(PHONE, "2", deadline=9))

    assert manual_clock.slept == []
    assert type(error) is ConnectionFailed
    assert texts(emulator) == ["1"]


async def test_reads_do_not_wait_for_the_rate(emulator: Emulator, manual_clock: ManualClock) -> None:
    async with Client(emulator.api_key, url=emulator.url, rate_limit=0.1) as client:
        await client.send(PHONE, "1")
        await client.balance()

    assert manual_clock.slept == []


async def test_who_gives_up_while_waiting_for_a_turn_leaves_no_gap(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    async with Client(emulator.api_key, url=emulator.url, rate_limit=1, packet_size=1) as client:
        await client.send(PHONE, "1")
        crowd = [asyncio.ensure_future(client.send(OTHER_PHONE, str(number))) for number in range(20)]
        await idle()
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        await manual_clock.advance(1)
        await manual_clock.drive(client.send(PHONE, "2"))

    assert manual_clock.monotonic() < 1005
    assert texts(emulator)[0] == "1"
    assert texts(emulator)[-1] == "2"


async def test_no_limit_means_no_waiting(manual_clock: ManualClock) -> None:
    limit = RateLimit(None, manual_clock)

    assert all([await limit.wait(1000, 0.0) for _ in range(10)])
    assert manual_clock.slept == []
