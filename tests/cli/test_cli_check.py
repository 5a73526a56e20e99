# ruff: noqa: S603 - the program that runs here is ours
"""``--check``: what a container's healthcheck asks of the emulator and of a ledger's page; and the emulator's key."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cli_running import KEY, command, run

from smspilot_async.cli import _outbox, _page
from smspilot_async.cli._errors import Problem
from smspilot_async.emulator import Emulator

SERVERS = [("emulator",), ("outbox", "page")]


def port_of(url: str) -> str:
    return str(urlsplit(url).port)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - as it was told to listen
def test_an_emulator_that_answers_is_well(gateway: Emulator, host: str) -> None:
    checked = run("emulator", "--host", host, "--port", port_of(gateway.url), "--check", "--json")
    assert (checked.exit_code, checked.json) == (0, {"well": True})
    assert run("emulator", "--port", port_of(gateway.url), "--check").stdout == "the emulator is well.\n"


@pytest.mark.parametrize("server", SERVERS)
def test_what_does_not_answer_is_exit_4_and_nothing_is_started(server: tuple[str, ...]) -> None:
    with Emulator.serve() as ended:
        port = port_of(ended.url)
    checked = run(*server, "--port", port, "--check")
    assert checked.exit_code == 4
    assert f"does not answer at 127.0.0.1:{port} (Connection refused)." in checked.stderr


def test_what_answers_in_its_place_is_exit_4(gateway: Emulator) -> None:
    port = port_of(gateway.url)
    checked = run("outbox", "page", "--port", port, "--check")
    assert (checked.exit_code, checked.stderr) == (
        4,
        f"smspilot: what answers at 127.0.0.1:{port} is not the page.\n",
    )


def test_an_emulators_key_from_a_file_is_printed_nowhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    for as_json in ([], ["--json"]):
        with subprocess.Popen(
            command("emulator", "--port", "0", "--key-file", tmp_path / "key", *as_json),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as served:
            assert served.stdout is not None
            first = served.stdout.readline()
            served.send_signal(signal.SIGTERM)
            said = first + served.communicate(timeout=60)[0]
        assert "listen" in said
        assert KEY not in said
        assert served.returncode == 0


def test_an_emulator_takes_one_key(tmp_path: Path) -> None:
    ran = run("emulator", "--key", "A-KEY", "--key-file", str(tmp_path / "key"))
    assert (ran.exit_code, "give one of them" in ran.stderr) == (2, True)


def test_an_emulators_key_file_that_is_missing_is_exit_2() -> None:
    ran = run("emulator", "--key-file", "none.txt")
    assert (ran.exit_code, "cannot be read: none.txt: No such file" in ran.stderr) == (2, True)


def test_someone_without_a_name_gives_orders_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_123)
    assert _outbox.actor_of(None) == "user 4000123"
    assert _outbox.actor_of("anna") == "anna"


@pytest.mark.parametrize(
    ("mode", "owner", "is_read"),
    [
        (0o600, 1000, True),
        (0o400, 1000, True),
        (0o640, 1000, False),
        (0o604, 1000, False),
        (0o440, 0, True),  # as Kubernetes mounts it for a group
        (0o444, 0, False),
        (0o420, 0, False),
    ],
)
def test_a_file_of_the_pages_users_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mode: int, owner: int, is_read: bool
) -> None:
    path = tmp_path / "page.users"
    path.write_text("anna view secret\n", encoding="utf-8")
    fields: list[Any] = [stat.S_IFREG | mode, 1, 1, 1, owner, owner, 17, 0, 0, 0]
    monkeypatch.setattr(Path, "stat", lambda _path, **_options: os.stat_result(fields))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    if is_read:
        assert _page._read_private(path) == "anna view secret\n"
    else:
        with pytest.raises(Problem, match="others can read it"):
            _page._read_private(path)
