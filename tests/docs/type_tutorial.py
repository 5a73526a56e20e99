"""Type the tutorial where nothing of this checkout is: in an environment of its own, from the wheel.

``make tutorial`` runs it, in a minute or two. What the page installs is fetched by pip; of this project it gets the
wheel that is built first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page_blocks import DOCS
from page_typist import Typist


def main() -> None:
    """Build the wheel, type the page, and say how long it took."""
    with tempfile.TemporaryDirectory(prefix="smspilot-tutorial-") as name:
        folder, home = Path(name), Path(name) / "home"
        home.mkdir()
        wheel = _built(folder)
        (folder / "constraint.txt").write_text(f"smspilot-async=={wheel.name.split('-')[1]}\n", encoding="utf-8")
        start = time.monotonic()
        tutorial = Typist(DOCS / "tutorial.md", home, installed=None, variables=_variables(folder), patience=600)
        tutorial.type_all()
        seconds = time.monotonic() - start
        sys.stdout.write(f"tutorial: {len(tutorial.typed)} commands typed in {seconds:.0f} s: ok\n")


def _built(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(DOCS.parent)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own wheel
    (wheel,) = folder.glob("*.whl")
    return wheel


def _variables(folder: Path) -> dict[str, str]:
    """This machine's variables, but what belongs to this checkout; pip takes the project from the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SMSPILOT_", "PYTHON", "COV"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.base_prefix) / "bin"), os.environ["PATH"]]),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "100",
        "PIP_CONSTRAINT": str(folder / "constraint.txt"),
        "PIP_FIND_LINKS": f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}".strip(),
    }


if __name__ == "__main__":
    main()
