# ruff: noqa: S603, S607 - a test may block, and the programs that run here are the system's own
"""A ledger that was copied, restored or moved sends nothing before it is adopted, and nothing twice after it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE
from postgres import Postgres

from smspilot_async import Client, Message
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.emulator import Fault
from smspilot_async.outbox import LedgerMoved, LedgerUnavailable, Outbox, OutboxError, SenderBusy
from smspilot_async.outbox._tokens import SentToken, SentTokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from smspilot_async.emulator import Emulator

DUE = 10


class Restorable:
    """A ledger of which a backup is made, and which is then restored as its kind says.

    Attributes:
        url: Of the ledger.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def back_up(self) -> None:
        raise NotImplementedError

    def restore(self) -> str:
        """Return the URL of what was restored."""
        raise NotImplementedError


class CopiedFile(Restorable):
    """The backup is put beside the original, under another name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:///{folder}/sms.db")
        self._path = folder / "sms.db"
        self._backup = folder / "backup.db"

    def back_up(self) -> None:
        shutil.copy(self._path, self._backup)

    def restore(self) -> str:
        return f"sqlite:///{self._backup}"


class OverwrittenFile(CopiedFile):
    """The backup is written into the original: the same path, and the same inode."""

    def restore(self) -> str:
        for more in ("-wal", "-shm"):
            self._path.with_name(f"sms.db{more}").unlink(missing_ok=True)
        inode = self._path.stat().st_ino
        self._path.write_bytes(self._backup.read_bytes())
        assert self._path.stat().st_ino == inode
        return self.url


class Dumped(Restorable):
    """A dump is loaded into another cluster."""

    def __init__(self, cluster: Postgres, other: Postgres) -> None:
        super().__init__(cluster.database())
        self._cluster, self._other = cluster, other
        self._file = cluster.folder / f"{sa.make_url(self.url).database}.dump"

    def back_up(self) -> None:
        name = sa.make_url(self.url).database
        self._cluster._run("pg_dump", "-h", self._cluster.folder, "-U", "postgres", "-Fc", "-f", self._file, name)

    def restore(self) -> str:
        url = self._other.database()
        name = sa.make_url(url).database
        self._other._run("pg_restore", "-h", self._other.folder, "-U", "postgres", "-d", name, self._file)
        return url


class DataFolder(Restorable):
    """The cluster's files are put back as they were: the same identifier, timeline and tables."""

    def __init__(self, cluster: Postgres) -> None:
        super().__init__(cluster.database())
        self._cluster = cluster
        self._backup = cluster.folder / "backup"

    def back_up(self) -> None:
        self._cluster.shut(mode="fast")
        subprocess.run(["cp", "-a", self._cluster.data, self._backup], check=True)
        self._cluster.start()

    def restore(self) -> str:
        self._cluster.shut(mode="fast")
        shutil.rmtree(self._cluster.data)
        subprocess.run(["cp", "-a", self._backup, self._cluster.data], check=True)
        self._before_start()
        self._cluster.start()
        self._cluster.wait_until_recovered()
        return self.url

    def _before_start(self) -> None:
        """Nothing more."""


class Recovered(DataFolder):
    """They are recovered from: another timeline, as after a failover."""

    def _before_start(self) -> None:
        with (self._cluster.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")
        signal = self._cluster.data / "recovery.signal"
        signal.touch()
        if self._cluster._user:
            shutil.chown(signal, "postgres", "postgres")


@pytest.fixture
def own_cluster() -> Iterator[Postgres]:
    cluster = Postgres()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["copied file", "overwritten file", "dump", "data folder", "another timeline"])
def restorable(request: pytest.FixtureRequest, tmp_path: Path) -> Restorable:
    if request.param == "copied file":
        return CopiedFile(tmp_path)
    if request.param == "overwritten file":
        return OverwrittenFile(tmp_path)
    own: Postgres = request.getfixturevalue("own_cluster")
    if request.param == "dump":
        return Dumped(request.getfixturevalue("postgres"), own)
    return DataFolder(own) if request.param == "data folder" else Recovered(own)


