"""A reader who types in everything that a page shows, in order, and compares the output.

Python runs as in ``python -m asyncio``, where ``await`` may stand at the top; commands run in a real shell, with a
gateway behind them; a block with a file's name above it is that file. Time is turned by hand, for the page's clients
and for the gateway alike, so that nothing waits.
"""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from inspect import iscoroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from manual_clock import ManualClock
from page_ports import Ports

from smspilot_async import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_blocks import Block

    from smspilot_async.emulator import Emulator

ROOT: Final = Path(__file__).parent.parent.parent
OWN_TERMINAL: Final = "a terminal of its own"
_PORTS: Final = ("8025", "8000", "8080")  # as the pages write them; other tests may be using them
_PATIENCE: Final = 30.0
INSTALL: Final = re.compile(r"pip install (?:--\S+ )*(?:'(?P<quoted>[^']+)'|(?P<bare>\S+))")


class PageClock(ManualClock):
    """The page's time, which the emulated gateway follows, and which stands still while a thread works."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self.threads = Threads()
        self._emulator = emulator

    async def _advance_to(self, when: float) -> None:
        self._emulator.clock.advance(seconds=max(0.0, when - self._monotonic))
        await self._emulator.settled()  # the gateway first, so that what it calls is there when a client asks
        await super()._advance_to(when)

    async def _idle(self) -> None:
        await super()._idle()
        while self.threads.are_busy:  # else a busy machine's thread would miss a deadline of the page's time
            async with asyncio.timeout(_PATIENCE):
                await self.threads.done()
            await super()._idle()


class Threads(ThreadPoolExecutor):
    """The threads of ``asyncio.to_thread``, which say when all that they were given is done."""

    def __init__(self) -> None:
        super().__init__()
        self._at_work = 0
        self._all_done = asyncio.Event()

    @property
    def are_busy(self) -> bool:
        """Whether something that they were given is not done."""
        return self._at_work > 0

    async def done(self) -> None:
        """Wait until all is done, and the loop knows."""
        await self._all_done.wait()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        loop = asyncio.get_running_loop()
        self._at_work += 1
        self._all_done.clear()
        future = super().submit(fn, *args, **kwargs)

        def count(_: Future[Any]) -> None:
            loop.call_soon_threadsafe(self._one_done)

        loop.call_soon(future.add_done_callback, count)  # after the loop's own, so that it hears of the result first
        return future

    def _one_done(self) -> None:
        self._at_work -= 1
        if not self._at_work:
            self._all_done.set()


class Session:
    """The reader's desk: a folder, an environment, a Python prompt, and what runs in other terminals.

    Args:
        page: Where the blocks stand, for messages.
        folder: The reader's folder, which is also the current one.
        emulator: The gateway.
        clock: The time of all clients that the page makes; it must be in use already.
        setenv: Sets a variable for the page's Python, too.
    """

    def __init__(
        self,
        page: Path,
        folder: Path,
        emulator: Emulator,
        clock: PageClock,
        *,
        setenv: Callable[[str, str], None],
    ) -> None:
        self.page = page
        self.files: set[str] = set()
        self.ran = ""
        self._folder = folder
        self._clock = clock
        self._setenv = setenv
        self._prompt = asyncio.Runner()
        self._prompt.get_loop().set_default_executor(clock.threads)
        self._output: str | None = None
        self._namespace: dict[str, Any] = {
            "__name__": "__main__",
            "emulator": emulator,
            "wait_until_answered": self._wait_until_answered,
        }
        self._servers: list[subprocess.Popen[str]] = []
        self._ports = Ports(_PORTS)
        self._environment = _environment(folder, emulator)

    def run(self, block: Block) -> None:
        """Run a block as a reader does.

        Raises:
            AssertionError: The output is not what the page says, or the block cannot be run.
        """
        match block.language:
            case "text":
                self._compare(block)
            case "console":
                self._type_in(block)
            case "hidden":
                self._evaluate(block)
            case "dockerfile":
                pass  # test_docker_page.py looks at it: there is no Docker here
            case "toml":
                tomllib.loads(block.code)
            case "yaml":
                yaml.safe_load(block.code)
            case "ini":
                configparser.ConfigParser(interpolation=None, strict=False).read_string(block.code)
            case "python" | "csv" | "sql" if block.title:
                self._save(block)
            case "python":
                self._output = self._evaluate(block)
            case _:
                raise AssertionError(f"{self._place(block)}: cannot run {block.language!r}")

    def close(self) -> None:
        """Leave: close the clients and end what runs in other terminals."""
        for value in list(self._namespace.values()):
            if isinstance(value, Client):
                self._prompt.run(value.aclose())
        self._prompt.close()
        for server in self._servers:
            server.terminate()
            server.communicate(timeout=_PATIENCE)

    # --- Python ----------------------------------------------------------------------------------

    def _evaluate(self, block: Block) -> str:
        code = "\n" * (block.line - 1) + self._ports.ours(block.code)  # a traceback names the page's line
        compiled = compile(code, str(self.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            work = eval(compiled, self._namespace)  # noqa: S307 - our own page
            if iscoroutine(work):
                self._prompt.run(self._clock.drive(work))
        return output.getvalue()

    def _compare(self, block: Block) -> None:
        assert block.follows, f"{self._place(block)}: this output belongs to no block"
        assert self._output is not None, f"{self._place(block)}: nothing was printed before this"
        same(block.code, self._output, self._place(block))
        self._output = None

    def _save(self, block: Block) -> None:
        self.files.add(block.title)
        file = self._folder / block.title
        file.parent.mkdir(exist_ok=True)
        file.write_text(self._ports.ours(block.code), encoding="utf-8")

    # --- the shell -------------------------------------------------------------------------------

    def _type_in(self, block: Block) -> None:
        for command, expected in commands_of(block.code):
            self.ran += command + "\n"
            if INSTALL.search(command):
                check_install(command)
            elif block.title.lower() == OWN_TERMINAL:
                self._start(command, expected, self._place(block))
            elif command.startswith("export "):
                name, _, value = shlex.split(self._ports.ours(command))[1].partition("=")
                self._environment[name] = value
                self._setenv(name, value)
            else:
                same(expected, self._shell(command), f"{self._place(block)}: {command}")

    def _shell(self, command: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own page
            [bash(), "-c", self._ports.ours(command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return self._ports.shown(done.stdout)

    def _start(self, command: str, expected: str, place: str) -> None:
        server = subprocess.Popen(  # noqa: S603 - our own page
            [bash(), "-c", "exec " + self._ports.ours(command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._servers.append(server)
        port = self._ports.named_in(command + expected)
        assert port, f"{place}: say at which port {command!r} listens"
        _wait_until_it_listens(port, server)
        if expected:
            assert server.stdout is not None
            lines = "".join(server.stdout.readline() for _ in expected.splitlines())
            same(expected, self._ports.shown(lines), place)

    def _wait_until_answered(self, url: str, text: str) -> None:
        """For hidden blocks: give a service a moment to do what it does after it has answered."""
        until = time.monotonic() + _PATIENCE
        while text not in (found := self._shell(f"curl -s {shlex.quote(self._ports.ours(url))}")):
            assert time.monotonic() < until, f"{url} still answers {found}"
            time.sleep(0.05)

    def _place(self, block: Block) -> str:
        return f"{self.page.name}:{block.line}"


# --- what a page says ----------------------------------------------------------------------------


def commands_of(code: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it is said to print."""
    commands: list[tuple[str, str]] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), ""))
        elif line.startswith("> "):  # the shell's own sign for a command that goes on
            command, _ = commands.pop()
            commands.append((command + "\n" + line.removeprefix("> "), ""))
        else:
            command, expected = commands.pop()
            commands.append((command, f"{expected}{line}\n"))
    return commands


