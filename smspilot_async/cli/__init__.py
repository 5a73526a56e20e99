"""The command ``smspilot``.

This door imports nothing of the extra ``cli``, so that a bare install can say what is missing.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; without the extra ``cli``, say how to install it."""
    try:
        from smspilot_async.cli import _app  # noqa: PLC0415 - it needs click and rich, which may be missing
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write("smspilot's command line needs: pip install 'smspilot-async[cli]'\n")
        raise SystemExit(2) from None
    _app.app(prog_name="smspilot")
