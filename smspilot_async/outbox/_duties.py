"""What a worker does beside sending: it follows statuses, applies policies for the unknown, listens for STOP.

Each duty is done again and again in a task of its own. One that fails is logged and repeated; none of them holds up
what is sent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from smspilot_async.errors import SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Work: TypeAlias = Callable[[], Awaitable[object]]

__all__ = ["Duties", "Duty"]

logger: Final = logging.getLogger("smspilot_async.outbox")

_AFTER_A_FAILURE: Final = 5.0


@attrs.frozen
class Duty:
    """Something that is done for as long as a worker works.

    Attributes:
        what: For the log.
        work: Does it once, or for as long as it can.
        pause: Seconds from its end until it is done again.
        is_shared: One worker of the ledger is enough: where there is an engine, it is a periodic job.
    """

    what: str
    work: Work
    pause: float
    is_shared: bool = False

    async def attempt(self) -> bool:
        """Do it; return whether it succeeded. A failure, even a bug, is logged: it must not end what is sent."""
        try:
            await self.work()
        except SmsPilotError as error:
            logger.warning("%s: %s", self.what, error)
        except Exception as error:  # noqa: BLE001 - its text may quote what is private
            logger.error("%s ended with %s; it is begun again", self.what, type(error).__name__)  # noqa: TRY400
        else:
            return True
        return False


class Duties:
    """The tasks of some duties."""

    def __init__(self, duties: Sequence[Duty]) -> None:
        self._tasks = [asyncio.create_task(_do(duty), name=f"smspilot outbox {duty.what}") for duty in duties]

    async def aclose(self) -> None:
        """End them."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _do(duty: Duty) -> None:
    while True:
        has_succeeded = await duty.attempt()
        await asyncio.sleep(duty.pause if has_succeeded else max(duty.pause, _AFTER_A_FAILURE))
