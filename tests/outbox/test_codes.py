"""One-time codes: on the wire at once beside any campaign, never late, and their texts are gone once they are final."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ledgers import PHONE

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox, _deliver
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._request import send_once
from smspilot_async.outbox._upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

SECRET = "Your secret"
CODES = 25
AHEAD = 3
"""So many requests may begin between a code's commit and its own, whose time `python -m benchmarks` measures."""


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The texts of each request, in the order in which they began."""
    requests: list[set[str]] = []

    async def noting(client: Client, messages: Sequence[Message], **more: Any) -> Any:
        requests.append({message.text for message in messages})
        return await send_once(client, messages, **more)

    monkeypatch.setattr(_deliver, "send_once", noting)
    return requests


def place_of(text: str, requests: list[set[str]]) -> int:
    return next(place for place, texts in enumerate(requests) if text in texts)


async def test_a_code_is_on_the_wire_at_once_beside_a_campaign(
    desk: Desk, ledger_url: str, client: Client, handed_over: list[set[str]]
) -> None:
    await desk.campaign(rows=5000)
    begun: dict[str, int] = {}
    application = desk.outbox  # which knows nothing of the sender
    async with Outbox(ledger_url) as sending, sending.worker(client, packet_size=20):
        for number in range(CODES):
            text = f"Code {number}"
            await application.enqueue(Message(PHONE, text), key=text, kind="code", valid_for=60)
            begun[text] = len(handed_over)
            await asyncio.sleep(0.02)
        await application.wait(f"Code {CODES - 1}", timeout=30)
    ahead = [place_of(text, handed_over) - count for text, count in begun.items()]
    assert sum(not texts & begun.keys() for texts in handed_over) > AHEAD, "the campaign was not under way"
    assert max(ahead) <= AHEAD


async def test_a_code_does_not_wait_for_what_campaigns_need(
    desk: Desk, outbox: Outbox, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def take_long(_: object) -> None:
        has_begun.set()
        await may_end.wait()

    monkeypatch.setattr(Upkeep, "do", take_long)
    await desk.campaign(rows=1)
    async with outbox.worker(client):
        await has_begun.wait()
        await outbox.enqueue(Message(PHONE, SECRET), key="code", kind="code", valid_for=60)
        try:
            assert (await outbox.wait("code", timeout=30)).outcome is Outcome.ACCEPTED
        finally:
            may_end.set()


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_postgresql_tells_a_sender_of_a_code(
    desk: Desk, ledger_url: str, client: Client, handed_over: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Outbox(ledger_url) as sending, sending.worker(client):
        await asyncio.sleep(0.5)  # it listens, and has looked
        monkeypatch.setattr(_deliver, "POLL", 60)
        await asyncio.sleep(0.2)
        await desk.outbox.enqueue(Message(PHONE, "Code"), key="1", kind="code", valid_for=60)
        async with asyncio.timeout(5):
            while {"Code"} not in handed_over:  # noqa: ASYNC110 - of a task that is not ours
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
async def test_a_rollback_tells_no_sender_and_other_kinds_do_not_either(desk: Desk, client: Client) -> None:
    del client
    hot = desk.outbox._hot_path()
    await hot.wait_for_code()  # listens, and returns
    await desk.outbox.enqueue(Message(PHONE, "Ready"), key="1")
    waiting = asyncio.create_task(hot.wait_for_code())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await desk.outbox.enqueue(Message(PHONE, "Code"), key="2", kind="code", valid_for=60)
    await asyncio.wait_for(waiting, 5)
    await hot.aclose()


# --- never late ----------------------------------------------------------------------------------


async def test_a_gateway_that_is_away_past_its_time_gets_no_code(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    for number in range(5):
        await outbox.enqueue(Message(PHONE, f"{SECRET} {number}"), key=str(number), kind="code", valid_for=60)
    emulator.random_faults({Fault.BUSY: 1.0}, command="send")
    await outbox.drain(client)
    await desk.turn(61)
    emulator.random_faults({}, command="send")
    await outbox.drain(client)
    assert not emulator.messages
    records = [await outbox.get(str(number)) for number in range(5)]
    assert {(record.outcome, record.reason) for record in records if record} == {(Outcome.REFUSED, "expired")}


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that is held up after each claim, for less than a request may take to begin."""
    claim = _deliver.Sender._claim

    async def claiming(self: Any, request: Any) -> Any:
        claimed = await claim(self, request)
        if claimed.messages:
            await asyncio.sleep(0.6)
        return claimed

    monkeypatch.setattr(_deliver.Sender, "_claim", claiming)


