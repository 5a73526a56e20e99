"""Keeps the Russian catalogues in step with the English pages.

``make docs-translations`` runs it: a text that is new or has changed gets an entry, empty or marked as fuzzy; a text
that is gone loses its own. ``tests/docs/test_docs_translations.py`` fails until every entry is translated again.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = Path(__file__).parent.parent
CATALOGUES: Final = DOCS / "locales" / "ru" / "LC_MESSAGES"
# The start, the tutorial, the marketer's guide and the runbook.
PAGES: Final = ("index", "tutorial", "campaigns", "on-call")


def main() -> None:
    """Update every catalogue, or begin it, and print how much of each is left to translate."""
    CATALOGUES.mkdir(parents=True, exist_ok=True)
    for page, template in extract(DOCS).items():
        catalogue = translation(page)
        update(catalogue, template)
        written = io.BytesIO()
        write_po(written, catalogue, width=0, include_previous=True, no_location=True)
        (CATALOGUES / f"{page}.po").write_bytes(written.getvalue())
        print(f"{page}: {sum(1 for _ in behind(template, catalogue))} of {len(template)} to translate")  # noqa: T201


def extract(docs: Path) -> dict[str, Catalog]:
    """Return the texts of the pages that are to be translated, page by page, as they are now."""
    pages = [page for page in PAGES if (docs / f"{page}.md").exists()]
    # The titles of the other pages are in the start's navigation. Without the reference this is quick.
    left_out = "exclude_patterns=locales,theme,tools,reference/[!i]*"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sphinx", "-b", "gettext", "-Q", "-D", left_out, str(docs), folder]
        subprocess.run(command, check=True)  # noqa: S603 - Sphinx
        return {page: _read((Path(folder) / f"{page}.pot").read_bytes()) for page in pages}


def update(catalogue: Catalog, template: Catalog) -> None:
    """Give a catalogue the texts of a page as they are now."""
    created = catalogue.creation_date  # it would change without need
    catalogue.update(template, update_header_comment=False)
    catalogue.creation_date = created
    catalogue.obsolete.clear()


def behind(template: Catalog, catalogue: Catalog) -> Iterator[str]:
    """Yield the texts of a page that its catalogue has not, or not yet translated, or translated from other words."""
    for message in template:
        translated = catalogue.get(message.id)
        if message.id and (translated is None or not translated.string or translated.fuzzy):
            yield str(message.id)


def translation(page: str) -> Catalog:
    """Return the catalogue of a page: a new one, without an entry, if it has none."""
    path = CATALOGUES / f"{page}.po"
    return _read(path.read_bytes()) if path.exists() else begun(page)


def begun(page: str) -> Catalog:
    """Return a new catalogue of a page, without an entry."""
    return Catalog(
        locale="ru",
        project="smspilot_async",
        copyright_holder="the smspilot_async developers",
        header_comment=f"# docs/{page}.md in Russian. `make docs-translations` brings it up to date.",
        fuzzy=False,
    )


def _read(text: bytes) -> Catalog:
    return read_po(io.BytesIO(text), locale="ru")


if __name__ == "__main__":
    main()
