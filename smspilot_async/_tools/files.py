"""What files that must survive a kill need: JSON lines, whole writes, durable names, locks, threads that finish."""

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Value = TypeVar("Value")

PRIVATE: Final = 0o600
_BINARY: Final = getattr(os, "O_BINARY", 0)


def create_private(path: str) -> int:
    """Make a file that only its owner can read, and return its descriptor; what is added goes to its end.

    Raises:
        OSError: The name is taken, be it by a symbolic link, or the file cannot be made.
        ValueError: The name cannot be one.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY, PRIVATE)


def json_line(record: Any) -> bytes:
    """Write a record as one line; a line without its end was never promised."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little the system takes at a time."""
    while data:
        data = data[os.write(descriptor, data) :]


def sync_folder(folder: Path) -> None:
    """Make a new or changed name in a folder durable, where a folder can be opened for that."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class LockedFile:
    """An open file that one holder at a time can lock; the lock ends with the descriptor, however its process ends.

    Args:
        descriptor: The file; it may be a folder, but on Windows.
        at: The byte that Windows locks, which no one else can read meanwhile.
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
    """Run what blocks in a thread, and outlast a cancellation, so that no file is closed under a thread's hands."""
    running = asyncio.get_running_loop().run_in_executor(None, work, *args)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    running.exception()  # it has been asked for, so asyncio does not warn of it
    raise cancelled
