"""The diagrams in the repository are what their script draws, and each is shown, with words, on some page."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import diagrams
import pytest
from page_blocks import pages

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=diagrams.DIAGRAMS, ids=lambda diagram: diagram.name)
def diagram(request: pytest.FixtureRequest) -> diagrams.Diagram:
    drawn: diagrams.Diagram = request.param
    return drawn


def test_the_file_is_what_the_script_draws(diagram: diagrams.Diagram) -> None:
    file = diagrams.IMAGES / f"{diagram.name}.svg"
    assert file.read_text(encoding="utf-8") == diagrams.svg(diagram), "run docs/tools/diagrams.py"


def test_it_has_a_title_a_description_and_colours_for_the_dark(diagram: diagrams.Diagram) -> None:
    root = ET.fromstring(diagrams.svg(diagram))  # noqa: S314 - our own
    named = {element.get("id"): element.text for element in root}
    title, description = (named[name] for name in str(root.get("aria-labelledby")).split())
    assert (title, description) == (diagram.title, diagram.description)
    style = root.findtext(f"{SVG}style") or ""
    used = {element.get("class") for element in root.iter() if element.get("class")}
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    for colours in (light, dark):
        assert used <= set(re.findall(r"\.(\w+)[{,]", colours))


def test_a_page_shows_it(diagram: diagrams.Diagram) -> None:
    shown = re.compile(rf"!\[[^\]]{{40,}}\]\(images/{diagram.name}\.svg\)")
    assert any(shown.search(page.read_text(encoding="utf-8")) for page in pages())
