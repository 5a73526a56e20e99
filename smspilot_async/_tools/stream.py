"""Results that tasks produce and a caller iterates over, with bounded memory.

There is no task group here: one that is open around a yield cancels its caller when it is exited early, or when a
worker fails. The tasks belong to the object instead, which cancels and awaits them when it is exited.
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


class ResultQueue(deque[Result]):
    """Results on their way from those who make them to the one who takes them.

    It is a deque, so that taking many costs no call of Python for each. Bounding it is its owner's part: to wait
    for room, or with ``maxlen`` to drop the oldest.
    """

    def __init__(self, maxlen: int | None = None) -> None:
        super().__init__(maxlen=maxlen)
        self._news = asyncio.Event()

    def put(self, result: Result) -> None:
        """Add a result, and wake the one who waits for it."""
        self.append(result)
        self._news.set()

    def wake(self) -> None:
        """Wake the one who waits: something else has changed, such as that no more will come."""
        self._news.set()

    async def wait(self) -> None:
        """Wait for the next :meth:`put` or :meth:`wake`."""
        self._news.clear()
        await self._news.wait()


class Results(Generic[Result]):
    """Enter it, and iterate over the results of its tasks, in order of arrival.

    A task that fails does not end the others: its error is raised after the last result.
    """

    def __init__(self) -> None:
        self._waiting: ResultQueue[Result] = ResultQueue()
        self._given = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._dismissed: set[asyncio.Task[None]] = set()
        self._error: Exception | None = None
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
        """Return its progress in words, without any content of results."""
        return f"{self._given} results, {len(self._waiting)} of them not taken yet"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError("this can be entered only once; make another one")
        self._is_entered = True
        self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the tasks, and wait for them."""
        self._is_left = True
        if any(task.get_loop().is_closed() for task in self._tasks):
            return  # they ended with the event loop
        self._dismiss(*self._tasks)
        if self._tasks and exc_type is not GeneratorExit:  # a task that was dropped cannot wait
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
            await self._waiting.wait()
        self._room.set()
        return self._waiting.popleft()

    # --- for subclasses --------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the work, in tasks created by :meth:`_own`."""
        raise NotImplementedError

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _dismiss(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel tasks, and ignore their errors; tasks that are done are left alone."""
        for task in tasks:
            if not task.done():
                self._dismissed.add(task)
                task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # Another cancellation comes from the source: treated as its end, it would silently lose the rest.
        error = RuntimeError("cancelled from outside") if task.cancelled() else task.exception()
        if isinstance(error, Exception) and task not in self._dismissed:
            self._error = self._error or error
        self._dismissed.discard(task)
        self._waiting.wake()
        self._room.set()

    def _give(self, result: Result) -> None:
        self._given += 1
        self._waiting.put(result)

    async def _wait_for_room(self) -> None:
        """Wait while too many results are waiting for the caller."""
        while self._is_full():
            self._room.clear()
            await self._room.wait()

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MOST_WAITING


class ResultStream(Results[Result], Generic[Item, Result]):
    """The results of a function for each item of a source, in order of arrival.

    One task reads the source, an item at a time and only when there is room for its result, and finally closes it.

    Args:
        source: The items; an error in it is raised after the results before it.
        work: Turns an item into a result. An exception in it ends the stream, like an error in the source.
        in_flight: The maximum number of concurrent calls; as many results again may wait for the caller.
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
                if self._is_left:  # the source suppressed the cancellation
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
        at_work = len(self._tasks) - 1  # without the reader
        return at_work >= self._in_flight or at_work + len(self._waiting) >= 2 * self._in_flight


@asynccontextmanager
async def reading(source: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Return one kind of iterator for any source, and finally close it, in the task that read it."""
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
        if isinstance(items, Generator):  # not a file, which is its own iterator, but its owner closes it
            items.close()
