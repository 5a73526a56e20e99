"""What every file that must survive a kill needs: lines of JSON, whole writes, durable names, threads that finish."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

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
    """Write a record as one line; a line without its end was never promised to anybody."""
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
    running.exception()  # it has been asked for: nobody is warned of it
    raise cancelled
