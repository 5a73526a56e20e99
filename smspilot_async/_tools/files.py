"""Tools for files that must survive a kill: JSON lines, complete writes, durable names, locks, threads that finish."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
    import msvcrt
else:
    import fcntl

from smspilot_async._tools.tasks import outlast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Value = TypeVar("Value")

PRIVATE: Final = 0o600
_BINARY: Final = getattr(os, "O_BINARY", 0)


def create_private(path: str) -> int:
    """Create a file that only its owner can read, and return its descriptor; writes append to it.

    Raises:
        OSError: The name is taken, even by a symbolic link, or the file cannot be created.
        ValueError: The name is invalid.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY, PRIVATE)


def json_line(record: Any) -> bytes:
    """Return a record as one line; readers ignore a last line without its end, which was never confirmed."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all data, even if the system accepts only a part at a time."""
    while data:
        data = data[os.write(descriptor, data) :]


def sync_folder(folder: Path) -> None:
    """Make a new or changed name in a folder durable, if the system can sync folders."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LockedFile:
    """An open file that one holder at a time can lock; the lock ends with the descriptor, however its process ends.

    Args:
        descriptor: The file; except on Windows it may be a folder.
        at: The offset of the byte that Windows locks, which others cannot read meanwhile.
    """

    def __init__(self, descriptor: int, *, at: int = 0) -> None:
        self._descriptor = descriptor
        self._at = at

    def try_lock(self) -> bool:
        """Lock it, unless another holder has.

        Raises:
            OSError: It cannot be locked, for another reason.
        """
        try:
            if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
                os.lseek(self._descriptor, self._at, os.SEEK_SET)
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def wait_for_lock(self) -> None:
        """Lock it once no other holder has it; do nothing on Windows, which has no such lock.

        Raises:
            OSError: It cannot be locked: some network file systems have no locks.
        """
        if sys.platform != "win32":
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def unlock(self) -> None:
        """Undo :meth:`wait_for_lock`."""
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, and with it the lock."""
        os.close(self._descriptor)


async def in_thread(work: Callable[..., Value], *args: Any) -> Value:
    """Run a blocking function in a thread; wait for it even if cancelled, so that no file is closed while in use."""
    return await outlast(asyncio.get_running_loop().run_in_executor(None, work, *args))
