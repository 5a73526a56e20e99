"""The demo's messages in doubt: a row of marks for each packet without an answer, and each proof as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from smspilot_async.cli._output import Tone, stdout_is_utf8
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from smspilot_async.outbox import CampaignMessage

_IN_DOUBT = (Outcome.UNKNOWN.value, "in_flight")


@attrs.frozen(kw_only=True)
class Doubt:
    """A packet that may or may not have been accepted.

    Attributes:
        lines: The lines of its messages in the list, in order.
        was_killed: Its sender was killed while it was on the wire.
    """

    lines: tuple[int, ...]
    was_killed: bool


def in_doubt(messages: Iterable[CampaignMessage], packet_size: int) -> Sequence[Doubt]:
    """Return the packets without an answer; each of them was full."""
    doubtful = [message for message in messages if message.state in _IN_DOUBT]
    packets = (doubtful[start : start + packet_size] for start in range(0, len(doubtful), packet_size))
    return [
        Doubt(lines=tuple(one.line for one in packet), was_killed=any(one.state == "in_flight" for one in packet))
        for packet in packets
    ]


def unproven(messages: Iterable[CampaignMessage]) -> Collection[int]:
    """Return the lines of the messages that no callback has proven to be accepted."""
    return {message.line for message in messages if message.outcome is not Outcome.ACCEPTED}


def rows(doubts: Sequence[Doubt], left: Collection[int], *, is_over: bool) -> list[tuple[str, Tone]]:
    """Return a line for each packet, with a mark for each message: a question, or a tick once it is proven.

    Args:
        doubts: The packets.
        left: Lines of the list that are unproven.
        is_over: No callback comes any more.
    """
    return [_row(doubt, left, is_over=is_over) for doubt in doubts]


def _row(doubt: Doubt, left: Collection[int], *, is_over: bool) -> tuple[str, Tone]:
    tick = "\N{CHECK MARK}" if stdout_is_utf8() else "+"
    marks = "".join("?" if line in left else tick for line in doubt.lines)
    proven = len(marks) - marks.count("?")
    if proven == len(marks):
        said = "called back; its sender was killed" if doubt.was_killed else "called back: it was accepted"
    elif proven:
        said = f"called back for {proven} of {len(marks)}"
    else:
        said = "no callback: stays unknown" if is_over else ""
    tone: Tone = "good" if proven == len(marks) else "doubt"
    return f"   from line {doubt.lines[0]:<5} {marks}  {said}".rstrip(), tone
