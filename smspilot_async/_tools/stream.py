"""Results that tasks make and a caller iterates over, with bounded memory.

There is no task group here: one that is open around a yield cancels its caller when it is left early, or when a worker
fails. The tasks belong to the object instead, which ends them, and waits for them, when it is left.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Generator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from types import TracebackType

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WAITING: Final = 1000


class Results(Generic[Result]):
    """Enter it, and iterate over what its tasks give, in order of arrival.

    A task that fails does not end the others: its error is raised to the caller after the last result.
    """

    def __init__(self) -> None:
        self._waiting: deque[Result] = deque()
        self._given = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._dismissed: set[asyncio.Task[None]] = set()
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._is_entered = False
        self._is_left = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._state}: {self._counts()}>"

    @property
    def _state(self) -> str:
        if not self._is_entered:
            return "not entered"
        return "running" if self._tasks else "over"

    def _counts(self) -> str:
        """Say how far it has come, with nothing of what the results hold."""
        return f"{self._given} results, {len(self._waiting)} of them not taken yet"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError("this can be entered once; make another one")
        self._is_entered = True
        self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the tasks, and wait for them."""
        self._is_left = True
        if any(task.get_loop().is_closed() for task in self._tasks):
            return  # they have died with the event loop
        self._dismiss(*self._tasks)
        if self._tasks and exc_type is not GeneratorExit:  # a task that was dropped can wait for nothing
            await asyncio.wait(set(self._tasks))
        self._waiting.clear()
        self._error = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        if not self._is_entered:
            raise RuntimeError("enter it first: async with ... as results: async for result in results: ...")
        while not self._waiting:
            if not self._tasks:
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self._waiting.popleft()

    # --- for those that build on it --------------------------------------------------------------

    def _start(self) -> None:
        """Begin the work, in tasks made with :meth:`_own`."""
        raise NotImplementedError

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _dismiss(self, *tasks: asyncio.Task[None]) -> None:
        """End tasks, whose errors then matter to nobody; what is over already stays as it is."""
        for task in tasks:
            if not task.done():
                self._dismissed.add(task)
                task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A cancellation that is not ours comes out of the source: taken for its end, it would lose the rest silently.
        error = RuntimeError("cancelled from outside") if task.cancelled() else task.exception()
        if isinstance(error, Exception) and task not in self._dismissed:
            self._error = self._error or error
        self._dismissed.discard(task)
        self._news.set()
        self._room.set()

    def _give(self, result: Result) -> None:
        self._waiting.append(result)
        self._given += 1
        self._news.set()

    async def _wait_for_room(self) -> None:
        """Wait while the caller has very much to take already."""
        while self._is_full():
            self._room.clear()
            await self._room.wait()

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MOST_WAITING


class Stream(Results[Result], Generic[Item, Result]):
    """The results of one piece of work for each item of a source, in order of arrival.

    One task reads the source, an item at a time and only when there is room for its result, and closes it in the end.

    Args:
        source: The items; an error that it raises comes after the results before it.
        work: Turns an item into a result. An exception of its own ends the stream, as a fault of the source does.
        in_flight: Items in work at once, at most; as many results again may wait for the caller.
    """

    def __init__(
        self,
        source: Iterable[Item] | AsyncIterable[Item],
        work: Callable[[Item], Awaitable[Result]],
        *,
        in_flight: int,
    ) -> None:
        super().__init__()
        self._source = source
        self._work = work
        self._in_flight = in_flight

    def _start(self) -> None:
        self._reader = self._own(self._read())

    async def _read(self) -> None:
        async with reading(self._source) as items:
            async for item in items:
                if self._is_left:  # the source swallowed the cancellation
                    return
                self._own(self._work_on(item))
                await self._wait_for_room()

    async def _work_on(self, item: Item) -> None:
        try:
            self._give(await self._work(item))
        except Exception:
            self._dismiss(self._reader)
            raise

    def _is_full(self) -> bool:
        at_work = len(self._tasks) - 1  # the reader is one of them
        return at_work >= self._in_flight or at_work + len(self._waiting) >= 2 * self._in_flight


@asynccontextmanager
async def reading(source: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Iterate over any source in one way, and close it in the end: in the task that read it."""
    items = aiter(source) if isinstance(source, AsyncIterable) else _in_turn(source)
    try:
        yield items
    finally:
        if (aclose := getattr(items, "aclose", None)) is not None:
            await aclose()


async def _in_turn(source: Iterable[Item]) -> AsyncIterator[Item]:
    items = iter(source)
    try:
        for item in items:
            yield item
    finally:
        if isinstance(items, Generator):  # and not a file, which is its own iterator, but its owner's to close
            items.close()
