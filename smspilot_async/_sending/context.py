"""What every packet of a client is sent with, in one event loop."""

from __future__ import annotations

from collections.abc import Callable

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


@attrs.frozen(eq=False, kw_only=True)
class SendingContext:
    """The collaborators of a packet, and the client's settings that concern it.

    Attributes:
        requester: Writes requests, and makes them.
        clock, slots, fairness, hooks, health, retry: The requester's.
        rate: The client's limit of messages per second.
        callbacks: The inbox that gives each message a URL of its own, if there is one.
        follow_up: What that inbox may ask for later.
        sender: For messages that name none.
        test: Packets are not handed to operators.
        deadline: Seconds of a call that names none.
        split_packets: A refused packet took nothing, so that its halves may be sent again.
        hooks_until: Returns when hooks must have heard of results, in the clock's monotonic seconds.
        keep_client: Lets the client live as long as the event loop: the inbox has questions yet.
    """

    requester: Requester
    clock: Clock
    slots: Slots
    fairness: Fairness
    hooks: HookRunner
    health: HealthRecorder
    retry: Retry
    rate: RateLimit
    callbacks: StatusCallbacks | None
    follow_up: Sending
    sender: str | None
    test: bool
    deadline: float
    split_packets: bool
    hooks_until: Callable[[], float]
    keep_client: Callable[[], None]

    @property
    def may_split(self) -> bool:
        """Whether the halves of a refused packet are sent again."""
        return self.split_packets and self.retry.attempts > 1
