"""What a status is worth: when to ask, whom to believe, and which news replaces what is known. Pure functions."""

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
    """A status, and how we know of it."""

    status: MessageStatus
    is_polled: bool


def pause_before(poll: int, poll_interval: float | None = None) -> float:
    """Tell the seconds to wait before a poll (1 is the first): 1 minute, then 2, growing by half up to an hour."""
    if poll_interval is not None:
        return poll_interval
    growth = min(max(poll - 2, 0), 20)
    return _FIRST_POLL if poll == 1 else min(_SECOND_POLL * _GROWTH**growth, _LONGEST_PAUSE)


def is_truly_unknown(age: float, polls: int) -> bool:
    """Tell whether -2 is the truth about a message that was accepted, or only a gateway that lags behind itself.

    Args:
        age: Seconds since it was accepted or, if that was later, due.
        polls: How many of the last polls in a row answered -2.
    """
    return age >= _UNKNOWN_AFTER and polls >= _UNKNOWN_POLLS


def beats(new: Known, known: Known | None) -> bool:
    """Tell whether a status replaces what is known.

    Final is final, but for what a call said and a poll contradicts with a final status of its own: anybody who knows
    the URL can call. A call only ever brings a message forward; a poll is believed.
    """
    if known is None:
        return True
    if known.status.is_final:
        return new.is_polled and new.status.is_final and not known.is_polled
    return new.is_polled or _is_forward(new.status.status, known.status.status)


def _is_forward(new: int | None, known: int | None) -> bool:
    if new in _ORDER and known in _ORDER:
        return _ORDER.index(new) > _ORDER.index(known)
    return new != known  # final, or a status that nobody can put in order


def is_news(new: MessageStatus, earlier: Iterable[MessageStatus]) -> bool:
    """Return whether a call brings its message further than the calls before it did; a -2 is passed on, and no more."""
    known: Known | None = None
    for status in earlier:
        if status.status != STATUS_UNKNOWN and beats(called := Known(status, is_polled=False), known):
            known = called
    return beats(Known(new, is_polled=False), known)


def is_change(new: MessageStatus, known: MessageStatus) -> bool:
    """Tell whether there is something to report.

    Polls do not tell the delivery error, which makes no change of a call that did.
    """
    return new.status != known.status or (new.error or 0) != (known.error or 0)


def merged(new: MessageStatus, known: MessageStatus) -> MessageStatus:
    """Keep the delivery error that a call told and a poll of the same status does not."""
    is_same_but_silent = new.status == known.status and new.error is None
    return attrs.evolve(new, error=known.error) if is_same_but_silent else new
