"""What the inbox believes, keeps, and hands on."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from calling import BASE, SECRET, call, pieces
from manual_clock import START, ManualClock, idle
from outcomes import OTHER_PHONE, PHONE, TEXT

from smspilot_async import Client, Message, MessageStatus
from smspilot_async.callbacks import CallbackInbox, StatusEvent
from smspilot_async.callbacks._event_log import MemoryLog
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NEVER = timedelta(days=1000)


@attrs.frozen
class Desk:
    """A client of an emulator that changes no status by itself and makes no callbacks."""

    emulator: Emulator
    client: Client
    inbox: CallbackInbox
    clock: ManualClock

    @property
    def urls(self) -> list[str | None]:
        return [message.callback for message in self.emulator.messages]

    async def waiting(self) -> list[int | None]:
        """The statuses of the events that an application would get now."""
        statuses: list[int | None] = []
        while True:
            task = asyncio.ensure_future(anext(self.inbox))
            await idle()
            if not task.done():
                task.cancel()
                await idle()
                return statuses
            statuses.append(task.result().status)


@pytest.fixture
async def desk(manual_clock: ManualClock) -> AsyncIterator[Desk]:
    emulator = Emulator(loop_protection=None, seed=1, handover=NEVER, delivery=NEVER)
    async with (
        CallbackInbox(BASE, secret=SECRET) as inbox,
        Client(emulator.api_key, url=emulator.url, transport=emulator.transport, callbacks=inbox) as client,
    ):
        yield Desk(emulator, client, inbox, manual_clock)


def url_of(inbox: CallbackInbox, id_: int) -> str:
    """The URL that a message of this id gets."""
    return inbox.urls_for([(id_, Message(PHONE, TEXT))])[id_]


# --- URLs ----------------------------------------------------------------------------------------


async def test_every_message_of_every_kind_of_send_gets_another_url(desk: Desk) -> None:
    await asyncio.gather(desk.client.send(PHONE, "one"), desk.client.send(OTHER_PHONE, "two"))
    await desk.client.send_packet([Message(PHONE, "three"), Message(PHONE, "four")])
    async with desk.client.bulk([(PHONE, "five"), (PHONE, "six")]) as run:
        assert [result async for result in run]
    assert len(set(desk.urls)) == 6
    assert all(url is not None and url.startswith(f"{BASE}/cb1-") and len(url) < 240 for url in desk.urls)


async def test_a_message_with_a_callback_of_its_own_keeps_it(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT, callback="https://other.example/mine")
    assert desk.urls == ["https://other.example/mine"]


async def test_the_results_item_is_the_message_as_it_was_handed_in(desk: Desk) -> None:
    message = Message(PHONE, TEXT)
    async with desk.client.bulk([message]) as run:
        [result] = [result async for result in run]
    assert result.item is message
    assert message.callback is None


async def test_a_scheduled_messages_url_is_good_for_41_days_from_when_it_goes_out(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT, send_at=START + timedelta(days=30))
    await desk.clock.advance(70 * 24 * 3600)
    assert await call(desk.inbox, desk.urls[0], sent.server_id, 2) == 200
    await desk.clock.advance(24 * 3600)
    assert await call(desk.inbox, desk.urls[0], sent.server_id, 2) == 404


@pytest.mark.parametrize(
    "url", ["app.example/sms", "https://app.example/sms?a=1", "https://me:pw@app.example", "ftp://a", BASE + "x" * 200]
)
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url must "):
        CallbackInbox(url, secret=SECRET)


# --- what is believed ----------------------------------------------------------------------------


async def test_an_event_says_what_when_and_of_which_message(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT, id=7)
    await desk.clock.advance(5)
    assert await call(desk.inbox, desk.urls[0], sent.server_id, -1, error=601, method="POST") == 200
    event = await anext(desk.inbox)
    assert (event.id, event.server_id, event.status, event.error) == (7, sent.server_id, -1, 601)
    assert event.received == START + timedelta(seconds=5)
    assert event.received.tzinfo is UTC
    assert event.is_final


async def test_a_call_with_another_number_than_the_answers_is_refused(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT)
    assert await call(desk.inbox, desk.urls[0], "999", 2) == 404
    assert await desk.waiting() == []


async def test_the_path_of_an_earlier_send_never_moves_the_status_of_a_later_one_of_the_same_id(desk: Desk) -> None:
    first = await desk.client.send(PHONE, TEXT, id=7)
    second = await desk.client.send(PHONE, TEXT, id=7)
    async with desk.client.track(second, source=desk.inbox) as changes:
        assert await call(desk.inbox, desk.urls[0], second.server_id, 2) == 404
        assert await call(desk.inbox, desk.urls[0], first.server_id, -1) == 200
        assert await call(desk.inbox, desk.urls[1], second.server_id, 1) == 200
        assert (await anext(changes)).status == 1
        assert changes.pending == (second.server_id,)


async def test_an_earlier_path_called_before_the_later_answer_is_here_moves_nothing_either(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT, id=7)
    stranger = CallbackInbox(BASE, secret=SECRET)  # another worker, which knows of no send
    old_url, foreseen = desk.urls[0], str(int(desk.emulator.messages[0].server_id) + 1)
    assert await call(stranger, old_url, foreseen, 2) == 200
    second = await desk.client.send(PHONE, TEXT, id=7)
    assert second.server_id == foreseen
    watch = stranger.watch([foreseen])
    assert (await anext(watch)).status is None  # worth a question, and no more
    await stranger.aclose()


async def test_calls_that_come_twice_or_late_are_answered_and_move_nothing_back(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    for status in (1, 1, 0, 2, 1, -1, 2):
        assert await call(desk.inbox, desk.urls[0], sent.server_id, status) == 200
    assert await desk.waiting() == [1, 2]


async def test_minus_two_is_reported_and_keeps_nothing_later_back(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    for status in (-2, 1, 2):
        await call(desk.inbox, desk.urls[0], sent.server_id, status)
    assert await desk.waiting() == [-2, 1, 2]


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "get"])
async def test_another_method_is_not_found(desk: Desk, method: str) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    assert await call(desk.inbox, desk.urls[0], sent.server_id, 2, method=method) == 404
    assert await desk.waiting() == []


async def test_a_call_that_is_no_call_is_not_found(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT)
    assert await call(desk.inbox, desk.urls[0], "0", 2) == 404
    assert await call(desk.inbox, desk.urls[0], "5", 12345) == 404


# --- bodies --------------------------------------------------------------------------------------


async def test_no_body_is_read_before_the_path_is_verified(desk: Desk) -> None:
    body = pieces(b"server_id=5&status=2")
    answer = await desk.inbox.answer("POST", "/smspilot/cb1-" + "A" * 56, b"", body)
    assert answer.status == 404
    assert [piece async for piece in body] == [b"server_id=5&status=2"]


async def test_a_body_is_read_no_further_than_it_takes_to_see_that_it_is_too_large(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield f"server_id={sent.server_id}&status=2&x=".encode()
        while True:
            read += 1
            yield b"x" * 1024

    answer = await desk.inbox.answer("POST", desk.urls[0] or "", b"", endless())
    assert answer.status == 404
    assert read <= 5


async def test_a_body_that_never_ends_is_not_waited_for(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"server_id=5"
        await asyncio.Event().wait()

    answering = asyncio.ensure_future(desk.inbox.answer("POST", desk.urls[0] or "", b"", stalled()))
    await desk.clock.advance(9)
    assert answering.done()
    assert answering.result().status == 503


async def test_a_caller_that_goes_away_in_the_middle_of_its_body_changes_nothing(desk: Desk) -> None:
    await desk.client.send(PHONE, TEXT)

    async def broken() -> AsyncIterator[bytes]:
        yield b"server_id=5&status=2"
        raise ConnectionResetError

    answer = await desk.inbox.answer("POST", desk.urls[0] or "", b"", broken())
    assert answer.status == 404
    assert await desk.waiting() == []


# --- where it is kept ----------------------------------------------------------------------------


class Ledger:
    """An application's own sink, which fails or hangs on demand."""

    def __init__(self) -> None:
        self.events: list[StatusEvent] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def store(self, event: StatusEvent) -> bool | None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.events.append(event)
        return None


