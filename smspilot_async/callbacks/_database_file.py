"""A SQLite file that may be deleted, replaced or overwritten while it is open.

SQLite goes on writing to a file that has lost its name, and answers from its cache what was overwritten; the next to
open the path finds nothing of that. So the file is identified by device and inode, and if anything about it has
changed, a commit counts only once a separate connection has found it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from smspilot_async._tools.files import LockedFile, create_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Identity: TypeAlias = tuple[int, int]
_MEMORY: Final = Path(":memory:")
_LOG: Final = "-wal"
_INDEX: Final = "-shm"


class DatabaseFile:
    """The file that a path names, and the connection to it. For one thread.

    Attributes:
        path: The path; absolute once it was opened, since a process may change its folder.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._identity: _Identity | None = None
        self._log: _Identity | None = None
        self._real = self.path
        self._seen: tuple[int, int, int] | None = None

    def opened(self, connect: Callable[[str], sqlite3.Connection]) -> sqlite3.Connection:
        """Connect to the file, which is made if there is none, for its owner only."""
        self._make_place(None, None)
        while True:
            identity = _identity(self.path)
            database = connect(str(self.path))
            if identity == _identity(self.path):
                break
            database.close()
        self._identity = identity
        self._log = _identity(self._beside(_LOG))
        self._seen = None
        return database

    def let_go(self) -> None:
        """Make room for another file after this one was lost; it stays open, so that no other file gets its inode.

        SQLite would take the log that a lost file has left behind for that of the file which has its name now.
        """
        self._make_place(self._identity, self._log)

    def _make_place(self, lost: _Identity | None, lost_log: _Identity | None) -> None:
        if self.path == _MEMORY:
            return
        self.path = self.path.absolute()
        self._real = real = self.path.resolve()
        with _alone_in(real.parent), suppress(OSError, ValueError):  # SQLite says better what is wrong
            if _identity(real) == lost is not None and real.stat().st_size == 0:
                real.unlink()  # emptied
            is_missing = not real.exists()
            if is_missing or (_identity(real) != lost and _identity(self._beside(_LOG)) == lost_log is not None):
                for end in (_LOG, _INDEX):
                    self._beside(end).unlink(missing_ok=True)
            if is_missing:
                os.close(create_private(str(real)))

    def is_in_place(self) -> bool:
        """Return whether the path still names the file that is open, and SQLite's log of it is beside it."""
        if self.path == _MEMORY:
            return True
        found = _stat(self.path)
        is_ours = found is not None and (found.st_dev, found.st_ino) == self._identity and found.st_size > 0
        return is_ours and _identity(self._beside(_LOG)) == self._log

    def is_found(self, look: Callable[[sqlite3.Connection], bool]) -> bool:
        """Return whether others would find what was committed; look for it only if the file has changed.

        A checkpoint of SQLite's own changes it, too, once in a thousand pages.

        Raises:
            sqlite3.Error: It is no database any more.
        """
        found = _stat(self.path)
        seen = None if found is None else (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if seen != self._seen:
            with closing(sqlite3.connect(self.path)) as another:
                if not look(another):
                    return False
        self._seen = seen
        return True

    def _beside(self, end: str) -> Path:
        return self._real.with_name(self._real.name + end)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _identity(path: Path) -> _Identity | None:
    found = _stat(path)
    return None if found is None else (found.st_dev, found.st_ino)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other workers out, but on Windows: there no folder can be opened, and no open file can lose its name."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (OSError, ValueError):
        yield
        return
    with closing(LockedFile(descriptor)) as lock:
        lock.wait_for_lock()
        yield


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write all of it, or nothing, while no other process writes."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
