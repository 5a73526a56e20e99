"""What senders of this machine have sent last, kept beside the ledger and not in it.

A ledger that was restored from a backup has forgotten what left since. Its file may stand in the same place, and a
cluster may have the same identifier: then only these tokens show it. A token is written once the intent of its attempt
is committed, and before the first byte leaves. Each sender has a file of its own, of a fixed size, that is mapped into
its memory: writing a token takes no system call and no disk, and survives the sender's death. After a power cut the
tokens before the last ones are there.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import mmap
import os
import sys
import zlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async._tools.files import write_all
from smspilot_async.outbox._errors import LedgerUnavailable, OutboxError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SentToken", "SentTokens", "state_folder"]

_SUFFIX: Final = ".sent"
_SLOTS: Final = 64
_SLOT: Final = 128
_PRIVATE: Final = 0o600
_FIELDS: Final = 4


@attrs.frozen(order=True)
class SentToken:
    """An attempt of this machine.

    Attributes:
        attempt_id: Its number.
        intent_at: When its intent was written.
        token: Its token.
    """

    attempt_id: int
    intent_at: int
    token: str


_NOTHING: Final = SentToken(0, 0, "")


def state_folder() -> Path:
    """Return where what belongs to a ledger on PostgreSQL is kept: ``SMSPILOT_STATE``, or the user's own for state.

    Raises:
        OutboxError: The user has no home, and no variable names a folder.
    """
    if named := os.environ.get("SMSPILOT_STATE"):
        return Path(named)
    if home := os.environ.get("XDG_STATE_HOME"):
        return Path(home, "smspilot")
    try:
        return Path("~/.local/state/smspilot").expanduser()
    except RuntimeError:
        problem = OutboxError(
            "this user has no home folder, where senders remember what they sent. Nothing was sent. Name a folder: "
            "SMSPILOT_STATE."
        )
    raise problem


class SentTokens:
    """The tokens of one ledger on this machine. Everything but :meth:`add` and :meth:`own` blocks.

    Args:
        folder: Of its files; made by :meth:`open`.
        name: How they begin.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._descriptor: int | None = None
        self._map: mmap.mmap | None = None
        self._slots: Iterator[int] = itertools.cycle(range(_SLOTS))
        self._own: deque[SentToken] = deque(maxlen=_SLOTS)

    @classmethod
    def beside(cls, ledger: Path) -> SentTokens:
        """Return those of a SQLite ledger."""
        ledger = ledger.resolve()
        return cls(ledger.parent, ledger.name)

    @classmethod
    def of_user(cls, uid: str, home: str) -> SentTokens:
        """Return those of a ledger on PostgreSQL.

        Args:
            uid: The ledger's, which a copy in another database shares.
            home: Where it is now; another timeline is the same place.
        """
        place = {name: value for name, value in json.loads(home).items() if name != "timeline"}
        digest = hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:12]
        return cls(state_folder(), f"{uid}.{digest}")

    def last(self) -> list[SentToken]:
        """Return the last ones of each sender, in order; none if nothing was ever sent from here.

        Raises:
            OSError: A file cannot be read.
        """
        if not self._folder.is_dir():
            return []
        return sorted(
            token for path in self._folder.glob(f"{glob.escape(self._name)}.*{_SUFFIX}") for token in _read(path)
        )

    def open(self) -> None:
        """Take a file that no other sender has, for :meth:`add`.

        Raises:
            OSError: It cannot be opened, or written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in itertools.count(1):
            path = self._folder / f"{self._name}.{number}{_SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            try:
                if not _lock(descriptor):
                    os.close(descriptor)
                    continue
                size = os.fstat(descriptor).st_size
                if size < _SLOTS * _SLOT:  # written, for its room on the disk to be its own
                    os.lseek(descriptor, size, os.SEEK_SET)
                    write_all(descriptor, bytes(_SLOTS * _SLOT - size))
                self._map = mmap.mmap(descriptor, _SLOTS * _SLOT)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            self._slots = itertools.cycle(_oldest_first(self._map))
            return

    @contextlib.contextmanager
    def telling_what_is_wrong(self) -> Iterator[None]:
        """Turn what the system says into one error, with what to do."""
        problem: LedgerUnavailable
        try:
            yield
        except OSError as error:
            problem = LedgerUnavailable(
                f"the folder {self._folder}, where senders of this machine remember what they sent last, cannot be "
                f"used: {error.strerror or type(error).__name__}. Nothing was sent. For a ledger on PostgreSQL "
                "SMSPILOT_STATE names another one; it must outlive a restart."
            )
        else:
            return
        raise problem

    def add(self, token: SentToken) -> None:
        """Write one down."""
        assert self._map is not None  # noqa: S101 - it was opened
        start = next(self._slots) * _SLOT
        self._map[start : start + _SLOT] = _slot_of(token)
        self._own.append(token)

    def own(self) -> list[SentToken]:
        """Return the last ones that this sender wrote down, in order."""
        return list(self._own)

    def close(self) -> None:
        """Let another sender have its file."""
        map_, self._map = self._map, None
        descriptor, self._descriptor = self._descriptor, None
        if map_ is not None:
            map_.close()
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
            os.close(descriptor)


def _slot_of(token: SentToken) -> bytes:
    written = f"{token.attempt_id} {token.intent_at} {token.token}"
    return f"{zlib.crc32(written.encode()):08x} {written}".encode().ljust(_SLOT, b"\0")


def _token_in(slot: bytes) -> SentToken | None:
    """Read a slot; ``None`` of one that is empty, or was being written when its sender died."""
    written = slot.rstrip(b"\0")
    fields = written.split(b" ")
    if len(fields) != _FIELDS or fields[0] != b"%08x" % zlib.crc32(written[len(fields[0]) + 1 :]):
        return None
    return SentToken(int(fields[1]), int(fields[2]), fields[3].decode())


def _read(path: Path) -> list[SentToken]:
    content = path.read_bytes()
    found = (_token_in(content[start : start + _SLOT]) for start in range(0, len(content), _SLOT))
    return [token for token in found if token is not None]


def _oldest_first(content: mmap.mmap) -> list[int]:
    """Return the slots in the order in which they are written next."""
    tokens = [_token_in(content[slot * _SLOT : (slot + 1) * _SLOT]) for slot in range(_SLOTS)]
    return sorted(range(_SLOTS), key=lambda slot: tokens[slot] or _NOTHING)


def _lock(descriptor: int) -> bool:
    """Lock it for this sender; ``False`` where another one has it."""
    if sys.platform == "win32":  # pragma: no cover - tests run elsewhere; a SQLite ledger has one sender anyway
        return True
    lock: Callable[[int, int], None] = fcntl.flock
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
