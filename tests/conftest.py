"""What tests of every part share: an emulator on a real socket, a client for it, a clock turned by hand, TLS."""

from __future__ import annotations

import os
import zlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

import hypothesis
import pytest
import trustme
from blocking_calls import _detector, blocking_calls
from listeners import Listener
from manual_clock import ManualClock
from postgres import Postgres, programs
from tls import Tls

from smspilot_async import Client
from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


__all__ = ["_detector", "blocking_calls"]  # fixtures, by being here

os.environ["LANGUAGE"] = "en"  # the command speaks the user's language, and the tests expect English
# Hundreds of tests start processes, each of which would compile the library anew where this is set.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes is this machine's affair, and what else it is doing.
hypothesis.settings.register_profile("without a deadline", hypothesis.settings(deadline=None))
hypothesis.settings.load_profile("without a deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--sample PERCENT``, for a Python or for versions on which the whole suite would take too long."""
    parser.addoption("--sample", type=int, metavar="PERCENT", help="run so large a share of the tests, always the same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (percent := config.getoption("--sample")) is not None:
        others = [item for item in items if zlib.crc32(item.nodeid.encode()) % 100 >= percent]
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=others)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - {"SMSPILOT_JSON"}:  # in which the tests are run again, subprocesses too
        if name.startswith("SMSPILOT_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test's own processes run is not counted: a killed one reports no count, and counting is slow."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator on a real socket, which takes every message, repeated ones too."""
    async with Emulator.serve(port=0, loop_protection=None, seed=1) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator, listener: Listener) -> AsyncIterator[Client]:
    """A client of that emulator; its hooks' calls are in ``listener``."""
    async with Client(emulator.api_key, url=emulator.url, hooks=[listener]) as client:
        yield client


@pytest.fixture
def listener() -> Listener:
    """Hooks that remember their calls."""
    return Listener()


@pytest.fixture
def manual_clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock turned by hand, for every client that is made in the test."""
    clock = ManualClock()
    monkeypatch.setattr(_clock, "_current", ContextVar[_clock.Clock]("manual clock", default=clock))
    return clock


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, without fsync; skipped on a machine that has none, but never in CI."""
    if programs() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed")
    cluster = Postgres()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def tls() -> Tls:
    """TLS that needs no real certificates."""
    return Tls(trustme.CA())
