"""Hooks that note their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from noted import Noted

from smspilot_async._requests import retry as _retry

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def noted() -> Noted:
    """A hook that notes its calls, in order."""
    return Noted()


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    spread: Callable[[float, float], float] = min
    monkeypatch.setattr(_retry, "_spread", spread)
