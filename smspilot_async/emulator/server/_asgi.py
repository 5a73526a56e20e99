"""What the raw ASGI applications here share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive


async def disconnected(receive: Receive) -> None:
    """Wait until the connection is over."""
    while (await receive())["type"] != "http.disconnect":
        pass
