"""The one place that brings in what only the extra ``emulator`` installs, and says so where it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smspilot_async.emulator._server import Served


def require_server() -> type[Served]:
    """The class that serves an emulator on a socket.

    Raises:
        ImportError: Starlette or uvicorn is not installed.
    """
    try:
        from smspilot_async.emulator._server import Served  # noqa: PLC0415 - an extra
    except ImportError as missing:
        raise ImportError(
            f"the emulator's server needs {missing.name}, which this brings: pip install 'smspilot-async[emulator]'",
            name=missing.name,
        ) from None
    return Served
