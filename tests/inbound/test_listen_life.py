"""How a listener bears failures, and all the ways in which it can be left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from listening_room import DurableCursor
from manual_clock import idle

from smspilot_async import (
    AccountBlocked,
    AuthenticationError,
    ClientClosed,
    CursorError,
    CursorInUse,
    CursorState,
    InboundListener,
    InboundMessage,
)
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from listening_room import Room

START = datetime(2030, 1, 15, 15, 0, 20, tzinfo=UTC)


def only_this_task() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def consume(inbox: InboundListener, got: list[str]) -> None:
    got += [sms.text or "" async for sms in inbox]


# --- failures ------------------------------------------------------------------------------------


async def test_failed_polls_wait_longer_each_time_but_not_for_ever(room: Room) -> None:
    inbox = room.client.listen(poll_interval=20)
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR, times=7)
    room.clock.slept.clear()
    await room.rest(inbox)
    for seconds in (20, 40, 80, 160, 300, 300, 300):
        await room.advance(seconds - 0.5)
        await room.rest(inbox)
        room.wire.asked()
        await room.after(0.5, inbox)
        assert room.wire.asked()
    room.clock.slept.clear()
    await room.rest(inbox)
    assert room.clock.slept == [20]


async def test_after_a_success_the_waits_begin_anew(room: Room) -> None:
    inbox = room.client.listen(poll_interval=20)
    await room.rest(inbox)
    for _ in range(3):
        room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
        await room.after(20, inbox)
        room.clock.slept.clear()
        await room.after(20, inbox)
        assert room.clock.slept[-1] == 20


async def test_a_long_interval_is_never_shortened_by_a_failure(room: Room) -> None:
    inbox = room.client.listen(poll_interval=1000)
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR)
    await room.rest(inbox)
    assert room.clock.slept[-1] == 1000


async def test_the_wait_that_the_gateway_asks_for_is_kept(room: Room) -> None:
    inbox = room.client.listen(poll_interval=20)
    room.emulator.fail_next("inbound", Fault.TOO_MANY_REQUESTS, retry_after=77)
    await room.rest(inbox)
    assert room.clock.slept[-1] == 77


@pytest.mark.parametrize(("every", "waited"), [(20, 300), (1000, 1000)])
async def test_a_gateway_that_asks_for_a_day_is_asked_again_in_five_minutes(
    room: Room, every: float, waited: float
) -> None:
    inbox = room.client.listen(poll_interval=every)
    room.emulator.fail_next("inbound", Fault.TOO_MANY_REQUESTS, retry_after=86_400)
    room.sms("STOP")
    await room.rest(inbox)
    assert room.clock.slept[-1] == waited
    assert await room.after(waited, inbox) == ["STOP"]


async def test_thousands_of_failures_do_not_end_it(room: Room) -> None:
    inbox = room.client.listen(poll_interval=300)
    room.emulator.fail_next("inbound", Fault.SERVER_ERROR, times=1100)
    room.sms("after a dead year")
    await room.clock.drive(asyncio.wait_for(anext(inbox), None))


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault.BUSY, "code 110"),
        (Fault.ACCEPT_THEN_HTML, "unreadable"),
        (Fault.SERVER_ERROR, "http_status"),
        (Fault.TOO_MANY_REQUESTS, "GatewayBusy"),
    ],
)
async def test_failures_are_logged_without_content(
    room: Room, caplog: pytest.LogCaptureFixture, fault: Fault, word: str
) -> None:
    caplog.set_level(logging.DEBUG, logger="smspilot_async")
    room.sms("STOP")
    inbox = room.client.listen()
    room.emulator.fail_next("inbound", fault)
    await room.rest(inbox)
    assert await room.after(30, inbox) == ["STOP"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"listen: a poll failed ({word}); the next one is in 30.0 s")
    ]


async def test_a_key_that_is_not_let_in_any_more_ends_it(room: Room, cursor: DurableCursor) -> None:
    inbox = room.client.listen(cursor=cursor)
    await room.rest(inbox)
    room.emulator.account.blocked = 113
    await room.advance(30)
    with pytest.raises(AuthenticationError):
        await anext(inbox)
    assert not cursor.is_taken
    with pytest.raises(StopAsyncIteration):
        await anext(inbox)


async def test_a_blocked_account_ends_it_at_the_first_question(room: Room, cursor: DurableCursor) -> None:
    room.emulator.account.blocked = 106
    with pytest.raises(AccountBlocked):
        await anext(room.client.listen(cursor=cursor))
    assert room.wire.asked() == ["balance"]
    assert cursor.state is None
    assert not cursor.is_taken


async def test_a_closed_client_ends_it(room: Room, cursor: DurableCursor) -> None:
    inbox = room.client.listen(cursor=cursor)
    await room.rest(inbox)
    await room.client.aclose()
    with pytest.raises(ClientClosed):
        await anext(inbox)
    assert not cursor.is_taken


async def test_a_cursor_that_cannot_be_read_is_released(room: Room) -> None:
    class Broken(DurableCursor):
        async def load(self) -> CursorState | None:
            raise TimeoutError("the database sleeps")

    cursor = Broken()
    with pytest.raises(TimeoutError, match="sleeps"):
        async with room.client.listen(cursor=cursor):
            pass
    assert not cursor.is_taken


# --- one listener --------------------------------------------------------------------------------


async def test_a_second_listener_on_a_cursor_is_an_error(room: Room, cursor: DurableCursor) -> None:
    async with room.client.listen(cursor=cursor):
        with pytest.raises(CursorInUse):
            await anext(room.client.listen(cursor=cursor))
        assert cursor.is_taken
    assert room.wire.asked() == []


async def test_it_serves_one_task_at_a_time(room: Room) -> None:
    inbox = room.client.listen()
    task = asyncio.ensure_future(anext(inbox))
    await idle()
    with pytest.raises(RuntimeError, match="only one task may use a listener"):
        await anext(inbox)
    room.sms("one")
    await room.advance(30)
    assert (await task).text == "one"


# --- ways to leave it ----------------------------------------------------------------------------


async def test_a_break_lets_go_of_the_cursor_at_once(room: Room, cursor: DurableCursor) -> None:
    room.sms("one")
    async for _ in room.client.listen(cursor=cursor):
        assert cursor.is_taken
        break
    assert not cursor.is_taken
    assert only_this_task()


async def test_an_error_in_the_block_lets_go_of_the_cursor(room: Room, cursor: DurableCursor) -> None:
    room.sms("one")
    with contextlib.suppress(ZeroDivisionError):
        async for _ in room.client.listen(cursor=cursor):
            raise ZeroDivisionError
    assert not cursor.is_taken
    assert await room.some(1, cursor) == ["one"]


async def test_one_message_without_a_loop(room: Room, cursor: DurableCursor) -> None:
    room.sms("one")
    assert (await anext(room.client.listen(cursor=cursor))).text == "one"
    assert not cursor.is_taken


async def test_a_listener_that_is_never_used_is_nothing(room: Room, cursor: DurableCursor) -> None:
    room.client.listen(cursor=cursor)
    gc.collect()
    assert room.wire.asked() == []
    assert not cursor.is_taken


@pytest.mark.parametrize("held", [True, False], ids=["on the wire", "between polls"])
async def test_a_cancelled_loop_lets_go_of_the_cursor(room: Room, cursor: DurableCursor, *, held: bool) -> None:
    if held:
        room.emulator.fail_next("inbound", Fault.SLOW)
    got: list[str] = []
    task = asyncio.ensure_future(consume(room.client.listen(cursor=cursor), got))
    await idle()
    assert cursor.is_taken
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value is not None  # its traceback is still there, and must not hold the lock
    assert not cursor.is_taken
    assert only_this_task()


@pytest.mark.parametrize("held", [True, False], ids=["on the wire", "between polls"])
async def test_aclose_ends_the_iteration_of_another_task(room: Room, cursor: DurableCursor, *, held: bool) -> None:
    if held:
        room.emulator.fail_next("inbound", Fault.SLOW)
    inbox = room.client.listen(cursor=cursor)
    got: list[str] = []
    task = asyncio.ensure_future(consume(inbox, got))
    await idle()
    await inbox.aclose()
    assert not cursor.is_taken
    await task
    await inbox.aclose()
    assert only_this_task()
    with pytest.raises(RuntimeError, match="closed"):
        await inbox.__aenter__()


async def test_it_may_be_closed_twice_at_once(room: Room, cursor: DurableCursor) -> None:
    inbox = room.client.listen(cursor=cursor)
    task = asyncio.ensure_future(consume(inbox, []))
    await idle()
    await asyncio.gather(inbox.aclose(), inbox.aclose())
    await task
    assert not cursor.is_taken


async def test_a_wait_that_runs_out_takes_nothing_away(room: Room, cursor: DurableCursor) -> None:
    """As with ``asyncio.wait_for(anext(inbox), ...)``, again and again."""
    async with room.client.listen(cursor=cursor) as inbox:
        for number in range(5):
            room.sms(str(number))
            assert await room.after(30, inbox) == [str(number)]
            for _ in range(3):
                assert await room.after(1, inbox) == []
        assert room.wire.asked().count("new") == 5
    async with room.client.listen(cursor=cursor) as inbox:
        assert await room.rest(inbox) == []


async def test_after_a_cancelled_wait_it_goes_on_where_it_was(room: Room, cursor: DurableCursor) -> None:
    """Its cursor was free meanwhile but not taken: there is nothing to sweep for, and nothing to ask again."""
    room.sms("one", "two")
    inbox = room.client.listen(cursor=cursor)
    assert await room.next(inbox) == ["one"]
    assert await room.next(inbox, turns=1) == []
    assert not cursor.is_taken
    room.wire.asked()
    assert await room.next(inbox) == ["two"]
    assert room.wire.asked() == []
    assert await room.rest(inbox) == []
    room.wire.asked()
    await room.after(30, inbox)
    assert room.wire.asked() == ["new"]


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=1)])
async def test_after_a_cancelled_wait_another_listener_may_have_come_further(
    room: Room, cursor: DurableCursor, age: timedelta
) -> None:
    room.sms("one", "two", "three")
    room.emulator.clock.set(START + age)
    inbox = room.client.listen(cursor=cursor)
    assert await room.next(inbox) == ["one"]
    assert await room.next(inbox, turns=1) == []
    await room.advance(300)
    async with room.client.listen(cursor=cursor) as another:
        assert await room.rest(another) == ["one", "two", "three"]
    room.wire.asked()
    assert await room.after(30, inbox) == []
    assert room.wire.asked() == [START + age - timedelta(minutes=5), "new"]


async def test_a_wait_cancelled_on_the_wire_is_recovered_from_and_polls_no_faster(
    room: Room, cursor: DurableCursor
) -> None:
    inbox = room.client.listen(cursor=cursor)
    await room.rest(inbox)
    room.sms("marked as read")
    room.emulator.fail_next("inbound", Fault.SLOW)
    await room.advance(30)
    task = asyncio.ensure_future(anext(inbox))
    await idle()
    task.cancel()
    await asyncio.wait({task})
    assert await room.rest(inbox) == []
    room.wire.asked()
    assert await room.after(30, inbox) == ["marked as read"]
    assert room.wire.asked() == [START - timedelta(minutes=10), "new"]


@pytest.mark.parametrize("turn", range(1, 40))
async def test_a_cancellation_at_any_moment_loses_and_repeats_nothing(
    room: Room, cursor: DurableCursor, turn: int
) -> None:
    room.sms("one", "two", "three")
    inbox = room.client.listen(cursor=cursor)
    got: list[str] = []
    turns = 0
    while room.clock.monotonic() < 1100:
        task = asyncio.ensure_future(anext(inbox))
        while not task.done() and room.clock.monotonic() < 1100:
            turns += 1
            if turns == turn:
                task.cancel()
            await asyncio.sleep(0)
            if room.clock._next_sleep():
                await room.clock.advance(30)
        await settled(task)
        got += [] if task.cancelled() else [task.result().text or ""]
    assert got == ["one", "two", "three"]
    assert cursor.state is not None
    assert set(cursor.state.handed_over) == {1, 2, 3}


async def settled(task: asyncio.Future[InboundMessage]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_a_cancellation_while_old_messages_go_on_record_loses_none(room: Room) -> None:
    class Slow(DurableCursor):
        async def save(self, state: CursorState) -> None:
            if state.waiting and not self.log.count("slow"):
                self.log.append("slow")
                await asyncio.Event().wait()
            await super().save(state)

    room.sms("old", "older")
    room.emulator.clock.advance(days=1)
    inbox = room.client.listen(cursor=Slow())
    task = asyncio.ensure_future(anext(inbox))
    await idle()
    await settled(task)
    assert await room.rest(inbox) == []
    assert await room.after(30, inbox) == ["old", "older"]


class Stubborn(DurableCursor):
    """A cursor that finishes what it writes, whoever cancels, as one in a file does."""

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002
        self.log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            await super().mark(id, until)

    def release(self) -> None:
        self.log.append("released")
        super().release()


async def test_aclose_does_not_release_a_cursor_that_is_being_written(room: Room) -> None:
    cursor = Stubborn()
    room.sms("one")
    inbox = room.client.listen(cursor=cursor)
    await anext(inbox)
    task = asyncio.ensure_future(consume(inbox, []))
    await idle()
    await inbox.aclose()
    await task
    assert cursor.log[-3:] == ["begun", "mark 1", "released"]


async def test_aclose_hides_no_failure_of_the_cursor(room: Room) -> None:
    class Full(Stubborn):
        async def mark(self, id: int, until: datetime) -> None:  # noqa: A002
            with contextlib.suppress(asyncio.CancelledError):
                await super().mark(id, until)
            raise CursorError("the disk is full")

    room.sms("one")
    inbox = room.client.listen(cursor=Full())
    await anext(inbox)
    task = asyncio.ensure_future(consume(inbox, []))
    await idle()
    await inbox.aclose()
    with pytest.raises(CursorError):
        await task
