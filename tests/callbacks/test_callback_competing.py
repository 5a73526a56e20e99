"""Workers that compete for events: one of them gets each, in its message's order, and another one if that one dies."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from calling import BASE, SECRET, call
from manual_clock import idle
from outcomes import PHONE, TEXT
from test_callback_sqlite import FULL, as_a_kill_would_leave, line_of, pragma, worker

from smspilot_async import Client, Message
from smspilot_async.callbacks import CallbackInbox, SQLiteSink
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from manual_clock import ManualClock

    from smspilot_async.callbacks import StatusEvent

NEVER = timedelta(days=1000)
SOME = range(1, 21)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statuses.db"


def competing(path: Path) -> CallbackInbox:
    return CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path), competing=True)


@pytest.fixture
async def one(path: Path, manual_clock: ManualClock) -> AsyncIterator[CallbackInbox]:
    del manual_clock  # it is the clock of both
    async with competing(path) as inbox:
        yield inbox


@pytest.fixture
async def other(path: Path, one: CallbackInbox) -> AsyncIterator[CallbackInbox]:
    del one
    async with competing(path) as inbox:
        yield inbox


def url_of(inbox: CallbackInbox, number: int) -> str:
    return inbox.urls_for([(number, Message(PHONE, TEXT))])[number]


async def called(inbox: CallbackInbox, *numbers: int) -> None:
    """Calls for messages of their own."""
    for number in numbers:
        assert await call(inbox, url_of(inbox, number), f"{number}", 1) == 200


async def taken(inbox: CallbackInbox) -> int | None:
    """The id of the next event, if there is one for this worker."""
    asking = asyncio.ensure_future(anext(inbox))
    await settled(inbox)
    if not asking.done():
        asking.cancel()
        await asyncio.wait([asking])
        await settled(inbox)
    return None if asking.cancelled() else asking.result().id


async def settled(inbox: CallbackInbox) -> None:
    """Wait until the sink has done whatever was asked of it, and nothing in the loop is ready to go on."""
    sink = inbox._log
    assert isinstance(sink, SQLiteSink)
    for _ in range(3):
        await asyncio.wrap_future(sink._submit(lambda: None))
        await idle()


async def rest(inbox: CallbackInbox) -> list[int]:
    ids = []
    while (id_ := await taken(inbox)) is not None:
        ids.append(id_)
    return ids


# --- who gets what -------------------------------------------------------------------------------


async def test_each_event_goes_to_one_of_them(one: CallbackInbox, other: CallbackInbox) -> None:
    await called(one, *range(1, 6))
    assert [await taken(inbox) for inbox in (one, other, one, other, one)] == [1, 2, 3, 4, 5]
    assert [await taken(one), await taken(other)] == [None, None]
    await called(other, 6, 7)
    assert [await taken(one), await taken(other)] == [6, 7]


async def test_a_waiter_gets_a_call_that_another_took(
    one: CallbackInbox, other: CallbackInbox, manual_clock: ManualClock
) -> None:
    waiting = asyncio.ensure_future(anext(other))
    await settled(other)
    await called(one, 1)
    await manual_clock.advance(1)
    await settled(other)
    assert (await asyncio.wait_for(waiting, 5)).id == 1


async def test_statuses_of_a_message_are_handed_over_in_their_order(one: CallbackInbox, other: CallbackInbox) -> None:
    url = url_of(one, 7)
    assert [await call(one, url, "7", status) for status in (0, 1, 2)] == [200] * 3
    await called(one, 8)
    first = await anext(one)
    assert (first.id, first.status) == (7, 0)
    assert await rest(other) == [8]  # and no later one of the message that another has in hand
    second = await anext(one)
    assert (second.id, second.status) == (7, 1)
    assert await taken(other) is None
    assert await taken(one) == 7
    assert await rest(other) == []


async def test_a_late_status_is_passed_over_also_where_another_worker_had_the_one_before(
    one: CallbackInbox, other: CallbackInbox
) -> None:
    url = url_of(one, 7)
    assert await call(one, url, "7", 2) == 200
    assert [await taken(one), await taken(one)] == [7, None]
    assert await call(one, url, "7", 1) == 200
    assert await rest(other) == []


async def test_of_minus_two_each_is_given(one: CallbackInbox, other: CallbackInbox) -> None:
    url = url_of(one, 7)
    assert [await call(one, url, "7", status, error=error) for status, error in ((-2, 1), (-2, 2), (0, 0))] == [200] * 3
    assert [await taken(inbox) for inbox in (one, one, other)] == [7, 7, None]
    assert [await taken(inbox) for inbox in (one, other)] == [7, None]


async def test_a_call_that_named_a_foreign_number_is_passed_over(one: CallbackInbox, other: CallbackInbox) -> None:
    url = url_of(one, 7)
    assert await call(one, url, "666", 2) == 200
    one._log.bind(one.nonce_of(url), "7")
    await settled(one)
    assert await call(one, url, "7", 1) == 200
    assert [(await anext(other)).server_id, await taken(other)] == ["7", None]


async def test_both_of_them_track(path: Path) -> None:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    emulator.fail_next("check", Fault.RESET_AFTER_READ, times=100)
    async with (
        competing(path) as one,
        competing(path) as other,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=one) as client,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=other) as another,
    ):
        sent = await client.send(PHONE, TEXT)
        await settled(one)  # else the other has only the caller's word for the number, and asks
        async with client.track(sent) as here, another.track(sent) as there:
            assert await call(other, emulator.messages[0].callback, sent.server_id, 2) == 200
            assert [status.status async for status in here] == [2]
            assert [status.status async for status in there] == [2]


# --- when it comes again -------------------------------------------------------------------------


async def test_what_was_handled_does_not_come_again_and_what_was_in_hand_does(path: Path) -> None:
    async with competing(path) as one:
        await called(one, 1, 2, 3)
        assert [await taken(one), await taken(one)] == [1, 2]
        await settled(one)
        killed = as_a_kill_would_leave(path)
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(killed)) as again:
        assert [(await anext(again)).id for _ in range(2)] == [2, 3]  # also to one that does not compete


async def test_a_worker_that_is_gone_loses_its_event_after_half_a_minute(
    one: CallbackInbox, other: CallbackInbox, manual_clock: ManualClock
) -> None:
    await called(one, 1)
    assert await taken(one) == 1
    keeper = one._keeper
    assert keeper is not None
    keeper.cancel()
    await manual_clock.advance(29)
    assert await taken(other) is None
    await manual_clock.advance(1)
    assert await taken(other) == 1
    assert await rest(one) == []  # it was only late, and is done now
    assert await rest(other) == []


async def test_a_worker_that_takes_its_time_keeps_its_event(
    one: CallbackInbox, other: CallbackInbox, manual_clock: ManualClock
) -> None:
    await called(one, 1)
    assert await taken(one) == 1
    for _ in range(60):
        await manual_clock.advance(10)
        await settled(one)
        assert await taken(other) is None


async def test_a_clock_that_is_set_back_holds_nothing_up(
    one: CallbackInbox, other: CallbackInbox, manual_clock: ManualClock
) -> None:
    await called(one, 1)
    assert await taken(one) == 1
    manual_clock.shift -= timedelta(days=1)
    assert await taken(other) == 1


async def test_a_reader_that_is_cancelled_at_work_gives_its_event_up(one: CallbackInbox, other: CallbackInbox) -> None:
    await called(one, 1, 2)
    got: list[StatusEvent] = []

    async def work() -> None:
        async for event in one:
            got.append(event)
            await asyncio.Event().wait()

    working = asyncio.ensure_future(work())
    await settled(one)
    assert [event.id for event in got] == [1]
    working.cancel()
    await asyncio.wait([working])
    await settled(one)
    assert await rest(other) == [1, 2]


async def test_a_reader_that_begins_in_the_place_of_a_cancelled_one_gets_its_event(one: CallbackInbox) -> None:
    await called(one, 1, 2)

    async def work() -> None:
        async for _ in one:
            await asyncio.Event().wait()

    working = asyncio.ensure_future(work())
    await settled(one)
    working.add_done_callback(lambda _: again.append(asyncio.ensure_future(anext(one))))
    again: list[asyncio.Future[StatusEvent]] = []
    working.cancel()
    await asyncio.wait([working])
    assert (await asyncio.wait_for(again[0], 5)).id == 1


async def test_a_reader_with_a_time_limit_keeps_what_it_got(one: CallbackInbox, other: CallbackInbox) -> None:
    await called(one, 1, 2)
    assert (await asyncio.wait_for(anext(one), 5)).id == 1  # by a task of its own, before Python 3.12
    await settled(one)
    assert await rest(other) == [2]
    assert await rest(one) == []


class SlowClaim:
    """A claim that the sink has made, and that has not come back to the loop yet."""

    def __init__(self) -> None:
        self._claimed, self._go_on = threading.Event(), threading.Event()
        self._claim = SQLiteSink._claim

    def claim(self, sink: SQLiteSink, owner: bytes, now: int) -> object:
        stored = self._claim(sink, owner, now)
        self._claimed.set()
        assert self._go_on.wait(20)
        return stored

    async def made(self) -> None:
        assert await asyncio.to_thread(self._claimed.wait, 20)

    def let_go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowClaim:
    slow = SlowClaim()

    def claim(sink: SQLiteSink, owner: bytes, now: int) -> object:
        return slow.claim(sink, owner, now)

    monkeypatch.setattr(SQLiteSink, "_claim", claim)
    return slow


async def test_a_reader_that_is_cancelled_while_the_sink_claims_for_it_gives_that_up(
    one: CallbackInbox, other: CallbackInbox, slow: SlowClaim
) -> None:
    await called(one, 1)
    asking = asyncio.ensure_future(anext(one))
    await slow.made()
    asking.cancel()
    await asyncio.wait([asking])
    slow.let_go_on()
    await settled(one)
    assert await taken(other) == 1


async def test_an_inbox_that_is_closed_while_the_sink_claims_gives_that_up(
    path: Path, other: CallbackInbox, slow: SlowClaim
) -> None:
    async with competing(path) as one:
        await called(one, 1)
        asking = asyncio.ensure_future(anext(one))
        await slow.made()
        closing = asyncio.ensure_future(one.aclose())
        await idle()
        slow.let_go_on()
        await closing
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(asking, 5)
    assert await taken(other) == 1


async def test_a_closed_inbox_gives_its_event_up(path: Path, other: CallbackInbox) -> None:
    async with competing(path) as one:
        await called(one, 1, 2)
        assert await taken(one) == 1
    assert await rest(other) == [1, 2]


async def test_a_reader_that_waits_ends_with_the_inbox(path: Path) -> None:
    async with competing(path) as one:
        waiting = asyncio.ensure_future(anext(one))
        await settled(one)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 5)


async def test_events_are_written_through_to_the_disk_also_where_claims_are_not(one: CallbackInbox) -> None:
    await called(one, 1, 2)
    assert [await taken(one), await taken(one), await taken(one)] == [1, 2, None]
    sink = one._log
    assert isinstance(sink, SQLiteSink)
    assert await pragma(sink, "synchronous") == FULL


# --- beside the other mode -----------------------------------------------------------------------


async def test_those_that_compete_go_on_where_those_that_do_not_had_come_to(path: Path) -> None:
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as before:
        await called(before, 1, 2, 3)
        assert [(await anext(before)).id for _ in range(2)] == [1, 2]
        await settled(before)
        killed = as_a_kill_would_leave(path)
    async with competing(killed) as one:
        assert await rest(one) == [2, 3]
        await called(one, 4, 5)
        assert [await taken(one), await taken(one)] == [4, 5]
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(killed)) as after:
        assert (await anext(after)).id == 5
        await called(after, 6, 7)
        assert [(await anext(after)).id for _ in range(2)] == [6, 7]
        await settled(after)
    async with competing(killed) as again:
        await called(again, 8)
        assert await rest(again) == [8]


async def test_they_share_a_sink() -> None:
    with pytest.raises(ValueError, match="competing needs a SQLiteSink"):
        CallbackInbox(BASE, secret=SECRET, competing=True)


async def test_a_file_that_is_lost_loses_none_of_what_comes_after(one: CallbackInbox, path: Path) -> None:
    await called(one, 1, 2)
    assert await taken(one) == 1
    path.unlink()  # noqa: ASYNC240
    await called(one, 3, 4)
    assert await rest(one) == [3, 4]


# --- processes -----------------------------------------------------------------------------------


async def test_each_event_goes_to_one_process(path: Path) -> None:
    got: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        takers = [await stack.enter_async_context(worker(path, "take", "1000")) for _ in range(3)]
        for process in takers:
            assert await line_of(process) == "ready"
        storing = await stack.enter_async_context(worker(path, "store", "150"))
        taking = [asyncio.ensure_future(count(process, got)) for process in takers]
        async with asyncio.timeout(60):
            while len(got) < 150:
                await asyncio.wait(taking, timeout=0.05)
        assert storing.returncode in {None, 0}
        for process in takers:
            process.kill()
        await asyncio.wait(taking)
    assert got == Counter(map(str, range(1, 151)))


async def count(process: asyncio.subprocess.Process, got: Counter[str]) -> None:
    """Count what a process prints of events, until it ends."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        got[line.split()[0].decode()] += 1


