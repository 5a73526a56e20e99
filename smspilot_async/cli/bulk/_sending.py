"""The engine that sends a list: packets of 100, a few of them in flight, and a result for every row.

The rest of the command knows it only as :class:`Engine`: rows go in, results come out as the gateway answers, and
afterwards ``stopped_by`` says what ended the sending early. Whatever happens to a packet, each of its rows gets a
result, and each row that was not reached comes out as not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from smspilot_async.cli.bulk._journal import JournalError
from smspilot_async.errors import SmsPilotError
from smspilot_async.models import NotSent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from smspilot_async import BulkRun, Client
    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.errors import GatewayBusy
    from smspilot_async.models import Message, SendResult

    Result: TypeAlias = SendResult[Recipient]

PACKET_SIZE: Final = 100
IN_FLIGHT: Final = 4
PATIENCE: Final = 600.0
"""Seconds for which a gateway that says "not now" is asked again, as ``Client.bulk`` does."""


class Engine(Protocol):
    """Sends a list. Whoever replaces the engine keeps to this."""

    stopped_by: SmsPilotError | None
    """What ended the sending before the list did; ``None`` where nothing did, or the user, or the journal."""

    @property
    def rate(self) -> float:
        """Messages per second, so far."""
        ...

    @property
    def waits_for(self) -> GatewayBusy | None:
        """The gateway's "not now", while it is waited for."""
        ...

    def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows; answer what became of each, as soon as it is known."""
        ...

    def stop(self) -> None:
        """Send nothing more; what is on the wire is waited for."""
        ...

    def quit(self) -> None:
        """Do not even wait for what is on the wire: it becomes unknown."""
        ...


class BulkEngine:
    """Feeds the client's bulk run, and ties its results to the rows they came from.

    Args:
        client: Sends.
        intend: Awaited with the rows of each packet before its first byte leaves; where it raises
            :class:`JournalError` the packet does not leave, and the sending ends.
        test: Keep everything from the operators.
        packet_size: Messages in a packet.
        in_flight: Packets under way at once.
        rate_limit: Messages per second, at most; packets are made so small that this holds for each second.
        patience: Seconds for which a gateway that says "not now" is asked again.
    """

    def __init__(
        self,
        client: Client,
        *,
        intend: Callable[[Sequence[Recipient]], Awaitable[None]] | None = None,
        test: bool = False,
        packet_size: int = PACKET_SIZE,
        in_flight: int = IN_FLIGHT,
        rate_limit: float | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.stopped_by: SmsPilotError | None = None
        self._client = client
        self._intend = intend
        self._test = test
        self._packet_size = packet_size if rate_limit is None else max(1, min(packet_size, int(rate_limit)))
        self._rate_limit = rate_limit
        self._patience = patience
        self._in_flight = in_flight
        self._run: BulkRun[Recipient] | None = None
        self._inside = contextlib.AsyncExitStack()
        self._taken = 0
        self._stopping = False
        self._leaving: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None  # held, or the loop would forget it

    @property
    def rate(self) -> float:
        """Messages per second, so far."""
        return 0.0 if self._run is None else self._run.stats.rate

    @property
    def waits_for(self) -> GatewayBusy | None:
        """The gateway's "not now", while it is waited for."""
        return None if self._run is None else self._run.busy

    async def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows; answer what became of each, as soon as it is known."""
        ahead = iter(rows)
        if not self._stopping:
            self._run = self._client.bulk(
                (row for row in ahead),  # a run closes its source at its end, and what is left in this one is not sent
                message=_message_of,
                packet_size=self._packet_size,
                in_flight=self._in_flight,
                rate_limit=self._rate_limit,
                patience=self._patience,
                test=self._test,
                before_packet=self._intend,
            )
            await self._inside.enter_async_context(self._run)
            while results := await self._next(self._run):
                yield results
            await (self._leaving or self._inside.aclose())
        while left := list(itertools.islice(ahead, self._packet_size)):
            yield [NotSent(row, self.stopped_by) for row in left]

    def stop(self) -> None:
        """Send nothing more; what is on the wire is waited for."""
        if not self._stopping:
            self._stopping = True
            self._leaving = asyncio.ensure_future(self._inside.aclose())

    def quit(self) -> None:
        """Do not even wait for what is on the wire: it becomes unknown."""
        self.stop()
        # The client knows best what it can still take back: closing it ends its requests, each with the truth.
        self._closing = asyncio.ensure_future(self._client.aclose(timeout=0.0))

    async def _next(self, run: BulkRun[Recipient]) -> Sequence[Result]:
        """Wait for results, and take all there are; none, once the run is over."""
        results: list[Result] = []
        while not results or self._taken < run.stats.done:
            try:
                result = await anext(run)
            except asyncio.CancelledError:  # Ctrl-C where the loop takes no signal handlers
                self.stop()
            except (StopAsyncIteration, JournalError):
                break
            except SmsPilotError as error:
                if not self._stopping:
                    self.stopped_by = error
                break
            else:
                self._taken += 1
                results.append(result)
        return results


def _message_of(row: Recipient) -> Message:
    assert row.message is not None  # noqa: S101 - rows that make none are refused before
    return row.message