async def test_what_was_restored_sends_nothing_before_it_is_adopted_and_nothing_twice_after(
    restorable: Restorable, client: Client, emulator: Emulator
) -> None:
    await Outbox.create(restorable.url, client)
    async with Outbox(restorable.url) as outbox:
        await outbox.enqueue(Message(PHONE, "Before"), key="before")
        await outbox.drain(client)
        for number in range(DUE):
            await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        await outbox.enqueue(Message(PHONE, "Tomorrow", send_at=tomorrow), key="tomorrow")
    backed_up_at = datetime.now(UTC)
    await asyncio.to_thread(restorable.back_up)
    async with Outbox(restorable.url) as outbox:
        assert (await outbox.drain(client, packet_size=3)).accepted == DUE
    url = await asyncio.to_thread(restorable.restore)
    async with Outbox(url) as outbox:
        assert (await outbox.status()).messages["pending"] == DUE + 1
        with pytest.raises(LedgerMoved, match="adopt"):
            await outbox.drain(client)
        with pytest.raises(LedgerMoved):
            await outbox.worker(client).__aenter__()
        assert len(emulator.messages) == DUE + 1

        adopted = await outbox.adopt(restored_to=backed_up_at, actor="anna", why="disk died")
        assert adopted.unknown == DUE
        await outbox.enqueue(Message(PHONE, "After"), key="after")
        await outbox.drain(client)
        sent = Counter(message.text for message in emulator.messages)
        assert sent == dict.fromkeys(["Before", "After", *(f"Text {number}" for number in range(DUE))], 1)
        record = await outbox.get("3")
        assert record is not None
        assert (record.state, record.reason) == ("unknown", "restored")
        assert (await outbox.status()).messages["pending"] == 1  # tomorrow's
    async with Outbox(url) as outbox:  # it is at home now
        await outbox.drain(client)
    assert len(emulator.messages) == DUE + 2


@pytest.mark.parametrize(("kind", "words"), [(Recovered, "timeline was"), (DataFolder, "does not know 1 of")])
async def test_a_sender_whose_database_is_restored_meanwhile_stops_and_sends_nothing(
    own_cluster: Postgres, client: Client, emulator: Emulator, *, kind: type[DataFolder], words: str
) -> None:
    ledger = kind(own_cluster)
    await Outbox.create(ledger.url, client)
    await asyncio.to_thread(ledger.back_up)
    async with Outbox(ledger.url) as outbox:
        with pytest.raises(LedgerMoved, match=words):
            await _work_until_it_ends(outbox, client, ledger)
    assert [message.text for message in emulator.messages] == ["Before"]


@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "gone"])
async def test_a_sender_whose_file_is_another_one_meanwhile_stops(
    tmp_path: Path, client: Client, emulator: Emulator, *, is_replaced: bool
) -> None:
    ledger, path = CopiedFile(tmp_path), tmp_path / "sms.db"
    await Outbox.create(ledger.url, client)
    ledger.back_up()
    async with Outbox(ledger.url) as outbox, outbox.worker(client) as worker:
        await outbox.enqueue(Message(PHONE, "Before"), key="before")
        await outbox.wait("before", timeout=30)
        path.rename(tmp_path / "moved.db")
        if is_replaced:
            shutil.copy(tmp_path / "backup.db", path)
        async with asyncio.timeout(30):
            await worker.wait()
    assert len(emulator.messages) == 1


async def _work_until_it_ends(outbox: Outbox, client: Client, ledger: Restorable) -> None:
    async with asyncio.timeout(60), outbox.worker(client) as worker:
        await outbox.enqueue(Message(PHONE, "Before"), key="before")
        assert (await outbox.wait("before", timeout=30)).state == "accepted"
        await asyncio.to_thread(ledger.restore)
        async with Outbox(ledger.url) as another:
            await another.enqueue(Message(PHONE, "After"), key="after")
        await worker.wait()


@pytest.mark.parametrize("when", ["before it is adopted", "after it"])
async def test_a_callback_proves_what_a_restored_ledger_has_forgotten(
    tmp_path: Path, emulator: Emulator, when: str
) -> None:
    ledger = OverwrittenFile(tmp_path)
    secret = "a secret for the tests alone"
    async with (
        CallbackInbox("https://app.example/smspilot", secret=secret) as inbox,
        Client(emulator.api_key, url=emulator.url, callbacks=inbox) as client,
    ):
        await Outbox.create(ledger.url, client)
        async with Outbox(ledger.url) as outbox:
            for number in range(2):
                await outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number))
        backed_up_at = datetime.now(UTC)
        ledger.back_up()
        async with Outbox(ledger.url) as outbox:
            await outbox.drain(client)
        ledger.restore()
        async with Outbox(ledger.url) as outbox:
            web = CallbackInbox("https://app.example/smspilot", secret=secret, sink=outbox.callback_sink())
            if when == "after it":
                await outbox.adopt(restored_to=backed_up_at)
            sent = emulator.messages[0]
            query = f"server_id={sent.server_id}&status=1&error=0".encode()
            assert sent.callback is not None
            answer = await web.answer("GET", sent.callback.removeprefix("https://app.example"), query, _no_body())
            assert answer.status == 200
            if when != "after it":
                await outbox.adopt(restored_to=backed_up_at)
            await outbox.drain(client)
            records = [await outbox.get(str(number)) for number in range(2)]
            assert [record.state for record in records if record is not None] == ["accepted", "unknown"]
            assert records[0] is not None
            assert records[0].server_id == sent.server_id
    assert len(emulator.messages) == 2


async def _no_body() -> AsyncIterator[bytes]:
    yield b""


# --- times ---------------------------------------------------------------------------------------


