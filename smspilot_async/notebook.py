"""For notebooks: answers as tables, the live progress of a bulk run, and plots.

Answers at the end of a cell are shown as tables, with phones, texts and names masked; :func:`show` does the same for
lists, and can unmask. Jupyter is not imported here: if it is not running, there is no display. Plots are drawn by
:meth:`~smspilot_async.BulkRun.plot`, :meth:`~smspilot_async.Tracking.plot` and
:meth:`~smspilot_async.outbox.Campaign.plot`.
"""

from __future__ import annotations

import contextlib
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import attrs

from smspilot_async._display import html as _html
from smspilot_async._tools import clock as _clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from smspilot_async._display.rows import Tabular
    from smspilot_async._sending.bulk import BulkRun, BulkStats
    from smspilot_async._tools.clock import Timer
    from smspilot_async.models import AccountInfo

__all__ = ["Shown", "progress", "show"]

Item = TypeVar("Item")

_EVERY: Final = 0.25  # seconds: as often as anyone can read, and far less often than results arrive


@attrs.frozen
class Shown:
    """Shown by a notebook as a table; its ``repr`` contains no data."""

    _page: str = attrs.field(repr=False)

    def _repr_html_(self) -> str:
        return self._page


def show(
    answers: Tabular | Iterable[Tabular] | AccountInfo | BulkRun[Any] | BulkStats, *, private: bool = False
) -> Shown:
    """Show answers as a table at the end of a notebook cell; of many rows the first 20, failures first.

    Args:
        answers: An answer, or a list of one kind: statuses, results of a bulk run, inbound messages, packets.
        private: Also show phones, texts and names. They are then saved with the notebook.

    Raises:
        TypeError: These are not answers of this library.
    """
    return Shown(_html.page(answers, private=private))


@asynccontextmanager
async def progress(run: BulkRun[Item]) -> AsyncIterator[BulkRun[Item]]:
    """Enter a bulk run, and show its live progress: counts, messages per second, cost, time left.

    ::

        async with progress(client.bulk(source)) as run:
            async for result in run:
                ...

    The display is updated four times a second, however fast results arrive, and once more at the end. Outside of
    notebooks this only enters the run.

    Args:
        run: A run from :meth:`~smspilot_async.Client.bulk` that was not entered yet.
    """
    display = _display()
    live = _Live(run.stats, display) if display is not None else None
    try:
        async with run:
            if live is not None:
                live.turn()
            yield run
    finally:
        if live is not None:
            live.stop()


class _Display(Protocol):
    """IPython's handle of an output that can be updated."""

    def display(self, shown: object) -> object: ...

    def update(self, shown: object) -> object: ...


def _display() -> _Display | None:
    """Return an output of the running cell; ``None`` outside of notebooks."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:
        return None  # a terminal would print each change below the last
    handle: _Display = ipython.display.DisplayHandle()
    return handle


class _Live:
    """Shows the figures periodically, by a timer: no cost per message, and a silent gateway is visible, too."""

    def __init__(self, stats: BulkStats, display: _Display) -> None:
        self._stats = stats
        self._show = display.display
        self._update = display.update
        self._clock = _clock.current()
        self._timer: Timer | None = None

    def turn(self) -> None:
        self._draw()
        self._timer = self._clock.call_at(self._clock.monotonic() + _EVERY, self.turn)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._draw()

    def _draw(self) -> None:
        with contextlib.suppress(Exception):  # a closed page must not end a run
            self._show(self._stats)
        self._show = self._update
