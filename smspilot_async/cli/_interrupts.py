"""Ctrl-C during a paid request: the first one stops and waits, the second one does not wait.

A request in flight cannot be taken back, so the first waits for its answer. SIGTERM and a closed terminal (SIGHUP)
count as the first; under nohup SIGHUP is ignored. Where the loop supports no signal handlers (Windows, or outside the
main thread), Python's own handling of Ctrl-C applies.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final

from smspilot_async.cli._output import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_HANGUP: Final = getattr(signal, "SIGHUP", None)  # Windows has none
WAITING: Final = "stopping: waiting for the answer to what was sent (Ctrl-C again: do not wait)"
_SHELL_BASE: Final = 128  # a shell shows a death by signal n as 128 + n


class Interrupts:
    """Handles signals in the running loop while its body runs.

    Args:
        stop: Called at the first signal: send nothing more.
        quit: Called at the second: do not wait for answers either.
        announcement: What is printed at the first.
    """

    def __init__(
        self,
        stop: Callable[[], object],
        quit: Callable[[], object],  # noqa: A002 - the word for it
        *,
        announcement: str | None = WAITING,
    ) -> None:
        self._announcement = announcement
        self._stop = stop
        self._quit = quit
        self._first: int | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code of an interrupted command; ``None`` if it was not interrupted."""
        return None if self._first is None else _SHELL_BASE + self._first

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._numbers = [signal.SIGINT, signal.SIGTERM]
        if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
            self._numbers.append(_HANGUP)
        for number in self._numbers:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                self._loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._numbers:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                self._loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        if self._first is None:
            self._first = number
            if self._announcement is not None:
                note(self._announcement)
            self._stop()
        elif number != _HANGUP:  # a closed terminal is signalled twice: by the system and by the shell
            self._quit()
