from __future__ import annotations

import pytest
from chromium import ChromiumIsMissing, find_chromium


def test_without_a_browser_the_tests_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(ChromiumIsMissing, match="apt-get install chromium"):
        find_chromium()
    monkeypatch.setenv("CHROMIUM", "/opt/chrome")
    assert find_chromium() == "/opt/chrome"
