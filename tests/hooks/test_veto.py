"""A hook may refuse a message before it is queued; what it does not allow does not leave."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import TYPE_CHECKING

import pytest
from manual_clock import idle
from noted import Broken, Hanging, Noted, OptOuts, SlowOptOuts
from outcomes import PHONE, failure_of

from smspilot_async import (
    Accepted,
    Client,
    ClientClosed,
    Hooks,
    Message,
    MessageVetoed,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Refused,
    VetoFailed,
)
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manual_clock import ManualClock

TEXTS = ["one", "stop two", "three", "stop four", "five"]
MESSAGES = [Message(f"7908796478{number}", text) for number, text in enumerate(TEXTS)]
GOOD = ["one", "three", "five"]


def client_of(emulator: Emulator, *hooks: Hooks) -> Client:
    return Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=hooks)


def taken(emulator: Emulator) -> list[str]:
    return sorted(message.text for message in emulator.messages)


@pytest.fixture
def emulator() -> Emulator:
    """An emulator that takes every message, without a socket."""
    return Emulator(loop_protection=None, seed=1)


@pytest.mark.parametrize("opt_outs", [OptOuts(), SlowOptOuts()])
async def test_a_vetoed_send_raises_with_the_hooks_reason_and_nothing_leaves(
    emulator: Emulator, opt_outs: Hooks, noted: Noted
) -> None:
    async with client_of(emulator, opt_outs, noted) as client:
        error = await failure_of(client.send(PHONE, "stop it", id=7))
    assert isinstance(error, MessageVetoed)
    assert not isinstance(error, VetoFailed)
    assert (error.outcome, error.reason, error.message_id) == (Outcome.REFUSED, "opted out", 7)
    assert "opted out" in str(error)
    assert (taken(emulator), noted.begun) == ([], [])


async def test_a_message_without_a_veto_is_sent(emulator: Emulator, noted: Noted) -> None:
    async with client_of(emulator, OptOuts("no"), SlowOptOuts("nothing"), noted) as client:
        sent = await client.send(PHONE, "hello")
    assert [message.server_id for message in emulator.messages] == [sent.server_id]
    assert noted.kinds == ["Accepted"]


@pytest.mark.parametrize("opt_outs", [OptOuts(), SlowOptOuts()])
async def test_a_packet_goes_without_what_was_vetoed(emulator: Emulator, opt_outs: Hooks, noted: Noted) -> None:
    async with client_of(emulator, opt_outs, noted) as client:
        packet = await client.send_packet(MESSAGES)
    assert [type(row.failure) for row in packet.messages] == [type(None), MessageVetoed] * 2 + [type(None)]
    assert len(packet.refused) == 2
    assert taken(emulator) == sorted(GOOD)
    assert [request.messages for request in noted.begun] == [3]


async def test_a_packet_of_which_all_was_vetoed_raises(emulator: Emulator, noted: Noted) -> None:
    async with client_of(emulator, OptOuts(""), noted) as client:
        assert isinstance(await failure_of(client.send_packet(MESSAGES)), MessageVetoed)
    assert (taken(emulator), noted.begun) == ([], [])
    assert noted.kinds == ["Refused"] * 5


@pytest.mark.parametrize("opt_outs", [OptOuts(), SlowOptOuts()])
async def test_in_a_bulk_run_what_was_vetoed_is_refused_and_the_sum_stays_true(
    emulator: Emulator, opt_outs: Hooks
) -> None:
    declared: list[str] = []

    async def declare(items: Sequence[Message]) -> None:
        declared.extend(item.text for item in items)

    async with (
        client_of(emulator, opt_outs) as client,
        client.bulk(MESSAGES, packet_size=2, before_packet=declare) as run,
    ):
        results = {result.item.text: result async for result in run}
    assert {text: type(result) for text, result in results.items()} == {
        text: Accepted if text in GOOD else Refused for text in TEXTS
    }
    assert (run.stats.read, run.stats.accepted, run.stats.refused) == (5, 3, 2)
    assert taken(emulator) == sorted(GOOD)
    assert sorted(declared) == sorted(GOOD), "an intent is written down for what leaves, and for nothing else"


async def test_packets_that_were_vetoed_whole_say_nothing_about_the_gateway(emulator: Emulator) -> None:
    async with client_of(emulator, OptOuts("")) as client, client.bulk(MESSAGES, packet_size=1, max_unknown=1) as run:
        assert {type(result) async for result in run} == {Refused}
    assert run.stats.refused == 5


async def test_vetoed_messages_do_not_reset_the_circuit_breaker_of_a_run_without_answers(emulator: Emulator) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET, times=100)
    source = (("79087964781", f"{('stop', 'go')[number % 2]} {number}") for number in range(1000))

    async def run_all() -> None:
        async for _ in run:
            pass

    async with client_of(emulator, OptOuts()) as client, client.bulk(source, packet_size=10, max_unknown=2) as run:
        assert isinstance(await failure_of(run_all()), OutcomeUnknown)
    assert (run.stats.unknown, run.stats.accepted) == (10, 0)


async def test_the_hooks_get_every_vetoed_message_once(emulator: Emulator, noted: Noted) -> None:
    async with client_of(emulator, OptOuts(), noted) as client:
        await failure_of(client.send(PHONE, "stop one"))
        await client.send_packet(MESSAGES)
    vetoed = [result.item.text for result in noted.results if isinstance(result, Refused)]
    assert sorted(vetoed) == ["stop four", "stop one", "stop two"]


async def test_a_veto_that_raises_sends_nothing(
    emulator: Emulator, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(emulator, Broken(), noted) as client:
        alone = await failure_of(client.send(PHONE, "hello"))
        together = await failure_of(client.send_packet(MESSAGES))
    for error in (alone, together):
        assert isinstance(error, VetoFailed)
        assert error.reason == "Broken.veto raised LookupError"
        assert error.__context__ is None, "its own error may hold a phone"
    assert taken(emulator) == []
    assert noted.kinds == ["NotSent"] * 6
    assert "raised LookupError" in caplog.text
    assert PHONE[:10] not in caplog.text


async def test_a_veto_that_keeps_raising_stops_a_bulk_run(emulator: Emulator) -> None:
    source = (("79087964781", f"text {number}") for number in range(1000))
    kinds: set[type] = set()

    async def run_all() -> None:
        async for result in run:
            kinds.add(type(result))

    async with client_of(emulator, Broken()) as client, client.bulk(source, packet_size=10, max_unknown=2) as run:
        assert isinstance(await failure_of(run_all()), VetoFailed)
    assert kinds == {NotSent}
    assert run.stats.not_sent == run.stats.read < 100
    assert taken(emulator) == []


async def test_a_veto_that_hangs_ends_with_the_call(
    emulator: Emulator, manual_clock: ManualClock, noted: Noted
) -> None:
    hanging = Hanging()
    async with client_of(emulator, hanging, noted) as client:
        for send in (client.send(PHONE, "hello", deadline=5), client.send_packet(MESSAGES, deadline=5)):
            hanging.asked.clear()
            call = asyncio.ensure_future(failure_of(send))
            await hanging.asked.wait()
            await manual_clock.advance(4.9)
            assert not call.done()
            await manual_clock.advance(0.2)
            assert call.done()
            assert isinstance(call.result(), VetoFailed)
    assert hanging.was_cancelled
    assert taken(emulator) == []
    assert noted.kinds == ["NotSent"] * 6


async def test_in_a_bulk_run_a_veto_that_hangs_ends_with_the_clients_deadline(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    hanging = Hanging()
    client = Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=[hanging], deadline=5)
    async with client, client.bulk(MESSAGES) as run:
        await hanging.asked.wait()
        await manual_clock.advance(5)
        assert {type(result) async for result in run} == {NotSent}
    assert taken(emulator) == []


async def test_a_veto_that_swallows_its_timeout_has_allowed_nothing(
    emulator: Emulator, manual_clock: ManualClock
) -> None:
    class Swallowing(Hanging):
        async def veto(self, message: Message) -> str | None:
            with contextlib.suppress(asyncio.CancelledError):
                await super().veto(message)
            return None

    hook = Swallowing()
    client = Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=[hook], deadline=5)
    async with client, client.bulk(MESSAGES) as run:
        await hook.asked.wait()
        await manual_clock.advance(5)
        assert {type(result) async for result in run} == {NotSent}
    assert taken(emulator) == []


async def test_a_caller_that_is_cancelled_during_a_veto_has_sent_nothing(emulator: Emulator, noted: Noted) -> None:
    hanging = Hanging()
    async with client_of(emulator, hanging, noted) as client:
        for send in (client.send(PHONE, "hello"), client.send_packet(MESSAGES)):
            hanging.asked.clear()
            call = asyncio.ensure_future(send)
            await hanging.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert taken(emulator) == []
    assert noted.kinds == ["NotSent"] * 6


async def test_a_client_that_is_closed_during_a_veto_sends_nothing(emulator: Emulator) -> None:
    answer = asyncio.Event()

    class Late(Hooks):
        async def veto(self, message: Message) -> str | None:
            del message
            await answer.wait()
            return None

    client = client_of(emulator, Late())
    call = asyncio.ensure_future(failure_of(client.send(PHONE, "hello")))
    await asyncio.sleep(0)
    await client.aclose()
    answer.set()
    assert isinstance(await call, ClientClosed)
    assert taken(emulator) == []


async def test_a_slow_veto_does_not_delay_other_messages(emulator: Emulator) -> None:
    asked = asyncio.Event()

    class SlowForOne(Hooks):
        async def veto(self, message: Message) -> str | None:
            if message.text == "slow":
                asked.set()
                await asyncio.Event().wait()
            return None

    async with client_of(emulator, SlowForOne()) as client:
        slow = asyncio.ensure_future(client.send(PHONE, "slow"))
        await asked.wait()
        await client.send(PHONE, "quick")
        assert taken(emulator) == ["quick"]
        slow.cancel()
        await asyncio.wait({slow})


class Crowded(Hooks):
    """Answers when it is released, and counts.

    Attributes:
        at_work, most, asked: Vetoes now, at once at most, and in all.
    """

    def __init__(self) -> None:
        self.at_work = self.most = self.asked = 0
        self.answer = asyncio.Event()

    async def veto(self, message: Message) -> str | None:
        del message
        self.asked += 1
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.answer.wait()
        finally:
            self.at_work -= 1
        return None


def crowded_client(emulator: Emulator, *hooks: Hooks) -> Client:
    return Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=hooks, max_pending=3)


async def test_no_more_messages_than_may_queue_are_asked_about_at_once(emulator: Emulator) -> None:
    crowded = Crowded()
    async with crowded_client(emulator, crowded) as client:
        sends = [asyncio.ensure_future(client.send(PHONE, f"{number:02}")) for number in range(20)]
        await idle()
        assert crowded.at_work == 3
        crowded.answer.set()
        await asyncio.gather(*sends)
    assert (crowded.most, crowded.asked) == (3, 20)
    assert [message.text for message in emulator.messages] == [f"{number:02}" for number in range(20)], "in their order"


async def test_a_caller_that_gives_up_waiting_for_a_veto_has_sent_nothing(
    emulator: Emulator, manual_clock: ManualClock, noted: Noted
) -> None:
    crowded = Crowded()
    async with crowded_client(emulator, crowded, noted) as client:
        others = [asyncio.ensure_future(client.send(PHONE, f"{number}", deadline=60)) for number in range(3)]
        late = asyncio.ensure_future(failure_of(client.send(PHONE, "late", deadline=5)))
        cancelled = asyncio.ensure_future(client.send(PHONE, "cancelled", deadline=60))
        last = asyncio.ensure_future(client.send(PHONE, "last", deadline=60))
        await idle()
        cancelled.cancel()
        await manual_clock.advance(6)
        error = await late
        assert isinstance(error, VetoFailed)
        assert error.outcome is Outcome.NOT_SENT
        assert sorted((type(result).__name__, result.item.text) for result in noted.results) == [
            ("NotSent", "cancelled"),
            ("NotSent", "late"),
        ]
        crowded.answer.set()
        await asyncio.gather(*others, last)
    assert (crowded.asked, taken(emulator)) == (4, ["0", "1", "2", "last"])


async def test_what_is_true_and_no_text_is_a_veto_too(emulator: Emulator) -> None:
    class Careless(Hooks):
        def veto(self, message: Message) -> str | None:
            return bool(message.text)  # type: ignore[return-value]

    async with client_of(emulator, Careless()) as client:
        error = await failure_of(client.send(PHONE, "hello"))
    assert isinstance(error, MessageVetoed)
    assert error.reason == "Careless.veto"


async def test_the_errors_text_shows_no_phone_that_a_reason_holds(emulator: Emulator) -> None:
    class Talkative(Hooks):
        def veto(self, message: Message) -> str | None:
            return f"{message.to} has opted out"

    async with client_of(emulator, Talkative()) as client:
        error = await failure_of(client.send(PHONE, "hello"))
    assert PHONE not in str(error)
    assert "has opted out" in str(error)


async def test_a_vetoed_message_is_no_news_for_the_log(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(emulator, OptOuts()) as client:
        await failure_of(client.send(PHONE, "stop"))
    assert caplog.text == ""


def test_its_errors_pickle() -> None:
    error = VetoFailed("text", reason="A.veto raised KeyError", message_id=3)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(again), again.reason, again.message_id) == (str(error), error.reason, 3)
