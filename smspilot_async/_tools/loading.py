"""Ctrl-C while ``python -m smspilot_async`` loads ends it with one line.

Python loads the whole package before it runs ``__main__``, so the package has to take that signal itself. It does so
only if it is what ``python -m`` was asked to run.
"""

from __future__ import annotations

import signal
import sys
from typing import Final, NoReturn

_PROGRAMS: Final = frozenset({"smspilot_async", "smspilot_async.cli"})


def _exit(*_: object) -> NoReturn:
    sys.stderr.write("smspilot: interrupted.\n")
    raise SystemExit(130)


def is_over() -> None:
    """Give Ctrl-C back its usual meaning."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# While -m looks for its module, and so loads the packages around it, "-m" is the name of the program.
if (
    sys.argv[:1] == ["-m"]
    and not _PROGRAMS.isdisjoint(sys.orig_argv)
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _exit)
