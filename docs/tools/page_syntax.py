"""Reads the pages as they are written: with titles above blocks, hidden blocks that only tests run, words to find."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_HIDDEN: Final = re.compile(r"^<!-- before\n.*?^-->$", re.MULTILINE | re.DOTALL)
_INDEX: Final = re.compile(r"^<!-- index: (.+) -->$", re.MULTILINE)
_TITLED: Final = re.compile(r'^( *)```(\w+) title="([^"]*)"$', re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Join the build."""
    app.connect("source-read", _rewrite)
    app.add_lexer("csv", TextLexer)
    return {"parallel_read_safe": True}


def _rewrite(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = as_myst(source[0])


def as_myst(text: str) -> str:
    """Return a page in MyST's own words.

    Hidden blocks are left out, a block's title is its caption, and the words in ``<!-- index: … -->`` are those for
    which the search leads there first.
    """
    text = _HIDDEN.sub(lambda hidden: "\n" * hidden[0].count("\n"), text)
    text = _INDEX.sub(lambda words: f":::{{index}} ! {words[1].replace(', ', ', ! ')}\n:::", text)
    return _TITLED.sub(r"\1```{code-block} \2\n\1:caption: \3\n", text)
