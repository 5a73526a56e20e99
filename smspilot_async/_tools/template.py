"""Templates: ``Привет, {name|друг}`` is filled from the columns of a row, and from nothing else.

This is deliberately not :meth:`str.format`: no attributes, no formats, no conversions, no code. Between the braces is
the name of a column, and what to do where a row says nothing:

- ``{name}``: the value.
- ``{name|друг}``: the value, or the fallback where it is blank.
- ``{sex:Уважаемый|Уважаемая}``: one of two forms, by a column that says male or female in one of the usual ways; a
  third form, ``{sex:Уважаемый|Уважаемая|Здравствуйте}``, is the fallback.
- ``{{`` and ``}}``: the braces themselves.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MissingField", "Placeholder", "Template", "TemplateError", "brief", "column_list", "column_name"]

_MOST_NAMED: Final = 20  # columns in one message
_LONGEST_NAME: Final = 60
_TWO_FORMS, _WITH_FALLBACK = 2, 3

_brace = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")

_MALE: Final = frozenset("м муж мужской мужчина m male man mr 1".split())  # noqa: SIM905 - a table; 1 and 2: ISO 5218
_FEMALE: Final = frozenset("ж жен женский женщина f female w woman mrs ms 2".split())  # noqa: SIM905 - a table


class TemplateError(ValueError):
    """The template cannot be used with these columns; the message says why."""


class MissingField(ValueError):
    """A row lacks what a placeholder without a fallback needs.

    Attributes:
        field: The column.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"the column {brief(field)!r} {why}")
        self.field = field


def column_name(written: str) -> str:
    """Return a column's name, from a header or a placeholder, in the form in which names are compared."""
    return written.strip().casefold()


def column_list(columns: Iterable[str]) -> str:
    """Return the names of columns for a person; of very many, the first."""
    named = [brief(column) for column in columns if column]
    more = len(named) - _MOST_NAMED
    return (", ".join(named[:_MOST_NAMED]) or "none") + (f" and {more:,} more" if more > 0 else "")


def brief(name: str) -> str:
    """Return a name, shortened if it is too long to be shown."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


@attrs.frozen
class Placeholder:
    """What stands between braces.

    Attributes:
        field: The column.
        fallback: What stands for a row that says nothing; ``None`` if nothing may.
        forms: What stands for a man and for a woman; ``None`` for the value itself.
    """

    field: str
    fallback: str | None = None
    forms: tuple[str, str] | None = None

    def fill(self, values: Mapping[str, str]) -> str:
        """Return what stands in its place for a row.

        Raises:
            MissingField: The row says nothing, and there is no fallback.
        """
        value = values.get(self.field, "")
        if self.forms is None:
            return value if value.strip() else self._without("is empty")
        word = value.strip().casefold().removesuffix(".")
        if word in _MALE or word in _FEMALE:
            return self.forms[word in _FEMALE]
        return self._without("says neither male (м, m, male, 1) nor female (ж, f, female, 2)")

    def _without(self, why: str) -> str:
        if self.fallback is None:
            raise MissingField(self.field, why)
        return self.fallback


Piece: TypeAlias = tuple[str, Placeholder | None]
"""A literal, and the placeholder that follows it (``None`` at the end)."""


@attrs.frozen
class Template:
    """A text split at its placeholders."""

    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, written: str, columns: Iterable[str] | None = None) -> Template:
        """Split a text at its placeholders.

        Args:
            written: The text.
            columns: The columns that there are, as :func:`column_name` writes them. Left out, any will do.

        Raises:
            TemplateError: A lone brace, an empty placeholder, or one that names no column.
        """
        known = None if columns is None else set(columns)
        pieces: list[Piece] = []
        literal, start = "", 0
        for found in _brace.finditer(written):
            literal += written[start : found.start()]
            start = found.end()
            token = found.group()
            if token in {"{{", "}}"}:
                literal += token[0]
            else:
                pieces.append((literal, _placeholder(token, found.start(), known)))
                literal = ""
        return cls((*pieces, (literal + written[start:], None)))

    @cached_property
    def fields(self) -> frozenset[str]:
        """The columns that it uses."""
        return frozenset(place.field for _, place in self.pieces if place is not None)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with its placeholders filled; braces in values have no meaning.

        Args:
            values: A row, its columns named as :func:`column_name` writes them.

        Raises:
            MissingField: A column is not there or blank, and its placeholder has no fallback.
        """
        return "".join([literal + ("" if place is None else place.fill(values)) for literal, place in self.pieces])

    def render_with_gaps(self, values: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """Return the text of a row as far as it goes, and the columns that :meth:`render` would miss."""
        text, gaps = "", set()
        for literal, place in self.pieces:
            text += literal
            try:
                text += "" if place is None else place.fill(values)
            except MissingField as missing:
                gaps.add(missing.field)
                text += values.get(missing.field, "") if place is not None and place.forms is None else ""
        return text, tuple(sorted(gaps))


def _placeholder(token: str, position: int, known: set[str] | None) -> Placeholder:
    if len(token) == 1:
        raise TemplateError(f"a lone {token} at character {position + 1}; write {token * 2} for the brace itself")
    written = token[1:-1]
    if known is not None and (whole := column_name(written)) in known and whole:
        return Placeholder(whole)  # whatever signs its name has
    place = _parsed(written, token, position)
    if not place.field:
        raise TemplateError(f"an empty {token} at character {position + 1}; write {{{{}}}} for the braces themselves")
    if known is not None and place.field not in known:
        raise TemplateError(f"no column matches {token}; the file has {column_list(sorted(known))}")
    return place


def _parsed(written: str, token: str, position: int) -> Placeholder:
    name, colon, rest = written.partition(":")
    if colon and "|" not in name:
        forms = rest.split("|")
        if len(forms) not in {_TWO_FORMS, _WITH_FALLBACK}:
            raise TemplateError(
                f"{token} at character {position + 1} needs two forms, and may have a fallback: "
                f"{{{name}:Уважаемый|Уважаемая}}"
            )
        fallback = forms[2] if len(forms) == _WITH_FALLBACK else None
        return Placeholder(column_name(name), fallback, (forms[0], forms[1]))
    name, bar, fallback_text = written.partition("|")
    if "|" in fallback_text:
        raise TemplateError(f"{token} at character {position + 1} has more than one fallback")
    return Placeholder(column_name(name), fallback_text if bar else None)
