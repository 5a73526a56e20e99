"""The gateway's memory: messages by number and by packet, and the moves of their statuses that are still to come.

Everything that happens per request is a look-up or a heap operation, so that a hundred thousand messages cost what
their number says. Changes are announced to subscribers in the order in which they happen.
"""

from __future__ import annotations

import heapq
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async.emulator.gateway._messages import FINAL, KEPT, AcceptedMessage, StatusChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Listener = Callable[[AcceptedMessage], None]

KEPT_TESTS: Final = 10_000
"""Messages that cost nothing are not limited by money: only the newest are remembered."""

_FIRST_SERVER_ID = 100_000_001
_FIRST_PACKET_ID = 5_001  # far from the messages' numbers, so that mixing the two up shows


@attrs.define
class MessageStore:
    """Every message that was accepted, in order; those of test packets apart.

    Attributes:
        messages: The real ones.
        tests_accepted: How many test messages there were, those included that are forgotten.
        listeners: Called with each message as it is accepted, those of test packets too, and at each change of its
            status.
    """

    messages: list[AcceptedMessage] = attrs.Factory(list)
    tests_accepted: int = 0
    listeners: list[Listener] = attrs.Factory(list)
    _positions: dict[str, int] = attrs.Factory(dict)
    _packets: dict[str, list[str]] = attrs.Factory(dict)
    _tests: dict[str, AcceptedMessage] = attrs.Factory(dict)
    _tests_in_order: deque[AcceptedMessage] = attrs.Factory(deque)
    _moves: list[tuple[datetime, int, str, StatusChange]] = attrs.Factory(list)
    _next_server_id: int = _FIRST_SERVER_ID
    _next_packet_id: int = _FIRST_PACKET_ID
    _next_move: int = 0

    @property
    def accepted(self) -> int:
        """How many messages there were, test messages included."""
        return len(self.messages) + self.tests_accepted

    @property
    def test_messages(self) -> list[AcceptedMessage]:
        """The test messages, which are neither delivered nor charged: the newest `KEPT_TESTS` of them."""
        return list(self._tests_in_order)

    def open_packet(self) -> str:
        """The number of a new packet."""
        number = str(self._next_packet_id)
        self._next_packet_id += 1
        return number

    def next_server_id(self) -> str:
        """The number of a new message."""
        number = str(self._next_server_id)
        self._next_server_id += 1
        return number

    def add_test(self, message: AcceptedMessage, *, is_stored: bool) -> None:
        """Remember a test message; one that the gateway does not store is in none of its packets."""
        if is_stored:
            self._packets.setdefault(message.server_packet_id, []).append(message.server_id)
        self._tests[message.server_id] = message
        self._tests_in_order.append(message)
        self.tests_accepted += 1
        if len(self._tests_in_order) > KEPT_TESTS:
            self._forget_oldest_test()
        self._announce(message)

    def add(self, message: AcceptedMessage, moves: Iterable[StatusChange] = ()) -> None:
        """Remember a message and the statuses it will have."""
        self._packets.setdefault(message.server_packet_id, []).append(message.server_id)
        self._positions[message.server_id] = len(self.messages)
        self.messages.append(message)
        for move in moves:
            heapq.heappush(self._moves, (move.at, self._next_move, message.server_id, move))
            self._next_move += 1
        self._announce(message)

    def find(self, server_id: str, now: datetime) -> AcceptedMessage | None:
        """A message by its number, unless it is so old that the gateway has forgotten it."""
        message = self.get(server_id)
        return message if message is not None and now - message.accepted_at <= KEPT else None

    def get(self, server_id: str) -> AcceptedMessage | None:
        """A message by its number, however old it is."""
        position = self._positions.get(server_id)
        return self._tests.get(server_id) if position is None else self.messages[position]

    def packet(self, number: str) -> list[str] | None:
        """The numbers of a packet's accepted messages."""
        return self._packets.get(number)

    def make_due(self, now: datetime) -> None:
        """Make the moves that are due, in order."""
        while self._moves and self._moves[0][0] <= now:
            _, _, server_id, change = heapq.heappop(self._moves)
            self.move(server_id, change)

    def move(self, server_id: str, change: StatusChange) -> None:
        """Give a message another status, unless its status is final."""
        position = self._positions[server_id]
        message = self.messages[position]
        if message.status in FINAL:
            return
        message = attrs.evolve(
            message,
            status=change.status,
            error=change.error,
            modified=change.at,
            history=(*message.history, change),
        )
        self.messages[position] = message
        self._announce(message)

    def _forget_oldest_test(self) -> None:
        oldest = self._tests_in_order.popleft()
        if self._tests[oldest.server_id] is oldest:  # and not another one, which has its number under the test key
            del self._tests[oldest.server_id]
        packet = self._packets.get(oldest.server_packet_id, [])
        if packet[:1] == [oldest.server_id]:
            del packet[0]
            if not packet:
                del self._packets[oldest.server_packet_id]

    def _announce(self, message: AcceptedMessage) -> None:
        for listener in tuple(self.listeners):
            listener(message)
