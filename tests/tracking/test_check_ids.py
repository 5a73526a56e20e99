from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tracking_desk import results_of_every_kind

from smspilot_async import (
    Accepted,
    AuthenticationError,
    Client,
    ClientClosed,
    InvalidMessage,
    Message,
    MessageStatus,
    NotFound,
    SmsPilotError,
    Unanswered,
)
from smspilot_async._statuses.checks import check, check_ids
from smspilot_async.emulator import Fault
from smspilot_async.errors import Reason
from smspilot_async.wire import Check, Command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracking_desk import Desk

    from smspilot_async.emulator import Emulator

UNANSWERED = Unanswered("no answer", reason=Reason.TIMEOUT, command="check")


class Gateway:
    """Answers checks by ids: 302 where one of those it does not know is among them."""

    def __init__(self, unknown: Sequence[str] = (), code: int = 302) -> None:
        self.unknown = set(unknown)
        self.code = code
        self.asked: list[tuple[str, ...]] = []
        self.untils: set[float | None] = set()
        self.fault: Callable[[Sequence[str]], SmsPilotError | None] = lambda _: None
        self.at_work = self.most = 0

    async def __call__(self, command: Command[Any], until: float | None = None) -> Any:
        assert isinstance(command, Check)
        self.asked.append(tuple(command.server_ids))
        self.untils.add(until)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0)
        self.at_work -= 1
        if (error := self.fault(command.server_ids)) is not None:
            return error
        if self.unknown.intersection(command.server_ids):
            return NotFound("unknown", code=self.code, command="check")
        return [MessageStatus(server_id=id_, status=2) for id_ in reversed(command.server_ids)]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


# --- splitting -----------------------------------------------------------------------------------


async def test_a_hundred_to_a_request_and_several_requests_at_once() -> None:
    gateway = Gateway()
    found = await check_ids(numbers(1050), gateway, in_flight=4)

    assert [len(asked) for asked in gateway.asked] == [100] * 10 + [50]
    assert sorted(found, key=int) == numbers(1050)
    assert gateway.most == 4


@pytest.mark.parametrize("code", [301, 302])
async def test_an_unknown_id_is_found_by_halves(code: int) -> None:
    gateway = Gateway(["37"], code)
    found = await check_ids(numbers(100), gateway, in_flight=2)

    assert found.pop("37") == MessageStatus(server_id="37", status=-2, error=code)
    assert {status.status for status in found.values()} == {2}
    assert len(found) == 99
    assert len(gateway.asked) <= 2 * 7 + 1


async def test_no_more_requests_than_there_are_halves_when_all_are_unknown() -> None:
    gateway = Gateway(numbers(64))
    found = await check_ids(numbers(64), gateway, in_flight=8)

    assert {status.status for status in found.values()} == {-2}
    assert len(gateway.asked) == 2 * 64 - 1
    assert gateway.most == 8


async def test_a_lone_unknown_id_raises() -> None:
    with pytest.raises(NotFound):
        await check_ids(["1"], Gateway(["1"]), in_flight=1)


async def test_a_lone_unknown_id_is_an_answer_for_who_takes_failures() -> None:
    failures: list[SmsPilotError] = []
    found = await check_ids(["1"], Gateway(["1"]), in_flight=1, failures=failures)

    assert found["1"].status == -2
    assert failures == []


async def test_any_other_error_ends_it() -> None:
    gateway = Gateway()
    gateway.fault = lambda ids: UNANSWERED if "150" in ids else None
    with pytest.raises(Unanswered):
        await check_ids(numbers(100_000), gateway, in_flight=2)
    assert len(gateway.asked) < 10


async def test_errors_may_be_collected_beside_the_answers() -> None:
    gateway = Gateway()
    gateway.fault = lambda ids: UNANSWERED if "150" in ids else None
    failures: list[SmsPilotError] = []
    found = await check_ids(numbers(300), gateway, in_flight=2, failures=failures)

    assert failures == [UNANSWERED]
    assert len(found) == 200


async def test_an_error_of_the_account_is_raised_even_then() -> None:
    gateway = Gateway()
    gateway.fault = lambda _: AuthenticationError("key", code=101)
    with pytest.raises(AuthenticationError):
        await check_ids(numbers(3), gateway, in_flight=2, failures=[])


async def test_every_request_has_the_same_end() -> None:
    gateway = Gateway(["5"])
    await check_ids(numbers(300), gateway, in_flight=2, until=77.0)

    assert gateway.untils == {77.0}


# --- order ---------------------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_ids_and_duplicates_are_asked_once() -> None:
    gateway = Gateway()
    ids = ["30", "10", "20", "10", "30"]
    statuses = await check(ids, gateway, in_flight=1, until=1.0)

    assert [status.server_id for status in statuses] == ids
    assert gateway.asked == [("30", "10", "20")]


async def test_an_id_twice_is_still_a_lone_one() -> None:
    with pytest.raises(NotFound):
        await check(["1", "1"], Gateway(["1"]), in_flight=1, until=1.0)


