"""How long ``import smspilot_async`` and the command take to start: CPU, beside their dependencies' own imports.

Each start is a process of its own, with its modules compiled before. What Python itself needs is on both sides.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from benchmarks.bench import Bench, Goal, Run, Side, at_most
from benchmarks.messages import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.side import Figures, Options

_DEPENDENCIES: Final = "import httpx, httpcore, httptools, attrs, cattrs.gen, xmltodict, anyio"
_OF_THE_COMMAND: Final = f"{_DEPENDENCIES}, click, rich.table, rich.progress"
_OF_A_LEDGER: Final = f"{_OF_THE_COMMAND}, sqlalchemy.ext.asyncio, sqlite3"
_PACKAGE, _COMMAND, _LEDGER = "its dependencies", "its dependencies, click and rich", "those and SQLAlchemy"
_STARTS: Final[dict[str, Sequence[str]]] = {
    _PACKAGE: ("-c", _DEPENDENCIES),
    _COMMAND: ("-c", _OF_THE_COMMAND),
    _LEDGER: ("-c", _OF_A_LEDGER),
    "import smspilot_async": ("-c", "import smspilot_async"),
    "smspilot --version": ("-m", "smspilot_async", "--version"),
    "smspilot --help": ("-m", "smspilot_async", "--help"),
    "smspilot campaign list": ("-m", "smspilot_async", "campaign", "list"),
}
_LINES: Final[tuple[tuple[str, str, Goal | None], ...]] = (
    ("import smspilot_async", _PACKAGE, at_most(1.5)),
    ("smspilot --version", _COMMAND, None),
    ("smspilot --help", _COMMAND, None),
    ("smspilot campaign list", _LEDGER, None),
)


def run(bench: Bench) -> None:
    starts = bench.amount(10, 3)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
            "PYTHONDONTWRITEBYTECODE": "",
            "SMSPILOT_JSON": "stdlib",  # the base install
            "SMSPILOT_LEDGER": f"sqlite:///{folder}/ledger.db",
        }
        _make_ledger({**environment, "SMSPILOT_API_KEY": KEY, "SMSPILOT_URL": bench.endpoint(), "SMSPILOT_TEST": "1"})
        sides = {
            name: Side("benchmarks.start:start", {"arguments": arguments, "starts": starts}, environment)
            for name, arguments in _STARTS.items()
        }
        runs, _ = bench.in_turn(sides)
    for ours, theirs, goal in _LINES:
        bench.compare(
            "start",
            ours,
            runs,
            ours=_cpu_of(ours),
            theirs=_cpu_of(theirs),
            unit="ms CPU",
            beside=theirs,
            goal=goal,
        )


def _make_ledger(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "smspilot_async", "outbox", "init"]
    subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=True)  # noqa: S603


def _cpu_of(side: str) -> Callable[[Run], float]:
    return lambda run: run[side]["cpu"] * 1000


def start(options: Options) -> Figures:
    """Start Python so often; the CPU of one start, in seconds."""
    command = [sys.executable, *options["arguments"]]
    _start(command)  # which compiles what it imports
    before = _cpu_of_children()
    for _ in range(options["starts"]):
        _start(command)
    return {"cpu": (_cpu_of_children() - before) / options["starts"]}


def _start(command: Sequence[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - the interpreter, and our own module


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
