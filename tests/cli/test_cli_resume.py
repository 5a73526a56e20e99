"""Going on with a run of ``bulk`` from its ledger: what was sent, or may have been, is never sent again."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import KEY, PHONES, Ran, numbered, run, write_list

from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk import _run, _sending
from smspilot_async.cli.bulk._ledger import without
from smspilot_async.cli.bulk._results import Results, RowOutcome, lines_sent
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import LedgerUnavailable, _deliver, _ledger
from smspilot_async.outbox._deliver import Sender
from smspilot_async.outbox._sender_lock import SenderLock
from smspilot_async.outbox._sqlite import SqliteHotPath

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path("list.csv.results.csv")
LEDGER = Path("list.csv.results.csv.ledger")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class KilledError(BaseException):
    """The end of a process, as far as a test in this one can have it."""


def bulk(*options: str) -> Ran:
    return run("bulk", "list.csv", "--yes", *options)


def results() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes() -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in results()))


def most_times(gateway: Emulator) -> int:
    return max(Counter(message.to for message in gateway.messages).values())


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a run end before it writes down what became of its packets, but for the first ones."""
    record = Sender._record

    def kill_after(packets: int, *options: str) -> None:
        left = packets

        async def dying(sender: Sender, *answer: Any) -> None:
            nonlocal left
            if left == 0:
                raise KilledError
            left -= 1
            await record(sender, *answer)

        with monkeypatch.context() as patch:
            patch.setattr(Sender, "_record", dying)
            with pytest.raises(KilledError):
                bulk(*options)

    return kill_after


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 50, 9000])
def test_a_ledger_that_was_cut_off_is_not_continued(gateway: Emulator, killed: Callable[..., None], left: int) -> None:
    write_list(numbered(300))
    killed(1)
    sent_before, known_before = len(gateway.messages), results()
    for beside in ("-wal", "-shm"):
        Path(f"{LEDGER}{beside}").unlink(missing_ok=True)
    os.truncate(LEDGER, left)
    before = LEDGER.read_bytes()
    for options in ([], ["--resume"]):
        ran = bulk(*options)
        assert ran.exit_code in {2, 4}
        assert ran.stdout == ""
    assert (LEDGER.read_bytes(), results()) == (before, known_before)
    assert len(gateway.messages) == sent_before


def test_a_ledger_that_knows_less_than_the_results_is_not_continued(
    gateway: Emulator, killed: Callable[..., None]
) -> None:
    write_list(numbered(300))
    killed(1, "--in-flight", "1")
    sent_before = len(gateway.messages)
    RESULTS.write_text(f"line,to,outcome\n300,{PHONES[298]},accepted\n", encoding="utf-8")
    ran = bulk("--resume")
    assert ran.exit_code == 2
    assert f"it does not know of 1 row that {RESULTS} reports as sent or unknown (lines 300)" in ran.stderr
    assert len(gateway.messages) == sent_before


def test_a_copy_of_a_ledger_sends_nothing(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(300))
    killed(1, "--in-flight", "1")
    sent_before = len(gateway.messages)
    connection = sqlite3.connect(LEDGER)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    LEDGER.rename("original")  # it stays, or the copy may get its inode
    shutil.copy("original", LEDGER)
    ran = bulk("--resume")
    assert ran.exit_code == 2
    assert "the ledger is not where it was made: inode was" in ran.stderr
    assert len(gateway.messages) == sent_before


def test_results_that_cannot_be_read_are_not_passed_over(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(300))
    killed(1)
    sent_before = len(gateway.messages)
    for spoil in (lambda: RESULTS.write_text(f"line,outcome\n1,{'x' * 140_000}\n", encoding="utf-8"), RESULTS.mkdir):
        RESULTS.unlink()
        spoil()
        ran = bulk("--resume")
        assert ran.exit_code == 2
        assert f"the results {RESULTS} cannot be read: " in ran.stderr
    assert len(gateway.messages) == sent_before


