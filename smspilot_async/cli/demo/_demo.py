"""The command ``demo``: what this library prevents, shown against an emulated gateway on this machine.

Every figure is counted during the run; the seed decides which requests fail.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from smspilot_async.cli._errors import Exit
from smspilot_async.cli._output import print_json, print_line, progress_bar
from smspilot_async.cli.demo import _list, _race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.cli.demo._race import Tally


def demo(*, seed: int, people: int, as_json: bool) -> int:
    """Run both scenes, and return the exit code."""
    os.environ.pop(
        "SMSPILOT_TEST", None
    )  # an emulator sends nothing anyway, and does not count test messages as accepted
    figures = asyncio.run(_play(seed, people, as_json=as_json))
    if as_json:
        print_json(figures)
    return Exit.FINE


async def _play(seed: int, people: int, *, as_json: bool) -> Mapping[str, Any]:
    if not as_json:
        _announce_race(seed, people)
    with progress_bar() as progress:
        plain, ours = await _race.race(_race.crowd(people), seed, progress)
    if not as_json:
        _race.show(plain, ours)
        _announce_list()
    listed = await _list.send_the_list(seed, as_json=as_json)
    return _figures(seed, people, plain, ours) | {"list": listed}


def _announce_race(seed: int, people: int) -> None:
    print_line(f"1. {people:,} people are to get one SMS each. The gateway, emulated on this machine,", indent=3)
    print_line(
        f"   accepts {_race.FAULT_RATE:.0%} of the requests and then drops the connection (seed {seed}).", indent=3
    )
    print_line()


def _announce_list() -> None:
    print_line()
    print_line("2. A list goes out, as with: smspilot bulk recipients.csv", indent=3)
    print_line()


def _figures(seed: int, people: int, plain: Tally, ours: Tally) -> dict[str, Any]:
    return {
        "seed": seed,
        "fault_rate": _race.FAULT_RATE,
        "people": people,
        "plain_loop": plain.as_json(),
        "smspilot_async": ours.as_json(),
    }
