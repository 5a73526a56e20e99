"""``bulk`` over time: lines of progress without a terminal, delivery statuses with ``--follow``, faults that go on."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import KEY, Ran, numbered, run, write_list

from smspilot_async.cli.bulk import _progress
from smspilot_async.cli.bulk._progress import noting
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Outbox, _follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manual_clock import ManualClock

RESULTS = Path("list.csv.results.csv")
AT_ONCE = timedelta(0)
LEDGER = Path("list.csv.results.csv.ledger")


def bulk(*options: str) -> Ran:
    return run("bulk", "list.csv", "--yes", *options)


def column(name: str) -> list[str]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A gateway whose messages are delivered at once, and that is asked at once."""
    monkeypatch.setattr(_follow, "pause_before", lambda _: 0.05)
    with Emulator.serve(api_key=KEY, handover=AT_ONCE, delivery=AT_ONCE) as emulator:
        monkeypatch.setenv("SMSPILOT_URL", emulator.url)
        monkeypatch.setenv("SMSPILOT_API_KEY", KEY)
        yield emulator


# --- lines of progress ----------------------------------------------------------------------------


async def test_there_is_a_line_every_ten_seconds(manual_clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    done = 0
    async with noting(lambda: f"{done} of 9"):
        for seconds, lines in ((9.9, 0), (0.1, 1), (9.9, 0), (20.1, 3)):
            done += 1
            await manual_clock.advance(seconds)
            assert capsys.readouterr().err == f"{done} of 9\n" * lines
    await manual_clock.advance(60)
    async with noting(None):
        await manual_clock.advance(60)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_pricing_and_sending_say_how_far_they_are(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "A_LINE_EACH", 0.1)
    write_list(numbered(500))
    for command in ("cost", "send"):
        gateway.random_faults({Fault.SLOW: 1.0}, command=command, delay=0.3)
        ran = bulk("--in-flight", "1", *(["--dry-run"] if command == "cost" else []))
        assert ran.exit_code == 0
        words = "of 501 lines read and priced" if command == "cost" else "of 500 messages: "
        assert words in ran.stderr
    assert re.search(r"\d+ of 500 messages: (nothing decided|\d+ accepted); \d+ messages/s\n", ran.stderr)


# --- statuses -------------------------------------------------------------------------------------


def test_followed_statuses_are_in_the_results(quick: Emulator) -> None:
    write_list([*numbered(3), ("abc", "x")])
    ran = bulk("--follow")
    assert ran.exit_code == 1
    assert column("status") == ["delivered"] * 3 + [""]
    assert column("text") == ["Hello 0", "Hello 1", "Hello 2", "x"]
    assert "delivery  3 delivered" in ran.stdout
    assert not LEDGER.exists()
    assert len(quick.messages) == 3


def test_a_program_gets_them_too(quick: Emulator) -> None:
    write_list(numbered(2))
    ran = bulk("--follow", "--json")
    statuses = [event for event in ran.events if event["event"] == "status"]
    by_line = {message.server_id: "delivered" for message in quick.messages}
    assert {event["server_id"]: event["status"] for event in statuses} == by_line
    assert ran.events[-1]["statuses"] == {"delivered": 2}


def test_without_follow_there_are_none(quick: Emulator) -> None:
    write_list(numbered(2))
    assert bulk().exit_code == 0
    assert column("status") == ["", ""]
    assert len(quick.messages) == 2


def test_ctrl_c_ends_the_following_which_resume_continues(quick: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    write_list(numbered(2))
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "follow", interrupted)
        ran = bulk("--follow")
    assert ran.exit_code == 130
    assert f"ledger: {LEDGER}; --resume --follow continues to follow the statuses." in ran.stderr
    assert column("outcome") == ["accepted"] * 2
    assert bulk("--resume", "--follow").exit_code == 0
    assert column("status") == ["delivered"] * 2
    assert not LEDGER.exists()
    assert len(quick.messages) == 2


def test_following_says_how_far_it_is(quick: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    async def until_a_line(*_: Any) -> None:
        while not any(line.startswith("following 150 messages") for line in lines):  # noqa: ASYNC110 - a list
            await asyncio.sleep(0.01)

    monkeypatch.setattr(_progress, "A_LINE_EACH", 0.02)
    monkeypatch.setattr(_progress, "note", lines.append)
    monkeypatch.setattr(Outbox, "follow", until_a_line)
    write_list(numbered(150))
    bulk("--follow")
    assert lines[-1] == "following 150 messages: the statuses of 2 packets are not final yet"
    assert len(quick.messages) == 150


# --- faults of the sender or the text -------------------------------------------------------------


def test_a_list_whose_text_is_at_fault_stops_early_and_the_rest_is_sent_later(gateway: Emulator) -> None:
    gateway.account.senders = ("OTHER",)
    gateway.account.any_sender = False
    write_list(numbered(300))
    ran = bulk("--from", "SHOP", "--in-flight", "1")
    assert ran.exit_code == 4
    assert "the gateway refuses one message after the other: 204, " in ran.stderr
    refused = Counter(column("outcome"))["refused"]
    assert 20 <= refused <= 200
    assert Counter(column("outcome")) == {"refused": refused, "not_sent": 300 - refused}
    gateway.account.senders = ("OTHER", "SHOP")
    assert bulk("--from", "SHOP", "--resume").exit_code == 1
    assert Counter(column("outcome")) == {"refused": refused, "accepted": 300 - refused}
    assert len(gateway.messages) == 300 - refused
