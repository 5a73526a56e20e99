"""The recipe for Docker: what its image installs exists, and its services run commands that are typed on the page."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner
from page_blocks import DOCS, blocks
from page_session import ROOT, check_install, commands_of

from smspilot_async.cli._app import app

BLOCKS: Final = list(blocks(DOCS / "cookbook" / "docker.md"))
IMAGE: Final = next(block.code for block in BLOCKS if block.title == "Dockerfile").replace("\\\n", "")
COMPOSE: Final = yaml.safe_load(next(block.code for block in BLOCKS if block.title == "compose.yaml"))
TYPED: Final = [command for block in BLOCKS if block.language == "console" for command, _ in commands_of(block.code)]
OURS: Final = ("shop", "worker")
CHANGED_FOR_THE_PAGE: Final = {"127.0.0.1", "0.0.0.0", "8080", "9108"}  # noqa: S104 - nothing listens there


def essence(command: list[str]) -> list[str]:
    """A command without where it listens."""
    words = [word for part in command for word in part.split(":")]
    return [word for word in words if word not in CHANGED_FOR_THE_PAGE | {"--host"}]


def service(name: str) -> Any:
    return COMPOSE["services"][name]


def test_what_the_image_installs_exists_and_what_it_copies_is_on_the_page() -> None:
    (install,) = re.findall(r"^RUN (pip .*)$", IMAGE, re.MULTILINE)
    check_install(install)
    copied = re.findall(r"^COPY (\S+) ", IMAGE, re.MULTILINE)
    assert set(copied) <= {block.title for block in BLOCKS}


def test_the_image_and_the_worker_run_what_the_page_has_typed() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", IMAGE, re.MULTILINE)
    typed = [essence(shlex.split(line)) for line in TYPED]
    assert essence(yaml.safe_load(command)) in typed
    assert essence(shlex.split(service("worker")["command"])) in typed


def test_the_workers_options_exist() -> None:
    in_a_shell, program, *check = service("worker")["healthcheck"]["test"]
    assert (in_a_shell, program) == ("CMD", "smspilot")
    for arguments in (shlex.split(service("worker")["command"])[1:], check):
        done = CliRunner().invoke(app, [*arguments, "--help"])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_one_that_is_read(name: str) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "smspilot_async").rglob("*.py"))
    assert [variable for variable in service(name)["environment"] if f'"{variable}"' not in sources] == []


def test_a_worker_has_more_time_than_a_request_may_take() -> None:
    assert int(service("worker")["stop_grace_period"].removesuffix("s")) >= 30 + 15
    (graceful,) = re.findall(r'"--timeout-graceful-shutdown", "(\d+)"', IMAGE)
    assert int(service("shop")["stop_grace_period"].removesuffix("s")) > int(graceful)
