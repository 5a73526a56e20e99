"""Sets the ``__module__`` of public names to the module that users import them from.

So tracebacks, pickles and ``help()`` show the public path, which does not change when files move.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from types import FunctionType


def name_after(module: str) -> None:
    """Set ``__module__`` of every class and function in a module's ``__all__`` to that module."""
    home = sys.modules[module]
    public = [getattr(home, name) for name in home.__all__]
    written_here = [one for one in public if isinstance(one, (type, FunctionType))]
    for one in written_here:
        if isinstance(one, type):
            _resolve_annotations(one)
    for one in written_here:
        one.__module__ = module


def _resolve_annotations(kind: type) -> None:
    """Resolve annotations to types, while ``__module__`` still says where their names are defined."""
    if "__annotations__" in vars(kind):
        with contextlib.suppress(NameError):  # names that only type checkers import
            kind.__annotations__ = inspect.get_annotations(kind, eval_str=True)
