"""The journal of ``bulk``, and going on with it: what was sent, or may have been, is never sent again."""

from __future__ import annotations

import asyncio
import csv
import errno
import fcntl
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import KEY, PHONES, Ran, numbered, run, write_list

from smspilot_async import Client, Message
from smspilot_async._tools.files import LockedFile, json_line
from smspilot_async.cli._connection import ConnectionOptions
from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk import _journal
from smspilot_async.cli.bulk._bulk import BulkOptions, RecipientList
from smspilot_async.cli.bulk._journal import (
    MAY_HAVE_BEEN_SENT,
    Fingerprint,
    Journal,
    JournalError,
    body_hash,
    digests_of,
)
from smspilot_async.cli.bulk._recipients import Recipient
from smspilot_async.cli.bulk._results import Results, RowOutcome, lines_sent
from smspilot_async.cli.bulk._sending import BulkEngine
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path("list.csv.results.csv")
JOURNAL = Path("list.csv.results.csv.journal")
JOURNAL_NAME = str(JOURNAL)
PARTS = {"list": "a list", "--from": None, "gateway": "https://gateway.test:443/"}
PRINT = Fingerprint(PARTS, former_parts={**PARTS, "gateway": "gateway.test"})
VERSION_2 = json_line(
    {"format": "smspilot_async bulk journal", "version": 2, "fingerprints": digests_of(PRINT.former_parts)}
)
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


