"""A line in the terminal for each request, without keys, texts and whole phones.

A thread of its own writes them: a terminal that is stopped, or a pipe that is not read, does not hold up the gateway.
Lines that it has no patience for are counted instead.
"""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from smspilot_async._tools.masks import masked_phone

if TYPE_CHECKING:
    from typing import TextIO

    from smspilot_async.emulator.gateway._requests import RecordedRequest

WAITING: Final = 1000
"""Lines that may wait to be written."""
_PATIENCE: Final = 1.0
_SECOND: Final = 1.0
_OK: Final = 200


class RequestLines:
    """Writes requests to a stream, one a line, from when it begins until it is closed."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._waiting: queue.Queue[RecordedRequest | None] = queue.Queue(WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._write_all, name="smspilot-terminal", daemon=True)

    def begin(self) -> None:
        """Write what has come so far, and what comes."""
        self._thread.start()

    def add(self, record: RecordedRequest) -> None:
        """Write a request soon. This does not block."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Write what waits, for a second at most."""
        with suppress(queue.Full, RuntimeError):  # it may never have begun
            self._waiting.put(None, timeout=_PATIENCE)
            self._thread.join(_PATIENCE)

    def _write_all(self) -> None:
        with suppress(OSError, ValueError):  # the reader is gone
            while record := self._waiting.get():
                left_out, self._left_out = self._left_out, 0
                if left_out:
                    self._write(f"… {left_out} more requests came faster than they could be shown\n")
                self._write(line_of(record) + "\n")

    def _write(self, text: str) -> None:
        number = _descriptor(self._out)
        if number is None:
            self._out.write(text)
            self._out.flush()
        else:  # not through the stream: a thread that waits in there would keep the program from ending
            os.write(number, text.encode(self._out.encoding or "utf-8", "replace"))


def _descriptor(out: TextIO) -> int | None:
    if os.name != "posix":  # a console of Windows takes characters, not bytes
        return None
    try:
        return out.fileno()
    except OSError:  # it is in memory
        return None


def line_of(record: RecordedRequest) -> str:
    """A request in a line: time, command, count, phone of a single message, outcome, duration."""
    at = record.at.astimezone().strftime("%H:%M:%S")
    phone = masked_phone(record.to) if record.to else ""
    count = str(record.count or "")
    return f"{at}  {record.command or '?':<7} {count:>6}  {phone:<12} {_outcome(record)}  {_duration(record.seconds)}"


def _outcome(record: RecordedRequest) -> str:
    parts = [f"{record.accepted} accepted"] if record.accepted else []
    if record.refused:
        is_whole = not record.accepted and record.refused == 1
        parts.append(f"{'' if is_whole else f'{record.refused} '}refused ({record.code})")
    elif record.status not in (_OK, None) and record.fault is None:
        parts.append(f"HTTP {record.status}")
    if record.fault is not None:
        parts.append(f"fault {record.fault}")
    return ", ".join(parts) or "OK"


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds >= _SECOND:
        return f"{seconds or 0:.1f} s"
    return f"{seconds * 1000:.1f} ms"
