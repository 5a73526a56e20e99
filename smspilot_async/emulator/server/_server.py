"""The emulator on a socket: uvicorn in a thread with an event loop of its own.

Uvicorn's protocol is used unchanged, except that each request's scope carries its connection, because a gateway
that fails resets and closes connections. Its access log is off, since it would print keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from smspilot_async.emulator.server._app import create_app
from smspilot_async.emulator.server._connection import ClientConnection
from smspilot_async.emulator.server._http import API_PATH

if TYPE_CHECKING:
    from types import TracebackType

    from smspilot_async.emulator._core import EmulatorCore

Kind = TypeVar("Kind", bound="EmulatorCore")

_TICK = 0.02
_TURNS_TO_CONNECT = 3  # of the loop, from the one that accepts a socket to the one that knows it as a connection


class _Protocol(H11Protocol):
    """Uvicorn's protocol, which shows its connection to the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # here, because the configuration would silence it for the whole process
        self._emulator: EmulatorCore = self.app_state["emulator"]
        self.app_state: dict[str, Any] = {"connection": ClientConnection(self)}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._emulator.forget_connection(self.app_state["connection"])


class _Server(uvicorn.Server):
    """Uvicorn's server, started, stopped and ticked explicitly instead of by polling."""

    def __init__(self, emulator: EmulatorCore, keep_alive: float) -> None:
        config = uvicorn.Config(
            create_app(emulator),
            http=_Protocol,
            ws="none",
            lifespan="off",
            proxy_headers=False,  # an address that a request claims opens the guard against foreign pages
            log_config=None,
            date_header=False,
            server_header=False,
            timeout_keep_alive=cast("int", keep_alive),  # it only ever reaches call_later
        )
        super().__init__(config)
        self._emulator = emulator
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event = asyncio.Event()
        self._is_stopping = False

    def run_on(self, sock: socket.socket) -> None:
        try:
            asyncio.run(self.serve(sockets=[sock]))
        finally:
            self._ready.set()  # do not leave anyone waiting for a server that has failed

    def wait_until_ready(self) -> None:
        self._ready.wait()

    def stop(self) -> None:
        self._is_stopping = True
        self._wake()

    def drop_connections(self) -> None:
        done = threading.Event()

        def drop() -> None:
            for protocol in list(self.server_state.connections):
                protocol.transport.close()
            asyncio.get_running_loop().call_soon(done.set)  # after the sockets, whose turn was asked for before

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(drop)
            done.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.lifespan.state["emulator"] = self._emulator
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        leave_clock = self._emulator.clock.on_turn(self._wake)  # it may have begun to run
        while not self._is_stopping:
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _TICK if self._emulator.clock.speed else None)
            self._emulator.tick()
        leave_clock()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._accept_no_more(sockets or [])
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        while self.server_state.connections or self.server_state.tasks:
            for protocol in list(self.server_state.connections):
                protocol.transport.abort()
            self._emulator.release()
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0)), *self.server_state.tasks], timeout=_TICK)

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _accept_no_more(self, sockets: list[socket.socket]) -> None:
        """Let what was accepted become a connection: asyncio forgets a socket whose server is closed before that."""
        with contextlib.suppress(NotImplementedError):  # Windows accepts in another way
            for sock in sockets:
                asyncio.get_running_loop().remove_reader(sock)
        for _ in range(_TURNS_TO_CONNECT):
            await asyncio.sleep(0)


class Served(Generic[Kind]):
    """An emulator that listens while this is entered, with ``with`` or ``async with``."""

    def __init__(self, emulator: Kind, *, host: str, port: int, keep_alive: float = 5.0) -> None:
        self._emulator = emulator
        self._host = host
        self._port = port
        self._keep_alive = keep_alive
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Kind:
        """Listen.

        Raises:
            OSError: Nothing can listen there.
        """
        sock = _listen(self._host, self._port)
        server = self._server = _Server(self._emulator, self._keep_alive)
        self._emulator.listens_at(_url(self._host, sock.getsockname()[1]), server.drop_connections)
        self._thread = threading.Thread(target=server.run_on, args=(sock,), name="smspilot-emulator", daemon=True)
        self._thread.start()
        server.wait_until_ready()
        return self._emulator

    def stop(self) -> None:
        """Close everything and wait for the thread."""
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Kind:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Kind:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as failure:
        reason = str(failure.strerror).partition(" (while")[0]
        raise OSError(failure.errno, f"the emulator cannot listen at {host}:{port} ({reason})") from None
    # A socket handed to asyncio keeps Nagle's algorithm, which costs 40 ms a request on a kept-alive connection.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}{API_PATH}" if ":" in host else f"http://{host}:{port}{API_PATH}"
