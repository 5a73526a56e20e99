"""Makes the reference of the docstrings: what they name must exist, and what a reader has no use for is left out."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import pydoc
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Generic

from sphinx.domains.python import PyObject  # type: ignore[attr-defined]  # it is documented
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

from smspilot_async.models import Displayed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.domains.python import ObjectEntry
    from sphinx.environment import BuildEnvironment

# Their classes say that they are defined there, and are not.
_ROOMS: Final = ("smspilot_async", "smspilot_async.callbacks", "smspilot_async.emulator")
# The library makes these and hands them out.
_NOT_CALLED: Final = frozenset({"BulkRun", "InboundListener", "PacketChecks", "Tracking"})
_UNINTERESTING: Final = frozenset({object, Generic, Displayed})
_SEVERAL: Final = re.compile(r"^( {4})(\w+(?:, \w+)+): ")
_TYPES: Final = frozenset({"class", "exception", "data", "type"})
_WITH_A_TYPE_BEFORE_A_COLON: Final = frozenset({"attribute", "data", "property"})
"""What comes before a colon in the first line of their docstrings is a type to napoleon; ours are sentences."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Join the build."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("builder-inited", _find_comments_of_members)
    app.connect("autodoc-process-signature", _without_what_is_not_called)
    app.connect("autodoc-process-bases", _without_private_bases)
    app.connect("autodoc-process-docstring", _one_name_each, priority=400)  # before napoleon reads it
    app.connect("autodoc-process-docstring", _whole_sentence, priority=400)
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True}


def _find_comments_of_members(_: Sphinx) -> None:
    """Have autodoc find what stands below members of a class that says that its module is the public one."""
    for room in _ROOMS:
        package = importlib.import_module(room)
        shown = ModuleAnalyzer.for_module(room)
        shown.analyze()
        for module in _modules_of(package):
            written = ModuleAnalyzer.for_module(module)
            written.analyze()
            shown.attr_docs = {**written.attr_docs, **shown.attr_docs}
            shown.tagorder = {**written.tagorder, **shown.tagorder}


def _modules_of(package: ModuleType) -> list[str]:
    kinds = {name: value for name, value in vars(package).items() if isinstance(value, type)}
    moved = {name: kind for name, kind in kinds.items() if kind.__module__ == package.__name__}
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if name.startswith("smspilot_async.")
        and any(vars(module).get(kind) is value and _defines(module, kind) for kind, value in moved.items())
    )


def _defines(module: ModuleType, kind: str) -> bool:
    return re.search(rf"^class {kind}\b", _source(module), re.MULTILINE) is not None


@functools.cache
def _source(module: ModuleType) -> str:
    return inspect.getsource(module)


def _without_what_is_not_called(
    _: Sphinx, kind: str, name: str, documented: object, __: object, signature: str | None, ___: str | None
) -> tuple[str, None] | None:
    is_enum = isinstance(documented, type) and issubclass(documented, enum.Enum)
    is_hidden = is_enum or kind == "exception" or name.rpartition(".")[2] in _NOT_CALLED
    return ("", None) if is_hidden and signature is not None else None


def _without_private_bases(_: Sphinx, __: str, ___: object, ____: object, bases: list[type]) -> None:
    bases[:] = [base for base in bases if is_worth_showing(base)]


def is_worth_showing(base: type) -> bool:
    """Return whether a reader may meet a base class elsewhere: it can be imported by a public name."""
    kind = getattr(base, "__origin__", base)
    room = kind.__module__.partition("._")[0]
    return kind not in _UNINTERESTING and pydoc.locate(f"{room}.{kind.__qualname__}") is kind


def _one_name_each(_: Sphinx, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
    lines[:] = list(one_name_each(lines))


def _whole_sentence(_: Sphinx, what: str, __: str, ___: object, ____: object, lines: list[str]) -> None:
    if what in _WITH_A_TYPE_BEFORE_A_COLON:
        lines.insert(0, "\\")  # shows nothing, and has no colon


def one_name_each(lines: list[str]) -> Iterator[str]:
    """Write ``first, second: what they are`` out for each, since each has a type of its own."""
    at = 0
    while at < len(lines):
        end = at + 1
        if several := _SEVERAL.match(lines[at]):
            while end < len(lines) and lines[end].startswith("     "):
                end += 1
            for name in several[2].split(", "):
                yield f"{several[1]}{name}: {lines[at][several.end() :]}"
                yield from lines[at + 1 : end]
        else:
            yield lines[at]
        at = end


def _find(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: TextElement) -> Element | None:
    """Find what is named without its module, or with the private one that it is written in.

    What is left may be part of a signature, as a private alias of a type. The names that docstrings refer to and the
    errors that they say are raised must be ours or importable: a build with any other fails.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".")
    if not _is_importable(target) or target.startswith("smspilot_async"):
        for path, entry in env.domains.python_domain.objects.items():
            if _is_meant(path, entry, target, node["reftype"]):
                return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, path)
        if node["reftype"] == "exc" or "refwarn" in node:
            return None
    return shown


@functools.cache
def _is_importable(name: str) -> bool:
    return pydoc.locate(name) is not None


def _is_meant(path: str, entry: ObjectEntry, target: str, kind: str) -> bool:
    name = target.rpartition(".")[2] if target.startswith("smspilot_async.") else target
    return path.endswith(f".{name}") and (kind not in {"class", "exc", "obj"} or entry.objtype in _TYPES)
