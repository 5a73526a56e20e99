"""The plots of a campaign's report, as SVG that needs nothing from elsewhere.

They are drawn by matplotlib without its global state of figures; its settings are global, hence the lock. Texts stay
texts: they can be selected, and the reader's own font shows them.
"""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._display import require_plots
from smspilot_async._tools.zones import zone_of
from smspilot_async.outbox._report_data import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smspilot_async._display.plots import Plot
    from smspilot_async.outbox._report_data import ReportData

__all__ = ["COLOURS", "bars", "over_time", "plot_of"]

COLOURS: Final = {
    "sent": "#8ea9f0",
    "accepted": "#4262d6",
    "delivered": "#1f9d6b",
    "refused": "#d2553f",
    "not_sent": "#9aa0ad",
    "unknown": "#d99a1c",
    "planned": "#c3cadb",
    "open": "#d99a1c",
    "window": "#e9f3ea",
    "ink": "#2a2f3a",
    "faint": "#8a90a0",
    "grid": "#e6e8ee",
}
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "smspilot",
    "font.family": ["sans-serif"],
    "font.size": 10,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["faint"],
    "xtick.color": COLOURS["faint"],
    "ytick.color": COLOURS["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
}
_lock: Final = threading.Lock()
_prolog = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_metadata = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_size = re.compile(r'<svg height="[^"]*" ?|(?<=<svg )(?:width|height)="[^"]*" ?')
_MOST_WINDOWS: Final = 400


def over_time(data: ReportData, series: Series) -> str:
    """Return what was sent and what was delivered over time, the windows shaded."""
    return _drawn((9.2, 3.1), lambda axes: _over_time(axes, data, series))


def plot_of(data: ReportData) -> Plot:
    """Return what was sent and what was delivered over time as a figure for a notebook; empty if nothing was sent."""
    require_plots()
    from smspilot_async._display.plots import Flow, sent_and_delivered  # noqa: PLC0415 - an extra

    series, zone = data.series or _nothing(data), zone_of(data.zone)
    bins = range(series.bins)

    def at(us: int) -> datetime:
        return _moment(us).astimezone(zone)

    flow = Flow(
        edges=[at(series.start + series.width * number) for number in range(series.bins + 1)],
        zone=data.zone,
        span=_span(series.width),
        sent=[series.sent.get(number, 0) for number in bins],
        delivered=[series.delivered.get(number, 0) for number in bins],
        windows=[(at(begin), at(end)) for begin, end in data.windows(series)[:_MOST_WINDOWS]],
    )
    return sent_and_delivered(flow)


def _nothing(data: ReportData) -> Series:
    start = int(data.made_at.timestamp()) // 60 * 60 * 1_000_000
    return Series(start=start, width=60_000_000, bins=1, sent={}, delivered={})


def bars(rows: Sequence[tuple[str, int, str, str]], *, width: float = 9.2) -> str:
    """Return horizontal bars: each with its name, number, text beside it, and colour.

    Args:
        rows: Them.
        width: In inches of a page that is 9.2 wide.
    """
    return _drawn((width, 0.38 * len(rows) + 0.2), lambda axes: _bars(axes, rows))


def _drawn(size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to import
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with _lock, mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            written, metadata={"Date": None, "Creator": None}
        )
    svg = _metadata.sub("", _prolog.sub("", written.getvalue(), count=1), count=1)
    head, end, rest = svg.partition(">")
    return _size.sub("", head).replace("<svg", '<svg class="plot"', 1) + end + rest


def _over_time(axes: Any, data: ReportData, series: Series) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - as above
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415

    zone = zone_of(data.zone)
    bins = range(series.bins + 1)
    edges = [_moment(series.start + series.width * number).astimezone(zone) for number in bins]
    for begin, end in data.windows(series)[:_MOST_WINDOWS]:
        axes.axvspan(_moment(begin), _moment(end), color=COLOURS["window"], linewidth=0)
    for name, counts in (("sent", series.sent), ("delivered", series.delivered)):
        values = [counts.get(number, 0) for number in range(series.bins)]
        axes.stairs(values, edges, fill=name == "sent", color=COLOURS[name], linewidth=1.8, label=name)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=COLOURS["grid"])
    axes.tick_params(length=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    locator = AutoDateLocator(tz=zone, maxticks=10)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.set_ylabel(f"messages in {_span(series.width)}")


def _bars(axes: Any, rows: Sequence[tuple[str, int, str, str]]) -> None:
    places = range(len(rows))
    longest = max([number for _, number, _, _ in rows], default=0) or 1
    axes.barh(places, [number for _, number, _, _ in rows], color=[colour for *_, colour in rows], height=0.62)
    for place, (_, number, beside, _) in enumerate(rows):
        axes.annotate(beside, (number, place), (6, 0), textcoords="offset points", va="center", color=COLOURS["ink"])
    axes.set_yticks(places, [name for name, *_ in rows], color=COLOURS["ink"])
    axes.set_xlim(0, longest * 1.55)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)


def _span(width: int) -> str:
    span = timedelta(microseconds=width)
    if span >= timedelta(days=1):
        return f"{span.days} d" if span.days > 1 else "a day"
    minutes = int(span.total_seconds() // 60)
    if minutes == 1:
        return "a minute"
    return f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - minutes of an hour
