"""Templates: ``Привет, {name}`` is filled from the columns of a row, and from nothing else.

This is deliberately not :meth:`str.format`: no attributes, no formats, no conversions, no code. Between the braces is
the name of a column; ``{{`` and ``}}`` are the braces themselves.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Piece: TypeAlias = tuple[str, str | None]
"""A literal, and the column that follows it (``None`` at the end)."""

_MOST_NAMED: Final = 20  # columns in one message
_LONGEST_NAME: Final = 60

_brace = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")


class TemplateError(ValueError):
    """The template cannot be used with these columns; the message says why."""


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
class Template:
    """A text split at its placeholders."""

    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, written: str, columns: Iterable[str]) -> Template:
        """Split a text at its placeholders; each must name one of the columns.

        Raises:
            TemplateError: A lone brace, an empty placeholder, or one that names no column.
        """
        known = set(columns)
        pieces: list[Piece] = []
        literal, start = "", 0
        for found in _brace.finditer(written):
            literal += written[start : found.start()]
            start = found.end()
            token = found.group()
            if token in {"{{", "}}"}:
                literal += token[0]
            else:
                pieces.append((literal, _gap(token, found.start(), known)))
                literal = ""
        return cls((*pieces, (literal + written[start:], None)))

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that it uses."""
        return frozenset(column for _, column in self.pieces if column is not None)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with its placeholders filled; braces in values have no meaning."""
        return "".join(literal + ("" if column is None else values[column]) for literal, column in self.pieces)


def _gap(token: str, position: int, known: set[str]) -> str:
    if len(token) == 1:
        raise TemplateError(f"a lone {token} at character {position + 1}; write {token * 2} for the brace itself")
    name = column_name(token[1:-1])
    if not name:
        raise TemplateError(f"an empty {token} at character {position + 1}; write {{{{}}}} for the braces themselves")
    if name not in known:
        raise TemplateError(f"no column fits {token}; the file has {column_list(sorted(known))}")
    return name
