"""What the tests of the command line share: a gateway on a socket, and a folder of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import KEY

from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator.serve(api_key=KEY) as emulator:
        monkeypatch.setenv("SMSPILOT_URL", emulator.url)
        monkeypatch.setenv("SMSPILOT_API_KEY", KEY)
        yield emulator


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMSPILOT_TEST", raising=False)
