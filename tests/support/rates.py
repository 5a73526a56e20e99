"""How many of what happened lies in any stretch of time."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def most_in(times: Sequence[float], window: float) -> int:
    """Return how many of these moments, in their order, lie in any window of so many seconds at most."""
    return max(bisect.bisect_left(times, time + window) - number for number, time in enumerate(times))
