"""What waits for the thread of a SQLite ledger together is committed together; what fails alone is undone alone."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest

from smspilot_async.outbox import LedgerUnavailable
from smspilot_async.outbox._ledger import SECOND, ClaimRequest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable

    from ledgers import Desk

    from smspilot_async.outbox._sqlite import SqliteHotPath

    Work: TypeAlias = Callable[[sqlite3.Connection], Any]

pytestmark = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
async def together(desk: Desk) -> AsyncIterator[Callable[..., Any]]:
    """Do some jobs as one group, and return what each of them came to."""
    hot, entered, go = cast("SqliteHotPath", desk.hot), threading.Event(), threading.Event()

    def block(_: sqlite3.Connection) -> None:
        entered.set()
        go.wait(10)

    async def do(*jobs: Work) -> list[Any]:
        blocking = asyncio.ensure_future(hot.run(block, look=block))  # outside of any transaction
        assert await asyncio.to_thread(entered.wait, 10)
        results = [asyncio.ensure_future(hot.run(job)) for job in jobs]
        await asyncio.sleep(0)
        go.set()
        await blocking
        return list(await asyncio.gather(*results, return_exceptions=True))

    yield do
    go.set()


def price(prefix: str) -> Work:
    def write(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO smspilot_price (prefix, country, amount) VALUES (?, '', '1')", (prefix,))
        return prefix

    return write


def fail_after_writing(connection: sqlite3.Connection) -> None:
    price("7")(connection)
    raise RuntimeError("a bug in one job")


async def prices(desk: Desk) -> list[str]:
    return [row[0] for row in await desk.execute("SELECT prefix FROM smspilot_price ORDER BY prefix")]


async def transactions(desk: Desk, do: Callable[..., Any], *jobs: Work) -> tuple[list[Any], int]:
    """Return what jobs came to, and how many transactions that took."""
    begun: list[str] = []

    def trace(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)

    await cast("SqliteHotPath", desk.hot).run(trace, look=trace)
    return await do(*jobs), len(begun)


async def test_what_waits_together_is_one_transaction(desk: Desk, together: Callable[..., Any]) -> None:
    results, begun = await transactions(desk, together, *map(price, ("1", "2", "3")))
    assert results == ["1", "2", "3"]
    assert begun == 1
    assert await prices(desk) == ["1", "2", "3"]


async def test_a_job_that_fails_is_undone_alone(desk: Desk, together: Callable[..., Any]) -> None:
    first, failed, last = await together(price("1"), fail_after_writing, price("2"))
    assert (first, last) == ("1", "2")
    assert isinstance(failed, RuntimeError)
    assert await prices(desk) == ["1", "2"]


async def test_a_claim_beside_a_job_that_fails_is_made_once(desk: Desk, together: Callable[..., Any]) -> None:
    id_, hot = await desk.pending(), cast("SqliteHotPath", desk.hot)
    request = ClaimRequest(token="token", sender="desk", size=10, lease=SECOND)
    claim, failed = await together(lambda connection: hot._claim(connection, request), fail_after_writing)
    assert isinstance(failed, RuntimeError)
    assert claim.messages.ids == [id_]
    message = await desk.row(id_)
    assert (message.attempt_id, message.tries, message.state) == (claim.attempt_id, 1, "in_flight")
    assert await desk.execute("SELECT id, token FROM smspilot_attempt") == [(claim.attempt_id, "token")]


async def test_each_of_several_that_fail_is_undone_alone(desk: Desk, together: Callable[..., Any]) -> None:
    results = await together(fail_after_writing, price("1"), fail_after_writing, price("2"), fail_after_writing)
    assert [type(result) for result in results] == [RuntimeError, str, RuntimeError, str, RuntimeError]
    assert await prices(desk) == ["1", "2"]


async def test_a_row_that_cannot_be_written_fails_its_own_job_only(desk: Desk, together: Callable[..., Any]) -> None:
    first, failed, last = await together(price("1"), price("1"), price("2"))
    assert (first, last) == ("1", "2")
    assert isinstance(failed, LedgerUnavailable)
    assert await prices(desk) == ["1", "2"]


async def test_a_database_that_fails_fails_the_whole_group(desk: Desk, together: Callable[..., Any]) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT no_such_function()")

    results = await together(price("1"), broken, price("2"))
    assert all(isinstance(result, LedgerUnavailable) for result in results)
    assert await prices(desk) == []
    assert await cast("SqliteHotPath", desk.hot).run(price("3")) == "3"
