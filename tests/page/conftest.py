from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
from chromium import chromium
from ledger_fixtures import _state, outbox
from visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from smspilot_async.emulator import Emulator

__all__ = ["_state", "outbox"]  # fixtures, by being here


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium_of_the_module() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium_of_the_module: Browser) -> AsyncIterator[Browser]:
    """A browser that keeps nothing from one test to the next: each page is opened in a context of its own."""
    yield chromium_of_the_module
    for context in chromium_of_the_module.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(browser: Browser, emulator: Emulator) -> AsyncIterator[Visitor]:
    """A person who has just opened the page; in the end nothing may have gone wrong in it."""
    visitor = await Visitor.opens(browser, emulator.page_url)
    await visitor.sees_it_live()
    yield visitor
    assert visitor.complaints == []