def same(expected: str, found: str, place: str) -> None:
    """Compare line by line; ``…`` stands for anything in its line, and alone in a line for any number of lines.

    Where something stands for anything, columns may be wider or narrower than on the page.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + r"[ ]*\n"
        for line in expected.strip("\n").splitlines()
    )
    if "…" in expected:
        pattern = re.sub(r"(\\ ){2,}", "[ ]{2,}", pattern)
    shown = found.strip("\n") + "\n" if found.strip("\n") else ""
    assert re.fullmatch(pattern, shown), f"{place}: the page says\n{expected}\nbut the output is:\n{found}"


def check_install(command: str) -> None:
    """See that what is to be installed exists: nothing is fetched here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = INSTALL.search(command)
    assert found is not None
    name, _, extras = (found["quoted"] or found["bare"]).rstrip("]").partition("[")
    assert name == project["name"], f"{command}: who is {name}?"
    unknown = set(filter(None, extras.split(","))) - project["optional-dependencies"].keys()
    assert not unknown, f"{command}: there is no extra {unknown}"


# --- the desk ------------------------------------------------------------------------------------


def _environment(folder: Path, emulator: Emulator) -> dict[str, str]:
    """The shell's: ``smspilot`` and ``python`` are this tree's, and the gateway is the emulator."""
    tools = folder / ".tools"
    tools.mkdir()
    for name, command in {"smspilot": "-m smspilot_async.cli", "python": "", "pytest": "-m pytest"}.items():
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n', encoding="utf-8")
        tool.chmod(0o700)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SMSPILOT_", "PYTEST_"))}
    return environment | {
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "80",
        "PYTEST_ADDOPTS": "-p no:asyncio -p no:cacheprovider",  # what a reader need not have
        "TERM": "dumb",
        "SMSPILOT_URL": emulator.url,
        "SMSPILOT_API_KEY": emulator.api_key,
    }


def bash() -> str:
    bash = shutil.which("bash")
    assert bash, "the pages' commands need bash"
    assert shutil.which("curl"), "the pages' commands need curl (Debian: apt install curl)"
    return bash


def _wait_until_it_listens(port: str, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if server.poll() is not None:
            raise AssertionError(f"it ended: {server.communicate()[0]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {port} after {_PATIENCE:g} s")
