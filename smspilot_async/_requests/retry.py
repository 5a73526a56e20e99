"""Which failures may be retried, and when: a table, and a schedule.

A send is retried only if it was certainly not sent (``NOT_SENT``), or if the gateway itself asks to send it again (110,
HTTP 429). A read is retried also if it was not answered, except for ``inbound("new")``, whose answer marks messages as
read.
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
"""Seconds. If the gateway asks for a longer pause, there is no retry: a bulk run ends and does not sleep for days."""

_MOST_DOUBLINGS: Final = 1000  # 2.0 to a higher power is no float any more

_spread = random.Random().uniform  # noqa: S311 - jitter, not cryptography


@attrs.frozen(kw_only=True)
class Retry:
    """The schedule of a call's automatic retries, which all end by the call's deadline.

    Attributes:
        attempts: The maximum number of attempts, including the first; 1 disables retries.
        first_delay: Seconds before the second attempt; doubled each time, plus up to half as much at random.
        longest_delay: The longest delay, in seconds.

    Raises:
        ValueError: ``attempts`` is not a whole number above 0, or a delay is not a number above 0.
    """

    attempts: int = 4
    first_delay: float = 0.5
    longest_delay: float = 8.0

    def __attrs_post_init__(self) -> None:
        validate.whole(attempts=self.attempts)
        validate.required(first_delay=self.first_delay, longest_delay=self.longest_delay)
        validate.positive(first_delay=self.first_delay, longest_delay=self.longest_delay)

    def delay(self, attempt: int, error: SmsPilotError) -> float:
        """Return the seconds to wait after an attempt (1 is the first) that failed with this error."""
        if isinstance(error, GatewayError) and error.retry_after is not None:
            return error.retry_after
        doubled = self.first_delay * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
        return min(doubled * _spread(1.0, 1.5), self.longest_delay)


def may_repeat(command: Command[Any], error: SmsPilotError) -> bool:
    """Return whether it is safe to repeat the command after this error, and possible soon enough to be useful."""
    if isinstance(error, GatewayError) and (error.retry_after or 0.0) > LONGEST_RETRY_AFTER:
        return False
    if isinstance(error, (ConnectionFailed, GatewayBusy)):
        return True
    return isinstance(error, Unanswered) and not isinstance(error, OutcomeUnknown) and is_repeatable(command)
