# ruff: noqa: ASYNC240, S603 - a test may block, and the program that runs here is ours
"""Where a ledger may stand, who may send from it, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from ledgers import PHONE

from smspilot_async import Message
from smspilot_async.outbox import (
    LedgerMissing,
    LedgerMoved,
    LedgerSchemaError,
    LedgerUnavailable,
    NetworkFileSystem,
    Outbox,
    SenderBusy,
)
from smspilot_async.outbox._home import refuse_network
from smspilot_async.outbox._sender_lock import SenderLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk
    from postgres import Postgres

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

MESSAGE = Message(PHONE, "Ready")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sms.db"


@pytest.fixture
async def on_sqlite(path: Path, client: Client) -> AsyncIterator[Outbox]:
    await Outbox.create(f"sqlite:///{path}", client)
    async with Outbox(f"sqlite:///{path}") as outbox:
        yield outbox


# --- SQLite --------------------------------------------------------------------------------------


async def test_what_is_committed_is_on_the_disk(on_sqlite: Outbox) -> None:
    hot = on_sqlite._hot_path()
    await hot.open()
    pragmas = ("synchronous", "journal_mode", "secure_delete")
    of_thread = await hot.run(lambda one: [one.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])  # type: ignore[attr-defined]
    await hot.aclose()
    async with on_sqlite._writing() as connection:
        of_engine = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in pragmas]
    assert of_thread == of_engine == [2, "wal", 1]


async def test_the_files_are_their_owners_alone(on_sqlite: Outbox, path: Path, client: Client) -> None:
    await on_sqlite.enqueue(MESSAGE, key="1")
    async with on_sqlite.worker(client):
        await on_sqlite.wait("1", timeout=30)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert set(modes) >= {"sms.db", "sms.db-wal", "sms.db.sender"}
    assert set(modes.values()) == {0o600}


@pytest.mark.usefixtures("on_sqlite")
async def test_access_that_others_were_given_is_taken_away(path: Path) -> None:
    path.chmod(0o644)
    async with Outbox(f"sqlite:///{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_no_text_of_a_final_code_is_in_the_files(on_sqlite: Outbox, path: Path, client: Client) -> None:
    for number in range(30):
        await on_sqlite.enqueue(Message(PHONE, f"Your secret {number}"), key=str(number), kind="code", valid_for=60)
    await on_sqlite.drain(client)
    await on_sqlite.aclose()
    found = [one.name for one in path.parent.iterdir() if b"Your secret" in one.read_bytes()]
    assert found == []


async def test_a_copy_sends_nothing(on_sqlite: Outbox, path: Path, client: Client, emulator: Emulator) -> None:
    await on_sqlite.enqueue(MESSAGE, key="1")
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    async with Outbox(f"sqlite:///{copy}") as outbox:
        with pytest.raises(LedgerMoved, match="inode was"):
            await outbox.drain(client)
        assert (await outbox.get("1")) is not None
    assert not emulator.messages


async def test_another_file_in_its_place_sends_nothing(on_sqlite: Outbox, path: Path, client: Client) -> None:
    await on_sqlite.aclose()
    shutil.copy(path, path.with_name("backup"))
    path.rename(path.with_name("old"))
    path.with_name("backup").rename(path)
    async with Outbox(f"sqlite:///{path}") as outbox:
        with pytest.raises(LedgerMoved):
            await outbox.drain(client)


async def test_a_path_that_is_not_there_stays_so(path: Path) -> None:
    with pytest.raises(LedgerMissing):
        await Outbox(f"sqlite:///{path}").__aenter__()
    assert not path.exists()


async def test_a_file_that_is_no_ledger_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"something else\n" * 100)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        await Outbox(f"sqlite:///{path}").__aenter__()
    assert path.read_bytes() == b"something else\n" * 100


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
"""


@pytest.mark.parametrize("folder", ["/home/user", "/mnt/my share"])
def test_a_network_file_system_is_refused(folder: str) -> None:
    with pytest.raises(NetworkFileSystem):
        refuse_network(Path(folder) / "sms.db", MOUNTS)


