"""A row in the ledger for each worker, for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledgers import PHONE
from waiting import until

from smspilot_async import Message, __version__
from smspilot_async.outbox._workers import LIVES_FOR

if TYPE_CHECKING:
    import pytest
    from ledgers import Desk

    from smspilot_async import Client


async def test_a_worker_is_shown_with_its_version_while_it_runs(desk: Desk, client: Client) -> None:
    async with desk.outbox.worker(client):
        await until(desk.outbox.workers)
        await desk.outbox.enqueue(Message(PHONE, "Hello"), key="1")
        await desk.outbox.wait("1")
        (worker,) = await desk.outbox.workers()
        ((sender,),) = await desk.execute(f"SELECT sender FROM {desk.tables.attempt}")
        assert (worker.name, worker.version, worker.is_running) == (sender, __version__, True)
        assert worker.started_at <= worker.seen_at
        if desk.outbox._dialect == "postgresql":
            assert worker.slots == 6
    assert await desk.outbox.workers() == []


async def test_a_worker_that_is_lost_is_shown_as_not_running(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = desk.outbox.worker(client)
    async with worker:
        await until(desk.outbox.workers)
        assert worker._sender is not None
        monkeypatch.setattr(worker._sender, "hide", worker._sender.replay)  # it is killed: it takes nothing back
    await desk.turn(LIVES_FOR + 5)
    (lost,) = await desk.outbox.workers()
    assert not lost.is_running
    assert lost.slots == 0


async def test_a_worker_whose_row_was_deleted_has_it_again(desk: Desk, client: Client) -> None:
    async with desk.outbox.worker(client):
        await until(desk.outbox.workers)
        await desk.execute(f"DELETE FROM {desk.tables.worker}")
        await until(desk.outbox.workers)
