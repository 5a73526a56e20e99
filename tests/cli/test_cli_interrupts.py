from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from cli_running import PHONES, run

from smspilot_async import Client
from smspilot_async.cli._interrupts import Interrupts

if TYPE_CHECKING:
    import pytest


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
