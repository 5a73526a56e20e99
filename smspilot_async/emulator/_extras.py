"""The one place that imports what only the extra ``emulator`` installs, and says so if it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smspilot_async.emulator.server._server import Served


def require_server() -> type[Served[Any]]:
    """Return the class that serves an emulator on a socket.

    Raises:
        ModuleNotFoundError: Something that the extra installs is missing.
    """
    try:
        from smspilot_async.emulator.server._server import Served  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        raise ModuleNotFoundError(
            f"the emulator's server needs {package}, which this brings: pip install 'smspilot-async[emulator]'",
            name=missing.name,
        ) from None
    return Served
