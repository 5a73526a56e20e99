"""Statuses of accepted messages are asked for, on the vendor's schedule, until all are final or 40 days are over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE

from smspilot_async import Client, DeliveryStatus, Message, Retry
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Followed, Outbox, WrongClient, _follow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

NEVER = timedelta(days=1000)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator whose messages change their status only when a test says so."""
    async with Emulator.serve(port=0, loop_protection=None, seed=1, handover=NEVER, delivery=NEVER) as emulator:
        yield emulator


async def send(outbox: Outbox, client: Client, count: int = 3) -> None:
    for number in range(count):
        await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
    await outbox.drain(client)


async def statuses(outbox: Outbox, count: int = 3) -> list[DeliveryStatus | int | None]:
    records = [await outbox.get(str(number)) for number in range(count)]
    return [None if record is None else record.status for record in records]


async def test_it_asks_when_the_schedule_says_so_and_stops_once_all_are_final(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client)
    numbers = [message.server_id for message in emulator.messages]
    emulator.set_status(numbers[0], 2)
    assert await outbox.follow(client, timeout=0) == Followed(changed=0, following=1)  # the first minute is not over
    await desk.turn(MINUTE)
    assert await outbox.follow(client, timeout=0) == Followed(changed=1, following=1)
    assert await statuses(outbox) == [2, 0, 0]
    emulator.set_status(numbers[1], -1, 601)
    await desk.turn(MINUTE)
    assert (await outbox.follow(client, timeout=0)).changed == 0  # the second pause is two minutes
    await desk.turn(MINUTE)
    assert (await outbox.follow(client, timeout=0)).changed == 1
    emulator.set_status(numbers[2], 2)
    await desk.turn(HOUR)
    assert await outbox.follow(client, timeout=0) == Followed(changed=1, following=0)
    assert await statuses(outbox) == [2, -1, 2]


async def test_only_what_is_not_final_is_asked_for(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(outbox, client)
    asked: list[int] = []
    check = client.check

    async def checking(ids: list[str]) -> object:
        asked.append(len(ids))
        return await check(ids)

    monkeypatch.setattr(client, "check", checking)
    for delivered in range(3):
        emulator.set_status(emulator.messages[delivered].server_id, 2)
        await desk.turn(HOUR)
        await outbox.follow(client, timeout=0)
    await desk.turn(HOUR)
    await outbox.follow(client, timeout=0)
    assert asked == [3, 2, 1]


async def test_a_check_that_fails_is_repeated(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await send(outbox, client)
    for message in emulator.messages:
        emulator.set_status(message.server_id, 2)
    await desk.turn(MINUTE)
    async with Client(emulator.api_key, url=emulator.url, retry=Retry(attempts=1)) as hasty:
        await hasty.info()
        emulator.fail_next("check", Fault.SERVER_ERROR)
        assert await outbox.follow(hasty, timeout=0) == Followed(changed=0, following=1)
    await desk.turn(MINUTE)
    assert await outbox.follow(client, timeout=0) == Followed(changed=3, following=0)


async def test_what_the_gateway_does_not_know_yet_is_not_believed_before_it_is_certain(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client, 1)
    emulator.set_status(emulator.messages[0].server_id, -2)
    for _ in range(3):
        await desk.turn(3 * MINUTE)
        await outbox.follow(client, timeout=0)
        assert await statuses(outbox, 1) == [0]
    await desk.turn(10 * MINUTE)
    assert await outbox.follow(client, timeout=0) == Followed(changed=1, following=0)
    assert await statuses(outbox, 1) == [-2]


async def test_after_forty_days_nothing_is_asked_for(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client, 1)
    await desk.turn(41 * DAY)
    emulator.set_status(emulator.messages[0].server_id, 2)
    assert await outbox.follow(client, timeout=0) == Followed(changed=0, following=0)


async def test_who_was_killed_while_asking_is_followed_by_another(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(outbox, client)
    for message in emulator.messages:
        emulator.set_status(message.server_id, 2)
    await desk.turn(MINUTE)

    async def killed(_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as dying:
        dying.setattr(client, "check", killed)
        with pytest.raises(RuntimeError):
            await outbox.follow(client, timeout=0)
    assert (await outbox.follow(client, timeout=0)).changed == 0  # another one does not ask the same meanwhile
    await desk.turn(10 * MINUTE)
    assert await outbox.follow(client, timeout=0) == Followed(changed=3, following=0)


async def test_another_messages_status_is_not_taken_for_ours(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client, 2)
    first, second = (message.server_id for message in emulator.messages)
    emulator.set_status(second, 2)
    message = desk.tables.message
    await desk.execute(sa.update(message).where(message.c.server_id == second).values(server_id="x"))
    await desk.execute(sa.update(message).where(message.c.server_id == first).values(server_id=second))
    await desk.turn(MINUTE)
    await outbox.follow(client, timeout=0)
    assert (await statuses(outbox, 2))[0] == 0


async def test_what_was_not_accepted_is_not_followed(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.refuse(code=223, text="Text 0")
    await send(outbox, client, 1)
    await desk.turn(MINUTE)
    assert await outbox.follow(client, timeout=0) == Followed(changed=0, following=0)


async def test_it_returns_once_nothing_is_left_to_follow(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client, 1)
    emulator.set_status(emulator.messages[0].server_id, 2)
    await desk.turn(MINUTE)
    assert await outbox.follow(client) == Followed(changed=1, following=0)


async def test_a_wrong_client_follows_nothing(outbox: Outbox, emulator: Emulator) -> None:
    async with Client(emulator.api_key, url=emulator.url, test=True) as client:
        with pytest.raises(WrongClient):
            await outbox.follow(client)


async def test_a_worker_follows_by_itself(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> None:
    await send(outbox, client, 1)
    emulator.set_status(emulator.messages[0].server_id, 2)
    await desk.turn(MINUTE)
    async with outbox.worker(client):
        while await statuses(outbox, 1) != [2]:
            await outbox.wait("0", timeout=10)


async def test_one_that_is_stopped_while_it_asks_gives_back_what_it_holds(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await send(outbox, client)
    for message in emulator.messages:
        emulator.set_status(message.server_id, 2)
    await desk.turn(MINUTE)
    emulator.fail_next("check", Fault.SLOW)
    following = asyncio.ensure_future(outbox.follow(client))
    query = sa.select(sa.func.max(desk.tables.attempt.c.next_poll))
    while (await desk.execute(query))[0][0] <= await desk.now():  # noqa: ASYNC110 - another task writes
        await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.wait({following})
    emulator.release()
    assert await outbox.follow(client, timeout=0) == Followed(changed=3, following=0)


async def test_a_worker_that_does_not_follow_asks_for_no_status(
    outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_follow, "pause_before", lambda poll: 0.0 if poll == 1 else MINUTE)
    await send(outbox, client)
    for message in emulator.messages:
        emulator.set_status(message.server_id, 2)
    async with outbox.worker(client, follow=False):
        await outbox.enqueue(Message(PHONE, "Text 3"), key="3")
        await outbox.wait("3", timeout=60)
    assert await statuses(outbox) == [0, 0, 0]
    assert (await outbox.follow(client, timeout=0)).changed == 3
