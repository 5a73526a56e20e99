"""The ports that a page names, and free ones in their place: other tests may be using what it names."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ports:
    """Ports of a page, each with one of ours.

    Args:
        shown: As the page writes them.
    """

    def __init__(self, shown: Iterable[str]) -> None:
        self._ours = {port: _free_port() for port in shown}

    def ours(self, text: str) -> str:
        """Return a text of the page with our ports."""
        for shown, ours in self._ours.items():
            text = re.sub(rf"\b{shown}\b", ours, text)
        return text

    def shown(self, text: str) -> str:
        """Return what was printed with the ports of the page."""
        for shown, ours in self._ours.items():
            text = re.sub(rf"\b{ours}\b", shown, text)
        return text

    def named_in(self, text: str) -> str | None:
        """Return ours for the first one, in their order, that a text of the page names."""
        return next((ours for shown, ours in self._ours.items() if shown in text), None)


def _free_port() -> str:
    """Return a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
