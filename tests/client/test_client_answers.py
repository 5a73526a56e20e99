"""Reading HTTP answers: where each ends, what came behind it, and the same as httpx reads, or an error."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from mutated_answers import mutated_answers
from raw_servers import Peer, http, raw_server
from strange_answers import BODY, STRANGE, Strange
from swapped_answers import swapped_answers

from smspilot_async._network.answer import LARGEST_HEAD, Answer
from smspilot_async._network.base import Failure, Progress, Reply
from smspilot_async._network.transport import Transport
from smspilot_async._tools.clock import Clock
from smspilot_async.wire import Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from raw_servers import RawServer

SECOND = b'{"mark":"second"}'


def read(pieces: Iterable[bytes], largest: int = 100_000) -> tuple[Reply | Failure, Answer]:
    answer = Answer(largest)
    for piece in pieces:
        if (result := answer.feed(piece)) is not None:
            return result, answer
    return answer.end(), answer


def seen(result: Reply | Failure) -> tuple[int, bytes] | None:
    return (result.status, result.body) if isinstance(result, Reply) else None


def expected(strange: Strange) -> tuple[int, bytes] | None:
    return None if strange.body is None else (strange.status, strange.body)


@pytest.mark.parametrize("name", STRANGE)
def test_an_answer_is_read_to_its_end_and_what_is_ambiguous_is_none(name: str) -> None:
    strange = STRANGE[name]
    result, answer = read([strange.data])
    assert seen(result) == expected(strange)
    if strange.body is not None:
        assert answer.may_stay is strange.stays


@pytest.mark.parametrize("name", STRANGE)
def test_wherever_it_is_split_it_is_the_same(name: str) -> None:
    strange = STRANGE[name]
    data = strange.data
    assert seen(read(bytes([byte]) for byte in data)[0]) == expected(strange)
    for at in range(1, len(data), 1 if len(data) < 1_000 else len(data) // 3):
        assert seen(read([data[:at], data[at:]])[0]) == expected(strange), data[:at]


def test_a_connection_stays_for_less_than_the_server_says() -> None:
    def idle_after(keep_alive: bytes) -> float:
        return read([http(BODY, headers=b"Keep-Alive: " + keep_alive + b"\r\n")])[1].longest_idle

    assert idle_after(b"timeout=2, max=100") == pytest.approx(1.6)
    assert idle_after(b"max=7,Timeout=10") == pytest.approx(8.0)
    assert idle_after(b"timeout=x, 5") == float("inf")
    assert idle_after(b"timeout=0") == 0


def test_chunks_of_one_byte_are_read_and_what_is_around_them_is_bounded() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    tiny = b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n"
    assert seen(read([head, tiny])[0]) == (200, b"a" * 50_000)
    endless = (b"1;" + b"x" * 1000 + b"\r\na\r\n" for _ in range(1000))
    assert seen(read([head, *endless])[0]) is None
    trailer = (b"0\r\nX-A: ", *(b"x" * 1000 for _ in range(1000)))
    fed = iter([head, *trailer])
    assert seen(read(fed)[0]) is None
    assert len(list(fed)) > 1000 - LARGEST_HEAD / 1000 - 2  # it was given up early


# --- beside httpx --------------------------------------------------------------------------------


@asynccontextmanager
async def saying(strange: Strange, seed: int) -> AsyncGenerator[RawServer]:
    """A server that says this to its first request, in pieces, and answers every later one as it should."""
    dice = random.Random(seed)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(server.requests) > 1:
                await peer.send(http(SECOND))
                continue
            cuts = sorted(dice.sample(range(len(strange.data)), min(3, len(strange.data))))
            for start, end in zip([0, *cuts], [*cuts, len(strange.data)], strict=True):
                await peer.send(strange.data[start:end])
                await asyncio.sleep(0)
            if strange.closes:
                return

    async with raw_server(script) as server:
        yield server


async def by_httpx(url: str) -> tuple[int, bytes] | None:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            response = await client.post(url, content=b"{}", headers={"Accept-Encoding": "identity"})
        except httpx.HTTPError:
            return None
    return response.status_code, response.content


async def by_ours(url: str) -> list[tuple[int, bytes] | None]:
    transport = Transport(
        url=url,
        max_connections=1,
        timeout=5,
        proxy=None,
        ssl_context=None,
        user_transport=None,
        clock=Clock(),
    )
    envelope = Envelope("POST", url, "application/json", b"{}")
    answers = [seen(await transport.exchange(envelope, largest=1000, progress=Progress())) for _ in range(2)]
    await transport.aclose()
    return answers


@pytest.mark.parametrize("name", STRANGE)
async def test_it_is_the_answer_that_httpx_reads_or_an_error_and_never_that_of_another_request(name: str) -> None:
    strange = STRANGE[name]
    seed = list(STRANGE).index(name)
    async with saying(strange, seed) as server:
        theirs = await by_httpx(server.url)
    async with saying(strange, seed) as server:
        first, second = await by_ours(server.url)
        assert server.connections == (1 if strange.stays and not strange.closes else 2)
    assert first in (theirs, None)
    assert first == expected(strange)
    assert second == (200, SECOND)


# --- samples of what runs at full size by `make mutated-answers` and `make swapped-answers` ------


def test_no_mutation_of_an_answer_raises_or_takes_memory() -> None:
    kinds = mutated_answers(3_000, seed=1)
    assert set(kinds) == {"answer", "Unanswered"}


async def test_no_answer_goes_to_another_request() -> None:
    counts = await swapped_answers(2_000, at_once=200, seed=1)
    assert min(counts.values()) > 0
