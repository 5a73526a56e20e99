"""A PostgreSQL of a benchmark's own, with fsync, in a folder that is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.side import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run one for the body; gives the URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="smspilot-bench-"))
    # The server's programs refuse to run as root, who lends them a user.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    try:
        bin_ = _programs()
        if user:
            shutil.chown(folder, **user)
        data, log = folder / "data", folder / "log"
        _run(user, bin_ / "initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", data)
        options = f"-k {folder} -c listen_addresses= -c max_connections=60"
        _run(user, bin_ / "pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _run(user, bin_ / "pg_ctl", "stop", "-w", "-m", "fast", "-D", data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Return the folder with the server's programs: Debian keeps it off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    if (found := shutil.which("pg_ctl")) is None:
        raise Missing("PostgreSQL's server is not installed")
    return Path(found).parent


def _run(user: dict[str, Any], *command: object) -> None:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([str(part) for part in command], check=True, cwd="/", **quiet, **user)  # noqa: S603 - its own programs
