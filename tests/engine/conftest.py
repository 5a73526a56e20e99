"""A gateway without a socket that tests of packing and bulk can watch, hold back, and ask for its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from watched import Gateway

from smspilot_async import _retry
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from listeners import Listener
    from manual_clock import ManualClock


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_spread", min)


@pytest.fixture
def gateway(manual_clock: ManualClock, listener: Listener) -> Gateway:
    """An emulator that takes every message; its clients tell the time by the clock that is turned by hand."""
    return Gateway(Emulator(loop_protection=None, seed=1), listener, manual_clock)
