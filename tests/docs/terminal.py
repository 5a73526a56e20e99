"""Terminals in which a page's commands are typed: each a real shell, with what it left running in the foreground."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from page_session import bash

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE: Final = 60.0
_END: Final = "--- the end of a command ---"


class Terminal:
    """A shell that keeps its folder and its variables from one command to the next.

    Args:
        folder: Where it opens.
        environment: The variables it opens with.
        patience: Seconds that a command may take.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, patience: float = PATIENCE) -> None:
        self._home = folder
        self._patience = patience
        self._shell = subprocess.Popen(  # noqa: S603 - our own page
            [bash(), "--norc", "--noprofile"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._running: subprocess.Popen[bytes] | None = None
        self._log = folder / f"terminal-{self._shell.pid}.log"

    @property
    def folder(self) -> Path:
        """The current folder."""
        return Path(self.type("pwd").strip())

    def type(self, command: str) -> str:
        """Type a command, and return what it prints until it ends; what ran in the foreground gets a Ctrl-C first.

        Raises:
            AssertionError: The command failed, or took too long.
        """
        self.interrupt()
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n%s%s\\n' '{_END}' $?\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        line = ""
        watchdog = threading.Timer(self._patience, self._shell.kill)
        watchdog.start()
        for line in self._shell.stdout:
            if line.startswith(_END):
                break
            lines.append(line)
        watchdog.cancel()
        output = "".join(lines)
        assert self._shell.poll() is None, f"the shell ended at {command!r}: {output}"
        assert line.strip() == f"{_END}0", f"{command!r} failed: {output}"
        return output

    def leave_running(self, command: str) -> None:
        """Type a command that runs until Ctrl-C."""
        variables = self.type("env -0").rstrip("\n").rstrip("\0").split("\0")
        with self._log.open("wb") as log:
            self._running = subprocess.Popen(  # noqa: S603 - our own page
                [bash(), "-c", f"exec {command}"],
                cwd=self.folder,
                env=dict(variable.split("=", 1) for variable in variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def printed(self, number: int) -> str:
        """Return what runs in the foreground has printed, once it is so many lines."""
        until = time.monotonic() + self._patience
        while True:
            text = self._log.read_text(encoding="utf-8")
            if text.count("\n") >= number:
                return "".join(text.splitlines(keepends=True)[:number])
            self._still_runs(until)

    def wait_for_port(self, port: int) -> None:
        """Return once what runs in the foreground accepts connections."""
        until = time.monotonic() + self._patience
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            self._still_runs(until)

    def _still_runs(self, until: float) -> None:
        assert self._running is not None
        assert self._running.poll() is None, f"it ended: {self._log.read_text(encoding='utf-8')}"
        assert time.monotonic() < until, f"it waits for too long: {self._log.read_text(encoding='utf-8')}"
        time.sleep(0.02)

    def interrupt(self) -> None:
        """End with Ctrl-C what runs in the foreground, if anything does."""
        running, self._running = self._running, None
        if running is None:
            return
        running.send_signal(signal.SIGINT)
        try:
            running.wait(self._patience)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()

    def close(self) -> None:
        """Close the window."""
        self.interrupt()
        self._shell.kill()
        self._shell.communicate()


def environment_of(home: Path) -> dict[str, str]:
    """The variables of someone who has just logged in."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "100",
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
