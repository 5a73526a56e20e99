# ruff: noqa: S603, S607 - the program that runs here is the system's `ip`
"""Several hosts on this machine, as root: a network namespace each, on one wire that can be cut between any two.

A cut is silent: packets go to a host that is not there, as with a broken switch. Files and Unix sockets are shared, so
the test's own process, on no host, looks at a database and is never cut off.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_HOST: Final = "02:00:00:00:00:01"
_numbers = itertools.count(1)


class Hosts:
    """Hosts with names, and the wire between them; to be removed at the end.

    Args:
        names: Theirs.

    Raises:
        OSError: `ip` is missing.
        subprocess.CalledProcessError: This is not root, or there are no namespaces.
    """

    def __init__(self, names: Sequence[str]) -> None:
        pid = os.getpid()
        self._prefix = f"sms{pid}x{next(_numbers)}"
        subnet = f"10.{64 + pid // 250 % 60}.{pid % 250}"
        self._hub = f"{self._prefix}-hub"
        self._addresses = {name: f"{subnet}.{number}" for number, name in enumerate(names, 1)}
        self._links: dict[str, str] = {}
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "wire", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "wire", "up")
        for number, name in enumerate(names, 1):
            self._add(name, f"p{number}")
        for one, other in itertools.permutations(names, 2):
            self._send(one, other, self._links[other])

    def _add(self, name: str, port: str) -> None:
        host = self._host(name)
        _ip("netns", "add", host)
        _ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        _ip("-n", self._hub, "link", "set", port, "master", "wire", "up")
        _ip("-n", host, "addr", "add", f"{self._addresses[name]}/24", "dev", "eth0")
        _ip("-n", host, "link", "set", "eth0", "up")
        _ip("-n", host, "link", "set", "lo", "up")
        self._links[name] = _ip("-n", host, "-brief", "link", "show", "eth0").split()[2]

    def _host(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _send(self, one: str, other: str, link: str) -> None:
        """Let packets of one host to another go to a link."""
        address = self._addresses[other]
        host = self._host(one)
        _ip("-n", host, "neigh", "replace", address, "lladdr", link, "dev", "eth0", "nud", "permanent")

    def address(self, name: str) -> str:
        """Return a host's address."""
        return self._addresses[name]

    def on(self, name: str) -> list[str]:
        """Return what runs a command on a host."""
        return ["ip", "netns", "exec", self._host(name)]

    def cut(self, one: str, other: str) -> None:
        """Lose what two hosts send to each other, and say nothing."""
        self._send(one, other, _NO_HOST)
        self._send(other, one, _NO_HOST)

    def heal(self, one: str, other: str) -> None:
        """Let it through again."""
        self._send(one, other, self._links[other])
        self._send(other, one, self._links[one])

    def remove(self) -> None:
        for name in (*self._addresses, "hub"):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", self._host(name))


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
