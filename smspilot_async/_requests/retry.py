"""Which failure may be tried again, and when: a table, and a schedule.

Only what is certain is repeated. Of a send: what did not leave (``NOT_SENT``), and what the gateway itself asked to
be sent again (110, HTTP 429). Of a read: also what was not answered, except for ``inbound("new")``, whose answer
marks messages as read.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools import validate
from smspilot_async.errors import ConnectionFailed, GatewayBusy, GatewayError, OutcomeUnknown, SmsPilotError, Unanswered
from smspilot_async.wire.commands import is_repeatable

if TYPE_CHECKING:
    from smspilot_async.wire import Command

LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds. A gateway that asks for more has no use for a client now; a bulk run ends, and does not sleep for days."""

_spread = random.Random().uniform  # noqa: S311 - spreads clients in time, hides nothing


@attrs.frozen(kw_only=True)
class Retry:
    """How often, and how patiently, a call is tried again by itself, always inside its deadline.

    Attributes:
        attempts: The first one included; 1 tries nothing again.
        first_delay: Seconds before the second attempt; doubled each time, and up to half as much again at random.
        longest_delay: Seconds at most.

    Raises:
        ValueError: ``attempts`` is no whole number above 0, or a delay no number above 0.
    """

    attempts: int = 4
    first_delay: float = 0.5
    longest_delay: float = 8.0

    def __attrs_post_init__(self) -> None:
        validate.whole(attempts=self.attempts)
        validate.required(first_delay=self.first_delay, longest_delay=self.longest_delay)
        validate.positive(first_delay=self.first_delay, longest_delay=self.longest_delay)

    def delay(self, attempt: int, error: SmsPilotError) -> float:
        """Tell the seconds to wait after the given attempt (1 is the first) failed with this error."""
        if isinstance(error, GatewayError) and error.retry_after is not None:
            return error.retry_after
        return min(self.first_delay * 2.0 ** (attempt - 1) * _spread(1.0, 1.5), self.longest_delay)


def may_repeat(command: Command[Any], error: SmsPilotError) -> bool:
    """Tell whether repeating the command after this error can do no harm, and will come soon enough to be of use."""
    if isinstance(error, GatewayError) and (error.retry_after or 0.0) > LONGEST_RETRY_AFTER:
        return False
    if isinstance(error, (ConnectionFailed, GatewayBusy)):
        return True
    return isinstance(error, Unanswered) and not isinstance(error, OutcomeUnknown) and is_repeatable(command)
