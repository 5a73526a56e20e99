"""The README's examples run as they stand there."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from serving import free_socket, on_uvicorn
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop import engine_of
from smspilot_async import Client, Message, MessageVetoed, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^( *)```python\n(.*?)^ *```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block(holding: str) -> dict[str, Any]:
    (code,) = [inspect.cleandoc(indent + text) for indent, text in BLOCKS if holding in text]
    code = code.replace("asyncio.run(main())", "")
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102 - our own page
    return namespace


@pytest.fixture
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("SMSPILOT_URL", emulator.url)
    return emulator


def test_every_python_block_of_the_readme_is_run_here() -> None:
    tried = (
        "Ten lines",
        "async def main",
        "send_code",
        "class Ledger",
        "campaign",
        "outbox.worker",
        "class OptOuts",
        "lifespan",
        "test_a_lost_answer",
    )
    assert len(BLOCKS) == len(tried) - 1


async def test_the_ten_lines_send_and_check(environment: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    environment.add_account(api_key="API-KEY")
    await block("async def main")["main"]()
    assert capsys.readouterr().out.splitlines()[0].split()[1] == "1"


async def test_the_except_branches_compile_and_the_good_path_sends(environment: Emulator, client: Client) -> None:
    sent = await block("send_code")["send_code"](client, "79087964781", "1234")
    assert [message.server_id for message in environment.messages] == [sent.server_id]


async def test_the_hook_gets_a_result(environment: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    environment.add_account(api_key="API-KEY")
    namespace = block("class Ledger")
    async with namespace["client"] as client:
        await client.send("79087964781", "Ваш код 1234")
    assert capsys.readouterr().out.startswith("Accepted(")


async def test_the_campaign_sends_all(
    environment: Emulator, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    await block("campaign")["campaign"](client, [Message("79087964781", f"no. {n}") for n in range(3)])
    assert capsys.readouterr().out.startswith("3 ")
    assert len(environment.messages) == 3


async def test_the_service_with_callbacks_gets_every_status(
    environment: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sock, url = free_socket()
    monkeypatch.setenv("CALLBACK_URL", f"{url}/smspilot")
    monkeypatch.setenv("CALLBACK_SECRET", "a secret for this test alone")
    monkeypatch.setenv("SMSPILOT_API_KEY", environment.api_key)
    monkeypatch.chdir(tmp_path)
    service = block("lifespan")
    async with on_uvicorn(service["app"], sock):
        sent = await service["client"].send("79087964781", "Ваш код 1234")
        environment.fail_next("check", Fault.SERVER_ERROR, times=1000)
        environment.clock.advance(minutes=1)
        await service["follow"](sent)
    assert capsys.readouterr().out == f"{sent.server_id} 1\n{sent.server_id} 2\n"


async def test_the_opt_outs_are_kept_and_the_audit_log_is_written(
    environment: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.add_account(api_key="API-KEY")
    async with block("class OptOuts")["watched"](tmp_path / "audit.jsonl", "k" * 16) as client:
        await client.send("79087964781", "Ваш код 1234")
        with pytest.raises(MessageVetoed, match="opted out"):
            await client.send("79087964782", "Ваш код 1234")
    assert capsys.readouterr().out.startswith("send 1 answered 0.")
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


async def test_the_example_of_a_test_passes() -> None:
    await block("test_a_lost_answer")["test_a_lost_answer_is_not_repeated"]()


async def test_the_outbox_sends_what_a_transaction_has_committed(
    environment: Emulator, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMSPILOT_API_KEY", environment.api_key)
    await Outbox.create("sqlite:///shop.db", client)
    engine = await asyncio.to_thread(engine_of, "sqlite+aiosqlite:///shop.db")
    async with AsyncSession(engine) as session:
        record = await block("outbox.worker")["notify"](session, 42, "79087964781")
    await engine.dispose()
    assert record.outcome is Outcome.ACCEPTED
    assert [message.text for message in environment.messages] == ["Order 42 is ready"]
