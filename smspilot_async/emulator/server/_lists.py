"""Lists in pieces, however long they are: the loop that reads one answers the gateway's clients as well.

A list is read by the rising numbers of its items, a chunk at a time, and the loop has its turn after each. So the
state is locked for a chunk and not for the list, and what comes meanwhile is at its end.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from smspilot_async.emulator.server._arguments import check_names, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async.emulator._core import EmulatorCore
    from smspilot_async.emulator.gateway._gateway import Gateway
    from smspilot_async.emulator.gateway._messages import AcceptedMessage, InboundSms

Item = TypeVar("Item")

AT_ONCE: Final = 1000
MOST_AT_ONCE: Final = 10_000
LOOKED_AT: Final = 2000
"""Items looked through in a turn of the loop."""
WRITTEN: Final = 100
"""Items written as JSON or CSV in a turn of the loop, which takes some milliseconds."""


@attrs.frozen
class Listed(Generic[Item]):
    """A list that the control API offers.

    Attributes:
        name: What it is called in the answer.
        read: The items with a number above the first argument, with their numbers: as many as the second, at most.
        shown: An item as plain data.
    """

    name: str
    read: Callable[[int, int], Sequence[tuple[int, Item]]]
    shown: Callable[[Item], dict[str, Any]]

    async def page(self, query: dict[str, Any], meets: Callable[[Item], bool] | None = None) -> bytes:
        """The piece that a query asks for, of those items that meet a condition, as a JSON object."""
        check_names(query, ("limit", "after"))
        limit = whole({"limit": str(AT_ONCE), **query}, "limit", least=1, most=MOST_AT_ONCE)
        after = whole({"after": "0", **query}, "after", least=0)
        found: list[tuple[int, Item]] = []
        async for pair in self.numbered(after, limit + 1 if meets is None else LOOKED_AT):
            if meets is None or meets(pair[1]):
                found.append(pair)
                if len(found) > limit:
                    break
        following = found[limit - 1][0] if len(found) > limit else None
        rows: list[str] = []
        for start in range(0, min(limit, len(found)), WRITTEN):
            rows += (json.dumps(self.shown(item)) for _, item in found[start : min(start + WRITTEN, limit)])
            await asyncio.sleep(0)
        return f'{{"{self.name}": [{", ".join(rows)}], "next": {json.dumps(following)}}}'.encode()

    async def numbered(self, after: int = 0, chunk: int = LOOKED_AT) -> AsyncIterator[tuple[int, Item]]:
        """All items from a number on, the loop having its turns."""
        while pairs := self.read(after, min(chunk, LOOKED_AT)):
            for pair in pairs:
                yield pair
            after = pairs[-1][0]
            await asyncio.sleep(0)


def newest(items: Sequence[Item], number_of: Callable[[Item], int]) -> Callable[[int, int], list[tuple[int, Item]]]:
    """Read a short list whose items know their numbers."""

    def read(after: int, most: int) -> list[tuple[int, Item]]:
        numbered = ((number_of(item), item) for item in items)
        return list(islice((pair for pair in numbered if pair[0] > after), most))

    return read


def messages_of(emulator: EmulatorCore) -> Callable[[int, int], list[tuple[int, AcceptedMessage]]]:
    """Read the accepted messages, by their server ids."""

    def read(after: int, most: int) -> list[tuple[int, AcceptedMessage]]:
        def look(gateway: Gateway) -> list[AcceptedMessage]:
            messages = gateway.store.messages
            start = bisect_right(messages, after, key=_server_id)
            return messages[start : start + most]

        return [(_server_id(message), message) for message in emulator.inspect(look)]

    return read


def test_messages_of(emulator: EmulatorCore) -> Callable[[int, int], list[tuple[int, AcceptedMessage]]]:
    """Read the test messages that are remembered, as they are counted: under the test key many have the same id."""

    def read(after: int, most: int) -> list[tuple[int, AcceptedMessage]]:
        def look(gateway: Gateway) -> list[tuple[int, AcceptedMessage]]:
            kept = gateway.store.test_messages
            first = gateway.store.tests_accepted - len(kept) + 1
            start = max(0, after - first + 1)
            return list(enumerate(kept[start : start + most], first + start))

        return emulator.inspect(look)

    return read


def inbound_of(emulator: EmulatorCore) -> Callable[[int, int], list[tuple[int, InboundSms]]]:
    """Read the inbound messages of all accounts, by their ids."""

    def read(after: int, most: int) -> list[tuple[int, InboundSms]]:
        def look(gateway: Gateway) -> list[InboundSms]:
            inboxes = [inbox.messages for inbox in gateway.inboxes.values()]
            starts = [bisect_right(inbox, after, key=_id) for inbox in inboxes]
            pieces = (inbox[start : start + most] for inbox, start in zip(inboxes, starts, strict=True))
            return list(islice(merge(*pieces, key=_id), most))

        return [(sms.id, sms) for sms in emulator.inspect(look)]

    return read


def _server_id(message: AcceptedMessage) -> int:
    return int(message.server_id)


def _id(sms: InboundSms) -> int:
    return sms.id
