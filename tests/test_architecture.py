"""Imports run one way, at run time, lazily and for types alike: no circle, no private name of another room."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).parent.parent / "smspilot_async"

# From the top down. A room imports from rooms below it and from itself; rooms on one floor know nothing of each other.
FLOORS: Final[tuple[tuple[str, ...], ...]] = (
    ("__main__",),
    ("cli",),
    ("page",),
    ("outbox",),
    ("__init__",),
    ("notebook", "otel"),
    ("_client", "_display"),
    ("_session", "callbacks"),
    ("_settings",),
    ("_sending", "_statuses", "_inbound"),
    ("_requests",),
    ("audit", "_network"),
    ("hooks",),
    ("_health",),
    ("wire",),
    ("models",),
    ("text",),
    ("_numbering",),
    ("errors",),
    ("emulator",),  # stands alone: it knows nothing of the client, and only the command and tests know it
    ("_tools", "_version"),
)
FLOOR: Final = {room: number for number, floor in enumerate(FLOORS) for room in floor}
MOST_PRIVATE_FILES_IN_THE_ROOT: Final = 8


@attrs.frozen(order=True)
class Arrow:
    """One import, of whatever kind.

    Attributes:
        source, target: Modules below the package, such as ``_sending.bulk``.
        name: What is imported; empty for a whole module.
    """

    source: str
    target: str
    name: str
    line: int

    @property
    def rooms(self) -> tuple[str, str]:
        return self.source.partition(".")[0], self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.source}:{self.line} -> {self.target} {self.name}"


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


MODULES: Final = modules()


def arrows() -> Iterator[Arrow]:
    for source, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "smspilot_async":
                module = (node.module or "").partition(".")[2]
                for alias in node.names:
                    whole = f"{module}.{alias.name}".lstrip(".")
                    target, name = (whole, "") if whole in MODULES else (module or "__init__", alias.name)
                    yield Arrow(source, target, name, node.lineno)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.partition(".")[0] == "smspilot_async":
                        yield Arrow(source, alias.name.partition(".")[2] or "__init__", "", node.lineno)


ARROWS: Final = sorted(set(arrows()))
BETWEEN_ROOMS: Final = [arrow for arrow in ARROWS if arrow.rooms[0] != arrow.rooms[1]]


def test_every_room_has_its_floor() -> None:
    assert {module.partition(".")[0] for module in MODULES} <= FLOOR.keys()


def test_no_arrow_runs_against_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    back = [arrow for arrow in BETWEEN_ROOMS if FLOOR[arrow.rooms[0]] >= FLOOR[arrow.rooms[1]]]
    with capsys.disabled():
        print(f"\n{len(BETWEEN_ROOMS)} imports between rooms, {len(back)} against the order")  # noqa: T201 - a listing
        for floor in FLOORS:
            for room in floor:
                below = sorted({arrow.rooms[1] for arrow in BETWEEN_ROOMS if arrow.rooms[0] == room})
                print(f"  {room} -> {', '.join(below) or '-'}")  # noqa: T201 - a listing
    assert list(map(str, back)) == []


def test_no_circle_of_modules() -> None:
    targets: dict[str, set[str]] = {module: set() for module in MODULES}
    for arrow in ARROWS:
        # Importing a package's name is importing what defines it: the package's own file only passes it on.
        if arrow.target != arrow.source and not _is_a_package_around(arrow.target, arrow.source):
            targets[arrow.source].add(arrow.target)
    assert _circle(targets) == []


def _is_a_package_around(target: str, source: str) -> bool:
    return source.startswith(f"{target}.")


def _circle(targets: dict[str, set[str]]) -> list[str]:
    """Return a circle, if there is any."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(targets[module]):
            if circle := visit(target, [*path, module]):
                return circle
        done.add(module)
        return []

    for module in targets:
        if circle := visit(module, []):
            return circle
    return []


def test_no_room_takes_a_private_name_of_another() -> None:
    taken = [
        arrow
        for arrow in BETWEEN_ROOMS
        if any(part.startswith("_") for part in [*arrow.target.split(".")[1:], arrow.name] if part != "__version__")
    ]
    assert list(map(str, taken)) == []


def test_the_root_keeps_few_private_files() -> None:
    private = [path.name for path in PACKAGE.glob("_*.py") if not path.name.startswith("__")]
    assert len(private) <= MOST_PRIVATE_FILES_IN_THE_ROOT, private


@pytest.mark.parametrize("room", ["_sending", "_inbound", "_statuses"])
def test_no_part_holds_the_whole_session(room: str) -> None:
    holding = [
        f"{path.name}: {line.strip()}"
        for path in sorted((PACKAGE / room).glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(word in line for word in ("_session", "Session"))
    ]
    assert holding == []
