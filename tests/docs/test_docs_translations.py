"""Russian pages are in step with the English ones: what has changed since is named."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import page_translations
import pytest
from page_blocks import DOCS

if TYPE_CHECKING:
    from pathlib import Path

    from babel.messages.catalog import Catalog

TRANSLATED: Final = [page for page in page_translations.PAGES if (DOCS / f"{page}.md").exists()]


@pytest.fixture(scope="module")
def english() -> dict[str, Catalog]:
    """The texts of the pages, as they are now."""
    return page_translations.extract(DOCS)


def test_what_has_changed_in_english_since_its_translation_is_translated_again(english: dict[str, Catalog]) -> None:
    behind = {
        page: list(page_translations.behind(english[page], page_translations.translation(page))) for page in TRANSLATED
    }
    changed = {f"docs/{page}.md": texts for page, texts in behind.items() if texts}
    assert not changed, (
        f"make docs-translations, then translate in {page_translations.CATALOGUES} what is left: {changed}"
    )


def test_a_catalogue_holds_nothing_that_its_page_no_longer_says(english: dict[str, Catalog]) -> None:
    said = {page: {str(message.id) for message in english[page]} for page in TRANSLATED}
    catalogues = {page: page_translations.translation(page) for page in TRANSLATED}
    assert [
        message.id for page in TRANSLATED for message in catalogues[page] if str(message.id) not in said[page]
    ] == []


def test_a_page_that_has_changed_is_named(tmp_path: Path, english: dict[str, Catalog]) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    page = tmp_path / "docs" / "on-call.md"
    page.write_text(page.read_text(encoding="utf-8") + "\nA sentence that is new.\n", encoding="utf-8")
    changed = page_translations.extract(tmp_path / "docs")
    new = list(page_translations.behind(changed["on-call"], _translated(english["on-call"])))
    assert new == ["A sentence that is new."]
    assert not list(page_translations.behind(changed["campaigns"], _translated(english["campaigns"])))


def test_an_update_keeps_translations_and_marks_what_must_be_looked_at(english: dict[str, Catalog]) -> None:
    catalogue = _translated(english["campaigns"])
    changed = _translated(english["campaigns"])
    first = next(message for message in english["campaigns"] if len(str(message.id)) > 60)
    changed.delete(first.id)
    changed.add(f"{first.id} And more.")
    page_translations.update(catalogue, changed)
    assert list(page_translations.behind(changed, catalogue)) == [f"{first.id} And more."]
    assert first.id not in catalogue
    assert catalogue[f"{first.id} And more."].fuzzy


def _translated(template: Catalog) -> Catalog:
    """Return a catalogue in which everything is translated, in a way."""
    catalogue = page_translations.begun("any")
    for message in template:
        if message.id:
            catalogue.add(message.id, f"по-русски: {message.id}")
    return catalogue
