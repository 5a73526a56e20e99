"""Loops closed by hand and clients that were dropped: no task or socket is left, and hooks get what became of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from manual_clock import idle
from outcomes import PHONE, TEXT, begun

from smspilot_async import Client, Hooks, Message, Reason, SendResult, Unknown
from smspilot_async._session import Session
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    from listeners import Listener


@pytest.fixture(autouse=True)
def manual_collection() -> Iterator[None]:
    """Python collects garbage when a test says so: a closed loop's sockets cause warnings wherever that happens."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    """An emulator for tests that run loops of their own."""
    with Emulator.serve(port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


class Dying:
    """An event loop that is closed while tasks are running, without being shut down first."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, *works: Coroutine[Any, Any, Any]) -> None:
        self._tasks |= {asyncio.ensure_future(work) for work in works}

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main)
        self._tasks |= {task for task in asyncio.all_tasks(loop) if not is_ours(task)}
        loop.close()
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio complains of the application's
        self._tasks.clear()


def is_ours(task: asyncio.Task[Any]) -> bool:
    return task.get_name().startswith("smspilot packet")


def packet_tasks() -> int:
    """Count our tasks that are still somewhere."""
    return sum(issubclass(type(one), asyncio.Task) and is_ours(one) for one in gc.get_objects())


def open_sockets(gateway: Emulator) -> int:
    """Count the sockets that are connected to the gateway."""
    port = urlsplit(gateway.url).port
    return sum(issubclass(type(one), socket.socket) and peer_of(one) == port for one in gc.get_objects())


def peer_of(sock: socket.socket) -> int | None:
    try:
        return int(sock.getpeername()[1])
    except (OSError, IndexError):
        return None


def collect() -> None:
    """Collect garbage, with the transports of a closed loop, about which asyncio gives a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in another thread, or in the loop's own time; a fault ends it."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def begin_packets(client: Client, gateway: Emulator, dying: Dying, count: int = 3) -> None:
    """Have packets on the wire to a gateway that does not answer."""
    gateway.fail_next("send", Fault.SLOW, times=count)
    dying.begin(*(client.send_packet([Message(PHONE, str(number))]) for number in range(count)))
    await until(lambda: len(gateway.messages) == count)


# --- a loop that was closed by hand --------------------------------------------------------------


@pytest.mark.parametrize("use", [Client.balance, Client.aclose])
def test_the_next_use_reports_to_the_hooks_what_became_of_everything_in_a_loop_that_was_closed(
    gateway: Emulator, listener: Listener, use: Callable[[Client], Awaitable[Any]]
) -> None:
    client = Client(gateway.api_key, url=gateway.url, hooks=[listener], packet_size=1, max_connections=3)
    dying = Dying()

    async def main() -> None:
        gateway.fail_next("send", Fault.SLOW, times=200)
        dying.begin(*(client.send(PHONE, str(number)) for number in range(200)))
        await until(lambda: len(gateway.messages) == 3)

    async def again() -> None:
        await use(client)
        await client.aclose()

    dying.run(main())
    gateway.release()
    gateway.reset()
    asyncio.run(again())

    assert Counter(listener.kinds) == {"Unknown": 3, "NotSent": 197}
    unknown = [result for result in listener.results if isinstance(result, Unknown)]
    assert {result.error.reason for result in unknown} == {Reason.CANCELLED}
    assert "its event loop was closed while it was on the wire" in str(unknown[0].error)
    assert len({result.error.message_id for result in unknown}) == 3
    gc.collect()
    assert (packet_tasks(), open_sockets(gateway)) == (0, 0)


@pytest.mark.parametrize("use", [Client.balance, Client.aclose])
def test_a_collection_in_the_middle_of_the_next_use_gives_no_warning_of_the_closed_loop(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, use: Callable[[Client], Awaitable[Any]]
) -> None:
    abandon = Session.abandon

    def abandon_and_collect(session: Session) -> None:
        abandon(session)
        gc.collect()

    monkeypatch.setattr(Session, "abandon", abandon_and_collect)
    client = Client(gateway.api_key, url=gateway.url)
    dying = Dying()
    dying.run(begin_packets(client, gateway, dying))
    gateway.release()
    gateway.reset()

    async def again() -> None:
        await use(client)
        await client.aclose()

    asyncio.run(again())

    gc.collect()
    assert (packet_tasks(), open_sockets(gateway)) == (0, 0)


def test_hooks_that_are_awaited_get_each_result_once(gateway: Emulator) -> None:
    class Slow(Hooks):
        def __init__(self) -> None:
            self.began: list[str] = []
            self.done: list[str] = []

        async def on_result(self, result: SendResult[Message]) -> None:
            self.began.append(result.item.text)
            await asyncio.sleep(0.01 if len(self.began) > 1 else 1000)
            self.done.append(result.item.text)

    hook = Slow()
    client = Client(gateway.api_key, url=gateway.url, hooks=[hook])
    dying = Dying()

    async def main() -> None:
        dying.begin(client.send(PHONE, "accepted"))
        await until(lambda: hook.began)
        gateway.fail_next("send", Fault.SLOW)
        dying.begin(client.send_packet([Message(PHONE, str(number)) for number in range(3)]))
        await until(lambda: len(gateway.messages) == 4)

    dying.run(main())
    gateway.release()
    asyncio.run(client.aclose())

    assert hook.began == ["accepted", "0", "1", "2"]
    assert hook.done == ["0", "1", "2"]  # the first one died with its loop


def test_health_counts_what_may_have_been_sent_in_a_loop_that_was_closed(gateway: Emulator) -> None:
    client = Client(gateway.api_key, url=gateway.url)
    dying = Dying()
    dying.run(begin_packets(client, gateway, dying))
    gateway.release()

    asyncio.run(client.aclose())

    assert client.health().open_unknowns == 3


@pytest.mark.parametrize("in_a_loop", [True, False])
def test_a_client_dropped_after_its_loop_was_closed_leaves_nothing_and_reports_what_it_can(
    gateway: Emulator, caplog: pytest.LogCaptureFixture, listener: Listener, *, in_a_loop: bool
) -> None:
    class Awaited(Hooks):
        async def on_result(self, result: SendResult[Message]) -> None:
            raise AssertionError(result)

    clients = [Client(gateway.api_key, url=gateway.url, hooks=[listener, Awaited()])]
    dying = Dying()
    dying.run(begin_packets(clients[0], gateway, dying))
    gateway.release()
    assert open_sockets(gateway) == 3

    async def drop() -> None:
        clients.clear()

    with caplog.at_level(logging.WARNING, "smspilot_async"):
        if in_a_loop:
            asyncio.run(drop())
        else:
            clients.clear()
        collect()  # its callers' tasks died holding it

    assert listener.kinds == ["Unknown"] * 3
    assert "dropped with 3 messages of an event loop that was closed (3 may have been sent)" in caplog.text
    assert (packet_tasks(), open_sockets(gateway)) == (0, 0)


def test_a_bulk_run_of_a_loop_that_was_closed_sends_nothing_in_the_next_one(
    gateway: Emulator, listener: Listener
) -> None:
    client = Client(gateway.api_key, url=gateway.url, hooks=[listener], packet_size=2, max_connections=3)
    dying = Dying()

    async def bulk() -> None:
        async with client.bulk([(PHONE, str(number)) for number in range(50)], in_flight=2) as run:
            async for _ in run:
                pass

    async def main() -> None:
        gateway.fail_next("send", Fault.SLOW, times=50)
        dying.begin(bulk())
        await until(lambda: gateway.messages)

    dying.run(main())
    gateway.release()
    on_the_wire = len(gateway.messages)
    asyncio.run(client.aclose())
    gc.collect()

    assert len(gateway.messages) == on_the_wire
    assert listener.kinds.count("Unknown") == on_the_wire
    assert (packet_tasks(), open_sockets(gateway)) == (0, 0)


def test_a_track_in_a_loop_that_was_closed_gives_no_warning(gateway: Emulator) -> None:
    client = Client(gateway.api_key, url=gateway.url)
    dying = Dying()

    async def follow() -> None:
        async with client.track("5001") as changes:
            await anext(changes)

    async def main() -> None:
        dying.begin(follow())
        await idle()

    dying.run(main())
    asyncio.run(client.aclose())
    gc.collect()


async def test_a_run_whose_task_was_dropped_reads_nothing_more(emulator: Emulator) -> None:
    read = 0

    async def source() -> AsyncIterator[tuple[str, str]]:
        nonlocal read
        while True:
            read += 1
            yield (PHONE, str(read))

    async def consume() -> None:
        async with client.bulk(source(), packet_size=1) as run:
            async for _ in run:
                await asyncio.get_running_loop().create_future()

    async with Client(emulator.api_key, url=emulator.url) as client:
        work = consume()
        work.send(None)
        await until(lambda: read)
        work.close()
        await idle()
        before = read
        await idle()
        assert read == before


# --- a client that was dropped -------------------------------------------------------------------


USES: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "balance": lambda client: client.balance(),
    "send": lambda client: client.send(PHONE, TEXT),
    "send_packet": lambda client: client.send_packet([Message(PHONE, TEXT)]),
    "check_packets": lambda client: anext_of(client.check_packets("5001")),
    "bulk": lambda client: anext_of(client.bulk([(PHONE, TEXT)])),
}


async def anext_of(stream: Any) -> None:
    async with stream as results:
        await anext(results)


@pytest.mark.parametrize("use", USES)
async def test_a_client_that_is_dropped_closes_its_connections_at_once(emulator: Emulator, use: str) -> None:
    client = Client(emulator.api_key, url=emulator.url)
    await USES[use](client)
    assert open_sockets(emulator) == 1
    del client
    await until(lambda: not open_sockets(emulator))


async def test_a_client_that_is_dropped_in_mid_air_goes_on_until_its_answers_are_here(
    emulator: Emulator, listener: Listener
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    client = Client(emulator.api_key, url=emulator.url, hooks=[listener])
    sending = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)
    sending.cancel()
    await asyncio.wait({sending})
    del client, sending
    gc.collect()
    await idle()
    assert open_sockets(emulator) == 1

    emulator.release()

    await listener.heard()
    assert listener.kinds == ["Accepted"]
    await until(lambda: not open_sockets(emulator))
