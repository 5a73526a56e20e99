"""The engine that sends a list: packets of 100, one after another, and a result for every row.

The rest of the command knows it only as :class:`Engine`: rows go in, results come out in the same order, and afterwards
``stopped_by`` says what ended the sending early. Whatever happens to a packet, each of its rows gets a result, and each
row that was not reached comes out as not sent.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from smspilot_async.cli._problems import is_of_account, unexpected
from smspilot_async.errors import (
    ConnectionFailed,
    GatewayError,
    InvalidMessage,
    MessageRefused,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
)
from smspilot_async.models import Accepted, NotSent, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from smspilot_async import Client
    from smspilot_async.cli._recipients import Recipient
    from smspilot_async.models import Message, Packet, SendResult, SentMessage

    Result: TypeAlias = SendResult[Recipient]

PACKET_SIZE: Final = 100
MAX_UNKNOWN: Final = 3


class Engine(Protocol):
    """Sends a list. Whoever replaces the engine keeps to this."""

    stopped_by: SmsPilotError | None
    """What ended the sending before the list did; ``None`` where nothing did, or the user."""

    def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows; answer what became of each, in their order, a packet at a time."""
        ...

    def stop(self) -> None:
        """Send nothing more; what is on the wire is waited for."""
        ...

    def quit(self) -> None:
        """Do not even wait for what is on the wire: it becomes unknown."""
        ...


class PacketEngine:
    """One packet at a time.

    It stops at an account error (no other message would fare better), when no connection can be made, and after so many
    packets in a row of which nobody knows what became of them.
    """

    def __init__(
        self, client: Client, *, packet_size: int = PACKET_SIZE, max_unknown: int = MAX_UNKNOWN, test: bool = False
    ) -> None:
        self.stopped_by: SmsPilotError | None = None
        self._client = client
        self._packet_size = packet_size
        self._max_unknown = max_unknown
        self._test = test
        self._failed_in_a_row = 0
        self._stopping = False
        self._closing: asyncio.Future[None] | None = None  # held, or the loop would forget it

    async def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows; answer what became of each, in their order, a packet at a time."""
        ahead = iter(rows)
        while packet := list(itertools.islice(ahead, self._packet_size)):
            if self._stopping:
                yield [NotSent(row, self.stopped_by) for row in packet]
            else:
                yield await self._send(packet)

    def stop(self) -> None:
        """Send nothing more; what is on the wire is waited for."""
        self._stopping = True

    def quit(self) -> None:
        """Do not even wait for what is on the wire: it becomes unknown."""
        self._stopping = True
        # The client knows best what it can still take back: closing it ends its requests, each with the truth.
        self._closing = asyncio.ensure_future(self._client.aclose(timeout=0.0))

    async def _send(self, rows: Sequence[Recipient]) -> Sequence[Result]:
        failure: SmsPilotError
        try:
            packet = await self._client.send_packet(_messages(rows), test=self._test)
        except SmsPilotError as error:
            failure = error
        except asyncio.CancelledError:  # Ctrl-C where the loop takes no signal handlers
            self._stopping = True
            failure = OutcomeUnknown("cut off before the gateway's answer came.", reason=Reason.CANCELLED)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not lose the account of a packet
            failure = OutcomeUnknown(unexpected(error, paid=True).message, reason=Reason.UNREADABLE)
            self._stop_for(failure)
        else:
            return self._answered(rows, packet)
        return self._failed(rows, failure)

    def _answered(self, rows: Sequence[Recipient], packet: Packet) -> Sequence[Result]:
        results = [_result(row, sent) for row, sent in zip(rows, packet.messages, strict=True)]
        self._count(failed=all(isinstance(result, Unknown) for result in results), error=packet.messages[0].failure)
        for sent in packet.messages:
            if sent.failure is not None and is_of_account(sent.failure):
                self._stop_for(sent.failure)
        return results

    def _failed(self, rows: Sequence[Recipient], error: SmsPilotError) -> Sequence[Result]:
        if isinstance(error, ConnectionFailed) or is_of_account(error):
            self._stop_for(error)
        self._count(failed=not isinstance(error, (MessageRefused, InvalidMessage)), error=error)
        match error:
            case OutcomeUnknown():
                return [Unknown(row, error) for row in rows]
            case GatewayError() | InvalidMessage():
                return [Refused(row, error) for row in rows]
            case _:
                return [NotSent(row, error) for row in rows]

    def _count(self, *, failed: bool, error: SmsPilotError | None) -> None:
        # A gateway that fails packet after packet would turn the whole list into unknowns before anybody looks.
        self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0
        if error is not None and self._failed_in_a_row >= self._max_unknown:
            self._stop_for(error)

    def _stop_for(self, error: SmsPilotError) -> None:
        self._stopping = True
        self.stopped_by = self.stopped_by or error


def _messages(rows: Sequence[Recipient]) -> list[Message]:
    return [row.message for row in rows if row.message is not None]


def _result(row: Recipient, sent: SentMessage) -> Result:
    match sent.failure:
        case None:
            return Accepted(row, sent)
        case OutcomeUnknown() as unknown:
            return Unknown(row, unknown, sent)
        case refusal:
            return Refused(row, refusal, sent)
