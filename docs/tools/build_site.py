"""Build the site: each language in a process of its own, into a folder for this version, beside other versions.

``make docs`` runs it. It writes::

    site/index.html          leads to the newest version
    site/versions.js         names the versions that are there; each version's sidebar shows the others
    site/0.7.0/index.html    this version, in English
    site/0.7.0/ru/           the same pages in Russian, as far as they are translated
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
LANGUAGES: Final = ("en", "ru")
_START: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>smspilot_async</title>
<meta http-equiv="refresh" content="0; url={version}/index.html">
<p><a href="{version}/index.html">smspilot_async {version}</a></p>
</html>
"""


def main() -> int:
    """Build what the command line asks for, and return the exit status."""
    parser = argparse.ArgumentParser(description="Build the documentation.")
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the folder of all versions (default: site)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "docs", help="what a second build can use again")
    arguments = parser.parse_args()
    folder = arguments.site / _version()
    builds = [
        subprocess.Popen(command(language, folder, arguments.work), cwd=ROOT)  # noqa: S603 - Sphinx
        for language in LANGUAGES
    ]
    statuses = [build.wait() for build in builds]
    if any(statuses):
        return 1
    join(arguments.site)
    return 0


def command(language: str, folder: Path, work: Path) -> list[str]:
    """Return the command that builds one language; it fails with a warning.

    It writes every page (``-a``): of those that it does not write, the search would forget the words of the index.
    """
    target = folder if language == "en" else folder / language
    options = ["-a", "-b", "html", "-q", "-W", "--keep-going", "-D", f"language={language}", "-d", str(work / language)]
    return [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(target)]


def join(site: Path) -> None:
    """Write what leads to the versions that are in ``site``."""
    versions = sorted((index.parent.name for index in site.glob("*/index.html")), key=_numbers, reverse=True)
    (site / "versions.js").write_text(f"window.siteVersions = {json.dumps(versions)};\n", encoding="utf-8")
    (site / "index.html").write_text(_START.format(version=versions[0]), encoding="utf-8")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _version() -> str:
    text = (ROOT / "smspilot_async" / "_version.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(version)


if __name__ == "__main__":
    sys.exit(main())
