"""The engine, over a client that answers as it is told: what becomes of each packet, and what ends the sending."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest

from smspilot_async import (
    AccountBlocked,
    AuthenticationError,
    BadRequest,
    Client,
    ClientClosed,
    ConnectionFailed,
    GatewayBusy,
    InsufficientFunds,
    InvalidMessage,
    Message,
    MessageRefused,
    OutcomeUnknown,
    Packet,
    Reason,
    SentMessage,
    SmsPilotError,
)
from smspilot_async.cli._recipients import Recipient
from smspilot_async.cli._sending import PacketEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Act = BaseException | None


class StubClient:
    """Answers packet after packet as it is told; accepts what it is not told about."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.packets: list[list[Message]] = []
        self.during: Callable[[], None] = lambda: None
        self.row_failure: dict[int, SmsPilotError] = {}
        self.closed_with: list[float | None] = []

    async def send_packet(self, messages: Sequence[Message], *, test: bool = False) -> Packet:  # noqa: ARG002
        self.packets.append(list(messages))
        self.during()
        act = self.acts.pop(0) if self.acts else None
        if act is not None:
            raise act
        rows = [SentMessage(server_id=str(at), failure=self.row_failure.get(at)) for at in range(len(messages))]
        return Packet(messages=tuple(rows))

    async def aclose(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the client's own
        self.closed_with.append(timeout)


def unknown(code: int | None = None) -> OutcomeUnknown:
    return OutcomeUnknown("lost", reason=Reason.DISCONNECTED, code=code)


def rows(count: int) -> list[Recipient]:
    return [Recipient(at, at + 2, "79087964781", Message("79087964781", f"text {at}")) for at in range(count)]


async def send(client: StubClient, count: int = 10, **options: Any) -> tuple[PacketEngine, list[str]]:
    engine = PacketEngine(cast("Client", client), packet_size=2, **options)
    return engine, await drain(engine, count)


async def drain(engine: PacketEngine, count: int = 10) -> list[str]:
    results = [result async for packet in engine.results(rows(count)) for result in packet]
    assert [result.item.position for result in results] == list(range(count))
    return [type(result).__name__ for result in results]


def summary(names: list[str]) -> dict[str, int]:
    return dict(Counter(names))


async def test_packets_are_full_but_for_the_last() -> None:
    client = StubClient()
    engine, names = await send(client, 5)
    assert [len(packet) for packet in client.packets] == [2, 2, 1]
    assert summary(names) == {"Accepted": 5}
    assert engine.stopped_by is None


@pytest.mark.parametrize("error", [AuthenticationError, AccountBlocked, InsufficientFunds])
async def test_an_account_error_ends_the_sending(error: type[SmsPilotError]) -> None:
    client = StubClient(None, error("no"))
    engine, names = await send(client)
    assert summary(names) == {"Accepted": 2, "Refused": 2, "NotSent": 6}
    assert isinstance(engine.stopped_by, error)
    assert len(client.packets) == 2


async def test_an_account_error_of_one_message_ends_the_sending_after_its_packet() -> None:
    client = StubClient()
    client.row_failure = {1: InsufficientFunds("no", code=112)}
    engine, names = await send(client)
    assert names == ["Accepted", "Refused"] + ["NotSent"] * 8
    assert isinstance(engine.stopped_by, InsufficientFunds)


async def test_an_account_error_that_leaves_its_packet_unknown_ends_the_sending_too() -> None:
    engine, names = await send(StubClient(unknown(code=241)))
    assert summary(names) == {"Unknown": 2, "NotSent": 8}
    assert isinstance(engine.stopped_by, OutcomeUnknown)


async def test_no_connection_ends_the_sending_and_nothing_of_the_packet_was_sent() -> None:
    engine, names = await send(StubClient(None, ConnectionFailed("refused")))
    assert summary(names) == {"Accepted": 2, "NotSent": 8}
    assert isinstance(engine.stopped_by, ConnectionFailed)


async def test_three_unknown_packets_in_a_row_end_the_sending() -> None:
    engine, names = await send(StubClient(None, unknown(), unknown(), unknown()))
    assert summary(names) == {"Accepted": 2, "Unknown": 6, "NotSent": 2}
    assert isinstance(engine.stopped_by, OutcomeUnknown)


async def test_unknown_packets_apart_do_not_end_it() -> None:
    engine, names = await send(StubClient(unknown(), unknown(), None, unknown(), unknown()))
    assert summary(names) == {"Accepted": 2, "Unknown": 8}
    assert engine.stopped_by is None


async def test_packets_of_which_every_message_is_unknown_count_as_unknown() -> None:
    client = StubClient()
    client.row_failure = {0: unknown(), 1: unknown()}
    engine, names = await send(client)
    assert summary(names) == {"Unknown": 6, "NotSent": 4}
    assert isinstance(engine.stopped_by, OutcomeUnknown)


@pytest.mark.parametrize("error", [GatewayBusy("busy", code=110), BadRequest("?", code=13)])
async def test_a_gateway_that_takes_no_packet_at_all_ends_the_sending(error: SmsPilotError) -> None:
    _, names = await send(StubClient(error, error, error))
    assert summary(names) == {"Refused": 6, "NotSent": 4}


@pytest.mark.parametrize("error", [MessageRefused("no", code=111), InvalidMessage("no", field="to", code=111)])
async def test_a_packet_refused_for_a_message_s_fault_is_refused_and_the_next_one_goes(error: SmsPilotError) -> None:
    engine, names = await send(StubClient(error, error, error, error))
    assert summary(names) == {"Refused": 8, "Accepted": 2}
    assert engine.stopped_by is None


async def test_a_closed_client_sends_nothing() -> None:
    _, names = await send(StubClient(ClientClosed("closed")), 2)
    assert summary(names) == {"NotSent": 2}


async def test_a_fault_of_this_program_leaves_its_packet_unknown_and_ends_the_sending() -> None:
    engine, names = await send(StubClient(None, RuntimeError("with the key in it")))
    assert summary(names) == {"Accepted": 2, "Unknown": 2, "NotSent": 6}
    assert "RuntimeError" in str(engine.stopped_by)
    assert "with the key" not in str(engine.stopped_by)


async def test_stopping_waits_for_the_packet_on_the_wire_and_sends_no_other() -> None:
    client = StubClient()
    engine = PacketEngine(cast("Client", client), packet_size=2)
    client.during = engine.stop
    assert summary(await drain(engine)) == {"Accepted": 2, "NotSent": 8}
    assert engine.stopped_by is None


async def test_quitting_closes_the_client_at_once() -> None:
    client = StubClient(unknown())
    engine = PacketEngine(cast("Client", client), packet_size=2)
    client.during = engine.quit
    assert summary(await drain(engine)) == {"Unknown": 2, "NotSent": 8}
    await asyncio.sleep(0)
    assert client.closed_with == [0.0]


async def test_a_cancelled_sending_still_accounts_for_every_row() -> None:
    _, names = await send(StubClient(None, asyncio.CancelledError()))
    assert summary(names) == {"Accepted": 2, "Unknown": 2, "NotSent": 6}
