"""How a client is doing, told without asking anybody: what its requests brought, what waits, what nobody knows."""

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
    """What polls the gateway for inbound messages."""

    @property
    def fresh_at(self) -> float | None:
        """When it last had everything, in the clock's monotonic seconds; ``None`` while it is not listening."""


@attrs.frozen(kw_only=True)
class Health:
    """How a client is doing, at one moment.

    Attributes:
        is_open: It takes calls.
        last_success: When the gateway last answered a request as one that works; aware, UTC; ``None`` before that.
        failures_in_a_row: Requests since then that failed in a way that others would too: no connection, no readable
            answer, "try again later", or an error that concerns the account (key, funds, blocked), also where it is
            told of each message of a packet. A refused message is no failure.
        queued: Messages that wait to leave, those between two attempts included.
        in_flight: Messages on the wire, whose answer has not come.
        open_unknowns: Messages that may have been sent, of which nobody has found out since this client was made.
        listen_lag: Seconds since the last good poll of :meth:`Client.listen`, or since it began if there was none; of
            the listener that is furthest behind; ``None`` where nobody listens.
        balance: Roubles, as the gateway told last.
        balance_at: When it told that; aware, UTC.
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
        """Give it as plain values for JSON: times in ISO 8601, UTC; the balance as a string with its own digits."""
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
    """What a client notes of its requests, for :class:`Health`; all its event loops share one.

    Attributes:
        open_unknowns: See :class:`Health`; whoever finds out about one takes it off.
        gateway_time: The gateway's own time, as its last answer told it; aware, UTC.
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
        """Note how a request ended."""
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
        """Note a listener; whoever drops it need not say so."""
        self._listeners = [known for known in self._listeners if known() is not None]
        self._listeners.append(weakref.ref(listener))

    def listen_lag(self) -> float | None:
        """Tell the seconds since the last good poll, of the listener that is furthest behind."""
        listeners = [listener for known in tuple(self._listeners) if (listener := known()) is not None]
        moments = [listener.fresh_at for listener in listeners if listener.fresh_at is not None]
        return self._clock.monotonic() - min(moments) if moments else None


def _is_failure(answer: object) -> bool:
    if isinstance(answer, Packet):  # the gateway may tell of an account's fault with each message
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
