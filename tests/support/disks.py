# ruff: noqa: S603 - the programs that run here are the system's `mount` and `umount`
"""A small disk of a test's own, as root, which can be filled and made read-only."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZE = 1024 * 1024


class SmallDisk:
    """A file system of one MiB in memory.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "smspilot", str(folder))

    def fill(self) -> None:
        """Leave no room on it."""
        with (self.folder / "rest").open("wb", buffering=0) as rest:
            try:
                while True:
                    rest.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        (self.folder / "rest").unlink()

    def make_read_only(self) -> None:
        """Refuse every write from now on, as a system does whose disk begins to fail."""
        _run("mount", "-o", "remount,ro", str(self.folder))

    def remove(self) -> None:
        _run("umount", "--lazy", str(self.folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk; skipped where this user may not mount one, but never for root in CI."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = SmallDisk(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        if "CI" in os.environ and os.geteuid() == 0:
            raise
        pytest.skip(f"NOT TESTED: full and read-only disks need a file system of their own (root): {error}")
    yield disk
    disk.remove()
