"""Public names say where users import them from, and not in which private module they are written.

So tracebacks, pickles and ``help()`` name the public path, which stays when files move.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from types import FunctionType


def name_after(module: str) -> None:
    """Let every class and function in a module's ``__all__`` say that it is of that module."""
    home = sys.modules[module]
    public = [getattr(home, name) for name in home.__all__]
    written_here = [one for one in public if isinstance(one, (type, FunctionType))]
    for one in written_here:
        if isinstance(one, type):
            _resolve_annotations(one)
    for one in written_here:
        one.__module__ = module


def _resolve_annotations(kind: type) -> None:
    """Turn annotations into types, while it says in which module their names are to be found."""
    if "__annotations__" in vars(kind):
        with contextlib.suppress(NameError):  # names that only type checkers import
            kind.__annotations__ = inspect.get_annotations(kind, eval_str=True)
