from __future__ import annotations

import csv
import errno
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from smspilot_async import (
    GatewayBusy,
    InsufficientFunds,
    Message,
    MessageRefused,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
)
from smspilot_async._tools.spreadsheets import no_formula
from smspilot_async.cli._errors import Problem, reason
from smspilot_async.cli.bulk._recipients import Recipient
from smspilot_async.cli.bulk._results import COLUMNS, Results, RowOutcome
from smspilot_async.cli.bulk._summary import Summary
from smspilot_async.outbox import CampaignMessage

ROW = Recipient(0, 2, "79087964781", Message("79087964781", "Привет"))


def read(path: str = "results.csv") -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcome(line: int, **fields: object) -> RowOutcome:
    return RowOutcome(line=line, to="79087964781", outcome="accepted", **fields)  # type: ignore[arg-type]


def message(state: str, *, id_: int | None = 7, **fields: Any) -> CampaignMessage:
    outcome = None if state in {"pending", "in_flight"} else Outcome(state)
    return CampaignMessage(id=id_, line=2, to=ROW.to, state=state, outcome=outcome, **fields)


def test_every_state_of_a_message_is_written_down_in_words() -> None:
    accepted: dict[str, Any] = {"server_id": "10", "packet": "5", "parts": 2, "price": Decimal("2.50"), "status": 0}
    messages = [
        message("accepted", **accepted),
        message("accepted", **accepted, status_at=datetime.now(UTC)),
        message("refused", code=111, packet="5"),
        message("refused", id_=None, code=108, why="to: a phone is required", reason="invalid"),
        message("refused", code=9999),
        message("refused", reason="http_400"),
        message("refused", code=250, reason="invalid"),
        message("unknown", reason="mismatch", packet="6"),
        message("unknown", reason="http_status"),
        message("unknown", reason="lease_over"),
        message("in_flight"),
        message("pending", code=110),
        message("pending", code=112),
        message("pending", reason="http_429"),
        message("pending", reason="ConnectionFailed"),
        message("pending"),
        message("refused", id_=None, code=243, why="repeat: 9"),
    ]
    found = [RowOutcome.of(ROW, each) for each in messages]
    assert [(each.outcome, each.status, each.packet, each.error_code, each.error) for each in found] == [
        ("accepted", None, "5", None, None),
        ("accepted", "accepted", "5", None, None),
        ("refused", None, "5", 111, "refused by the gateway: 111, Invalid phone"),
        ("refused", None, None, 108, "to: a phone is required"),
        ("refused", None, None, 9999, "refused by the gateway: 9999, an unknown code"),
        ("refused", None, None, None, "refused by the gateway (HTTP 400)"),
        ("refused", None, None, 250, "it makes no message any more: Invalid SEND_DATETIME"),
        ("unknown", None, "6", None, "may have been sent (the answer does not fit the messages)"),
        ("unknown", None, None, None, "may have been sent (an error page instead of an answer)"),
        ("unknown", None, None, None, "may have been sent (the run ended before the answer)"),
        ("unknown", None, None, None, "may have been sent (the run ended before the answer)"),
        ("not_sent", None, None, 110, "the gateway is busy: 110, System error"),
        ("not_sent", None, None, 112, "the gateway answered: 112, No money"),
        ("not_sent", None, None, None, "the gateway is busy (HTTP 429)"),
        ("not_sent", None, None, None, "the gateway could not be reached"),
        ("not_sent", None, None, None, None),
        ("not_sent", None, None, None, "duplicate of line 9"),
    ]


def test_the_columns_of_the_list_come_after_those_of_the_results() -> None:
    columns = ("to", "name", "", "=price", "error")
    with Results.create("results.csv", columns) as results:
        results.settle(0, outcome(2, cells=("8 908 796-47-81", "=1+1", "lost", "+7 908", "two\nlines")))
        results.settle(1, outcome(3, cells=("1",)))
    first, second = read()
    assert list(first)[len(COLUMNS) :] == ["list_to", "name", "'=price", "list_error"]
    assert list(first.values())[len(COLUMNS) :] == ["8 908 796-47-81", "'=1+1", "+7 908", "two\nlines"]
    assert list(second.values())[len(COLUMNS) :] == ["1", "", "", ""]


