"""Every failure says how sure we are, and the gateway's own record shows that it is right."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
from outcomes import OTHER_PHONE, PHONE, TEXT, begun, failure_of

from smspilot_async import (
    BadRequest,
    Client,
    GatewayBusy,
    Message,
    MessageRefused,
    NotFound,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    Unanswered,
)
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from listeners import Listener
    from manual_clock import ManualClock


@pytest.fixture(params=["over a socket", "in process"])
def transport(request: pytest.FixtureRequest, emulator: Emulator) -> httpx.AsyncBaseTransport | None:
    return emulator.transport if request.param == "in process" else None


@pytest.fixture
async def client(
    transport: httpx.AsyncBaseTransport | None,
    emulator: Emulator,
    listener: Listener,
    manual_clock: ManualClock,  # noqa: ARG001 - it has to stand before the client is made
) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url, timeout=5.0, transport=transport, hooks=[listener]) as client:
        yield client


@attrs.frozen
class Expected:
    """What a client must make of a fault.

    Attributes:
        reason: Why the outcome is unknown; for refusals ``None``.
        code: The gateway's code of a refusal.
        accepted: How many messages the gateway took, however often the client would like to try.
        is_tried_again: Whether it may be tried again.
    """

    error: type[SmsPilotError]
    outcome: Outcome
    reason: Reason | None = None
    code: int | None = None
    http_status: int | None = None
    accepted: int = 0
    is_tried_again: bool = False


def unknown(reason: Reason, *, accepted: int, http_status: int | None = None) -> Expected:
    return Expected(OutcomeUnknown, Outcome.UNKNOWN, reason, accepted=accepted, http_status=http_status)


def busy(code: int | None, http_status: int | None = 200) -> Expected:
    return Expected(GatewayBusy, Outcome.NOT_SENT, code=code, http_status=http_status, is_tried_again=True)


FAULTS = {
    Fault.RESET_BEFORE_READ: unknown(Reason.DISCONNECTED, accepted=0),
    Fault.RESET_AFTER_READ: unknown(Reason.DISCONNECTED, accepted=0),
    Fault.ACCEPT_THEN_RESET: unknown(Reason.DISCONNECTED, accepted=1),
    Fault.ACCEPT_THEN_CLOSE: unknown(Reason.DISCONNECTED, accepted=1),
    Fault.ACCEPT_THEN_HALF_ANSWER: unknown(Reason.DISCONNECTED, accepted=1),
    Fault.ACCEPT_THEN_GARBAGE: unknown(Reason.UNREADABLE, accepted=1, http_status=200),
    Fault.ACCEPT_THEN_HTML: unknown(Reason.UNREADABLE, accepted=1, http_status=200),
    Fault.ACCEPT_THEN_SERVER_ERROR: unknown(Reason.HTTP_STATUS, accepted=1, http_status=502),
    Fault.SERVER_ERROR: unknown(Reason.HTTP_STATUS, accepted=0, http_status=503),
    Fault.NOT_FOUND: unknown(Reason.HTTP_STATUS, accepted=0, http_status=404),
    Fault.SLOW: unknown(Reason.TIMEOUT, accepted=1),
    Fault.BUSY: busy(110),
    Fault.BUSY_MESSAGE: busy(110, None),
    Fault.TOO_MANY_REQUESTS: busy(None, 429),
}
READS: dict[str, Any] = {
    "balance": lambda client: client.balance(),
    "info": lambda client: client.info(),
    "check": lambda client: client.check(["10001"]),
    "inbound": lambda client: client.inbound(),
    "cost": lambda client: client.cost([Message(PHONE, TEXT)]),
}


def test_the_table_has_every_fault_of_the_emulator() -> None:
    assert set(FAULTS) == set(Fault)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.SLOW])
@pytest.mark.parametrize("command", ["send", "*"])
async def test_each_fault_of_a_send_has_its_certainty_and_nothing_is_accepted_twice(  # noqa: PLR0917 - fixtures
    client: Client, emulator: Emulator, manual_clock: ManualClock, listener: Listener, fault: Fault, command: str
) -> None:
    expected = FAULTS[fault]
    emulator.fail_next(command, fault, times=9)

    error = await manual_clock.drive(failure_of(client.send(PHONE, TEXT)))

    assert type(error) is expected.error
    assert error.outcome is expected.outcome
    assert getattr(error, "reason", None) is expected.reason
    assert getattr(error, "code", None) == expected.code
    assert getattr(error, "http_status", None) == expected.http_status
    assert len(emulator.messages) == expected.accepted
    assert len(manual_clock.slept) == (3 if expected.is_tried_again else 0)
    assert listener.kinds == ["NotSent" if expected.outcome is Outcome.NOT_SENT else "Unknown"]


async def test_an_answer_that_does_not_come_within_the_timeout_leaves_the_outcome_unknown(
    client: Client, emulator: Emulator, manual_clock: ManualClock, listener: Listener
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    call = await begun(failure_of(client.send(PHONE, TEXT)))
    await emulator.wait_for(to=PHONE)

    await manual_clock.advance(4.9)
    assert not call.done()
    await manual_clock.advance(0.2)

    error = await call
    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.TIMEOUT
    assert len(emulator.messages) == 1
    assert await listener.heard() == listener.results
    assert listener.kinds == ["Unknown"]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.SLOW])
@pytest.mark.parametrize("command", READS)
async def test_a_read_that_met_a_fault_is_asked_again_and_answered(
    client: Client, emulator: Emulator, manual_clock: ManualClock, fault: Fault, command: str
) -> None:
    await client.send(PHONE, TEXT, id=1)
    sent = emulator.messages[0].server_id
    emulator.fail_next(command, fault)

    calls = {**READS, "check": lambda client: client.check([sent])}
    await manual_clock.drive(calls[command](client))

    does_not_meet_rows = fault is Fault.BUSY_MESSAGE and command != "cost"
    assert len(manual_clock.slept) == (0 if does_not_meet_rows else 1)
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if FAULTS[fault].reason and fault is not Fault.SLOW])
async def test_a_read_without_an_answer_is_unanswered_and_no_outcome_is_in_doubt(
    client: Client, emulator: Emulator, manual_clock: ManualClock, fault: Fault
) -> None:
    emulator.fail_next("balance", fault, times=4)

    error = await manual_clock.drive(failure_of(client.balance()))

    assert type(error) is Unanswered
    assert error.reason is FAULTS[fault].reason
    assert len(manual_clock.slept) == 3


@pytest.mark.parametrize("fault", [fault for fault in Fault if FAULTS[fault].reason and fault is not Fault.SLOW])
async def test_a_destructive_read_is_never_repeated_after_its_first_byte(
    client: Client, emulator: Emulator, manual_clock: ManualClock, fault: Fault
) -> None:
    emulator.inbound(PHONE, "STOP")
    emulator.fail_next("inbound", fault)

    error = await manual_clock.drive(failure_of(client.inbound("new")))

    assert type(error) is Unanswered
    assert manual_clock.slept == []
    assert emulator.inbound_messages[0].seen is bool(FAULTS[fault].accepted)


# --- what is not known about the gateway ----------------------------------------------------------


def packet(size: int = 3) -> list[Message]:
    return [Message(f"79087964{700 + number}", f"{TEXT} {number}") for number in range(size)]


def texts(emulator: Emulator) -> list[str]:
    return [message.text for message in emulator.messages]


async def test_an_error_document_after_part_of_a_packet_was_accepted_leaves_all_of_it_unknown(
    client: Client, emulator: Emulator, listener: Listener
) -> None:
    emulator.unknowns.partly_accepted = 1

    error = await failure_of(client.send_packet(packet()))

    assert isinstance(error, OutcomeUnknown)
    assert (error.reason, error.code) == (Reason.PARTIAL, 241)
    assert len(emulator.messages) == 1
    assert await listener.heard(3) == listener.results
    assert listener.kinds == ["Unknown"] * 3


@pytest.mark.parametrize("code", [241, 500_000])
async def test_messages_that_share_a_packet_are_not_sent_again_after_a_partial_acceptance(
    client: Client, emulator: Emulator, code: int
) -> None:
    emulator.unknowns.partly_accepted = 1
    emulator.unknowns.partly_accepted_code = code

    errors = await asyncio.gather(*(failure_of(client.send_message(message)) for message in packet()))

    assert [type(error) for error in errors] == [OutcomeUnknown] * 3
    assert len(emulator.messages) == 1


async def test_rows_in_another_order_find_their_messages_by_id(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.rows_reordered = True
    messages = packet(20)

    answer = await client.send_packet(messages)

    by_number = {message.server_id: message.text for message in emulator.messages}
    assert [by_number[row.server_id or ""] for row in answer.messages] == [message.text for message in messages]


async def test_rows_without_ids_are_matched_by_position(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.ids_zero = True
    messages = packet()

    answer = await client.send_packet(messages)

    by_number = {message.server_id: message.text for message in emulator.messages}
    assert [by_number[row.server_id or ""] for row in answer.messages] == [message.text for message in messages]


async def test_rows_without_ids_in_another_order_match_nothing(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.ids_zero = True
    emulator.unknowns.rows_reordered = True

    error = await failure_of(client.send_packet(packet(9)))

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.MISMATCH
    assert len(emulator.messages) == 9


async def test_missing_rows_leave_all_unknown_and_name_the_packet_to_ask_about(
    client: Client, emulator: Emulator
) -> None:
    emulator.unknowns.rows_missing = 1

    error = await failure_of(client.send_packet(packet()))

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.MISMATCH
    assert error.server_packet_id == emulator.messages[0].server_packet_id
    assert len(emulator.messages) == 3


async def test_a_phone_twice_in_a_packet_is_refused_once(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.duplicate_phones_refused = True

    answer = await client.send_packet([Message(PHONE, "1"), Message(OTHER_PHONE, "2"), Message(PHONE, "3")])

    assert [row.error for row in answer.messages] == [0, 0, 214]
    assert [row.outcome for row in map(_failure, answer.refused)] == [Outcome.REFUSED]
    assert texts(emulator) == ["1", "2"]


def _failure(row: Any) -> SmsPilotError:
    assert isinstance(row.failure, SmsPilotError)
    return row.failure


async def test_a_phone_twice_among_concurrent_sends_is_sent_apart(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.duplicate_phones_refused = True

    sent = await asyncio.gather(*(client.send(PHONE, text) for text in "123"))

    assert sorted(texts(emulator)) == ["1", "2", "3"]
    assert len({answer.server_id for answer in sent}) == 3


async def test_one_bad_message_that_refuses_its_packet_is_refused_and_nothing_is_accepted(
    client: Client, emulator: Emulator
) -> None:
    emulator.unknowns.one_bad_refuses_packet = True
    emulator.refuse(code=223, text=f"{TEXT} 1")

    error = await failure_of(client.send_packet(packet()))

    assert type(error) is MessageRefused
    assert error.outcome is Outcome.REFUSED
    assert emulator.messages == ()


async def test_one_bad_message_among_concurrent_sends_does_not_take_the_others_along(
    client: Client, emulator: Emulator
) -> None:
    emulator.unknowns.one_bad_refuses_packet = True
    emulator.refuse(code=223, text=f"{TEXT} 5")

    results = await asyncio.gather(*map(client.send_message, packet(9)), return_exceptions=True)

    assert [type(result).__name__ for result in results].count("SentMessage") == 8
    assert type(results[5]) is MessageRefused
    assert sorted(texts(emulator)) == [f"{TEXT} {number}" for number in range(9) if number != 5]


async def test_a_packet_of_only_bad_messages_is_refused_either_way(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=111)
    rows = await client.send_packet(packet())
    emulator.unknowns.all_bad_refuses_packet = True
    error = await failure_of(client.send_packet(packet()))

    assert [type(row.failure) for row in rows.messages] == [MessageRefused] * 3
    assert type(error) is MessageRefused
    assert emulator.messages == ()


@pytest.mark.parametrize("status", [200, 400, 404, 500, 503])
async def test_an_error_document_counts_whatever_http_status_carries_it(
    client: Client, emulator: Emulator, status: int
) -> None:
    emulator.unknowns.error_status = status
    emulator.account.blocked = 106

    error = await failure_of(client.send(PHONE, TEXT))

    assert (error.outcome, getattr(error, "code", None)) == (Outcome.NOT_SENT, 106)
    assert emulator.messages == ()


async def test_a_check_right_after_accepting_may_say_minus_two(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.check_lag = timedelta(minutes=1)
    sent = await client.send(PHONE, TEXT)

    assert [status.status for status in await client.check([sent])] == [-2]


@pytest.mark.parametrize("refuses_check", [False, True])
async def test_an_unknown_id_among_others_has_status_minus_two_however_the_gateway_says_it(
    client: Client, emulator: Emulator, *, refuses_check: bool
) -> None:
    emulator.unknowns.missing_id_refuses_check = refuses_check
    sent = await client.send(PHONE, TEXT)

    assert [row.status for row in await client.check([sent, "99999"])] == [0, -2]
    assert type(await failure_of(client.check(["99999"]))) is NotFound


async def test_a_packet_of_too_many_messages_is_refused(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.max_messages = 2

    error = await failure_of(client.send_packet(packet()))

    assert type(error) is BadRequest
    assert emulator.messages == ()


async def test_a_body_that_a_server_in_between_finds_too_large_has_an_unknown_outcome(
    client: Client, emulator: Emulator
) -> None:
    emulator.unknowns.max_bytes = 100

    error = await failure_of(client.send_packet(packet()))

    assert isinstance(error, OutcomeUnknown)
    assert (error.reason, error.http_status) == (Reason.HTTP_STATUS, 413)


@pytest.mark.parametrize("limit", ["messages_per_second", "requests_per_second"])
@pytest.mark.parametrize("answer", [429, 110])
async def test_a_limit_of_the_gateway_is_waited_out(
    client: Client, emulator: Emulator, manual_clock: ManualClock, limit: str, answer: Any
) -> None:
    setattr(emulator.unknowns, limit, 1)
    emulator.unknowns.limit_answer = answer
    await client.send(PHONE, "1")

    second = await begun(client.send(PHONE, "2"))
    await manual_clock.sleeper()
    emulator.clock.advance(seconds=2)
    await manual_clock.drive(_wait(second))

    assert texts(emulator) == ["1", "2"]


async def _wait(task: asyncio.Task[Any]) -> None:
    await task


@pytest.mark.parametrize("answer", [429, 110])
async def test_of_more_connections_than_the_gateway_allows_those_are_refused_that_say_so(
    transport: httpx.AsyncBaseTransport | None, emulator: Emulator, manual_clock: ManualClock, answer: Any
) -> None:
    emulator.unknowns.connections_per_key = 2
    emulator.unknowns.limit_answer = answer
    # The clock is turned for who pauses while others are on the wire, whose time must not be up by that.
    patience: Any = {"timeout": 1000.0, "deadline": 1000.0}

    async def all_at_once() -> list[Any]:
        async with Client(emulator.api_key, url=emulator.url, transport=transport, **patience) as client:
            return await asyncio.gather(*(client.send_packet([one]) for one in packet(9)), return_exceptions=True)

    results = await manual_clock.drive(all_at_once())

    failures = [result for result in results if isinstance(result, Exception)]
    assert {type(failure) for failure in failures} <= {GatewayBusy}
    assert len(emulator.messages) == 9 - len(failures) > 0


async def test_a_callback_that_is_refused_is_refused_by_row(client: Client, emulator: Emulator) -> None:
    emulator.unknowns.https_callback_refused = True

    error = await failure_of(client.send(PHONE, TEXT, callback="https://example.com/sms"))

    assert type(error) is MessageRefused
    assert getattr(error, "code", None) == 260
    assert emulator.messages == ()


async def test_a_cost_that_was_answered_as_a_send_is_raised_and_never_repeated(
    manual_clock: ManualClock,
) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        row = '{"id":1,"server_id":"10001","to":"79087964781","price":"1.25","status":0,"error":0}'
        return httpx.Response(200, content=f'{{"send":[{row}],"server_packet_id":"7","balance":"1","cost":"1.25"}}')

    client = Client("KEY", transport=httpx.MockTransport(answer))

    error = await manual_clock.drive(failure_of(client.cost([Message(PHONE, TEXT)])))

    assert isinstance(error, OutcomeUnknown)
    assert (error.reason, error.server_packet_id) == (Reason.SENT_BY_COST, "7")
    assert len(requests) == 1


async def test_a_scheduled_message_is_accepted_like_any_other(
    client: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    later = manual_clock.now() + timedelta(days=1)

    sent = await client.send(PHONE, TEXT, send_at=later)

    assert (sent.status, emulator.messages[0].send_at) == (3, later)