async def test_what_a_killed_process_had_in_hand_goes_to_another(path: Path) -> None:
    async with worker(path, "hold", "0.3") as killed:
        assert await line_of(killed) == "ready"
        async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
            await called(inbox, 1)
        assert await line_of(killed) == "1 1 1"
    async with worker(path, "take", "0.3") as another:
        assert await line_of(another) == "ready"
        assert await line_of(another) == "1 1 1"


async def test_kills_lose_nothing_and_repeat_at_most_what_was_in_hand(path: Path) -> None:
    got: Counter[str] = Counter()
    kills = 4
    async with CallbackInbox(BASE, secret=SECRET, sink=SQLiteSink(path)) as inbox:
        for round_ in range(kills):
            await called(inbox, *range(round_ * 20 + 1, round_ * 20 + 21))
            await take(path, got, 10)
        await take(path, got, 80 - len(got))
    assert set(got) == set(map(str, range(1, 81)))
    assert sum(got.values()) <= 80 + kills


async def take(path: Path, got: Counter[str], more: int) -> None:
    """Let a process take that many new events, then kill it at whatever it is doing."""
    wanted = len(got) + more
    async with worker(path, "take", "0.2") as taker:
        assert await line_of(taker) == "ready"
        taking = asyncio.ensure_future(count(taker, got))
        async with asyncio.timeout(60):
            while len(got) < wanted:
                await asyncio.wait([taking], timeout=0.01)
        taker.kill()
        await taking
