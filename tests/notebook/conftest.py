from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smspilot_async import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from manual_clock import ManualClock

    from smspilot_async.emulator import Emulator


@pytest.fixture
async def timed(manual_clock: ManualClock, emulator: Emulator) -> AsyncIterator[Client]:
    """A client whose clock stands still until it is turned."""
    del manual_clock
    async with Client(emulator.api_key, url=emulator.url) as client:
        yield client
