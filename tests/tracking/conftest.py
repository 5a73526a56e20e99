from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tracking_desk import FOR_EVER, Desk, Line, SharedTime

from smspilot_async import Client
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from manual_clock import ManualClock


@pytest.fixture
async def desk(manual_clock: ManualClock) -> AsyncIterator[Desk]:
    emulator = Emulator(loop_protection=None, clock=SharedTime(manual_clock), seed=1)
    line = Line(emulator, manual_clock)
    async with Client(emulator.api_key, url=emulator.url, transport=line) as client:
        yield Desk(emulator, client, line, manual_clock)


@pytest.fixture
async def slow_desk(manual_clock: ManualClock) -> AsyncIterator[Desk]:
    """The same, where no message ever moves unless a test moves it."""
    time = SharedTime(manual_clock)
    emulator = Emulator(loop_protection=None, clock=time, seed=1, handover=FOR_EVER, delivery=FOR_EVER)
    line = Line(emulator, manual_clock)
    async with Client(emulator.api_key, url=emulator.url, transport=line) as client:
        yield Desk(emulator, client, line, manual_clock)
