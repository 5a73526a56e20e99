from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle

from smspilot_async._tools.stream import Results, ResultStream, reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def collect(stream: Results[Any]) -> list[Any]:
    async with stream:
        return [result async for result in stream]


class Gate:
    """Work that waits to be let go, and knows how many are at it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.at_work = 0
        self.cancelled = 0

    async def __call__(self, item: int) -> int:
        self.at_work += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_work -= 1
        return item


class Source:
    """Numbers, as an asynchronous generator that records how far it was read, and by whom it was closed."""

    def __init__(self, count: int, failure: BaseException | None = None) -> None:
        self.count = count
        self.failure = failure
        self.read = 0
        self.closed_by: asyncio.Task[Any] | None = None
        self.read_by: set[asyncio.Task[Any] | None] = set()

    async def __aiter__(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                self.read += 1
                self.read_by.add(asyncio.current_task())
                yield number
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed_by = asyncio.current_task()


# --- the good case -------------------------------------------------------------------------------


async def test_every_item_has_its_result() -> None:
    assert sorted(await collect(ResultStream(range(50), double, in_flight=4))) == list(range(0, 100, 2))


async def test_results_come_in_order_of_arrival() -> None:
    async def work(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await collect(ResultStream([30, 3, 15], work, in_flight=3)) == [3, 15, 30]


async def test_nothing_in_nothing_out() -> None:
    assert await collect(ResultStream([], double, in_flight=4)) == []


async def test_an_asynchronous_source() -> None:
    assert sorted(await collect(ResultStream(Source(9), double, in_flight=2))) == list(range(0, 18, 2))


async def test_after_the_end_it_stays_at_the_end() -> None:
    stream = ResultStream([1], double, in_flight=1)
    async with stream:
        assert await anext(stream) == 2
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_it_must_be_entered_and_only_once() -> None:
    stream = ResultStream([1], double, in_flight=1)
    with pytest.raises(RuntimeError, match="enter it first"):
        await anext(stream)
    async with stream:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await stream.__aenter__()


def test_the_base_has_no_work_of_its_own() -> None:
    async def enter() -> None:
        await Results[int]().__aenter__()

    with pytest.raises(NotImplementedError):
        asyncio.run(enter())


# --- bounds --------------------------------------------------------------------------------------


async def test_no_more_at_work_than_allowed_and_no_more_read() -> None:
    gate, source = Gate(), Source(1000)
    async with ResultStream(source, gate, in_flight=5):
        await idle()
        assert gate.at_work == 5
        assert source.read == 5


async def test_results_that_are_not_taken_stop_the_reading() -> None:
    source = Source(1000)
    async with ResultStream(source, double, in_flight=5) as stream:
        await idle()
        assert source.read == 10
        await anext(stream)
        await idle()
        assert source.read == 11


async def test_all_of_a_long_source_with_few_at_work() -> None:
    at_work = most = 0

    async def work(number: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return number

    assert sorted(await collect(ResultStream(range(5000), work, in_flight=3))) == list(range(5000))
    assert most == 3


# --- faults --------------------------------------------------------------------------------------


async def test_a_failing_source_is_reported_after_the_results_before_it() -> None:
    got = []
    source = Source(7, ValueError("broken list"))
    with pytest.raises(ValueError, match="broken list"):  # noqa: PT012
        async with ResultStream(source, double, in_flight=3) as stream:
            async for result in stream:
                got.append(result)  # noqa: PERF401
    assert sorted(got) == [0, 2, 4, 6, 8, 10, 12]


async def test_a_failing_source_waits_for_slow_results() -> None:
    gate = Gate()
    async with ResultStream(Source(2, ValueError("broken list")), gate, in_flight=3) as stream:
        await idle()
        gate.open.set()
        assert {await anext(stream), await anext(stream)} == {0, 1}
        with pytest.raises(ValueError, match="broken list"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_something_that_is_no_source() -> None:
    with pytest.raises(TypeError):
        await collect(ResultStream(5, double, in_flight=1))  # type: ignore[arg-type]


async def test_work_that_raises_ends_the_reading_but_not_the_work_beside_it() -> None:
    source = Source(1000)

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        if number == 2:
            raise KeyError(number)
        return number

    got = []
    with pytest.raises(KeyError):  # noqa: PT012
        async with ResultStream(source, work, in_flight=3) as stream:
            async for result in stream:
                got.append(result)  # noqa: PERF401
    assert {0, 1} <= set(got)
    assert source.read < 10
    assert source.closed_by is not None


async def test_a_source_that_was_cancelled_is_no_end() -> None:
    with pytest.raises(RuntimeError, match="cancelled from outside"):
        await collect(ResultStream(Source(3, asyncio.CancelledError()), double, in_flight=3))


async def test_a_worker_never_cancels_the_callers_own_awaits() -> None:
    async def work(number: int) -> int:
        raise KeyError(number)

    async with ResultStream(range(3), work, in_flight=3) as stream:
        for _ in range(20):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        with pytest.raises(KeyError):
            await anext(stream)


# --- leaving -------------------------------------------------------------------------------------


async def test_break_ends_the_work_and_closes_the_source_in_the_task_that_read_it() -> None:
    gate, source = Gate(), Source(1000)
    before = asyncio.all_tasks()
    async with ResultStream(source, gate, in_flight=5):
        await idle()
    assert asyncio.all_tasks() == before
    assert gate.cancelled == 5
    assert source.closed_by is not None
    assert source.read_by == {source.closed_by}
    assert source.closed_by is not asyncio.current_task()


async def test_what_was_not_taken_is_gone_once_it_was_left() -> None:
    async with ResultStream(Source(3, ValueError("broken list")), double, in_flight=3) as stream:
        await idle()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_generator_is_closed_too() -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    async with ResultStream(numbers(), double, in_flight=2) as stream:
        await anext(stream)
    assert closed == [True]


async def test_a_file_is_left_to_its_owner() -> None:
    file = io.StringIO("1\n2\n3\n")

    async def work(line: str) -> int:
        return int(line)

    assert await collect(ResultStream(file, work, in_flight=1)) == [1, 2, 3]
    assert not file.closed


async def test_the_bodys_own_error_passes_through() -> None:
    gate = Gate()

    async def body() -> None:
        async with ResultStream(range(9), gate, in_flight=2):
            await idle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert gate.at_work == 0


async def test_cancelling_the_body_ends_the_work() -> None:
    gate = Gate()
    task = asyncio.ensure_future(collect(ResultStream(Source(9), gate, in_flight=2)))
    await idle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.cancelled == 2


async def test_a_timeout_around_one_result_loses_none() -> None:
    gate = Gate()
    async with ResultStream(range(3), gate, in_flight=3) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(stream)
        gate.open.set()
        assert [result async for result in stream] == [0, 1, 2]


async def test_a_source_that_swallows_its_cancellation_is_left_all_the_same() -> None:
    worked: list[int] = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield 1
            yield 2

    async def work(number: int) -> None:
        worked.append(number)

    before = asyncio.all_tasks()
    async with ResultStream(stubborn(), work, in_flight=1):
        await idle()
    assert asyncio.all_tasks() == before
    assert worked == []


async def test_left_before_its_first_step() -> None:
    async with ResultStream(Source(3), double, in_flight=1):
        pass


async def test_a_source_without_aclose() -> None:
    class Bare:
        def __init__(self) -> None:
            self.left = [2, 1]

        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert await collect(ResultStream(Bare(), double, in_flight=1)) == [2, 4]


async def test_reading_closes_what_it_read() -> None:
    closed = []

    def numbers() -> Generator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    async with reading(numbers()) as items:
        assert await anext(items) == 1
        assert closed == []
    assert closed == [True]
