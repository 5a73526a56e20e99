# ruff: noqa: S603 - the program that runs here is ours
"""The bulk script as a process: killed and started again, it sends nothing twice and loses no row."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 2000
KILLS = 8
PATIENCE = 60.0
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    with Emulator.serve(port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    lines = [f"7908{number:07d},Привет {number}" for number in range(1, ROWS)]
    path.write_text("\n".join(["to,text", *lines, "123,a phone too short"]) + "\n", encoding="utf-8")
    return path


def started(people: Path, gateway: Emulator) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT), "SMSPILOT_URL": gateway.url, "SMSPILOT_API_KEY": gateway.api_key}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.bulk_script", people.name],
        cwd=people.parent,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def ran(people: Path, gateway: Emulator) -> tuple[int, str]:
    """Let it run to its end; return its exit code and its output."""
    process = started(people, gateway)
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def results(people: Path) -> dict[int, str]:
    with Path(f"{people}.results.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["id"]): row["outcome"] for row in csv.DictReader(file)}


def test_each_row_has_its_outcome(gateway: Emulator, people: Path) -> None:
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    code, said = ran(people, gateway)
    outcomes = Counter(results(people).values())
    assert code == 0
    assert outcomes == {"accepted": ROWS - 101, "unknown": 100, "refused": 1}
    assert sorted(said.splitlines()) == [f"accepted {ROWS - 101}", "refused 1", "unknown 100"]
    assert len(gateway.messages) == ROWS - 1


def test_a_second_run_sends_nothing_again(gateway: Emulator, people: Path) -> None:
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    ran(people, gateway)
    first = results(people)
    assert ran(people, gateway)[0] == 0
    assert results(people) == first
    assert len(gateway.messages) == ROWS - 1


def test_killed_and_started_again_it_sends_nothing_twice_and_lists_what_is_unknown(
    gateway: Emulator, people: Path
) -> None:
    moments, killed = random.Random(1), 0
    for kill in range(1, KILLS + 1):
        with started(people, gateway) as process:
            give_up = time.monotonic() + PATIENCE
            while process.poll() is None and len(gateway.messages) < ROWS * kill // (2 * KILLS):
                assert time.monotonic() < give_up
                time.sleep(0.001)
            time.sleep(moments.random() * 0.01)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    assert killed > KILLS // 2  # one that was faster than its kill is no harm
    assert ran(people, gateway)[0] == 0
    outcomes = results(people)
    taken = {message.id for message in gateway.messages}
    assert max(Counter(message.to for message in gateway.messages).values()) == 1
    assert list(outcomes) == list(range(1, ROWS + 1))
    assert {id_ for id_, outcome in outcomes.items() if outcome == "accepted"} <= taken
    assert taken <= {id_ for id_, outcome in outcomes.items() if outcome in {"accepted", "unknown"}}
    assert set(outcomes.values()) <= {"accepted", "unknown", "refused"}


def test_a_run_that_stops_for_lack_of_money_is_continued(gateway: Emulator, people: Path) -> None:
    gateway.account.balance = Decimal(0)
    code, said = ran(people, gateway)
    assert (code, gateway.messages) == (1, ())
    assert "Stopped" in said
    assert set(results(people).values()) <= {"not_sent", "refused"}
    gateway.account.balance = Decimal(100_000)
    assert ran(people, gateway)[0] == 0
    assert Counter(results(people).values()) == {"accepted": ROWS - 1, "refused": 1}
    assert len(gateway.messages) == ROWS - 1


def test_a_list_that_has_changed_is_not_continued(gateway: Emulator, people: Path) -> None:
    ran(people, gateway)
    sent = len(gateway.messages)
    people.write_text("to,text\n79087964781,Hello\n", encoding="utf-8")
    code, said = ran(people, gateway)
    assert (code, said.strip()) == (1, "The list has changed since the first run. Nothing was sent.")
    assert len(gateway.messages) == sent


def test_two_runs_do_not_send_one_list(gateway: Emulator, people: Path) -> None:
    gateway.fail_next("send", Fault.SLOW)
    with started(people, gateway) as process:
        while not gateway.messages:
            time.sleep(0.001)
        code, said = ran(people, gateway)
        gateway.release()
        process.communicate(timeout=PATIENCE)
    assert (code, said.strip()) == (1, "Another run is sending this list.")
    assert process.returncode == 0
    assert len(gateway.messages) == ROWS - 1
