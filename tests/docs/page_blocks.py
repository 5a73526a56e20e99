"""What a page of the documentation shows: its blocks of code, in order, with what is said about each."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = Path(__file__).parent.parent.parent / "docs"

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\{eval-rst\}|\w*)(?P<options>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$"
    r"|^<!-- before\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
_TITLE: Final = re.compile(r'title="([^"]*)"')


@attrs.frozen
class Block:
    """A fenced block, or a hidden one: a comment that begins with ``before`` and prepares what the next block needs.

    Attributes:
        language: What follows the fence; ``"hidden"`` for a comment.
        code: Its text, without the indentation of what it stands in.
        title: The title that is shown above it: a file's name, mostly.
        line: Where its code begins, from 1.
        follows: Nothing but white space stands between it and the block before it.
    """

    language: str
    code: str
    title: str
    line: int
    follows: bool


def pages() -> list[Path]:
    """Every page, in a stable order."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    end = 0
    for found in _BLOCK.finditer(text):
        between = text[end : found.start()]
        is_hidden = found["hidden"] is not None
        title = _TITLE.search(found["options"] or "")
        start = found.start("hidden" if is_hidden else "body")
        if found["language"] == "{eval-rst}":  # the reference, of docstrings
            end = found.end()
            continue
        yield Block(
            language="hidden" if is_hidden else found["language"],
            code=textwrap.dedent(found["hidden"] if is_hidden else found["body"]),
            title=title[1] if title else "",
            line=text.count("\n", 0, start) + 1,
            follows=not between.strip(),
        )
        end = found.end()
