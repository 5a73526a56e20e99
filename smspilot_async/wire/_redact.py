"""Removes private words from the gateway's texts, so that they may appear in errors and logs."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_private_run = re.compile(
    r"\S+(?:@|://)\S+"  # an address
    r"|\+?\d(?:[\s().\u2010-\u2015-]{0,3}\d){4,}"  # a phone, however it is written
    r"|\w{20,}"  # a key
)


_word = re.compile(r"\w{3,}|\w*\d\w*")


_control = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


_LONGEST_READ, _LONGEST_KEPT = 1000, 200


def redact(description: str, texts: Sequence[str]) -> str:
    """Shorten the gateway's text, and remove what may be a phone, a key, an address or a word of a text."""
    words = description
    if len(words) > _LONGEST_READ:
        words = words[:_LONGEST_READ].rpartition(" ")[0]  # half a private word would not be recognised
    if any(text.strip() in words for text in texts if text.strip()):
        return ""
    private = {word.casefold() for text in texts for word in _word.findall(text)}
    words = _word.sub(lambda word: "…" if word[0].casefold() in private else word[0], _private_run.sub("…", words))
    return _control.sub(" ", words)[:_LONGEST_KEPT].strip()


_not_text = re.compile(rb"[\x00-\x08\x0e-\x1f]").search  # as in UTF-16


_may_be_an_answer = re.compile(
    rb"[\"<](?:send|inbound|info|sms|text)\b"
).search  # what others have written may be in it


_markup = re.compile(r"<(?:script|style)\b[^>]*>[^<]*|<[^>]*>?", re.IGNORECASE)


_json_escape = re.compile(r"\\u([0-9a-fA-F]{4})")


_long_run = re.compile(r"[\w+/=-]{20,}")  # of base64, of a key


_unexpected_characters = re.compile(r"[^\x00-\x7f\u0400-\u04ff\u2010-\u2026]+")  # including text in a wrong encoding


_parts_of_word = re.compile(r"[^\W\d_]+|\d+")


_LONGEST_LOOKED_AT: Final = 4096  # bytes


_MOST_LAYERS: Final = 3  # of escapes


def excerpt(body: bytes, texts: Sequence[str]) -> str:
    """Return the first words of an answer that could not be read, redacted more strictly than the gateway's texts.

    It is empty for part of an answer of the gateway, which may contain other people's texts.

    Args:
        body: The answer.
        texts: The private texts of the request; a page may quote them, with any escapes.
    """
    if _not_text(body) or _may_be_an_answer(body):
        return ""
    words = body[:_LONGEST_LOOKED_AT].decode(errors="replace")
    if len(body) > _LONGEST_LOOKED_AT:
        words = words.rpartition(" ")[0]
    for _ in range(_MOST_LAYERS):
        words = _unescaped(words)
    words = _markup.sub(" ", words)
    words = _long_run.sub("…", _unexpected_characters.sub("…", words))
    private = {part.casefold() for text in texts for part in _parts_of_word.findall(text)}
    words = _word.sub(lambda word: "…" if _has_any(private, word[0]) else word[0], words)
    return " ".join(redact(" ".join(words.split()), texts).split())


def _unescaped(text: str) -> str:
    return unquote_plus(html.unescape(_json_escape.sub(lambda match: chr(int(match[1], 16)), text)), errors="replace")


def _has_any(private: Collection[str], word: str) -> bool:
    return any(part.casefold() in private for part in _parts_of_word.findall(word))
