"""How far ``Client.listen`` has come: the cursor, and one in a file that survives a kill at any moment.

"At most one message is repeated per kill" needs a durable write for every message; the file cursor makes it one short
line appended to its file and synced, in a thread, and writes the file anew, small again, only after a sweep.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

import attrs

from smspilot_async._tools.files import LockedFile, in_thread, json_line, sync_folder, write_all
from smspilot_async.errors import SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CursorError", "CursorInUse", "CursorState", "FileCursor", "InboundCursor", "cursor_of"]

Value = TypeVar("Value")

_FORMAT: Final = "smspilot_async inbound cursor"
_VERSION: Final = 1
_PRIVATE: Final = 0o600
_sync = getattr(os, "fdatasync", os.fsync)  # not every system tells data and metadata apart


class CursorError(SmsPilotError):
    """The cursor of ``listen`` can not be used: its file is no cursor, or can not be read or written.

    What was already handed over stays handed over, and a file that is no cursor is left as it is.
    """


class CursorInUse(CursorError):
    """Another listener holds this cursor. Two of them would each lose what the other one reads."""


@attrs.frozen
class CursorState:
    """How far a listener has come.

    Attributes:
        since: Everything created before has been handed over; the gateway's time, aware.
        handed_over: Ids that were handed over since, or so shortly before that a sweep may bring them again, each with
            the time until which it may; aware.
        waiting: Ids that an answer carried, not handed over yet, and too old for an ordinary sweep to bring again,
            each with when it was created; aware.
        noted: What this machine's clock said at ``since``, aware; ``None`` if that is not known. It bounds the
            gateway's time after a restart, and is no part of a comparison.
    """

    since: datetime
    handed_over: Mapping[int, datetime] = attrs.field(factory=dict)
    waiting: Mapping[int, datetime] = attrs.field(factory=dict)
    noted: datetime | None = attrs.field(default=None, eq=False)


@runtime_checkable
class InboundCursor(Protocol):
    """Where a listener keeps how far it has come. It holds ids and times only: no phones, no texts.

    A listener calls :meth:`acquire`, :meth:`load` and :meth:`save`, in this order, before it reads anything; then
    :meth:`mark` for every message and :meth:`save` now and then; at its end, which may come early, :meth:`release`.
    What was saved or marked must be durable when the call returns.
    """

    async def acquire(self) -> None:
        """Lock it, for this listener alone.

        Raises:
            CursorInUse: another listener holds it.
        """
        ...

    async def load(self) -> CursorState | None:
        """Return what was saved and marked last; ``None`` if this is the first time."""
        ...

    async def save(self, state: CursorState) -> None:
        """Replace everything by this state, all of it or nothing."""
        ...

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002 - the gateway's own word for it
        """Add one id to ``handed_over`` of the state (and take it out of ``waiting``)."""
        ...

    def release(self) -> None:
        """Unlock it, at once and without waiting: it is also called when a listener is only dropped."""
        ...


class _MemoryCursor:
    """No cursor: the listener's own memory will do."""

    async def acquire(self) -> None:
        pass

    async def load(self) -> CursorState | None:
        return None

    async def save(self, state: CursorState) -> None:
        pass

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002 - the protocol's name
        pass

    def release(self) -> None:
        pass


