"""When a campaign's sender or text is at fault, and the gateway refuses one message after the other for it."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async.outbox._ledger import MessageAnswer

__all__ = ["FAULTS", "Faults"]

FAULTS: Final = frozenset({115, 200, 201, 204, 223, 226, 248, *range(630, 646)})
"""Codes that blame the sender or the text: the next message has them too."""
_ACCEPTED: Final = Event.ACCEPTED
_WINDOW: Final = 1_000
MOST: Final = 20
"""As many of the last 1,000 answers with one of these codes, in a row or not, and the campaign pauses."""


class Faults:
    """What the last answers of each campaign say, as one sender has seen them."""

    def __init__(self) -> None:
        self._codes: dict[int, deque[int | None]] = {}
        self._counts: dict[int, Counter[int]] = {}

    def count(self, campaign: int, rows: Sequence[MessageAnswer]) -> int | None:
        """Count the answers of a packet, and return the code for which the campaign must pause, if it must."""
        codes = self._codes.setdefault(campaign, deque(maxlen=_WINDOW))
        counts = self._counts.setdefault(campaign, Counter())
        answers = _answers(rows)
        if not counts and not any(answers):  # as almost always
            codes.extend(answers)
            return None
        for code in answers:
            if len(codes) == _WINDOW and (oldest := codes[0]) is not None:
                counts[oldest] -= 1
                if not counts[oldest]:
                    del counts[oldest]
            codes.append(code)
            if code is not None:
                counts[code] += 1
                if counts[code] >= MOST:
                    del self._codes[campaign], self._counts[campaign]
                    return code
        return None


def _answers(rows: Sequence[MessageAnswer]) -> list[int | None]:
    """Return the fault of each answer, or ``None``; a packet that was refused as a whole is one answer."""
    if all([row.event is _ACCEPTED for row in rows]):  # noqa: C419 - a list is faster
        return [None] * len(rows)
    refused_whole = False
    answers: list[int | None] = []
    for row in rows:
        fault = row.code if row.code in FAULTS else None
        if row.event in {Event.ACCEPTED, Event.REFUSED}:
            answers.append(fault)
        elif row.event is Event.PUT_BACK and fault is not None and not refused_whole:
            refused_whole = True
            answers.append(fault)
    return answers
