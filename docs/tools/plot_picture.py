"""Draws the plot of a bulk run for the page on notebooks: ``make pictures``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from smspilot_async._display.plots import draw
from smspilot_async._tools.history import History

_PICTURE: Final = Path(__file__).parents[1] / "images" / "plot.svg"
_SETTINGS: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "smspilot"}


def run() -> History:
    """Return a run of forty seconds: a hundred messages in each packet, and six seconds without an answer."""
    history = History("outcomes", width=0.8)
    for packet in range(100):
        seconds = 0.4 * packet + 0.39
        if 18 <= seconds < 24:  # noqa: PLR2004 - the gap
            continue
        refused = packet * 7 % 5 * 3
        history.add(seconds, "accepted", 100 - refused)
        if refused:
            history.add(seconds, "refused", refused)
    history.add(18.2, "unknown", 100)
    return history


if __name__ == "__main__":
    drawn = io.StringIO()
    with mpl.rc_context(_SETTINGS):
        draw(run()).savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    lines = drawn.getvalue().splitlines()
    _PICTURE.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
