"""Display of answers: tables and plots for notebooks, rows for data frames."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from smspilot_async._display.html import page
from smspilot_async._display.rows import to_dicts
from smspilot_async.models import display_with

if TYPE_CHECKING:
    from smspilot_async._display.plots import Plot
    from smspilot_async._tools.history import History

__all__ = ["figure", "page", "require_plots", "to_dicts"]


def figure(history: History) -> Plot:
    """Return the plot of what was counted over time.

    Raises:
        ImportError: The extra ``notebook`` is not installed.
    """
    require_plots()
    from smspilot_async._display import plots  # noqa: PLC0415 - an extra, and slow to import

    return plots.draw(history)


def require_plots() -> None:
    """Check that the extra ``notebook`` is installed.

    Raises:
        ImportError: It is not.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(
            "a plot needs matplotlib, which this brings: pip install 'smspilot-async[notebook]'", name="matplotlib"
        )


display_with(page=page, rows=to_dicts, figure=figure)
