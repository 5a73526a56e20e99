"""The example services as real processes on a loopback port, started as their own pages say, and driven over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp
import attrs
from steps import PATIENCE, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from smspilot_async.emulator import Emulator

Framework = Literal["fastapi", "aiohttp"]
CODE: Final = "zq"
"""How every code begins, so that it can be looked for."""

_ROOT: Final = Path(__file__).parent.parent.parent
_CONNECTIONS: Final = 32
_GRACE: Final = 25.0
_READY: Final = {"fastapi": "Application startup complete", "aiohttp": "Running on"}
_FINAL: Final = (-1, 2)
_secrets = re.compile(rf"\b79\d{{9}}\b|{CODE}\d|cb[01]-[A-Za-z0-9_-]{{8}}")


@attrs.define
class Service:
    """A running service, of one worker or several.

    Attributes:
        url: Where it listens.
        log: What its processes wrote.
    """

    url: str
    _http: aiohttp.ClientSession
    _processes: list[asyncio.subprocess.Process]
    _readers: list[asyncio.Task[None]]
    log: list[str] = attrs.Factory(list)

    async def order(self, number: int) -> tuple[int, dict[str, Any]]:
        """Order a code for the phone of that number."""
        order = {"phone": phone(number), "code": f"{CODE}{number}"}
        async with self._http.post(f"{self.url}/codes", json=order) as answer:
            return answer.status, await answer.json()

    async def orders(self, count: int) -> list[int]:
        """Send so many codes, each of which must be accepted; return their ids."""
        async with step("orders") as moved:

            async def order(number: int) -> tuple[int, dict[str, Any]]:
                answer = await self.order(number)
                moved()
                return answer

            answers = await asyncio.gather(*map(order, range(count)))
        assert {(status, answer["state"]) for status, answer in answers} == {(201, "accepted")}
        return [answer["id"] for _, answer in answers]

    async def show(self, path: str) -> dict[str, Any]:
        """Return the JSON at a path."""
        async with self._http.get(f"{self.url}{path}") as answer:
            shown: dict[str, Any] = await answer.json()
            return shown

    async def final_statuses(self, ids: Iterable[int]) -> dict[int, int]:
        """Look at codes until each one's status is final."""
        statuses: dict[int, int] = {}
        rest = iter(ids)
        async with step("final statuses") as moved:
            # As many at a time as there are connections: a thousand that ask would leave no time for being called.
            await asyncio.gather(*(self._look(rest, statuses, moved) for _ in range(_CONNECTIONS)))
        return statuses

    async def _look(self, ids: Iterator[int], statuses: dict[int, int], moved: Callable[[], None]) -> None:
        for id_ in ids:
            while (shown := await self.show(f"/codes/{id_}"))["status"] not in _FINAL:  # noqa: ASYNC110 - its, not ours
                await asyncio.sleep(0.1)
            statuses[id_] = shown["status"]
            moved()

    async def busy_workers(self, number: int) -> list[dict[str, Any]]:
        """Wait until so many workers have sent something; return their health."""
        healths: dict[str, dict[str, Any]] = {}
        async with step("workers that have sent") as moved:
            while len(healths) < number:
                health = await self.show("/health")
                if (last_success := health["last_success"]) and last_success not in healths:
                    healths[last_success] = health
                    moved()
        return list(healths.values())

    async def until(self, path: str, key: str, *values: object) -> None:
        """Wait until the JSON at a path has one of these values."""
        async with step(f"{key} of {path}"):
            while (await self.show(path))[key] not in values:  # noqa: ASYNC110 - the service's
                await asyncio.sleep(0.01)

    async def all_states(self) -> dict[int, str]:
        """Look at every code there is."""
        states: dict[int, str] = {}
        while "state" in (shown := await self._shown_or_not(len(states) + 1)):
            states[shown["id"]] = shown["state"]
        return states

    async def _shown_or_not(self, id_: int) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/codes/{id_}") as answer:
            shown: dict[str, Any] = await answer.json() if answer.ok else {}
            return shown

    def terminate(self) -> None:
        """Ask it to stop, as a supervisor does."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as when the machine has no memory left."""
        for process in self._processes:
            process.kill()

    async def ended(self) -> None:
        """Wait until it has stopped, for as long as a supervisor would."""
        async with asyncio.timeout(_GRACE):
            await asyncio.gather(*(process.wait() for process in self._processes), *self._readers)

    async def close(self) -> None:
        """Stop it; nothing private may stand in what it wrote."""
        self.terminate()
        try:
            await self.ended()
        finally:
            for process in self._processes:
                if process.returncode is None:
                    process.kill()
        found = _secrets.search("".join(self.log))
        assert not found, f"logged: {found}"
        assert "Traceback" not in "".join(self.log), "".join(self.log)


def phone(number: int) -> str:
    """Return a made-up phone."""
    return f"7908{number:07d}"


@contextlib.asynccontextmanager
async def serving(
    framework: Framework, emulator: Emulator, folder: Path, *, workers: int, **settings: str
) -> AsyncIterator[Service]:
    """Start an example service in a folder, and stop it in the end if it still runs."""
    # Bound and not listening: no other process is given this port, and the service can still take it.
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "PYTHONUNBUFFERED": "1",
            "SMSPILOT_URL": emulator.url,
            "SMSPILOT_API_KEY": emulator.api_key,
            "SERVICE_URL": f"http://127.0.0.1:{port}",
            "CALLBACK_SECRET": "a secret for the tests alone",
            "PORT": str(port),
            **settings,
        }
        processes = [await _start(command, folder, environment) for command in _commands(framework, port, workers)]
        # A connection for each request, so that every worker gets its share of them.
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, force_close=True)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=limits) as http:
            service = Service(f"http://127.0.0.1:{port}", http, processes, [])
            try:
                await _until_ready(service, _READY[framework], workers)
                yield service
            finally:
                await service.close()


def _commands(framework: Framework, port: int, workers: int) -> list[list[str]]:
    if framework == "aiohttp":
        return [[sys.executable, "-m", "examples.aiohttp_service"]] * workers
    app = ["uvicorn", "examples.fastapi_service:app", f"--port={port}", "--timeout-graceful-shutdown=10"]
    if workers > 1:
        app += [f"--workers={workers}", "--loop=uvloop"]
    return [[sys.executable, "-m", *app]]


async def _start(command: list[str], folder: Path, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _until_ready(service: Service, word: str, workers: int) -> None:
    """Wait until each worker has said that it is ready, and go on reading what they write."""
    ready = asyncio.Semaphore(0)
    service._readers = [asyncio.create_task(_read(process, service.log, word, ready)) for process in service._processes]
    async with step("workers that are ready") as moved:
        for _ in range(workers):
            await ready.acquire()
            moved()
        while not await _listens(service):  # noqa: ASYNC110 - uvicorn says so a moment before it does
            await asyncio.sleep(0.01)


async def _listens(service: Service) -> bool:
    try:
        await service.show("/health")
    except aiohttp.ClientConnectorError:
        return False
    return True


async def _read(process: asyncio.subprocess.Process, log: list[str], word: str, ready: asyncio.Semaphore) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        log.append(line.decode())
        if word in log[-1]:
            ready.release()
