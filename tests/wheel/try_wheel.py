"""Build the wheel, and try it where nothing of this checkout is: alone, and with the extras of the command line.

Run it with the Python of the development environment, which has ``build``. One line per check; the first that fails
ends it with exit code 1. How pip finds packages is the environment's business.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PIP: Final = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
INSTALL_LINE: Final = "smspilot's command line needs: pip install 'smspilot-async[cli]'\n"
SHIPPED: Final = (
    "smspilot_async/py.typed",
    "smspilot_async_command.py",
    "smspilot_async/cli/demo_data/recipients.csv",
    "smspilot_async/cli/locale/ru/LC_MESSAGES/smspilot.mo",
    *(f"smspilot_async/emulator/static/{name}" for name in ("page.html", "page.css", "page.js", "rooms.js", "live.js")),
    "smspilot_async/page/static/page.html",
    "smspilot_async/page/static/page.css",
    "smspilot_async/page/static/page.js",
)
EXTRAS: Final = """{"click", "rich", "starlette", "uvicorn", "msgspec", "pydantic", "aiohttp", "fastapi"}"""
IMPORT: Final = f"""
import sys, smspilot_async, smspilot_async.emulator
assert not {EXTRAS} & set(sys.modules), sys.modules
print(smspilot_async.__version__)
"""
TEST: Final = f"""
import sys

def test_the_plugin_is_there_and_brings_nothing_in(pytestconfig):
    assert pytestconfig.pluginmanager.hasplugin("smspilot")
    assert not {{*{EXTRAS}, "httpx", "asyncio", "smspilot_async"}} & set(sys.modules)
"""
PLUGIN_SECONDS: Final = """
import time, pytest
start = time.perf_counter()
import smspilot_async_pytest
print(time.perf_counter() - start)
"""
LIGHT: Final = 0.05
"""Seconds that the plugin may add to the start of every pytest: a hundred times what it takes."""
ANYIO: Final = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
EXAMPLE: Final = "test_my_service.py"


class Failed(Exception):
    """A check did not hold."""


def check(what: str, *, holds: bool, otherwise: str = "") -> None:
    if not holds:
        raise Failed(f"{what}\n{otherwise}".strip())
    sys.stdout.write(f"wheel: {what}: ok\n")
    sys.stdout.flush()


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program far away from this checkout, whose folders must not be found by accident."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SMSPILOT_", "PYTHON", "COV"))}
    command_line = [str(part) for part in command]
    return subprocess.run(  # noqa: S603 - the programs are those of the environments made here
        command_line, cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=600
    )


def build(folder: Path) -> Path:
    built = run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    wheels = list(folder.glob("*.whl"))
    check("it is built", holds=built.returncode == 0 and len(wheels) == 1, otherwise=built.stdout + built.stderr)
    return wheels[0]


def environment(folder: Path, requirement: str) -> Path:
    """Make a clean environment with the wheel in it; answer its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    install(programs, requirement)
    return programs


def install(programs: Path, requirement: str) -> None:
    installed = run(programs / "python", *PIP, requirement, cwd=programs)
    if installed.returncode != 0:
        raise Failed(f"pip install {Path(requirement).name}\n{installed.stderr}")


def try_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in SHIPPED if name not in names]
    check("py.typed, the demo's data and the emulator's page are in it", holds=not missing, otherwise=str(missing))
    strange = [name for name in names if not name.startswith("smspilot_async")]
    check("nothing else is in it", holds=not strange, otherwise=str(strange))


def try_alone(wheel: Path, folder: Path) -> None:
    programs = environment(folder, str(wheel))
    imported = run(programs / "python", "-W", "error", "-c", IMPORT, cwd=folder)
    check("alone, it imports and needs no extra", holds=imported.returncode == 0, otherwise=imported.stderr)
    version = wheel.name.split("-")[1]
    check(f"its version is {version}", holds=imported.stdout.strip() == version, otherwise=imported.stdout)
    command = run(programs / "smspilot", "--version", cwd=folder)
    said = (command.returncode, command.stdout, command.stderr)
    check("alone, the command says what to install", holds=said == (2, "", INSTALL_LINE), otherwise=str(said))
    try_plugin(programs, folder)


def try_plugin(programs: Path, folder: Path) -> None:
    install(programs, "pytest")
    (folder / "test_plugin.py").write_text(TEST, encoding="utf-8")
    tested = run(programs / "python", "-m", "pytest", "-q", "-p", "no:anyio", "test_plugin.py", cwd=folder)
    check("alone, its pytest plugin needs no extra", holds=tested.returncode == 0, otherwise=tested.stdout)


def try_users_tests(wheel: Path, folder: Path) -> None:
    """Run the example of a user's tests in a project of its own, with anyio's plugin, then with pytest-asyncio."""
    programs = environment(folder, f"{wheel}[emulator]")
    install(programs, "pytest")
    timed = run(programs / "python", "-c", PLUGIN_SECONDS, cwd=folder)
    seconds = float(timed.stdout or "nan")
    check(f"its pytest plugin is light ({seconds * 1000:.1f} ms)", holds=seconds < LIGHT, otherwise=timed.stderr)
    text = (ROOT / "examples" / EXAMPLE).read_text(encoding="utf-8")
    (folder / EXAMPLE).write_text(text.replace("pytest.mark.asyncio", "pytest.mark.anyio"), encoding="utf-8")
    (folder / "conftest.py").write_text(ANYIO, encoding="utf-8")
    _try_example("anyio's plugin", programs, folder)
    (folder / "conftest.py").unlink()
    (folder / EXAMPLE).write_text(text, encoding="utf-8")
    install(programs, "pytest-asyncio")
    _try_example("pytest-asyncio", programs, folder)


def _try_example(plugin: str, programs: Path, folder: Path) -> None:
    strict = ("-W", "error", "-W", "ignore::pytest.PytestDeprecationWarning")  # pytest-asyncio's, of its own options
    tested = run(programs / "python", "-m", "pytest", "-q", *strict, EXAMPLE, cwd=folder)
    passed = tested.returncode == 0 and "6 passed" in tested.stdout
    check(f"a user's tests run with {plugin}", holds=passed, otherwise=tested.stdout + tested.stderr)


def try_with_extras(wheel: Path, folder: Path) -> None:
    programs = environment(folder, f"{wheel}[cli,emulator]")
    start = time.monotonic()
    demo = run(programs / "smspilot", "demo", "--json", cwd=folder)
    seconds = time.monotonic() - start
    check(f"with [cli,emulator], the demo runs ({seconds:.0f} s)", holds=demo.returncode == 0, otherwise=demo.stderr)
    ours = json.loads(demo.stdout)["smspilot_async"]
    check("its figures are what they should be", holds=ours["reached_twice"] == 0, otherwise=str(ours))
    shown = run(programs / "smspilot", "demo", "--people", "20", cwd=folder)
    check("it is shown to a person, too", holds=shown.returncode == 0 and "accounted for" in shown.stdout)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="smspilot-wheel-") as name:
        folder = Path(name)
        try:
            wheel = build(folder)
            try_contents(wheel)
            try_alone(wheel, folder / "alone")
            try_users_tests(wheel, folder / "users-tests")
            try_with_extras(wheel, folder / "with-extras")
        except Failed as failed:
            sys.stderr.write(f"wheel: FAILED: {failed}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
