"""Plots for notebooks: what became of messages over time, as figures of matplotlib.

It is imported only to draw. Figures are made without matplotlib's global state, so that none of them has to be closed.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Sequence
from datetime import datetime
from html import escape
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final

import attrs
import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from smspilot_async._display.colours import COLOURS, FINE, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from smspilot_async._tools.history import History

__all__ = ["Flow", "Plot", "draw", "sent_and_delivered"]

_INK: Final = "#16181d"
_SIZE: Final = (7.2, 3.0)
_TALL: Final = (7.2, 4.0)
_SHADE: Final = 0.07
_FAINT: Final = 0.18
_SETTINGS: Final[dict[Any, Any]] = {"svg.fonttype": "none", "svg.hashsalt": "smspilot"}
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_TWICE: Final = 2
_lock: Final = threading.Lock()  # the settings are global
_prolog: Final = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_metadata: Final = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


class Plot(Figure):
    """A figure of matplotlib that a notebook shows in its own text colour; its label is its alternative text."""

    def _repr_html_(self) -> str:
        """Return it as inline SVG: its texts have the colour of the page's, dark or light."""
        written = io.StringIO()
        with _lock, mpl.rc_context(_SETTINGS):
            self.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = _metadata.sub("", _prolog.sub("", written.getvalue(), count=1), count=1).replace(_INK, "currentColor")
        head, _, rest = svg.partition(">")
        label = escape(str(self.get_label()))
        head = head.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width: 100%; height: auto"', 1)
        return f'<div class="smspilot tex2jax_ignore mathjax_ignore">{head}><title>{label}</title>{rest}</div>'


@attrs.frozen(kw_only=True)
class Flow:
    """What a campaign has sent over time.

    Attributes:
        edges: Where intervals begin, and where the last one ends; in the zone that is shown.
        zone: Its name.
        span: How long an interval is, in words.
        sent, delivered: How many, in each interval.
        windows: When it was allowed to send.
    """

    edges: Sequence[datetime]
    zone: str
    span: str
    sent: Sequence[int]
    delivered: Sequence[int]
    windows: Sequence[tuple[datetime, datetime]] = ()


def draw(history: History) -> Plot:
    """Return the plot of a history."""
    return _outcomes(history) if history.kind == "outcomes" else _states(history)


# --- the kinds -----------------------------------------------------------------------------------


def _outcomes(history: History) -> Plot:
    """Draw messages per second, and below them, in an axis of their own, those that were not accepted."""
    columns, edges = history.columns(), history.edges()
    names = _names(columns)
    others = [name for name in names if name != "accepted"]
    size = _TALL if others else _SIZE
    plot = _new_plot(history, names, "Results of a bulk run by outcome, in messages per second", size)
    spans = [end - start for start, end in pairwise(edges)]
    rates = {name: [column[name] / span for column, span in zip(columns, spans, strict=True)] for name in names}
    if others:
        above, below = plot.subplots(2, sharex=True, height_ratios=[3, 2])
        _stack(below, {name: rates[name] for name in others}, edges)
        below.set_ylabel("not accepted/s")
    else:
        above = below = plot.subplots()
    _stack(above, rates, edges)
    above.set_ylabel("messages/s")
    _label_time(below, edges)
    return plot


def _states(history: History) -> Plot:
    """Draw how many messages stand in which state."""
    columns, edges = history.columns(), history.edges()
    names = _names(columns)
    plot = _new_plot(history, names, "How many tracked messages stood in which state", _SIZE)
    axes = plot.subplots()
    _stack(axes, {name: list(accumulate(column[name] for column in columns)) for name in names}, edges)
    axes.set_ylabel("messages")
    _label_time(axes, edges)
    return plot


def sent_and_delivered(flow: Flow) -> Plot:
    """Return the plot of a campaign."""
    zone = flow.edges[0].tzinfo
    places: Any = flow.edges  # its types know nothing of moments
    windows: Any = flow.windows
    plot = Plot(figsize=_SIZE, layout="constrained")
    axes = plot.subplots()
    for begin, end in windows:
        axes.axvspan(begin, end, color=_INK, alpha=_SHADE, linewidth=0)
    axes.stairs(flow.sent, places, fill=True, color=OPEN, linewidth=0)
    axes.stairs(flow.delivered, places, color=FINE, linewidth=2)
    axes.set_xlim(places[0], places[-1])
    locator = AutoDateLocator(tz=zone, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    axes.set_xlabel(f"time, {flow.zone}")
    axes.set_ylabel(f"messages in {flow.span}")
    _dress(axes)
    counts = f"{sum(flow.sent):,} sent, {sum(flow.delivered):,} delivered"
    plot.set_label(f"Messages of a campaign that were sent, and those that were delivered, in {flow.span}: {counts}.")
    sent = Patch(color=OPEN, label=f"sent {sum(flow.sent):,}")
    _explain(plot, [sent, Patch(color=FINE, label=f"delivered {sum(flow.delivered):,}")])
    return plot


# --- drawing -------------------------------------------------------------------------------------


def _names(columns: Sequence[Mapping[str, int]]) -> list[str]:
    """Return what was ever counted, in the order of the colours."""
    counted = {name for column in columns for name in column}
    return [name for name in COLOURS if name in counted]


def _new_plot(history: History, names: Sequence[str], what: str, size: tuple[float, float]) -> Plot:
    plot = Plot(figsize=size, layout="constrained")
    totals = history.totals()
    words = ", ".join(f"{totals[name]:,} {_word(name)}" for name in names) or "nothing yet"
    seconds, unit = _unit(history.end)
    plot.set_label(f"{what}, over {history.end / seconds:.3g} {unit}: {words}.")
    handles = [Patch(color=COLOURS[name], label=f"{_word(name)} {totals[name]:,}") for name in names]
    _explain(plot, handles)
    return plot


def _explain(plot: Plot, handles: Sequence[Artist]) -> None:
    if handles:
        plot.legend(
            handles=list(handles), loc="outside upper left", ncols=4, frameon=False, labelcolor=_INK, handlelength=1
        )


def _stack(axes: Axes, values: Mapping[str, Sequence[float]], edges: Sequence[float]) -> None:
    """Draw steps on top of each other, the first one at the bottom."""
    seconds, _ = _unit(edges[-1] if edges else 0.0)
    places = [edge / seconds for edge in edges]
    base = [0.0] * (len(edges) - 1)
    for name, heights in values.items():
        top = [low + height for low, height in zip(base, heights, strict=True)]
        axes.stairs(top, places, baseline=base, fill=True, color=COLOURS[name], linewidth=0)
        base = top
    if places:
        axes.set_xlim(places[0], places[-1])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    _dress(axes)


def _dress(axes: Axes) -> None:
    """Give axes their look: the text's colour, and no more lines than are read."""
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(_INK)
        axis.get_offset_text().set_color(_INK)
    axes.grid(axis="y", color=_INK, alpha=_FAINT)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)


def _label_time(axes: Axes, edges: Sequence[float]) -> None:
    axes.set_xlabel(f"since the start, {_unit(edges[-1] if edges else 0.0)[1]}")


def _unit(span: float) -> tuple[float, str]:
    """Return the largest unit of which a span has two, with its seconds."""
    return next(((size, unit) for size, unit in _UNITS if span >= _TWICE * size), (1.0, "s"))


def _word(name: str) -> str:
    return name.replace("_", " ")
