"""The command in the user's language: its English words are looked up where they are printed for a person.

English is the source everywhere, in the command and in the library's errors; what a program reads (``--json``, files,
logs, exit codes) never comes here. The catalogue holds whole messages with named places, such as ``no connection to
{host}: {why}``. A printed line is recognised as one of them; what stands in its places is looked up in turn, and put
into the translation. A line that is in no message is taken apart at its sentences and clauses, and what remains unknown
stays English.

The variables are read as GNU gettext reads them. For English nothing is loaded; neither where the terminal's encoding
has no Cyrillic.
"""

from __future__ import annotations

import io
import os
import re
import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from gettext import GNUTranslations

DOMAIN: Final = "smspilot"
FOLDER: Final = Path(__file__).parent / "locale"
LANGUAGES: Final = ("ru",)
"""What there are catalogues for, besides English."""

_NEEDED: Final = "Яё«»–"  # of an encoding
_NBSP: Final = "\u00a0"
_CONTEXT: Final = "\x04"  # as gettext writes it: context, this, message

# Places that hold one of our words, such as `accepted`; elsewhere a single word is a name, and never translated.
_PLACES_OF_WORDS: Final = frozenset(
    {"outcome", "status", "state", "mode", "kind", "check", "progress", "stands", "row", "as", "failed", "replace"}
    | {"country", "modes", "past", "needed", "doing", "called_at", "seen_at", "halted", "what"}
)
# Places of what is typed again, or was written by others: it keeps its form.
_PLACES_TO_COPY: Final = frozenset(
    {"default", "range", "choices", "option", "possibility", "possibilities", "value", "version", "python_version"}
    | {"sms"}
)
# Titles of tables and facts below which others' words stand: they are shown as they are.
_OF_OTHERS: Final = frozenset(
    {"text", "to", "from", "name", "e-mail", "phone", "operator", "tariff", "senders", "default sender", "server id"}
    | {"packet", "id", "contract", "gateway", "not used"}
)
_OF_BOTH: Final = frozenset({"sender", "campaign", "longest", "account"})
"""Below these stand names among our words: a single word is a name."""

_place = re.compile(r"\{(\w+)\}")
_number = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_capitals = re.compile(r"[A-Z][A-Z_]*")


def language_of(environment: Mapping[str, str]) -> str | None:
    """Return the language that the variables name; ``None`` for English, and for one without a catalogue."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "C")
    if _language(locale) in {"c", "posix"}:  # there LANGUAGE says nothing
        return None
    for wanted in [*environment.get("LANGUAGE", "").split(":"), locale]:
        language = _language(wanted)
        if language in LANGUAGES:
            return language
        if language in {"en", "c", "posix"}:
            return None
    return None


def _language(locale: str) -> str:
    return re.split(r"[_.@]", locale, maxsplit=1)[0].lower()


_spoken: Catalogue | None = None


def begin() -> None:
    """Choose the language of what is printed from now on: that of the environment, if the terminal can show it."""
    global _spoken  # noqa: PLW0603 - one command runs in a process, and prints in one language
    language = language_of(os.environ)
    _spoken = _catalogue(language) if language is not None and _can_be_shown() else None


def _can_be_shown() -> bool:
    for stream in (sys.stdout, sys.stderr):
        try:
            _NEEDED.encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
    return True


def is_english() -> bool:
    """Return whether everything is printed as it stands in the source."""
    return _spoken is None


def said(text: str) -> str:
    """Return a text of ours in the user's language."""
    return text if _spoken is None else _spoken.said(text)


def label(text: str) -> str:
    """Return a title of a table, of a list of facts or of a section of the help in the user's language."""
    return text if _spoken is None else _spoken.label(text)


def word(text: str) -> str:
    """Return a word for an outcome or a state in the user's language; any other text as :func:`said` does."""
    return text if _spoken is None else _spoken.word(text)


def usage(text: str) -> str:
    """Return how an option or a command is written, with its placeholders in the user's language."""
    return text if _spoken is None else _spoken.usage(text)


def below(title: str, value: object) -> object:
    """Return a value below a title: what is ours in the user's language, and what others have written as it is."""
    if _spoken is None or title in _OF_OTHERS or not isinstance(value, str):
        return value
    return _spoken.said(value) if title in _OF_BOTH else _spoken.word(value)


@lru_cache
def _catalogue(language: str) -> Catalogue | None:
    import gettext  # noqa: PLC0415 - not needed for English

    path = gettext.find(DOMAIN, FOLDER, [language])
    if path is None:
        return None
    content = Path(path).read_bytes()
    return Catalogue(gettext.GNUTranslations(io.BytesIO(content)), _messages(content))


