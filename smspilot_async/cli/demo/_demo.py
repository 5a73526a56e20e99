"""The command ``demo``: what this library prevents, shown against an emulated gateway on this machine.

Every figure is counted during the run; the seed decides which requests fail.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smspilot_async.cli._errors import Exit
from smspilot_async.cli._output import print_json, print_line, progress_bar
from smspilot_async.cli.demo import _campaign, _ending, _race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.cli.demo._race import Tally


def demo(*, seed: int, people: int, as_json: bool) -> int:
    """Run both scenes, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="smspilot-demo-") as folder:
        figures = play(seed, people, Path(folder), as_json=as_json)
    if as_json:
        print_json(figures)
    return Exit.FINE


def play(seed: int, people: int, folder: Path, *, as_json: bool) -> Mapping[str, Any]:
    """Run both scenes and show them, unless the figures that are returned will be."""
    # An emulator sends nothing anyway, and does not count test messages as accepted.
    os.environ.pop("SMSPILOT_TEST", None)
    return asyncio.run(_play(seed, people, folder, as_json=as_json))


async def _play(seed: int, people: int, folder: Path, *, as_json: bool) -> Mapping[str, Any]:
    if not as_json:
        _announce_race(seed, people)
    with progress_bar(transient=True) as progress:
        plain, ours = await _race.race(_race.crowd(people), seed, progress)
    if not as_json:
        _race.show(plain, ours)
        _announce_campaign()
    played = await _campaign.play(seed, folder)
    if not as_json:
        _ending.show(played)
    return _figures(seed, people, plain, ours) | {"campaign": played.as_json()}


def _announce_race(seed: int, people: int) -> None:
    print_line(f"1. {people:,} people are to get one SMS each. The gateway, emulated on this machine,", indent=3)
    print_line(f"   accepts every message, and loses {_race.FAULT_RATE:.0%} of its answers (seed {seed}).", indent=3)
    print_line()


def _announce_campaign() -> None:
    lost = sum(_campaign.FAULTS.values())
    print_line()
    print_line("2. A campaign of 1,200 rows goes out from a ledger. The connection breaks under", indent=3)
    print_line(f"   {lost:.0%} of its packets, accepted or not. Half-way, its sender is ended by kill -9;", indent=3)
    print_line("   another takes over. Then the gateway calls back.", indent=3)
    print_line()


def _figures(seed: int, people: int, plain: Tally, ours: Tally) -> dict[str, Any]:
    return {
        "seed": seed,
        "fault_rate": _race.FAULT_RATE,
        "people": people,
        "plain_loop": plain.as_json(),
        "smspilot_async": ours.as_json(),
    }