def test_rows_are_written_in_the_list_s_order_whatever_order_they_settle_in() -> None:
    with Results.create("results.csv") as results:
        for position in (2, 1, 4, 0, 3):
            results.settle(position, outcome(position + 2, server_id=str(position)))
    assert [row["line"] for row in read()] == ["2", "3", "4", "5", "6"]


def test_what_is_flushed_survives_and_the_rest_waits_for_its_turn() -> None:
    with Results.create("results.csv") as results:
        assert Path("results.csv").read_text(encoding="utf-8") == ",".join(COLUMNS) + "\n"
        results.settle(0, outcome(2))
        results.settle(2, outcome(4))
        results.flush()
        assert [row["line"] for row in read()] == ["2"]


def test_a_long_stretch_of_rows_is_not_kept_in_memory() -> None:
    with Results.create("results.csv") as results:
        for position in range(2500):
            results.settle(position, outcome(position))
        assert len(results.unwritten) < 1000


STARTS = ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "−", "⁺"]
UNSEEN = [
    *" \t\r\n\0\xa0\xad\u2003\u200b\u200d\u202e\u2060\ufeff\ufe0f\u034f",
    *"\u180e\u2028\u2800\u3000\u3164\uffa0\ue000\U000e0020",
    " \u200b\xa0 ",
]


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", *STARTS, *(f"{blank}=1" for blank in UNSEEN)])
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    assert no_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", " ", "\u200b", "Invalid phone", "to: a = b", "1=1", "Ошибка", "'=1", "é", "½"])
def test_other_texts_are_left_as_they_are(text: str) -> None:
    assert no_formula(text) == text


def test_formulas_are_disarmed_in_the_file_but_phones_are_left_alone() -> None:
    with Results.create("results.csv") as results:
        results.settle(0, RowOutcome(line=2, to="+7 (908) 796", outcome="refused", error="=cmd|' /C calc'!A0"))
        results.settle(
            1, RowOutcome(line=3, to='=HYPERLINK("http://x")\n', outcome="refused", server_id="@1", packet="-1")
        )
    first, second = read()
    assert (first["to"], first["error"]) == ("+7 (908) 796", "'=cmd|' /C calc'!A0")
    assert (second["to"], second["server_id"], second["packet"]) == ('\'=HYPERLINK("http://x")', "'@1", "'-1")


def test_an_existing_file_is_never_overwritten() -> None:
    Path("results.csv").write_text("precious", encoding="utf-8")
    Path("dangling").symlink_to("nowhere")
    for path in ("results.csv", "dangling"):
        with pytest.raises(Problem, match=f"{path} already exists") as caught:
            Results.create(path)
        assert caught.value.exit_code == 2
    assert Path("results.csv").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("path", ["no/folder/results.csv", "nul\0.csv"])
def test_a_place_that_cannot_be_written_to_is_refused(path: str) -> None:
    with pytest.raises(Problem, match=r"the results cannot be written to .*Nothing was sent"):
        Results.create(path)


def test_a_folder_that_may_not_be_written_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(Problem, match="Permission denied"):
        Results.create("results.csv")


def test_a_file_that_appears_in_between_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("results.csv").write_text("precious", encoding="utf-8")
    monkeypatch.setattr("smspilot_async.cli.bulk._results.check_free", lambda _: None)
    with pytest.raises(Problem, match="File exists"):
        Results.create("results.csv")


def test_results_are_for_their_owner_alone() -> None:
    previous = os.umask(0)
    try:
        for make in (Results.create, Results.rewrite):
            with make("results.csv"):
                pass
            assert Path("results.csv").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(previous)