async def test_ok_comes_once_the_applications_sink_has_stored_it(desk: Desk) -> None:
    sink = Ledger()
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    await desk.client.send(PHONE, TEXT)
    sink.gate.clear()
    answering = asyncio.ensure_future(call(inbox, desk.urls[0], "5", 2))
    await idle()
    assert not answering.done()
    sink.gate.set()
    assert await answering == 200
    assert [event.status for event in sink.events] == [2]
    assert (await anext(inbox)).status == 2


async def test_a_sink_that_fails_or_takes_too_long_is_answered_with_503_and_not_reported(desk: Desk) -> None:
    sink = Ledger()
    inbox = CallbackInbox(BASE, secret=SECRET, sink=sink)
    await desk.client.send(PHONE, TEXT)
    sink.error = RuntimeError("disk full")
    assert await call(inbox, desk.urls[0], "5", 2) == 503
    sink.error = None
    sink.gate.clear()
    answering = asyncio.ensure_future(call(inbox, desk.urls[0], "5", 2))
    await desk.clock.advance(9)
    assert answering.result() == 503
    assert sink.events == []


async def test_a_call_that_finds_no_room_gets_503_until_the_application_has_read() -> None:
    log = MemoryLog(room=2)
    inbox = CallbackInbox(BASE, secret=SECRET, sink=log)
    urls = [url_of(inbox, id_) for id_ in range(4)]
    assert await log.handed_over() == 0  # somebody reads
    assert [await call(inbox, url, f"{n + 1}", 1) for n, url in enumerate(urls[:3])] == [200, 200, 503]
    assert [(await anext(inbox)).server_id for _ in range(2)] == ["1", "2"]
    assert await call(inbox, urls[2], "3", 1) == 200
    assert await call(inbox, urls[3], "4", 1) == 503  # the second is still in the application's hands
    assert (await anext(inbox)).server_id == "3"
    assert await call(inbox, urls[3], "4", 1) == 200


