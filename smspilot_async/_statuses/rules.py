"""The rules for statuses: when to poll, which source to trust, and which status replaces another. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.models import DeliveryStatus, MessageStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

STATUS_UNKNOWN: Final = DeliveryStatus.UNKNOWN
_ORDER: Final = (DeliveryStatus.SCHEDULED, DeliveryStatus.ACCEPTED, DeliveryStatus.WITH_OPERATOR)
_FIRST_POLL, _SECOND_POLL, _LONGEST_PAUSE, _GROWTH = 60.0, 120.0, 3600.0, 1.5
_UNKNOWN_AFTER, _UNKNOWN_POLLS = 600.0, 2


@attrs.frozen
class Known:
    """A status, and whether it was polled or came from a callback."""

    status: MessageStatus
    is_polled: bool


def pause_before(poll: int, poll_interval: float | None = None) -> float:
    """Return the seconds to wait before a poll (1 is the first): 1 minute, then 2, growing by half up to an hour."""
    if poll_interval is not None:
        return poll_interval
    growth = min(max(poll - 2, 0), 20)
    return _FIRST_POLL if poll == 1 else min(_SECOND_POLL * _GROWTH**growth, _LONGEST_PAUSE)


def is_truly_unknown(age: float, polls: int) -> bool:
    """Return whether -2 is really the status of an accepted message, and not only a lag inside the gateway.

    Args:
        age: Seconds since it was accepted or, if that was later, due.
        polls: The number of consecutive polls, up to the last, that answered -2.
    """
    return age >= _UNKNOWN_AFTER and polls >= _UNKNOWN_POLLS


def beats(new: Known, known: Known | None) -> bool:
    """Return whether a status replaces the known one.

    A final status is never replaced, unless it came from a callback and a poll returns another final status: anyone who
    knows the URL can make a callback. A callback can only advance a message; a poll is trusted.
    """
    if known is None:
        return True
    if known.status.is_final:
        return new.is_polled and new.status.is_final and not known.is_polled
    return new.is_polled or _is_forward(new.status.status, known.status.status)


def _is_forward(new: int | None, known: int | None) -> bool:
    if new in _ORDER and known in _ORDER:
        return _ORDER.index(new) > _ORDER.index(known)
    return new != known  # a final status, or an unknown one, which has no order


def is_news(new: MessageStatus, earlier: Iterable[MessageStatus]) -> bool:
    """Return whether a callback advances its message beyond earlier ones; a -2 is passed on, but never advances it."""
    known: Known | None = None
    for status in earlier:
        if status.status != STATUS_UNKNOWN and beats(called := Known(status, is_polled=False), known):
            known = called
    return beats(Known(new, is_polled=False), known)


def is_change(new: MessageStatus, known: MessageStatus) -> bool:
    """Return whether a status is a change to report.

    Polls lack the delivery error; a callback that had one is no change for that reason alone.
    """
    return new.status != known.status or (new.error or 0) != (known.error or 0)


def merged(new: MessageStatus, known: MessageStatus) -> MessageStatus:
    """Return the new status with the delivery error of a callback, if a poll of the same status lacks it."""
    is_same_but_silent = new.status == known.status and new.error is None
    return attrs.evolve(new, error=known.error) if is_same_but_silent else new
