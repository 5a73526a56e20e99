"""What can go wrong between a gateway and its client, named by what it means for the messages.

A fault is either planned for the next request (`fail_next`) or drawn from a seeded source, so that a run with faults
can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import groupby
from random import Random
from typing import Any, Final

import attrs

COMMANDS: Final = ("*", "send", "cost", "check", "balance", "info", "inbound")


class Fault(StrEnum):
    """A failure, by what the gateway did before it.

    "Accept" means that the command was carried out: messages accepted and charged, inbound messages marked as seen.
    """

    RESET_BEFORE_READ = "reset-before-read"
    """The connection is reset and nothing is accepted. With the command ``"*"`` that happens before the body is read;
    a named command has to be read to be known."""
    RESET_AFTER_READ = "reset-after-read"
    """The whole request is read, nothing is accepted, the connection is reset."""
    ACCEPT_THEN_RESET = "accept-then-reset"
    """Accepted, then the connection is reset without an answer."""
    ACCEPT_THEN_CLOSE = "accept-then-close"
    """Accepted, then the connection is closed in an orderly way, without an answer."""
    ACCEPT_THEN_HALF_ANSWER = "accept-then-half-answer"
    """Accepted; the answer's headers promise all of it, and half of it comes."""
    ACCEPT_THEN_GARBAGE = "accept-then-garbage"
    """Accepted; the answer has status 200 and a body that is no document."""
    ACCEPT_THEN_HTML = "accept-then-html"
    """Accepted; the answer has status 200 and is a page of HTML."""
    ACCEPT_THEN_SERVER_ERROR = "accept-then-server-error"
    """Accepted, then a proxy in between answers 502 with HTML (or `status`)."""
    SERVER_ERROR = "server-error"
    """Nothing accepted, 503 with HTML (or `status`)."""
    SLOW = "slow"
    """Accepted; the answer comes after `delay` seconds of real time, or when `Emulator.release` is called."""
    BUSY = "busy"
    """Nothing accepted, an error document 110."""
    BUSY_MESSAGE = "busy-message"
    """Error 110 on one message of a packet (its `row`), the others are accepted."""
    TOO_MANY_REQUESTS = "too-many-requests"
    """Nothing accepted, 429 with ``Retry-After: retry_after``."""
    NOT_FOUND = "not-found"
    """Nothing accepted, 404 with HTML."""


@attrs.frozen(kw_only=True)
class FaultPlan:
    """A planned fault.

    Attributes:
        command: One of `COMMANDS`: a command, ``"cost"`` for a send that only asks for the price, or ``"*"`` for any
            request at all.
        delay: Seconds of `Fault.SLOW`; `None` waits for `Emulator.release`.
        retry_after: Seconds, for `Fault.TOO_MANY_REQUESTS`.
        status: The HTTP status of the two server errors.
        row: Which message `Fault.BUSY_MESSAGE` refuses, from 0.
    """

    fault: Fault
    command: str = attrs.field(default="*", validator=attrs.validators.in_(COMMANDS))
    delay: float | None = None
    retry_after: int = 1
    status: int | None = None
    row: int = 0

    def meets(self, command: str) -> bool:
        """Whether it applies to this command."""
        return self.command in ("*", command)


@attrs.define
class _Source:
    shares: Mapping[Fault, float]
    plan: FaultPlan
    random: Random

    def draw(self) -> FaultPlan | None:
        point = self.random.random()
        for fault, share in self.shares.items():
            point -= share
            if point < 0:
                return attrs.evolve(self.plan, fault=fault)
        return None


@attrs.define
class Faults:
    """The planned faults, and the sources of random ones. Planned ones come first, in order."""

    _planned: list[FaultPlan] = attrs.Factory(list)
    _sources: list[_Source] = attrs.Factory(list)

    def plan(self, plan: FaultPlan, times: int) -> None:
        """Make the next `times` requests that the plan applies to fail."""
        self._planned.extend([plan] * times)

    def draw_from(self, shares: Mapping[Fault, float], seed: int | None, plan: FaultPlan) -> None:
        """Make this share of the requests that the plan applies to fail, from now on.

        Raises:
            ValueError: The shares are negative or add up to more than 1.
        """
        if min(shares.values(), default=0.0) < 0 or sum(shares.values()) > 1:
            raise ValueError("the shares of random faults must be positive and add up to 1 at most")
        self._sources.append(_Source(dict(shares), plan, Random(seed)))  # noqa: S311 - it must be repeatable

    def take(self, command: str) -> FaultPlan | None:
        """The fault that this request meets, if any; a planned one is used up."""
        for index, plan in enumerate(self._planned):
            if plan.meets(command):
                return self._planned.pop(index)
        for source in self._sources:
            if source.plan.meets(command) and (drawn := source.draw()):
                return drawn
        return None

    def take_unread(self) -> bool:
        """Whether the next request, whatever it is, is to be reset before it is read; used up if so."""
        first = self._planned[0] if self._planned else None
        if first is None or first.fault is not Fault.RESET_BEFORE_READ or first.command != "*":
            return False
        del self._planned[0]
        return True

    def waiting(self) -> list[dict[str, Any]]:
        """What waits, as plain data: planned faults with how many times in a row, random ones with their share."""
        planned = [
            {"command": plan.command, "fault": str(plan.fault), "times": len(list(alike))}
            for plan, alike in groupby(self._planned)
        ]
        drawn = [
            {"command": source.plan.command, "fault": str(fault), "share": share}
            for source in self._sources
            for fault, share in source.shares.items()
        ]
        return planned + drawn

    @property
    def pending(self) -> int:
        """How many planned faults are left."""
        return len(self._planned)

    def clear(self) -> None:
        """Cancel all planned and random faults."""
        self._planned.clear()
        self._sources.clear()
