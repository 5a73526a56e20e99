"""PostgreSQL answers late, or for a while not at all: neither a false unknown nor a double, and nothing is lost.

A backend is frozen with SIGSTOP at a moment of its own choosing, and what it was asked comes true after its asker has
given up; or the way to the database goes silent, and no connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
import sqlalchemy as sa
from ledgers import PHONE, Desk
from waiting import PATIENCE, until

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import LedgerUnavailable, Outbox, _postgres_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from postgres import Postgres

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator


@pytest.fixture
async def desk(
    postgres: Postgres, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Desk]:
    """A ledger whose hot path, that of its senders, the test can look into."""
    monkeypatch.setenv("SMSPILOT_STATE", str(tmp_path))
    monkeypatch.setattr(_postgres_connection, "_ANSWER_TIMEOUT", 1.0)
    url = postgres.database()
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        desk = Desk(outbox, monkeypatch)
        monkeypatch.setattr(outbox, "_hot_path", lambda: desk.hot)
        yield desk


COMMIT = "SELECT pg_logical_emit_message(true, '', '')"


async def enqueue(desk: Desk) -> None:
    await desk.outbox.enqueue(Message(PHONE, "Ready"), key="1")


# --- a backend that is frozen --------------------------------------------------------------------


class Backend:
    """The server's end of one of a sender's connections.

    Args:
        server: The cluster.
        desk: The ledger.
        line: ``_claims`` or ``_outcomes``.
        statement: A part of the statement in question, near its beginning.
    """

    def __init__(self, server: Postgres, desk: Desk, line: str, statement: str = "") -> None:
        self._statement = statement
        self._server = server
        self._hot = desk.hot
        self._outbox = desk.outbox
        self._line = vars(desk.hot)[line]
        self._pid = 0

    def freeze(self) -> None:
        os.kill(self._pid or self._current(), signal.SIGSTOP)

    def _current(self) -> int:
        self._pid = self._line._connection.info.backend_pid
        return self._pid

    def hold_at(self, call: str) -> None:
        """Hold commits from the first call that is about the message on: what comes before it must succeed."""
        original = getattr(self._hot, call)
        holding = asyncio.Lock()
        is_held = False

        async def held(argument: Any) -> Any:
            nonlocal is_held
            async with holding:
                if not is_held:
                    is_held = True
                    while await self._outbox.get("1") is None:  # noqa: ASYNC110 - another task enqueues it
                        await asyncio.sleep(0.01)
                    await asyncio.to_thread(self.hold_commits)
            return await original(argument)

        vars(self._hot)[call] = held

    def thaw(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGCONT)

    def is_in_commit(self) -> bool:
        """It hangs in its COMMIT, which is durable, as if a replica were waited for that is not there."""
        if self._line._connection is None:
            return False
        query = (
            f"SELECT 1 FROM pg_stat_activity WHERE pid = {self._current()} AND wait_event = 'SyncRep' "
            f"AND query LIKE '%{self._statement}%'"
        )
        return bool(self._server.execute(query))

    def is_waited_for(self) -> bool:
        """Somebody waits for a lock of it."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE {self._pid} = ANY (pg_blocking_pids(pid))"
        return bool(self._server.execute(query)[0][0])

    def hold_commits(self) -> None:
        """Let every COMMIT of the cluster hang from now on."""
        self._server.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        self._server.execute("SELECT pg_reload_conf()")
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as probe:
            pid = probe.info.backend_pid
            waits = f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep'"
            committing = threading.Thread(target=probe.execute, args=(COMMIT,))
            committing.start()
            while not self._server.execute(waits):
                if not committing.is_alive():  # it ended: the cluster has not heard of it yet
                    committing = threading.Thread(target=probe.execute, args=(COMMIT,))
                    committing.start()
                time.sleep(0.01)
            self._server.execute(f"SELECT pg_cancel_backend({pid})")
            committing.join()

    def let_commits_go(self) -> None:
        self._server.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self._server.execute("SELECT pg_reload_conf()")


@pytest.fixture(params=["before its statement", "in its COMMIT"])
def moment(request: pytest.FixtureRequest) -> str:
    """When a backend is frozen."""
    moment: str = request.param
    return moment


