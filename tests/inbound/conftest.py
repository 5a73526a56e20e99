from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from listening_room import GATEWAY_START, DurableCursor, Room, Wire

from smspilot_async import Client, Retry
from smspilot_async.emulator import Clock, Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from manual_clock import ManualClock


@pytest.fixture
def gateway() -> Emulator:
    return Emulator(clock=Clock(GATEWAY_START), seed=1)


@pytest.fixture
async def room(gateway: Emulator, manual_clock: ManualClock) -> AsyncIterator[Room]:
    wire = Wire(gateway)
    async with Client(gateway.api_key, transport=wire, retry=Retry(attempts=1)) as client:
        yield Room(gateway, wire, client, manual_clock)


@pytest.fixture
def cursor() -> DurableCursor:
    return DurableCursor()
