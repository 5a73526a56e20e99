"""The collaborators and settings with which packets are sent, in one event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from smspilot_async._health import HealthRecorder
from smspilot_async._requests.fairness import Fairness
from smspilot_async._requests.hook_runner import HookRunner
from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async._requests.requester import Requester
from smspilot_async._requests.retry import Retry
from smspilot_async._requests.slots import Slots
from smspilot_async._sending.status_callbacks import Sending, StatusCallbacks
from smspilot_async._tools.clock import Clock

_OF_REQUESTER: Final = ("clock", "slots", "fairness", "hooks", "health", "retry")


@attrs.frozen(eq=False, kw_only=True)
class SendingContext:
    """The collaborators of a packet, and the client's settings that concern it.

    Attributes:
        requester: Encodes and makes requests.
        clock, slots, fairness, hooks, health, retry: The requester's.
        rate: The client's limit of messages per second.
        callbacks: The inbox that gives each message its own URL, if there is one.
        follow_up: Used by that inbox later, for checks and findings.
        sender: For messages without one.
        test: Packets are not passed on to operators.
        deadline: The default deadline of a call, in seconds.
        split_packets: A refused packet was not accepted in part, so its halves may be sent again.
        hooks_until: Returns when hooks must be done with results, in the clock's monotonic seconds.
        keep_client: Keeps the client alive as long as the event loop: the inbox still needs it.
    """

    requester: Requester
    clock: Clock = attrs.field(init=False)
    slots: Slots = attrs.field(init=False)
    fairness: Fairness = attrs.field(init=False)
    hooks: HookRunner = attrs.field(init=False)
    health: HealthRecorder = attrs.field(init=False)
    retry: Retry = attrs.field(init=False)
    rate: RateLimit
    callbacks: StatusCallbacks | None
    follow_up: Sending
    sender: str | None
    test: bool
    deadline: float
    split_packets: bool
    hooks_until: Callable[[], float]
    keep_client: Callable[[], None]

    def __attrs_post_init__(self) -> None:
        for name in _OF_REQUESTER:  # kept here too: one look-up less for each message
            object.__setattr__(self, name, getattr(self.requester, name))

    @property
    def may_split(self) -> bool:
        """Whether the halves of a refused packet are sent again."""
        return self.split_packets and self.retry.attempts > 1
