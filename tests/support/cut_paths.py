# ruff: noqa: S603, S607 - the program that runs here is the system's `ip`
"""A second host on this machine, as root: a network namespace, and a path to it that can be cut without a sound."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_HOST = "02:00:00:00:00:01"
_numbers = itertools.count(1)
_UNSENT = 4  # the column of /proc/net/tcp with the bytes that wait for an acknowledgement


class CutPath:
    """A host of its own, and the path from it to this one.

    Attributes:
        here: This host's address on the path.
    """

    def __init__(self) -> None:
        mark = f"{os.getpid()}x{next(_numbers)}"  # what is removed may be there for a moment more
        self._name, self._near, self._far = f"smspilot-{mark}", f"sn{mark}", f"sf{mark}"
        subnet = f"10.{128 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
        self.here, there = f"{subnet}.1", f"{subnet}.2"
        _ip("netns", "add", self._name)
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
        _ip("addr", "add", f"{self.here}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        for command in (
            ("addr", "add", f"{there}/30", "dev", self._far),
            ("link", "set", self._far, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", self._name, *command)
        self._address = _ip("-brief", "link", "show", self._near).split()[2]
        self.heal()

    def cut(self) -> None:
        """Lose whatever comes from there, and say nothing."""
        self._send_to(_NO_HOST)

    def heal(self) -> None:
        """Let it through again."""
        self._send_to(self._address)

    def _send_to(self, address: str) -> None:
        _ip("-n", self._name, "neigh", "replace", self.here, "lladdr", address, "dev", self._far, "nud", "permanent")

    @property
    def prefix(self) -> list[str]:
        """What runs a command there."""
        return ["ip", "netns", "exec", self._name]

    def unacknowledged(self) -> int:
        """Count the connections there that hold unacknowledged bytes, whether their process lives or not."""
        table = subprocess.run([*self.prefix, "cat", "/proc/net/tcp"], check=True, capture_output=True, text=True)
        lines = table.stdout.splitlines()[1:]
        return sum(int(line.split()[_UNSENT].partition(":")[0], 16) > 0 for line in lines)

    def remove(self) -> None:
        for command in (("link", "del", self._near), ("netns", "del", self._name)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*command)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def cut_path() -> Iterator[CutPath]:
    """A path to a second host; skipped where root or `ip` is missing, but never for root in CI."""
    try:
        path = CutPath()
    except (OSError, subprocess.CalledProcessError) as error:
        if "CI" in os.environ and os.geteuid() == 0:
            raise
        pytest.skip(f"NOT TESTED: that nothing arrives late needs network namespaces (root, iproute2): {error}")
    yield path
    path.remove()
