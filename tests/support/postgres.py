# ruff: noqa: S603 - the programs that run here are PostgreSQL's own
"""A PostgreSQL of the tests' own, on a socket in a folder of its own; ``pg_ctl`` refuses root, who lends it a user."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence


def programs() -> Path | None:
    """The folder with initdb and pg_ctl: Debian keeps it off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("pg_ctl")
    return folders[-1] if folders else Path(found).parent if found else None


class Postgres:
    """A cluster, stopped and removed by :meth:`stop`.

    Args:
        fsync: Whether what is committed survives a crash of the server: for the tests that crash it.
        address: Where it listens beside its socket, for hosts of their own (:mod:`hosts`).
        on: What runs its server on such a host.
        archive: Keep its write-ahead log in a folder, to restore it to any moment: :meth:`back_up`, :meth:`restore`.
    """

    def __init__(
        self, *, fsync: bool = False, address: str = "", on: Sequence[str] = (), archive: bool = False
    ) -> None:
        bin_ = programs()
        assert bin_ is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._bin = bin_
        self._user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="smspilot-pg-"))
        if self._user:
            shutil.chown(self.folder, "postgres", "postgres")
        self.data = self.folder / "data"
        self._count = 0
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", self.data)
        durable = [] if fsync else ["-c fsync=off", "-c full_page_writes=off"]
        options = [f"-k {self.folder}", f"-c listen_addresses={address}", "-c max_connections=100", *durable]
        self._log = self.folder / "archive"
        self._backup = self.folder / "backup"
        if archive:
            self._log.mkdir()
            if self._user:
                shutil.chown(self._log, "postgres", "postgres")
            options += ["-c archive_mode=on", f"-c archive_command='cp %p {self._log}/%f'"]
        self._options = " ".join(options)
        self._on = [*on, "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if on else []
        if address:
            with (self.data / "pg_hba.conf").open("a", encoding="ascii") as hba:
                hba.write("host all all samenet trust\n")
        self.start()

    def start(self) -> None:
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", log, "-o", self._options, on=self._on)

    def restart(self, *, mode: str = "immediate") -> None:
        """Stop it as a crash would, and start it again."""
        self.shut(mode=mode)
        self.start()

    def shut(self, *, mode: str = "immediate") -> None:
        """Stop it, and leave everything as it is."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data)

    def back_up(self) -> None:
        """Copy the cluster, while it runs."""
        self._run("pg_basebackup", "-h", self.folder, "-U", "postgres", "-D", self._backup, "-c", "fast", "-X", "none")

    def restore(self, moment: str) -> None:
        """Put the backup in the cluster's place, and go on from there to a moment of its log."""
        self.execute("SELECT pg_switch_wal()")
        self.shut(mode="fast")  # which archives what is complete
        shutil.rmtree(self.data)
        self._backup.rename(self.data)
        settings = (
            f"restore_command = 'cp {self._log}/%f %p'\nrecovery_target_time = '{moment}'\n"
            "recovery_target_action = 'promote'\n"
        )
        with (self.data / "postgresql.auto.conf").open("a", encoding="ascii") as file:
            file.write(settings)
        (self.data / "recovery.signal").touch()
        self.start()
        self.wait_until_recovered()

    def wait_until_recovered(self) -> None:
        """Wait until it takes what is written: while it recovers, it can only be read."""
        while self.execute("SELECT pg_is_in_recovery()") != [(False,)]:
            time.sleep(0.05)

    def stop(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):  # a test has stopped it
            self.shut()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object, on: Sequence[str] = ()) -> None:
        user = {} if on else self._user
        subprocess.run(
            [*on, self._bin / program, *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **user,
        )

    def database(self) -> str:
        """Make an empty database, and return its URL."""
        self._count += 1
        name = f"t{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, however many still use it; hundreds of them would take a minute at the end."""
        with contextlib.suppress(psycopg.Error):  # the test has stopped the server
            self.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Execute a statement by itself, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []
