"""A ledger whose file cannot be used: one clear line that says what to do, and nothing is sent."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from disks import SmallDisk, small_disk
from ledgers import PHONE
from waiting import until

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import LedgerDamaged, LedgerUnavailable, NetworkFileSystem, Outbox, _home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

__all__ = ["small_disk"]  # a fixture, by being here

READY = Message(PHONE, "Ready")
FULL = r"full\. Free space"
A_LOT = "Long text " * 40


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The ledger's file: on the small disk of the tests that ask for one."""
    if "small_disk" in request.fixturenames:
        disk: SmallDisk = request.getfixturevalue("small_disk")
        return disk.folder / "sms.db"
    return tmp_path / "sms.db"


@pytest.fixture
async def outbox(path: Path, client: Client) -> AsyncIterator[Outbox]:
    await Outbox.create(f"sqlite:///{path}", client)
    async with Outbox(f"sqlite:///{path}") as outbox:
        yield outbox


def is_one_line(text: str) -> bool:
    return "\n" not in text and PHONE not in text and READY.text not in text


# --- a full disk ---------------------------------------------------------------------------------


async def enqueue_all_it_takes(outbox: Outbox) -> None:
    for number in range(2, 1000):
        await outbox.enqueue(Message(PHONE, A_LOT), key=str(number))


async def test_a_full_disk_takes_no_message_and_sends_none(
    outbox: Outbox, small_disk: SmallDisk, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(READY, key="1")
    small_disk.fill()
    with pytest.raises(LedgerUnavailable, match=FULL) as caught:
        await enqueue_all_it_takes(outbox)
    assert is_one_line(str(caught.value))
    with pytest.raises(LedgerUnavailable, match="No space left on device"):
        await outbox.drain(client)
    assert not emulator.messages
    small_disk.make_room()
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert record.outcome is Outcome.ACCEPTED


async def test_an_answer_outlasts_a_disk_that_is_full_for_a_while(
    outbox: Outbox, small_disk: SmallDisk, client: Client, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    async with outbox.worker(client):
        await outbox.enqueue(READY, key="1")
        await emulator.wait_for(to=PHONE)
        small_disk.fill()
        with pytest.raises(LedgerUnavailable, match=FULL):
            await enqueue_all_it_takes(outbox)
        with caplog.at_level(logging.WARNING, "smspilot_async.outbox"):
            emulator.release()
            await until(lambda: any("Free space" in line for line in caplog.messages))
        assert [message.text for message in emulator.messages] == ["Ready"]
        small_disk.make_room()
        record = await outbox.wait("1", timeout=30)
    assert record.outcome is Outcome.ACCEPTED
    assert sum(message.text == "Ready" for message in emulator.messages) == 1


# --- a file that may only be read ----------------------------------------------------------------


async def test_what_may_only_be_read_sends_nothing(
    outbox: Outbox, small_disk: SmallDisk, client: Client, emulator: Emulator
) -> None:
    await outbox.enqueue(READY, key="1")
    await outbox.aclose()
    small_disk.make_read_only()
    with pytest.raises(LedgerUnavailable) as caught:
        async with Outbox(f"sqlite:///{small_disk.folder}/sms.db") as read_only:
            await read_only.drain(client)
    assert is_one_line(str(caught.value))
    assert not emulator.messages


# --- a damaged file ------------------------------------------------------------------------------


def damage(path: Path) -> None:
    """Overwrite every page but the first."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


@pytest.fixture
async def damaged(outbox: Outbox, path: Path) -> Outbox:
    """An outbox whose file is damaged while it is open."""
    await outbox.enqueue(READY, key="1")
    async with outbox._reading() as connection:
        await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    await asyncio.to_thread(damage, path)
    return outbox


async def test_a_damaged_ledger_sends_nothing(damaged: Outbox, client: Client, emulator: Emulator) -> None:
    with pytest.raises(LedgerDamaged, match="outbox adopt") as caught:
        await damaged.drain(client)
    assert is_one_line(str(caught.value))
    with pytest.raises(LedgerDamaged):
        async with Outbox(f"sqlite:///{damaged._path}"):
            pass
    assert not emulator.messages


async def test_a_worker_ends_once_its_ledger_is_damaged(
    outbox: Outbox, path: Path, client: Client, emulator: Emulator
) -> None:
    context = outbox.worker(client)
    await context.__aenter__()
    await outbox.enqueue(READY, key="1")
    await outbox.wait("1", timeout=30)
    async with outbox._reading() as connection:
        await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    await asyncio.to_thread(damage, path)
    with pytest.raises(LedgerDamaged):
        async with asyncio.timeout(30):
            await context.wait()
    with pytest.raises(LedgerDamaged):
        await context.__aexit__(None, None, None)
    assert len(emulator.messages) == 1


# --- a network file system -----------------------------------------------------------------------


async def test_a_ledger_on_a_network_file_system_is_neither_made_nor_used(
    path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{path}"
    with monkeypatch.context() as patch:
        patch.setattr(_home, "_mounts", lambda: f"server:/home {path.parent} nfs4 rw 0 0\n")
        with pytest.raises(NetworkFileSystem, match="nfs4"):
            await Outbox.create(url, client)
        assert not path.exists()  # noqa: ASYNC240 - a test may block
    await Outbox.create(url, client)
    monkeypatch.setattr(_home, "_mounts", lambda: f"server:/home {path.parent} nfs4 rw 0 0\n")
    with pytest.raises(NetworkFileSystem):
        await Outbox(url).__aenter__()
