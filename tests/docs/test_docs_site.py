"""The built site: no warning, no dead link, nothing fetched from elsewhere, and no picture without words for it."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from page_blocks import DOCS, pages

import smspilot_async
from smspilot_async import DeliveryStatus, Outcome, Reason
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import BuiltSite

LOADED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "use": "href"}


class Built(HTMLParser):
    """What a built page links to and loads, where one can link to in it, and what its pictures say to the blind."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.silent: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values.get("id", ""), values.get("name", "")}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag) in values:
            self.loaded.append(values[LOADED[tag]])
        if tag == "img" and not values.get("alt", "").strip():
            self.silent.append(values.get("src", ""))


read = cache(Built)


def built(site: BuiltSite) -> Iterator[tuple[Path, Built]]:
    for path in sorted(site.root.rglob("*.html")):
        yield path, read(path)


def test_it_is_built_without_a_warning_and_has_every_page_in_both_languages(site: BuiltSite) -> None:
    assert (site.status, site.said) == (0, "")
    for page in pages():
        name = page.relative_to(DOCS).with_suffix(".html")
        assert (site.english / name).exists()
        assert f"lang={'ru'!r}".replace("'", '"') in read(site.english / "ru" / name).text


def test_a_picture_that_there_is_in_russian_is_shown_to_readers_of_russian(site: BuiltSite) -> None:
    for page, picture in (("index.html", "comparison.svg"), ("ru/index.html", "comparison.ru.svg")):
        assert any(source.endswith(f"/{picture}") for source in read(site.english / page).loaded)


def test_no_link_and_nothing_that_a_page_loads_leads_nowhere(site: BuiltSite) -> None:
    dead = []
    for path, page in built(site):
        for link in {*page.links, *page.loaded}:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme:
                continue
            if not target.is_file():
                dead.append(f"{path.name}: {link}")
            elif target.suffix == ".html" and unquote(parts.fragment) not in read(target).anchors:
                dead.append(f"{path.name}: {link}, without that anchor")
    assert sorted(dead) == []


def test_no_page_loads_anything_from_elsewhere(site: BuiltSite) -> None:
    assert [(path.name, url) for path, page in built(site) for url in page.loaded if urlsplit(url).netloc] == []
    styles = [path for path in site.root.rglob("*") if path.suffix in {".css", ".js", ".svg"}]
    foreign = re.compile(r"""(?:@import|url\(|import\(|fetch\()\s*["']?(?:https?:)?//""")
    assert [path.name for path in styles if foreign.search(path.read_text(encoding="utf-8"))] == []


def test_every_picture_has_words_for_who_cannot_see_it(site: BuiltSite) -> None:
    assert [(path.name, source) for path, page in built(site) for source in page.silent] == []


def test_every_page_says_its_version_and_leads_to_itself_in_the_other_language(site: BuiltSite) -> None:
    assert site.english.name == smspilot_async.__version__
    english = read(site.english / "reference" / "client.html")
    assert f"Version {smspilot_async.__version__}" in english.text
    assert ".././ru/reference/client.html" in english.links or "../ru/reference/client.html" in english.links
    assert "../../reference/client.html" in read(site.english / "ru" / "reference" / "client.html").links


def test_the_folder_of_all_versions_leads_to_the_newest(site: BuiltSite) -> None:
    assert f"url={smspilot_async.__version__}/index.html" in read(site.root / "index.html").text
    assert f'"{smspilot_async.__version__}"' in (site.root / "versions.js").read_text(encoding="utf-8")


def test_a_page_that_is_not_translated_says_so_in_russian(site: BuiltSite) -> None:
    assert "ещё не переведена" in read(site.english / "ru" / "sending.html").text
    assert "ещё не переведена" not in read(site.english / "sending.html").text


def test_a_sentence_before_a_colon_is_not_taken_for_a_type(site: BuiltSite) -> None:
    taken = 'Type<span class="colon">:'
    assert [page.name for page in site.english.rglob("*.html") if taken in page.read_text(encoding="utf-8")] == []


def test_the_reference_names_every_outcome_status_reason_and_fault(site: BuiltSite) -> None:
    anchors = {anchor for name in ("data", "emulator", "errors") for anchor in read_reference(site, name).anchors}
    members = [
        f"{kind.__module__}.{kind.__name__}.{member.name}"
        for kind in (DeliveryStatus, Outcome, Reason, Fault)
        for member in kind
    ]
    assert set(members) <= anchors
    assert "The gateway did not answer within the request" in read_reference(site, "errors").text
    assert "Accepted, then the connection is reset without an answer." in read_reference(site, "emulator").text


def read_reference(site: BuiltSite, name: str) -> Built:
    return read(site.english / "reference" / f"{name}.html")
