"""Reads the pages as they are written: with titles above blocks of code, and with hidden blocks that only tests run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_HIDDEN: Final = re.compile(r"^<!-- before\n.*?^-->$", re.MULTILINE | re.DOTALL)
_TITLED: Final = re.compile(r'^( *)```(\w+) title="([^"]*)"$', re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Join the build."""
    app.connect("source-read", _rewrite)
    app.add_lexer("csv", TextLexer)
    return {"parallel_read_safe": True}


def _rewrite(_: Sphinx, __: str, source: list[str]) -> None:
    source[0] = as_myst(source[0])


def as_myst(text: str) -> str:
    """Return a page in MyST's own words: hidden blocks are left out, and a block's title is its caption."""
    text = _HIDDEN.sub(lambda hidden: "\n" * hidden[0].count("\n"), text)
    return _TITLED.sub(r"\1```{code-block} \2\n\1:caption: \3\n", text)
