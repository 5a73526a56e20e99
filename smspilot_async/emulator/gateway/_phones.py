"""What the gateway makes of a phone number: its digits, its country, its operator.

The guesses are coarse; they need to be plausible, not right, because a client may only pass them on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import attrs

from smspilot_async.emulator.gateway._errors import Refused

_PUNCTUATION: Final = str.maketrans("", "", " -()")
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_LENGTHS: Final = range(10, 16)  # where nothing is known of a country
# Of numbers by their first digits, where all of a country's are alike: those that the vendor mostly serves.
_LENGTHS_OF: Final = {
    "7": 11, "370": 11, "371": 11, "373": 11, "374": 11, "375": 12, "380": 12,
    "992": 12, "993": 11, "994": 12, "995": 12, "996": 12, "998": 12,
}  # fmt: skip
_LONGEST_WRITTEN: Final = 64

_COUNTRIES: Final = {
    "79": "RU", "76": "KZ", "77": "KZ", "1": "US", "20": "EG", "27": "ZA", "30": "GR", "31": "NL", "32": "BE",
    "33": "FR", "34": "ES", "36": "HU", "39": "IT", "40": "RO", "41": "CH", "43": "AT", "44": "GB", "45": "DK",
    "46": "SE", "47": "NO", "48": "PL", "49": "DE", "52": "MX", "54": "AR", "55": "BR", "60": "MY", "61": "AU",
    "62": "ID", "63": "PH", "65": "SG", "66": "TH", "81": "JP", "82": "KR", "84": "VN", "86": "CN", "90": "TR",
    "91": "IN", "98": "IR", "351": "PT", "353": "IE", "358": "FI", "359": "BG", "370": "LT", "371": "LV",
    "372": "EE", "373": "MD", "374": "AM", "375": "BY", "380": "UA", "381": "RS", "420": "CZ", "421": "SK",
    "971": "AE", "972": "IL", "992": "TJ", "993": "TM", "994": "AZ", "995": "GE", "996": "KG", "998": "UZ",
}  # fmt: skip
_OPERATORS: Final = {
    "MTS": ("791", "798"),
    "MEGAFON": ("792", "793"),
    "BEELINE": ("7903", "7905", "7906", "7909", "796"),
    "TELE2": ("7900", "7901", "7902", "7904", "7908", "795", "7991", "7992", "7996"),
}


@attrs.frozen
class Phone:
    """A number as the gateway writes it, with what it guesses about it."""

    digits: str = attrs.field(repr=False)
    country: str
    operator: str


@lru_cache(maxsize=65_536)
def read_phone(raw: str) -> Phone:
    """The phone that a recipient's field means.

    Raises:
        Refused: 108 for none, 111 for something else than digits, 215 for a wrong length, 213 for a fixed line.
    """
    if len(raw) > _LONGEST_WRITTEN:
        raise Refused(215)  # before it is remembered
    digits = _digits(raw)
    if not _is_length_of(digits):
        raise Refused(215)
    country = _country(digits)
    if digits[0] == "7" and not country:
        raise Refused(213)
    return Phone(digits, country, _operator(digits))


def _digits(raw: str) -> str:
    stripped = raw.translate(_PUNCTUATION)
    if not stripped:
        raise Refused(108)
    digits = stripped.removeprefix("+")
    if not _DIGITS.fullmatch(digits):
        raise Refused(111)
    # Domestic mobile numbers only: 84… with a plus or without is Vietnam, not a Russian area code.
    if stripped[:2] in {"89", "87"}:
        return "7" + digits[1:]
    return digits


def _is_length_of(digits: str) -> bool:
    for length in (3, 1):
        if (only := _LENGTHS_OF.get(digits[:length])) is not None:
            return len(digits) == only
    return len(digits) in _LENGTHS


def _country(digits: str) -> str:
    for length in (3, 2, 1):
        if country := _COUNTRIES.get(digits[:length]):
            return country
    return ""


def _operator(digits: str) -> str:
    for operator, prefixes in _OPERATORS.items():
        if digits.startswith(prefixes):
            return operator
    return ""
