"""The progress of a bulk run, drawn by a timer in the output of a cell, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import Client, notebook
from smspilot_async.emulator import Fault
from smspilot_async.notebook import progress

if TYPE_CHECKING:
    from manual_clock import ManualClock

    from smspilot_async.emulator import Emulator

PEOPLE = [(f"790879647{number:02}", "Hello") for number in range(80, 90)]


class Output:
    """The output of a cell: how many items had a result each time it was drawn."""

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def display(self, stats: Any) -> None:
        assert not self.drawn
        self.drawn.append(stats.done)

    def update(self, stats: Any) -> None:
        assert self.drawn
        self.drawn.append(stats.done)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    """A notebook's cell is running."""
    output = Output()
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    ipython.display = SimpleNamespace(DisplayHandle=lambda: output)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return output


async def test_a_run_is_drawn_when_it_begins_and_when_it_is_over(output: Output, timed: Client) -> None:
    async with progress(timed.bulk(PEOPLE, packet_size=2)) as run:
        assert output.drawn == [0]
        async for _ in run:
            pass
        assert output.drawn == [0]  # however many results came, no time has passed
    assert output.drawn == [0, 10]


async def test_it_is_drawn_four_times_a_second_while_the_gateway_keeps_silent(
    output: Output, timed: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_next("send", Fault.SLOW)
    async with progress(timed.bulk(PEOPLE)) as run:
        await emulator.wait_for(to=PEOPLE[0][0])
        await manual_clock.advance(1.0)
        assert output.drawn == [0] * 5
        emulator.release()
        await anext(run)
        await manual_clock.advance(0.24)
        assert output.drawn == [0] * 5
        await manual_clock.advance(0.01)
        assert output.drawn == [0] * 5 + [10]


async def test_once_it_is_over_nothing_is_drawn_any_more(
    output: Output, timed: Client, manual_clock: ManualClock
) -> None:
    async with progress(timed.bulk(PEOPLE)) as run:
        await anext(run)
    drawn = list(output.drawn)
    await manual_clock.advance(10.0)
    assert output.drawn == drawn


async def test_after_an_error_in_the_block_the_last_figures_are_the_true_ones(
    output: Output, timed: Client, emulator: Emulator
) -> None:
    async def fail_at_once() -> None:
        async with progress(run):
            async for _ in run:
                raise ZeroDivisionError

    run = timed.bulk(PEOPLE, packet_size=2)
    with pytest.raises(ZeroDivisionError):
        await fail_at_once()
    assert output.drawn[-1] == run.stats.done == run.stats.read
    assert run.stats.accepted == len(emulator.messages) > 0


async def test_a_display_that_fails_does_not_end_the_run(
    output: Output, timed: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError("the page is gone")

    monkeypatch.setattr(output, "display", fail)
    monkeypatch.setattr(output, "update", fail)
    async with progress(timed.bulk(PEOPLE)) as run:
        assert len([result async for result in run]) == 10


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["no shell", "a terminal"])
async def test_outside_of_notebooks_it_is_the_run_alone(
    shell: object, output: Output, timed: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    async with progress(timed.bulk(PEOPLE)) as run:
        assert len([result async for result in run]) == 10
    assert output.drawn == []


def test_importing_it_brings_nothing_of_jupyter_or_of_data_frames() -> None:
    heavy = {"IPython", "ipykernel", "ipywidgets", "pandas", "polars"}
    code = f"import sys, {notebook.__name__} as it; it.show([])._repr_html_(); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout == "set()\n"
