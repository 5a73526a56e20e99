"""A detector of blocking calls in an event loop, on in every test, for whatever runs on behalf of the library.

Blockbuster makes a call that may block raise; but the library takes any exception of a transport or a hook for that
one's failure, so the call is also noted, and its test fails. The tests' own code may block: no one waits for it.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import blockbuster.blockbuster
import pytest
from blockbuster import BlockBuster, BlockBusterFunction, BlockingError
from coverage import Coverage

import smspilot_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Functions that may block the loop, and why.
ALLOWED: Final = [
    # A key is read when a client is made, so that a wrong path is an error there and then; it is some 64 bytes.
    ("smspilot_async/_settings.py", {"_key_from_file"}),
    # Likewise the file of an audit log.
    ("smspilot_async/audit.py", {"_check"}),
    # The emulator's synchronous interface, for tests that have no loop, waits for its thread; a loop has `async with`.
    ("smspilot_async/emulator/server/_server.py", {"wait_until_ready", "stop", "drop_connections"}),
    # The command's loop serves no one else: results go to the system's cache, never to the disk.
    ("smspilot_async/cli/bulk/_results.py", {"flush"}),
    # Where logs go is the application's choice; pytest's own handlers write to files.
    ("logging/__init__.py", {"emit"}),
    # An import blocks once in a process.
    ("<frozen importlib._bootstrap>", {"_find_and_load"}),
]
# What this library would rather block by, and blockbuster does not know.
MORE: Final = ["os.open", "os.fsync", "os.fdatasync", "io.open", "builtins.open", "fcntl.flock", "socket.getaddrinfo"]
_LIBRARY: Final = str(Path(smspilot_async.__file__).parent)
_noted: Final[list[str]] = []


class NotedBlockingError(BlockingError):
    """Remembers that it was raised, and for which line of the library."""

    def __init__(self, func: str) -> None:
        super().__init__(func)
        ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(_LIBRARY)]
        _noted.append(f"{func}, called for {Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}")


def _coverage_lock() -> object:
    """The lock that coverage takes for a moment whenever a thread runs a file for the first time.

    Its tracers, written in C, have no frame that ``ALLOWED`` could name: the lock seems to be taken by the traced line.
    """
    coverage = Coverage.current()
    collector = getattr(coverage, "_collector", None)
    return getattr(collector, "data_lock", None)


def _may_take(lock: object, can_block: Callable[..., bool]) -> Callable[..., bool]:
    def predicate(*args: object, **options: object) -> bool:
        return args[0] is lock or can_block(*args, **options)

    return predicate


@pytest.fixture(scope="session", autouse=True)
def _detector() -> Iterator[None]:
    detector = BlockBuster(scanned_modules=smspilot_async)
    for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):
        function = detector.functions[name]
        function.can_block_predicate = _may_take(_coverage_lock(), function.can_block_predicate)
    for name in MORE:
        detector.functions[name] = BlockBusterFunction(None, name, scanned_modules=smspilot_async)
    for function in detector.functions.values():
        function.can_block_functions.extend(ALLOWED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockbuster.blockbuster, "BlockingError", NotedBlockingError)
        detector.activate()
        try:
            yield
        finally:
            detector.deactivate()


@pytest.fixture(autouse=True)
def blocking_calls(_detector: None) -> Iterator[list[str]]:
    """What blocked a loop in this test: it fails at its end if there is any left."""
    _noted.clear()
    yield _noted
    if _noted:
        pytest.fail("blocked the event loop: " + "; ".join(dict.fromkeys(_noted)))
