"""For notebooks: answers shown whole on request, and a bulk run's progress as it goes.

Answers show themselves as tables where a cell ends with them, with phones, texts and names masked; :func:`show` does
the same for lists, and unmasks. Nothing of Jupyter's is imported here: what is not running needs no display.
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

    from smspilot_async._display.rows import Answer
    from smspilot_async._sending.bulk import BulkRun, BulkStats
    from smspilot_async._tools.clock import Timer
    from smspilot_async.models import AccountInfo

__all__ = ["Shown", "progress", "show"]

Item = TypeVar("Item")

_EVERY: Final = 0.25  # seconds: as often as a reader takes figures in, and far less than messages come


@attrs.frozen
class Shown:
    """What a notebook shows as a table; its ``repr`` holds none of it."""

    _page: str = attrs.field(repr=False)

    def _repr_html_(self) -> str:
        return self._page


def show(
    answers: Answer | Iterable[Answer] | AccountInfo | BulkRun[Any] | BulkStats, *, private: bool = False
) -> Shown:
    """Show answers as a table, where a notebook's cell ends with this; of many rows the first 20, failures before.

    Args:
        answers: An answer, or a list of one kind: statuses, results of a bulk run, inbound messages, packets.
        private: Whether phones, texts and names are shown as well. They are then saved with the notebook.

    Raises:
        TypeError: It is nothing that this library answers.
    """
    return Shown(_html.page(answers, private=private))


@asynccontextmanager
async def progress(run: BulkRun[Item]) -> AsyncIterator[BulkRun[Item]]:
    """Enter a bulk run, and show how far it is while it goes on: counts, messages per second, cost, time left.

    ::

        async with progress(client.bulk(people)) as run:
            async for result in run:
                ...

    The display changes four times a second, however fast results come, and once more when the run is over. Outside of
    notebooks there is none, and this is the run alone.

    Args:
        run: What :meth:`~smspilot_async.Client.bulk` answers, not entered yet.
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
    """IPython's handle of an output that can be changed."""

    def display(self, shown: object) -> object: ...

    def update(self, shown: object) -> object: ...


def _display() -> _Display | None:
    """Ask for an output of the running cell, if there is a notebook to show it."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:
        return None  # a terminal would print each change below the last
    handle: _Display = ipython.display.DisplayHandle()
    return handle


class _Live:
    """Shows the figures again and again, by a timer: messages cost nothing, and a silent gateway is seen, too."""

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
        with contextlib.suppress(Exception):  # a page that went away must not end a run
            self._show(self._stats)
        self._show = self._update
