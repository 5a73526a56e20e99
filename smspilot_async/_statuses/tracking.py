"""Tracks messages until their statuses are final: polls on the vendor's schedule, and takes callbacks.

The client passes the function that makes a request, ``Ask``.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from smspilot_async._statuses.checks import PacketChecks, check_ids, note_failure
from smspilot_async._statuses.not_final import NotFinal
from smspilot_async._statuses.rules import (
    STATUS_UNKNOWN,
    Known,
    beats,
    is_change,
    is_truly_unknown,
    merged,
    pause_before,
)
from smspilot_async._statuses.server_ids import NO_ID, flat, packet_id, server_id
from smspilot_async._tools.history import History
from smspilot_async._tools.stream import Results, reading
from smspilot_async.errors import NotFound, SmsPilotError
from smspilot_async.models import DeliveryStatus, MessageStatus, SentMessage, figure_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, Collection, Iterable

    from matplotlib.figure import Figure

    from smspilot_async._statuses.checks import Ask
    from smspilot_async._statuses.server_ids import Trackable
    from smspilot_async._tools.clock import Clock

__all__ = ["Tracking"]

logger: Final = logging.getLogger("smspilot_async")

HORIZON: Final = 40 * 24 * 3600.0
"""Seconds for which the gateway keeps a message."""

_STATES: Final[dict[int | None, str]] = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.NOT_DELIVERED: "not delivered",
    DeliveryStatus.UNKNOWN: "unknown",
}
_LAST_CHECK: Final = 10.0
_HINT_PAUSE: Final = 10.0


@runtime_checkable
class Watchable(Protocol):
    """A source of callbacks that can be limited to some messages, and also yields earlier callbacks."""

    def watch(self, server_ids: Collection[str]) -> AsyncIterable[MessageStatus]:
        """Yield their statuses as callbacks arrive; a status of ``None`` only hints that a message should be polled."""
        raise NotImplementedError


@attrs.define(eq=False)
class Tracked:
    """One message that is tracked.

    Attributes:
        server_id: The gateway's id for it.
        packet: The gateway's id for its packet, while polling by packet makes sense.
        wait: Seconds from the start until it is scheduled.
        known: Its last status.
        begun: When it was accepted or due, as far as is known; in the clock's monotonic seconds, as is ``due``.
        due: When it is polled next.
        polls: The number of successful polls.
        unknown_polls: The number of consecutive polls, up to the last, that answered -2.
    """

    server_id: str
    packet: str | None = None
    wait: float = 0.0
    known: Known | None = None
    begun: float = 0.0
    due: float = 0.0
    polls: int = 0
    unknown_polls: int = 0

    @property
    def is_final(self) -> bool:
        return self.known is not None and self.known.status.is_final


def tracked_in(given: Trackable | Iterable[Trackable], clock: Clock) -> dict[str, Tracked]:
    """Collect the messages to track, each one once: ids, and what was accepted of messages, packets and results.

    Raises:
        InvalidMessage: Something is none of these.
    """
    found: dict[str, Tracked] = {}
    unnumbered = 0
    for one in flat(given):
        if not isinstance(one, SentMessage):
            id_ = server_id(one, "server_ids", 300)
            found.setdefault(id_, Tracked(id_))
        elif one.accepted and one.server_id not in NO_ID:
            tracked = _tracked_message(one, clock)
            found[tracked.server_id] = tracked
        else:
            unnumbered += one.accepted
    if unnumbered:
        logger.warning("tracking: %d accepted messages have no server_id, and cannot be tracked", unnumbered)
    return found


def _tracked_message(sent: SentMessage, clock: Clock) -> Tracked:
    number, packet = server_id(sent, "server_ids", 300), packet_id(sent.server_packet_id)
    wait = 0.0 if sent.send_at is None else max(0.0, (sent.send_at - clock.now()).total_seconds())
    status = MessageStatus(id=sent.id, server_id=number, status=sent.status, error=sent.error)
    known = None if sent.status is None else Known(status, is_polled=True)
    return Tracked(number, packet if isinstance(packet, str) and packet not in NO_ID else None, wait, known)


class Tracking(Results[MessageStatus]):
    """Changes of status, until all are final or the timeout is reached; returned by :meth:`Client.track`.

    Attributes:
        statuses: The last known status of each message, by ``server_id``; without one there is no entry.
    """

    def __init__(
        self,
        messages: dict[str, Tracked],
        ask: Ask,
        *,
        clock: Clock,
        in_flight: int,
        poll_interval: float | None = None,
        timeout: float | None = None,
        source: AsyncIterable[MessageStatus] | Watchable | None = None,
    ) -> None:
        super().__init__()
        self.statuses: dict[str, MessageStatus] = {}
        self._messages = messages
        self._pending = {id_: message for id_, message in messages.items() if not message.is_final}
        self._ask = ask
        self._clock = clock
        self._in_flight = in_flight
        self._poll_interval = poll_interval
        self._timeout = HORIZON if timeout is None else timeout
        self._source = source
        self._poller: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._hinted: set[str] = set()
        self._hint_checker: asyncio.Task[None] | None = None
        self._history = History("states")
        for id_, message in messages.items():
            if message.known is not None:
                self.statuses[id_] = message.known.status

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids of the messages whose status is not final yet."""
        return tuple(self._pending)

    def plot(self) -> Figure:
        """Draw how many messages were delivered, not delivered, unknown to the gateway or on the way, over time.

        It costs no memory for each change: a tracking of any length is counted in at most 240 intervals.

        Returns:
            A ``matplotlib.figure.Figure``, which a notebook shows at the end of a cell; ``savefig`` writes it to a
            file. Its label (``get_label()``) says in words what it shows.

        Raises:
            ImportError: The extra ``notebook`` is not installed.
        """
        return figure_of(self._history)

    def _counts(self) -> str:
        return f"{len(self._messages) - len(self._pending)} messages final, {len(self._pending)} pending"

    def _start(self) -> None:
        for id_ in self._messages.keys() - self._pending.keys():
            self._give(self.statuses[id_])  # so that every message's final status is yielded once
        now = self._began = self._clock.monotonic()
        for state, number in Counter(_state(self.statuses.get(id_)) for id_ in self._messages).items():
            self._history.add(0.0, state, number)
        self._until = now + self._timeout
        for message in self._pending.values():
            message.begun = now + message.wait
            self._plan(message, message.begun)
        if not self._pending:
            return
        self._poller = poller = self._own(self._poll())
        if self._source is not None:
            self._listener = self._own(self._listen(self._source, poller))

    def _plan(self, message: Tracked, after: float) -> None:
        """Schedule the next poll, with a last one shortly before the timeout."""
        message.due = after + pause_before(message.polls + 1, self._poll_interval)
        last_check = self._until - min(_LAST_CHECK, self._timeout / 4)
        if after < last_check < message.due:
            message.due = last_check

    # --- callbacks -------------------------------------------------------------------------------

    async def _listen(self, source: AsyncIterable[MessageStatus] | Watchable, poller: asyncio.Task[None]) -> None:
        if isinstance(source, Watchable):
            source = source.watch(self._pending)
        try:
            async with reading(source) as calls:
                async for status in calls:
                    if status.status is None:
                        self._check_soon(status.server_id)
                    self._apply_status(status, is_polled=False)
                    if not self._pending:
                        break
                    await self._wait_for_room()
        except Exception:
            self._dismiss(poller)
            raise
        if not self._pending:
            self._dismiss(poller)

    def _check_soon(self, server_id: str | None) -> None:
        """Poll a message out of turn, at the hint of a callback that is not trusted otherwise."""
        if server_id is None or server_id not in self._pending:
            return
        self._hinted.add(server_id)
        if self._hint_checker is None or self._hint_checker.done():
            self._hint_checker = self._own(self._check_hinted())

    async def _check_hinted(self) -> None:
        """Poll hinted messages together, with a pause, so that callbacks cannot cause a flood of polls."""
        while self._hinted:
            ids, self._hinted = sorted(self._hinted & self._pending.keys()), set()
            found = await check_ids(ids, self._ask, in_flight=self._in_flight, failures=[])
            for status in found.values():
                self._apply_status(status, is_polled=True)
            if not self._pending:
                self._dismiss(*filter(None, (self._poller, self._listener)))
                return
            await self._clock.sleep(_HINT_PAUSE)

    # --- polls -----------------------------------------------------------------------------------

    async def _poll(self) -> None:
        try:
            async with self._clock.timeout_at(self._until):
                while self._pending:
                    await self._until_due()
                    await self._wait_for_room()
                    await self._round()
        except TimeoutError:
            pass  # ``pending`` has the rest
        finally:
            self._dismiss(*filter(None, (self._listener, self._hint_checker)))
        final = len(self._messages) - len(self._pending)
        logger.info("tracking of %d messages: %d final, %d pending", len(self._messages), final, len(self._pending))

    async def _until_due(self) -> None:
        now = self._clock.monotonic()
        next_due = min((message.due for message in self._pending.values()), default=now)
        await self._clock.sleep(next_due - now)

    async def _round(self) -> None:
        """Poll the messages that are due."""
        now = self._clock.monotonic()
        due = [message for message in self._pending.values() if message.due <= now]
        packets, loose = _grouped(due)
        failures: list[SmsPilotError] = []
        answered = await self._ask_packets(packets, loose, failures)
        ids = [message.server_id for message in loose if not message.is_final]
        found = await check_ids(ids, self._ask, in_flight=self._in_flight, failures=failures)
        for status in found.values():
            self._apply_status(status, is_polled=True)
        self._plan_next(due, answered | found.keys())
        if failures:
            kinds = ", ".join(sorted({type(error).__name__ for error in failures}))
            logger.warning("tracking: %d checks failed (%s); they will be repeated", len(failures), kinds)

    def _plan_next(self, due: list[Tracked], answered: set[str]) -> None:
        now = self._clock.monotonic()
        for message in due:
            message.polls += message.server_id in answered  # a check that failed is repeated after the same pause
            self._plan(message, now)

    async def _ask_packets(
        self, packets: dict[str, list[Tracked]], loose: list[Tracked], failures: list[SmsPilotError]
    ) -> set[str]:
        """Poll by packet. Messages that are missing from their packet's answer are added to ``loose``.

        Returns:
            The ids in the answers.
        """
        answered: set[str] = set()
        async with PacketChecks(packets, self._ask, in_flight=self._in_flight) as checks:
            async for check in checks:
                group = packets[check.server_packet_id or ""]
                if check.error is not None and not isinstance(check.error, NotFound):
                    note_failure(check.error, failures)
                    continue
                for status in check.statuses:
                    answered.add(status.server_id or "")
                    self._apply_status(status, is_polled=True)
                for message in group:
                    if message.server_id not in answered:
                        message.packet = None
                        loose.append(message)
        return answered

    # --- applying statuses -----------------------------------------------------------------------

    def _apply_status(self, status: MessageStatus, *, is_polled: bool) -> None:
        message = self._messages.get(status.server_id or "")
        if message is None or status.status is None or not self._is_credible(message, status, is_polled=is_polled):
            return
        new = Known(status, is_polled)
        if not beats(new, message.known):
            return
        before = self.statuses.get(message.server_id)
        status = status if before is None else merged(status, before)
        message.known = Known(status, is_polled)
        self.statuses[message.server_id] = status
        self._count(_state(before), _state(status))
        if status.is_final:
            self._pending.pop(message.server_id, None)
        if before is None or is_change(status, before):
            self._give(status)

    def _count(self, before: str, after: str) -> None:
        if before != after:
            seconds = self._clock.monotonic() - self._began
            self._history.add(seconds, before, -1)
            self._history.add(seconds, after)

    def _is_credible(self, message: Tracked, status: MessageStatus, *, is_polled: bool) -> bool:
        """Hold -2 back until it is certain: once yielded, it would look final, and might not be."""
        if is_polled:
            message.unknown_polls = message.unknown_polls + 1 if status.status == STATUS_UNKNOWN else 0
        if status.status != STATUS_UNKNOWN:
            return True
        return is_polled and is_truly_unknown(self._clock.monotonic() - message.begun, message.unknown_polls)


def _state(status: MessageStatus | None) -> str:
    return _STATES.get(None if status is None else status.status, "on the way")


def not_final(id_: str, status: MessageStatus | None) -> NotFinal:
    """Return the error of a wait that reached its timeout."""
    if status is None:
        return NotFinal(
            f"message {id_}: no status at all in time. Check that the id is right, and wait again; do not send it "
            "again."
        )
    return NotFinal(
        f"message {id_}: no final status in time (the last one is {status.status}). It was accepted: wait again; do "
        "not send it again.",
        status=status,
        message_id=status.id,
    )


def _grouped(due: Iterable[Tracked]) -> tuple[dict[str, list[Tracked]], list[Tracked]]:
    """Split messages into groups to poll by packet, and those to poll by id, being the only ones of their packets."""
    packets: defaultdict[str | None, list[Tracked]] = defaultdict(list)
    for message in due:
        packets[message.packet].append(message)
    loose = packets.pop(None, [])
    shared: dict[str, list[Tracked]] = {}
    for packet, messages in packets.items():
        if packet is not None and len(messages) > 1:
            shared[packet] = messages
        else:
            loose += messages
    return shared, loose
