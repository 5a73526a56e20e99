"""The journal of ``bulk``, and going on with it: what was sent, or may have been, is never sent again."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import PHONES, Ran, numbered, run, write_list

from smspilot_async import Message
from smspilot_async.cli import _journal
from smspilot_async.cli._bulk import Order, RecipientList
from smspilot_async.cli._journal import Fingerprint, Journal, JournalError, body_hash
from smspilot_async.cli._problems import Problem
from smspilot_async.cli._recipients import Recipient
from smspilot_async.cli._results import Outcome, Results
from smspilot_async.cli._sending import BulkEngine
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async.emulator import Emulator

RESULTS = Path("list.csv.results.csv")
JOURNAL = Path("list.csv.results.csv.journal")
JOURNAL_NAME = str(JOURNAL)
PRINT = Fingerprint({"list": "a list", "--from": None})
VERSION_1 = b'{"format":"smspilot_async bulk journal","version":1,"fingerprint":"%b"}\n'


def bulk(*options: str) -> Ran:
    return run("bulk", "list.csv", "--yes", *options)


def results() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes() -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in results()))


def rows(*lines: int) -> list[Recipient]:
    return [Recipient(line - 2, line, PHONES[line], Message(PHONES[line], f"text {line}")) for line in lines]


def accepted(line: int, **more: Any) -> Outcome:
    return Outcome(line=line, to=PHONES[line], outcome="accepted", **more)


def known(journal: Journal, *lines: int) -> dict[int, str | None]:
    found = {row.line: journal.outcome_of(row) for row in rows(*lines)}
    return {line: None if outcome is None else outcome.outcome for line, outcome in found.items()}


def on_disk() -> bytes:
    return Path("j").read_bytes()


def mode() -> int:
    return Path("j").stat().st_mode


def append(data: bytes) -> None:
    with Path("j").open("ab") as file:
        file.write(data)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a run end before it writes down what became of its packets, but for the first ones."""
    real = BulkEngine.results

    def kill_after(packets: int) -> None:
        async def dying(engine: BulkEngine, recipients: Any) -> Any:
            left = packets
            async for each in real(engine, recipients):
                if left == 0:
                    raise SystemExit(137)
                left -= 1
                yield each

        with monkeypatch.context() as patch:
            patch.setattr(BulkEngine, "results", dying)
            assert bulk().exit_code == 137

    return kill_after


# --- the journal ----------------------------------------------------------------------------------


async def test_what_is_intended_and_settled_is_known_to_the_next_run() -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2, 3, 4, 7))
        journal.settle(accepted(2, server_id="10", parts=1))
        journal.settle(Outcome(line=3, to=PHONES[3], outcome="not_sent", error="refused"))
        journal.settle(accepted(9))  # nothing was intended for it
        await journal.flush()
        await journal.flush()
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4, 7, 9) == {2: "accepted", 3: None, 4: "unknown", 7: "unknown", 9: None}
        assert journal.settled == 3
        assert journal.outcome_of(rows(2)[0]) == accepted(2, server_id="10", parts=1)
        await journal.intend(rows(3))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3) == {2: "accepted", 3: "unknown"}


async def test_it_is_json_lines_without_phones_and_texts() -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2, 3, 5))
        journal.settle(Outcome(line=2, to=PHONES[2], outcome="refused", error=f"no such phone {PHONES[2]}"))
        await journal.flush()
    written = on_disk().decode()
    head, intent, outcome = map(json.loads, written.splitlines())
    assert head == {"format": "smspilot_async bulk journal", "version": 2, "fingerprints": dict(PRINT.digests)}
    assert "a list" not in written
    assert intent == {"intent": [[2, 3], [5, 5]], "sha256": body_hash([row.message for row in rows(2, 3, 5)])}
    assert outcome == {"line": 2, "outcome": "refused", "error": "no such phone …"}
    assert "790879" not in written
    assert "text " not in written
    assert mode() & 0o077 == 0


