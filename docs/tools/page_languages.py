"""Leads from a page to itself in the other language, and says where a page is not translated yet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sphinx import addnodes

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
        "authors": "the smspilot_async developers",
    },
    "ru": {
        "other": ("en", "In English"),
        "version": "Версия",
        "other_versions": "Другие версии",
        "not_translated": "Эта страница ещё не переведена, поэтому она на английском.",
        "logo": "smspilot_async: в начало",
        "authors": "разработчики smspilot_async",
    },
}
# What the theme says in English to readers of every language; its other words are in `sphinx.po`.
_OF_THE_THEME: Final = {
    "en": {},
    "ru": {
        'alt="Logo"': 'alt="Логотип"',
        "<title>Contents</title>": "<title>Содержание</title>",
        "<title>Menu</title>": "<title>Меню</title>",
        "<title>Expand</title>": "<title>Раскрыть</title>",
        "<title>Light mode</title>": "<title>Светлая тема</title>",
        "<title>Dark mode</title>": "<title>Тёмная тема</title>",
        "<title>Auto light/dark, in light mode</title>": "<title>Тема как в системе, сейчас светлая</title>",
        "<title>Auto light/dark, in dark mode</title>": "<title>Тема как в системе, сейчас тёмная</title>",
        '"Toggle site navigation sidebar"': '"Показать или скрыть страницы сайта"',
        '"Toggle table of contents sidebar"': '"Показать или скрыть содержание страницы"',
        '"Toggle Light / Dark / Auto color theme"': '"Сменить тему: светлая, тёмная, как в системе"',
        '"Toggle navigation of ': '"Показать или скрыть раздел: ',
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
        "copyright": texts["authors"],
        "in_language": partial(_in_language, language),
        "other_language": {"code": code, "name": name, "url": f"{up}{'' if code == 'en' else f'{code}/'}{page}.html"},
        "all_versions": f"{up}../",
        **_neighbours(app, page, context),
        "is_translated": doctree is None or (CATALOGUES / f"{page}.po").exists(),
    }


def _neighbours(app: Sphinx, page: str, context: dict[str, Any]) -> dict[str, Any]:
    """Return the pages before and after, named as in the sidebar: one that is not translated has an English title."""
    sidebar = app.env.get_doctree(app.config.root_doc).findall(addnodes.toctree)
    titles = {target: title for toctree in sidebar for title, target in toctree["entries"] if title}
    relations: dict[str, tuple[str | None, str | None, str | None]] = getattr(app.builder, "relations", {})
    _, before, after = relations.get(page, (None, None, None))
    return {
        which: context[which] | {"title": titles[neighbour]}
        for which, neighbour in (("prev", before), ("next", after))
        if context.get(which) and neighbour in titles
    }


def _in_language(language: str, body: str) -> str:
    for english, translated in _OF_THE_THEME[language].items():
        body = body.replace(english, translated)
    return body
