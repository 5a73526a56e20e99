"""When a campaign's sender or text is at fault, and the gateway refuses one message after the other for it.

A sender counts its own answers as they come, for almost always that costs nothing. When there is a fault among them, it
also looks at what the ledger has of the other senders, and of those before it: :func:`fault_of_all`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async.outbox._ledger import MessageAnswer
    from smspilot_async.outbox._steps import Steps

__all__ = ["FAULTS", "Faults", "fault_of_all", "has_fault"]

FAULTS: Final = frozenset({115, 200, 201, 204, 223, 226, 248, *range(630, 646)})
"""Codes that blame the sender or the text: the next message has them too."""
_ACCEPTED: Final = Event.ACCEPTED
_WINDOW: Final = 1_000
MOST: Final = 20
"""As many of the last 1,000 answers with one of these codes, in a row or not, and the campaign pauses."""

_LAST_ATTEMPTS: Final = 2_000
"""Of the whole ledger, as many are looked at: what is older does not hold up the answer."""
_LAST_ANSWERS: Final = f"""
SELECT m.code FROM (SELECT * FROM {{t}}attempt ORDER BY id DESC LIMIT {_LAST_ATTEMPTS}) a
JOIN {{t}}stream s ON s.id = a.stream_id AND s.campaign_id = :campaign
CROSS JOIN {{ids}}
JOIN {{t}}message m ON m.id = i.value AND m.attempt_id = a.id AND m.state IN ('accepted', 'refused')
WHERE a.outcome = 'answered' AND a.intent_at >= (
  SELECT coalesce(max(o.at), 0) FROM {{t}}orders o
  WHERE o.campaign_id = :campaign AND o.action IN ('campaign start', 'campaign resume')
)
ORDER BY a.id DESC LIMIT {_WINDOW}
"""


def fault_of_all(campaign: int) -> Steps[int | None]:
    """Return the code for which a campaign must pause by the answers to all its senders, if it must.

    They are counted since it was last started or resumed.
    """
    answers = yield _LAST_ANSWERS, {"campaign": campaign}
    counts = Counter(code for (code,) in answers if code in FAULTS)
    return next((code for code, number in counts.most_common(1) if number >= MOST), None)


def has_fault(rows: Sequence[MessageAnswer]) -> bool:
    """Return whether a message was refused for its sender or its text."""
    return any(row.event is Event.REFUSED and row.code in FAULTS for row in rows)


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
