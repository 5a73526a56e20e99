"""Opt-outs by SMS: who answers STOP to one of the account's numbers gets no marketing any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import unicodedata
from typing import TYPE_CHECKING, Final

from smspilot_async import CursorInUse
from smspilot_async.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from smspilot_async import Client

__all__ = ["is_stop", "listen_for_stop"]

logger: Final = logging.getLogger("smspilot_async.outbox")

SOURCE: Final = "inbound STOP"
_LOOK_ALIKES: Final = str.maketrans({"с": "c", "ѕ": "s", "т": "t", "о": "o", "0": "o", "р": "p"})
_STOP: Final = frozenset({"ctoп", "stop"})


def is_stop(text: str | None) -> bool:
    """Return whether a text says STOP or СТОП, and nothing else.

    Case, spaces and punctuation do not count, and Latin and Cyrillic letters that look alike are the same.
    """
    folded = unicodedata.normalize("NFKC", text or "").casefold().translate(_LOOK_ALIKES)
    return "".join(letter for letter in folded if letter.isalnum()) in _STOP


async def listen_for_stop(
    client: Client, cursor: Path, suppress: Callable[[str], Awaitable[bool]], *, poll_interval: float = 30.0
) -> None:
    """Suppress who sends STOP, until it is cancelled, the gateway cannot be asked, or another worker does it here.

    What was received meanwhile is read first: the cursor remembers where this stopped.

    Args:
        client: Receives.
        cursor: The file that remembers.
        suppress: Writes a phone on the list; returns whether it was not on it.
        poll_interval: Seconds from one look to the next.

    Raises:
        SmsPilotError: The gateway refuses to be asked.
    """
    await asyncio.to_thread(cursor.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(CursorInUse):  # another worker of this machine listens; should it end, this one goes on
        await _listen(client, cursor, suppress, poll_interval)


async def _listen(
    client: Client, cursor: Path, suppress: Callable[[str], Awaitable[bool]], poll_interval: float
) -> None:
    async with client.listen(cursor=cursor, poll_interval=poll_interval) as inbound:
        async for sms in inbound:
            if not is_stop(sms.text) or sms.phone is None:
                continue
            try:
                is_new = await suppress(sms.phone)
            except InvalidMessage:
                logger.warning("opt-outs: a STOP came from what is no phone; it was left out")
                continue
            if is_new:
                logger.info("opt-outs: a phone was suppressed by its STOP")
