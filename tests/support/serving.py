"""Real servers for the adapters, in the test's own loop, on loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def free_socket() -> tuple[socket.socket, str]:
    """A listening socket, and the URL it is reached at."""
    sock = socket.create_server(("127.0.0.1", 0))
    # A socket handed to asyncio keeps Nagle's algorithm, which costs 40 ms a request on a kept-alive connection.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}"


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up, self.is_over = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        await self.is_over.wait()


@contextlib.asynccontextmanager
async def on_uvicorn(app: Any, sock: socket.socket, **settings: Any) -> AsyncIterator[None]:
    """Serve an ASGI application, by uvicorn's usual settings or by others."""
    server = _Uvicorn(uvicorn.Config(app, **{"log_config": None, "lifespan": "on", **settings}))
    task = asyncio.create_task(server._serve(sockets=[sock]))
    await server.is_up.wait()
    try:
        yield
    finally:
        server.is_over.set()
        await task
        sock.close()


@contextlib.asynccontextmanager
async def on_aiohttp(app: web.Application, sock: socket.socket) -> AsyncIterator[None]:
    """Serve an aiohttp application."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    yield
    await runner.cleanup()
