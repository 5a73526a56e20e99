"""How many SMS a text takes.

The gateway's own counting, kept apart from the client's on purpose: two counts of one rule check each other.
"""

from __future__ import annotations

from typing import Final

MAX_PARTS: Final = 10

GSM7: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_ALL_GSM7: Final = GSM7 | GSM7_EXTENSION


def count_parts(text: str, *, pairs_split: bool = False) -> int:
    """The parts that a text is cut into: 160 or 153 septets each, or 70 or 67 UTF-16 units.

    A character of two septets or units goes into the next part whole, unless `pairs_split`.
    """
    if _ALL_GSM7.issuperset(text):
        single, each = 160, 153
        widths = [2 if char in GSM7_EXTENSION else 1 for char in text]
    else:
        single, each = 70, 67
        widths = [2 if char > "\uffff" else 1 for char in text]
    if sum(widths) <= single:
        return 1
    return _divided(sum(widths), each) if pairs_split else _filled(widths, each)


def _divided(units: int, each: int) -> int:
    return -(-units // each)


def _filled(widths: list[int], each: int) -> int:
    parts, used = 1, 0
    for width in widths:
        if used + width > each:
            parts, used = parts + 1, 0
        used += width
    return parts