async def test_without_a_reader_the_oldest_makes_room() -> None:
    inbox = CallbackInbox(BASE, secret=SECRET, sink=MemoryLog(room=2))
    urls = [url_of(inbox, id_) for id_ in range(3)]
    assert [await call(inbox, url, f"{n + 1}", 1) for n, url in enumerate(urls)] == [200, 200, 200]
    assert [(await anext(inbox)).server_id for _ in range(2)] == ["2", "3"]


async def test_a_closed_inbox_takes_nothing_and_ends_the_loop_that_reads_it(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)

    async def read() -> list[StatusEvent]:
        return [event async for event in desk.inbox]

    reading = asyncio.ensure_future(read())
    await idle()
    await desk.inbox.aclose()
    assert await reading == []
    assert await call(desk.inbox, desk.urls[0], sent.server_id, 2) == 503
    async with desk.inbox:
        assert await call(desk.inbox, desk.urls[0], sent.server_id, 2) == 200


async def test_a_second_loop_at_the_same_time_is_an_error(desk: Desk) -> None:
    first = asyncio.ensure_future(anext(desk.inbox))
    await idle()
    with pytest.raises(RuntimeError, match="another loop"):
        await anext(desk.inbox)
    first.cancel()


# --- tracking ------------------------------------------------------------------------------------


async def test_tracks_share_one_inbox_and_each_gets_its_own_messages(desk: Desk) -> None:
    one, two = await desk.client.send(PHONE, "one"), await desk.client.send(PHONE, "two")
    async with (
        desk.client.track(one, source=desk.inbox) as first,
        desk.client.track([one, two], source=desk.inbox) as both,
    ):
        await call(desk.inbox, desk.urls[0], one.server_id, 2)
        await call(desk.inbox, desk.urls[1], two.server_id, -1, error=600)
        assert [(status.server_id, status.status) async for status in first] == [(one.server_id, 2)]
        assert {(status.server_id, status.status) async for status in both} == {
            (one.server_id, 2),
            (two.server_id, -1),
        }