def accepted(line: int, **more: Any) -> RowOutcome:
    return RowOutcome(line=line, to=PHONES[line], outcome="accepted", **more)


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
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a run end before it writes down what became of its packets, but for the first ones."""
    real = BulkEngine.results

    def kill_after(packets: int, *options: str) -> None:
        async def dying(engine: BulkEngine, recipients: Any) -> Any:
            left = packets
            async for each in real(engine, recipients):
                if left == 0:
                    raise SystemExit(137)
                left -= 1
                yield each

        with monkeypatch.context() as patch:
            patch.setattr(BulkEngine, "results", dying)
            assert bulk(*options).exit_code == 137

    return kill_after


# --- the journal ----------------------------------------------------------------------------------


async def test_what_is_intended_and_settled_is_known_to_the_next_run() -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2, 3, 4, 7))
        journal.settle(accepted(2, server_id="10", parts=1))
        journal.settle(RowOutcome(line=3, to=PHONES[3], outcome="not_sent", error="refused"))
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
        journal.settle(RowOutcome(line=2, to=PHONES[2], outcome="refused", error=f"no such phone {PHONES[2]}"))
        await journal.flush()
    written = on_disk().decode()
    records = list(map(json.loads, written.splitlines()))
    assert all(re.fullmatch("[0-9a-f]{8}", record.pop("check")) for record in records)
    head, intent, outcome = records
    assert head == {"format": "smspilot_async bulk journal", "version": 3, "fingerprints": digests_of(PARTS)}
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


async def test_half_a_line_promises_nothing() -> None:
    with Journal.create("j", PRINT) as journal:
        await journal.intend(rows(2))
    append(b'{"intent":[[3,')
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3) == {2: "unknown", 3: None}
        await journal.intend(rows(4))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4) == {2: "unknown", 3: None, 4: "unknown"}


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 30, 110])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_without_its_whole_head_is_not_taken_for_a_fresh_one(version: int, length: int) -> None:
    if version == 3:
        Journal.create("j", PRINT).close()
    else:
        append(VERSION_2 if version == 2 else VERSION_1 % PRINT.whole.encode())
    os.truncate("j", length)
    left = on_disk()
    with pytest.raises(Problem, match=r"damaged, or not a journal.*Nothing was sent now\..*results file beside it has"):
        Journal.resume("j", PRINT)
    assert on_disk() == left


def test_an_emptied_journal_is_not_taken_for_a_fresh_one() -> None:
    append(b"")
    with pytest.raises(Problem, match=r"j is empty.*Nothing was sent.*no results either.*remove this file"):
        Journal.resume("j", PRINT)


def put(*lines: bytes) -> None:
    Path("j").write_bytes(b"".join(lines))


@pytest.fixture
def whole() -> list[bytes]:
    with Journal.create("j", PRINT) as journal:
        journal.leave_out([(9, 2)])
        asyncio.run(journal.intend(rows(2, 3)))
        asyncio.run(journal.intend(rows(4, 5)))
        for line in (2, 3, 4):
            journal.settle(accepted(line, server_id=str(line), parts=1))
            asyncio.run(journal.flush())
    return on_disk().splitlines(keepends=True)


@pytest.mark.parametrize("number", range(6))
def test_a_line_that_is_missing_doubled_or_changed_is_noticed(whole: list[bytes], number: int) -> None:
    before, line, after = whole[:number], whole[number], whole[number + 1 :]
    changed = {line.replace(b":1", b":2", 1), line.replace(b"2", b"3", 1), b"\0" * len(line) + b"\n"} - {line}
    without_checksum = re.sub(b',"check":"[^"]*"', b"", line)
    for instead in (b"", line * 2, after[0] + line + after[0], without_checksum, *changed):
        put(*before, instead, *after)
        with pytest.raises(Problem, match="is damaged"):
            Journal.resume("j", PRINT)
        assert on_disk() == b"".join([*before, instead, *after])


@pytest.mark.parametrize("left", range(1, 7))
def test_a_lost_end_is_noticed_where_the_results_know_more(whole: list[bytes], left: int) -> None:
    assert len(whole) == 7
    put(*whole[:left])
    with Journal.resume("j", PRINT) as journal:
        if left < 4:  # the second intent is the fourth line
            with pytest.raises(
                Problem, match=r"it does not contain .* that r\.csv reports as sent or unknown \(lines .*5\)"
            ):
                journal.check([2, 5], "r.csv")
        else:
            journal.check([2, 3, 4, 5], "r.csv")
    assert on_disk() == b"".join(whole[:left])


@pytest.mark.parametrize("left", [0, 200, -1])
def test_a_run_does_not_go_on_with_a_journal_that_was_cut_off(
    gateway: Emulator, killed: Callable[..., None], left: int
) -> None:
    write_list(numbered(300))
    killed(1, "--in-flight", "1")  # results are in the order of the list: they wait for a packet that is slower
    sent_before, known_before = len(gateway.messages), results()
    head = JOURNAL.read_bytes().index(b"\n") + 1
    os.truncate(JOURNAL, head if left < 0 else left)
    before = JOURNAL.read_bytes()
    for options in ([], ["--resume"]):
        ran = bulk(*options)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert "Nothing was sent" in ran.stderr
    assert (JOURNAL.read_bytes(), results()) == (before, known_before)
    assert len(gateway.messages) == sent_before
    if left < 0:
        assert f"it does not contain 100 rows that {RESULTS} reports as sent or unknown (lines 2-101)" in ran.stderr


def test_results_that_cannot_be_read_are_not_passed_over(gateway: Emulator, killed: Callable[[int], None]) -> None:
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


def test_results_that_are_gone_are_made_anew_from_the_journal(gateway: Emulator, killed: Callable[[int], None]) -> None:
    write_list(numbered(300))
    killed(1)
    RESULTS.unlink()
    assert bulk("--resume").exit_code in {0, 3}
    assert len(results()) == 300
    assert max(Counter(message.to for message in gateway.messages).values()) == 1


def test_half_a_row_of_results_says_nothing() -> None:
    RESULTS.write_text(
        "line,to,outcome\n2,7,accepted\n3,7,unknown\n4,7,refused\n5,7,not_sent\n6,7\n\n,,accepted\n7", "utf-8"
    )
    assert lines_sent(str(RESULTS)) == {2, 3}
    assert lines_sent("none.csv") == set()


# --- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"precious", "is damaged, or not a journal"),
        (b"precious\n", "is damaged, or not a journal"),
        (b"[]\n", "is damaged, or not a journal"),
        (b'{"format": "smspilot_async bulk journal", "version": 4}\n', "another version"),
        (b'{"format": "smspilot_async bulk journal", "version": 3}\n', "is damaged, or not a journal"),
        (b'{"format": "smspilot_async bulk journal", "version": 2}\n', "is damaged, or not a journal"),
        (VERSION_2.replace(b'"version":2', b'"version":3'), "is damaged, or not a journal"),
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
        ({"gateway": "https://gateway.test:444/"}, "a run with another gateway: --resume"),
        ({"list": "another", "--from": "SHOP"}, "a run with another list and another --from: --resume"),
    ],
)
def test_what_differs_from_the_journals_run_is_named(others: dict[str, str], words: str) -> None:
    Journal.create("j", PRINT).close()
    with pytest.raises(Problem, match=words):
        Journal.resume("j", Fingerprint({**PARTS, **others}, former_parts=PRINT.former_parts))


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

    def fingerprint(chosen: dict[str, Any]) -> Fingerprint:
        options = BulkOptions(path="list.csv", **chosen)
        return RecipientList.open(options).fingerprint(options, Client("K", url="https://gateway.test"), "mark")

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


def test_a_journal_of_version_2_is_gone_on_with_and_gets_checksums() -> None:
    append(VERSION_2 + b'{"duplicates":[[9,2]]}\n{"intent":[[2,3]],"sha256":"x"}\n')
    append(b'{"line":2,"outcome":"accepted","server_id":"10"}\n{"intent":[[7,')
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4, 9) == {2: "accepted", 3: "unknown", 4: None, 9: "not_sent"}
        asyncio.run(journal.intend(rows(4)))
        journal.settle(accepted(4))
    with Journal.resume("j", PRINT) as journal:
        assert known(journal, 2, 3, 4, 7) == {2: "accepted", 3: "unknown", 4: "accepted", 7: None}
    written = on_disk()
    assert written.count(b'"check":') == 2
    for damaged in (written.replace(b"[[2,3]]", b"[[2,2]]"), written + b'{"intent":[[5,5]],"sha256":"x"}\n'):
        put(damaged)
        with pytest.raises(Problem, match="is damaged"):
            Journal.resume("j", PRINT)


def test_a_journal_of_version_2_with_another_list_is_refused() -> None:
    append(VERSION_2)
    with pytest.raises(Problem, match="a run with another list: "):
        Journal.resume("j", Fingerprint({}, former_parts={**PRINT.former_parts, "list": "another"}))


# Written by smspilot_async 0.4.0, at http://127.0.0.1:<some port>/api2.php.
FINGERPRINTS_OF_0_4_0 = {
    "list": "f29ec6612dd7d39ec63b6525ec4851971683ed4b46603601a700b1973cfec072",
    "--encoding": "d98383a6cb0943d0f3b771d8bf29de73aac12e12bdcea69140c3cdc493f55b30",
    "--template": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
    "--tz": "f2953d2931e36d0c55640f51865f8394ebe52194765d04e521017232558f871c",
    "--from": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
    "--keep-duplicates": "fcbcf165908dd18a9e49f7ff27810176db8e9f63b4352213741664245224f8aa",
    "--test": "7e47703613ad259e660e81488aba8ec37b05324cf7c58583e13517ee17d22d74",
    "gateway": "882704996deded13b0c5e7414012aca0ea4752630120e3bbae05ce26da811b14",
}
RECORDS_OF_0_4_0 = b"""{"duplicates":[[7,2]]}
{"intent":[[2,2]],"sha256":"d792f69486bd59fa95c605723c353790b0846e277315c1c3355ec30ba31404ee"}
{"intent":[[3,3]],"sha256":"6c5e167c743ec888eaba750d0403f53d8a8f5af38543b0a26e07ee47dd655180"}
{"line":2,"outcome":"accepted","server_id":"100000001","packet":"5001","parts":1,"price":"1.25"}
{"intent":[[4,5]],"sha256":"6eee538b3d9b120ace56f341e3fe484a309ec098aa2d64b5173d5ab89a307304"}
{"line":4,"outcome":"refused","packet":"5002","error_code":223,"error":"TEXT is an advertisement"}
{"line":5,"outcome":"not_sent","error":"connection refused. Nothing was sent."}
"""
RESULTS_OF_0_4_0 = f"""line,to,outcome,server_id,packet,parts,price,error_code,error
2,{PHONES[0]},accepted,100000001,5001,1,1.25,,
"""


def test_a_run_of_0_4_0_is_gone_on_with(gateway: Emulator) -> None:
    write_list([*numbered(5), numbered(1)[0]])
    head = {"format": "smspilot_async bulk journal", "version": 2, "fingerprints": FINGERPRINTS_OF_0_4_0}
    JOURNAL.write_bytes(json_line(head) + RECORDS_OF_0_4_0)
    RESULTS.write_text(RESULTS_OF_0_4_0, encoding="utf-8")
    assert bulk("--resume", "--from", "SHOP").exit_code == 2
    assert bulk("--resume").exit_code == 3
    assert [message.to for message in gateway.messages] == PHONES[3:5]
    found = {int(row["line"]): (row["outcome"], row["error"]) for row in results()}
    assert found == {
        2: ("accepted", ""),
        3: ("unknown", MAY_HAVE_BEEN_SENT),
        4: ("refused", "TEXT is an advertisement"),
        5: ("accepted", ""),
        6: ("accepted", ""),
        7: ("not_sent", "duplicate of line 2"),
    }
    assert b'"check":' in JOURNAL.read_bytes()
    assert bulk("--resume").exit_code == 3
    assert len(gateway.messages) == 2


@pytest.mark.parametrize(("code", "error"), [(112, "No money"), (105, "APIKEY is blocked"), (110, "System error")])
def test_what_0_4_0_called_refused_for_no_fault_of_its_own_is_sent(gateway: Emulator, code: int, error: str) -> None:
    write_list([*numbered(5), numbered(1)[0]])
    head = {"format": "smspilot_async bulk journal", "version": 2, "fingerprints": FINGERPRINTS_OF_0_4_0}
    intent = b'{"intent":[[2,6]],"sha256":"d792f69486bd59fa95c605723c353790b0846e277315c1c3355ec30ba31404ee"}\n'
    refused = [{"line": line, "outcome": "refused", "error_code": code, "error": error} for line in (2, 3, 4, 5)]
    accepted = {"line": 6, "outcome": "accepted", "server_id": "1"}
    JOURNAL.write_bytes(json_line(head) + intent + b"".join(map(json_line, [*refused, accepted])))
    assert bulk("--resume").exit_code == 0
    assert [message.to for message in gateway.messages] == PHONES[:4]
    assert outcomes() == {"accepted": 5, "not_sent": 1}


def test_the_fingerprint_of_version_1_is_still_the_same() -> None:
    write_list([("79087964781", "Hello")])
    options = BulkOptions(path="list.csv", template="Hi", sender="SHOP", keep_duplicates=True, test=True)
    found = RecipientList.open(options).fingerprint(options, Client("K", url="https://gateway.test"), "mark")
    assert found.whole == "0d722834759116f8f70663f3818355a34af0dc0a97fcb5698613154d8b34890c"


def test_a_run_belongs_to_its_gateway_s_whole_address_and_to_its_key() -> None:
    write_list([("79087964781", "Hello")])
    options = BulkOptions(path="list.csv")
    recipients = RecipientList.open(options)

    def parts(url: str, key: str = "K3Y") -> Any:
        Path("key.txt").write_text(key, encoding="utf-8")
        connection = ConnectionOptions(key_file="key.txt", url=url)
        return recipients.fingerprint(options, connection.client(), connection.account_mark).parts

    first = parts("https://gateway.test/api2.php")
    assert first["gateway"] == "https://gateway.test:443/api2.php"
    for same in ("https://GATEWAY.test:443/api2.php", "https://gateway.test/api2.php?debug=1"):
        assert parts(same) == first
    for other in ("https://gateway.test:444/api2.php", "https://gateway.test/", "https://other.test/api2.php"):
        assert parts(other)["gateway"] != first["gateway"]
    other_key = parts("https://gateway.test/api2.php", "0ther")
    assert other_key == {**first, "API key": other_key["API key"]} != first
    assert "K3Y" not in str(first)


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
        with pytest.raises(Problem, match="cannot be created: File exists"):
            Journal.create("j", PRINT)
    with Journal.resume("j", PRINT) as journal:
        journal.remove()
    with pytest.raises(Problem, match="there is nothing to resume: there is no journal j"):
        Journal.resume("j", PRINT)


def test_a_journal_behind_a_link_is_not_ours() -> None:
    Journal.create("real", PRINT).close()
    Path("j").symlink_to("real")
    with pytest.raises(Problem, match="j cannot be opened"):
        Journal.resume("j", PRINT)


def test_a_journal_that_its_run_removes_meanwhile_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = LockedFile.try_lock
    Journal.create("j", PRINT).close()

    def late(file: LockedFile) -> bool:
        Path("j").unlink()
        return lock(file)

    monkeypatch.setattr(LockedFile, "try_lock", late)
    with pytest.raises(Problem, match="in use"):
        Journal.resume("j", PRINT)


@pytest.mark.parametrize("path", ["no/folder/j", "nul\0j", "."])
def test_a_place_that_cannot_be_written_to_is_refused(path: str) -> None:
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
        journal.settle(RowOutcome(line=3, to=PHONES[3], outcome="not_sent"))  # nothing says that it was about to leave
        await journal.flush()
        assert [outcome.line for outcome in journal.unwritten] == [2]
    assert on_disk().count(b"\n") == 2
    assert on_disk().endswith(b"\n")


async def test_an_intent_that_cannot_be_synced_keeps_its_packet_here(monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert "cannot be written: No space left on device. Nothing was sent." in ran.stderr
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
    assert f"{JOURNAL} could not be written (No space left on device), so the run was stopped." in ran.stderr
    assert 0 < len(gateway.messages) < 1000
    assert len(results()) == 1000
    is_warned = "will report them as unknown" in ran.stderr
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
def test_what_the_journal_cannot_pass_to_the_next_run_is_said(
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
    [line] = [line for line in ran.stderr.splitlines() if "--resume will report them as unknown" in line]
    told = re.match(r"The outcome of (\d+) rows is not in the journal \(lines 2-", line)
    assert told is not None
    missing = int(told[1])
    assert 100 <= accepted_before <= missing < 1000  # a packet may have been stopped after its intent was written
    kept = f"{RESULTS} and the lines above" if are_results_full else str(RESULTS)
    assert f"free disk space, and keep a copy of {kept}: " in line
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
    assert results()[0]["error"] == "may have been sent (the connection broke before the answer)"
    assert len(gateway.messages) == 10


def test_without_resume_neither_results_nor_journal_are_touched(gateway: Emulator) -> None:
    write_list(numbered(3))
    for path, words in ((RESULTS, "it may be the results of a run"), (JOURNAL, "was sending this list did not finish")):
        path.write_text("precious", encoding="utf-8")
        ran = bulk()
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert words in ran.stderr
        assert "--resume continues it" in ran.stderr
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


def test_results_that_cannot_be_completed_stay_as_they_were(
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
        assert outcome == RowOutcome(line=5, to=PHONES[5], outcome="not_sent", error="duplicate of line 2")
        assert journal.settled == 0


def test_results_that_cannot_be_made_leave_no_journal(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(Problem, match="cannot be written"):
        Results.rewrite("no/folder/r.csv")


def test_a_journal_that_another_run_locked_first_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_: int, __: int) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", taken)
    with pytest.raises(Problem, match="in use"):
        Journal.create("j", PRINT)
    assert on_disk()  # removed, it would be missing after a kill of the run that holds it
