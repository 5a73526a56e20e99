from __future__ import annotations

import asyncio
import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

from cli_running import PHONES, numbered, run, write_list

from smspilot_async import Client
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli.bulk import _ledger, _run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from smspilot_async.emulator import Emulator


async def test_the_first_asks_and_the_second_insists(capsys: pytest.CaptureFixture[str]) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    with Interrupts(lambda: heard.put_nowait("stop"), lambda: heard.put_nowait("quit")) as interrupts:
        assert interrupts.exit_code is None
        for expected in ("stop", "quit"):
            os.kill(os.getpid(), signal.SIGINT)
            assert await asyncio.wait_for(heard.get(), 10) == expected
    assert interrupts.exit_code == 130
    assert capsys.readouterr().err.startswith("stopping: waiting for the answer to what was sent")


async def test_a_polite_kill_has_its_own_exit_code() -> None:
    heard = asyncio.Event()
    with Interrupts(heard.set, lambda: None) as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(heard.wait(), 10)
    assert interrupts.exit_code == 143


async def test_the_end_of_a_terminal_is_no_insistence_however_often_it_is_signalled() -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    with Interrupts(lambda: heard.put_nowait("stop"), lambda: heard.put_nowait("quit")) as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert await asyncio.wait_for(heard.get(), 10) == "stop"
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(heard.get(), 10) == "quit"
    assert heard.empty()
    assert interrupts.exit_code == 129


async def test_a_loop_without_signal_handlers_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", cannot)
    monkeypatch.setattr(loop, "remove_signal_handler", cannot)
    with Interrupts(lambda: None, lambda: None) as interrupts:
        assert interrupts.exit_code is None


def test_a_send_that_is_cancelled_may_have_been_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(*_: object, **__: object) -> Any:
        raise asyncio.CancelledError

    monkeypatch.setenv("SMSPILOT_API_KEY", "K")
    monkeypatch.setattr(Client, "send_message", cancelled)
    ran = run("send", PHONES[0], "x")
    assert ran.exit_code == 3
    assert "it may have been sent" in ran.stderr


def test_an_interruption_while_the_list_is_read_waits_for_no_answer(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[Any]:
        [row] = _ledger.without(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        yield from itertools.repeat(row, 100_000)  # a long list: the loop looks for signals now and then

    monkeypatch.setattr(_run, "without", interrupted)
    write_list(numbered(1))
    ran = run("bulk", "list.csv", "--yes")
    assert "stopping: nothing is on the wire" in ran.stderr
    assert "waiting for the answer" not in ran.stderr
    assert (ran.exit_code, gateway.messages) == (130, ())
