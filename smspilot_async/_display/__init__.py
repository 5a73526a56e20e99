"""Display of answers: tables for notebooks, rows for data frames."""

from smspilot_async._display.html import page
from smspilot_async._display.rows import to_dicts
from smspilot_async.models import display_with

__all__ = ["page", "to_dicts"]

display_with(page=page, rows=to_dicts)