def test_results_that_are_gone_are_made_anew_from_the_ledger(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(300))
    killed(1)
    RESULTS.unlink()
    assert bulk("--resume").exit_code == 3
    assert len(results()) == 300
    assert most_times(gateway) == 1


def test_half_a_row_of_results_says_nothing() -> None:
    RESULTS.write_text(
        "line,to,outcome\n2,7,accepted\n3,7,unknown\n4,7,refused\n5,7,not_sent\n6,7\n\n,,accepted\n7", "utf-8"
    )
    assert lines_sent(str(RESULTS)) == {2, 3}
    assert lines_sent("none.csv") == set()


# --- whose it is ----------------------------------------------------------------------------------


def test_another_list_or_other_options_are_refused(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(300))
    killed(0)
    sent_before = len(gateway.messages)
    for options in (["--from", "SHOP"], ["--template", "{text}!"], ["--keep-duplicates"], ["--test"], ["--tz", "UTC"]):
        ran = bulk("--resume", *options)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert f"{LEDGER} belongs to a run with another {options[0]}: --resume needs" in ran.stderr
    elsewhere = gateway.url.replace("127.0.0.1", "localhost")  # what went to an emulator did not go to the gateway
    assert "a run with another gateway: " in bulk("--resume", "--url", elsewhere).stderr
    with Emulator.serve(api_key=KEY) as other:
        assert "a run with another gateway: " in bulk("--resume", "--url", other.url).stderr
        assert not other.messages
    Path("key").write_text("another", encoding="utf-8")
    assert "a run with another API key: " in bulk("--resume", "--key-file", "key").stderr
    write_list(numbered(301))
    assert "a run with another list: " in bulk("--resume").stderr
    assert "a run with another list and another --from and another gateway: " in (
        bulk("--resume", "--url", elsewhere, "--from", "SHOP").stderr
    )
    assert len(gateway.messages) == sent_before


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--country", "none"], "another --country: "), (["--only", "RU"], "another --only: ")],
)
def test_a_run_for_other_countries_is_another_run(
    gateway: Emulator, killed: Callable[..., None], options: list[str], words: str
) -> None:
    write_list(numbered(3))
    killed(0)
    assert words in bulk("--resume", *options).stderr
    assert len(gateway.messages) == 3


def test_a_ledger_of_something_else_is_left_alone(gateway: Emulator) -> None:
    write_list(numbered(3))
    assert run("outbox", "init", "--ledger", f"sqlite:///{LEDGER}").exit_code == 0
    with sqlite3.connect(LEDGER) as connection:
        connection.execute(
            "INSERT INTO smspilot_message (stream_id, due, wanted_at, phone, text, hash, created_at) "
            "VALUES (1, 0, 0, '79087964781', 'x', x'00', 0)"
        )
    connection.close()
    for options in ([], ["--resume"]):
        ran = bulk(*options)
        assert (ran.exit_code, LEDGER.exists()) == (2, True)
    assert f"{LEDGER} is the ledger of something else" in ran.stderr
    assert not gateway.messages


def test_a_ledger_behind_a_link_is_not_ours(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(3))
    killed(0)
    LEDGER.rename("elsewhere")
    LEDGER.symlink_to("elsewhere")
    ran = bulk("--resume")
    assert ran.exit_code == 2
    assert f"{LEDGER} is a symbolic link" in ran.stderr
    assert len(gateway.messages) == 3


def test_two_runs_do_not_send_one_list(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(300))
    killed(1, "--in-flight", "1")
    sent_before = len(gateway.messages)
    before = RESULTS.read_bytes()
    lock = SenderLock(LEDGER)
    try:
        ran = bulk("--resume")
    finally:
        lock.release()
    assert ran.exit_code == 2
    assert f"another sender works on the ledger {LEDGER}: process {os.getpid()} on " in ran.stderr
    assert len(gateway.messages) == sent_before
    assert RESULTS.read_bytes() == before


