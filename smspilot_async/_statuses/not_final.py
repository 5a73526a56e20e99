"""The error of a wait for a final status that reached its timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smspilot_async.errors import Outcome, SmsPilotError

if TYPE_CHECKING:
    from smspilot_async.models import MessageStatus

_REFUSED: Final = -2  # the status of a message that the gateway refused, or does not know


class NotFinal(SmsPilotError, TimeoutError):
    """The timeout was reached before the gateway reported a final status: wait again, the status may still change.

    A message for which the gateway has reported a status *was* accepted, and only its delivery is open: then the
    ``outcome`` is ``accepted``. Without one it is ``unknown``. Never send the message again because of this error.

    Attributes:
        status: The last known status; ``None`` if there is none.
    """

    outcome: Outcome = Outcome.UNKNOWN

    def __init__(self, message: str, *, status: MessageStatus | None = None, message_id: int | None = None) -> None:
        super().__init__(message, command="check", message_id=message_id)
        self.status = status
        if status is not None and status.status is not None and status.status > _REFUSED:
            self.outcome = Outcome.ACCEPTED
