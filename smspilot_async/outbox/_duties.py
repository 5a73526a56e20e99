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
        pause = duty.pause
        try:
            await duty.work()
        except SmsPilotError as error:
            logger.warning("%s: %s", duty.what, error)
            pause = max(pause, _AFTER_A_FAILURE)
        except Exception as error:  # noqa: BLE001 - a bug in a duty must not end what is sent
            logger.error("%s ended with %s; it is begun again", duty.what, type(error).__name__)  # noqa: TRY400
            pause = max(pause, _AFTER_A_FAILURE)
        await asyncio.sleep(pause)
