"""The options of a sending window, made into one."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import attrs

from smspilot_async.cli._errors import Problem

if TYPE_CHECKING:
    from smspilot_async.outbox import SendingWindow

__all__ = ["WindowOptions"]


@attrs.frozen(kw_only=True)
class WindowOptions:
    """What the options say of a window; ``None`` is what they do not say."""

    window: str | None
    days: str | None
    zone: tzinfo | None
    tz_column: str | None = None

    def make(self) -> SendingWindow | None:
        """Return the window, if there is to be one.

        Raises:
            Problem: The options do not belong together.
            ValueError: They make no window.
        """
        from smspilot_async.outbox import SendingWindow  # noqa: PLC0415 - an extra

        if self.window is None:
            if self.tz_column is not None or self.days is not None:
                raise Problem("--days and --tz-column belong to a --window. Nothing was sent.")
            return None
        opens, closes = self._hours(self.window)
        days = {} if self.days is None else {"days": self.days}
        return SendingWindow(opens, closes, tz=self._tz, column=self.tz_column, **days)

    def change(self, before: SendingWindow | None) -> SendingWindow | None:
        """Return the window as the options change it: what they do not say stays.

        Args:
            before: The window so far.

        Raises:
            Problem: There is no window whose days could change.
            ValueError: They make no window.
        """
        if before is None:
            return self.make()
        changes: dict[str, Any] = {}
        if self.window is not None:
            changes["opens"], changes["closes"] = self._hours(self.window)
        if self.days is not None:
            changes["days"] = self.days
        if self.zone is not None:
            changes["tz"] = self._tz
        return attrs.evolve(before, **changes)

    @property
    def _tz(self) -> str | None:
        return None if self.zone is None else str(self.zone)

    @staticmethod
    def _hours(written: str) -> tuple[str, str]:
        opens, dash, closes = written.replace("–", "-").partition("-")
        if not dash:
            raise Problem("--window is like 10:00-20:00. Nothing was sent.")
        return opens.strip(), closes.strip()
