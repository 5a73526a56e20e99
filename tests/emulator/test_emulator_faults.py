"""Faults, over a socket and in process: what the client sees, and what the gateway really did."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest

from smspilot_async.emulator import Emulator, Fault
from smspilot_async.emulator.gateway._faults import COMMANDS
from smspilot_async.emulator.server._http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PHONE = "79087964781"


@attrs.frozen
class Line:
    """An emulator and a foreign client connected to it, one way or the other."""

    emulator: Emulator
    http: httpx.AsyncClient

    async def send(self, *texts: str) -> httpx.Response:
        rows = [{"to": PHONE, "text": text} for text in texts or ["x"]]
        return await self.http.post(self.emulator.url, json={"apikey": self.emulator.api_key, "send": rows})

    async def ask(self, **fields: Any) -> httpx.Response:
        return await self.http.post(self.emulator.url, json={"apikey": self.emulator.api_key, **fields})


@pytest.fixture(params=["socket", "in-process"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    if request.param == "socket":
        async with Emulator.serve(seed=1) as emulator, httpx.AsyncClient(trust_env=False) as http:
            yield Line(emulator, http)
    else:
        emulator = Emulator(seed=1)
        async with httpx.AsyncClient(transport=emulator.transport) as http:
            yield Line(emulator, http)


# fault, is it accepted, the exception or the status that the client sees
FAULTS: list[tuple[Fault, int, type[Exception] | int]] = [
    (Fault.RESET_BEFORE_READ, 0, httpx.ReadError),
    (Fault.RESET_AFTER_READ, 0, httpx.ReadError),
    (Fault.ACCEPT_THEN_RESET, 1, httpx.ReadError),
    (Fault.ACCEPT_THEN_CLOSE, 1, httpx.RemoteProtocolError),
    (Fault.ACCEPT_THEN_HALF_ANSWER, 1, httpx.RemoteProtocolError),
    (Fault.ACCEPT_THEN_GARBAGE, 1, 200),
    (Fault.ACCEPT_THEN_HTML, 1, 200),
    (Fault.ACCEPT_THEN_SERVER_ERROR, 1, 502),
    (Fault.SERVER_ERROR, 0, 503),
    (Fault.SLOW, 1, 200),
    (Fault.BUSY, 0, 200),
    (Fault.BUSY_MESSAGE, 0, 200),
    (Fault.TOO_MANY_REQUESTS, 0, 429),
    (Fault.NOT_FOUND, 0, 404),
]


def test_every_fault_is_in_the_table() -> None:
    assert [fault for fault, _, _ in FAULTS] == list(Fault)


@pytest.mark.parametrize(("fault", "accepted", "seen"), FAULTS)
async def test_a_fault_does_what_it_says(fault: Fault, accepted: int, seen: type[Exception] | int, line: Line) -> None:
    line.emulator.fail_next("send", fault, delay=0.001)
    if isinstance(seen, int):
        assert (await line.send()).status_code == seen
    else:
        with pytest.raises(seen):
            await line.send()
    assert len(line.emulator.messages) == accepted
    line.emulator.account.loop_protection = None
    assert (await line.send()).json()["send"][0]["status"] == 0, "a fault is for once"


async def test_the_next_request_of_that_command_fails(line: Line) -> None:
    line.emulator.fail_next("send", Fault.SERVER_ERROR, times=2, status=500)
    line.emulator.fail_next("balance", "not-found")
    statuses = [(await line.send()).status_code, (await line.ask(balance="rur")).status_code]
    statuses += [(await line.send()).status_code, (await line.send()).status_code]
    assert statuses == [500, 404, 500, 200]


async def test_a_price_has_a_name_of_its_own(line: Line) -> None:
    line.emulator.fail_next("send", Fault.SERVER_ERROR)
    line.emulator.fail_next("cost", Fault.NOT_FOUND)
    send = [{"to": PHONE, "text": "x"}]
    assert (await line.ask(send=send, cost="1")).status_code == 404
    assert (await line.ask(send=send, cost=1)).status_code == 200
    assert (await line.ask(send=send)).status_code == 503


async def test_any_request_fails_even_one_that_is_no_command(line: Line) -> None:
    line.emulator.fail_next("*", Fault.SERVER_ERROR)
    assert (await line.http.post(line.emulator.url, content=b"nonsense")).status_code == 503


async def test_a_reset_of_any_request_comes_before_its_body_is_read(line: Line) -> None:
    line.emulator.fail_next("*", Fault.RESET_BEFORE_READ)
    with pytest.raises(httpx.TransportError):
        await line.http.post(line.emulator.url, content=b"x" * 5_000_000)
    assert (await line.send()).status_code == 200


async def test_one_message_may_be_busy(line: Line) -> None:
    line.emulator.fail_next("send", Fault.BUSY_MESSAGE, row=1)
    rows = (await line.send("a", "b", "c")).json()["send"]
    assert [row["error"] for row in rows] == [0, 110, 0]
    assert [message.text for message in line.emulator.messages] == ["a", "c"]


async def test_too_many_requests_says_when(line: Line) -> None:
    line.emulator.fail_next("*", Fault.TOO_MANY_REQUESTS, retry_after=7)
    assert (await line.send()).headers["retry-after"] == "7"


async def test_a_lost_answer_loses_inbound_messages(line: Line) -> None:
    line.emulator.inbound(PHONE, "STOP")
    line.emulator.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
    with pytest.raises(httpx.ReadError):
        await line.ask(inbound=True, since="new")
    assert (await line.ask(inbound=True, since="new")).json() == {"inbound": []}
    assert len((await line.ask(inbound=True)).json()["inbound"]) == 1


async def test_a_slow_answer_waits_to_be_released(line: Line) -> None:
    line.emulator.fail_next("send", Fault.SLOW)
    waiting = asyncio.ensure_future(line.send())
    await line.emulator.wait_for(to=PHONE)
    assert not waiting.done()
    line.emulator.release()
    assert (await waiting).status_code == 200


async def test_a_slow_answer_meets_the_client_s_patience(line: Line) -> None:
    line.http.timeout = httpx.Timeout(5, read=0.05)
    line.emulator.fail_next("send", Fault.SLOW, times=2)
    for text in "ab":
        with pytest.raises(httpx.ReadTimeout):
            await line.send(text)
    assert len(line.emulator.messages) == 2
    line.emulator.release()


async def test_a_half_answer_promises_the_whole(line: Line) -> None:
    line.emulator.fail_next("balance", Fault.ACCEPT_THEN_HALF_ANSWER)
    question = {"apikey": line.emulator.api_key, "balance": "rur"}
    async with line.http.stream("POST", line.emulator.url, json=question) as response:
        pieces = response.aiter_raw()
        got = await anext(pieces)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
    assert 0 < len(got) == int(response.headers["content-length"]) // 2


@pytest.mark.parametrize("shape", [Fault.ACCEPT_THEN_GARBAGE, Fault.ACCEPT_THEN_HTML])
async def test_an_unreadable_answer_is_no_document(shape: Fault, line: Line) -> None:
    line.emulator.fail_next("send", shape)
    with pytest.raises(ValueError):
        json.loads((await line.send()).content)


@pytest.mark.parametrize("wrong", [("sned", "busy"), ("send", "bussy")])
def test_a_misspelt_plan_is_refused(wrong: tuple[str, str], emulator: Emulator) -> None:
    with pytest.raises(ValueError):
        emulator.fail_next(*wrong)


def test_the_commands_that_can_fail() -> None:
    assert COMMANDS == ("*", "send", "cost", "check", "balance", "info", "inbound")


class TestRandomFaults:
    def outcomes(self, **options: Any) -> list[int]:
        emulator = Emulator(seed=3)
        emulator.random_faults({Fault.SERVER_ERROR: 0.2, Fault.NOT_FOUND: 0.1}, **options)
        body = json.dumps({"apikey": emulator.api_key, "balance": "rur"}).encode()
        return [emulator.exchange(HttpRequest(method="POST", body=body)).status for _ in range(500)]

    def test_they_take_their_share_and_can_be_repeated(self) -> None:
        first = self.outcomes(seed=7)
        assert first == self.outcomes(seed=7) != self.outcomes(seed=8)
        assert self.outcomes() == self.outcomes(seed=3)
        counted = Counter(first)
        assert 70 < counted[503] < 130
        assert 25 < counted[404] < 75

    def test_they_keep_to_their_command(self) -> None:
        assert set(self.outcomes(command="send")) == {200}

    @pytest.mark.parametrize("shares", [{Fault.BUSY: 0.6, Fault.SLOW: 0.6}, {Fault.BUSY: -0.1}])
    def test_impossible_shares_are_refused(self, shares: dict[Fault, float], emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="shares"):
            emulator.random_faults(shares)

    def test_planned_ones_come_first_and_all_can_be_ended(self, emulator: Emulator, desk: Any) -> None:
        emulator.random_faults({Fault.SERVER_ERROR: 1.0})
        emulator.fail_next("balance", Fault.BUSY)
        assert desk.code(balance="rur") == "110"
        emulator.no_more_faults()
        assert desk.code(balance="rur") is None


class TestTrace:
    """The events by which a client judges whether its request went out."""

    async def events(self, line: Line, **options: Any) -> list[tuple[str, Any]]:
        seen: list[tuple[str, Any]] = []

        async def trace(name: str, info: dict[str, Any]) -> None:
            seen.append((name, info))

        request = line.http.build_request(
            "POST", options.get("url", line.emulator.url), content=b"{}", extensions={"trace": trace}
        )
        try:
            await line.http.send(request)
        except httpx.TransportError as failure:
            seen.append(("raised", failure))
        return seen

    def names(self, events: list[tuple[str, Any]]) -> list[str]:
        return [name for name, _ in events]

    async def test_an_answer_shows_the_events_of_a_real_connection(self, line: Line) -> None:
        events = await self.events(line)
        steps = ["http11.send_request_headers", "http11.send_request_body", "http11.receive_response_headers"]
        steps += ["http11.receive_response_body", "http11.response_closed"]
        expected = [f"{step}.{end}" for step in ["connection.connect_tcp", *steps] for end in ("started", "complete")]
        assert self.names(events) == expected
        (request,) = [info["request"] for name, info in events if name == "http11.send_request_headers.started"]
        assert request.method == b"POST"

    @pytest.mark.parametrize("fault", [Fault.RESET_AFTER_READ, Fault.ACCEPT_THEN_CLOSE])
    async def test_a_broken_one_shows_that_the_request_went_out(self, fault: Fault, line: Line) -> None:
        line.emulator.fail_next("*", fault)
        names = self.names(await self.events(line))
        assert names[2:6] == [
            "http11.send_request_headers.started",
            "http11.send_request_headers.complete",
            "http11.send_request_body.started",
            "http11.send_request_body.complete",
        ]
        assert names[6:] == [
            "http11.receive_response_headers.started",
            "http11.receive_response_headers.failed",
            "http11.response_closed.started",
            "http11.response_closed.complete",
            "raised",
        ]

    async def test_half_an_answer_fails_in_its_body(self, line: Line) -> None:
        line.emulator.fail_next("*", Fault.ACCEPT_THEN_HALF_ANSWER)
        names = self.names(await self.events(line))
        assert names[8:] == [
            "http11.receive_response_body.started",
            "http11.receive_response_body.failed",
            "http11.response_closed.started",
            "http11.response_closed.complete",
            "raised",
        ]

    async def test_https_shows_its_handshake(self) -> None:
        emulator = Emulator()
        async with httpx.AsyncClient(transport=emulator.transport) as http:
            names = self.names(await self.events(Line(emulator, http), url="https://smspilot.ru/api2.php"))
        assert names[2:4] == ["connection.start_tls.started", "connection.start_tls.complete"]


async def test_in_process_other_paths_are_pages(emulator: Emulator) -> None:
    async with httpx.AsyncClient(transport=emulator.transport) as http:
        response = await http.get("http://127.0.0.1/elsewhere")
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")


class TestWaiting:
    async def test_for_a_message_that_is_there(self, emulator: Emulator, desk: Any) -> None:
        desk.one()
        assert (await emulator.wait_for(to=PHONE, status=0)).text == "Привет"

    async def test_for_a_message_to_come(self, served: Emulator, http: httpx.AsyncClient) -> None:
        waiting = asyncio.ensure_future(served.wait_for(text="second"))
        for text in ("first", "second"):
            await Line(served, http).send(text)
        assert (await waiting).text == "second"

    async def test_for_a_status(self, emulator: Emulator, desk: Any) -> None:
        desk.one()
        waiting = asyncio.ensure_future(emulator.wait_for(to=PHONE, status=2))
        await asyncio.sleep(0)
        emulator.clock.advance(minutes=1)
        assert (await waiting).history[-1].status == 2

    async def test_a_wait_that_fails_names_no_values(self, emulator: Emulator) -> None:
        with pytest.raises(TimeoutError, match=r"^no message with this to and text within 0\.01 s$") as failure:
            await emulator.wait_for(to=PHONE, text="x", timeout=0.01)
        assert PHONE not in str(failure.value)

    async def test_waiting_for_an_unknown_field_is_an_error(self, emulator: Emulator) -> None:
        with pytest.raises(TypeError, match="phone"):
            await emulator.wait_for(phone=PHONE)

    def test_listeners_get_every_change_until_they_leave(self, emulator: Emulator, desk: Any) -> None:
        heard: list[int] = []
        listen: Callable[[Any], None] = lambda message: heard.append(message.status)  # noqa: E731
        stop = emulator.subscribe(listen)
        desk.one()
        emulator.clock.advance(minutes=1)
        stop()
        stop()
        desk.one(text="other")
        assert heard == [0, 1, 2]