async def test_a_track_that_begins_late_gets_what_came_before(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    await call(desk.inbox, desk.urls[0], sent.server_id, 1)
    await call(desk.inbox, desk.urls[0], sent.server_id, 2)
    async with desk.client.track(sent, source=desk.inbox) as changes:
        assert [status.status async for status in changes] == [1, 2]


async def test_track_uses_the_clients_own_inbox_by_default(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)

    async with desk.client.track(sent) as changes:
        await call(desk.inbox, desk.urls[0], sent.server_id, 2)
        change = asyncio.ensure_future(anext(changes))
        await idle()

        assert change.result().status == 2
    assert desk.clock.slept == [60]  # it would have polled after a minute


async def test_wait_final_uses_the_clients_own_inbox_and_polls_nothing(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    waiting = asyncio.ensure_future(desk.client.wait_final(sent))
    await idle()

    await call(desk.inbox, desk.urls[0], sent.server_id, 2)
    await idle()

    assert waiting.result().delivered
    assert desk.emulator.messages[0].status == 0  # which a poll would have told


async def test_track_and_wait_final_use_the_source_that_they_are_given_in_place_of_the_clients_inbox(
    desk: Desk,
) -> None:
    sent = await desk.client.send(PHONE, TEXT)

    async def statuses() -> AsyncIterator[MessageStatus]:
        yield MessageStatus(server_id=sent.server_id, status=-1)

    async with desk.client.track(sent, source=statuses()) as changes:
        await call(desk.inbox, desk.urls[0], sent.server_id, 2)
        assert [status.status async for status in changes] == [-1]
    assert (await desk.client.wait_final(sent, source=statuses())).status == -1


async def test_a_polled_status_beats_a_called_one(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    assert sent.server_id is not None
    async with desk.client.track(sent, source=desk.inbox) as changes:
        await call(desk.inbox, desk.urls[0], sent.server_id, 1)
        assert (await anext(changes)).status == 1
        desk.emulator.set_status(sent.server_id, -1, 601)
        await desk.clock.advance(60)
        assert (await anext(changes)).status == -1
        await call(desk.inbox, desk.urls[0], sent.server_id, 2)
        assert [status async for status in changes] == []
        assert changes.statuses[sent.server_id].status == -1


async def test_the_accounts_url_is_answered_ok_and_only_makes_a_track_ask_at_once(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    assert sent.server_id is not None
    async with desk.client.track(sent, source=desk.inbox) as changes:
        await idle()
        assert await call(desk.inbox, desk.inbox.account_url, sent.server_id, 2) == 200
        await idle()
        assert changes.statuses[sent.server_id].status == 0
        desk.emulator.set_status(sent.server_id, 1)
        assert await call(desk.inbox, desk.inbox.account_url, sent.server_id, 2) == 200
        await desk.clock.advance(10)
        assert (await anext(changes)).status == 1
    assert await desk.waiting() == []


async def test_the_cabinets_test_button_is_answered_ok(desk: Desk) -> None:
    path = desk.inbox.account_url.removeprefix("https://app.example")
    assert (await desk.inbox.answer("GET", path, b"", pieces())).body == b"OK"
    assert (await desk.inbox.answer("POST", path, b"", pieces(b"anything=1"))).body == b"OK"
    assert (await desk.inbox.answer("GET", path[:-1], b"", pieces())).status == 404


async def test_a_flood_of_hints_asks_no_more_than_once_in_ten_seconds(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    asked: list[float] = []
    check_ids = desk.client._ask_in_background

    async def counted(*args: object, **more: object) -> object:
        asked.append(desk.clock.monotonic())
        return await check_ids(*args, **more)  # type: ignore[arg-type]

    desk.client._ask_in_background = counted  # type: ignore[method-assign, assignment]
    async with desk.client.track(sent, source=desk.inbox):
        for _ in range(29):
            await call(desk.inbox, desk.inbox.account_url, sent.server_id, 2)
            await desk.clock.advance(1)
    assert len(asked) == 3


async def test_what_is_bound_to_nothing_here_is_kept_and_only_worth_a_question(desk: Desk) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    assert sent.server_id is not None
    after_restart = CallbackInbox(BASE, secret=SECRET)
    async with desk.client.track(sent, source=after_restart) as changes:
        assert await call(after_restart, desk.urls[0], sent.server_id, 2) == 200
        await idle()
        assert changes.statuses[sent.server_id].status == 0
    await after_restart.aclose()


async def test_a_track_ends_as_soon_as_the_question_that_a_call_was_worth_finds_the_last_final_status(
    desk: Desk,
) -> None:
    sent = await desk.client.send(PHONE, TEXT)
    assert sent.server_id is not None
    async with desk.client.track(sent, source=desk.inbox) as changes:
        await idle()
        desk.emulator.set_status(sent.server_id, 2)
        await call(desk.inbox, desk.inbox.account_url, sent.server_id, 2)
        await idle()
        following = asyncio.ensure_future(to_the_end(changes))
        await idle()
        assert following.done()
        assert [status.status for status in following.result()] == [2]


async def to_the_end(changes: AsyncIterator[MessageStatus]) -> list[MessageStatus]:
    return [status async for status in changes]


async def test_a_call_that_turns_out_to_name_another_number_holds_back_none_of_the_true_ones(desk: Desk) -> None:
    desk.emulator.fail_next("send", Fault.SLOW)
    sending = asyncio.ensure_future(desk.client.send(PHONE, TEXT))
    await idle()
    assert await call(desk.inbox, desk.urls[0], "999", 2) == 200  # that cannot be known yet
    desk.emulator.release()
    sent = await sending
    assert await call(desk.inbox, desk.urls[0], sent.server_id, 1) == 200
    assert await desk.waiting() == [1]