def test_the_digest_depends_on_every_field() -> None:
    messages = [
        Message(PHONES[0], "x"),
        Message(PHONES[1], "x"),
        Message(PHONES[0], "y"),
        Message(PHONES[0], "x", sender="SHOP"),
        Message(PHONES[0], "x", ttl=5),
    ]
    assert len({body_hash([message]) for message in messages}) == 5
    assert body_hash(messages) != body_hash(reversed(messages))


async def test_an_intent_is_on_the_disk_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(_journal, "_sync", lambda _: synced.append(on_disk().count(b"intent")))
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2))
        await journal.intend(rows(3))
    assert synced == [1, 2]


async def test_half_a_line_was_promised_to_nobody() -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2))
    append(b'{"intent":[[3,')
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3) == {2: "unknown", 3: None}
        await journal.intend(rows(4))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4) == {2: "unknown", 3: None, 4: "unknown"}


@pytest.mark.parametrize("length", [0, 1, 30, 110])
@pytest.mark.parametrize("version", [1, 2])
async def test_a_run_killed_before_its_journal_had_a_head_had_sent_nothing(version: int, length: int) -> None:
    if version == 1:
        append(VERSION_1 % PRINT.whole.encode())
    else:
        Journal.create("j", PRINT).close()
    os.truncate("j", length)
    with Journal.resume("j", PRINT) as journal:
        assert journal.settled == 0
        await journal.intend(rows(2))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2) == {2: "unknown"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"precious", "is damaged, or no journal"),
        (b"precious\n", "is damaged, or no journal"),
        (b"[]\n", "is damaged, or no journal"),
        (b'{"format": "smspilot_async bulk journal", "version": 3}\n', "another version"),
        (b'{"format": "smspilot_async bulk journal", "version": 2}\n', "is damaged, or no journal"),
        (VERSION_1 % b"x", "belongs to another list, to other options, or to another gateway"),
    ],
)
def test_what_is_no_journal_of_this_list_is_refused_and_left_as_it_is(content: bytes, words: str) -> None:
    Path("j").write_bytes(content)
    with pytest.raises(Problem, match=words):
        Journal.resume("j", PRINT)
    assert Path("j").read_bytes() == content


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"list": "another"}, "a run with another list: --resume"),
        ({"--from": "SHOP"}, "a run with another --from: --resume"),
        ({"list": "another", "--from": "SHOP"}, "a run with another list and another --from: --resume"),
    ],
)
def test_what_differs_from_the_journals_run_is_named(others: dict[str, str], words: str) -> None:
    Journal.create("j", PRINT).close()
    with pytest.raises(Problem, match=words):
        Journal.resume("j", Fingerprint({**PRINT.parts, **others}))


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({"country": "RU"}, {}, "a run with another --country: --resume"),
        ({}, {"country": "RU"}, "a run with another --country: --resume"),
        ({"only": "RU"}, {}, "a run with another --only: --resume"),
        ({"country": "RU", "only": "RU"}, {"country": "RU"}, "a run with another --only: --resume"),
    ],
)
def test_a_run_for_other_countries_is_another_run(first: dict[str, Any], then: dict[str, Any], words: str) -> None:
    write_list([("79087964781", "Hello")])

    def fingerprint(options: dict[str, Any]) -> Fingerprint:
        order = Order(path="list.csv", **options)
        return RecipientList.open(order).fingerprint(order, "gateway.test")

    Journal.create("j", fingerprint(first)).close()
    with pytest.raises(Problem, match=words):
        Journal.resume("j", fingerprint(then))
    Journal.resume("j", fingerprint(first)).close()


async def test_a_journal_of_version_1_is_gone_on_with() -> None:
    append(VERSION_1 % PRINT.whole.encode() + b'{"intent":[[2,3]],"sha256":"x"}\n')
    append(b'{"line":2,"outcome":"accepted","server_id":"10"}\n')
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4) == {2: "accepted", 3: "unknown", 4: None}
        await journal.intend(rows(4))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4) == {2: "accepted", 3: "unknown", 4: "unknown"}


