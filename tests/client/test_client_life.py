"""A client's life: made outside of loops, used in several, crowded, closed, opened again, dropped."""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT, begun, failure_of
from raw_servers import answering, hang_after_request, http, raw_server

from smspilot_async import (
    Client,
    ClientClosed,
    ConnectionFailed,
    InvalidMessage,
    Message,
    OutcomeUnknown,
    Reason,
    Sendable,
    SmsPilotError,
    Unanswered,
)
from smspilot_async._network import proxies, transport
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

    from listeners import Listener
    from tls import Tls


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    """An emulator for tests that run loops of their own."""
    with Emulator.serve(port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


# --- loops ---------------------------------------------------------------------------------------


def run_and_forget(main: Any) -> None:
    """Run a loop without shutting it down."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main)
    loop.close()


@pytest.mark.parametrize("run", [asyncio.run, run_and_forget])
def test_a_client_made_outside_of_loops_works_in_one_after_another(
    gateway: Emulator, run: Callable[[Any], None]
) -> None:
    client = Client(gateway.api_key, url=gateway.url)

    async def main() -> None:
        await asyncio.gather(client.send(PHONE, TEXT), client.send_packet([Message(OTHER_PHONE, TEXT)]))
        await client.balance()

    for _ in range(3):
        run(main())
    asyncio.run(client.aclose())
    gc.collect()

    assert len(gateway.messages) == 6


@pytest.mark.parametrize("run", [asyncio.run, run_and_forget])
def test_the_same_over_tls(tls: Tls, run: Callable[[Any], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    client = Client("KEY", ssl_context=tls.client(), url=f"https://127.0.0.1:{port}/")

    async def main() -> None:
        async with raw_server(answering(http(b'{"balance":1.5}')), tls=tls.server(), port=port):
            await client.balance()
            await client.balance()

    for _ in range(2):
        run(main())
    asyncio.run(client.aclose())
    gc.collect()


def test_a_client_that_dies_with_its_loop_says_nothing(gateway: Emulator) -> None:
    async def main() -> None:
        await Client(gateway.api_key, url=gateway.url).balance()

    asyncio.run(main())
    gc.collect()


def test_a_client_cannot_be_used_without_a_loop(gateway: Emulator) -> None:
    client = Client(gateway.api_key, url=gateway.url)

    with pytest.raises(RuntimeError, match="no running event loop"):
        client.balance().send(None)


# --- crowds --------------------------------------------------------------------------------------


async def test_five_hundred_sends_at_once_over_ten_connections_are_all_answered(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, max_connections=10, packet_size=3) as client:
        answers = await asyncio.gather(*(client.send(PHONE, str(number)) for number in range(500)))

    truth = {message.server_id: message.text for message in emulator.messages}
    assert [truth[answer.server_id or ""] for answer in answers] == [str(number) for number in range(500)]


@pytest.mark.parametrize("connections", [1, 10, 25])
async def test_five_hundred_reads_at_once_are_all_answered_over_no_more_connections_than_allowed(
    connections: int,
) -> None:
    async with (
        raw_server(answering(http(b'{"balance":1.5}'))) as server,
        Client("KEY", url=server.url, max_connections=connections) as client,
    ):
        answers = await asyncio.gather(*(client.balance() for _ in range(500)))

    assert len(answers) == 500
    assert server.connections <= connections


async def test_five_hundred_packets_at_once_are_all_answered(emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, max_connections=10) as client:
        packets = await asyncio.gather(*(client.send_packet([Message(PHONE, str(n))]) for n in range(500)))

    assert len({packet.server_packet_id for packet in packets}) == 500
    assert len(emulator.messages) == 500


# --- fixtures, and tasks that enter and leave ----------------------------------------------------


@pytest.fixture
async def yielded(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url) as client:
        await client.send(PHONE, "from the fixture")
        yield client
        await client.send(PHONE, "from the fixture again")


async def test_a_client_may_come_from_a_fixture(yielded: Client, emulator: Emulator) -> None:
    await yielded.send(PHONE, "from the test")

    assert len(emulator.messages) == 2


async def test_a_client_may_be_entered_by_one_task_and_left_by_another(emulator: Emulator) -> None:
    client = Client(emulator.api_key, url=emulator.url)

    await asyncio.create_task(client.__aenter__())
    await asyncio.create_task(client.send(PHONE, TEXT))
    await asyncio.create_task(client.__aexit__(None, None, None))

    assert isinstance(await failure_of(client.balance()), ClientClosed)


async def test_a_client_need_not_be_entered(emulator: Emulator) -> None:
    client = Client(emulator.api_key, url=emulator.url)
    assert (await client.send(PHONE, TEXT)).accepted
    await client.aclose()


# --- closing -------------------------------------------------------------------------------------


async def test_closing_waits_for_what_is_on_the_wire(emulator: Emulator, listener: Listener) -> None:
    emulator.fail_next("send", Fault.SLOW)
    client = Client(emulator.api_key, url=emulator.url, hooks=[listener])
    sending = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)

    closing = await begun(client.aclose())
    await idle()
    assert not closing.done()
    emulator.release()
    await closing

    assert (await sending).server_id == emulator.messages[0].server_id
    assert listener.kinds == ["Accepted"]


@pytest.mark.parametrize("seconds", [0, 5])
async def test_closing_with_a_timeout_reports_the_rest_as_unknown_and_what_queued_as_not_sent(
    manual_clock: ManualClock, emulator: Emulator, listener: Listener, seconds: float
) -> None:
    emulator.fail_next("send", Fault.SLOW, times=2)
    client = Client(emulator.api_key, url=emulator.url, max_connections=1, hooks=[listener])
    on_the_wire = await begun(failure_of(client.send(PHONE, TEXT)))
    await emulator.wait_for(to=PHONE)
    queued = await begun(failure_of(client.send(OTHER_PHONE, TEXT)))
    packet = await begun(failure_of(client.send_packet([Message(OTHER_PHONE, TEXT)])))

    closing = await begun(client.aclose(timeout=seconds))
    await manual_clock.advance(seconds)
    await closing

    lost = await on_the_wire
    assert isinstance(lost, OutcomeUnknown)
    assert lost.reason is Reason.CANCELLED
    assert type(await queued) is ConnectionFailed
    assert type(await packet) is ConnectionFailed
    assert sorted(listener.kinds) == ["NotSent", "NotSent", "Unknown"]
    assert len(emulator.messages) == 1


async def test_closing_twice_is_closing_once(emulator: Emulator) -> None:
    client = Client(emulator.api_key, url=emulator.url)
    await client.balance()
    await client.aclose()
    await client.aclose()
    await Client(emulator.api_key, url=emulator.url).aclose()


CALLS: dict[str, Callable[[Client], Any]] = {
    "send": lambda client: client.send(PHONE, TEXT),
    "send_message": lambda client: client.send_message(Message(PHONE, TEXT)),
    "send_packet": lambda client: client.send_packet([Message(PHONE, TEXT)]),
    "cost": lambda client: client.cost([Message(PHONE, TEXT)]),
    "check": lambda client: client.check(["1"]),
    "check_packet": lambda client: client.check_packet("1"),
    "balance": lambda client: client.balance(),
    "balance_sms": lambda client: client.balance_sms(),
    "info": lambda client: client.info(),
    "inbound": lambda client: client.inbound(),
    "flush": lambda client: client.flush(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_after_closing_every_call_says_so_until_the_client_is_entered_again(
    emulator: Emulator, call: str
) -> None:
    emulator.unknowns.missing_id_refuses_check = True
    client = Client(emulator.api_key, url=emulator.url)
    await client.send(PHONE, TEXT)
    await client.aclose()

    assert isinstance(await failure_of(CALLS[call](client)), ClientClosed)
    assert len(emulator.messages) == 1
    assert "closed" in repr(client)

    async with client:
        try:
            await CALLS[call](client)
        except SmsPilotError as error:
            assert not isinstance(error, ClientClosed)  # noqa: PT017 - check does not know the id


async def test_what_is_wrong_with_a_message_is_said_before_the_client_is_asked() -> None:
    with pytest.raises(InvalidMessage):
        await Client("KEY").send("12", TEXT)


@pytest.mark.parametrize("queued", [False, True])
async def test_a_read_under_which_the_client_is_closed_opens_no_new_connection(
    manual_clock: ManualClock, *, queued: bool
) -> None:
    async with raw_server(hang_after_request) as server:
        client = Client("KEY", url=server.url, max_connections=1)
        reads = [await begun(failure_of(client.balance())) for _ in range(1 + queued)]
        await server.has_request.wait()

        await client.aclose()
        errors = await asyncio.wait_for(asyncio.gather(*reads), 10)
        await idle()

        assert server.connections == 1
        assert manual_clock.slept == []
        assert all(isinstance(error, (Unanswered, ConnectionFailed, ClientClosed)) for error in errors)


async def test_a_read_under_which_the_client_is_closed_while_the_roots_are_read_does_not_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    are_read = asyncio.Event()
    default = proxies.default_context

    async def default_context(url: str, proxy: str | None) -> ssl.SSLContext:
        await are_read.wait()
        return await default(url, proxy)

    monkeypatch.setattr(transport, "default_context", default_context)
    async with raw_server(answering(http(b"{}"))) as server:
        client = Client("API-KEY", url=server.url)
        read = await begun(client.inbound("new"))
        await client.aclose()
        are_read.set()
        with pytest.raises(ConnectionFailed, match="closed"):
            await read
        assert server.connections == 0


async def test_closing_that_is_cancelled_can_be_tried_again(emulator: Emulator, listener: Listener) -> None:
    emulator.fail_next("send", Fault.SLOW)
    client = Client(emulator.api_key, url=emulator.url, hooks=[listener])
    sending = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)
    closing = await begun(client.aclose())
    closing.cancel()
    await asyncio.wait({closing})

    again = await begun(client.aclose())
    await idle()
    assert not again.done()
    emulator.release()
    await again

    assert (await sending).accepted
    assert await listener.heard() == listener.results
    await idle()


# --- flushing ------------------------------------------------------------------------------------


async def test_flushing_waits_for_the_answers_of_what_was_there(emulator: Emulator, client: Client) -> None:
    emulator.fail_next("send", Fault.SLOW)
    sending = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)

    flushing = await begun(client.flush())
    await idle()
    assert not flushing.done()
    emulator.release()
    await flushing

    assert (await sending).accepted
    await client.flush()


async def test_flushing_does_not_wait_for_what_comes_afterwards(emulator: Emulator, client: Client) -> None:
    emulator.fail_next("send", Fault.SLOW)
    first = await begun(client.send(PHONE, TEXT))
    await emulator.wait_for(to=PHONE)
    flushing = await begun(client.flush())
    emulator.release()
    emulator.fail_next("send", Fault.SLOW)
    later = await begun(client.send(OTHER_PHONE, TEXT))

    async with asyncio.timeout(10):
        await flushing

    assert (await first).accepted
    assert not later.done()
    await emulator.wait_for(to=OTHER_PHONE)
    emulator.release()
    await later


async def test_flushing_lets_go_what_waits_for_company(manual_clock: ManualClock, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, linger=10) as client:
        sending = await begun(client.send(PHONE, TEXT))
        await idle()
        assert emulator.messages == ()
        await client.flush()

        assert (await sending).accepted
    assert manual_clock.slept == []


# --- errors --------------------------------------------------------------------------------------


async def test_every_error_of_a_call_survives_pickling(emulator: Emulator, client: Client) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    lost = await failure_of(client.send(PHONE, TEXT))
    emulator.account.blocked = 106
    blocked = await failure_of(client.send(PHONE, TEXT))

    for error in (lost, blocked):
        twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert type(twin) is type(error)
        assert (str(twin), vars(twin)) == (str(error), vars(error))


async def test_callers_of_one_packet_each_get_an_error_of_their_own(emulator: Emulator, client: Client) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)

    errors = await asyncio.gather(
        failure_of(client.send(PHONE, "1", id=1)), failure_of(client.send(OTHER_PHONE, "2", id=2))
    )

    assert [error.message_id for error in errors] == [1, 2]
    assert errors[0] is not errors[1]


async def test_a_fault_of_the_librarys_own_is_no_claim_that_nothing_was_sent(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RecursionError(TEXT)

    monkeypatch.setattr("smspilot_async._requests.interpret.interpret", fail)
    one = await failure_of(client.send(PHONE, TEXT))
    packet = await failure_of(client.send_packet([Message(PHONE, TEXT)]))
    await idle()

    assert isinstance(one, OutcomeUnknown)
    assert isinstance(packet, OutcomeUnknown)
    assert TEXT not in str(one)
    assert len(emulator.messages) == 2


async def pairs() -> AsyncIterator[tuple[str, str]]:
    yield (PHONE, "3")


async def test_a_packet_is_made_of_whatever_bulk_takes(client: Client, emulator: Emulator) -> None:
    given: list[Sendable] = [Message(PHONE, "0"), {"to": PHONE, "text": "1", "id": 5}, (PHONE, "2")]
    expected = await client.cost(given)
    packet = await client.send_packet(given)
    other = await client.send_packet(pairs())

    assert [message.text for message in emulator.messages] == ["0", "1", "2", "3"]
    assert packet.messages[1].id == 5
    assert packet.cost == expected
    assert len(other.accepted) == 1
    assert await client.cost(pairs()) == other.cost


@pytest.mark.parametrize("wrong", [TEXT, 1, None, ("12", TEXT), {"to": PHONE}, {"to": PHONE, "text": TEXT, "too": 1}])
async def test_what_makes_no_message_is_named_and_nothing_of_its_packet_is_sent(
    client: Client, emulator: Emulator, wrong: Any
) -> None:
    for call in (client.send_packet, client.cost):
        with pytest.raises(InvalidMessage) as caught:
            await call([(PHONE, TEXT), wrong])
        assert caught.value.__notes__ == ["It is messages[1]. Nothing was sent."]
        assert TEXT not in str(caught.value)
        with pytest.raises(InvalidMessage, match="at least one"):
            await call([])
    assert emulator.messages == ()
    assert client.health().last_success is None


async def test_every_message_of_a_packet_travels_under_a_number_of_its_own(client: Client, emulator: Emulator) -> None:
    ids = [5, None, 5, 0, 6, None]
    await client.send_packet([Message(PHONE, str(at), id=id_) for at, id_ in enumerate(ids)])

    used = [message.id for message in emulator.messages]
    assert len(set(used)) == 6
    assert 0 not in used
    assert (used[0], used[4]) == (5, 6)


@pytest.mark.parametrize("value", [(PHONE, TEXT), {"to": PHONE, "text": TEXT}, PHONE])
async def test_what_is_no_message_is_an_error_before_anything_is_sent(client: Client, value: Any) -> None:
    with pytest.raises(TypeError, match="message must be a Message, not"):
        await client.send_message(value)
    assert client.health().last_success is None
