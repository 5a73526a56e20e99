"""Plots of what became of messages over time: what they show, in words and colours, and what they are made from."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from itertools import combinations
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from smspilot_async._display.colours import BAD, FINE, OPEN, UNKNOWN
from smspilot_async._display.plots import Plot, draw
from smspilot_async._tools.history import History
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manual_clock import ManualClock
    from matplotlib.figure import Figure

    from smspilot_async import BulkRun, Client, Tracking

PEOPLE = [(f"790879647{number:02}", "Hello") for number in range(80, 90)]
MOST = 240


def shown(figure: Figure) -> tuple[str, list[str]]:
    """Return the alternative text of a figure in a notebook, and the texts in its picture."""
    assert isinstance(figure, Plot)
    (svg,) = ET.fromstring(figure._repr_html_())  # noqa: S314 - our own
    assert svg.get("role") == "img"
    title = svg.find("{*}title")
    assert title is not None
    assert title.text is not None
    assert title.text == svg.get("aria-label") == figure.get_label()
    return title.text, [text.text or "" for text in svg.iter() if text.tag.endswith("}text")]


async def drawn(run: BulkRun[Any] | Tracking) -> tuple[str, list[str]]:
    """Return the same of a run, drawn in a thread: matplotlib reads files."""
    return await asyncio.to_thread(lambda: shown(run.plot()))


def heights(figure: Figure, axes: int = 0) -> list[list[float]]:
    """Return how high each layer of some axes reaches, from the bottom layer on."""
    return [[float(value) for value in layer.get_data().values] for layer in figure.axes[axes].patches]  # type: ignore[attr-defined]


async def test_a_run_shows_its_outcomes_and_apart_what_was_not_accepted(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=212, to=PEOPLE[3][0])
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with client.bulk(PEOPLE, packet_size=2, in_flight=1, max_unknown=5) as run:
        assert len([result async for result in run]) == 10
    alt, texts = await drawn(run)
    assert re.search(r"by outcome, in messages per second, over \S+ s: 7 accepted, 1 refused, 2 unknown\.$", alt)
    assert {"accepted 7", "refused 1", "unknown 2", "messages/s", "not accepted/s", "since the start, s"} <= {*texts}


async def test_a_run_that_was_accepted_whole_has_one_axis(client: Client) -> None:
    async with client.bulk(PEOPLE) as run:
        assert len([result async for result in run]) == 10
    assert len((await asyncio.to_thread(run.plot)).axes) == 1


async def test_a_run_that_has_not_begun_shows_nothing_yet(client: Client) -> None:
    alt, _ = await drawn(client.bulk(PEOPLE))
    assert alt.endswith("over 0 s: nothing yet.")


async def test_a_tracking_shows_how_many_stand_where(
    timed: Client, emulator: Emulator, manual_clock: ManualClock
) -> None:
    emulator.fail_delivery(to=PEOPLE[0][0])
    async with timed.bulk(PEOPLE) as run:
        sent = [result async for result in run]
    async with timed.track(sent, timeout=3600) as changes:
        assert (await drawn(changes))[0].endswith(": 10 on the way.")
        emulator.clock.advance(minutes=5)
        await manual_clock.advance(60.0)
        assert len([status async for status in changes]) == 10
        alt, texts = await drawn(changes)
    assert alt == (
        "How many tracked messages stood in which state, over 60 s: 9 delivered, 1 not delivered, 0 on the way."
    )
    assert {"delivered 9", "not delivered 1", "on the way 0", "messages", "since the start, s"} <= {*texts}


def test_states_are_stacked_and_always_sum_to_all_messages() -> None:
    history = History("states")
    history.add(0.0, "on the way", 5)
    for seconds, state in ((130.0, "delivered"), (200.0, "delivered"), (390.0, "not delivered")):
        history.add(seconds, "on the way", -1)
        history.add(seconds, state)
    figure = draw(history)
    delivered, not_delivered, on_the_way = heights(figure)
    assert set(on_the_way) == {5.0}
    assert (delivered[0], delivered[-1], not_delivered[-1]) == (0.0, 2.0, 3.0)
    assert "since the start, min" in shown(figure)[1]


def test_rates_are_per_second_whatever_the_interval() -> None:
    history = History("outcomes")
    for second in range(3600):
        history.add(float(second), "accepted", 50)
    (rates,) = heights(draw(history))
    assert history.width > 10
    assert rates == pytest.approx([50.0] * len(rates), rel=0.1)


@pytest.mark.parametrize("seconds", [1.0, 60.0, 86_400.0, 40 * 86_400.0])
def test_what_a_plot_is_made_from_stays_small(seconds: float) -> None:
    history = History("outcomes")
    for number in range(100_000):
        history.add(seconds * number / 100_000, ("accepted", "refused")[number % 2])
    assert len(history.intervals) <= MOST
    assert sum(map(len, history.intervals)) <= 2 * MOST
    assert history.totals() == {"accepted": 50_000, "refused": 50_000}
    assert sum(sum(column.values()) for column in history.columns()) == 100_000
    assert len(history.edges()) == len(history.columns()) + 1
    assert all(one < other for one, other in zip(history.edges(), history.edges()[1:], strict=False))


def test_in_a_dark_notebook_its_texts_have_the_pages_colour() -> None:
    history = History("outcomes")
    history.add(0.5, "accepted", 10)
    plot = draw(history)
    source = plot._repr_html_()
    assert set(re.findall(r"#[0-9a-f]{6}", source)) <= {FINE}
    assert "currentColor" in source
    assert "white" not in source
    assert plot.get_facecolor()[:3] == (1.0, 1.0, 1.0)  # as a file it has a page of its own


def test_its_colours_differ_for_the_colour_blind_and_stand_out_from_dark_and_light_pages() -> None:
    colours = (FINE, BAD, UNKNOWN, OPEN)
    for one, other in combinations(colours, 2):
        for matrix in SEEN_BY.values():
            assert difference(seen(one, matrix), seen(other, matrix)) > 25
    for colour in colours:
        for page in ("#ffffff", "#111111", "#1e1e1e"):
            lighter, darker = sorted((luminance(linear(colour)), luminance(linear(page))), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 3


SEEN_BY = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> list[float]:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]


def luminance(channels: Sequence[float]) -> float:
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def seen(colour: str, matrix: Sequence[Sequence[float]]) -> list[float]:
    """Return a colour in CIELAB as somebody sees it."""
    channels = [
        min(1.0, max(0.0, sum(weight * channel for weight, channel in zip(row, linear(colour), strict=True))))
        for row in matrix
    ]
    red, green, blue = channels
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, luminance(channels), z))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)


def test_it_is_written_to_a_file_as_any_figure(tmp_path: object) -> None:
    history = History("outcomes")
    history.add(0.5, "accepted", 10)
    draw(history).savefig(f"{tmp_path}/run.png")


WITHOUT = """
import sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "matplotlib" else found(name, *more)
from smspilot_async import Client
run = Client("K").bulk([])
assert "matplotlib" not in sys.modules
try:
    run.plot()
except ImportError as error:
    print(error)
"""


def test_without_the_extra_it_says_what_to_install_and_nothing_is_imported_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout == "a plot needs matplotlib, which this brings: pip install 'smspilot-async[notebook]'\n"