def test_the_fingerprint_of_version_1_is_still_the_same() -> None:
    write_list([("79087964781", "Hello")])
    order = Order(path="list.csv", template="Hi", sender="SHOP", keep_duplicates=True, test=True)
    found = RecipientList.open(order).fingerprint(order, "gateway.test")
    assert found.whole == "0d722834759116f8f70663f3818355a34af0dc0a97fcb5698613154d8b34890c"


@pytest.mark.parametrize(
    "record", [b"{}", b"[]", b"1", b"x", b'{"line": "2", "outcome": "accepted"}', b'{"intent": 1}']
)
def test_a_journal_damaged_in_the_middle_is_refused(record: bytes) -> None:
    Journal.create("j", PRINT).close()
    append(record + b"\n")
    with pytest.raises(Problem, match="is damaged"):
        Journal.resume("j", PRINT)


def test_two_runs_do_not_share_a_journal() -> None:
    with Journal.create("j", PRINT):
        with pytest.raises(Problem, match="j is in use: another run is sending this list"):
            Journal.resume("j", PRINT)
        with pytest.raises(Problem, match="can not be made: File exists"):
            Journal.create("j", PRINT)
    with Journal.resume("j", PRINT) as journal:
        journal.remove()
    with pytest.raises(Problem, match="there is nothing to resume: no journal j"):
        Journal.resume("j", PRINT)


def test_a_journal_behind_a_link_is_not_ours() -> None:
    Journal.create("real", PRINT).close()
    Path("j").symlink_to("real")
    with pytest.raises(Problem, match="j can not be opened"):
        Journal.resume("j", PRINT)


def test_a_journal_that_its_run_removes_meanwhile_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = _journal._lock
    Journal.create("j", PRINT).close()

    def late(descriptor: int) -> None:
        Path("j").unlink()
        lock(descriptor)

    monkeypatch.setattr(_journal, "_lock", late)
    with pytest.raises(Problem, match="in use"):
        Journal.resume("j", PRINT)


@pytest.mark.parametrize("path", ["no/folder/j", "nul\0j", "."])
def test_a_place_that_can_not_be_written_to_is_refused(path: str) -> None:
    with pytest.raises(Problem, match="Nothing was sent"):
        Journal.create(path, PRINT)
    with pytest.raises(Problem, match="Nothing was sent"):
        Journal.resume(path, PRINT)


