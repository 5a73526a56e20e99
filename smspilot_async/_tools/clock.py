"""The clock: now, monotonic seconds, sleep, timeout.

Everything in the package uses the clock returned by :func:`current`, so that tests can control time: they install their
own with :func:`use`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_boot_clock: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def boot_time() -> float:
    """Return monotonic seconds that also pass while the machine sleeps, where the system counts them."""
    return time.monotonic() if _boot_clock is None else time.clock_gettime(_boot_clock)


class Timer(Protocol):
    """A scheduled call that can be cancelled."""

    def cancel(self) -> None:
        """Cancel it."""


class Clock:
    """The system's clock."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return monotonic seconds, for deadlines."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        """Call once :meth:`monotonic` has reached ``when``, in the running loop."""
        return asyncio.get_running_loop().call_later(when - self.monotonic(), call)

    def timeout_at(self, when: float) -> contextlib.AbstractAsyncContextManager[object]:
        """Cancel the body and raise ``TimeoutError`` once :meth:`monotonic` has reached ``when``."""
        return asyncio.timeout(when - self.monotonic())


_SYSTEM: Final = Clock()
_current: ContextVar[Clock] = ContextVar("smspilot_clock", default=_SYSTEM)


def current() -> Clock:
    """Return the clock of the current context."""
    return _current.get()


@contextlib.contextmanager
def use(clock: Clock) -> Iterator[None]:
    """Use another clock in the body, and for every client created in it."""
    token = _current.set(clock)
    try:
        yield
    finally:
        _current.reset(token)
