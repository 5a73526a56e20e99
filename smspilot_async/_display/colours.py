"""Colours of outcomes and states, in tables and plots.

They differ for people with each kind of colour blindness, and stand out (3:1) from a white page and from a dark one.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BAD", "COLOURS", "FINE", "OPEN", "UNKNOWN"]

FINE: Final = "#1f92cc"
BAD: Final = "#d92626"
UNKNOWN: Final = "#aa00ff"
OPEN: Final = "#808080"
"""Neither: not sent, or still on its way."""

COLOURS: Final = {
    "accepted": FINE,
    "delivered": FINE,
    "refused": BAD,
    "not delivered": BAD,
    "unknown": UNKNOWN,
    "not_sent": OPEN,
    "on the way": OPEN,
}
