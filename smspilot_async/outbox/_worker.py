"""A sender and its duties, in the background of an ``async with`` block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from smspilot_async._tools.tasks import outlast
from smspilot_async.outbox._deliver import Sent
from smspilot_async.outbox._duties import Duties, Duty
from smspilot_async.outbox._workers import SEEN_EVERY

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from smspilot_async.outbox._deliver import Sender
    from smspilot_async.outbox._errors import LedgerUnavailable

__all__ = ["Worker"]


class Worker:
    """A sender in the background of a block (:meth:`Outbox.worker`)."""

    def __init__(
        self,
        sender: contextlib.AbstractAsyncContextManager[Sender],
        duties: Callable[[Sender], Sequence[Duty]],
    ) -> None:
        self._context = sender
        self._make_duties = duties
        self._duties: Duties | None = None
        self._sender: Sender | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def sent(self) -> Sent:
        """What it has done so far."""
        return Sent() if self._sender is None else self._sender.sent

    @property
    def trouble(self) -> LedgerUnavailable | None:
        """Why the ledger could not be written, as by a full disk; ``None`` once a claim succeeds again."""
        return None if self._sender is None else self._sender.trouble

    def stop(self) -> None:
        """Claim nothing more."""
        if self._sender is not None:
            self._sender.stop()

    async def wait(self) -> None:
        """Wait until it was stopped and what was on the wire is recorded."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        self._sender = await self._context.__aenter__()
        try:
            duties = self._make_duties(self._sender)
        except BaseException:
            await self._context.__aexit__(None, None, None)
            raise
        row = Duty("the worker's row", self._sender.show, SEEN_EVERY)
        self._duties = Duties([row, *duties])
        self._task = asyncio.create_task(self._sender.run(), name="smspilot outbox worker")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None  # noqa: S101 - it was entered
        assert self._sender is not None  # noqa: S101
        self.stop()
        try:
            await outlast(self._task)
        finally:
            if self._duties is not None:
                await self._duties.aclose()
            await self._sender.hide()
            await self._context.__aexit__(None, None, None)
