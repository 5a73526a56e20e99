"""A ``Containerfile``, read, and its steps run in a folder, as a builder runs them in an image.

Every absolute path of a step is below the stage's own folder. Only what this project's file uses is known; a new
instruction fails here first. ``pip install`` is answered by :mod:`install_offline`, from what is installed already.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs

_HERE: Final = Path(__file__).parent
_BASE: Final = re.compile(r"docker\.io/library/python:3\.\d+-slim")
_ABSOLUTE: Final = re.compile(r"(?<![\w./:])/(?=\w)")
_SYSTEM: Final = "/usr/local/bin:/usr/bin:/bin"
_NOT_COPIED: Final = shutil.ignore_patterns("__pycache__")


@attrs.frozen
class Step:
    """An instruction.

    Attributes:
        word: ``RUN``, ``COPY`` and so on.
        rest: What follows it.
    """

    word: str
    rest: str


@attrs.define
class Image:
    """A stage that was built: its folder, and how it is run."""

    root: Path
    folder: str = "/"
    env: dict[str, str] = attrs.Factory(dict)
    user: str = "0"
    entrypoint: list[str] = attrs.Factory(list)
    command: list[str] = attrs.Factory(list)
    healthcheck: list[str] = attrs.Factory(list)

    def on_disk(self, text: str) -> str:
        """Return a text whose absolute paths are below this image's folder."""
        return _ABSOLUTE.sub(lambda _found: f"{self.root}/", text)


def read_steps(text: str) -> list[Step]:
    """Return the instructions of a file, comments left out and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(None, 1)) for line in joined.splitlines()]


class Builder:
    """Builds the stages of a file.

    Args:
        file: The ``Containerfile``.
        context: The folder that ``COPY`` copies from.
        out: For the images.
    """

    def __init__(self, file: Path, context: Path, out: Path) -> None:
        self._context = context
        self._out = out
        self._stages: dict[str, tuple[str, list[Step]]] = {}
        self._images: dict[str, Image] = {}
        self._programs = self._make_programs()
        name = ""
        for step in read_steps(file.read_text(encoding="utf-8")):
            if step.word == "FROM":
                base, _, name = step.rest.partition(" AS ")
                self._stages[name] = (base, [])
            else:
                self._stages[name][1].append(step)

    def _make_programs(self) -> Path:
        """Make what the base image has: Python and its pip."""
        programs = self._out / "base"
        programs.mkdir()
        offline = _HERE / "install_offline.py"
        for name, command in {"python": [sys.executable], "pip": [sys.executable, str(offline)]}.items():
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
            program.chmod(0o755)
        return programs

    def image(self, name: str) -> Image:
        """Return the image of a stage, built once."""
        if name not in self._images:
            self._images[name] = self._build(name)
        return self._images[name]

    def _build(self, name: str) -> Image:
        base, steps = self._stages[name]
        image = Image(self._out / name)
        if base in self._stages:
            below = self.image(base)
            image = attrs.evolve(below, root=image.root, env=dict(below.env))
            shutil.copytree(below.root, image.root, symlinks=True)
            _move_programs(image.root, below.root)
        else:
            assert _BASE.fullmatch(base), f"an unknown base: {base}"
            image.root.mkdir()
            image.env["PATH"] = f"{self._programs}:{_SYSTEM}"
        for step in steps:
            getattr(self, f"_{step.word.lower()}")(image, step.rest)
        return image

    # --- the instructions ------------------------------------------------------------------------

    def _workdir(self, image: Image, folder: str) -> None:
        image.folder = folder
        Path(image.on_disk(folder)).mkdir(parents=True, exist_ok=True)

    def _copy(self, image: Image, rest: str) -> None:
        words = shlex.split(rest)
        flags = dict(word[2:].split("=") for word in words if word.startswith("--"))
        assert flags.keys() <= {"from", "chown"}, f"unknown flags: COPY {rest}"
        *sources, target = [word for word in words if not word.startswith("--")]
        source_image = self.image(flags["from"]) if "from" in flags else None
        for source in sources:
            here = Path(source_image.on_disk(source)) if source_image else self._context / source
            there = Path(image.on_disk(str(Path(image.folder, target))))
            if here.is_dir():
                shutil.copytree(here, there, symlinks=True, dirs_exist_ok=True, ignore=_NOT_COPIED)
            else:
                there = there / here.name if target.endswith("/") else there
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, there)
        if source_image:
            _move_programs(image.root, source_image.root)

    def _run(self, image: Image, command: str) -> None:
        subprocess.run(  # noqa: S603 - our own file
            ["/bin/sh", "-euc", image.on_disk(command)], cwd=image.on_disk(image.folder), env=image.env, check=True
        )

    def _env(self, image: Image, rest: str) -> None:
        for word in shlex.split(rest):
            variable, _, value = word.partition("=")
            image.env[variable] = image.on_disk(value).replace("$PATH", image.env["PATH"])

    def _user(self, image: Image, user: str) -> None:
        image.user = user

    def _expose(self, image: Image, port: str) -> None:
        """It is documentation."""

    def _healthcheck(self, image: Image, rest: str) -> None:
        image.healthcheck = _exec_form(rest.partition("CMD ")[2])

    def _entrypoint(self, image: Image, rest: str) -> None:
        image.entrypoint = _exec_form(rest)

    def _cmd(self, image: Image, rest: str) -> None:
        image.command = _exec_form(rest)


def _exec_form(rest: str) -> list[str]:
    """Read a list: a shell in between would keep signals from the process."""
    command: Any = json.loads(rest)
    assert isinstance(command, list)
    return [str(word) for word in command]


def _move_programs(root: Path, from_: Path) -> None:
    """Name the interpreter where it is now: in an image both stages have the same paths."""
    for program in root.glob("opt/*/bin/*"):
        if not program.is_symlink() and str(from_).encode() in (content := program.read_bytes()):
            program.write_bytes(content.replace(f"{from_}/".encode(), f"{root}/".encode()))
