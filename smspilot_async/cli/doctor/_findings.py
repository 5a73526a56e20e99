"""The result of one check of ``smspilot doctor``: its state, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs


class State(enum.StrEnum):
    """The state of what was checked."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something about it deserves attention."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """An earlier check failed, or it cannot be known."""


@attrs.frozen
class Finding:
    """One line of the report.

    Attributes:
        check: What was checked.
        state: Its state.
        says: What was found, in words, with nothing secret in it.
        advice: What to do; empty where there is nothing to do.
        facts: The same as JSON data.
    """

    check: str
    state: State
    says: str
    advice: str = ""
    facts: Mapping[str, Any] = attrs.Factory(dict)


def fine(check: str, says: str, **facts: Any) -> Finding:
    """Return a finding without problems."""
    return Finding(check, State.OK, says, facts=facts)


def warning(check: str, says: str, advice: str, **facts: Any) -> Finding:
    """Return a finding about something that works, with a warning."""
    return Finding(check, State.WARNING, says, advice, facts)


def failed(check: str, says: str, advice: str, **facts: Any) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(check, State.FAILED, says, advice, facts)


def not_checked(check: str, why: str, **facts: Any) -> Finding:
    """Return a finding about something that was not checked."""
    return Finding(check, State.NOT_CHECKED, why, facts=facts)
