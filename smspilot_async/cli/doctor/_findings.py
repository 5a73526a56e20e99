"""What ``smspilot doctor`` says of one thing that it looked at: how it is, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs


class State(enum.StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something about it should be known."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """Something before it failed, or nobody can know."""


@attrs.frozen
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        state: How it is.
        says: What was found, in words, with nothing secret in it.
        advice: What to do; empty where there is nothing to do.
        facts: The same for a program.
    """

    check: str
    state: State
    says: str
    advice: str = ""
    facts: Mapping[str, Any] = attrs.Factory(dict)


def fine(check: str, says: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, State.OK, says, facts=facts)


def warning(check: str, says: str, advice: str, **facts: Any) -> Finding:
    """It works, but."""
    return Finding(check, State.WARNING, says, advice, facts)


def failed(check: str, says: str, advice: str, **facts: Any) -> Finding:
    """It does not work."""
    return Finding(check, State.FAILED, says, advice, facts)


def not_checked(check: str, why: str, **facts: Any) -> Finding:
    """Nobody knows."""
    return Finding(check, State.NOT_CHECKED, why, facts=facts)
