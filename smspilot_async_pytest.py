"""The fixtures `smspilot_emulator` and `smspilot_outbox`, for the tests of applications that send SMS.

They are installed with the package. Pytest imports this module in every project where the package is installed, so it
is kept outside the package and imports what it needs only when a test requests a fixture.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from datetime import datetime
    from pathlib import Path

    from smspilot_async.emulator import Emulator
    from smspilot_async.outbox import Sent

__all__ = ["LedgerOfTest", "smspilot_emulator", "smspilot_ledger_url", "smspilot_outbox"]


@pytest.fixture
def smspilot_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulated gateway on a real socket; ``SMSPILOT_URL`` and ``SMSPILOT_API_KEY`` point at it.

    ``SMSPILOT_TEST`` is unset for the test: nothing is sent anyway, and test messages are not in ``messages``.
    The clock is frozen: advance it with ``smspilot_emulator.clock.advance(minutes=2)``.
    """
    from smspilot_async.emulator import Emulator  # noqa: PLC0415 - see above

    try:
        served = Emulator.serve()
    except ModuleNotFoundError as missing:
        raise pytest.fail.Exception(f"smspilot_emulator: {missing}", pytrace=False) from None
    with served as emulator:
        monkeypatch.setenv("SMSPILOT_URL", emulator.url)
        monkeypatch.setenv("SMSPILOT_API_KEY", emulator.api_key)
        monkeypatch.delenv("SMSPILOT_TEST", raising=False)
        yield emulator


class LedgerOfTest:
    """A ledger of one test, and the emulated gateway that it is bound to.

    Attributes:
        url: The ledger's; ``SMSPILOT_LEDGER`` has it, too.
        emulator: The gateway, as the fixture ``smspilot_emulator`` gives it.
    """

    def __init__(self, url: str, emulator: Emulator) -> None:
        self.url = url
        self.emulator = emulator

    def advance(self, **duration: float) -> datetime:
        """Turn the ledger's and the gateway's clock, which are one: ``advance(hours=3)``.

        Returns:
            The new moment; aware, UTC.
        """
        return self.emulator.clock.advance(**duration)

    async def drain(self) -> Sent:
        """Send what is due by that clock, as a worker would, and return what was done."""
        from smspilot_async import Client  # noqa: PLC0415 - see above
        from smspilot_async.outbox import Outbox  # noqa: PLC0415

        async with Client() as client, Outbox(self.url) as outbox:
            return await outbox.drain(client)


@pytest.fixture
def smspilot_ledger_url(tmp_path: Path) -> str:
    """Where `smspilot_outbox` makes its ledger: a SQLite file. Override it with the URL of your tests' database."""
    return f"sqlite:///{tmp_path / 'smspilot.db'}"


@pytest.fixture
def smspilot_outbox(
    smspilot_emulator: Emulator, smspilot_ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LedgerOfTest]:
    """A new ledger for each test, bound to `smspilot_emulator`; ``SMSPILOT_LEDGER`` points at it.

    Nothing of it outlives the test: a SQLite file goes with the test's folder, and in a PostgreSQL of yours its tables
    are dropped. Its clock is the gateway's and stands still: turn it with ``smspilot_outbox.advance(minutes=2)``.
    """
    try:
        from smspilot_async.outbox import Outbox, _ledger  # noqa: PLC0415 - see above
    except ImportError as missing:
        raise pytest.fail.Exception(f"smspilot_outbox: {missing}", pytrace=False) from None
    import sqlalchemy as sa  # noqa: PLC0415

    url = sa.make_url(smspilot_ledger_url)
    monkeypatch.setenv("SMSPILOT_LEDGER", smspilot_ledger_url)
    _run_apart(_create(Outbox, smspilot_ledger_url))
    clock = smspilot_emulator.clock
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        monkeypatch.setattr(_ledger, "now_us", lambda: _microseconds(clock.now()))
        yield LedgerOfTest(smspilot_ledger_url, smspilot_emulator)
        return
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.pool.NullPool)

    def turned() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(_CLOCK.format(now=_microseconds(clock.now())))

    turned()
    stop = clock.on_turn(turned)
    try:
        yield LedgerOfTest(smspilot_ledger_url, smspilot_emulator)
    finally:
        stop()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA smspilot CASCADE")
        engine.dispose()


_CLOCK = """
CREATE OR REPLACE FUNCTION smspilot.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT {now}::bigint $$
"""


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


async def _create(outbox: Any, url: str) -> None:
    from smspilot_async import Client  # noqa: PLC0415 - see above

    async with Client() as client:
        await outbox.create(url, client)


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a loop of its own, in a thread: the test's loop, whoever made it, is left alone."""
    import asyncio  # noqa: PLC0415 - see above

    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised where the fixture stands
            failed.append(error)

    thread = threading.Thread(target=run, name="smspilot_outbox")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