def _messages(content: bytes) -> Iterator[str]:
    """Read the English of a compiled catalogue; gettext looks messages up, but does not list them."""
    order = "<" if content[:4] == b"\xde\x12\x04\x95" else ">"
    count, table = struct.unpack_from(f"{order}II", content, 8)
    for number in range(count):
        length, start = struct.unpack_from(f"{order}II", content, table + 8 * number)
        yield content[start : start + length].decode("utf-8")


@attrs.frozen
class _Template:
    """A message with places, ready to be recognised.

    Attributes:
        pieces: What stands between the places; the first and the last may be empty.
        names: Of the places.
        translation: With the same places, for whatever number.
    """

    pieces: Sequence[str]
    names: Sequence[str]
    translation: Callable[[str], str]

    @property
    def weight(self) -> int:
        """How much of it is not a place: the more, the less it is like another one."""
        return sum(map(len, self.pieces))

    @property
    def is_vague(self) -> bool:
        """Whether it is in many a text, as ``{these} in {those}`` is; one with a count is not."""
        return self.weight < _SHORT and not self.pieces[0] and "n" not in self.names

    def values(self, text: str, *, lenient: bool) -> Sequence[str] | None:
        """Return what stands in the places of a text; ``None`` if the text is not this message.

        Unless it is lenient, no place holds the end of a sentence, nor one at the beginning that of a clause: what
        comes before it would be another message.
        """
        if not (text.startswith(self.pieces[0]) and text.endswith(self.pieces[-1])):
            return None
        if not all(piece in text for piece in self.pieces):
            return None
        found = _pattern(tuple(self.pieces), tuple(self.names), lenient=lenient).fullmatch(text)
        return None if found is None else found.groups("")


_SHORT: Final = 10  # characters that are no place
_SHORT_AFTER_A_WORD: Final = 8
_HEAVY: Final = 25
_ANYTHING: Final = "(.*?)"
_OF_ONE_SENTENCE: Final = r"((?:(?!\. [A-Z]).)*?)"
_OF_ONE_CLAUSE: Final = "((?:(?![:;.] ).)*?)"
_A_NUMBER_OF: Final = r"(-?\d\S*(?: \S+){0,2}?)"
_MAYBE_A_CLAUSE: Final = r"((?:, |; |: | and | (?=[A-Z][a-z])).*?)?"
_OF_SOME_PLACES: Final = {"n": r"(-?\d[\d,]*)", "default": r"([^\[\]]*)"}


@cache
def _pattern(pieces: tuple[str, ...], names: tuple[str, ...], *, lenient: bool) -> re.Pattern[str]:
    # A message of few words would be recognised in the middle of a sentence, so its places hold less.
    is_short = sum(map(len, pieces)) < (_SHORT_AFTER_A_WORD if pieces[0] else _SHORT)
    usual = (_OF_ONE_CLAUSE if pieces[0] else _A_NUMBER_OF) if is_short else _ANYTHING if lenient else _OF_ONE_SENTENCE
    written = re.escape(pieces[0])
    for number, name in enumerate(names):
        place = usual
        if not pieces[number] and number > 0:
            place = _MAYBE_A_CLAUSE
        elif not pieces[number] and not lenient and not is_short:
            place = _OF_ONE_CLAUSE
        place = _OF_SOME_PLACES.get(name, place)
        written += place + re.escape(pieces[number + 1])
    return re.compile(written, re.DOTALL)