async def test_a_time_after_what_was_sent_from_here_is_refused(
    tmp_path: Path, client: Client, emulator: Emulator
) -> None:
    ledger = OverwrittenFile(tmp_path)
    await Outbox.create(ledger.url, client)
    async with Outbox(ledger.url) as outbox:
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    ledger.back_up()
    async with Outbox(ledger.url) as outbox:
        await outbox.drain(client)
    ledger.restore()
    async with Outbox(ledger.url) as outbox:
        for time in (datetime.now(UTC), None):
            with pytest.raises(OutboxError, match="earlier"):
                await outbox.adopt(restored_to=time)
        with pytest.raises(OutboxError, match="future"):
            await outbox.adopt(restored_to=datetime.now(UTC) + timedelta(hours=1))
        with pytest.raises(ValueError, match="zone"):
            await outbox.adopt(restored_to=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
        with pytest.raises(LedgerMoved):
            await outbox.drain(client)
    assert len(emulator.messages) == 1


async def test_what_was_only_moved_goes_on(tmp_path: Path, client: Client, emulator: Emulator) -> None:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    (tmp_path / "sms.db").rename(tmp_path / "moved.db")
    async with Outbox(f"sqlite:///{tmp_path}/moved.db") as outbox:
        with pytest.raises(LedgerMoved):
            await outbox.drain(client)
        assert (await outbox.adopt(restored_to=None)).unknown == 0
        assert (await outbox.drain(client)).accepted == 1
    assert len(emulator.messages) == 1


async def test_what_was_in_flight_at_the_backup_becomes_unknown(
    tmp_path: Path, client: Client, emulator: Emulator
) -> None:
    ledger = CopiedFile(tmp_path)
    await Outbox.create(ledger.url, client)
    async with Outbox(ledger.url) as outbox:
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
        emulator.fail_next("send", Fault.SLOW)
        draining = asyncio.ensure_future(outbox.drain(client))
        await emulator.wait_for(to=PHONE)
        _back_up_open(tmp_path / "sms.db", tmp_path / "backup.db")
        backed_up_at = datetime.now(UTC)
        emulator.release()
        await draining
    async with Outbox(ledger.restore()) as outbox:
        assert (await outbox.adopt(restored_to=backed_up_at)).unknown == 1
        await outbox.drain(client)
    assert len(emulator.messages) == 1


def _back_up_open(path: Path, backup: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(backup)) as target:
        source.backup(target)


async def test_a_ledger_that_is_sent_from_cannot_be_adopted(tmp_path: Path, client: Client) -> None:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    async with Outbox(url) as outbox, outbox.worker(client):
        with pytest.raises(SenderBusy):
            await outbox.adopt(restored_to=None)


async def test_an_adoption_is_in_the_log(outbox: Outbox) -> None:
    adopted = await outbox.adopt(restored_to=datetime.now(UTC), actor="anna", why="disk died")
    orders = outbox._tables.orders
    async with outbox._reading() as connection:
        row = (await connection.execute(sa.select(orders).where(orders.c.id == adopted.order_id))).one()
    assert (row.actor, row.action, row.why, row._mapping["count"]) == ("anna", "adopt", "disk died", 0)
    assert row.detail.startswith("restored to 20")


async def test_where_senders_remember_must_be_usable(
    postgres: Postgres, client: Client, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await asyncio.to_thread(postgres.database)
    await Outbox.create(url, client)
    (tmp_path / "file").touch()
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path / "file"))
    async with Outbox(url) as outbox:
        await outbox.enqueue(Message(PHONE, "Ready"), key="1")
        with pytest.raises(LedgerUnavailable, match="SMSPILOT_STATE"):
            await outbox.drain(client)
    assert not emulator.messages


# --- tokens --------------------------------------------------------------------------------------


def token(number: int) -> SentToken:
    return SentToken(number, number * 1000, f"{number:032x}")


def test_the_last_tokens_are_kept_and_the_file_does_not_grow(tmp_path: Path) -> None:
    tokens = SentTokens(tmp_path, "sms.db")
    tokens.open()
    for number in range(1, 201):
        tokens.add(token(number))
    assert tokens.last() == [token(number) for number in range(137, 201)]  # as a kill would leave them
    tokens.close()
    again = SentTokens(tmp_path, "sms.db")
    again.open()
    again.add(token(201))
    again.close()
    assert again.last() == [token(number) for number in range(138, 202)]
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [64 * 128]


def test_two_senders_have_a_file_each(tmp_path: Path) -> None:
    first, second = SentTokens(tmp_path, "uid"), SentTokens(tmp_path, "uid")
    first.open()
    second.open()
    first.add(token(1))
    second.add(token(2))
    assert SentTokens(tmp_path, "uid").last() == [token(1), token(2)]
    first.close()
    second.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_token_that_was_being_written_is_none(tmp_path: Path) -> None:
    tokens = SentTokens(tmp_path, "sms.db")
    tokens.open()
    tokens.add(SentToken(1, 1000, "a" * 32))
    tokens.add(SentToken(2, 2000, "b" * 32))
    tokens.close()
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes().replace(b"bbbb", b"\0\0\0\0", 1))
    assert tokens.last() == [SentToken(1, 1000, "a" * 32)]