async def freeze(backend: Backend, moment: str, call: str, begin: Callable[[], Awaitable[None]]) -> None:
    """Freeze a backend at a moment of a call of the hot path, and come back when its asker has given up.

    Args:
        backend: It.
        moment: As in the parameter.
        call: ``claim`` or ``record``; commits hang from there on.
        begin: Brings the call about.
    """
    if moment == "in its COMMIT":
        backend.hold_at(call)
        await begin()
        await until(lambda: asyncio.to_thread(backend.is_in_commit))
        backend.freeze()
        await asyncio.to_thread(backend.let_commits_go)
        await until(lambda: asyncio.to_thread(backend.is_waited_for))
    else:
        before = backend._line._connection
        backend.freeze()
        await begin()
        await until(lambda: backend._line._connection is not before)


async def test_a_claim_that_comes_true_later_holds_nothing(
    desk: Desk, postgres: Postgres, client: Client, emulator: Emulator, moment: str
) -> None:
    backend = Backend(postgres, desk, "_claims", "open_stream AS")
    async with desk.outbox.worker(client):
        try:
            await freeze(backend, moment, "claim", lambda: enqueue(desk))
            if moment == "in its COMMIT":
                assert not emulator.messages
        finally:
            backend.thaw()
            await asyncio.to_thread(backend.let_commits_go)
        record = await desk.outbox.wait("1", timeout=PATIENCE)
    assert record.outcome is Outcome.ACCEPTED
    (row,) = await desk.execute(sa.select(desk.tables.message))
    assert (row.on_wire, row.sent_twice) == (1, False)
    assert len(emulator.messages) == 1


async def test_an_outcome_that_comes_true_later_is_written_once(
    desk: Desk, postgres: Postgres, client: Client, emulator: Emulator, moment: str
) -> None:
    backend = Backend(postgres, desk, "_outcomes", "answered AS")

    async def answer() -> None:
        emulator.release()

    async with desk.outbox.worker(client):
        emulator.fail_next("send", Fault.SLOW)
        await enqueue(desk)
        await emulator.wait_for(to=PHONE)
        try:
            await freeze(backend, moment, "record", answer)
        finally:
            backend.thaw()
            await asyncio.to_thread(backend.let_commits_go)
        record = await desk.outbox.wait("1", timeout=PATIENCE)
    assert record.outcome is Outcome.ACCEPTED
    (row,) = await desk.execute(sa.select(desk.tables.message))
    assert (row.on_wire, row.sent_twice) == (1, False)
    assert len(emulator.messages) == 1


async def test_a_server_that_does_not_answer_is_given_up_in_time(desk: Desk, postgres: Postgres) -> None:
    await desk.hot.open()
    backend = Backend(postgres, desk, "_claims")
    backend.freeze()
    try:
        async with asyncio.timeout(3):  # psycopg itself waits ten seconds more for its cancellation
            with pytest.raises(LedgerUnavailable):
                await desk.claim()
            await desk.claim()
    finally:
        backend.thaw()
        await desk.hot.aclose()


# --- a way that goes silent ----------------------------------------------------------------------


class SilentProxy:
    """A way to the cluster over TCP that can go silent: nothing passes, and nothing is closed.

    Attributes:
        passes: Set while it lets bytes through.
    """

    def __init__(self, server: Postgres) -> None:
        self._socket = f"{server.folder}/.s.PGSQL.5432"
        self._pumps: set[asyncio.Task[None]] = set()
        self.passes = asyncio.Event()
        self.passes.set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        for source, target in ((reader, back), (there, writer)):
            pump = asyncio.ensure_future(self._pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    await self.passes.wait()
                    target.write(data)
                    await target.drain()
        finally:
            target.close()


async def test_sending_goes_on_after_the_way_to_the_database_was_silent(
    desk: Desk, postgres: Postgres, client: Client, emulator: Emulator
) -> None:
    async with desk.outbox._writing() as connection:
        for number in range(300):
            await desk.outbox.enqueue(Message(PHONE, f"Text {number}"), key=str(number), connection=connection)
    database = desk.outbox._url.database
    async with (
        SilentProxy(postgres) as proxy,
        Outbox(f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}") as outbox,
        outbox.worker(client, packet_size=5, in_flight=2),
    ):
        await until(lambda: len(emulator.messages) >= 100)
        proxy.passes.clear()
        timeout = _postgres_connection._ANSWER_TIMEOUT
        await asyncio.sleep(3 * timeout)  # so that every statement is given up at least once
        seen = len(emulator.messages)
        await asyncio.sleep(timeout)
        assert len(emulator.messages) == seen < 300
        proxy.passes.set()
        await until(lambda: len(emulator.messages) >= 300)
    status = await desk.outbox.status()
    assert status.messages["accepted"] == 300
    assert len({message.id for message in emulator.messages}) == len(emulator.messages) == 300