@pytest.mark.parametrize("folder", ["/", "/home/local/a", "/mnt"])
def test_a_local_disk_is_not(folder: str) -> None:
    refuse_network(Path(folder) / "sms.db", MOUNTS)


# --- one sender ----------------------------------------------------------------------------------


async def test_a_second_sender_of_a_file_is_told_who_is_the_first(on_sqlite: Outbox, client: Client) -> None:
    async with on_sqlite.worker(client):
        with pytest.raises(SenderBusy, match=f"process {os.getpid()} on "):
            await on_sqlite.drain(client)
    await on_sqlite.drain(client)


HOLD = r"""
import os, sys
from pathlib import Path
from smspilot_async.outbox._sender_lock import SenderLock
lock = SenderLock(Path(sys.argv[1]))
child = 0
if "fork" in sys.argv and (child := os.fork()) == 0:
    os.write(1, b"0\n")
    sys.stdin.read()
    os._exit(0)
os.write(1, b"%d\n" % child)
sys.stdin.read()
"""


def holder(path: Path, *how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [(), ("fork",)], ids=["alone", "with a forked child that lives on"])
def test_a_killed_sender_leaves_the_ledger_free(path: Path, how: tuple[str, ...]) -> None:
    with holder(path, *how) as process:
        assert process.stdout is not None
        child = max(int(process.stdout.readline()) for _ in range(1 + len(how)))  # both have begun
        with pytest.raises(SenderBusy, match=f"process {process.pid} on "):
            SenderLock(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        SenderLock(path).release()
        if child:
            os.kill(child, signal.SIGKILL)


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "oldest", "words"), [(9, 9, "newer than"), (0, 0, "outbox upgrade")])
async def test_tables_of_another_version_are_refused(
    desk: Desk, ledger_url: str, version: int, oldest: int, words: str
) -> None:
    await desk.execute(sa.update(desk.tables.ledger).values(version=version, oldest_compatible=oldest))
    with pytest.raises(LedgerSchemaError, match=words):
        await Outbox(ledger_url).__aenter__()


async def test_newer_tables_that_are_still_compatible_are_used(desk: Desk, ledger_url: str) -> None:
    await desk.execute(sa.update(desk.tables.ledger).values(version=9))
    async with Outbox(ledger_url):
        pass


async def test_another_home_sends_nothing(desk: Desk, client: Client, ledger_url: str) -> None:
    home = json.loads(desk.outbox._row.home)
    for name in home:
        await desk.execute(sa.update(desk.tables.ledger).values(home=json.dumps({**home, name: "2"})))
        async with Outbox(ledger_url) as outbox:
            with pytest.raises(LedgerMoved, match=f"{name} was 2"):
                await outbox.drain(client)


async def test_a_dump_that_was_loaded_again_sends_nothing(postgres: Postgres, client: Client) -> None:
    url = postgres.database()
    await Outbox.create(url, client)
    name = sa.make_url(url).database
    await asyncio.to_thread(postgres.execute, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    async with Outbox(postgres.url(f"{name}_copy")) as outbox:
        with pytest.raises(LedgerMoved, match="database was"):
            await outbox.drain(client)


async def test_a_role_that_may_only_use_the_tables_can_send(postgres: Postgres, client: Client) -> None:
    url = postgres.database()
    await Outbox.create(url, client)
    name = sa.make_url(url).database or ""
    for statement in (
        f"CREATE ROLE sender_{name} LOGIN",
        f"GRANT USAGE ON SCHEMA smspilot TO sender_{name}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA smspilot TO sender_{name}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA smspilot TO sender_{name}",
    ):
        await asyncio.to_thread(postgres.execute, statement, name)
    async with Outbox(url.replace("postgres@", f"sender_{name}@")) as outbox:
        await outbox.enqueue(MESSAGE, key="1")
        assert (await outbox.drain(client)).accepted == 1
