"""The built site in a browser: everyone can read it, and its search leads to the right page, from a folder too."""

from __future__ import annotations

import functools
import http.server
import threading
from importlib import resources
from typing import TYPE_CHECKING, Final

import diagrams
import pytest
import pytest_asyncio
from build_site import join
from chromium import chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from conftest import BuiltSite
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE: Final = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES: Final = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
    "preload": False,  # style sheets need not be fetched again, and cannot be from a folder
}
LOOKS: Final = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
READ: Final = (
    "index.html",
    "tutorial.html",
    "cookbook/opt-outs.html",
    "reference/callbacks.html",
    "ru/index.html",
    "search.html?q=unknown",
)
# What people type who do not know our words, and the page that answers.
WORDS: Final = {
    "unsubscribe": "cookbook/opt-outs.html",
    "migrate": "migrating.html",
    "webhook": "statuses.html",
    "xlsx": "cookbook/campaign-xlsx.html",
    "respx": "cookbook/mocks.html",
    "OTP": "cookbook/codes-fastapi.html",
    "prometheus": "cookbook/prometheus.html",
    "sentry": "cookbook/sentry.html",
    "celery": "cookbook/celery.html",
    "django": "cookbook/django.html",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def http_address(site: BuiltSite) -> Iterator[str]:
    """Where the site is served, as on a web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base calls it
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(site.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(params=["folder", "http"])
def address(request: pytest.FixtureRequest, site: BuiltSite) -> str:
    """This version's pages: as files, or from a server."""
    root = site.root.as_uri() if request.param == "folder" else request.getfixturevalue("http_address")
    return f"{root}/{site.english.name}"


async def opened(browser: Browser, look: str) -> tuple[Page, list[str]]:
    """Return a new page, and what goes wrong in it."""
    page = await (await browser.new_context(**LOOKS[look])).new_page()  # type: ignore[arg-type]
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    return page, wrong


async def test_each_word_is_found_where_it_is_explained(browser: Browser, address: str) -> None:
    page, wrong = await opened(browser, "light")
    await page.goto(f"{address}/index.html")
    found = {}
    for word in WORDS:
        await page.fill(".sidebar-search", word)
        await page.press(".sidebar-search", "Enter")
        await page.wait_for_selector("ul.search li a")
        await page.wait_for_function("document.querySelector('.search-summary').innerText !== ''")
        links = await page.eval_on_selector_all("ul.search li a", "links => links.map(link => link.href)")
        found[word] = links[0].removeprefix(f"{address}/").partition("#")[0].partition("?")[0]
    assert found == WORDS
    assert wrong == []


@pytest.mark.parametrize("look", LOOKS)
async def test_everyone_can_read_it(browser: Browser, site: BuiltSite, look: str) -> None:
    page, wrong = await opened(browser, look)
    complaints = []
    for name in READ:
        await page.goto(f"{site.english.as_uri()}/{name}")
        await page.evaluate(AXE)
        result = await page.evaluate("rules => axe.run(document, rules)", RULES)
        complaints += [
            (name, violation["id"], node["target"], node["failureSummary"])
            for violation in result["violations"]
            for node in violation["nodes"][:3]
        ]
        assert await page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look]["viewport"]["width"]  # type: ignore[index]
    assert complaints == []
    assert wrong == []


async def test_no_page_is_wider_than_a_telephone(browser: Browser, site: BuiltSite) -> None:
    page, _ = await opened(browser, "narrow")
    wider = []
    for file in sorted(site.english.rglob("*.html")):
        await page.goto(file.as_uri(), wait_until="domcontentloaded")
        if await page.evaluate("document.documentElement.scrollWidth") > LOOKS["narrow"]["viewport"]["width"]:  # type: ignore[index]
            wider.append(file.relative_to(site.english).as_posix())
    assert wider == []


async def test_no_table_is_wider_than_its_page(browser: Browser, site: BuiltSite) -> None:
    page, _ = await opened(browser, "light")
    wide = "() => [...document.querySelectorAll('.table-wrapper')].some(one => one.scrollWidth > one.clientWidth + 1)"
    wider = []
    for file in sorted(site.english.glob("*.html")) + sorted((site.english / "reference").glob("*.html")):
        await page.goto(file.as_uri(), wait_until="domcontentloaded")
        if await page.evaluate(wide):
            wider.append(file.name)
    assert wider == []


async def test_pictures_follow_the_colours_that_the_reader_chose(browser: Browser, site: BuiltSite) -> None:
    page, _ = await opened(browser, "light")
    await page.goto(f"{site.english.as_uri()}/index.html")
    picture = page.locator("article img").first
    light = await picture.screenshot()
    await page.evaluate("document.body.dataset.theme = 'dark'")
    assert await picture.screenshot() != light


async def test_the_texts_of_diagrams_are_inside_their_boxes(browser: Browser) -> None:
    page, _ = await opened(browser, "light")
    for diagram in diagrams.DIAGRAMS:
        await page.set_content(diagrams.svg(diagram).replace("<svg", f'<svg width="{diagrams.WIDTH}"'))
        widths = await page.eval_on_selector_all(
            "text", "texts => texts.map(text => [text.textContent, text.getBBox().x, text.getBBox().width])"
        )
        for text, x, width in widths:
            assert 0 < x < x + width < diagrams.WIDTH, text
            for box in diagram.boxes:
                assert text not in box.text.split("\n") or width < box.width - 8, text


async def test_another_version_beside_this_one_is_named_in_the_sidebar(
    browser: Browser, site: BuiltSite, tmp_path: Path
) -> None:
    (tmp_path / "0.6.0").mkdir()
    (tmp_path / "0.6.0" / "index.html").write_text("<title>0.6.0</title>", encoding="utf-8")
    (tmp_path / site.english.name).symlink_to(site.english)
    join(tmp_path)
    page, _ = await opened(browser, "light")
    await page.goto(f"{(tmp_path / 'index.html').as_uri()}")
    await page.click(".sidebar-site .versions a")
    assert await page.title() == "0.6.0"
