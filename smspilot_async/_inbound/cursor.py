"""The cursor of ``Client.listen``: its position, also in a file that survives a kill at any moment.

"At most one message is repeated per kill" needs a durable write for every message. The file cursor appends one short
line and syncs it, in a thread; only after a sweep it rewrites the file, which is small again then.
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
    """The cursor of ``listen`` cannot be used: its file is not a cursor, or cannot be read or written.

    Messages that were already yielded stay so, and a file that is not a cursor is left unchanged.
    """


class CursorInUse(CursorError):
    """Another listener holds this cursor. With two, each would lose what the other one reads."""


@attrs.frozen
class CursorState:
    """The position of a listener.

    Attributes:
        since: Everything created before was yielded; the gateway's time, aware.
        handed_over: Ids yielded since, or so shortly before that a sweep may return them again, each with the time
            until which it may; aware.
        waiting: Ids from an answer that were not yielded yet, and are too old for an ordinary sweep to return again,
            each with its creation time; aware.
        noted: This machine's time at ``since``, aware; ``None`` if it is not known. It bounds the gateway's time after
            a restart, and is ignored in comparisons.
    """

    since: datetime
    handed_over: Mapping[int, datetime] = attrs.field(factory=dict)
    waiting: Mapping[int, datetime] = attrs.field(factory=dict)
    noted: datetime | None = attrs.field(default=None, eq=False)


@runtime_checkable
class InboundCursor(Protocol):
    """Stores a listener's position: ids and times only, no phones, no texts.

    A listener calls :meth:`acquire`, :meth:`load` and :meth:`save`, in this order, before it reads anything; then
    :meth:`mark` for every message and :meth:`save` occasionally; at its end, which may come early, :meth:`release`.
    What was saved or marked must be durable when the call returns.
    """

    async def acquire(self) -> None:
        """Lock it exclusively.

        Raises:
            CursorInUse: Another listener holds it.
        """
        ...

    async def load(self) -> CursorState | None:
        """Return the last saved state, with the ids marked since; ``None`` the first time."""
        ...

    async def save(self, state: CursorState) -> None:
        """Replace everything by this state, atomically."""
        ...

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002 - the gateway's own word for it
        """Add an id to ``handed_over`` of the state (and remove it from ``waiting``)."""
        ...

    def release(self) -> None:
        """Unlock it, at once and without waiting: it is also called when a listener is dropped."""
        ...


class _MemoryCursor:
    """Stores nothing: the listener's own memory is enough."""

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

    Next to the file, an empty file ``<path>.lock`` is kept, which the system unlocks when the process ends, however it
    ends. Both are readable by their owner only.

    Args:
        path: The file. It need not exist; its folder must exist, on a local disk.
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
            CursorInUse: Another listener holds it, in this process or another.
            CursorError: The lock file cannot be created.
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
            CursorError: It is not a cursor, or cannot be read; it is left unchanged.
        """
        return await self._in_thread(self._locked.load)

    async def save(self, state: CursorState) -> None:
        """Rewrite the file.

        Raises:
            CursorError: It cannot be written; it is then unchanged.
        """
        await self._in_thread(self._locked.save, state)

    async def mark(self, id: int, until: datetime) -> None:  # noqa: A002 - the protocol's name
        """Append an id to the file; :meth:`save` must be called first.

        Raises:
            CursorError: It cannot be written.
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
        raise CursorError(f"listen: the cursor {self._path} cannot be used: {reason}.")


def cursor_of(given: str | os.PathLike[str] | InboundCursor | None) -> InboundCursor:
    """Return the cursor for the argument of ``Client.listen``.

    Raises:
        TypeError: It cannot be one.
    """
    if given is None:
        return _MemoryCursor()
    if isinstance(given, (str, os.PathLike)):
        return FileCursor(given)
    if isinstance(given, InboundCursor):
        return given
    raise TypeError(f"cursor must be a path, an InboundCursor or None, not {type(given).__name__}")


def _in_use(path: object) -> CursorInUse:
    return CursorInUse(f"listen: the cursor {path} is in use by another listener. Nothing was read.")


class _CursorFile:
    """A cursor's file while it is locked. Everything here blocks, and runs in a thread, except :meth:`close`.

    The file is a line of JSON with the state, then a line for each id that was marked since. A kill in the middle of a
    write leaves an incomplete line; that mark had not been confirmed.
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
        raise CursorError(f"listen: {self._path} {reason}; it was left unchanged. Nothing was read.")

    def save(self, state: CursorState) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        with self._guard:
            self._close_journal()  # some systems cannot replace an open file
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
    # The lock is a separate file, because each save replaces the cursor's file.
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
    """The bytes are not a cursor; its text says what is wrong, to be appended to a path."""


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
        raise _NoCursorError(f"is a cursor of another version than {_VERSION}, the only one supported")
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
