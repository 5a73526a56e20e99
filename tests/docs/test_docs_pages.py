"""Every block of code in the documentation runs, and prints what the page says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from manual_clock import START
from page_blocks import DOCS, blocks, pages
from page_session import PageClock, Session

from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Clock, Emulator

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(DOCS).with_suffix("")))
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Emulator.serve(clock=Clock(START), seed=1) as emulator:
        monkeypatch.setenv("SMSPILOT_URL", emulator.url)
        monkeypatch.setenv("SMSPILOT_API_KEY", emulator.api_key)
        clock = PageClock(emulator)
        with _clock.use(clock):
            session = Session(page, tmp_path, emulator, clock, setenv=monkeypatch.setenv)
            try:
                for block in blocks(page):
                    session.run(block)
            finally:
                session.close()
    for file in session.files:
        assert file in session.ran or file.rpartition(".")[0] in session.ran, f"{page.name}: {file} is never run"
