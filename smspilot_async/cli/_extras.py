"""Check for what a command needs beyond the extra ``cli``."""

from __future__ import annotations

import importlib.util
from typing import Final

from smspilot_async.cli._errors import Problem

_SERVER: Final = ("starlette", "uvicorn")


def need_emulator(command: str) -> None:
    """Require the packages that serve the emulator.

    Raises:
        Problem: One is missing; the line says how to install them.
    """
    if not all(map(importlib.util.find_spec, _SERVER)):
        raise Problem(f"{command} needs: pip install 'smspilot-async[cli,emulator]'")