# --- disks ----------------------------------------------------------------------------------------


def full_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Leave room for so many claims."""
    claim, left = SqliteHotPath.claim, [after]

    async def limited(hot: SqliteHotPath, request: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise LedgerUnavailable("the ledger cannot be used: database or disk is full.")
        return await claim(hot, request)

    monkeypatch.setattr(SqliteHotPath, "claim", limited)
    monkeypatch.setattr(_sending, "_MOST_AWAY", 0.0)


def test_a_disk_that_is_full_at_once_sends_nothing(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr("smspilot_async.outbox._outbox.make_private", full)
    write_list(numbered(3))
    ran = bulk()
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 2)
    assert f"the ledger {LEDGER} cannot be made: No space left on device. Nothing was sent." in ran.stderr
    assert files() == ["list.csv"]
    assert not gateway.messages


def test_a_disk_that_fills_up_stops_the_sending_and_the_rest_goes_out_later(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(numbered(1000))
    with monkeypatch.context() as patch:
        full_disk(patch, after=6)
        ran = bulk()
    assert ran.exit_code == 4
    assert f"{LEDGER} could not be written, so the run was stopped: the ledger cannot be used" in ran.stderr
    sent = len(gateway.messages)
    assert 100 <= sent < 1000
    assert outcomes() == {"accepted": sent, "not_sent": 1000 - sent}
    assert bulk("--resume").exit_code == 0
    assert Counter(message.to for message in gateway.messages) == Counter(PHONES)


def test_answers_that_find_no_room_in_the_ledger_are_kept_beside_it_for_the_next_run(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise LedgerUnavailable("the ledger cannot be used: database or disk is full.")

    write_list(numbered(1000))
    with monkeypatch.context() as patch:
        patch.setattr(SqliteHotPath, "record", full)
        patch.setattr(_sending, "_MOST_AWAY", 0.0)
        patch.setattr(_deliver, "KEEP_AFTER", 0.0)
        ran = bulk()
    accepted = len(gateway.messages)
    assert ran.exit_code == 3
    assert 100 <= accepted <= 400
    assert outcomes() == {"unknown": accepted, "not_sent": 1000 - accepted}
    assert bulk("--resume").exit_code == 0
    assert outcomes() == {"accepted": 1000}
    assert Counter(message.to for message in gateway.messages) == Counter(PHONES)
    assert files() == ["list.csv", RESULTS.name]


def test_results_that_cannot_be_made_leave_no_ledger(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Results:
        raise Problem("no")

    write_list(numbered(1))
    monkeypatch.setattr(Results, "create", refused)
    assert bulk().exit_code == 2
    assert files() == ["list.csv"]
    assert not gateway.messages


def test_results_that_cannot_be_completed_stay_as_they_were(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, killed: Callable[..., None]
) -> None:
    write_list(numbered(300))
    killed(0)
    before = RESULTS.read_bytes()

    def full(self: Results) -> None:
        self.failure = FULL

    monkeypatch.setattr(Results, "flush", full)
    assert bulk("--resume").exit_code == 3
    assert RESULTS.read_bytes() == before
    assert LEDGER.exists()
    assert not Path(f"{RESULTS}.new").exists()
    assert gateway.messages


def test_results_are_rewritten_whole_or_not_at_all() -> None:
    RESULTS.write_text("old", encoding="utf-8")

    def rewrite(*lines: int) -> None:
        with Results.rewrite(str(RESULTS)) as new:
            for line in lines:
                if line == 0:
                    raise RuntimeError("killed")
                new.settle(line - 2, RowOutcome(line=line, to=PHONES[line], outcome="accepted"))

    with pytest.raises(RuntimeError):
        rewrite(2, 0)
    assert RESULTS.read_text(encoding="utf-8") == "old"
    rewrite(2, 3)
    assert [row["line"] for row in results()] == ["2", "3"]
    assert files() == [RESULTS.name]
    with pytest.raises(Problem, match="cannot be written"):
        Results.rewrite("no/folder/r.csv")


# --- a run, and going on with it --------------------------------------------------------------------


def test_a_run_that_leaves_nothing_open_leaves_no_ledger(gateway: Emulator) -> None:
    gateway.refuse(code=223, to=PHONES[3])
    write_list([*numbered(10), numbered(1)[0], ("abc", "x")])
    assert bulk().exit_code == 1
    assert outcomes() == {"accepted": 9, "refused": 2, "not_sent": 1}
    assert files() == ["list.csv", RESULTS.name]
    ran = bulk("--resume")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "nothing to resume" in ran.stderr
    assert len(gateway.messages) == 9


def test_results_without_their_ledger_say_who_must_not_get_it_again(gateway: Emulator) -> None:
    write_list(numbered(10))
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert bulk().exit_code == 3
    LEDGER.unlink()
    ran = bulk("--resume")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert f"By {RESULTS}, 10 rows of this list were sent before, or may have been." in ran.stderr
    assert "make a list of the rows that are not_sent there" in ran.stderr
    assert len(gateway.messages) == 10


def test_where_only_unknowns_are_left_the_ledger_is_for_clearing_them_up(gateway: Emulator) -> None:
    write_list(numbered(3))
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    ran = bulk()
    assert ran.exit_code == 3
    said = " ".join(ran.stderr.split())
    assert "nothing is left to send" in said
    assert "smspilot outbox reconcile" in said
    assert "sends what was not sent" not in said


def test_what_ended_a_run_is_not_named_by_a_number_that_is_in_no_list(gateway: Emulator) -> None:
    gateway.refuse(code=112, to=PHONES[5])
    write_list(numbered(10))
    ran = bulk()
    assert ran.exit_code == 4
    said = " ".join(ran.stderr.split())
    assert "send of a message: the gateway answered 112" in said
    assert "Top up the balance" in said


def test_a_ledger_is_for_its_owner_alone_and_holds_what_is_unknown(gateway: Emulator) -> None:
    write_list(numbered(10))
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert bulk().exit_code == 3
    assert {path.stat().st_mode & 0o077 for path in Path().glob(f"{LEDGER}*")} == {0}
    ran = bulk("--resume")
    assert ran.exit_code == 3
    assert outcomes() == {"unknown": 10}
    facts = " ".join(ran.stdout.split())
    assert "rows 0 done before 10 more rows, not sent again to be sent 0 messages" in facts
    assert "spent before 12.50 RUB" in facts, "that is what they may have cost"
    assert results()[0]["error"] == "may have been sent (the connection broke before the answer)"
    assert len(gateway.messages) == 10


def test_without_resume_neither_results_nor_ledger_are_touched(gateway: Emulator) -> None:
    write_list(numbered(3))
    for path, words in ((RESULTS, "it may be the results of a run"), (LEDGER, "was sending this list did not finish")):
        path.write_text("precious", encoding="utf-8")
        ran = bulk()
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert words in ran.stderr
        assert "--resume continues it" in ran.stderr
        assert path.read_text(encoding="utf-8") == "precious"
        path.unlink()
    assert not gateway.messages


def test_a_killed_run_is_continued(gateway: Emulator, killed: Callable[..., None]) -> None:
    gateway.account.loop_protection = None
    write_list([*numbered(1000), ("abc", "x"), numbered(1)[0], (PHONES[0], "late")])
    killed(1)
    sent_before = len(gateway.messages)
    ran = bulk("--resume", "--json")
    plan, bill = ran.events[0], ran.events[-1]
    settled_before = plan["settled_before"]
    assert sent_before <= settled_before < 1001
    assert plan["messages"] == 1001 - settled_before
    texts = Counter((message.to, message.text) for message in gateway.messages)
    assert max(texts.values()) == 1
    assert [int(row["line"]) for row in results()] == list(range(2, 1005))
    found = outcomes()
    assert (found["refused"], found["not_sent"]) == (1, 1)
    assert found["accepted"] + found["unknown"] == 1001
    assert bill["unknown"] == found["unknown"] == settled_before - 100
    assert len(texts) == 1001 - settled_before + sent_before
    assert "may have been sent (the run ended before the answer)" in {row["error"] for row in results()}
    by_id = {message.server_id: message.to for message in gateway.messages}
    assert all(by_id[row["server_id"]] == row["to"] for row in results() if row["outcome"] == "accepted")


def test_a_run_killed_before_it_began_to_send_is_begun_anew(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dying(*_: Any, **__: Any) -> None:
        raise KilledError

    write_list(numbered(3))
    for step in ("create", "estimate", "start"):
        with monkeypatch.context() as patch:
            kind = "Campaigns" if step == "create" else "Campaign"
            patch.setattr(f"smspilot_async.outbox.{kind}.{step}", dying)
            with pytest.raises(KilledError):
                bulk(*(["--resume"] if LEDGER.exists() else []))
        assert LEDGER.exists()
    assert not gateway.messages
    assert bulk("--resume").exit_code == 0
    assert len(gateway.messages) == 3


def test_a_dry_run_shows_what_is_left(gateway: Emulator, killed: Callable[..., None]) -> None:
    write_list(numbered(1000))
    killed(1)
    sent_before = len(gateway.messages)
    ran = bulk("--resume", "--dry-run", "--json")
    assert ran.exit_code == 0
    assert ran.json["settled_before"] >= sent_before
    assert ran.json["messages"] == ran.json["rows"] == 1000 - ran.json["settled_before"] > 0
    assert len(gateway.messages) == sent_before


def test_max_cost_counts_earlier_runs_of_the_list_and_what_they_may_have_cost(
    gateway: Emulator, killed: Callable[..., None]
) -> None:
    write_list(numbered(500))
    killed(1, "--in-flight", "1")  # 100 accepted, 100 unknown
    sent_before = len(gateway.messages)
    ran = bulk("--resume", "--max-cost", "624.99")
    assert ran.exit_code == 2
    assert "the price is 375.00 RUB, and with earlier runs of the list 625.00 RUB, more than --max-cost" in ran.stderr
    assert len(gateway.messages) == sent_before
    ran = bulk("--resume", "--max-cost", "625")
    assert ran.exit_code == 3
    assert "spent before  250.00 RUB" in ran.stdout
    assert most_times(gateway) == 1


def test_what_waited_for_days_is_still_sent(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    write_list(numbered(3))
    gateway.fail_next("send", Fault.TOO_MANY_REQUESTS, times=2, retry_after=300)
    assert bulk("--patience", "0").exit_code == 4
    days_later = time.time_ns() // 1000 + 40 * 86_400 * 1_000_000
    monkeypatch.setattr(_ledger, "now_us", lambda: days_later + time.time_ns() // 1000 % 86_400_000_000)
    assert bulk("--resume", "--patience", "0").exit_code == 4
    assert outcomes() == {"not_sent": 3}
    assert bulk("--resume").exit_code == 0
    assert [message.to for message in gateway.messages] == PHONES[:3]


def test_ctrl_c_while_the_list_is_taken_in_sends_nothing_and_resume_begins_anew(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(rows: Any, *lines: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return without(rows, *lines)

    write_list(numbered(1000) * 3)
    with monkeypatch.context() as patch:
        patch.setattr(_run, "without", interrupted)
        ran = bulk("--keep-duplicates")
    assert ran.exit_code == 130
    assert outcomes() == {"not_sent": 3000}
    assert not gateway.messages
    gateway.account.loop_protection = None
    assert bulk("--keep-duplicates", "--resume").exit_code == 0
    assert len(gateway.messages) == 3000
