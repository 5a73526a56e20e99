"""Watching a campaign from anywhere, and sending it here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import attrs

from smspilot_async.outbox._campaign_info import look
from smspilot_async.outbox._campaign_rows import not_running
from smspilot_async.outbox._errors import LedgerUnavailable
from smspilot_async.outbox._states import CampaignState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from smspilot_async.outbox._campaign_info import Progress
    from smspilot_async.outbox._campaign_rows import Access, BackgroundSender

__all__ = ["Run", "watch"]

_SHARE: Final = 10
"""Counting millions takes its time: a look waits so many times longer than the last one took."""


async def watch(
    access: Access, campaign_id: int, interval: float, *, is_patient: bool = False
) -> AsyncIterator[Progress]:
    """Look at a campaign, and again whenever it has moved, until it is over.

    Args:
        access: To the ledger.
        campaign_id: Whose.
        interval: Seconds between two looks, at least.
        is_patient: A database that is away is waited for: what sends comes back by itself, too.
    """
    clock = asyncio.get_running_loop().time
    last: Progress | None = None
    while True:
        began = clock()
        try:
            progress = await look(access, campaign_id)
        except LedgerUnavailable:
            if not is_patient:
                raise
            await asyncio.sleep(interval)
            continue
        if last is None or _differs(last, progress):
            last = _with_pace(last, progress)
            yield last
            if last.is_over:
                return
        await asyncio.sleep(max(interval, _SHARE * (clock() - began)))


def _differs(last: Progress, progress: Progress) -> bool:
    return (last.state, last.reason, last.messages) != (progress.state, progress.reason, progress.messages)


def _with_pace(last: Progress | None, progress: Progress) -> Progress:
    seconds = 0.0 if last is None else (progress.at - last.at).total_seconds()
    if last is None or seconds <= 0:
        return progress
    return attrs.evolve(progress, per_second=max(0, progress.done - last.done) / seconds)


class Run:
    """Sends a campaign here, and shows how far it is: :meth:`Campaign.running`."""

    def __init__(self, access: Access, campaign_id: int, worker: BackgroundSender, interval: float = 1.0) -> None:
        self._access = access
        self._id = campaign_id
        self._worker = worker
        self._interval = interval

    def stop(self) -> None:
        """Claim nothing more; leaving the block then waits for what is in flight."""
        self._worker.stop()

    async def __aenter__(self) -> Self:
        progress = await look(self._access, self._id)
        if progress.state != CampaignState.RUNNING:
            raise not_running(progress.name, progress.state, progress.reason)
        await self._worker.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._worker.__aexit__(exc_type, exc, traceback)

    async def __aiter__(self) -> AsyncIterator[Progress]:
        ended = asyncio.ensure_future(self._worker.wait())
        looks = watch(self._access, self._id, self._interval, is_patient=True)
        try:
            while True:
                look_ = asyncio.ensure_future(anext(looks, None))
                await asyncio.wait({ended, look_}, return_when=asyncio.FIRST_COMPLETED)
                if not look_.done():  # the worker was stopped, or failed: leaving the block raises its error
                    look_.cancel()
                    await asyncio.wait({look_})
                    return
                progress = look_.result()
                if progress is None:
                    return
                yield progress
                if progress.is_over or progress.state == CampaignState.PAUSED:
                    return
        finally:
            ended.cancel()
