"""The page on a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    import socket

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


async def serve(app: ASGIApp, sock: socket.socket) -> None:
    """Serve the page on a listening socket until SIGINT or SIGTERM."""
    await uvicorn.Server(uvicorn.Config(app, **UVICORN)).serve(sockets=[sock])
