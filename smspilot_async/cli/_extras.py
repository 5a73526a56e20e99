"""What a command needs beyond the extra ``cli``, said in one line where it is missing."""

from __future__ import annotations

import importlib.util
from typing import Final

from smspilot_async.cli._errors import Problem

_SERVER: Final = ("starlette", "uvicorn")


def need_emulator(command: str) -> None:
    """Say how to install what the emulator is served with, if it is missing.

    Raises:
        Problem: It is.
    """
    if not all(map(importlib.util.find_spec, _SERVER)):
        raise Problem(f"{command} needs: pip install 'smspilot-async[cli,emulator]'")
