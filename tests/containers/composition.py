# ruff: noqa: S603 - the programs that run here are ours
"""What ``compose.yaml`` describes, started without containers: its own commands, variables, secrets and healthchecks.

Its services are processes on this machine, at ports of their own instead of 8025 and 8026; its database is a PostgreSQL
of the test's own, with the password of the file's secrets. Nothing of the test's environment reaches them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from containerfile import Builder, Image
    from postgres import Postgres

DATABASE: Final = "database"
_PATIENCE: Final = 120.0
_PORTS: Final = ("8025", "8026")
_GRACE: Final = re.compile(r"(\d+)s")


class Composition:
    """The services of a file.

    Args:
        file: ``compose.yaml``, with its secrets beside it.
        builder: Of the images that it names.
        database: Already running; its role and database are made here, as the official image does.
        out: For volumes, secrets and logs.
    """

    def __init__(self, file: Path, builder: Builder, database: Postgres, out: Path) -> None:
        described: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        self.services: dict[str, Any] = described["services"]
        self.file = file
        self._secrets = {name: file.parent / place["file"] for name, place in described["secrets"].items()}
        self._volumes = described["volumes"].keys()
        self._builder = builder
        self._database = database
        self.out = out
        self._ports = {port: str(_free_port()) for port in _PORTS}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: set[str] = set()
        self._rules = ""
        for volume in described["volumes"]:
            (out / volume).mkdir(parents=True)

    # --- up and down -----------------------------------------------------------------------------

    def up(self) -> None:
        """Start every service, each once those that it depends on are as far as they have to be."""
        for name in self.services:
            self._begin(name)

    def run(self, name: str, *command: str) -> None:
        """Run a service's image once, with another command, as ``compose run`` does."""
        self._begin_what_it_needs(name)
        self.execute(name, *self._image(name).entrypoint, *command)

    def _begin_what_it_needs(self, name: str) -> None:
        for needed, state in self.services[name].get("depends_on", {}).items():
            if needed not in self._begun:
                self._begin(needed)
                self._await(needed, state["condition"])

    def _begin(self, name: str) -> None:
        if name in self._begun:
            return
        self._begin_what_it_needs(name)
        self._begun.add(name)
        if name == DATABASE:
            self._make_database()
        else:
            for replica in self.replicas(name):
                self.start(replica)

    def replicas(self, name: str) -> list[str]:
        """Return a service's processes: its own name, or names with numbers."""
        count = self.services[name].get("deploy", {}).get("replicas", 1)
        return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]

    def start(self, replica: str) -> None:
        """Start a process of a service, as its restart policy does, too."""
        service, image = self._service(replica), self._image(replica)
        entrypoint = service.get("entrypoint", image.entrypoint)
        command = service.get("command", [] if "entrypoint" in service else image.command)
        with (self.out / f"{replica}.log").open("ab") as log:
            self.processes[replica] = subprocess.Popen(
                [self._here(replica, str(word)) for word in [*entrypoint, *command]],
                env=self._environment(replica),
                cwd=image.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, replica: str) -> int:
        """End a process as ``compose stop`` does, and return its exit code; one that outlives its grace is killed."""
        process = self.processes.pop(replica)
        grace = _GRACE.fullmatch(self._service(replica).get("stop_grace_period", "10s"))
        assert grace is not None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(float(grace[1]))
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def kill(self, replica: str) -> None:
        """End a process at once."""
        process = self.processes.pop(replica)
        process.kill()
        process.wait()

    def close(self) -> None:
        for replica in list(self.processes):
            self.kill(replica)
        if DATABASE in self._begun:
            self._remove_database()

    # --- looking at it ---------------------------------------------------------------------------

    def address(self, port: str) -> str:
        """Return where a port is that the file publishes."""
        return f"http://127.0.0.1:{self._ports[port]}"

    def log(self, replica: str) -> str:
        return (self.out / f"{replica}.log").read_text(encoding="utf-8")

    def execute(self, replica: str, *command: str) -> str:
        """Run a command beside a process, as ``compose exec`` does, and return what it prints."""
        done = self._run(replica, list(command))
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def ask(self, query: str) -> list[Any]:
        """Return what the services' database answers."""
        return self._database.execute(query, self.services[DATABASE]["environment"]["POSTGRES_DB"])

    def is_healthy(self, replica: str) -> bool:
        """Return whether a service's healthcheck, or its image's, succeeds now."""
        if replica == DATABASE:
            return self._database.execute("SELECT 1") == [(1,)]
        check = self._service(replica).get("healthcheck", {}).get("test")
        assert check is None or check[0] == "CMD"
        return self._run(replica, check[1:] if check else self._image(replica).healthcheck).returncode == 0

    def await_health(self, replica: str) -> None:
        """Wait until a service is healthy."""
        until(lambda: self.is_healthy(replica), lambda: f"{replica} is not healthy: {self.log(replica)}")

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_healthy":
            self.await_health(name)
        else:
            assert condition == "service_completed_successfully"
            code = self.processes[name].wait(_PATIENCE)
            assert code == 0, f"{name} ended with {code}: {self.log(name)}"

    # --- how it is run ---------------------------------------------------------------------------

    def _service(self, replica: str) -> Any:
        return self.services.get(replica) or self.services[replica.rpartition("-")[0]]

    def _image(self, replica: str) -> Image:
        return self._builder.image(self._service(replica)["build"]["target"])

    def _run(self, replica: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._here(replica, word) for word in command],
            env=self._environment(replica),
            cwd=self._image(replica).root,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    def _environment(self, replica: str) -> dict[str, str]:
        given: Mapping[str, str] = self._service(replica).get("environment", {})
        mapped = {name: self._here(replica, value) for name, value in given.items()}
        return {"HOME": str(self.out), **self._image(replica).env, **mapped}

    def _here(self, replica: str, text: str) -> str:
        """Return a text of the file with this machine's places: what a mount, a network and a port are there."""
        service, image = self._service(replica), self._image(replica)
        if text.startswith("postgresql://"):
            return f"{text.replace('@database/', '@/')}?host={self._database.folder}"
        if text.startswith("/run/secrets/"):
            return str(self._mounted(replica) / text.removeprefix("/run/secrets/"))
        for volume, _, place in (written.partition(":") for written in service.get("volumes", [])):
            assert volume in self._volumes
            if text == place or text.startswith(f"{place}/"):
                return f"{self.out / volume}{text.removeprefix(place)}"
        for port, ours in self._ports.items():
            text = re.sub(rf"\b{port}\b", ours, text)
        text = text.replace("//emulator:", "//127.0.0.1:").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - it is replaced
        return text if text.startswith("http:") else image.on_disk(text)

    def _mounted(self, replica: str) -> Path:
        """Return the folder with the secrets that a service names, and no others."""
        folder = self.out / f"{replica}.secrets"
        if not folder.exists():
            folder.mkdir()
            for name in self._service(replica)["secrets"]:
                content = self._secrets[name].read_text(encoding="utf-8")
                with os.fdopen(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600), "w") as copy:
                    copy.write(content.replace(f"{DATABASE}:5432:", f"{self._database.folder}:5432:"))
        return folder

    def _make_database(self) -> None:
        """Make what the official image makes, for the password of its file."""
        settings = self.services[DATABASE]["environment"]
        (secret,) = self.services[DATABASE]["secrets"]
        assert settings["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{secret}"
        user, name = settings["POSTGRES_USER"], settings["POSTGRES_DB"]
        password = self._secrets[secret].read_text(encoding="utf-8").strip()
        self._database.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
        self._database.execute(f"CREATE DATABASE {name} OWNER {user}")
        rules = self._database.data / "pg_hba.conf"
        self._rules = rules.read_text(encoding="utf-8")
        rules.write_text(f"local {name} {user} scram-sha-256\n{self._rules}", encoding="utf-8")
        self._database.execute("SELECT pg_reload_conf()")

    def _remove_database(self) -> None:
        settings = self.services[DATABASE]["environment"]
        (self._database.data / "pg_hba.conf").write_text(self._rules, encoding="utf-8")
        for statement in (
            "SELECT pg_reload_conf()",
            f"DROP DATABASE {settings['POSTGRES_DB']} WITH (FORCE)",
            f"DROP ROLE {settings['POSTGRES_USER']}",
        ):
            self._database.execute(statement)


def until(holds: Callable[[], Any], otherwise: Callable[[], str]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
