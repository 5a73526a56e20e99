"""Draw what the demo shows: ``make pictures``. README and the documentation show the pictures.

The demo's seed decides its figures and its output, so that a test can compare the pictures with a run.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import click

sys.path.insert(0, str(Path(__file__).parent))

import comparison_chart
import terminal_picture

from smspilot_async.cli._output import to_json
from smspilot_async.cli.demo import _demo

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGES: Final = Path(__file__).parents[1] / "images"
SEED: Final = 7
PEOPLE: Final = 1000
_NOT_SHOWN: Final = "refused, and why"
"""The first line of the output that the picture does not show has this."""


def run() -> tuple[Mapping[str, Any], str]:
    """Run the demo as it is run by default.

    Returns:
        Its figures, as ``--json`` prints them, and its output, as a terminal of 80 columns gets it.
    """
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    terminal = {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": ""}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, terminal),
        click.Context(click.Command("demo"), color=True),
        redirect_stdout(screen),
    ):
        figures = _demo.play(SEED, PEOPLE, Path(folder), as_json=False)
    screen.flush()
    return json.loads(to_json(figures)), screen.buffer.getvalue().decode()


def pictures(figures: Mapping[str, Any], screen: str) -> Mapping[str, str]:
    """Return the pictures by their file names."""
    shown = screen.partition(_NOT_SHOWN)[0].rpartition("\n")[0]
    return {
        "comparison.svg": comparison_chart.draw(figures, comparison_chart.ENGLISH),
        "comparison.ru.svg": comparison_chart.draw(figures, comparison_chart.RUSSIAN),
        "demo.svg": terminal_picture.draw("smspilot demo", shown, title="The beginning of what smspilot demo prints"),
    }


if __name__ == "__main__":
    for name, drawn in pictures(*run()).items():
        (IMAGES / name).write_text(drawn, encoding="utf-8")
        sys.stdout.write(f"{IMAGES / name}\n")
