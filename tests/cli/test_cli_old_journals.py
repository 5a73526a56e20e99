"""Journals of ``bulk`` that versions up to 0.6 have left: whoever they call sent, or unknown, is not sent again."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import PHONES, Ran, numbered, run, write_list
from old_journals import digest, digests_of, intent, outcome, write_journal

from smspilot_async import Client, Message
from smspilot_async._tools.files import LockedFile, json_line
from smspilot_async.cli._connection import ConnectionOptions
from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk._ledger import Fingerprint
from smspilot_async.cli.bulk._list import BulkOptions, RecipientList
from smspilot_async.cli.bulk._old_journal import OldJournal
from smspilot_async.cli.bulk._recipients import Recipient
from smspilot_async.cli.bulk._results import MAY_HAVE_BEEN_SENT

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

RESULTS = Path("list.csv.results.csv")
JOURNAL = Path("list.csv.results.csv.journal")
LEDGER = Path("list.csv.results.csv.ledger")
PARTS = {"list": "a list", "--from": None, "gateway": "https://gateway.test:443/"}
PRINT = Fingerprint(PARTS, former_parts={**PARTS, "gateway": "gateway.test"})
VERSION_2 = json_line(
    {"format": "smspilot_async bulk journal", "version": 2, "fingerprints": digests_of(PRINT.former_parts)}
)
VERSION_1 = b'{"format":"smspilot_async bulk journal","version":1,"fingerprint":"%b"}\n'
WHOLE = digest([*PRINT.former_parts.values()])


def bulk(*options: str) -> Ran:
    return run("bulk", "list.csv", "--yes", *options)


def results() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes() -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in results()))


def row(line: int) -> Recipient:
    return Recipient(line - 2, line, PHONES[line], Message(PHONES[line], f"text {line}"))


def known(journal: OldJournal, *lines: int) -> dict[int, str | None]:
    found = {line: journal.outcome_of(row(line)) for line in lines}
    return {line: None if outcome is None else outcome.outcome for line, outcome in found.items()}


def read() -> OldJournal:
    return OldJournal.read("j", PRINT)


def on_disk() -> bytes:
    return Path("j").read_bytes()


def append(data: bytes) -> None:
    with Path("j").open("ab") as file:
        file.write(data)


def put(*lines: bytes) -> None:
    Path("j").write_bytes(b"".join(lines))


def test_what_was_intended_and_settled_is_known() -> None:
    write_journal(
        "j", PRINT, intent(2, 3, 4, 7), outcome(2, price="1.25"), outcome(3, "not_sent"), outcome(7, "unknown")
    )
    with read() as journal:
        assert known(journal, 2, 3, 4, 7, 9) == {2: "accepted", 3: None, 4: "unknown", 7: "unknown", 9: None}
        earlier = journal.earlier()
    assert (earlier.settled, earlier.unknown, earlier.repeats) == ({2, 4, 7}, {4, 7}, set())
    assert str(earlier.spent) == "1.25"


def test_half_a_line_promises_nothing() -> None:
    write_journal("j", PRINT, intent(2))
    append(b'{"intent":[[3,')
    with read() as journal:
        assert known(journal, 2, 3) == {2: "unknown", 3: None}


def test_repeats_stay_unsent() -> None:
    write_journal("j", PRINT, {"duplicates": [[5, 2]]})
    with read() as journal:
        assert known(journal, 5) == {5: "not_sent"}
        assert (journal.earlier().settled, journal.earlier().repeats) == (set(), {5})


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 30, 110])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_without_its_whole_head_is_not_taken_for_a_fresh_one(version: int, length: int) -> None:
    if version == 3:
        write_journal("j", PRINT)
    else:
        append(VERSION_2 if version == 2 else VERSION_1 % WHOLE.encode())
    os.truncate("j", length)
    left = on_disk()
    with pytest.raises(Problem, match=r"damaged, or not a journal.*Nothing was sent now\..*results file beside it has"):
        read()
    assert on_disk() == left


def test_an_emptied_journal_is_not_taken_for_a_fresh_one() -> None:
    append(b"")
    with pytest.raises(Problem, match=r"j is empty.*Nothing was sent.*no results either.*remove this file"):
        read()


@pytest.fixture
def whole() -> list[bytes]:
    more: dict[str, Any] = {"server_id": "1", "parts": 1}
    settled = [outcome(line, **more) for line in (2, 3, 4)]
    return write_journal("j", PRINT, {"duplicates": [[9, 2]]}, intent(2, 3), intent(4, 5), *settled)


@pytest.mark.parametrize("number", range(6))
def test_a_line_that_is_missing_doubled_or_changed_is_noticed(whole: list[bytes], number: int) -> None:
    before, line, after = whole[:number], whole[number], whole[number + 1 :]
    changed = {line.replace(b":1", b":2", 1), line.replace(b"2", b"3", 1), b"\0" * len(line) + b"\n"} - {line}
    without_checksum = re.sub(b',"check":"[^"]*"', b"", line)
    for instead in (b"", line * 2, after[0] + line + after[0], without_checksum, *changed):
        put(*before, instead, *after)
        with pytest.raises(Problem, match="is damaged"):
            read()
        assert on_disk() == b"".join([*before, instead, *after])


def test_a_lost_end_is_noticed_where_the_results_know_more(gateway: Emulator) -> None:
    write_list(numbered(3))
    write_journal(str(JOURNAL), _fingerprint(), intent(2, 3))
    RESULTS.write_text("line,to,outcome\n2,7,accepted\n3,7,unknown\n4,7,accepted\n", encoding="utf-8")
    ran = bulk("--resume")
    assert ran.exit_code == 2
    assert f"does not know of 1 row that {RESULTS} reports as sent or unknown (lines 4)" in ran.stderr
    assert not gateway.messages


def _fingerprint(**options: Any) -> Fingerprint:
    chosen, connection = BulkOptions(path="list.csv", country="RU", **options), ConnectionOptions()
    return RecipientList.open(chosen).fingerprint(chosen, connection.client(), connection.account_mark)


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
        read()
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
    write_journal("j", PRINT)
    with pytest.raises(Problem, match=words):
        OldJournal.read("j", Fingerprint({**PARTS, **others}, former_parts=PRINT.former_parts))


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

    write_journal("j", fingerprint(first))
    with pytest.raises(Problem, match=words):
        OldJournal.read("j", fingerprint(then))
    OldJournal.read("j", fingerprint(first)).close()


def test_a_journal_of_version_1_is_read() -> None:
    append(VERSION_1 % WHOLE.encode() + b'{"intent":[[2,3]],"sha256":"x"}\n')
    append(b'{"line":2,"outcome":"accepted","server_id":"10"}\n')
    with read() as journal:
        assert known(journal, 2, 3, 4) == {2: "accepted", 3: "unknown", 4: None}


def test_a_journal_of_version_2_is_read() -> None:
    append(VERSION_2 + b'{"duplicates":[[9,2]]}\n{"intent":[[2,3]],"sha256":"x"}\n')
    append(b'{"line":2,"outcome":"accepted","server_id":"10"}\n{"intent":[[7,')
    with read() as journal:
        assert known(journal, 2, 3, 4, 9) == {2: "accepted", 3: "unknown", 4: None, 9: "not_sent"}


def test_a_journal_of_version_2_with_another_list_is_refused() -> None:
    append(VERSION_2)
    with pytest.raises(Problem, match="a run with another list: "):
        OldJournal.read("j", Fingerprint({}, former_parts={**PRINT.former_parts, "list": "another"}))


def test_a_journal_of_version_3_is_continued_once_by_a_ledger(gateway: Emulator) -> None:
    write_list([*numbered(6), numbered(1)[0]])
    records = [{"duplicates": [[8, 2]]}, intent(2, 3, 4), outcome(2, price="1.25"), outcome(4, "not_sent")]
    write_journal(str(JOURNAL), _fingerprint(), *records)
    before = JOURNAL.read_bytes()
    ran = bulk("--resume", "--max-cost", "7.49")
    assert ran.exit_code == 2
    assert "the price is 5.00 RUB, and with earlier runs of the list 7.50 RUB, more than --max-cost 7.49" in ran.stderr
    ran = bulk("--resume", "--max-cost", "7.50", "--json")
    assert ran.exit_code == 3
    assert (ran.events[0]["settled_before"], ran.events[0]["messages"]) == (2, 4)
    assert [message.to for message in gateway.messages] == PHONES[2:6]
    found = [row["outcome"] for row in results()]
    assert found == ["accepted", "unknown", "accepted", "accepted", "accepted", "accepted", "not_sent"]
    assert JOURNAL.read_bytes() == before
    assert bulk("--resume").exit_code == 3
    assert len(gateway.messages) == 4


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
    assert (JOURNAL.exists(), LEDGER.exists()) == (True, True)
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
    assert (JOURNAL.exists(), LEDGER.exists()) == (False, False)


def test_the_fingerprint_of_version_1_is_still_the_same() -> None:
    write_list([("79087964781", "Hello")])
    options = BulkOptions(path="list.csv", template="Hi", sender="SHOP", keep_duplicates=True, test=True)
    found = RecipientList.open(options).fingerprint(options, Client("K", url="https://gateway.test"), "mark")
    whole = digest([*found.former_parts.values()])
    assert whole == "0d722834759116f8f70663f3818355a34af0dc0a97fcb5698613154d8b34890c"


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
    write_journal("j", PRINT)
    append(record + b"\n")
    with pytest.raises(Problem, match="is damaged"):
        read()


def test_a_journal_that_an_older_version_is_writing_is_not_continued() -> None:
    write_journal("j", PRINT)
    with read(), pytest.raises(Problem, match="j is in use: another run is sending this list"):
        read()
    read().remove()
    with pytest.raises(Problem, match="j cannot be opened: No such file"):
        read()


def test_a_journal_behind_a_link_is_not_ours() -> None:
    write_journal("real", PRINT)
    Path("j").symlink_to("real")
    with pytest.raises(Problem, match="j cannot be opened"):
        read()


def test_a_journal_that_its_run_removes_meanwhile_is_not_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = LockedFile.try_lock
    write_journal("j", PRINT)

    def late(file: LockedFile) -> bool:
        Path("j").unlink()
        return lock(file)

    monkeypatch.setattr(LockedFile, "try_lock", late)
    with pytest.raises(Problem, match="in use"):
        read()


@pytest.mark.parametrize("path", ["no/folder/j", "nul\0j", "."])
def test_a_place_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(Problem, match="Nothing was sent"):
        OldJournal.read(path, PRINT)


def test_without_resume_a_journal_is_not_touched(gateway: Emulator) -> None:
    write_list(numbered(3))
    JOURNAL.write_text("precious", encoding="utf-8")
    ran = bulk()
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "was sending this list did not finish" in ran.stderr
    assert JOURNAL.read_text(encoding="utf-8") == "precious"
    assert not gateway.messages
