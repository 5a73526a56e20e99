from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING

import pytest

from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service_process import Framework


@pytest.fixture(autouse=True)
def _processes_are_uncounted(uncounted: None) -> None:
    """Nothing is counted in services and scripts."""


@pytest.fixture(autouse=True)
def _each_step_has_its_own_limit() -> None:
    """A thousand messages beside other work may take minutes; pytest's limit of a test would end all the others too."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["fastapi", "aiohttp"])
def framework(request: pytest.FixtureRequest) -> Framework:
    name: Framework = request.param
    return name


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A gateway that fails to deliver one message in ten."""
    async with Emulator.serve(port=0, loop_protection=None, seed=1, undelivered=0.1) as emulator:
        yield emulator