@pytest.mark.usefixtures("held_up")
async def test_a_sender_that_is_held_up_after_the_claim_lets_no_code_leave_late(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=0.5)
    await outbox.drain(client)
    assert not emulator.messages
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert record.reason == "expired"


@pytest.mark.usefixtures("held_up")
async def test_a_sender_that_is_held_up_lets_nothing_leave_after_its_campaign_has_expired(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.campaign(rows=2, expires_at=await desk.now() + SECOND // 2)
    await outbox.drain(client)
    assert not emulator.messages


@pytest.mark.parametrize("obstacle", ["paused", "braked"])
async def test_a_code_that_waits_behind_an_obstacle_expires_there(
    desk: Desk, outbox: Outbox, client: Client, obstacle: str
) -> None:
    await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=60)
    await (desk.hot.pause("InsufficientFunds 112") if obstacle == "paused" else brake(desk))
    await desk.turn(61)
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.REFUSED, "expired")


async def brake(desk: Desk) -> None:
    for _ in range(3):
        await desk.hot.count_unknown()


# --- no text stays -------------------------------------------------------------------------------


def with_secret(url: str) -> list[str]:
    folder = Path(url.removeprefix("sqlite:///")).parent
    return [one.name for one in folder.iterdir() if SECRET.encode() in one.read_bytes()]


async def texts(desk: Desk) -> list[str | None]:
    return [row[0] for row in await desk.execute("SELECT text FROM " + desk.tables.message.fullname)]


async def test_the_text_of_an_unknown_code_is_erased_once_its_time_is_over(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, ledger_url: str
) -> None:
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=60)
    await outbox.drain(client)
    assert await texts(desk) == [SECRET]
    await desk.turn(61)
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.UNKNOWN
    assert await texts(desk) == [None]
    if ledger_url.startswith("sqlite"):
        assert await asyncio.to_thread(with_secret, ledger_url) == []


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_the_text_of_a_code_that_was_taken_back_is_in_no_file(outbox: Outbox, ledger_url: str) -> None:
    await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=60)
    assert await asyncio.to_thread(with_secret, ledger_url)
    await outbox.cancel("1")
    assert await asyncio.to_thread(with_secret, ledger_url) == []


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_the_text_of_a_code_is_in_no_file_while_its_sender_goes_on(
    desk: Desk, outbox: Outbox, client: Client, ledger_url: str
) -> None:
    await desk.campaign(rows=200)
    async with outbox.worker(client, packet_size=5):
        await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=60)
        await outbox.wait("1", timeout=30)
        async with asyncio.timeout(5):
            while await asyncio.to_thread(with_secret, ledger_url):  # noqa: ASYNC110 - of the file system
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
async def test_a_reader_holds_up_no_code_and_the_text_goes_out_of_the_files_after_it(
    desk: Desk, outbox: Outbox, client: Client, ledger_url: str
) -> None:
    async with outbox._reading() as reader:
        await reader.exec_driver_sql("BEGIN")
        await reader.exec_driver_sql("SELECT count(*) FROM smspilot_message")
        await outbox.enqueue(Message(PHONE, SECRET), key="1", kind="code", valid_for=60)
        began = time.monotonic()
        await outbox.drain(client)
        assert time.monotonic() < began + 5, "it waited for the reader"
        assert await asyncio.to_thread(with_secret, ledger_url)
        await reader.exec_driver_sql("COMMIT")
    await outbox.drain(client)
    assert await texts(desk) == [None]
    assert await asyncio.to_thread(with_secret, ledger_url) == []