def full_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Leave room for so many more writes to journals, then for half of one."""
    write, left = os.write, [after]

    def limited(descriptor: int, data: bytes) -> int:
        if left[0] > 0:
            left[0] -= 1
            return write(descriptor, data)
        if left[0] == 0:
            left[0] -= 1
            return write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", limited)


async def test_a_full_disk_leaves_no_half_line_and_no_packet_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2))
        with monkeypatch.context() as patch:
            full_disk(patch, after=0)
            with pytest.raises(JournalError):
                await journal.intend(rows(3))
        assert journal.failure is not None
        with pytest.raises(JournalError):  # once it has failed, it stays so
            await journal.intend(rows(4))
        journal.settle(accepted(2))
        journal.settle(Outcome(line=3, to=PHONES[3], outcome="not_sent"))  # nothing says that it was about to leave
        await journal.flush()
        assert [outcome.line for outcome in journal.unwritten] == [2]
    assert on_disk().count(b"\n") == 2
    assert on_disk().endswith(b"\n")


async def test_an_intent_that_can_not_be_synced_keeps_its_packet_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_journal, "_sync", broken)
    with Journal.create("j", PRINT) as journal, pytest.raises(JournalError):
        await journal.intend(rows(2))
    with pytest.raises(JournalError):  # closed
        await journal.intend(rows(3))


def test_a_disk_that_is_full_at_once_sends_nothing(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for after in (0, 1):
        full_disk(monkeypatch, after=after)
        write_list(numbered(3))
        ran = bulk()
        assert (ran.exit_code, ran.stderr.count("\n")) == (2, 2)
        assert "can not be written: No space left on device. Nothing was sent." in ran.stderr
        assert not JOURNAL.exists()
        assert not RESULTS.exists()
    assert not gateway.messages


def test_a_disk_that_fills_up_stops_the_sending_and_the_rest_goes_out_later(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(numbered(1000))
    with monkeypatch.context() as patch:
        full_disk(patch, after=6)
        ran = bulk()
    assert ran.exit_code == 4
    assert f"{JOURNAL} could not be written (No space left on device), so the sending was stopped." in ran.stderr
    assert 0 < len(gateway.messages) < 1000
    assert len(results()) == 1000
    is_warned = "will call them unknown" in ran.stderr
    assert bulk("--resume").exit_code == (3 if is_warned else 0)
    times = Counter(message.to for message in gateway.messages)
    unknown = {row["to"] for row in results() if row["outcome"] == "unknown"}
    assert max(times.values()) == 1
    assert set(PHONES) == set(times) | unknown


def outcomes_find_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def limited(descriptor: int, data: bytes) -> int:
        if data.startswith(b'{"line":'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)


@pytest.mark.parametrize("are_results_full", [False, True])
def test_what_the_journal_can_not_tell_the_next_run_is_said(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, *, are_results_full: bool
) -> None:
    def full(self: Results) -> None:
        self.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_list(numbered(1000))
    with monkeypatch.context() as patch:
        outcomes_find_no_room(patch)
        if are_results_full:
            patch.setattr(Results, "flush", full)
        ran = bulk()
    accepted_before = len(gateway.messages)
    [line] = [line for line in ran.stderr.splitlines() if "--resume will call them unknown" in line]
    told = re.match(r"What became of (\d+) rows is not in the journal \(lines 2-", line)
    assert told is not None
    missing = int(told[1])
    assert 100 <= accepted_before <= missing < 1000  # a packet may have been stopped after its intent was written
    kept = f"{RESULTS} and the lines above" if are_results_full else str(RESULTS)
    assert f"make room on the disk, and keep a copy of {kept}: " in line
    assert bulk("--resume").exit_code == 3
    assert outcomes() == {"unknown": missing, "accepted": 1000 - missing}
    assert len(gateway.messages) == accepted_before + 1000 - missing


# --- a run, and going on with it --------------------------------------------------------------------


def test_a_run_that_leaves_nothing_open_leaves_no_journal(gateway: Emulator) -> None:
    gateway.refuse(code=223, to=PHONES[3])
    write_list([*numbered(10), numbered(1)[0], ("abc", "x")])
    assert bulk().exit_code == 1
    assert outcomes() == {"accepted": 9, "refused": 2, "not_sent": 1}
    assert not JOURNAL.exists()
    ran = bulk("--resume")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "nothing to resume" in ran.stderr
    assert len(gateway.messages) == 9


def test_what_is_unknown_keeps_the_journal_and_is_never_sent_again(gateway: Emulator) -> None:
    write_list(numbered(10))
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert bulk().exit_code == 3
    assert JOURNAL.exists()
    ran = bulk("--resume")
    assert ran.exit_code == 3
    assert outcomes() == {"unknown": 10}
    assert "rows         0" in ran.stdout
    assert "sent before  10 more rows, not again" in ran.stdout
    assert results()[0]["error"] == "may have been sent (disconnected)"
    assert len(gateway.messages) == 10


def test_without_resume_neither_results_nor_journal_are_touched(gateway: Emulator) -> None:
    write_list(numbered(3))
    for path, words in ((RESULTS, "it may be the results of a run"), (JOURNAL, "was sending this list did not end")):
        path.write_text("precious", encoding="utf-8")
        ran = bulk()
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert words in ran.stderr
        assert "--resume goes on with it" in ran.stderr
        assert path.read_text(encoding="utf-8") == "precious"
        path.unlink()
    assert not gateway.messages


def test_a_killed_run_is_gone_on_with(gateway: Emulator, killed: Callable[[int], None]) -> None:
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


def test_another_list_or_other_options_are_refused(gateway: Emulator, killed: Callable[[int], None]) -> None:
    write_list(numbered(300))
    killed(0)
    sent_before = len(gateway.messages)
    for options in (["--from", "SHOP"], ["--template", "{text}!"], ["--keep-duplicates"], ["--test"], ["--tz", "UTC"]):
        ran = bulk("--resume", *options)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert f"{JOURNAL} belongs to a run with another {options[0]}: --resume needs" in ran.stderr
    elsewhere = gateway.url.replace("127.0.0.1", "localhost")  # what went to an emulator did not go to the gateway
    assert "a run with another gateway: " in bulk("--resume", "--url", elsewhere).stderr
    write_list(numbered(301))
    assert "a run with another list: " in bulk("--resume").stderr
    assert "a run with another list and another --from and another gateway: " in (
        bulk("--resume", "--url", elsewhere, "--from", "SHOP").stderr
    )
    assert len(gateway.messages) == sent_before


def test_a_dry_run_shows_what_is_left(gateway: Emulator, killed: Callable[[int], None]) -> None:
    write_list(numbered(1000))
    killed(1)
    sent_before = len(gateway.messages)
    before = JOURNAL.read_bytes()
    ran = bulk("--resume", "--dry-run", "--json")
    assert ran.exit_code == 0
    assert ran.json["settled_before"] >= sent_before
    assert ran.json["messages"] == ran.json["rows"] == 1000 - ran.json["settled_before"] > 0
    assert JOURNAL.read_bytes() == before
    assert len(gateway.messages) == sent_before


def test_results_that_can_not_be_completed_stay_as_they_were(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, killed: Callable[[int], None]
) -> None:
    write_list(numbered(300))
    killed(0)
    before = RESULTS.read_bytes()

    def full(self: Results) -> None:
        self.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Results, "flush", full)
    assert bulk("--resume").exit_code == 3
    assert RESULTS.read_bytes() == before
    assert JOURNAL.exists()
    assert not Path(f"{RESULTS}.new").exists()
    assert gateway.messages


def test_a_repeat_stays_unsent_when_the_first_of_them_has_become_invalid() -> None:
    with Journal.create("j", PRINT) as journal:
        journal.leave_out([(5, 2)])
    with Journal.resume("j", PRINT) as journal:
        outcome = journal.outcome_of(rows(5)[0])
        assert outcome == Outcome(line=5, to=PHONES[5], outcome="not_sent", error="duplicate of line 2")
        assert journal.settled == 0


def test_results_that_can_not_be_made_leave_no_journal(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Results:
        raise Problem("no")

    write_list(numbered(1))
    monkeypatch.setattr(Results, "create", refused)
    assert bulk().exit_code == 2
    assert not JOURNAL.exists()
    assert not gateway.messages


def test_results_are_rewritten_whole_or_not_at_all() -> None:
    RESULTS.write_text("old", encoding="utf-8")

    def rewrite(*lines: int) -> None:
        with Results.rewrite(str(RESULTS)) as new:
            for line in lines:
                if line == 0:
                    raise RuntimeError("killed")
                new.settle(line - 2, accepted(line))

    with pytest.raises(RuntimeError):
        rewrite(2, 0)
    assert RESULTS.read_text(encoding="utf-8") == "old"
    rewrite(2, 3)
    assert [row["line"] for row in results()] == ["2", "3"]
    assert sorted(path.name for path in Path().iterdir()) == [RESULTS.name]
    with pytest.raises(Problem, match="can not be written"):
        Results.rewrite("no/folder/r.csv")


def test_a_journal_that_another_run_locked_first_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_: int) -> None:
        raise BlockingIOError

    monkeypatch.setattr(_journal, "_lock", taken)
    with pytest.raises(Problem, match="in use"):
        Journal.create("j", PRINT)
    assert on_disk() == b""  # removed, it would be missing after a kill of the run that holds it
