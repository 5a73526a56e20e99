"""The engine that sends a list: packets of 100, a few of them in flight, and a result for every row.

The rest of the command uses it only as :class:`Engine`: rows go in, results come out as the gateway answers, and
afterwards ``stopped_by`` says what ended the run early. Whatever happens to a packet, each of its rows gets a result;
rows that were not reached are not sent.
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
"""Seconds for which a busy gateway is retried, as by ``Client.bulk``."""


class Engine(Protocol):
    """Sends a list: what the command needs of its engine."""

    stopped_by: SmsPilotError | None
    """The error that ended the run early; ``None`` if none did, or if the user or the journal did."""

    @property
    def rate(self) -> float:
        """Messages per second, so far."""
        ...

    @property
    def waits_for(self) -> GatewayBusy | None:
        """The error of a busy gateway while it is being retried."""
        ...

    def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows, and yield their results as soon as they are known."""
        ...

    def stop(self) -> None:
        """Send nothing more; wait for packets in flight."""
        ...

    def quit(self) -> None:
        """Do not wait for packets in flight either: their rows become unknown."""
        ...


class BulkEngine:
    """Feeds the client's bulk run, and yields its results in groups.

    Args:
        client: The client that sends.
        intend: Awaited with the rows of each packet before its first byte is sent; if it raises
            :class:`JournalError`, the packet is not sent and the run ends.
        test: Hand nothing to the operators.
        packet_size: Messages per packet.
        in_flight: Packets in flight at once.
        rate_limit: Messages per second, at most; packets are made small enough for this to hold in every second.
        patience: Seconds for which a busy gateway is retried.
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
        self._closing: asyncio.Future[None] | None = None  # a reference, because the loop keeps only weak ones

    @property
    def rate(self) -> float:
        """Messages per second, so far."""
        return 0.0 if self._run is None else self._run.stats.rate

    @property
    def waits_for(self) -> GatewayBusy | None:
        """The error of a busy gateway while it is being retried."""
        return None if self._run is None else self._run.busy

    async def results(self, rows: Iterable[Recipient]) -> AsyncIterator[Sequence[Result]]:
        """Send the rows, and yield their results as soon as they are known."""
        ahead = iter(rows)
        if not self._stopping:
            self._run = self._client.bulk(
                (row for row in ahead),  # a run closes its source at its end; the rest of `ahead` is still needed below
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
        """Send nothing more; wait for packets in flight."""
        if not self._stopping:
            self._stopping = True
            self._leaving = asyncio.ensure_future(self._inside.aclose())

    def quit(self) -> None:
        """Do not wait for packets in flight either: their rows become unknown."""
        self.stop()
        # The client knows what has left: closing it ends each request with its true outcome.
        self._closing = asyncio.ensure_future(self._client.aclose(timeout=0.0))

    async def _next(self, run: BulkRun[Recipient]) -> Sequence[Result]:
        """Wait for results, and return all there are; none once the run is over."""
        results: list[Result] = []
        while not results or self._taken < run.stats.done:
            try:
                result = await anext(run)
            except asyncio.CancelledError:  # Ctrl-C where the loop supports no signal handlers
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
    assert row.message is not None  # noqa: S101 - rows without a message are refused earlier
    return row.message
