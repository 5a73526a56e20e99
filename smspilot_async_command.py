"""The script ``smspilot``.

It is a module beside the package, not in it: importing any part of the package loads all of it, which takes a moment,
and a Ctrl-C in that moment must end the command without a traceback, as it does later.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from smspilot_async.cli import main as command  # noqa: PLC0415 - see above

        command()
    except KeyboardInterrupt:
        sys.stderr.write("smspilot: interrupted.\n")
        raise SystemExit(130) from None
