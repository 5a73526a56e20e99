"""Leads from a page to itself in the other language, and says where a page is not translated yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

CATALOGUES: Final = Path(__file__).parent.parent / "locales" / "ru" / "LC_MESSAGES"
# What the templates say. The pages' own texts are in the catalogues.
_TEXTS: Final = {
    "en": {
        "other": ("ru", "По-русски"),
        "version": "Version",
        "other_versions": "Other versions",
        "not_translated": "",
        "logo": "smspilot_async: start",
    },
    "ru": {
        "other": ("en", "In English"),
        "version": "Версия",
        "other_versions": "Другие версии",
        "not_translated": "Эта страница ещё не переведена, поэтому она на английском.",
        "logo": "smspilot_async: в начало",
    },
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Join the build."""
    app.connect("html-page-context", _add)
    return {"parallel_read_safe": True}


def _add(app: Sphinx, page: str, _: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    language = app.config.language
    texts = _TEXTS[language]
    code, name = texts["other"]
    up = context["content_root"] + ("" if language == "en" else "../")
    context |= {
        "texts": texts,
        "other_language": {"code": code, "name": name, "url": f"{up}{'' if code == 'en' else f'{code}/'}{page}.html"},
        "all_versions": f"{up}../",
        "is_translated": doctree is None or (CATALOGUES / f"{page}.po").exists(),
    }