class Catalogue:
    """The messages of one language."""

    def __init__(self, translations: GNUTranslations, messages: Iterable[str]) -> None:
        self._whole: dict[str, str] = {}
        templates: list[_Template] = []
        for message in messages:
            context, _, text = message.rpartition(_CONTEXT)
            one, _, many = text.partition("\0")
            if many:
                templates += _counted(translations, one, many)
            elif context:
                self._whole[message] = translations.pgettext(context, text)
            elif text:
                bare, translation = _without_full_stop(text, translations.gettext(text))
                self._whole[bare] = translation
                templates += _with_places(bare, translation)
        # What begins with words of its own is surely this message; otherwise, the more words the better.
        templates.sort(key=lambda template: (not template.pieces[0], -template.weight))
        self._vague = [template for template in templates if template.is_vague]
        self._templates = [template for template in templates if not template.is_vague]
        self._heavy = [template for template in templates if template.weight >= _HEAVY]
        self.said = lru_cache(maxsize=4096)(self._said)

    def label(self, text: str) -> str:
        """Return a title."""
        return self._whole.get(f"label{_CONTEXT}{text}") or self.word(text)

    def word(self, text: str) -> str:
        """Return one of our words, or any other text of ours."""
        body = text.strip()
        words = [self._whole.get(f"word{_CONTEXT}{one}", "") for one in body.split(" or ")]
        between = self._whole.get(f"word{_CONTEXT}or", "or")
        return text.replace(body, f" {between} ".join(words)) if all(words) else self.said(text)

    def usage(self, text: str) -> str:
        """Return placeholders, which are written in capitals."""
        return _capitals.sub(lambda found: self._whole.get(f"metavar{_CONTEXT}{found.group()}", found.group()), text)

    def _said(self, text: str) -> str:
        body = text.strip()
        if not body:
            return text
        start = text.index(body)
        translation = self._known(body) or self._taken_apart(body)
        return text[:start] + translation + text[start + len(body) :]

    def _known(self, text: str) -> str | None:
        """Return a text that is one message, with or without a full stop; ``None`` for any other."""
        bare = text.removesuffix(".")
        found = (
            self._whole.get(bare)
            or self._filled(bare, among=self._templates)
            or self._filled(bare, among=self._heavy)
            or self._counted(bare)
        )
        return found and found + text[len(bare) :]

    def _counted(self, text: str) -> str | None:
        """Return so many of a state, as in ``1,200 accepted``, or a code with its words, as in ``112 No money``."""
        written, _, state = text.partition(" ")
        if not _number.fullmatch(written):
            return None
        translation = self._whole.get(f"word{_CONTEXT}{state}")
        if translation is not None:
            return f"{translation}{_NBSP}{number(written)}"
        return f"{written} {self._whole[state]}" if state in self._whole else None

    def _filled(self, text: str, *, among: Iterable[_Template]) -> str | None:
        for template in among:
            values = template.values(text, lenient=among is self._heavy)
            if values is not None:
                given = dict(zip(template.names, values, strict=True))
                return self._with(given, template.translation(given.get("n", "")))
        return None

    def _with(self, given: Mapping[str, str], translation: str) -> str:
        said = {name: self._value(name, value) for name, value in given.items()}
        return "".join(
            said[piece] if number % 2 else piece.replace("{{", "{").replace("}}", "}")
            for number, piece in enumerate(_place.split(translation))
        )

    def _value(self, name: str, value: str) -> str:
        if name in _PLACES_TO_COPY:
            return value
        if _number.fullmatch(value):
            return number(value)
        if re.fullmatch(r"'[A-Z_\[\].]+'", value):
            return self.usage(value)
        if name == "text":  # of a code of the gateway, or of an SMS
            return self._known(value) or value
        return self.word(value) if name.rstrip("0123456789") in _PLACES_OF_WORDS else self.said(value)

    def _taken_apart(self, text: str) -> str:
        """Return the longest beginning that is known, and the rest in its turn; a text without one as it is."""
        for ends in _ENDS:
            for end in reversed([*ends.finditer(text)]):
                first, rest = text[: end.start()], text[end.end() :]
                known = self._known(first)
                if known is not None:
                    return known + self._bound(text[end.start() : end.end()], rest)
            for end in ends.finditer(text):
                if self._known(text[end.end() :]) is not None or self._known(text[end.start() :].strip()) is not None:
                    return self.said(text[: end.start()]) + self._bound(end.group(), text[end.end() :])
        return number(text) if _number.fullmatch(text) else self._vaguely(text)

    def _vaguely(self, text: str) -> str:
        bare = text.removesuffix(".")
        found = self._filled(bare, among=self._vague)
        return text if found is None else found + text[len(bare) :]

    def _bound(self, binder: str, clause: str) -> str:
        """Return a clause that follows another one; some are messages together with what binds them."""
        bound = (binder + clause).lstrip()
        known = self._known(bound)
        return binder + self.said(clause) if known is None else (binder + clause)[: -len(bound)] + known


_ENDS: Final = tuple(map(re.compile, (r"\n", r"  +\[?", r"(?<=[.!?]) (?=\S)", ": ", "; ", ", ", r" \(")))


def number(written: str) -> str:
    """Return a number as it is written in Russian: spaces between thousands, and a comma."""
    return written.replace(",", _NBSP).replace(".", ",")


def _without_full_stop(text: str, translation: str) -> tuple[str, str]:
    return (text[:-1], translation.removesuffix(".")) if text.endswith(".") else (text, translation)


def _with_places(text: str, translation: str) -> Iterator[_Template]:
    """Yield the template, and what is left of it where a line names the subject in its own way."""
    if not _place.search(text):
        return
    yield _template(text, lambda _number: translation)
    subject = re.match(r"\{\w+\}: ", text)
    if subject and translation.startswith(subject.group()) and _place.search(text, subject.end()):
        yield _template(text[subject.end() :], lambda _number: translation[subject.end() :])


def _counted(translations: GNUTranslations, one: str, many: str) -> Iterator[_Template]:
    def translation(number: str) -> str:
        return translations.ngettext(one, many, int(number.replace(",", "")))

    for text in {one, many}:
        yield _template(text, translation)


def _template(text: str, translation: Callable[[str], str]) -> _Template:
    pieces = [piece.replace("{{", "{").replace("}}", "}") for piece in _place.split(text)]
    return _Template(pieces[::2], pieces[1::2], translation)
