"""The size of texts, and the notation of phones and sender names: pure functions of strings.

Lengths follow the gateway (API-2, "Length"): one SMS holds 160 characters of the GSM-7 alphabet or 70 of UCS-2; a
longer text is split into parts of 153 or 67, ten at most. Rules about phones are the library's own, and deliberately
few: only with a default country does it guess.

A character of two units (``€`` in GSM-7, an emoji in UCS-2) is never split over two parts: phones would show rubbish,
so operators and their libraries split before it. The vendor's document does not say whether the gateway does that, or
divides the length by that of a part. `measure` keeps characters whole; `check_text` refuses only a text with too many
parts by either count.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import attrs

from smspilot_async._numbering import Country, PhoneKind, is_russian, kind_of
from smspilot_async.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_PARTS", "Country", "PhoneKind", "TextSize", "describe_phone", "measure", "normalize_phone"]

MAX_PARTS: Final = 10
"""The gateway refuses texts with more parts, with code 221."""

_SURELY_FITS: Final = 335  # characters, even if each of them takes two of the 670 units of UCS-2

_GSM7: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION: Final = "\f^{}\\[~]|€"
_not_gsm7 = re.compile(f"[^{re.escape(_GSM7 + _GSM7_EXTENSION)}]").search
_escape_extended = partial(re.compile(f"(?=[{re.escape(_GSM7_EXTENSION)}])").sub, "\x1b")

# XML 1.0, "Char": no XML document may contain anything else, not even as a character reference.
_not_xml = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search
_formatting = re.compile(r"[\s().\u2010-\u2015\u2212-]+")
_digits = re.compile(r"[0-9]+", re.ASCII).fullmatch
_from_spreadsheet = re.compile(r"(?:^\s*\+?[0-9]+[.,]0+|[.,]0|[0-9][eE]\+?[0-9]{1,2})\s*$", re.ASCII).search
_dialled_abroad = re.compile(r"00|810").match
_sender = re.compile(r"[A-Za-z0-9.-]{3,11}|[0-9]{10,16}").fullmatch
_GSM7_LENGTHS: Final = (160, 153)  # of a text that is one SMS, and of a part of a longer one
_UCS2_LENGTHS: Final = (70, 67)
_SHORTEST_PHONE, _LONGEST_PHONE = 7, 15  # E.164
_RUSSIAN_LENGTH = 11


@attrs.frozen
class TextSize:
    """The size of a text.

    Attributes:
        alphabet: ``"GSM-7"`` (Latin) or ``"UCS-2"`` (anything else, including Cyrillic).
        units: Its length: septets of GSM-7 (square brackets, braces, ``^~|€``, backslash and form feed count as two),
            or 16-bit units of UCS-2 (an emoji counts as two).
        parts: The number of SMS it is split into, each of which is billed. No part ends between the two units of a
            character. If the gateway divides the length by that of a part instead, which its document leaves open, it
            counts fewer.
    """

    alphabet: Literal["GSM-7", "UCS-2"]
    units: int
    parts: int


def measure(text: str) -> TextSize:
    """Return the size of a text, as operators count it.

    >>> measure("Hello").parts
    1
    >>> measure("Привет! " * 20)
    TextSize(alphabet='UCS-2', units=160, parts=3)
    """
    if _not_gsm7(text) is None:
        septets = _escape_extended(text)
        return TextSize("GSM-7", len(septets), _cut(len(septets), _GSM7_LENGTHS, lambda at: septets[at] == "\x1b"))
    data = text.encode("utf-16-be", "surrogatepass")
    units = len(data) // 2
    return TextSize("UCS-2", units, _cut(units, _UCS2_LENGTHS, lambda at: _is_pair(data[2 * at : 2 * at + 4])))


def _cut(units: int, lengths: tuple[int, int], begins_pair: Callable[[int], bool]) -> int:
    whole, part = lengths
    if units <= whole:
        return 1
    parts, end = 0, 0
    while end < units:
        end += part
        if end < units and begins_pair(end - 1):
            end -= 1
        parts += 1
    return parts


def _is_pair(data: bytes) -> bool:
    return data[0] >> 2 == 0xD8 >> 2 and data[2] >> 2 == 0xDC >> 2


def normalize_phone(phone: str | int, country: Country | None = None) -> str:
    """Return a phone in the gateway's form: digits, beginning with the country code.

    Spaces, brackets, dots, dashes and a leading ``+`` are stripped. A number without ``+``, with 11 digits, that begins
    with 89 or 87 is a domestic Russian or Kazakh one: its 8 becomes 7. Anything else is kept (``+84…`` is Vietnam),
    unless it is certainly a mistake: no country code begins with 0, and numbers of +7 have 11 digits.

    Args:
        phone: The phone, in any notation.
        country: With ``"RU"``, a number without ``+`` is read as it is written in Russia: ten digits are prefixed with
            7, ``8 495 …`` becomes ``7495…``, and ``00`` or ``8 10`` mean ``+``. Ten digits that are not a Russian
            number, or fewer, are then refused: numbers of other countries need their ``+``.

    Raises:
        InvalidMessage: With the gateway's code: 108 empty, 111 not a number (including ``79087964781.0`` and
            ``7.9E+10``, as spreadsheets write it), 215 wrong length (7 to 15 digits, for +7 exactly 11).
        ValueError: ``country`` is not supported.

    >>> normalize_phone("+7 (908) 796-47-81"), normalize_phone("8 908 796 47 81")
    ('79087964781', '79087964781')
    >>> normalize_phone("908 796-47-81", "RU"), normalize_phone("8 495 123-45-67", "RU")
    ('79087964781', '74951234567')
    """
    if country is not None:
        check_country(country)
    if type(phone) is str and len(phone) == _RUSSIAN_LENGTH and phone[0] == "7" and phone.isascii() and phone.isdigit():
        return phone  # as almost all are
    try:
        return _normalized(phone, country)
    except InvalidMessage as error:
        problem = error.with_traceback(None)
    del phone  # a traceback may show this frame's variables
    raise problem


def _normalized(phone: object, country: Country | None) -> str:
    written = _written(phone)
    if _from_spreadsheet(written):
        raise InvalidMessage(
            "a spreadsheet wrote it as a number, with a fraction or an exponent; format the column as text",
            field="to",
            code=111,
        )
    bare = _formatting.sub("", written)
    if not bare:
        raise InvalidMessage("a phone is required", field="to", code=108)
    digits = bare.removeprefix("+")
    if not _digits(digits):
        raise InvalidMessage("a phone is digits, with an optional + before them", field="to", code=111)
    if bare != digits:
        return _international(digits)
    if country is None:
        return _international(_from_trunk(digits))
    return _russian(digits)


def _written(phone: object) -> str:
    if isinstance(phone, bool) or not isinstance(phone, (str, int)):
        raise InvalidMessage(f"a phone must be a str, not {type(phone).__name__}", field="to", code=111)
    if isinstance(phone, int) and not 0 <= phone < 10**_LONGEST_PHONE:
        raise InvalidMessage("a phone has 7 to 15 digits", field="to", code=111 if phone < 0 else 215)
    return str(phone)


def _international(digits: str) -> str:
    if not _SHORTEST_PHONE <= len(digits) <= _LONGEST_PHONE:
        raise InvalidMessage(f"a phone has 7 to 15 digits, this one {len(digits)}", field="to", code=215)
    if digits[0] == "0":
        raise InvalidMessage(
            "a phone begins with its country code, and none begins with 0: write + instead of 00", field="to", code=111
        )
    if digits[0] == "7" and len(digits) != _RUSSIAN_LENGTH:
        raise InvalidMessage(f"a phone of +7 has 11 digits, this one {len(digits)}", field="to", code=215)
    return digits


def _from_trunk(digits: str) -> str:
    is_domestic = len(digits) == _RUSSIAN_LENGTH and digits.startswith(("89", "87"))
    return "7" + digits[1:] if is_domestic else digits


def _russian(digits: str) -> str:
    """Read digits without a ``+`` as they are written in Russia."""
    if prefix := _dialled_abroad(digits):
        return _international(digits[prefix.end() :])
    if digits[0] == "8" and is_russian(digits[1:]):
        return "7" + digits[1:]
    if is_russian(digits):
        return "7" + digits
    digits = _international(_from_trunk(digits))
    if len(digits) > _RUSSIAN_LENGTH - 1:
        return digits
    if len(digits) < _RUSSIAN_LENGTH - 1:
        raise InvalidMessage(
            "a Russian phone without its area code, or another country's without its +", field="to", code=215
        )
    raise InvalidMessage(
        f"no Russian number begins with {digits[:3]}, and another country's needs its +", field="to", code=111
    )


def dialled(phone: str | int, country: Country) -> str:
    """Return a phone, read with a default country, in a form that :class:`Message` reads the same without one.

    Raises:
        InvalidMessage: As :func:`normalize_phone` does.
    """
    try:
        digits = normalize_phone(phone, country)
    finally:
        del phone  # as above
    return digits if digits[0] == "7" else f"+{digits}"


def describe_phone(phone: str | int, country: Country | None = None) -> PhoneKind:
    """Return a phone's country, and whether a Russian one is a landline, by its first digits.

    Args:
        phone: The phone, in any notation.
        country: As with :func:`normalize_phone`.

    Raises:
        InvalidMessage, ValueError: As :func:`normalize_phone` does.

    >>> describe_phone("8 495 123-45-67", "RU")
    PhoneKind(country='RU', name='Russia', line='landline')
    """
    try:
        return kind_of(normalize_phone(phone, country))
    finally:
        del phone  # as above


def check_country(country: object) -> None:
    """Check that the domestic notation of a default country is supported.

    Raises:
        ValueError: It is neither ``"RU"`` nor ``None``.
    """
    if country is not None and country != "RU":
        raise ValueError(f"country must be 'RU' or None, not {country!r}")


def check_text(text: str) -> None:
    """Refuse a text that the gateway would refuse, or that XML cannot carry.

    Raises:
        InvalidMessage: With the gateway's code: 220 empty, 12 a character that XML cannot carry, 221 too long however
            its parts are counted.
    """
    if not isinstance(text, str):
        raise InvalidMessage(f"a text must be a str, not {type(text).__name__}", field="text", code=220)
    if not text:
        raise InvalidMessage("a text is required", field="text", code=220)
    if not text.isprintable() and (found := _not_xml(text)):  # printable text is valid in XML, and is detected faster
        where = f"U+{ord(found.group()):04X} at position {found.start()}"
        raise InvalidMessage(f"holds a character that no SMS request can carry, {where}", field="text", code=12)
    if len(text) <= _SURELY_FITS:
        return
    size = measure(text)
    limit, part = ("1530 Latin", _GSM7_LENGTHS[1]) if size.alphabet == "GSM-7" else ("670", _UCS2_LENGTHS[1])
    fewest = -(-size.units // part)
    if fewest > MAX_PARTS:
        raise InvalidMessage(
            f"{size.units} characters of {size.alphabet} make {fewest} parts; "
            f"the maximum is {MAX_PARTS} parts ({limit} characters)",
            field="text",
            code=221,
        )


def check_sender(sender: str) -> None:
    """Refuse an invalid sender name.

    Raises:
        InvalidMessage: With the gateway's code 115.
    """
    if not _sender(sender):
        raise InvalidMessage(
            "a sender is 3 to 11 Latin letters, digits, '-' or '.', or 10 to 16 digits without '+'",
            field="sender",
            code=115,
        )
