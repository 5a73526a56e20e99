"""What a campaign's texts are made with, and what is looked for in them before anything is sent."""

from __future__ import annotations

import re

from smspilot_async._tools.template import MissingField, Template, TemplateError, column_name

__all__ = ["MissingField", "Template", "TemplateError", "column_name", "mixed_words"]

_word = re.compile(r"[A-Za-zА-Яа-яЁё]+").findall
_has_latin = re.compile(r"[A-Za-z]").search
_has_cyrillic = re.compile(r"[А-Яа-яЁё]").search


def mixed_words(text: str) -> list[str]:
    """Return the words of a text in which Latin and Cyrillic letters are mixed.

    The gateway refuses them with code 248: they look right and are how filters are deceived.

    >>> mixed_words("Cкидка на iPhone")  # its first letter is Latin
    ['Cкидка']
    """
    if text.isascii() or _has_latin(text) is None:
        return []
    return [word for word in _word(text) if _has_latin(word) and _has_cyrillic(word)]
