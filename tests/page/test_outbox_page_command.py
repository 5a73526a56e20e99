"""``smspilot outbox page`` as a process: who may use it is told to it privately, and a signal ends it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner, Result
from outbox_page import ANNA, PEOPLE

from smspilot_async.cli._app import app
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

COMMAND = [sys.executable, "-m", "smspilot_async", "outbox", "page", "--port", "0"]


@pytest.fixture
async def environment(tmp_path: Path, client: Client, emulator: Emulator) -> dict[str, str]:
    ledger = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(ledger, client)
    settings = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SMSPILOT_")}
    return {**kept, **settings, "PYTHONWARNINGS": "error"}


async def run(environment: dict[str, str], *arguments: str) -> Result:
    """The command in this process: it ends before it listens."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["outbox", "page", *arguments], env=environment)


def private(path: Path, mode: int = 0o600) -> str:
    path.write_text(PEOPLE, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("place", ["file", "environment"])
async def test_it_is_served_until_a_signal(environment: dict[str, str], tmp_path: Path, place: str) -> None:
    users = await asyncio.to_thread(private, tmp_path / "users")
    more = {"SMSPILOT_PAGE_USERS": PEOPLE} if place == "environment" else {}
    expected = {"file": (signal.SIGTERM, 0), "environment": (signal.SIGINT, 130)}[place]
    arguments = ["--users", users] if place == "file" else []
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env={**environment, **more}, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
    found = re.search(r"http://127\.0\.0\.1:\d+/", line)
    assert found is not None
    async with httpx.AsyncClient(base_url=found[0], trust_env=False, timeout=30) as http:
        assert (await http.post("/api/login", json={"secret": ANNA})).status_code == 200
        assert (await http.get("/api/me")).json()["name"] == "anna"
        port = found[0].rpartition(":")[2].strip("/")
        assert (await run(environment, "--port", port, "--check")).output == "the page is well.\n"
        process.send_signal(expected[0])
        _, rest = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, rest) == (expected[1], b"")


async def test_a_file_that_others_can_read_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    users = await asyncio.to_thread(private, tmp_path / "users", 0o640)
    ended = await run(environment, "--users", users)
    assert (ended.exit_code, "chmod 600" in ended.output) == (2, True)
    assert ANNA not in ended.output


async def test_without_people_it_does_not_begin_and_says_what_to_write(environment: dict[str, str]) -> None:
    for people in ("", "# no one\n", "anna operate short", f"anna {ANNA}"):
        ended = await run({**environment, "SMSPILOT_PAGE_USERS": people})
        assert (ended.exit_code, "NAME ROLE SECRET" in ended.output or "shorter" in ended.output) == (2, True)
        assert ANNA not in ended.output


async def test_a_file_in_the_environment_is_read(environment: dict[str, str], tmp_path: Path) -> None:
    ended = await run({**environment, "SMSPILOT_PAGE_USERS_FILE": str(tmp_path / "missing")})
    assert (ended.exit_code, "cannot be read" in ended.output) == (2, True)


async def test_a_secret_cannot_be_given_as_an_argument(environment: dict[str, str]) -> None:
    shown = (await run(environment, "--help")).output
    assert not re.search(r"--(secret|password|token)", shown)
