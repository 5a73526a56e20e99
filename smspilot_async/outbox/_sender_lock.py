"""One sender at a time on a SQLite ledger: a kernel lock on a file of its own, free however its holder ends.

The lock is of the open file (``flock``), so no other descriptor of this process can drop it; a forked child closes its
copy, or it would hold the lock after its parent was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import weakref
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._errors import SenderBusy
from smspilot_async.outbox._home import host_name

if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SenderLock"]

_PRIVATE: Final = 0o600
_LONGEST: Final = 1000
_held: Final[weakref.WeakSet[SenderLock]] = weakref.WeakSet()


class SenderLock:
    """Who holds it may send.

    Args:
        path: The ledger; the lock is beside it.

    Raises:
        SenderBusy: Somebody else sends; it names them.
        OSError: The lock's file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.sender")
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, _PRIVATE)
        try:
            _lock(self._descriptor)
            self._sign()
        except (BlockingIOError, PermissionError):
            holder = self._holder()
            self.release()
        except BaseException:
            self.release()
            raise
        else:
            _held.add(self)
            return
        raise SenderBusy(
            f"another sender works on the ledger {path.name}: {holder}. Nothing was sent. One at a time may send from "
            "a SQLite ledger; stop that one, or use PostgreSQL."
        )

    def _holder(self) -> str:
        assert self._descriptor is not None  # noqa: S101 - only called by the constructor
        try:
            told = json.loads(os.pread(self._descriptor, _LONGEST, 1))
            return f"process {told['process']} on {told['host']}, since {told['since']}"
        except (OSError, ValueError, LookupError, TypeError):
            return "a process that has not said who it is"

    def _sign(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - only called by the constructor
        told = {"process": os.getpid(), "host": host_name(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"\n" + json.dumps(told).encode(), 0)  # the first byte is what Windows locks

    def release(self) -> None:
        """Let another one send."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":  # pragma: no cover - tests run elsewhere
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close_in_child() -> None:
    for lock in list(_held):
        with contextlib.suppress(OSError):
            lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
