"""``pip --python PYTHON install --no-cache-dir '.[EXTRAS]'``, from what is installed here: nothing is fetched.

The environment gets what the project in the current folder requires with these extras, and no other package: a program
that needs one of another extra fails there as it would in an image.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FOLDER: Final = "import sysconfig; print(sysconfig.get_path('purelib'))"


def required(written: Iterable[str], extras: set[str], found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Collect the distributions that requirements name, with the extras of each, and what those need."""
    for requirement in map(Requirement, written):
        name = requirement.name.lower().replace("_", "-")
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        if name in found and requirement.extras <= found[name]:
            continue
        found.setdefault(name, set()).update(requirement.extras)
        required(metadata.requires(name) or [], found[name], found)
    return found


def entries(distribution: str) -> Iterator[Path]:
    """Return what a distribution put into the folder of packages."""
    installed = metadata.distribution(distribution)
    for name in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
        yield Path(str(installed.locate_file(name)))


def main() -> None:
    """Install it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("command", choices=["install"])
    parser.add_argument("--no-cache-dir", action="store_true", required=True)
    parser.add_argument("project")
    given = parser.parse_args()
    extras = given.project.removeprefix(".[").removesuffix("]").split(",")
    settings: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    for needed in (project["readme"], *project["license-files"]):
        assert Path(needed).is_file(), f"the build needs {needed}"
    written = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    into = Path(
        subprocess.run(  # noqa: S603 - the environment's own
            [given.python, "-c", _FOLDER], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    for distribution in required(written, set(), {}):
        for entry in entries(distribution):
            target = into / entry.name
            if not target.exists():
                target.symlink_to(entry)
    for part in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        copy = shutil.copytree if Path(part).is_dir() else shutil.copy
        copy(part, into / part)
    for name, place in project["scripts"].items():
        module, _, function = place.partition(":")
        script = given.python.parent / name
        line = f"import sys; from {module} import {function}; sys.exit({function}())"
        script.write_text(f"#!{given.python}\n{line}\n", encoding="utf-8")
        script.chmod(0o755)


if __name__ == "__main__":
    main()