class FileCursor:
    """A cursor in a file, which survives a kill or a power failure at any moment.

    Beside the file stands ``<path>.lock``, which the system unlocks when the process ends, however it ends; it stays
    there, empty. Both are readable by their owner only.

    Args:
        path: The file. It need not exist; its folder must, on a local disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._is_taken = False
        self._file: _CursorFile | None = None

    def __repr__(self) -> str:
        return f"FileCursor({self._path!r})"

    async def acquire(self) -> None:
        """Lock the file.

        Raises:
            CursorInUse: another listener holds it, in this process or another.
            CursorError: the lock's file can not be made.
        """
        if self._is_taken:
            raise _in_use(self._path)
        self._is_taken = True
        try:
            await self._in_thread(self._open)
        except BaseException:
            self.release()
            raise

    def _open(self) -> None:
        self._file = _CursorFile(self._path)

    async def load(self) -> CursorState | None:
        """Read the file.

        Raises:
            CursorError: it is no cursor, or can not be read; it is left as it is.
        """
        return await self._in_thread(self._locked.load)

    async def save(self, state: CursorState) -> None:
        """Write the file anew.

        Raises:
            CursorError: it can not be written; it is then as it was.
        """
        await self._in_thread(self._locked.save, state)

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002 - the protocol's name
        """Append an id to the file; :meth:`save` comes first.

        Raises:
            CursorError: it can not be written.
        """
        await self._in_thread(self._locked.mark, id, until)

    def release(self) -> None:
        """Unlock the file."""
        file, self._file = self._file, None
        self._is_taken = False
        if file is not None:
            file.close()

    @property
    def _locked(self) -> _CursorFile:
        if self._file is None:
            raise RuntimeError(f"{self!r} is not acquired")
        return self._file

    async def _in_thread(self, work: Callable[..., Value], *args: Any) -> Value:
        try:
            return await in_thread(work, *args)
        except OSError as error:
            reason = error.strerror or type(error).__name__
        raise CursorError(f"listen: the cursor {self._path} can not be used: {reason}.")


def cursor_of(given: str | os.PathLike[str] | InboundCursor | None) -> InboundCursor:
    """Make a cursor of what ``Client.listen`` was given.

    Raises:
        TypeError: It is none.
    """
    if given is None:
        return _MemoryCursor()
    if isinstance(given, (str, os.PathLike)):
        return FileCursor(given)
    if isinstance(given, InboundCursor):
        return given
    raise TypeError(f"cursor is a path, an InboundCursor or None, not {type(given).__name__}")


def _in_use(path: object) -> CursorInUse:
    return CursorInUse(f"listen: the cursor {path} is in use by another listener. Nothing was read.")


class _CursorFile:
    """A cursor's file while it is locked. Everything here blocks, and runs in a thread, but for :meth:`close`.

    The file is a line of JSON, the state, and then a line for each id that was marked since. A kill in the middle of
    a line leaves one without its end, and that mark was never promised to anybody.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(os.path.realpath(path))  # two names of one file are one cursor
        self._guard = threading.Lock()
        self._journal: int | None = None
        self._lock: LockedFile | None = _lock(self._path)

    def load(self) -> CursorState | None:
        try:
            return _read(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except _NoCursorError as error:
            reason = str(error)
        raise CursorError(f"listen: {self._path} {reason}; it was left as it is. Nothing was read.")

    def save(self, state: CursorState) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        with self._guard:
            self._close_journal()  # a file that is open can not be replaced everywhere
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
            try:
                write_all(descriptor, _written(state))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
            sync_folder(self._path.parent)
            self._journal = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def mark(self, id_: int, until: datetime) -> None:
        with self._guard:
            if self._journal is None:
                raise RuntimeError(f"the cursor {self._path} must be saved before it is marked")
            write_all(self._journal, json_line([id_, int(until.timestamp())]))
            _sync(self._journal)

    def close(self) -> None:
        with self._guard:
            self._close_journal()
            lock, self._lock = self._lock, None
            if lock is not None:
                lock.close()

    def _close_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            os.close(journal)


def _lock(path: Path) -> LockedFile:
    # The lock's file is beside the cursor's, because each save puts another file in its place.
    lock = LockedFile(os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, _PRIVATE))
    try:
        if lock.try_lock():
            return lock
    except BaseException:
        lock.close()
        raise
    lock.close()
    raise _in_use(path)


# --- the file's text -----------------------------------------------------------------------------


class _NoCursorError(Exception):
    """The bytes are no cursor; its text says what is wrong with them, to follow a path."""


def _written(state: CursorState) -> bytes:
    return json_line(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "since": state.since.isoformat(),
            "noted": None if state.noted is None else state.noted.isoformat(),
            "handed_over": [[id_, int(until.timestamp())] for id_, until in state.handed_over.items()],
            "waiting": [[id_, int(created.timestamp())] for id_, created in state.waiting.items()],
        }
    )


def _read(data: bytes) -> CursorState:
    first, *marks = data.split(b"\n")[:-1] or [b""]
    head = _head(first)
    if head is None:
        raise _NoCursorError("is not a cursor of listen")
    if head.get("version") != _VERSION:
        raise _NoCursorError(f"is a cursor of another version than {_VERSION}, the only one that is understood")
    try:
        return _state(head, map(json.loads, marks))
    except (ValueError, LookupError, TypeError, ArithmeticError, OSError, RecursionError):
        pass
    raise _NoCursorError("is a damaged cursor of listen")


def _head(line: bytes) -> dict[str, Any] | None:
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return head if isinstance(head, dict) and head.get("format") == _FORMAT else None


def _state(head: Any, marks: Iterable[Any]) -> CursorState:
    since, noted = _time(head["since"]), head.get("noted")
    handed_over = _times(head["handed_over"]) | _times(marks)
    waiting = {id_: at for id_, at in _times(head["waiting"]).items() if id_ not in handed_over}
    return CursorState(since, handed_over, waiting, None if noted is None else _time(noted))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def _times(pairs: Iterable[Any]) -> dict[int, datetime]:
    return {int(id_): datetime.fromtimestamp(seconds, UTC) for id_, seconds in pairs}
