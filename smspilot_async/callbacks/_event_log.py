"""Where events are kept between the gateway's call and the application: the protocols, and the log in memory."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from smspilot_async.callbacks._form import StatusEvent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


_ROOM: Final = 10_000
_SENDS_REMEMBERED: Final = 100_000


class Sink(Protocol):
    """Keeps events safe before the gateway gets ``OK``: an application may bring its own."""

    async def store(self, event: StatusEvent) -> bool | None:
        """Return once the event is safe; ``False`` if the call it came by is not genuine (404).

        Anything raised, and anything that takes longer than five seconds, is answered with 503. The gateway may call
        again with the same event.
        """
        raise NotImplementedError


@attrs.frozen
class Stored:
    """An event in a log.

    Attributes:
        position: Grows from event to event.
        is_bound: The answer to this very send named this very ``server_id``.
    """

    position: int
    event: StatusEvent
    is_bound: bool = False


@runtime_checkable
class EventLog(Protocol):
    """A sink that can also be read, in the order in which events came: those of this worker, and of all others."""

    is_shared: bool

    async def open(self) -> None:
        """Open it, or raise an error that says what to do."""

    async def store(self, event: StatusEvent) -> bool:
        """Return once the event is safe."""
        raise NotImplementedError

    def bind(self, nonce: bytes, server_id: str) -> None:
        """Learn which number the answer to a send named, soon."""

    async def read(self, after: int, limit: int) -> list[Stored]:
        """Return what came after a position."""
        raise NotImplementedError

    async def find(self, server_ids: Iterable[str]) -> list[Stored]:
        """Return what came about these numbers."""
        raise NotImplementedError

    async def of_send(self, nonce: bytes) -> list[Stored]:
        """Return what came by the path of one send."""
        raise NotImplementedError

    async def end(self) -> int:
        """Return the last position."""
        raise NotImplementedError

    async def handed_over(self) -> int:
        """Return the position up to which an application is done; called when one begins to read."""
        raise NotImplementedError

    def hand_over(self, position: int) -> None:
        """Note that an application is done with everything up to a position, soon."""

    async def aclose(self) -> None:
        """Close files and threads; used again, it opens them again."""


@runtime_checkable
class Claimable(Protocol):
    """A log whose events are claimed by one worker each.

    A claim lasts until its owner has finished the event, releases it, or stops renewing it; an unfinished event may
    then be claimed by another. Events about one message are claimed in order.
    """

    async def claim(self, owner: bytes, now: datetime) -> Stored | None:
        """Claim the first event that has no owner and advances its message; ``None`` if there is none."""
        raise NotImplementedError

    def keep(self, owner: bytes, now: datetime) -> None:
        """Renew the claims of an owner, soon."""

    def give_up(self, owner: bytes) -> None:
        """Release the claims of an owner, soon."""

    def finish(self, position: int) -> None:
        """Note that an application is done with an event, with the next claim or whatever is written before it."""


class LogFull(Exception):
    """There is no room for an event: the application has not read those that came before it."""


class MemoryLog:
    """The last ten thousand events, of this process alone.

    Until an application reads them, the oldest are dropped for new ones; from then on, none is dropped unread.
    """

    is_shared = False

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._stored: OrderedDict[tuple[object, ...], Stored] = OrderedDict()
        self._by_id: defaultdict[str | None, list[Stored]] = defaultdict(list)
        self._last = 0
        self._done = 0
        self._is_read = False

    async def open(self) -> None:
        """There is nothing to open."""

    async def store(self, event: StatusEvent) -> bool:
        key = _key(event)
        if key not in self._stored:
            if len(self._stored) >= self._room:
                self._make_room()
            self._last += 1
            self._stored[key] = stored = Stored(self._last, event)
            self._by_id[event.server_id].append(stored)
        return True

    def _make_room(self) -> None:
        key, oldest = next(iter(self._stored.items()))
        if self._is_read and oldest.position > self._done:
            raise LogFull
        del self._stored[key]
        siblings = self._by_id[oldest.event.server_id]
        siblings.remove(oldest)
        if not siblings:
            del self._by_id[oldest.event.server_id]

    def bind(self, nonce: bytes, server_id: str) -> None:
        """Do nothing: the inbox itself knows, and there is no other worker."""

    async def read(self, after: int, limit: int) -> list[Stored]:
        new = list(islice(reversed(self._stored.values()), max(0, self._last - after)))
        return new[: -limit - 1 : -1]

    async def find(self, server_ids: Iterable[str]) -> list[Stored]:
        return [stored for server_id in server_ids for stored in self._by_id.get(server_id, ())]

    async def of_send(self, nonce: bytes) -> list[Stored]:
        return [stored for stored in self._stored.values() if stored.event.nonce == nonce]

    async def end(self) -> int:
        return self._last

    async def handed_over(self) -> int:
        self._is_read = True
        return self._done

    def hand_over(self, position: int) -> None:
        self._done = max(self._done, position)

    async def aclose(self) -> None:
        """There is nothing to close."""


def _key(event: StatusEvent) -> tuple[object, ...]:
    return event.nonce, event.server_id, event.status, event.error


class Bindings:
    """Which number of the gateway's belongs to which send, of the last hundred thousand: one to one."""

    def __init__(self, room: int = _SENDS_REMEMBERED) -> None:
        self._room = room
        self._numbers: OrderedDict[bytes, str] = OrderedDict()
        self._sends: dict[str, bytes] = {}

    def bind(self, nonce: bytes, server_id: str) -> None:
        """Learn what the answer to a send named."""
        self._numbers[nonce] = server_id
        self._sends[server_id] = nonce
        if len(self._numbers) > self._room:
            oldest, number = self._numbers.popitem(last=False)
            if self._sends.get(number) == oldest:
                del self._sends[number]

    def holds(self, nonce: bytes, server_id: str) -> bool:
        """Return whether they are known to belong together."""
        return self._numbers.get(nonce) == server_id

    def contradicts(self, nonce: bytes, server_id: str) -> bool:
        """Return whether either is known to belong to another."""
        return self._numbers.get(nonce, server_id) != server_id or self._sends.get(server_id, nonce) != nonce
