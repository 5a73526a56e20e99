"""The fixture `smspilot_outbox`: a ledger for each test, on either database, with the gateway's clock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from smspilot_async import Message
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from smspilot_async_pytest import LedgerOfTest

MESSAGE = Message("79087964781", "Hello")
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "test_my_shop.py"


@pytest.fixture
def smspilot_ledger_url(ledger_url: str) -> str:
    """Override the place of the ledger, as a project with a PostgreSQL of its own does."""
    return ledger_url


async def test_it_is_empty_sends_to_the_emulator_and_is_what_the_application_finds(
    smspilot_outbox: LedgerOfTest,
) -> None:
    async with Outbox() as outbox:
        assert sum((await outbox.status()).messages.values()) == 0
        await outbox.enqueue(MESSAGE, key="key")
    assert (await smspilot_outbox.drain()).accepted == 1
    assert [message.text for message in smspilot_outbox.emulator.messages] == ["Hello"]


test_it_is_empty_again_in_the_next_test = test_it_is_empty_sends_to_the_emulator_and_is_what_the_application_finds


async def test_its_clock_is_the_gateway_s_and_stands_still(smspilot_outbox: LedgerOfTest) -> None:
    clock = smspilot_outbox.emulator.clock
    await asyncio.to_thread(clock.set, datetime(2030, 1, 1, 12, tzinfo=UTC))
    async with Outbox() as outbox:
        record = await outbox.enqueue(MESSAGE, key="key", valid_for=60)
        assert record.created_at == datetime(2030, 1, 1, 12, tzinfo=UTC)
        later = Message("79087964781", "Later", send_at=clock.now() + timedelta(hours=2))
        await outbox.enqueue(later, key="later")
    assert (await smspilot_outbox.drain()).accepted == 1
    await asyncio.to_thread(smspilot_outbox.advance, hours=2)
    assert (await smspilot_outbox.drain()).accepted == 1
    assert [message.text for message in smspilot_outbox.emulator.messages] == ["Hello", "Later"]


def test_the_example_passes_and_nothing_stays_in_a_database_of_the_project_s(
    postgres: object, tmp_path: Path, uncounted: None
) -> None:
    del uncounted
    url: str = postgres.database()  # type: ignore[attr-defined]
    tmp_path.joinpath("test_my_shop.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    tmp_path.joinpath("conftest.py").write_text(
        "import pytest\n@pytest.fixture(params=['sqlite', 'postgresql'])\ndef smspilot_ledger_url(request, tmp_path):\n"
        f"    return f'sqlite:///{{tmp_path}}/a.db' if request.param == 'sqlite' else {url!r}\n",
        encoding="utf-8",
    )
    tmp_path.joinpath("pytest.ini").write_text(
        "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120, check=False)  # noqa: S603 - our own
    assert "6 passed" in done.stdout, done.stdout
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'smspilot'").fetchone()
    assert found == (0,)
