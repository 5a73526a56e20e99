"""Runs the sides of a comparison in turn, and keeps the lines of the table.

A shared machine is never quiet, so no figure is compared with one of another minute: in every run each side has its
turn, the next run takes them in the opposite order, the ratio is taken within the run, and what is shown is the median
of the runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from benchmarks.side import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parent.parent
Run: TypeAlias = dict[str, dict[str, float]]
"""Of one run: the figures of each side, by the side's name."""


@attrs.frozen
class Side:
    """A function to call in a process of its own, ``"module:function"``, and its options."""

    function: str
    options: Options = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Line:
    """One line of the table.

    Attributes:
        benchmark: The name it is run by.
        what: What is compared.
        unit: Of both figures.
        ours, theirs: The medians; ``None`` where a side could not be run.
        beside: What the other figure is: a peer, a floor, or what the goal computes.
        ratio: As the goal counts it; the median of the runs' ratios.
        goal: What it should be.
        is_met: Whether it is; ``None`` where the line has no goal, or was not measured.
        note: What a reader must know.
        ratios: Of each run.
    """

    benchmark: str
    what: str
    unit: str
    ours: float | None
    theirs: float | None
    beside: str
    ratio: float | None
    goal: str
    is_met: bool | None
    note: str = ""
    ratios: Sequence[float] = ()


@attrs.frozen
class Goal:
    """What a ratio should be."""

    bound: float
    is_most: bool = True

    def __str__(self) -> str:
        return f"{'<=' if self.is_most else '>='} {self.bound:g}"

    def is_met_by(self, ratio: float) -> bool:
        return ratio <= self.bound if self.is_most else ratio >= self.bound


def at_most(bound: float) -> Goal:
    return Goal(bound)


def at_least(bound: float) -> Goal:
    return Goal(bound, is_most=False)


@attrs.define
class Bench:
    """What a benchmark is given: the server's address, how much to do, and where its lines go.

    Attributes:
        url: Of the server, without a path.
        is_quick: A fast look: fewer messages, and figures that waver.
        runs: How often each side has its turn.
        lines: Those there are so far.
    """

    url: str
    is_quick: bool
    runs: int
    lines: list[Line] = attrs.field(factory=list)
    show: Callable[[Line], None] = print

    def endpoint(self, latency: str = "0") -> str:
        """The address of a gateway that takes so many milliseconds: ``"0"``, or a range such as ``"50-200"``."""
        return f"{self.url}/{latency}/api2.php"

    def amount(self, full: int, quick: int) -> int:
        return quick if self.is_quick else full

    def in_turn(self, sides: Mapping[str, Side]) -> tuple[list[Run], dict[str, str]]:
        """Run each side so often, in turn.

        Returns:
            The figures of every run, and why sides are missing from all of them.
        """
        runs: list[Run] = []
        missing: dict[str, str] = {}
        for number in range(self.runs):
            run: Run = {}
            for name in sorted(sides, reverse=bool(number % 2)):
                if name in missing:
                    continue
                figures = _call(sides[name])
                if "missing" in figures:
                    missing[name] = str(figures["missing"])
                else:
                    run[name] = figures
            runs.append(run)
        return runs, missing

    def compare(
        self,
        benchmark: str,
        what: str,
        runs: Sequence[Run],
        *,
        ours: Callable[[Run], float],
        theirs: Callable[[Run], float],
        unit: str,
        beside: str,
        goal: Goal | None,
        ratio: Callable[[float, float], float] = lambda ours, theirs: ours / theirs,
        note: str = "",
    ) -> None:
        """Add a line: the medians of both figures, and of the ratio of each run."""
        pairs = [(ours(run), theirs(run)) for run in runs]
        ratios = [ratio(*pair) for pair in pairs]
        middle = median(ratios)
        self._add(
            Line(
                benchmark,
                what,
                unit,
                median(pair[0] for pair in pairs),
                median(pair[1] for pair in pairs),
                beside,
                middle,
                "-" if goal is None else str(goal),
                None if goal is None else goal.is_met_by(middle),
                note,
                ratios,
            )
        )

    def leave_out(self, benchmark: str, what: str, beside: str, goal: Goal | None, why: str) -> None:
        """Add a line that says why there are no figures."""
        self._add(Line(benchmark, what, "", None, None, beside, None, str(goal or "-"), None, why))

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self.show(line)


def _call(side: Side) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = {name: value for name, value in environment.items() if not name.startswith("SMSPILOT_")}
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.side", side.function, json.dumps(side.options)],
        cwd=_ROOT,
        env={**environment, "NO_PROXY": "127.0.0.1", **side.environment},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server for the body; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process, cast("IO[str]", process.stdin):  # it ends when its input does
        yield f"http://127.0.0.1:{int(cast('IO[str]', process.stdout).readline())}"
