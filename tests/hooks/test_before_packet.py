"""Whoever writes intents down does so before the first byte of every send, and no byte leaves where that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from raw_servers import Peer, raw_server

from smspilot_async import Client, Hooks, Message, NotSent, Outcome, Retry, SmsPilotError, VetoFailed
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from raw_servers import RawServer

MESSAGES = [Message(f"7908796478{number}", f"no. {number}", id=number + 1) for number in range(3)]


class Intents(Hooks):
    """Notes what is about to leave, and how many bytes the server had read by then.

    Attributes:
        written: The messages of each intent.
        bytes_before: What the server had read at each intent.
    """

    def __init__(self, bytes_read: Callable[[], int] = lambda: 0) -> None:
        self.written: list[list[Message]] = []
        self.bytes_before: list[int] = []
        self._bytes_read = bytes_read

    async def before_packet(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(0)
        self.bytes_before.append(self._bytes_read())
        self.written.append(list(messages))


class Failing(Hooks):
    """Cannot write its intent down, for a reason that must not get out."""

    def before_packet(self, messages: Sequence[Message]) -> None:
        raise OSError(f"no space for {messages[0].to}")


async def by_send(client: Client) -> list[Any]:
    return [await client.send_message(message) for message in MESSAGES]


async def together(client: Client) -> list[Any]:
    return await asyncio.gather(*(client.send_message(message) for message in MESSAGES))


async def by_packet(client: Client) -> list[Any]:
    return list((await client.send_packet(MESSAGES)).messages)


async def in_bulk(client: Client) -> list[Any]:
    async with client.bulk(MESSAGES, packet_size=2) as run:
        return [result async for result in run]


every_way = pytest.mark.parametrize(
    ("send", "sizes"),
    [
        pytest.param(by_send, [1, 1, 1], id="send"),
        pytest.param(together, [3], id="shared packets"),
        pytest.param(by_packet, [3], id="send_packet"),
        pytest.param(in_bulk, [2, 1], id="bulk"),
    ],
)


@every_way
async def test_the_intent_is_written_before_the_first_byte(
    send: Callable[[Client], Awaitable[list[Any]]], sizes: list[int]
) -> None:
    emulator = Emulator()
    reads: list[bytes] = []

    async def relay(peer: Peer) -> None:
        while True:
            request = await peer.request()
            reads.append(request)
            body = request.split(b"\r\n\r\n", 1)[1]
            answer = await _answer(emulator, body)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    async with raw_server(relay) as server:
        intents = Intents(lambda: _bytes_read(server))
        async with Client(emulator.api_key, url=server.url, max_connections=3, hooks=[intents]) as client:
            await send(client)

    assert [len(messages) for messages in intents.written] == sizes
    assert [message for messages in intents.written for message in messages] == MESSAGES
    assert len(reads) == len(sizes)
    assert len(emulator.messages) == 3
    # The judge: nothing of a packet had been read when its intent was written, the first bytes of the others aside.
    assert intents.bytes_before[0] == 0
    assert all(before <= sum(map(len, reads[:number])) for number, before in enumerate(intents.bytes_before))


async def _answer(emulator: Emulator, body: bytes) -> bytes:
    response = await emulator.transport.handle_async_request(httpx.Request("POST", emulator.url, content=body))
    return await response.aread()


def _bytes_read(server: RawServer) -> int:
    return sum(map(len, server.requests))


@every_way
async def test_where_the_intent_cannot_be_written_no_byte_leaves_and_nothing_was_sent(
    send: Callable[[Client], Awaitable[list[Any]]], sizes: list[int]
) -> None:
    heads: list[bytes] = []

    async def note(peer: Peer) -> None:
        heads.append(await peer.reader.read(1))

    failures: list[Any] = []
    async with (
        raw_server(note) as server,
        Client("KEY", url=server.url, hooks=[Failing()], retry=Retry(attempts=1)) as client,
    ):
        try:
            failures = [getattr(result, "failure", result) for result in await send(client)]
        except SmsPilotError as error:
            failures = [error]
        assert client.health().queued == 0

    assert b"".join(heads) == b""
    assert len(failures) in {1, 3}
    assert sizes
    for failure in failures:
        reason = failure.error if isinstance(failure, NotSent) else failure
        assert type(reason) is VetoFailed
        assert (reason.outcome, reason.may_retry) == (Outcome.NOT_SENT, True)
        assert reason.reason == "Failing.before_packet raised OSError"
        assert "7908" not in str(reason)


async def test_an_intent_covers_repeats_and_halves_of_its_packet() -> None:
    emulator = Emulator(loop_protection=None)
    emulator.unknowns.one_bad_refuses_packet = True
    emulator.refuse(code=111, to=MESSAGES[1].to)
    emulator.fail_next("send", Fault.BUSY)
    intents = Intents()
    retry = Retry(first_delay=0.001)
    client = Client(emulator.api_key, transport=emulator.transport, hooks=[intents], retry=retry)
    async with client, client.bulk(MESSAGES) as run:
        results = [result async for result in run]

    assert intents.written == [MESSAGES]
    assert sorted(result.outcome for result in results) == ["accepted", "accepted", "refused"]


async def test_a_vetoed_message_is_in_no_intent() -> None:
    class OptedOut(Intents):
        def veto(self, message: Message) -> str | None:
            return "opted out" if message is MESSAGES[0] else None

    emulator, intents = Emulator(), OptedOut()
    async with Client(emulator.api_key, transport=emulator.transport, hooks=[intents]) as client:
        await client.send_packet(MESSAGES)
    assert intents.written == [MESSAGES[1:]]


async def test_an_intent_that_takes_too_long_lets_nothing_leave() -> None:
    class Hanging(Hooks):
        async def before_packet(self, messages: Sequence[Message]) -> None:
            del messages
            await asyncio.Event().wait()

    emulator = Emulator()
    async with Client(emulator.api_key, transport=emulator.transport, hooks=[Hanging()]) as client:
        with pytest.raises(SmsPilotError) as caught:
            await client.send_message(MESSAGES[0], deadline=0.01)
        assert caught.value.outcome is Outcome.NOT_SENT
    assert emulator.messages == ()


async def test_of_a_price_there_is_no_intent() -> None:
    emulator, intents = Emulator(), Intents()
    async with Client(emulator.api_key, transport=emulator.transport, hooks=[intents]) as client:
        await client.cost(MESSAGES)
    assert intents.written == []
