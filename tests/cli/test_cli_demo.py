"""The demo: its list, its figures, and that they are counted and not made up."""

from __future__ import annotations

import re
from functools import partial

import make_demo_list
import pytest
from cli_running import run

from smspilot_async import Client, Retry
from smspilot_async.cli.bulk._bulk import BulkOptions, RecipientList
from smspilot_async.cli.demo import _race
from smspilot_async.emulator import Fault


def test_the_shipped_list_is_the_one_that_the_script_makes() -> None:
    assert make_demo_list.LIST.read_text(encoding="utf-8") == make_demo_list.written()


def test_the_shipped_list_is_worth_showing() -> None:
    rows = list(RecipientList.open(BulkOptions(path=str(make_demo_list.LIST))))
    alphabets = {row.message.size.alphabet for row in rows if row.message}
    codes = {row.error.code for row in rows if row.error}
    assert len(rows) >= 1000
    assert alphabets == {"GSM-7", "UCS-2"}
    assert {108, 111, 115, 220, 221, 240, 270} <= codes
    assert sum(row.duplicate_of is not None for row in rows) == 3


@pytest.fixture
def many_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 0.3)


@pytest.mark.usefixtures("many_faults")
def test_the_figures_are_counted_and_the_seed_repeats_them() -> None:
    first, again, other = (run("demo", "--people", "40", "--seed", seed, "--json").json for seed in ("1", "1", "2"))
    for figures in (first, again, other):
        plain, ours = figures["plain_loop"], figures["smspilot_async"]
        assert plain["reached_once"] + plain["reached_twice"] + plain["not_reached"] == 40
        assert plain["reached_twice"] > 0
        assert (ours["reached_once"], ours["reached_twice"], ours["not_reached"]) == (40, 0, 0)
        assert (ours["believed_sent"] + ours["unknown"], ours["believed_not_sent"]) == (40, 0)
        assert ours["unknown"] == len(ours["unknown_ids"]) > 0
        del plain["seconds"], ours["seconds"]
    assert first == again
    assert first["smspilot_async"] != other["smspilot_async"]


def test_a_machine_that_is_kept_from_sending_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    figures = run("demo", "--people", "10", "--json").json
    assert figures["smspilot_async"]["reached_once"] == 10


@pytest.mark.usefixtures("many_faults")
def test_the_demo_is_tidy_at_80_columns_without_a_terminal() -> None:
    ran = run("demo", "--people", "30")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())
    assert "\x1b" not in ran.stdout
    assert re.search(r"a plain loop with retries +[1-9]\d* of 30 reached twice", ran.stdout)
    assert re.search(r"smspilot_async +0 of 30 reached twice, 0 not at all", ran.stdout)
    assert re.search(r"reports \d+ sent and [1-9]\d* unknown, and sends none of those again:\n +no\. \d+", ran.stdout)
    assert re.search(r" no\. \d+ \(7908\*{5}\d\d\) and \d+ more\n", ran.stdout)
    assert re.search(r"After 60 more seconds: 1,\d{3} delivered, \d+ not delivered\n", ran.stdout)
    assert "Unsupported zone" in ran.stdout
    assert "All 1,200 rows are accounted for." in ran.stdout


def test_a_sender_that_says_that_it_failed_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 1.0)
    monkeypatch.setattr(_race, "_FAULT", Fault.TOO_MANY_REQUESTS)
    monkeypatch.setattr(_race, "Client", partial(Client, retry=Retry(attempts=1)))
    figures = run("demo", "--people", "3", "--json").json
    for sender in ("plain_loop", "smspilot_async"):
        assert (figures[sender]["not_reached"], figures[sender]["believed_not_sent"]) == (3, 3)


def test_a_run_without_faults_lists_none_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 0.0)
    assert "reports 3 sent and 0 unknown," in run("demo", "--people", "3").stdout


def test_the_list_s_figures_add_up() -> None:
    listed = run("demo", "--people", "1", "--json").json["list"]
    bill = listed["bill"]
    assert bill["read"] == 1200
    assert bill["accepted"] + bill["refused"] + bill["unknown"] + bill["not_sent"] == 1200
    assert sum(listed["statuses"].values()) == bill["accepted"]
    assert set(listed["statuses"]) == {"delivered", "not delivered"}
    assert sum(len(each["lines"]) for each in listed["refusals"]) == bill["refused"] + bill["not_sent"]
