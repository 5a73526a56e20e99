"""What may become of a message, and of a campaign: two tables of transitions, without I/O.

The SQL of both databases takes the states that a statement may change from here (:func:`sources`), and one exhaustive
test applies every event to every state on both databases and compares the result with :func:`after`. A pair that
is in neither table changes nothing.

What is not a transition: `assumed_sent` and `proven_duplicate` settle an unknown message without moving it: it stays
countable as unknown, with that reason. Pausing, cancelling and expiry of a campaign change its own row, and no message
row: those are settled lazily.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CampaignEvent",
    "CampaignState",
    "Event",
    "State",
    "after",
    "after_campaign",
    "campaign_moves",
    "sources",
]


class State(enum.StrEnum):
    """The state of a message: on its way, or an :class:`~smspilot_async.Outcome`."""

    PENDING = "pending"
    """It waits: it is not due, or no sender has claimed it."""
    IN_FLIGHT = "in_flight"
    """An attempt holds it: its intent is durable, and its request may be on the wire."""
    ACCEPTED = "accepted"
    """The gateway took it. Nothing moves it from here."""
    REFUSED = "refused"
    """Decided against: by the gateway, by a check, by a suppression list, or because its time was over."""
    NOT_SENT = "not_sent"
    """It certainly was not sent, and will not be: cancelled, or given up."""
    UNKNOWN = "unknown"
    """It may have been sent. It stays so until a proof of acceptance or an explicit order."""

    @property
    def outcome(self) -> Outcome | None:
        """The outcome that it is; ``None`` of a message on its way."""
        return None if self in {State.PENDING, State.IN_FLIGHT} else Outcome(self.value)


class Event(enum.StrEnum):
    """What happens to a message."""

    CLAIM = "claim"
    """A sender takes it into an attempt."""
    ACCEPTED = "accepted"
    """The answer of the attempt that holds it: the gateway took it."""
    REFUSED = "refused"
    """The answer of the attempt that holds it: decided against."""
    PUT_BACK = "put_back"
    """The attempt that holds it ended without harm (110, 429, an account error, nothing sent): it waits again."""
    UNANSWERED = "unanswered"
    """The attempt that holds it has no answer to rely on, or its owner is gone and its lease over."""
    PROOF = "proof"
    """A proof of acceptance from anywhere: a late answer of an earlier attempt, a signed callback."""
    SUPPRESS = "suppress"
    """The claim finds it on a suppression list."""
    EXPIRE = "expire"
    """The claim finds that its time is over."""
    CANCEL = "cancel"
    """The application takes it back."""
    GIVE_UP = "give_up"
    """It was put back for longer than `give_up_after`."""
    SETTLE = "settle"
    """An explicit order says that it was not sent."""
    RESEND = "resend"
    """An explicit order, or the policy `Resend` or `Probe`, sends it again."""


_MESSAGE: Final[Mapping[Event, Mapping[State, State]]] = {
    Event.CLAIM: {State.PENDING: State.IN_FLIGHT},
    Event.SUPPRESS: {State.PENDING: State.REFUSED},
    Event.EXPIRE: {State.PENDING: State.REFUSED},
    Event.CANCEL: {State.PENDING: State.NOT_SENT},
    Event.GIVE_UP: {State.PENDING: State.NOT_SENT},
    # The answer may come after the lease was over, from an owner that was only stopped: it is still the truth.
    Event.ACCEPTED: {State.IN_FLIGHT: State.ACCEPTED, State.UNKNOWN: State.ACCEPTED},
    Event.REFUSED: {State.IN_FLIGHT: State.REFUSED, State.UNKNOWN: State.REFUSED},
    Event.PUT_BACK: {State.IN_FLIGHT: State.PENDING, State.UNKNOWN: State.PENDING},
    Event.UNANSWERED: {State.IN_FLIGHT: State.UNKNOWN},
    Event.PROOF: dict.fromkeys(State, State.ACCEPTED),
    Event.SETTLE: {State.UNKNOWN: State.NOT_SENT},
    Event.RESEND: {State.UNKNOWN: State.PENDING, State.NOT_SENT: State.PENDING, State.REFUSED: State.PENDING},
}


def after(state: State, event: Event) -> State:
    """Return the state that a message has after an event: the same, where the event cannot move it."""
    return _MESSAGE[event].get(state, state)


def sources(event: Event) -> tuple[State, ...]:
    """Return the states that an event moves a message from, for the WHERE of its statement."""
    return tuple(_MESSAGE[event])


class CampaignState(enum.StrEnum):
    """The state of a campaign. A pause carries its reason in the campaign's row."""

    IMPORTING = "importing"
    DRAFT = "draft"
    ESTIMATED = "estimated"
    APPROVED = "approved"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class CampaignEvent(enum.StrEnum):
    """What happens to a campaign."""

    IMPORTED = "imported"
    """The last row is in."""
    CHANGE = "change"
    """Rows, template, sender, window, rate or budget changed: an approval is void."""
    ESTIMATE = "estimate"
    APPROVE = "approve"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    """Nothing is pending or in flight any more."""
    RETRY = "retry"
    """An explicit order sends some of its messages again."""
    REOPEN = "reopen"
    """A message waits again: a late answer says that it was not sent, or a policy sends it again."""
    CANCEL = "cancel"


_C = CampaignState
_CAMPAIGN: Final[Mapping[CampaignEvent, Mapping[CampaignState, CampaignState]]] = {
    CampaignEvent.IMPORTED: {_C.IMPORTING: _C.DRAFT},
    CampaignEvent.CHANGE: dict.fromkeys((_C.DRAFT, _C.ESTIMATED, _C.APPROVED, _C.PAUSED), _C.DRAFT),
    CampaignEvent.ESTIMATE: {_C.DRAFT: _C.ESTIMATED, _C.ESTIMATED: _C.ESTIMATED},
    CampaignEvent.APPROVE: {_C.ESTIMATED: _C.APPROVED},
    CampaignEvent.START: {_C.APPROVED: _C.RUNNING},
    CampaignEvent.PAUSE: {_C.RUNNING: _C.PAUSED, _C.PAUSED: _C.PAUSED},  # a person's reason goes before a fault's
    CampaignEvent.RESUME: {_C.PAUSED: _C.RUNNING},
    CampaignEvent.FINISH: {_C.RUNNING: _C.FINISHED, _C.PAUSED: _C.FINISHED},
    CampaignEvent.RETRY: {_C.FINISHED: _C.RUNNING, _C.RUNNING: _C.RUNNING, _C.PAUSED: _C.PAUSED},
    CampaignEvent.REOPEN: {_C.FINISHED: _C.RUNNING},
    CampaignEvent.CANCEL: dict.fromkeys(
        (_C.IMPORTING, _C.DRAFT, _C.ESTIMATED, _C.APPROVED, _C.RUNNING, _C.PAUSED), _C.CANCELLED
    ),
}


def after_campaign(state: CampaignState, event: CampaignEvent) -> CampaignState:
    """Return the state that a campaign has after an event: the same, where the event cannot move it."""
    return _CAMPAIGN[event].get(state, state)


def campaign_moves(event: CampaignEvent) -> Mapping[CampaignState, CampaignState]:
    """Return the states that an event may happen in, and what each becomes."""
    return _CAMPAIGN[event]
