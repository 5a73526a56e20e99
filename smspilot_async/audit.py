"""An audit trail: one line of JSON per message outcome, without the text, and with the phone as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._tools import clock as _clock
from smspilot_async._tools.files import LockedFile, in_thread, json_line
from smspilot_async.errors import OutcomeUnknown
from smspilot_async.hooks import Hooks
from smspilot_async.models import Accepted

if TYPE_CHECKING:
    from datetime import datetime

    from smspilot_async.models import Message, SendResult

__all__ = ["AuditLog"]

logger: Final = logging.getLogger("smspilot_async")

_SHORTEST_KEY: Final = 16  # bytes; there are so few phones that only the key prevents trying them all
_HASH_DIGITS: Final = 32
_MOST_WAITING: Final = 100_000  # lines; so that a disk that hangs does not fill the memory
_PRIVATE: Final = 0o600


class AuditLog(Hooks):
    """Appends a line of JSON to a file for each outcome; several clients, and several processes, may share the file.

    ::

        audit = AuditLog("audit.jsonl", key=os.environ["AUDIT_KEY"])
        client = Client(hooks=[audit])

    Each line has ``time`` (of the outcome, ISO 8601, UTC), ``outcome`` (``"accepted"``, ``"refused"``, ``"unknown"``,
    ``"not_sent"``), ``id`` (yours, or the client's), ``server_id``, ``packet_id``, ``error`` (its class), ``code`` (the
    gateway's), ``parts``, ``cost`` (roubles, a string with the gateway's digits) and ``phone``: the first 32
    hex digits of HMAC-SHA256 over the phone's digits. What is not known is ``null``.

    The constructor opens the file briefly, so that a wrong path is an error at start. Lines are written by a thread. A
    failing disk, or a missing folder, breaks no send: it is logged once, and up to 100,000 lines are buffered until
    writing works again. Closing the client writes the buffered lines. If the file is moved or deleted, as by logrotate,
    a new one is created.

    Args:
        path: The file; if it does not exist, it is created, readable by its owner only.
        key: The secret key of the hash, at least 16 bytes. Finding a phone in the log requires this key.

    Raises:
        ValueError: The key is too short.
        OSError: The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, key: str | bytes) -> None:
        self._key = key.encode() if isinstance(key, str) else bytes(key)
        del key
        if len(self._key) < _SHORTEST_KEY:
            raise ValueError(f"key needs at least {_SHORTEST_KEY} bytes")
        self._path = os.fspath(path)
        _check(self._path)
        self._clock = _clock.current()
        self._file: int | None = None  # opened by the thread
        self._begin()

    def _begin(self) -> None:
        """Start empty: a forked process has no writer thread, and must not write its parent's lines."""
        self._process = os.getpid()
        self._guard = threading.Lock()  # for the buffered lines
        self._pen = threading.Lock()  # for the file, and the lines being written
        self._waiting: deque[tuple[datetime, SendResult[Message]]] = deque()
        self._unwritten = b""
        self._writer: ThreadPoolExecutor | None = None
        self._is_writing = False
        self._has_failed = False
        self._dropped = 0
        self._close_file()

    def __repr__(self) -> str:
        return f"AuditLog({self._path!r})"

    def on_result(self, result: SendResult[Message]) -> None:
        """Buffer a line, to be written by the thread."""
        if self._process != os.getpid():
            self._begin()
        with self._guard:
            if len(self._waiting) >= _MOST_WAITING:
                if not self._dropped:
                    logger.error("audit log: %d lines wait for the disk; further lines are dropped", _MOST_WAITING)
                self._dropped += 1
                return
            self._waiting.append((self._clock.now(), result))
            if not self._is_writing:
                self._is_writing = True
                self._writer = self._writer or ThreadPoolExecutor(1, "smspilot audit")
                self._writer.submit(self._write_all)

    async def aclose(self) -> None:
        """Write the buffered lines; how many cannot be written is logged. A later result reopens the file."""
        await in_thread(self.close)

    def close(self) -> None:
        """Like :meth:`aclose`, without an event loop; it blocks."""
        if self._process != os.getpid():
            self._begin()
        with self._guard:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.shutdown()
        self._write_all()
        with self._pen:
            # If the disk works, lines in the buffer came from another client meanwhile, whose thread writes them.
            missing = self._dropped + (self._unwritten.count(b"\n") + len(self._waiting) if self._has_failed else 0)
            self._dropped = 0
            if missing:
                logger.error("audit log: %d lines are not written", missing)
            self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    # --- in the thread ---------------------------------------------------------------------------

    def _write_all(self) -> None:
        """Write until the buffer is empty or the disk fails; the next result triggers the next attempt."""
        with self._pen:
            try:
                while self._has_more():
                    self._write()
                    self._has_failed = False
            except OSError as error:
                self._report(error)

    def _has_more(self) -> bool:
        if self._unwritten:
            return True
        with self._guard:
            batch = list(self._waiting)
            self._waiting.clear()
            self._is_writing = bool(batch)
        self._unwritten = b"".join(self._line(moment, result) for moment, result in batch)
        return bool(batch)

    def _write(self) -> None:
        if self._file is not None and not _stands_at(self._path, self._file):
            self._close_file()
        if self._file is None:
            self._file = _opened(self._path)
        lock = LockedFile(self._file)
        with suppress(OSError):  # some network file systems have no locks
            lock.wait_for_lock()  # part of others' writes would look like a line cut off by a kill
        try:
            self._append(self._file)
        finally:
            lock.unlock()

    def _append(self, file: int) -> None:
        if _ends_within_a_line(file):  # the disk was full, or a process was killed: one line is lost
            os.write(file, b"\n")
        while self._unwritten:
            written = os.write(file, self._unwritten)
            whole = self._unwritten.rfind(b"\n", 0, written) + 1
            self._unwritten = self._unwritten[whole:]
            if whole < written:
                os.write(file, b"\n")

    def _report(self, error: OSError) -> None:
        with self._guard:
            self._is_writing = False
        if not self._has_failed:
            self._has_failed = True
            reason = error.strerror or type(error).__name__
            logger.error("audit log: %s cannot be written (%s); its lines are buffered", self._path, reason)

    def _line(self, moment: datetime, result: SendResult[Message]) -> bytes:
        sent = result.sent
        error = None if isinstance(result, Accepted) else result.error
        packet_id = sent.server_packet_id if sent else None
        if packet_id is None and isinstance(error, OutcomeUnknown):
            packet_id = error.server_packet_id
        record: dict[str, Any] = {
            "time": moment.isoformat(),
            "outcome": result.outcome.value,
            "id": result.item.id or (sent and sent.id) or (error and error.message_id),
            "server_id": sent and sent.server_id,
            "packet_id": packet_id,
            "error": error and type(error).__name__,
            "code": getattr(error, "code", None),
            "parts": sent and sent.parts,
            "cost": None if sent is None or sent.price is None else str(sent.price),
            "phone": hmac.new(self._key, result.item.to.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS],
        }
        return json_line(record)


def _check(path: str) -> None:
    """Open and close the file.

    Raises:
        OSError: It cannot be opened; the error says what to do.
    """
    try:
        os.close(_opened(path))
    except OSError as error:
        advice = "choose a file in an existing folder in which this process may write"
        raise OSError(error.errno, f"audit log: {error.strerror}; {advice}", path) from None


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _PRIVATE)


def _stands_at(path: str, file: int) -> bool:
    """Return whether an open file is still the one at the path, and was not moved or deleted by a rotation."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _ends_within_a_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.lseek(file, size - 1, os.SEEK_SET) >= 0 and os.read(file, 1) != b"\n"
