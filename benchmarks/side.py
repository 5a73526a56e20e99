"""One side of a comparison, in a process of its own: its imports, memory and CPU time are its own.

``python -m benchmarks.side MODULE:FUNCTION OPTIONS`` calls a function with options (JSON) and prints the figures that
it returns (JSON). A package that is not installed is an answer too.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Options: TypeAlias = dict[str, Any]
Figures: TypeAlias = dict[str, float]


class Missing(Exception):
    """A side needs a package that is not installed; its text says which."""


def peer(module: str, package: str) -> Any:
    """Import a peer, or say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise Missing(f"{package} is not installed: pip install --group bench") from None


def expect(found: object, wanted: object) -> None:
    """Stop a side that did not do its work: its figures would be worth nothing."""
    if found != wanted:
        raise RuntimeError(f"{wanted} expected, not {found}")


@contextlib.contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """Take the CPU (all threads of this process) and the time of the body, in seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    figures["cpu"] = time.process_time() - cpu
    figures["seconds"] = time.perf_counter() - wall


def peak_memory() -> float:
    """MiB that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # where ru_maxrss begins with what the parent held
        peak_line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak_line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main(name: str, options: str) -> None:
    module, _, function = name.partition(":")
    side = getattr(importlib.import_module(module), function)
    try:
        figures = side(json.loads(options))
        if asyncio.iscoroutine(figures):
            figures = asyncio.run(figures)
    except Missing as missing:
        figures = {"missing": str(missing)}
    print(json.dumps(figures))


if __name__ == "__main__":
    # The module under its own name: the sides import it too, and raise its Missing.
    importlib.import_module("benchmarks.side").main(sys.argv[1], sys.argv[2])
