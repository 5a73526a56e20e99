"""Text that a spreadsheet will open: nothing in it is run as a formula."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["no_formula"]

_FORMULA_STARTS: Final = frozenset("=+-@\N{MINUS SIGN}")
_NOT_SEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me", "Mn", "Zl", "Zp", "Zs"})
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and a symbol by category, but they look blank


def no_formula(text: str) -> str:
    """Keep a spreadsheet from running a text that begins like a formula: ``=``, ``+``, ``-`` or ``@``.

    Full-width and other forms of these count too, and invisible characters before them are skipped: some programs
    convert the former and drop the latter.
    """
    first = next(filter(_is_seen, text), "")
    return f"'{text}" if unicodedata.normalize("NFKC", first)[:1] in _FORMULA_STARTS else text


def _is_seen(char: str) -> bool:
    return unicodedata.category(char) not in _NOT_SEEN and char not in _FILLERS