def test_a_link_in_the_place_of_the_new_results_leads_nowhere() -> None:
    Path("results.csv").write_text("old", encoding="utf-8")
    Path("victim").write_text("precious", encoding="utf-8")
    Path("results.csv.new").symlink_to("victim")
    with Results.rewrite("results.csv") as results:
        results.settle(0, outcome(2))
    assert Path("victim").read_text(encoding="utf-8") == "precious"
    assert not Path("results.csv").is_symlink()
    assert [row["line"] for row in read()] == ["2"]


def test_what_a_kill_has_left_of_new_results_is_begun_anew() -> None:
    Path("results.csv.new").write_text("half a file\n" * 1000, encoding="utf-8")
    with Results.rewrite("results.csv"):
        pass
    assert read() == []


def test_a_link_that_comes_back_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def put_back(path: Path, *, missing_ok: bool) -> None:
        assert missing_ok
        path.symlink_to("victim")

    monkeypatch.setattr(Path, "unlink", put_back)
    with pytest.raises(Problem, match="File exists"):
        Results.rewrite("results.csv")
    assert not Path("victim").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk at hand")
def test_a_full_disk_is_kept_in_mind_and_not_raised() -> None:
    results = Results("/dev/full", Path("/dev/full").open("w", encoding="utf-8"))  # noqa: SIM115
    with results:
        results.settle(0, outcome(2))
        results.flush()
        assert results.failure is not None
        assert results.failure.errno == errno.ENOSPC
        results.settle(1, outcome(3))
    assert [each.line for each in results.unwritten] == [2, 3]


@pytest.mark.parametrize("why", Reason)
def test_an_unknown_outcome_has_a_reason_in_words(why: Reason) -> None:
    words = reason(OutcomeUnknown("...", reason=why, http_status=502, code=241))
    assert words.startswith("may have been sent (")
    assert len(words.split()) >= 8
    assert "_" not in words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InsufficientFunds("...", code=112), "the gateway answered: 112, No money"),
        (GatewayBusy("...", code=110), "the gateway is busy: 110, System error"),
        (GatewayBusy("...", code=None, http_status=429), "the gateway is busy (HTTP 429)"),
        (MessageRefused("...", code=223), "refused by the gateway: 223, TEXT is an advertisement"),
        (
            OutcomeUnknown("...", reason=Reason.PARTIAL, code=112),
            "may have been sent (error 112, No money, for the whole packet, part of which may have been accepted)",
        ),
        (
            OutcomeUnknown("...", reason=Reason.HTTP_STATUS, http_status=502),
            "may have been sent (HTTP 502 instead of an answer)",
        ),
    ],
)
def test_a_reason_says_what_happened_and_the_code_with_its_text(error: SmsPilotError, words: str) -> None:
    assert reason(error) == words


def test_the_bill_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    rows = [
        outcome(2, parts=2, price=Decimal("1.25"), packet="5"),
        outcome(3, parts=1, price=None, packet="5"),
        RowOutcome(line=4, to="1", outcome="refused", error_code=111, error="Invalid phone", packet="5"),
        RowOutcome(line=5, to="1", outcome="unknown", packet="6", error="may have been sent (no answer in time)"),
        RowOutcome(line=6, to="1", outcome="not_sent", error="duplicate of line 2"),
        RowOutcome(line=7, to="1", outcome="not_sent", error="duplicate of line 3"),
    ]
    for row in rows:
        summary.add(row)
    assert not summary.cut_short
    assert summary.as_json() == {
        "test": False,
        "read": 6,
        "accepted": 2,
        "refused": 1,
        "unknown": 1,
        "not_sent": 2,
        "parts": 3,
        "cost": Decimal("1.25"),
        "unpriced": 1,
        "balance": None,
        "unknown_lines": [5],
    }
    summary.show()
    summary.show_reasons()
    out = capsys.readouterr().out
    assert "cost      1.25 RUB (without 1 message without a price)" in out
    assert "unknown   1 - these may have been sent: lines 5" in out
    assert "   2  not sent  duplicate of an earlier row             6-7" in out
    assert "   1  unknown   may have been sent (no answer in time)  5" in out
    summary.add(RowOutcome(line=8, to="1", outcome="not_sent"))
    assert summary.cut_short
