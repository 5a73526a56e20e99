"""The page about migrating names calls that exist, on both sides."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

import pytest
import sms_pilot  # type: ignore[import-untyped]
from page_blocks import DOCS
from sms_pilot import exception, objects

from smspilot_async import Client, Message, MessageStatus

PAGE: Final = (DOCS / "migrating.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| (.*`.*) \| (.*) \|$", PAGE.partition("A packet, before")[0], re.MULTILINE)
THEIRS: Final = (sms_pilot, sms_pilot.SmsPilot, objects.MessageBase, exception)
OUR_ARGUMENTS: Final = {
    *inspect.signature(Client).parameters,
    *inspect.signature(Message).parameters,
    *inspect.signature(Client.send).parameters,
}


def calls(side: int) -> set[str]:
    return {name for row in ROWS for name in re.findall(r"`(?:await )?(?:client\.)?(\w+)\(", row[side])}


def is_known(name: str, homes: tuple[Any, ...]) -> bool:
    return any(hasattr(home, name) for home in homes)


def test_each_call_of_sms_pilot_py_exists_and_each_public_one_is_named() -> None:
    named = calls(0) | set(re.findall(r"`(\w+)`", " ".join(row[0] for row in ROWS))) - {"sms_pilot"}
    assert sorted(name for name in named if not is_known(name, THEIRS)) == []
    public = {name for name, value in vars(sms_pilot.SmsPilot).items() if inspect.isfunction(value) and name[0] != "_"}
    assert public - {"clear_messages", "prepare_request_data"} <= named


def test_each_call_of_ours_exists() -> None:
    assert {"send", "send_packet", "bulk", "check", "balance"} <= calls(1)
    assert sorted(name for name in calls(1) - {"Client"} if not is_known(name, (Client,))) == []


def test_each_argument_of_ours_exists() -> None:
    named = set(re.findall(r"\b([a-z_]+)=", " ".join(row[1] for row in ROWS)))
    assert "send_at" in named
    assert named <= OUR_ARGUMENTS


@pytest.mark.parametrize("word", ["delivered"])
def test_what_is_asked_of_a_status_exists(word: str) -> None:
    assert f"`status.{word}`" in PAGE
    assert hasattr(MessageStatus, word)
