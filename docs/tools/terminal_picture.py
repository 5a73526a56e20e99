"""A picture of what a terminal shows, as SVG: a dark window with the prompt, the command and its output."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS: Final = 80
_CELL: Final = 8.4
_LINE: Final = 18
_LEFT: Final = 20
_TOP: Final = 62
_FONT: Final = "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_STYLE: Final = """
    text{fill:#dfe6e2;white-space:pre}.s1{font-weight:700}.s2{fill:#98a59f}
    .s31{fill:#ff8f82}.s32{fill:#6fd3a4}.s33{fill:#f0b93a}
"""
_BUTTONS: Final = (
    '  <g fill="#45504b"><circle cx="24" cy="20" r="6"/><circle cx="44" cy="20" r="6"/>'
    '<circle cx="64" cy="20" r="6"/></g>'
)
_RUN: Final = re.compile(r"(?:\x1b\[(?P<codes>[\d;]*)m)?(?P<text>[^\x1b]+)(?:\x1b\[0m)?")


def draw(command: str, output: str, *, title: str) -> str:
    """Return the picture.

    Args:
        command: Is shown after the prompt.
        output: What a terminal of 80 columns gets: colours as escape sequences, and no other ones.
        title: For readers who do not see the picture.
    """
    lines = output.rstrip("\n").split("\n")
    width, height = _COLUMNS * _CELL + 2 * _LEFT, _TOP + (len(lines) + 1) * _LINE + 24
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" role="img" aria-labelledby="t"',
            f'  font-family="{_FONT}" font-size="14">',
            f'  <title id="t">{escape(title)}</title>',
            f"  <style>{_STYLE}  </style>",
            f'  <rect width="{width:g}" height="{height}" rx="10" fill="#171c1a"/>',
            _BUTTONS,
            *_drawn(0, f"\x1b[32m$\x1b[0m {command}"),
            *(text for number, line in enumerate(lines, 2) for text in _drawn(number, line)),
            "</svg>\n",
        )
    )


def _drawn(number: int, line: str) -> Iterator[str]:
    """Draw the runs of a line, each as wide as its characters, whatever font there is."""
    column = 0
    for run in _RUN.finditer(line):
        text = run["text"].rstrip()
        start = len(text) - len(text.lstrip())
        if shown := text.strip():
            codes = " ".join(f"s{code}" for code in (run["codes"] or "").split(";") if code not in {"", "0"})
            of_class = f' class="{codes}"' if codes else ""
            x, y = _LEFT + (column + start) * _CELL, _TOP + number * _LINE
            yield (
                f'  <text{of_class} x="{x:g}" y="{y}" textLength="{len(shown) * _CELL:g}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(shown, quote=False)}</text>'
            )
        column += len(run["text"])
