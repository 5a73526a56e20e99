"""The command ``demo``: what this library prevents, shown against an emulated gateway on this machine.

Every figure is counted during the run; the seed decides which requests fail.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from smspilot_async.cli._errors import Exit
from smspilot_async.cli._output import print_json, print_line, progress_bar
from smspilot_async.cli.demo import _campaign, _ending, _race
from smspilot_async.cli.demo._ending import Played
from smspilot_async.cli.demo._race import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(kw_only=True)
class Ran:
    """A run of both scenes.

    Attributes:
        seed: Of the faults.
        plain, ours: What the two senders of scene one came to.
        played: Scene two.
    """

    seed: int
    plain: Tally
    ours: Tally
    played: Played

    def as_json(self) -> Mapping[str, Any]:
        """Return its figures as JSON data."""
        return {
            "seed": self.seed,
            "fault_rate": _race.FAULT_RATE,
            "people": self.plain.people,
            "plain_loop": self.plain.as_json(),
            "smspilot_async": self.ours.as_json(),
            "campaign": self.played.as_json(),
        }


def demo(*, seed: int, people: int, as_json: bool) -> int:
    """Run both scenes, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="smspilot-demo-") as folder:
        ran = play(seed, people, Path(folder), is_shown=not as_json)
    if as_json:
        print_json(ran.as_json())
    return Exit.FINE


def play(seed: int, people: int, folder: Path, *, is_shown: bool) -> Ran:
    """Run both scenes, and show each when it is over."""
    # An emulator sends nothing anyway, and does not count test messages as accepted.
    os.environ.pop("SMSPILOT_TEST", None)
    return asyncio.run(_play(seed, people, folder, is_shown=is_shown))


async def _play(seed: int, people: int, folder: Path, *, is_shown: bool) -> Ran:
    if is_shown:
        _announce_race(seed, people)
    with progress_bar(transient=True) as progress:
        plain, ours = await _race.race(_race.crowd(people), seed, progress)
    if is_shown:
        _race.show(plain, ours)
        _announce_campaign()
    played = await _campaign.play(seed, folder)
    if is_shown:
        _ending.show(played)
    return Ran(seed=seed, plain=plain, ours=ours, played=played)


def show(ran: Ran) -> None:
    """Print a run as a whole, as it was printed while it ran."""
    _announce_race(ran.seed, ran.plain.people)
    _race.show(ran.plain, ran.ours)
    _announce_campaign()
    _ending.show(ran.played)


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
