"""A person in front of the page, who finds things by what they say and not by how they are built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from playwright.async_api import Page, expect

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator

PATIENCE: Final = 15_000
"""Milliseconds that a busy machine may take; a page that is right takes a few."""
expect.set_options(timeout=PATIENCE)


@attrs.frozen
class Visitor:
    """One page in a browser context of its own.

    Attributes:
        complaints: What the browser held against the page: errors of its script, and what its policy forbade.
    """

    page: Page
    complaints: list[str]

    @classmethod
    async def opens(cls, browser: Browser, url: str, **context: Any) -> Visitor:
        page = await (await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})).new_page()
        page.set_default_timeout(PATIENCE)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(url)
        return cls(page, complaints)

    async def sees_it_live(self) -> None:
        await expect(self.page.locator("#link")).to_have_text("live")

    async def sees_it_disconnected(self) -> None:
        await expect(self.page.locator("#link")).to_have_text("disconnected")

    @property
    def rows(self) -> Locator:
        """The messages in the list, as many as are in the document."""
        return self.page.get_by_role("option").and_(self.page.locator(".row"))

    @property
    def detail(self) -> Locator:
        """The message that is shown whole."""
        return self.page.get_by_role("region", name="Message", exact=True)

    async def sees_texts(self, *texts: str) -> None:
        """The list shows these messages and no others, newest first."""
        await expect(self.rows.locator(".text")).to_have_text(list(texts))

    async def opens_message(self, text: str) -> None:
        await self.rows.filter(has_text=text).click()
        await expect(self.detail.locator(".bubble")).to_have_text(text)

    async def searches(self, words: str) -> None:
        await self.page.get_by_role("searchbox").fill(words)

    async def goes_to(self, room: str) -> None:
        await self.page.get_by_role("link", name=room).click()

    async def presses(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()
