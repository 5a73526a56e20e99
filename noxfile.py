"""The tests on every supported Python, and with the lowest versions that ``pyproject.toml`` allows.

``nox`` runs all of it, ``nox --list`` names the sessions, and ``nox -s tests-3.12 -- tests/client`` runs a part of one.
A Python that this machine does not have is skipped; if it has none of them, nox fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import nox
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHONS: Final = ("3.11", "3.12", "3.13")
PROJECT: Final = nox.project.load_toml(Path(__file__).with_name("pyproject.toml"))["project"]
EXTRAS: Final = PROJECT["optional-dependencies"]

if "PYENV_VERSION" not in os.environ and shutil.which("pyenv"):
    # Without it, pyenv's python3.12 is on the PATH but fails, unless somebody has switched that version on.
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    os.environ["PYENV_VERSION"] = ":".join(version for version in versions.split() if version.startswith(PYTHONS))

FOUND: Final = [version for version in PYTHONS if shutil.which(f"python{version}")]
nox.options.error_on_missing_interpreters = not FOUND
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, or those that are named after ``--``."""
    run_tests(session)


@nox.session(python=(FOUND or PYTHONS)[0])
def lowest(session: nox.Session) -> None:
    """Do the same with the lowest version of each dependency, on the lowest Python of this machine."""
    constraints = Path(session.virtualenv.location) / "lowest.txt"
    constraints.write_text("\n".join(lowest_versions()), encoding="utf-8")
    run_tests(session, "--constraint", str(constraints))


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Run the linters and type checkers, as ``make lint`` does."""
    session.run("make", "lint", external=True)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation, as ``make docs`` does."""
    session.run("make", "docs", external=True)


def run_tests(session: nox.Session, *install_options: str) -> None:
    """Install what the tests need, and run them."""
    if session.venv_backend != "uv":
        session.install("pip>=25.1")  # the first that knows --group
    groups = ("--group", "test", "--group", "docs")
    session.install("--editable", f".[{','.join(EXTRAS)}]", *groups, *install_options)
    session.run("python", "-m", "pytest", "-q", "-n", "3", "--dist", "worksteal", *session.posargs)


def lowest_versions() -> Iterator[str]:
    """Pin each dependency, those of the extras included, to the lowest version that it may have."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    for requirement in map(Requirement, dict.fromkeys(lines)):
        (version,) = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        yield f"{requirement.name}=={version}"
