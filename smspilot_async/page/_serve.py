"""The page on a socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

    from starlette.types import ASGIApp

__all__ = ["UVICORN", "serve"]

UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    # No header changes who seems to ask: whether a proxy is believed is decided by the connection's own address.
    "proxy_headers": False,
    "server_header": False,
    "lifespan": "on",
    "ws": "none",
    "timeout_graceful_shutdown": 5,
}


async def serve(app: ASGIApp, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve the page on a listening socket until an event is set.

    Args:
        app: Of :func:`create_app`.
        sock: It is closed in the end.
        stop: Handling signals is the caller's.
    """
    server = _Server(uvicorn.Config(app, **UVICORN))
    serving = asyncio.create_task(server.serve(sockets=[sock]), name="smspilot page")
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
