"""Phones as they are shown where whole ones are not to be seen."""

from __future__ import annotations

from typing import Final

__all__ = ["masked_phone"]

_DOT: Final = "•"
_KEPT_AT_START, _KEPT_AT_END = 4, 2


def masked_phone(phone: str) -> str:
    """Return a phone of which only the beginning and the last two digits are shown, and no control character."""
    phone = "".join(char if char.isprintable() else _DOT for char in phone)  # it may be whatever was sent as one
    middle = len(phone) - _KEPT_AT_START - _KEPT_AT_END
    if middle < 1:
        return _DOT * len(phone)
    return f"{phone[:_KEPT_AT_START]}{_DOT * middle}{phone[-_KEPT_AT_END:]}"
