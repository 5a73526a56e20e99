"""What error trackers and the like report of a failure: no key, phone or text, but in frames of the caller's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from rich.pretty import pretty_repr

from smspilot_async import Accepted, InboundMessage, Message, Packet, SentMessage
from smspilot_async.wire import Cost, Credentials, Envelope, Send

PROGRAM: Final = Path(__file__).parent.parent / "support" / "error_reports.py"
NOT_OURS: Final = "json_that_is_no_json"
PATIENCE: Final = 140  # seconds: less than pytest gives the test


@pytest.fixture(scope="module")
def leaks() -> dict[str, list[str]]:
    """What leaks, by what fails: of sentry-sdk, rich, pickles, logs and spans."""
    ran = subprocess.run(  # noqa: S603 - ours
        [sys.executable, PROGRAM], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, list[str]] = json.loads(ran.stdout)
    return found


def test_no_tool_reports_a_key_a_phone_or_a_text(leaks: dict[str, list[str]]) -> None:
    assert {failure: found for failure, found in leaks.items() if found and failure != NOT_OURS} == {}
    assert len(leaks) > 100


def test_the_search_finds_what_others_frames_show(leaks: dict[str, list[str]]) -> None:
    assert {"TextMarkerQ9 in sentry", "TextMarkerQ9 in rich", "TextMarkerQ9 in pickled"} <= set(leaks[NOT_OURS])


def test_tools_that_show_the_fields_of_attrs_classes_show_nothing_private() -> None:
    message = Message("79995550123", "TextMarkerQ9", sender="SenderMark", callback="https://callback.example/")
    sent = SentMessage(to="79995550123", text="TextMarkerQ9", sender="SenderMark", extra={"note": "TextMarkerQ9"})
    shown = pretty_repr(
        [
            message,
            sent,
            Packet(messages=(sent,)),
            Accepted(message, sent),
            InboundMessage(phone="79995550123", num="SenderMark", text="TextMarkerQ9"),
            Send([message], [1], "SenderMark", callbacks={1: "https://callback.example/"}),
            Cost([message], [1], "SenderMark"),
            Credentials((("apikey", "KeyMarkerQ7"),)),
            Envelope("GET", "https://gateway.example/?json=KeyMarkerQ7", None, b"KeyMarkerQ7"),
        ]
    )
    private = ("9995550123", "TextMarkerQ9", "SenderMark", "callback.example", "KeyMarkerQ7")
    assert [marker for marker in private if marker in shown] == []