# --- the client ----------------------------------------------------------------------------------


async def test_many_ids_of_a_real_gateway(client: Client, emulator: Emulator) -> None:
    packet = await client.send_packet([Message("79087964781", f"text {n}") for n in range(250)])
    sent = list(packet.messages)
    emulator.clock.advance(minutes=1)

    statuses = await client.check([*reversed(sent), "99", sent[0]])

    assert [status.server_id for status in statuses[:250]] == [message.server_id for message in reversed(sent)]
    assert Counter(status.status for status in statuses) == {2: 251, -2: 1}
    assert statuses[250].server_id == "99"
    assert statuses[251] == statuses[249]


@pytest.mark.parametrize("refuses", [True, False])
async def test_unknown_ids_whatever_the_gateway_makes_of_them(
    client: Client,
    emulator: Emulator,
    refuses: bool,  # noqa: FBT001
) -> None:
    emulator.unknowns.missing_id_refuses_check = refuses
    packet = await client.send_packet([Message("79087964781", f"text {n}") for n in range(3)])
    first, second, third = (message.server_id for message in packet.messages)

    statuses = await client.check([first or "", "x1", second or "", 98, third or ""])

    assert [(status.server_id, status.status) for status in statuses] == [
        (first, 0),
        ("x1", -2),
        (second, 0),
        ("98", -2),
        (third, 0),
    ]
    assert statuses[1].error == 301
    assert statuses[3].error == (302 if refuses else None)


async def test_only_unknown_ids(client: Client) -> None:
    assert [(status.status, status.error) for status in await client.check([1, 2, 3])] == [(-2, 302)] * 3


async def test_a_lone_unknown_id(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        await client.check([5])
    assert caught.value.code == 302


async def test_no_ids_ask_nothing(desk: Desk) -> None:
    assert await desk.client.check([]) == []
    assert desk.line.asked == []


async def test_one_id_or_message_alone(desk: Desk) -> None:
    sent = (await desk.packet(1)).messages[0]
    assert sent.server_id is not None

    for given in (sent, sent.server_id, int(sent.server_id)):
        assert [status.server_id for status in await desk.client.check(given)] == [sent.server_id]


async def test_results_of_a_run_are_asked_about_where_they_were_accepted(desk: Desk) -> None:
    results = await results_of_every_kind(desk)
    accepted = next(result for result in results if isinstance(result, Accepted))
    number = accepted.sent.server_id
    for given in (results, accepted, iter(results)):
        assert [status.server_id for status in await desk.client.check(given)] == [number]
    assert [status.server_id for status in await desk.client.check([*results, accepted.sent])] == [number] * 2
    desk.line.asked.clear()
    assert await desk.client.check([result for result in results if result is not accepted]) == []
    assert desk.line.asked == []


async def test_what_was_accepted_of_a_packet_is_asked_about(desk: Desk) -> None:
    desk.emulator.refuse(code=212, text="text 1")
    packet = await desk.packet(3)
    found = await desk.client.check(packet)
    assert [status.server_id for status in found] == [sent.server_id for sent in packet.accepted]


async def test_what_is_no_id(client: Client) -> None:
    with pytest.raises(InvalidMessage) as caught:
        await client.check(["10", "не номер"])
    assert (caught.value.field, caught.value.code) == ("server_ids", 300)
    with pytest.raises(InvalidMessage):
        await client.check([True])


async def test_a_row_that_is_missing_has_no_status(desk: Desk) -> None:
    desk.line.answer = lambda _: {"check": [{"server_id": "2", "status": 1}]}

    assert await desk.client.check([1, 2]) == [
        MessageStatus(server_id="1"),
        MessageStatus(server_id="2", status=1),
    ]


async def test_rows_that_name_no_id_are_matched_by_position(desk: Desk) -> None:
    desk.line.answer = lambda _: {"check": [{"status": 1}, {"status": 2}]}

    assert [(status.server_id, status.status) for status in await desk.client.check([7, 8])] == [("7", 1), ("8", 2)]


async def test_a_stranger_among_the_rows_is_left_out(desk: Desk) -> None:
    desk.line.answer = lambda _: {"check": [{"server_id": "9", "status": 1}, {"server_id": "1", "status": 2}]}

    assert await desk.client.check([1]) == [MessageStatus(server_id="1", status=2)]


async def test_one_deadline_for_all_requests(desk: Desk) -> None:
    desk.emulator.fail_next("check", Fault.SLOW, times=9)
    checking = asyncio.ensure_future(desk.client.check(range(1, 500), deadline=4))
    await desk.clock.advance(3.9)
    assert not checking.done()
    await desk.clock.advance(0.2)

    with pytest.raises(Unanswered):
        await checking


async def test_a_closed_client(desk: Desk) -> None:
    await desk.client.aclose()
    with pytest.raises(ClientClosed):
        await desk.client.check([1, 2])
    with pytest.raises(ClientClosed):
        await desk.client.check_packet(1)
