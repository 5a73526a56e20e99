"""A gateway without a socket that tests of packing and bulk can watch, hold back, and ask for its record."""

from __future__ import annotations

import gc
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from listeners import Listener
from manual_clock import ManualClock
from watched import Gateway

from smspilot_async._requests import retry as _retry
from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "_spread", min)


@pytest.fixture(autouse=True)
def _no_collection(request: pytest.FixtureRequest) -> Iterator[None]:
    """Many messages are kept for the judge, and the collector of cycles would go through them again and again."""
    if request.node.get_closest_marker("volume") is None:
        yield
        return
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def gateway(manual_clock: ManualClock, listener: Listener) -> Gateway:
    """An emulator that takes every message; its clients use the clock that is turned by hand."""
    return Gateway(Emulator(loop_protection=None, seed=1), listener, manual_clock)


@pytest.fixture
def gateway_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Gateway]:
    """Makes such a gateway inside of an event loop that the test runs itself."""

    def make() -> Gateway:
        clock = ManualClock()
        monkeypatch.setattr(_clock, "_current", ContextVar[_clock.Clock]("manual clock", default=clock))
        return Gateway(Emulator(loop_protection=None, seed=1), Listener(), clock)

    return make
