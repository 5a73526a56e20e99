"""Draw what the demo shows: ``make pictures``. README and the documentation show the pictures.

The demo's seed decides its figures and its output, so that a test can compare the pictures with a run.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import attrs
import click

sys.path.insert(0, str(Path(__file__).parent))

import comparison_chart
import terminal_picture

from smspilot_async.cli import _language
from smspilot_async.cli._output import to_json
from smspilot_async.cli.demo import _demo

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES: Final = Path(__file__).parents[1] / "images"
SEED: Final = 7
PEOPLE: Final = 1000
_HEAD: Final = "\x1b[1m"
"""How the title of a table or a paragraph begins; the last but one of them is not shown, nor what follows."""


@attrs.frozen
class Shown:
    """A run of the demo.

    Attributes:
        figures: As ``--json`` prints them.
        screen: Its output, as a terminal of 80 columns gets it.
        russian: The same for a reader of Russian.
    """

    figures: Mapping[str, Any]
    screen: str
    russian: str


def run() -> Shown:
    """Run the demo as it is run by default."""
    with tempfile.TemporaryDirectory() as folder, _terminal("C.UTF-8") as screen:
        ran = _demo.play(SEED, PEOPLE, Path(folder), is_shown=True)
    with _terminal("ru_RU.UTF-8") as russian:
        _demo.show(ran)
    return Shown(json.loads(to_json(ran.as_json())), _text(screen), _text(russian))


@contextmanager
def _terminal(locale: str) -> Iterator[io.TextIOWrapper]:
    """Let what is printed go to a terminal of its own, in the language of a locale."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    environment = {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "", "LC_ALL": locale, "LANGUAGE": ""}
    with patch.dict(os.environ, environment), click.Context(click.Command("demo"), color=True), redirect_stdout(screen):
        _language.begin()
        yield screen
    _language.begin()


def _text(screen: io.TextIOWrapper) -> str:
    screen.seek(0)
    return screen.read()


def pictures(shown: Shown) -> Mapping[str, str]:
    """Return the pictures by their file names."""
    return {
        "comparison.svg": comparison_chart.draw(shown.figures, comparison_chart.ENGLISH),
        "comparison.ru.svg": comparison_chart.draw(shown.figures, comparison_chart.RUSSIAN),
        "demo.svg": _picture(shown.screen, "The beginning of what smspilot demo prints"),
        "demo.ru.svg": _picture(shown.russian, "Начало того, что печатает smspilot demo"),
    }


def _picture(screen: str, title: str) -> str:
    """Draw a screen without the table of what was refused, and what follows it."""
    rows = screen.split("\n")
    last = [number for number, row in enumerate(rows) if row.startswith(_HEAD)][-2]
    return terminal_picture.draw("smspilot demo", "\n".join(rows[:last]), title=title)


if __name__ == "__main__":
    for name, drawn in pictures(run()).items():
        (IMAGES / name).write_text(drawn, encoding="utf-8")
        sys.stdout.write(f"{IMAGES / name}\n")
