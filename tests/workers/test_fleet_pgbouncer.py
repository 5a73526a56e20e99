# ruff: noqa: S603 - the program that runs here is pgbouncer
"""A worker of a fleet behind pgbouncer in transaction mode, by polling; the role has what a session would set."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from fleets import fill, is_over, judge, taken_by
from ledgers import PHONE
from waiting import until

from smspilot_async import Client, Message
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledgers import Desk
    from postgres import Postgres

    from smspilot_async.emulator import Emulator

SETTINGS = """
[databases]
* = host={postgres} user=postgres
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 4
"""


@pytest.fixture
def pooled_url(desk: Desk, ledger_url: str, postgres: Postgres) -> Iterator[str]:
    """The ledger's URL by way of pgbouncer."""
    del desk  # which makes the ledger
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.access(program, os.X_OK) and "CI" not in os.environ:
        pytest.skip("NOT TESTED: pgbouncer is not installed")
    database = urlsplit(ledger_url).path[1:]
    postgres.execute(
        f"ALTER ROLE postgres IN DATABASE {database} SET search_path = smspilot_jobs, public", database=database
    )
    settings = postgres.folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(postgres=postgres.folder, folder=postgres.folder))
    settings.chmod(0o644)
    command = [program, *(["-u", "postgres"] if os.geteuid() == 0 else []), str(settings)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (postgres.folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None
        yield f"postgresql://postgres@/{database}?host={postgres.folder}&port=6432&pgbouncer=true"
        process.terminate()


async def test_a_worker_sends_by_way_of_pgbouncer(
    pooled_url: str, desk: Desk, client: Client, emulator: Emulator
) -> None:
    async with Outbox(pooled_url) as outbox, outbox.fleet_worker(client, packet_size=10):
        await fill(outbox, 300)
        for number in range(10):
            await outbox.enqueue(Message(PHONE, f"Hello {number}"), key=str(number), kind="code", valid_for=60)
        await until(lambda: is_over(outbox))
        assert len(await outbox.workers()) == 1
    verdict = await judge(desk.outbox, taken_by(emulator))
    assert (verdict.states, verdict.twice, verdict.lost) == ({"accepted": 310}, 0, 0)
