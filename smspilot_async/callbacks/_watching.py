"""Following stored events: for the loop that iterates, and for ``track`` and ``wait_final``."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from smspilot_async._tools.stream import ResultQueue
from smspilot_async.models import MessageStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable

    from smspilot_async._tools.clock import Clock
    from smspilot_async.callbacks._event_log import Bindings, EventLog, Stored
    from smspilot_async.callbacks._form import StatusEvent

Value = TypeVar("Value")
logger: Final = logging.getLogger("smspilot_async")

_POLL_FOR_OTHER_WORKERS: Final = 0.2
_AFTER_A_FAULT: Final = 1.0
_READ_AT_ONCE: Final = 500
_WAITING_FOR_A_WATCHER: Final = 10_000


class InboxClosed(Exception):
    """The inbox was closed, and its log must not be opened again."""


class LogReader:
    """Reads an event log for as long as the inbox is open, and owns the tasks that end with it.

    Attributes:
        is_closed: Nothing is read any more.
    """

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self.is_closed: bool = False
        self._log = log
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Event] = set()

    async def open(self) -> None:
        """Open the log."""
        try:
            await self._log.open()
        except BaseException:
            await self._log.aclose()
            raise
        self.is_closed = False

    async def aclose(self) -> None:
        """End the tasks, then close the log."""
        self.is_closed = True
        self.wake()
        loop = asyncio.get_running_loop()
        tasks = {task for task in self._tasks if task.get_loop() is loop}  # those of a dead loop are dead
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._log.aclose()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in a task that ends with the inbox."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def wake(self) -> None:
        """Wake those who wait for events."""
        waiting, self._waiting = self._waiting, set()
        for news in waiting:
            with suppress(RuntimeError):  # its loop is closed, and so is its reader
                news.set()

    async def after(self, position: int) -> list[Stored]:
        """Return what came after a position; nothing, if nothing came for a while."""
        return await self.read_or_wait(partial(self._log.read, position, _READ_AT_ONCE))

    async def read_or_wait(self, read: Callable[[], Awaitable[Value]]) -> Value:
        """Read; if there is nothing, return that after waiting for news."""
        news = asyncio.Event()
        self._waiting.add(news)  # before it reads: what comes meanwhile wakes it, too
        try:
            found = await self.read(read)
            if not found and not self.is_closed:
                await self._wait(news)
        finally:
            self._waiting.discard(news)
        return found

    async def read(self, read: Callable[[], Awaitable[Value]]) -> Value:
        """Read, with retries: a file may be locked, or a disk full, only for a while.

        Raises:
            InboxClosed: It was closed before it could be read.
        """
        while not self.is_closed:
            try:
                return await read()
            except Exception as error:  # noqa: BLE001 - the sink's own
                logger.warning("stored statuses cannot be read (%s); trying again", type(error).__name__)
            await self._clock.sleep(_AFTER_A_FAULT)
        raise InboxClosed

    async def _wait(self, news: asyncio.Event) -> None:
        if not self._log.is_shared:
            await news.wait()
            return
        try:
            async with self._clock.timeout_at(self._clock.monotonic() + _POLL_FOR_OTHER_WORKERS):
                await news.wait()
        except TimeoutError:
            pass  # another worker may have stored something


class Listener(Protocol):
    """Is called with every event that any worker stores."""

    @property
    def is_waiting(self) -> bool:
        """There is something to wait for."""
        raise NotImplementedError

    def see(self, event: StatusEvent) -> None:
        """Process an event."""


class Watching:
    """Passes events on to those who follow messages by their numbers, and to one listener.

    Args:
        reader: Reads the log, in one task for all of them, while any is waiting.
        log: To look up what came before.
        bindings: Which number is known to belong to which send.
    """

    def __init__(self, reader: LogReader, log: EventLog, bindings: Bindings) -> None:
        self._reader = reader
        self._log = log
        self._bindings = bindings
        self._listener: Listener | None = None
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._follower: asyncio.Task[None] | None = None
        self._is_following = asyncio.Event()

    def add_listener(self, listener: Listener) -> None:
        """Pass each event on to it, too, as long as it is waiting."""
        self._listener = listener

    def watch(self, server_ids: Collection[str]) -> Watch:
        """Follow the statuses of some messages; one of ``None`` says only that the message should be checked."""
        watch = Watch(self, frozenset(server_ids))
        for server_id in watch.server_ids:
            self._watches[server_id].add(watch)
        self.follow()
        return watch

    def end_watch(self, watch: Watch) -> None:
        """Stop passing statuses on to it."""
        for server_id in watch.server_ids:
            self._watches[server_id].discard(watch)
            if not self._watches[server_id]:
                del self._watches[server_id]

    def suggest_check(self, server_id: str) -> None:
        """Have those who follow a message check it."""
        for watch in self._watches.get(server_id, ()):
            watch.put(MessageStatus(server_id=server_id))

    async def seen(self, server_ids: Iterable[str]) -> list[MessageStatus]:
        """Return what came about messages before a watch of them began."""
        await self.following()
        try:
            found = await self._reader.read(partial(self._log.find, server_ids))
        except InboxClosed:
            return []
        return [status for stored in found if (status := self._as_seen(stored)) is not None]

    async def following(self) -> None:
        """Wait until the log is followed: a look back after that misses nothing."""
        while not self._is_following.is_set():
            await self._is_following.wait()

    def follow_again(self) -> None:
        """Follow the log if anyone waits for it: the inbox was opened."""
        if self._is_needed:
            self.follow()

    def follow(self) -> None:
        """Follow the log, unless it is followed already; a closed inbox begins when it is opened."""
        if self._reader.is_closed:
            return
        follower, loop = self._follower, asyncio.get_running_loop()
        if follower is None or follower.done() or follower.get_loop() is not loop:
            before, self._is_following = self._is_following, asyncio.Event()
            with suppress(RuntimeError):  # its loop is closed, and so is everyone who waits in it
                before.set()  # whoever waited for a follower that never came waits for this one
            self._follower = self._reader.start(self._follow_log())

    async def _follow_log(self) -> None:
        position = await self._reader.read(self._log.end)
        self._is_following.set()
        while self._is_needed:
            for stored in await self._reader.after(position):
                position = stored.position
                self._dispatch(stored)

    @property
    def _is_needed(self) -> bool:
        return bool(self._watches) or (self._listener is not None and self._listener.is_waiting)

    def _dispatch(self, stored: Stored) -> None:
        if self._listener is not None:
            self._listener.see(stored.event)
        watches = self._watches.get(stored.event.server_id or "")
        if watches and (status := self._as_seen(stored)) is not None:
            for watch in watches:
                watch.put(status)

    def _as_seen(self, stored: Stored) -> MessageStatus | None:
        """Return what an event means to a watch of its number: a status, a reason to check, or nothing."""
        event = stored.event
        assert event.server_id is not None  # noqa: S101 - it was read from the call
        if stored.is_bound or self._bindings.holds(event.nonce, event.server_id):
            return event
        if self._bindings.contradicts(event.nonce, event.server_id):
            return None
        return MessageStatus(server_id=event.server_id)


class Watch:
    """The statuses of some messages from callbacks: first earlier ones, then new ones."""

    def __init__(self, watching: Watching, server_ids: frozenset[str]) -> None:
        self.server_ids = server_ids
        self._watching = watching
        self._waiting = ResultQueue[MessageStatus](_WAITING_FOR_A_WATCHER)  # polling makes up for the oldest
        self._has_looked_back = False

    def put(self, status: MessageStatus) -> None:
        """Add a status."""
        with suppress(RuntimeError):  # its loop was closed, and the watch never was
            self._waiting.put(status)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageStatus:
        if not self._has_looked_back:
            self._has_looked_back = True
            self._waiting.extendleft(reversed(await self._watching.seen(self.server_ids)))
        while not self._waiting:
            await self._waiting.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """End it."""
        self._watching.end_watch(self)
