"""Anything may happen in any order: what the library says about a message is never contradicted by the record."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listeners import Listener
from manual_clock import ManualClock, idle
from watched import Gateway, assert_once, assert_true, phone

from smspilot_async import Accepted, Client, ConnectionFailed, Message, Outcome, Refused, SendResult, SmsPilotError
from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from smspilot_async import Packet, SentMessage

FAULTS = st.sampled_from(list(Fault))
COUNTS = st.integers(1, 12)
STEPS = st.one_of(
    st.tuples(st.just("send"), COUNTS, st.sampled_from([0.3, 2.0, 25.0])),
    st.tuples(st.just("packet"), COUNTS, st.sampled_from([0.3, 25.0])),
    st.tuples(st.just("bulk"), st.integers(1, 60), st.integers(0, 60)),
    st.tuples(st.just("fault"), FAULTS, st.integers(0, 3)),
    st.tuples(st.just("bad"), st.sampled_from([108, 204, 214, 223, 242])),
    st.tuples(st.just("cancel"), st.integers(0, 99)),
    st.tuples(st.just("turn"), st.sampled_from([0.0, 0.1, 0.6, 5.0, 40.0])),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("flush")),
    st.tuples(st.just("release")),
)
OPTIONS = st.fixed_dictionaries(
    {
        "max_connections": st.sampled_from([1, 2, 3, 20]),
        "packet_size": st.sampled_from([1, 3, 10, 100]),
        "linger": st.sampled_from([0.0, 0.0, 0.5]),
        "max_pending": st.sampled_from([1, 5, 10_000]),
        "rate_limit": st.sampled_from([None, None, 20.0]),
    }
)
SWITCHES = st.fixed_dictionaries(
    {},
    optional={
        "rows_reordered": st.booleans(),
        "rows_missing": st.integers(0, 2),
        "ids_zero": st.booleans(),
        "one_bad_refuses_packet": st.booleans(),
        "all_bad_refuses_packet": st.booleans(),
        "max_messages": st.sampled_from([2, 50]),
        "partly_accepted": st.integers(0, 5),
    },
)


@attrs.define
class World:
    """A client, a gateway, and everything that was ever said about a message.

    Attributes:
        handed_in: The texts of all messages.
        calls: What is under way, or over.
        claims: What callers were told.
    """

    gateway: Gateway
    client: Client
    numbers: itertools.count[int] = attrs.Factory(itertools.count)
    handed_in: list[str] = attrs.Factory(list)
    calls: list[asyncio.Task[Any]] = attrs.Factory(list)
    claims: list[SendResult[Message]] = attrs.Factory(list)

    def message(self) -> Message:
        number = next(self.numbers)
        return Message(phone(number), f"text {number}")

    async def step(self, name: str, *values: Any) -> None:
        await getattr(self, f"do_{name}")(*values)

    async def do_send(self, count: int, deadline: float) -> None:
        for _ in range(count):
            self.begin(self.sent(self.message(), deadline))

    async def sent(self, message: Message, deadline: float) -> None:
        self.handed_in.append(message.text)
        try:
            sent = await self.client.send_message(message, deadline=deadline)
        except SmsPilotError as error:
            self.claim(message, error)
        else:
            self.claims.append(Accepted(message, sent))

    async def do_packet(self, count: int, deadline: float) -> None:
        self.begin(self.sent_packet([self.message() for _ in range(count)], deadline))

    async def sent_packet(self, messages: list[Message], deadline: float) -> None:
        self.handed_in += [message.text for message in messages]
        try:
            packet: Packet = await self.client.send_packet(messages, deadline=deadline)
        except SmsPilotError as error:
            for message in messages:
                self.claim(message, error)
        else:
            for message, row in zip(messages, packet.messages, strict=True):
                if row.failure is None:
                    self.claims.append(Accepted(message, row))
                else:
                    self.claim(message, row.failure)

    def claim(self, message: Message, error: SmsPilotError) -> None:
        if error.outcome is not Outcome.UNKNOWN:
            self.claims.append(Refused(message, error))

    async def do_bulk(self, count: int, leave_after: int) -> None:
        self.begin(self.ran(count, leave_after))

    async def ran(self, count: int, leave_after: int) -> None:
        async def source() -> AsyncIterator[Message]:
            for _ in range(count):
                await asyncio.sleep(0)
                message = self.message()
                self.handed_in.append(message.text)
                yield message

        results: list[SendResult[Message]] = []
        run = self.client.bulk(source(), packet_size=7, in_flight=3)
        try:
            with suppress(SmsPilotError):
                async with run:
                    async for result in run:
                        results.append(result)
                        if len(results) == leave_after:
                            break
        finally:
            self.claims += [*results, *run._results]
            stats = run.stats
            assert stats.read == stats.done or asyncio.current_task() in self.cancelled_twice()

    def cancelled_twice(self) -> set[asyncio.Task[Any]]:
        return {call for call in self.calls if call.cancelling() > 1}

    def begin(self, work: Any) -> None:
        self.calls.append(asyncio.ensure_future(work))

    async def do_fault(self, fault: Fault, row: int) -> None:
        self.gateway.emulator.fail_next("send", fault, row=row)

    async def do_bad(self, code: int) -> None:
        self.gateway.emulator.refuse(code=code, to=phone(next(self.numbers) + 3))

    async def do_cancel(self, which: int) -> None:
        if self.calls:
            self.calls[which % len(self.calls)].cancel()

    async def do_turn(self, seconds: float) -> None:
        await self.gateway.clock.advance(seconds)

    async def do_step(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def do_flush(self) -> None:
        self.begin(self.client.flush())

    async def do_release(self) -> None:
        self.gateway.emulator.release()

    async def end(self) -> None:
        for _ in range(30):
            self.gateway.emulator.release()
            await self.gateway.clock.advance(20)
        await asyncio.wait_for(self.client.aclose(), 10)
        if self.calls:
            await asyncio.wait_for(asyncio.wait(self.calls), 10)
        await idle()
        for call in self.calls:
            assert call.cancelled() or call.exception() is None

    def judge(self) -> None:
        heard = self.gateway.listener.results
        assert_true(heard, self.gateway.emulator)
        assert_true(self.claims, self.gateway.emulator)
        texts = [result.item.text for result in heard]
        assert_once(texts)
        # What a stopped run read and never put into a packet left by no send, so that no hook heard of it.
        unheard = set(self.handed_in) - set(texts)
        assert unheard <= {claim.item.text for claim in self.claims if type(claim).__name__ == "NotSent"}
        assert set(texts) <= set(self.handed_in)


async def scenario(
    make: Callable[[], World], steps: list[tuple[Any, ...]], *, switches: dict[str, Any], patience: float | None
) -> None:
    world = make()
    for name, value in switches.items():
        setattr(world.gateway.emulator.unknowns, name, value)
    # 110 for a packet of which some were taken already: asked again, as the vendor says, they would go out twice.
    world.gateway.emulator.unknowns.partly_accepted_code = 999
    for step in steps:
        await world.step(*step)
    if patience is not None:
        closing = asyncio.ensure_future(world.client.aclose(timeout=patience))
        await world.gateway.clock.advance(patience + 1)
        await asyncio.wait_for(closing, 10)
    await world.end()
    world.judge()


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    options=OPTIONS,
    switches=SWITCHES,
    steps=st.lists(STEPS, min_size=1, max_size=25),
    patience=st.sampled_from([None, None, 0.0, 3.0]),
)
def test_no_message_goes_out_twice_and_no_claim_is_contradicted(
    options: dict[str, Any], switches: dict[str, Any], steps: list[tuple[Any, ...]], patience: float | None
) -> None:
    def make() -> World:
        clock = ManualClock()
        gateway = Gateway(Emulator(loop_protection=None, seed=1), Listener(), clock)
        with _clock.use(clock):
            return World(gateway, gateway.client(timeout=30.0, **options))

    asyncio.run(scenario(make, steps, switches=switches, patience=patience))


async def test_the_model_notices_a_false_claim(gateway: Gateway) -> None:
    """The judge itself is judged: a claim that the record contradicts does not pass."""
    sent: SentMessage = await gateway.client().send(phone(1), "accepted")
    message = Message(phone(1), "accepted")
    assert_true([Accepted(message, sent)], gateway.emulator)
    for false in (
        Refused(message, ConnectionFailed("nothing was sent")),
        Accepted(message, attrs.evolve(sent, server_id="1")),
        Accepted(Message(phone(1), "never sent"), sent),
    ):
        try:
            assert_true([false], gateway.emulator)
        except AssertionError:
            continue
        raise LookupError("a false claim has passed")
