from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from chromium import chromium
from visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from smspilot_async.emulator import Emulator


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def visitor(browser: Browser, emulator: Emulator) -> AsyncIterator[Visitor]:
    """A person who has just opened the page; in the end nothing may have gone wrong in it."""
    visitor = await Visitor.opens(browser, emulator.page_url)
    await visitor.sees_it_live()
    yield visitor
    assert visitor.complaints == []
