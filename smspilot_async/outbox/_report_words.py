"""The words of reports: why a message was not accepted."""

from __future__ import annotations

from typing import Final

from smspilot_async.errors import ERROR_CODES
from smspilot_async.outbox._states import State

__all__ = ["NOT_SAID", "why_of"]

_REASONS: Final = {
    "suppressed": "on a suppression list",
    "invalid": "bad row",
    "expired": "its time was over",
    "cancelled": "cancelled",
    "gave_up": "could not be sent for too long",
    "assumed_sent": "no answer; assumed to be sent",
    "proven_duplicate": "proven to be sent by an earlier attempt",
    "lease_over": "no answer: its sender was killed or stopped",
    "duplicate": "refused as a repeat of an earlier attempt, which was probably accepted",
    "timeout": "no answer in time",
    "deadline": "no answer before the deadline",
    "disconnected": "the connection broke before the answer",
    "http_status": "an HTTP error instead of an answer",
    "unreadable": "the answer cannot be read",
}
NOT_SAID: Final = "without a reason"


def why_of(state: str, reason: str | None, code: int | None) -> str:
    """Return in words why a message was not accepted, or is not known to be."""
    if code is not None:
        text = ERROR_CODES[code].text if code in ERROR_CODES else "an unknown code"
        return f"{code}: {text}" if state == State.REFUSED else f"{code}: {text} ({_words(reason)})"
    return _words(reason)


def _words(reason: str | None) -> str:
    return NOT_SAID if reason is None else _REASONS.get(reason, reason.replace("_", " "))
