"""The command ``smspilot``.

This module imports nothing from the extra ``cli``, so that an install without it can say what is missing.
"""

from __future__ import annotations

import json
import sys

from smspilot_async.cli import _language
from smspilot_async.errors import Outcome

__all__ = ["main"]


def main() -> None:
    """Run the command line; without the extra ``cli``, say how to install it."""
    try:
        from smspilot_async.cli import _app  # noqa: PLC0415 - it needs click and rich, which may be missing
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        _say_what_is_missing(sys.argv[1:])
        raise SystemExit(2) from None
    _app.app(prog_name="smspilot")


def _say_what_is_missing(arguments: list[str]) -> None:
    # Name every extra that the command needs, so that its next start does not ask for another one.
    extras = "cli,emulator" if arguments[:1] in (["emulator"], ["demo"]) else "cli"
    line = f"smspilot's command line needs: pip install 'smspilot-async[{extras}]'"
    if "--json" in arguments:
        error = {"type": None, "outcome": Outcome.NOT_SENT.value, "code": None, "reason": None, "message": line}
        sys.stdout.write(json.dumps({"error": error}) + "\n")
    _language.begin()
    sys.stderr.write(f"{_language.said(line)}\n")
