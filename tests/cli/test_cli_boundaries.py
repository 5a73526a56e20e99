"""The command is a user of the library like any other: it reaches into no private part of an object."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smspilot_async import Outcome, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = sorted(Path(cli.__file__).parent.rglob("*.py"))


def private_attributes(tree: ast.Module) -> Iterator[str]:
    """Yield what is read or set of an object, begins with an underscore, and is not defined in the same module."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.endswith("__"):
            continue
        is_own = node.attr in own or (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        if not is_own:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def private_modules(tree: ast.Module) -> Iterator[str]:
    """Yield the imports of the parts that a client is made of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            yield from names & {f"smspilot_async.{part}" for part in ("_client", "_session", "_settings", "_delivery")}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_the_command_uses_no_private_name_of_a_client_or_of_another_package(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert [*private_attributes(tree), *private_modules(tree)] == []


@pytest.mark.parametrize("line", ["client._settings.test", "x = console._color_system", "client._session().ask()"])
def test_such_a_name_would_be_found(line: str) -> None:
    assert list(private_attributes(ast.parse(line))) != []


def test_such_a_module_would_be_found() -> None:
    for line in ("from smspilot_async._settings import Secret", "from smspilot_async import _session"):
        assert list(private_modules(ast.parse(line))) != []


def outcome_literals(tree: ast.Module) -> Iterator[str]:
    """Yield the words for an outcome that stand in the code instead of coming from `Outcome`."""
    words = {*(outcome.value for outcome in Outcome), *(outcome.value.replace("_", " ") for outcome in Outcome)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in words:
            yield f"line {node.lineno}: {node.value!r}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_the_words_for_an_outcome_come_from_outcome_alone(module: Path) -> None:
    assert list(outcome_literals(ast.parse(module.read_text(encoding="utf-8")))) == []


def test_such_a_word_would_be_found() -> None:
    assert len(list(outcome_literals(ast.parse("x = {'outcome': 'not_sent'}; y = 'not sent'")))) == 2
