"""What a command needs beyond the extra ``cli``, said in one line where it is missing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from smspilot_async.cli._problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def need_emulator(command: str) -> Iterator[None]:
    """Say how to install what the emulator needs, if that is what is missing."""
    try:
        yield
    except ImportError as missing:
        if (missing.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
            raise
        raise Problem(f"{command} needs: pip install 'smspilot-async[cli,emulator]'") from None
