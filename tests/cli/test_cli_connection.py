"""Where a command sends to, and what becomes of messages there."""

from __future__ import annotations

import hashlib
import os

import pytest

from smspilot_async.cli._connection import ConnectionOptions, Mode
from smspilot_async.emulator import TEST_KEY


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMSPILOT_URL", "SMSPILOT_TEST", "SMSPILOT_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SMSPILOT_API_KEY", "K")


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        (None, Mode.LIVE),
        ("https://smspilot.ru/api2.php", Mode.LIVE),
        ("https://www.smspilot.ru:443/api2.php", Mode.LIVE),
        ("http://127.0.0.1:8025/api2.php", Mode.OTHER),
        ("https://smspilot.ru.example/api2.php", Mode.OTHER),
        ("https://notsmspilot.ru/api2.php", Mode.OTHER),
    ],
)
def test_only_the_vendors_own_address_is_live(url: str | None, mode: Mode) -> None:
    connection = ConnectionOptions(url=url)
    assert connection.mode(connection.client()) is mode
    assert connection.mode(connection.client(test=True)) is Mode.TEST


def test_the_vendors_test_key_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", TEST_KEY)
    connection = ConnectionOptions()
    assert connection.mode(connection.client()) is Mode.TEST_KEY


def test_a_key_that_can_be_read_once_is_enough() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"KEY\n")
    os.close(writing)
    connection = ConnectionOptions(key_file=f"/dev/fd/{reading}", url="http://127.0.0.1:1/")
    connection.client()
    assert connection.client().url == "http://127.0.0.1:1/"
    assert connection.account_mark == hashlib.sha256(b"KEY").hexdigest()[:8]
    os.close(reading)
