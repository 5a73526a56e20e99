"""Takes keys and passwords out of what is shown of a request.

A request is masked as the text that it is, in whichever form it came: JSON, XML, a form, or a document cut off in the
middle. Nothing is parsed, because what is not understood is shown too, and may be a real key with a comma missing.
"""

from __future__ import annotations

import re
from typing import Final

_QUOTE: Final = r"(?:\\*[\"']|%22|%27|%5C%22)"
_SPACE: Final = r"(?:\s|\+|%20|%09|%0A|%0D)*"
_SIGN: Final = r"(?:[:=]|%3A|%3D)"
_CDATA: Final = r"(?:<|%3C)(?:!|%21)(?:(?!(?:\]|%5D){2}(?:>|%3E)).)+"
_LONGEST_GAP: Final = 40

_NAME: Final = "(?:api_?key|password)"

_secret = re.compile(
    # apikey=… in a query or a form, up to the next field: what is percent-encoded in it is its own
    rf"(?P<field>(?<![^?&\s]){_NAME}=(?![\"']))(?P<given>[^&\s\"<]+)"
    # <apikey>…</apikey>, the same in a URL; the next tag ends it
    rf"|(?P<element>(?:<|%3C){_NAME}\s*(?:>|%3E))(?P<content>{_CDATA}|(?:(?!<|%3C).)+)"
    rf"|(?P<name>{_NAME})(?:"
    # "apikey": "…", apikey="…", the same in a URL; the value ends with the quote with which it began, or with the text
    rf"(?P<before>{_QUOTE}?{_SPACE}{_SIGN}{_SPACE})(?P<quote>{_QUOTE})(?P<quoted>(?:(?!(?P=quote))(?:\\.|%5C%..|.))*)"
    rf"|(?P<bare>{_QUOTE}?{_SPACE}{_SIGN}{_SPACE})(?P<plain>(?:(?!%26|%3C|%2C|%7D)[^&<,}}\s\"'])+)"
    rf"|(?P<part>{_QUOTE}?[^\w]{{0,{_LONGEST_GAP}}}\r?\n\r?\n)(?P<line>[^\r\n]+)"  # in multipart/form-data
    rf")",
    re.IGNORECASE | re.DOTALL,
)
_key = re.compile(r"(%[0-9A-F]{2})?([0-9A-Z]{40,})")
"""A key of the gateway's form, wherever it is; in a URL, what is before it may look like a part of it."""

_END: Final = 4
_LONG_ENOUGH: Final = 16


def masked_secrets(text: str) -> str:
    """A request or an answer, in which of a key only the end is shown, and nothing of a password."""
    return _key.sub(lambda found: (found[1] or "") + _end_of(found[2]), _secret.sub(_mask, text))


def _mask(found: re.Match[str]) -> str:
    name = found["field"] or found["element"] or found["name"]
    between = found["before"] or found["bare"] or found["part"] or ""
    values = (found[group] for group in ("given", "content", "quoted", "plain", "line"))
    value = next(filter(None, values), "").strip()
    shown = "…" if "password" in name.lower() else _end_of(value)
    return f"{name}{between}{found['quote'] or ''}{shown if value else ''}"


def _end_of(key: str) -> str:
    """Enough to tell keys apart, useless to others."""
    return "…" + (key[-_END:] if len(key) >= _LONG_ENOUGH else "")
