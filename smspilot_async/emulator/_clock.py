"""The emulator's time.

Everything that depends on time (schedules, statuses, loop protection, the ``Date`` header) asks one clock, so that a
test can advance it instead of sleeping. Speed 0 is frozen, 1 is real time, 60 makes an hour of a minute.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that is frozen until it is advanced, or runs at a given speed.

    Args:
        start: The time that it shows at first, aware. Defaults to the present, cut to the second.
        speed: Seconds it moves per second of real time. 0, the default, is frozen.
    """

    def __init__(self, start: datetime | None = None, *, speed: float = 0.0) -> None:
        self._speed = speed
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._shown = _aware(start) if start is not None else datetime.now(UTC).replace(microsecond=0)
        self._anchor = time.monotonic()

    @property
    def speed(self) -> float:
        """Seconds it moves per second of real time; 0 is frozen. A new speed applies from the time that it shows."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._turn(self.now(), speed)

    def now(self) -> datetime:
        """The time that it shows, aware, UTC."""
        if not self._speed:
            return self._shown
        with self._lock:
            return self._shown + timedelta(seconds=(time.monotonic() - self._anchor) * self._speed)

    def advance(
        self, *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move it forward, make what has become due happen, and return the new time.

        Raises:
            ValueError: The duration is negative; use `set` to go back.
        """
        by = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if by < timedelta(0):
            raise ValueError("advance() only moves the clock forward; set() takes any time")
        self.set(self.now() + by)
        return self.now()

    def set(self, moment: datetime) -> None:
        """Set it to an aware time. Going back undoes nothing that has already happened.

        Raises:
            ValueError: The time is naive.
        """
        self._turn(_aware(moment), self._speed)

    def on_turn(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever it is advanced or set, or its speed changes.

        Returns:
            What ends it.
        """
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    def _turn(self, moment: datetime, speed: float) -> None:
        with self._lock:
            self._shown, self._speed, self._anchor = moment, speed, time.monotonic()
        for listener in tuple(self._listeners):
            listener()


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("the clock needs an aware datetime")
    return moment.astimezone(UTC)
