"""How the tests run the command, in this process or in one of its own, and the lists they send."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from click.testing import CliRunner

from smspilot_async.cli._app import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async.emulator import Emulator

PHONES = [f"790879{number:05d}" for number in range(1000)]
KEY = "K3Y" * 21 + "X"


@attrs.frozen
class Ran:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def events(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Ran:
    """Run the command in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    assert KEY not in result.output
    return Ran(result.exit_code, result.stdout, result.stderr)


def command(*arguments: str | Path) -> list[str]:
    """Name the command for a process of its own."""
    return [sys.executable, "-m", "smspilot_async.cli", *map(str, arguments)]


def environment(emulator: Emulator, **more: str) -> dict[str, str]:
    """Make the environment for such a process."""
    return {**os.environ, "SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, **more}


def write_list(rows: Sequence[Sequence[str]], path: str = "list.csv", *, header: str = "to,text") -> Path:
    """Write a list of recipients."""
    lines = [header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)


def numbered(count: int) -> list[tuple[str, str]]:
    """Make up so many rows."""
    return [(PHONES[number], f"Hello {number}") for number in range(count)]
