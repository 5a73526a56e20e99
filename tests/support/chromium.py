"""The browser of the tests: Debian's Chromium, or whichever one this machine has."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from playwright.async_api import Browser

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
QUIET: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class ChromiumIsMissing(Exception):
    """The tests of the page need a browser, and this machine has none."""


def find_chromium() -> str:
    """The path of the browser: CHROMIUM names it, or it is looked for on the PATH.

    Raises:
        ChromiumIsMissing: There is none; the message says how to install it.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ChromiumIsMissing(
            "the emulator's page is tested in Chromium, which is not installed here. Debian and Ubuntu: "
            "apt-get install chromium. Elsewhere: install Chromium or Chrome, and name it, CHROMIUM=/path/to/chrome"
        )
    return found


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """A fresh browser with an empty profile that makes no requests of its own."""
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        try:
            yield browser
        finally:
            await browser.close()
