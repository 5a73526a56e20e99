"""Every block of code in the documentation runs, and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manual_clock import START
from page_blocks import DOCS, blocks, pages
from page_session import PageClock, Session

from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Clock, Emulator

PAGES = [page for page in pages() if page != DOCS / "tutorial.md"]  # test_tutorial.py types it, without any help


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS).with_suffix("")))
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
    texts = [(tmp_path / file).read_text(encoding="utf-8") for file in session.files if file.endswith(".py")]
    for file in session.files:
        names = {file, file.rpartition(".")[0], file.partition("/")[0]}  # a folder's files are of one package
        is_imported = any(re.search(rf"^(?:import|from) {Path(file).stem}\b", text, re.MULTILINE) for text in texts)
        assert is_imported or any(name in session.ran for name in names), f"{page.name}: {file} is never run"
