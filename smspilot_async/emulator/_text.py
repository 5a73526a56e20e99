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


def count_parts(text: str) -> int:
    """The parts that a text is cut into: 160 or 153 septets each, or 70 or 67 UTF-16 units."""
    if _ALL_GSM7.issuperset(text):
        units = len(text) + sum(map(text.count, GSM7_EXTENSION))
        return _parts(units, 160, 153)
    return _parts(len(text.encode("utf-16-le")) // 2, 70, 67)


def _parts(units: int, single: int, each: int) -> int:
    return 1 if units <= single else -(-units // each)
