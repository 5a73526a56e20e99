"""Files of answers that a ledger could not take: where they stand, and that none is overlooked or taken half."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from smspilot_async.outbox import OutboxError
from smspilot_async.outbox._held import HeldAnswers
from smspilot_async.outbox._ledger import Answer, MessageAnswer
from smspilot_async.outbox._states import Event

ANSWER = Answer(
    attempt_id=7,
    outcome="answered",
    evidence=None,
    rows=[MessageAnswer(id=1, event=Event.ACCEPTED, server_id="10005", parts=2, price=Decimal("2.50"))],
    give_up_after=1,
    cost=Decimal("2.50"),
)


@pytest.mark.parametrize("name", ["sms.db", "sms[1].db", "смс *?.db"])
def test_what_is_kept_is_found_again_whatever_the_ledger_is_called(tmp_path: Path, name: str) -> None:
    held = HeldAnswers.beside(tmp_path / name)
    kept = {held.keep(ANSWER): ANSWER, held.keep("token"): "token"}
    assert dict(HeldAnswers.beside(tmp_path / name).waiting()) == kept
    assert list(HeldAnswers.beside(tmp_path / "other.db").waiting()) == []


def test_a_file_without_its_end_is_left_out(tmp_path: Path) -> None:
    held = HeldAnswers.beside(tmp_path / "sms.db")
    path = held.keep(ANSWER)
    path.write_bytes(path.read_bytes()[:-1])
    assert list(held.waiting()) == []


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert HeldAnswers.beside(tmp_path / "sms.db").keep(ANSWER).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SMSPILOT_STATE": "/state", "XDG_STATE_HOME": "/xdg"}, "/state"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/smspilot"),
        ({"HOME": "/home/anna"}, "/home/anna/.local/state/smspilot"),
    ],
)
def test_the_folder_of_a_ledger_on_postgresql(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SMSPILOT_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert HeldAnswers.of_user("uid")._folder == Path(folder)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SMSPILOT_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(OutboxError, match="SMSPILOT_STATE"):
        HeldAnswers.of_user("uid")
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path))
    HeldAnswers.of_user("uid")
