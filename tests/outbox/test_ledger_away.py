"""The ledger is away between the intent and the outcome: nothing is sent twice, nothing is lost, sending goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from ledgers import PHONE, accepted
from waiting import PATIENCE, until

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import LedgerUnavailable, Outbox, _deliver

if TYPE_CHECKING:
    from pathlib import Path

    from ledgers import Desk
    from postgres import Postgres

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator


class Flaky:
    """A hot path that is away when it is told to be; what it was asked may have been done, or not.

    Attributes:
        away: The calls that fail now.
        done: Whether they are done all the same, and only the answer is lost.
        bug: The call that has one, once.
    """

    def __init__(self, hot: Any) -> None:
        self._hot = hot
        self.is_shared = hot.is_shared
        self.away: set[str] = set()
        self.done = False
        self.asked: list[str] = []
        self.bug = ""

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            self.asked.append(name)
            if name == self.bug:
                self.bug = ""
                raise ZeroDivisionError
            if name in self.away:
                if self.done:
                    await getattr(self._hot, name)(*arguments)
                raise LedgerUnavailable("away")
            return await getattr(self._hot, name)(*arguments)

        return call


@pytest.fixture
def flaky(outbox: Outbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Flaky:
    flaky = Flaky(outbox._hot_path())
    monkeypatch.setattr(outbox, "_hot_path", lambda: flaky)
    monkeypatch.setattr(_deliver, "_RECORD_AGAIN", 0.01)
    monkeypatch.setattr(_deliver, "KEEP_AFTER", 0.05)
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "state"))
    return flaky


async def in_the_end(outbox: Outbox, key: str) -> Outcome | None:
    record = await outbox.get(key)
    assert record is not None
    return record.outcome


@pytest.mark.parametrize("done", [False, True])
async def test_an_answer_is_written_down_once_the_ledger_is_back(
    outbox: Outbox, client: Client, emulator: Emulator, flaky: Flaky, *, done: bool
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    await outbox.enqueue(Message(PHONE, "Later"), key="2")
    flaky.away, flaky.done = {"record"}, done
    draining = asyncio.create_task(outbox.drain(client, packet_size=1, in_flight=1))
    await until(lambda: flaky.asked.count("record") >= 3)
    claims = flaky.asked.count("claim")
    await asyncio.sleep(0.1)
    assert flaky.asked.count("claim") == claims, "it claims more while an answer waits"
    flaky.away = set()
    await draining
    assert [await in_the_end(outbox, key) for key in ("1", "2")] == [Outcome.ACCEPTED] * 2
    assert len(emulator.messages) == 2


@pytest.mark.parametrize("done", [False, True])
async def test_a_claim_of_unknown_fate_is_made_void(
    outbox: Outbox, client: Client, emulator: Emulator, flaky: Flaky, *, done: bool
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    flaky.away, flaky.done = {"claim"}, done
    with contextlib.suppress(LedgerUnavailable):
        await outbox.drain(client)
    assert "void" in flaky.asked
    assert not emulator.messages
    flaky.away = set()
    await outbox.drain(client)
    assert await in_the_end(outbox, "1") is Outcome.ACCEPTED
    assert len(emulator.messages) == 1


async def test_a_bug_ends_a_worker_with_its_error_and_not_one_place_of_it(
    outbox: Outbox, client: Client, flaky: Flaky
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    flaky.bug = "claim"
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ZeroDivisionError):
            async with outbox.worker(client) as worker:
                await worker.wait()


async def test_a_claim_that_commits_after_its_tombstone_holds_nothing(desk: Desk) -> None:
    await desk.pending()
    await desk.hot.void("late")
    with pytest.raises(LedgerUnavailable):
        await desk.claim(token="late")
    assert len((await desk.claim()).messages) == 1


async def test_a_tombstone_after_the_claim_gives_back_what_it_held(desk: Desk) -> None:
    id_ = await desk.pending()
    await desk.claim(token="early")
    await desk.hot.void("early")
    assert (await desk.row(id_)).state == "pending"
    assert len((await desk.claim()).messages) == 1


async def test_answers_at_the_end_are_kept_in_a_file_and_replayed(
    outbox: Outbox, client: Client, emulator: Emulator, flaky: Flaky, tmp_path: Path
) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    flaky.away = {"record", "count_answer"}
    async with outbox.worker(client):
        await until(lambda: "record" in flaky.asked)
    kept = [*tmp_path.glob("*.answers"), *tmp_path.glob("state/*.answers")]  # noqa: ASYNC240 - a test may block
    assert len(kept) == 1
    words = kept[0].read_text(encoding="utf-8")
    assert PHONE not in words
    assert "Ready" not in words
    assert await in_the_end(outbox, "1") is None
    flaky.away = set()
    await outbox.drain(client)
    assert await in_the_end(outbox, "1") is Outcome.ACCEPTED
    assert not kept[0].exists()
    assert len(emulator.messages) == 1


# --- leases and late answers ---------------------------------------------------------------------


async def test_what_is_held_beyond_its_lease_is_unknown(desk: Desk) -> None:
    id_ = await desk.pending()
    await desk.claim(lease=60)
    assert await desk.hot.recover() == 0
    await desk.turn(61)
    assert await desk.hot.recover() == 1
    assert ((await desk.row(id_)).state, (await desk.row(id_)).reason) == ("unknown", "lease_over")


async def test_the_answer_of_a_sender_that_was_stopped_is_still_the_truth(desk: Desk) -> None:
    id_ = await desk.pending()
    claim = await desk.claim(lease=60)
    await desk.turn(61)
    await desk.hot.recover()
    await desk.record(claim.attempt_id, accepted(id_, "7"))
    row = await desk.row(id_)
    assert (row.state, row.server_id, row.sent_twice) == ("accepted", "7", False)


async def test_two_acceptances_under_two_numbers_were_two_sends(desk: Desk) -> None:
    id_ = await desk.pending()
    claim = await desk.claim()
    for server_id in ("7", "7", "8"):
        await desk.record(claim.attempt_id, accepted(id_, server_id))
        assert (await desk.row(id_)).sent_twice is (server_id == "8")


# --- PostgreSQL itself ---------------------------------------------------------------------------


async def test_sending_goes_on_after_postgresql_crashed(
    own_postgres: Postgres, client: Client, emulator: Emulator
) -> None:
    url = own_postgres.database()
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        async with outbox._writing() as connection:
            for number in range(300):
                await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number), connection=connection)
        async with outbox.worker(client, packet_size=5, in_flight=2):
            await until(lambda: len(emulator.messages) >= 100)
            emulator.fail_next("send", Fault.SLOW)  # so that one packet has its intent before, and its outcome after
            await until(lambda: not emulator.state()["pending_faults"])
            await asyncio.to_thread(own_postgres.restart)
            emulator.release()
            await until(lambda: len(emulator.messages) >= 300)
        status = await outbox.status()
    assert status.messages["accepted"] == 300
    assert len({message.id for message in emulator.messages}) == len(emulator.messages) == 300


async def test_a_worker_that_can_claim_nothing_says_why(
    desk: Desk, client: Client, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """What looks for due messages finds nothing wrong; what claims them does."""
    await desk.pending()
    table = desk.tables.message.fullname
    await desk.execute(f"ALTER TABLE {table} RENAME COLUMN ttl TO gone")
    with caplog.at_level(logging.WARNING, "smspilot_async.outbox"):
        async with desk.outbox.worker(client):
            await until(lambda: any("the ledger cannot be used" in line for line in caplog.messages))
            assert not emulator.messages
            await desk.execute(f"ALTER TABLE {table} RENAME COLUMN gone TO ttl")
            await emulator.wait_for(to=PHONE, timeout=60)
