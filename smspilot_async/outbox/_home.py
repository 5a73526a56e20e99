"""Where a ledger belongs, so that a copy or a restored backup of it sends nothing.

A restored ledger has forgotten what left since the backup: to send from it is to send twice. SQLite's home is the
machine, the path and the inode; PostgreSQL's is the cluster (system identifier), its timeline, the database and the
table (a dump that is loaded again makes a new one). Nothing here is a secret; what differs is named in the error.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.outbox._errors import LedgerMoved, NetworkFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smspilot_async.outbox._tokens import SentToken

__all__ = ["POSTGRESQL_HOME", "check_home", "host_name", "make_private", "refuse_network", "sqlite_home"]

POSTGRESQL_HOME: Final = """
    SELECT json_build_object(
        'cluster', (SELECT system_identifier::text FROM pg_control_system()),
        'timeline', CASE WHEN pg_is_in_recovery() THEN 'standby'
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
        'database', (SELECT oid::text FROM pg_database WHERE datname = current_database()),
        'table', 'smspilot.message'::regclass::oid::text
    )::text
"""

_NETWORK: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "smb3", "smbfs", "vboxsf", "virtiofs"}
)
_PRIVATE: Final = 0o600
_MACHINE_ID: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_ESCAPES: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def sqlite_home(path: Path) -> str:
    """Return where a SQLite ledger is: machine, path and inode, as JSON."""
    real = path.resolve()
    return json.dumps({"machine": _machine(), "path": str(real), "inode": str(real.stat().st_ino)})


def check_home(known: str, actual: str) -> None:
    """Compare where a ledger was made with where it is.

    Raises:
        LedgerMoved: It is elsewhere.
    """
    then, now = json.loads(known), json.loads(actual)
    if differing := sorted(name for name in {*then, *now} if then.get(name) != now.get(name)):
        raise LedgerMoved(
            f"the ledger is not where it was made: {_in_words(differing, then, now)}. It may be a copy or a restore, "
            "which has forgotten what left since. Nothing was sent. If it is the right one, say from when its contents "
            'are: smspilot outbox adopt --ledger URL --restored-to "YYYY-MM-DD HH:MM +03:00". If it was only moved, '
            "and has lost nothing: --restored-to now."
        )


def refuse_missing(missing: Sequence[SentToken]) -> None:
    """Refuse a ledger that does not know what was sent from this machine.

    Args:
        missing: The attempts that it does not know, the first one first.

    Raises:
        LedgerMoved: There are any.
    """
    if missing:
        at = datetime.fromtimestamp(missing[0].intent_at / 1_000_000, UTC).isoformat(timespec="seconds")
        raise LedgerMoved(
            f"the ledger does not know {len(missing)} of the last packets that were sent from this machine, the first "
            f"at {at}: it was restored from before that, or its server has lost them. Nothing was sent. Find out from "
            'when its contents are, then: smspilot outbox adopt --ledger URL --restored-to "YYYY-MM-DD HH:MM +03:00".'
        )


def _in_words(names: list[str], then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} was {then.get(name)}, is {now.get(name)}" for name in names)


def host_name() -> str:
    """Return this machine's name, for people."""
    return socket.gethostname()


def _machine() -> str:
    for name in _MACHINE_ID:
        try:
            if text := Path(name).read_text(encoding="ascii").strip():
                return text
        except (OSError, ValueError):
            continue
    return f"{uuid.getnode():012x}"


def make_private(path: Path) -> None:
    """Make a ledger's file, for its owner alone.

    Raises:
        FileExistsError: There is one.
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE))


def keep_private(path: Path) -> None:
    """Take away others' access to a ledger's file, which an administrator or a copy may have given."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(_PRIVATE)


def refuse_network(path: Path, mounts: str | None = None) -> None:
    """Refuse a folder whose locks and syncs cannot be trusted.

    Args:
        path: The ledger.
        mounts: The system's table of mounts; read where it is left out and the system has one.

    Raises:
        NetworkFileSystem: It is on one.
    """
    kind = _file_system(path.resolve().parent, _mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        raise NetworkFileSystem(
            f"{path.name} would stand on a network file system ({kind}), whose locks and syncs cannot be trusted. "
            "Nothing was sent. Put the ledger on a local disk, or use PostgreSQL."
        )


def _mounts() -> str:
    if sys.platform != "linux":
        return ""
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _file_system(folder: Path, mounts: str) -> str:
    """Return the type of the file system of the longest mount point above a folder; the last one mounted wins."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        point = fields[1]
        for written, meant in _ESCAPES.items():
            point = point.replace(written, meant)
        if (folder == Path(point) or Path(point) in folder.parents) and len(point) >= best:
            best, kind = len(point), fields[2]
    return kind
