"""A campaign's report in a browser: drawn as a whole on wide and narrow screens, and silent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sample_report import group, report

from smspilot_async.outbox._report_html import render

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("width", [1280, 390])
async def test_it_is_drawn_without_a_script_a_request_or_a_part_beyond_the_edge(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    zones = tuple(group("accepted", 100, zone=zone, status=2) for zone in ("Europe/Moscow", "Asia/Yekaterinburg"))
    millions = report(groups=(*report().groups, *zones), name="promo-11 " * 8, budget=10**7)
    written = await asyncio.to_thread(render, millions)
    await asyncio.to_thread((tmp_path / "report.html").write_text, written, encoding="utf-8")
    page = await (await browser.new_context(viewport={"width": width, "height": 900})).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url))
    address = f"file://{tmp_path}/report.html"
    await page.goto(address)
    assert heard == [address]
    assert await page.locator("svg.plot").count() == 3
    for plot in await page.locator("svg.plot").all():
        box = await plot.bounding_box()
        assert box is not None
        assert box["height"] > 30
        assert box["x"] + box["width"] <= width
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
