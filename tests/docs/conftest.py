from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from page_blocks import DOCS


@attrs.frozen
class BuiltSite:
    """The site as ``make docs`` builds it.

    Attributes:
        root: The folder of all versions.
        english: This version, in English; the Russian pages are in its folder ``ru``.
        status: What the builder's process returned.
        said: What it wrote: nothing, unless something is wrong.
    """

    root: Path
    english: Path
    status: int
    said: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> BuiltSite:
    """The whole site, built once for all processes that run tests at the same time."""
    is_one_of_many = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if is_one_of_many else tmp_path_factory.getbasetemp()
    root, said = folder / "site", folder / "site.txt"
    with (folder / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            status, output = _build(root, folder / "site.work")
            said.write_text(f"{status}\n{output}", encoding="utf-8")
    code, _, output = said.read_text(encoding="utf-8").partition("\n")
    built = [index.parent for index in root.glob("*/index.html")]
    assert built, output
    (english,) = built
    return BuiltSite(root, english, int(code), output)


def _build(site: Path, work: Path) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - our own site
        [sys.executable, "docs/tools/build_site.py", "--site", str(site), "--work", str(work)],
        cwd=DOCS.parent,
        env={name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    return done.returncode, done.stdout
