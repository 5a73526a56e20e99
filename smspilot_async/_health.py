"""The health of a client, known without a request: results of its requests, queues, unknown outcomes."""

from __future__ import annotations

import weakref
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from smspilot_async.errors import ConnectionFailed, GatewayBusy, SmsPilotError, Unanswered, is_account_error
from smspilot_async.models import AccountInfo, Packet
from smspilot_async.wire import Balance

if TYPE_CHECKING:
    from smspilot_async._tools.clock import Clock
    from smspilot_async.wire import Command

__all__ = ["Health", "HealthRecorder"]


class Polling(Protocol):
    """Polls the gateway for inbound messages."""

    @property
    def fresh_at(self) -> float | None:
        """When it was last up to date, in the clock's monotonic seconds; ``None`` while it is not listening."""


@attrs.frozen(kw_only=True)
class Health:
    """The health of a client at one moment.

    Attributes:
        is_open: The client accepts calls.
        last_success: When a request last succeeded; aware, UTC; ``None`` before the first success.
        failures_in_a_row: Requests since then that failed in a way that affects others: no connection, no readable
            answer, "try again later", or an error of the account (key, funds, blocked), even if it was reported for
            each message of a packet. A refused message is not a failure.
        queued: Messages that wait to be sent, including those between two attempts.
        in_flight: Messages on the wire, not answered yet.
        open_unknowns: Messages since this client was created that may have been sent and are still unresolved.
        listen_lag: Seconds since the last successful poll of :meth:`Client.listen`, or since its start if there was
            none; of several listeners the longest; ``None`` if there is none.
        balance: The account's balance in roubles, from the gateway's last answer that had it.
        balance_at: When that answer came; aware, UTC.
    """

    is_open: bool
    last_success: datetime | None
    failures_in_a_row: int
    queued: int
    in_flight: int
    open_unknowns: int
    listen_lag: float | None
    balance: Decimal | None
    balance_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: times in ISO 8601, UTC; the balance as a string with the gateway's digits."""
        return {
            "is_open": self.is_open,
            "last_success": _iso(self.last_success),
            "failures_in_a_row": self.failures_in_a_row,
            "queued": self.queued,
            "in_flight": self.in_flight,
            "open_unknowns": self.open_unknowns,
            "listen_lag": self.listen_lag,
            "balance": None if self.balance is None else str(self.balance),
            "balance_at": _iso(self.balance_at),
        }


class HealthRecorder:
    """Records what :class:`Health` reports; one per client, for all its event loops.

    Attributes:
        open_unknowns: See :class:`Health`; decremented when one is resolved.
        gateway_time: The gateway's own time, from its last answer; aware, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self.last_success: datetime | None = None
        self.failures_in_a_row = 0
        self.open_unknowns = 0
        self.gateway_time: datetime | None = None
        self.balance: Decimal | None = None
        self.balance_at: datetime | None = None
        self._clock = clock
        self._listeners: list[weakref.ref[Polling]] = []

    def note(self, command: Command[Any], answer: object) -> None:
        """Record how a request ended."""
        now = self._clock.now()
        if _is_failure(answer):
            self.failures_in_a_row += 1
        else:
            self.failures_in_a_row = 0
            self.last_success = now
        balance = _balance_in(command, answer)
        if balance is not None:
            self.balance, self.balance_at = balance, now

    def watch(self, listener: Polling) -> None:
        """Add a listener; it is referenced weakly."""
        self._listeners = [known for known in self._listeners if known() is not None]
        self._listeners.append(weakref.ref(listener))

    def listen_lag(self) -> float | None:
        """Return the seconds since the last successful poll; of several listeners the longest."""
        listeners = [listener for known in tuple(self._listeners) if (listener := known()) is not None]
        moments = [listener.fresh_at for listener in listeners if listener.fresh_at is not None]
        return self._clock.monotonic() - min(moments) if moments else None


def _is_failure(answer: object) -> bool:
    if isinstance(answer, Packet):  # the gateway may report an error of the account for each message
        return all(row.failure for row in answer.messages) and any(_is_failure(row.failure) for row in answer.messages)
    if not isinstance(answer, SmsPilotError):
        return False
    return isinstance(answer, (ConnectionFailed, Unanswered, GatewayBusy)) or is_account_error(answer)


def _balance_in(command: Command[Any], answer: object) -> Decimal | None:
    if isinstance(answer, (Packet, AccountInfo)):
        return answer.balance
    if isinstance(answer, Decimal) and isinstance(command, Balance) and command.unit == "rur":
        return answer
    return None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
