"""The Russian pages, as built, are Russian all over: what stands around them, too."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

import page_translations
import pytest
from page_blocks import DOCS

if TYPE_CHECKING:
    from conftest import BuiltSite

PAGES: Final = [page for page in page_translations.PAGES if (DOCS / f"{page}.md").exists()]
# Code, and what is quoted from the command and the worker's log.
NOT_READ: Final = {"script", "style", "pre", "code", "em"}
WORDS_FOR_THE_EYE_OR_EAR: Final = {"alt", "aria-label", "placeholder", "title"}
NAMES: Final = re.compile(r"Furo|In English|msgspec|smspilot_async|\S+[./]\S+")  # among them files and addresses


class Reader(HTMLParser):
    """Collects what a page says to the eye and the ear, save code and quotations."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in NOT_READ:
            self._inside.append(tag)
        self.said += [value for name, value in attrs if name in WORDS_FOR_THE_EYE_OR_EAR and value and tag != "link"]

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.said.append(data.strip())


@pytest.mark.parametrize("page", [*PAGES, "search"])
def test_what_stands_on_a_russian_page_and_around_it_is_russian(site: BuiltSite, page: str) -> None:
    html = (site.english / "ru" / f"{page}.html").read_text(encoding="utf-8")
    without_the_reference = re.sub(r'(?s)<li class="toctree-l2.*?</li>', "", html)
    said = Reader(without_the_reference).said
    english = {text for text in said if re.search("[A-Za-z]{3}", text) and not re.search("[а-яё]", text.lower())}
    assert {text for text in english if not NAMES.fullmatch(text)} == set()
