"""What has changed, in order, for pages that follow the emulator live.

It holds no messages and no queues: a reader keeps a cursor and asks what came after it, so that a slow one costs
nothing and delays no one. Only the newest changes are remembered; a reader that has fallen behind them, or whose cursor
is from before a reset, starts over.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REMEMBERED: Final = 30_000
AT_A_TIME: Final = 500


@attrs.frozen(kw_only=True)
class Changes:
    """What came after a cursor.

    Attributes:
        starts_over: What the reader has so far is void.
        server_ids: The messages that came or changed. One that changes again later is only named then.
        cursor: Where to go on.
        are_all: Whether nothing more waits.
    """

    starts_over: bool
    server_ids: tuple[str, ...]
    cursor: str
    are_all: bool


class Feed:
    """The changes of one emulator. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = _new_epoch()
        self._log: list[str] = []
        self._latest: dict[str, int] = {}
        self._forgotten = 0
        self._wakers: list[Callable[[], None]] = []

    def note(self, server_id: str | None = None) -> None:
        """A message has come or changed; without a number, something else has."""
        with self._lock:
            if server_id is not None:
                self._remember(server_id)
            self._wake()

    def start_over(self) -> None:
        """Everything was forgotten."""
        with self._lock:
            self._epoch, self._log, self._latest, self._forgotten = _new_epoch(), [], {}, 0
            self._wake()

    def after(self, cursor: str) -> Changes:
        """What came after a cursor, or from the oldest remembered change on if the cursor says nothing."""
        with self._lock:
            position = self._position(cursor)
            start = 0 if position is None else position
            end = min(start + AT_A_TIME, len(self._log))
            named = ((at, self._log[at]) for at in range(start, end))
            return Changes(
                starts_over=position is None,
                server_ids=tuple(number for at, number in named if self._latest[number] == self._forgotten + at),
                cursor=f"{self._epoch}.{self._forgotten + end}",
                are_all=end == len(self._log),
            )

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `wake` is called at every change, in the thread that made it; it must be quick."""
        with self._lock:
            self._wakers.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)

    def _remember(self, server_id: str) -> None:
        self._latest[server_id] = self._forgotten + len(self._log)
        self._log.append(server_id)
        if len(self._log) >= 2 * REMEMBERED:  # not one by one, which would move the whole list each time
            del self._log[:REMEMBERED]
            self._forgotten += REMEMBERED
            self._latest = {number: at for number, at in self._latest.items() if at >= self._forgotten}

    def _position(self, cursor: str) -> int | None:
        epoch, _, count = cursor.partition(".")
        if epoch != self._epoch or not count.isdecimal():
            return None
        position = int(count) - self._forgotten
        return position if 0 <= position <= len(self._log) else None

    def _wake(self) -> None:
        for wake in self._wakers:
            wake()


def _new_epoch() -> str:
    return secrets.token_hex(4)
