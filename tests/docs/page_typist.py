"""Types a tutorial from its own text: every command into the terminal that the page names, every file as it stands.

Nothing is prepared for it: what the page forgets to say is missing. A block with the title of another terminal is typed
there; its last command stays in the foreground until the page types something there again. Where the environment is
given (:class:`Installed`), the page's own is not made: no package is fetched then.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from page_blocks import blocks
from page_ports import Ports
from page_session import INSTALL, check_install, commands_of, same
from terminal import PATIENCE, Terminal, environment_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from page_blocks import Block

FIRST: Final = "The first terminal"
_PORT: Final = re.compile(r"--port (\d+)")


class Installed:
    """An environment that is there already: the one of the tests."""

    def instead_of(self, command: str, folder: Path) -> bool:
        """Do in its place what a command does, if that makes an environment; return whether it does."""
        if command.endswith("-m venv .venv"):
            (folder / ".venv" / "bin").mkdir(parents=True)
            activate = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n"
            (folder / ".venv" / "bin" / "activate").write_text(activate, encoding="utf-8")
            return True
        if INSTALL.search(command):
            check_install(command)
            return True
        return False


class Typist:
    """Reads a page and types it.

    Args:
        page: The page.
        home: An empty folder, in which each terminal opens.
        installed: What stands in for the page's environment; ``None`` makes the page's own.
        variables: More of the environment.
        patience: Seconds that a command may take.
    """

    def __init__(
        self,
        page: Path,
        home: Path,
        *,
        installed: Installed | None,
        variables: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._page = page
        self._home = home
        self._installed = installed
        self._environment = environment_of(home) | dict(variables or {})
        self._patience = patience
        self._terminals: dict[str, Terminal] = {}
        self._ports = Ports(set(_PORT.findall(page.read_text(encoding="utf-8"))))
        self.typed: list[str] = []
        self.files: set[str] = set()

    def type_all(self) -> None:
        """Type the whole page, and close every terminal.

        Raises:
            AssertionError: What is printed is not what the page shows.
        """
        try:
            for block in blocks(self._page):
                self._do(block)
        finally:
            for terminal in self._terminals.values():
                terminal.close()

    def _do(self, block: Block) -> None:
        assert block.language != "hidden", f"{self._page.name}:{block.line}: no reader sees this"
        if block.language == "console":
            self._type(block)
        else:
            assert block.title, f"{self._page.name}:{block.line}: which file is this?"
            self.files.add(block.title)
            (self._terminal(FIRST).folder / block.title).write_text(self._ports.ours(block.code), encoding="utf-8")

    def _type(self, block: Block) -> None:
        name = block.title or FIRST
        terminal = self._terminal(name)
        commands = commands_of(block.code)
        for number, (command, expected) in enumerate(commands, 1):
            place = f"{self._page.name}:{block.line}: {command}"
            self.typed.append(command)
            if name != FIRST and number == len(commands):
                terminal.leave_running(self._ports.ours(command))
                self._look_at(terminal, command, expected, place)
            elif not (self._installed and self._installed.instead_of(command, terminal.folder)):
                same(expected, self._ports.shown(terminal.type(self._ports.ours(command))), place)

    def _look_at(self, terminal: Terminal, command: str, expected: str, place: str) -> None:
        port = _PORT.search(self._ports.ours(command))
        if port:
            terminal.wait_for_port(int(port[1]))
        if expected.strip() != "…":
            same(expected, self._ports.shown(terminal.printed(expected.count("\n"))), place)

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = Terminal(self._home, self._environment, patience=self._patience)
        return self._terminals[name]
