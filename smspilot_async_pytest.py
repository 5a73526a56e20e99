"""The fixture `smspilot_emulator`, for the tests of applications that send SMS.

It is installed with the package. Pytest imports this module in every project where the package is installed, so it is
kept outside the package and imports what it needs only when a test requests the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async.emulator import Emulator

__all__ = ["smspilot_emulator"]


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
