"""The command's messages, as the source has them, and its catalogue in Russian: ``make translations``.

The messages are found in the source itself: the literals and f-strings of :data:`FILES` that are prose, and the help of
the commands. An f-string is a message with named places, as in ``line {line}: {why}``; an alternative within it
(``'ahead of' if … else 'behind'``) makes two messages. A single word is a message only where its context says so: the
title of a column or a fact, a placeholder of the help, or a word for a state.

What is prose and never shown to a person at a terminal stands in ``shown_elsewhere.py``.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from shown_elsewhere import LABELS, NEVER_SHOWN, PLACEHOLDERS, SENTENCES, WORDS

from smspilot_async._numbering import countries_by_prefix, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT: Final = Path(__file__).parent.parent.parent
PACKAGE: Final = ROOT / "smspilot_async"
CATALOGUE: Final = PACKAGE / "cli" / "locale" / "ru" / "LC_MESSAGES" / "smspilot.po"

# What they say is read by a programmer, in a browser or by a database.
WITHOUT_WORDS_FOR_A_TERMINAL: Final = frozenset(
    {"cli/_language.py", "outbox/_enqueue.py", "outbox/_grants.py", "outbox/_ledger.py", "outbox/_metrics.py"}
    | {"outbox/_report_html.py", "outbox/_report_plots.py", "outbox/_schema.py", "outbox/_sqlite.py"}
    | {"outbox/_sqlite_claim.py", "outbox/_steps.py", "outbox/_fleet_slots.py"}
)
FILES: Final = (
    "cli/**/*.py",
    "errors.py",
    "models.py",
    "text.py",
    "_settings.py",
    "_session.py",
    "_requests/*.py",
    "_network/*.py",
    "wire/_read.py",
    "wire/_decode.py",
    "_sending/*.py",
    "_statuses/*.py",
    "_inbound/*.py",
    "_tools/csv_list.py",
    "_tools/loading.py",
    "_tools/template.py",
    "_tools/validate.py",
    "_tools/zones.py",
    "callbacks/_inbox.py",
    "callbacks/_signing.py",
    "outbox/*.py",
    "emulator/_local_url.py",
    "emulator/_run.py",
    "emulator/_extras.py",
    "page/_people.py",
    "page/_serve.py",
)

_MOST_VARIANTS: Final = 16
_MOST_COLUMNS: Final = 110
_two_words = re.compile(r"[A-Za-z0-9)'\"][,:;.]? [A-Za-z(]")
_word_among_places = re.compile(r"(?:^|[\s\0(,;:.])[A-Za-z][a-z]+(?:[\s\0).,;:?]|$)")
_not_prose = re.compile(
    r"\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|WITH|AND|WHERE|FROM)\b|.*(?:\]\(|<.*>)", re.DOTALL
)
_capitals = re.compile(r"[A-Z][A-Z_]*")
_LOGGED_FOR_A_PERSON: Final = frozenset({"warning", "error"})
_LOGGED: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_CALLS_WITHOUT_PROSE: Final = frozenset({"compile", "cast", "getLogger", "warn", "TypeVar", "execute", "text"})
_METHODS_ON_A_VALUE: Final = frozenset({"join", "strip", "rstrip", "isoformat", "removesuffix", "format"})


@attrs.frozen
class Found:
    """A message, and the file that it stands in.

    Attributes:
        text: In English, with named places in braces.
        plural: For more than one; empty for a message without a number.
        context: ``label``, ``metavar`` or ``word`` for a message of a single word; else empty.
        file: Below the package; empty for what others say.
    """

    text: str
    plural: str = ""
    context: str = ""
    file: str = ""


Pieces: TypeAlias = "list[str | ast.expr]"


def variants(node: ast.expr) -> list[Pieces] | None:  # noqa: PLR0911 - a case for each kind of node
    """Return the ways in which a text is put together; ``None`` if it is not a text that stands here."""
    match node:
        case ast.Constant(value=str() as text):
            return [[text]]
        case ast.JoinedStr(values=values):
            return _products([_formatted(value) for value in values])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            sides = variants(left), variants(right)
            if sides == (None, None):
                return None
            return _products([ways or [[side]] for ways, side in zip(sides, (left, right), strict=True)])
        case ast.IfExp(body=body, orelse=orelse):
            branches = variants(body), variants(orelse)
            if branches == (None, None):
                return None
            return [*(branches[0] or [[body]]), *(branches[1] or [[orelse]])]
        case _:
            return None


def _formatted(value: ast.expr) -> list[Pieces]:
    if not isinstance(value, ast.FormattedValue):
        return variants(value) or []
    return (variants(value.value) if isinstance(value.value, ast.IfExp | ast.JoinedStr) else None) or [[value.value]]


def _products(parts: Sequence[list[Pieces]]) -> list[Pieces]:
    ways = [[*itertools.chain.from_iterable(one)] for one in itertools.product(*parts)]
    assert len(ways) <= _MOST_VARIANTS, "a text with so many alternatives is hard to translate: take it apart"
    return [_joined(way) for way in ways]


def _joined(pieces: Pieces) -> Pieces:
    joined: Pieces = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, str) and isinstance(last, str):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    return joined


def name_of(node: ast.expr) -> str:  # noqa: PLR0911 - a case for each kind of node
    """Name a place by the expression that fills it."""
    match node:
        case ast.Attribute(value=ast.Name(id="kind"), attr="name"):  # of a phone
            return "country"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower() or "value"
        case ast.Call(args=[first, *_], func=ast.Name()):
            return name_of(first)
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[first]):
            return name_of(first)
        case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if attribute in _METHODS_ON_A_VALUE:
            return name_of(value)
        case ast.Call(func=function):
            return name_of(function)
        case ast.Subscript(value=value) | ast.BoolOp(values=[value, *_]) | ast.BinOp(left=value):
            return name_of(value)
        case ast.GeneratorExp(elt=value) | ast.ListComp(elt=value) | ast.Starred(value=value):
            return name_of(value)
        case _:
            return "value"


def template(pieces: Pieces) -> str:
    """Return a message with its places named."""
    seen: dict[str, int] = {}
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece.replace("{", "{{").replace("}", "}}") if len(pieces) > 1 else piece
        else:
            name = name_of(piece)
            seen[name] = seen.get(name, 0) + 1
            text += f"{{{name}{seen[name] if seen[name] > 1 else ''}}}"
    return text.strip()


def is_prose(pieces: Pieces) -> bool:
    """Return whether it is something that a person may read: words, and not a name, a pattern or a statement."""
    text = "".join(piece if isinstance(piece, str) else "\0" for piece in pieces)
    if _not_prose.match(text) or text.startswith("-c "):  # a statement, a markup, an option of PostgreSQL
        return False
    return bool(_two_words.search(text) if "\0" not in text else " " in text and _word_among_places.search(text))


class _Reader(ast.NodeVisitor):
    """Collects the messages of a file."""

    def __init__(self, file: str) -> None:
        self.found: list[Found] = []
        self._file = file

    def _add(self, text: str, *, plural: str = "", context: str = "") -> None:
        self.found.append(Found(text, plural, context, self._file))

    def visit(self, node: ast.AST) -> None:
        ways = variants(node) if isinstance(node, ast.expr) else None
        if ways is None:
            super().visit(node)
            return
        for way in ways:
            if is_prose(way):
                self._add(template(way))
            for piece in way:
                if not isinstance(piece, str):
                    self.visit(piece)

    def visit_Call(self, node: ast.Call) -> None:
        name, owner = _called(node.func)
        if name in _CALLS_WITHOUT_PROSE:
            return
        if name in _LOGGED and "log" in owner.lower():
            if name in _LOGGED_FOR_A_PERSON and self._file.startswith("smspilot_async/outbox/"):
                self._logged(node.args)
            return
        match name, node.args:
            case (("count" | "_and_more"), [number, ast.Constant(value=str() as one), *more]) if not owner:
                many = str(more[0].value) if more and isinstance(more[0], ast.Constant) else f"{one}s"
                further = "more " if name == "_and_more" else ""
                self._add(f"{{n}} {further}{one}", plural=f"{{n}} {further}{many}")
                self.visit(number)
                return
            case "print_facts", [ast.Dict(keys=titles, values=values)]:
                self._titles(titles)
                self._visit_all(values)
                return
            case "print_table", [ast.Tuple(elts=titles), *rows]:
                self._titles(titles)
                self._visit_all(rows)
                return
            case "argument", [ast.Constant(value=str() as argument), *_]:
                self._placeholders(argument.upper())
        for keyword in node.keywords:
            if keyword.arg == "metavar" and isinstance(keyword.value, ast.Constant):
                self._placeholders(str(keyword.value.value))
        self._visit_all([node.func, *node.args, *(one.value for one in node.keywords if one.arg != "metavar")])

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _logged(self, arguments: Sequence[ast.expr]) -> None:
        """Add what a worker prints of its log: a format of logging, with its values."""
        match arguments:
            case [ast.Constant(value=str() as text), *values]:
                places = [f"{{{name_of(value)}}}" for value in values]
                found = re.sub(r"%[sd]", lambda _: places.pop(0), text)
                if is_prose([re.sub(r"{\w+}", "\0", found)]):
                    self._add(found)

    def _titles(self, titles: Sequence[ast.expr | None]) -> None:
        for title in titles:
            for way in (variants(title) if title is not None else None) or []:
                if all(isinstance(piece, str) for piece in way):
                    self._add("".join(map(str, way)), context="label")

    def _placeholders(self, written: str) -> None:
        for placeholder in _capitals.findall(written):
            self._add(placeholder, context="metavar")

    def _visit_body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for child in node.body:
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):  # a docstring
                self.visit(child)

    visit_Module = _visit_body  # noqa: N815 - ast's own name
    visit_ClassDef = _visit_body  # noqa: N815 - ast's own name
    visit_AsyncFunctionDef = _visit_body  # noqa: N815 - ast's own name

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(child)
        commands = [each for each in node.decorator_list if isinstance(each, ast.Call) and _is_command(each.func)]
        for command in commands:
            for text in help_texts(ast.get_docstring(node) or "", command):
                self._add(text)
        self._visit_body(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None: ...

    def visit_arg(self, node: ast.arg) -> None: ...


def _called(function: ast.expr) -> tuple[str, str]:
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else "…"
    return (function.id if isinstance(function, ast.Name) else ""), ""


def _is_command(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in {"command", "group"}


def help_texts(docstring: str, command: ast.Call) -> Iterator[str]:
    """Yield the paragraphs of a command's help, and its first sentence, if that is what a list of commands shows."""
    paragraphs = [*map(_paragraph, docstring.split("\n\n"))]
    yield from paragraphs
    if not any(keyword.arg == "short_help" for keyword in command.keywords):
        yield paragraphs[0].partition(". ")[0].removesuffix(".") + "."


def _paragraph(text: str) -> str:
    return text.removeprefix("\b\n") if text.startswith("\b\n") else " ".join(text.split())


def extract() -> Iterator[Found]:
    """Yield every message of the command once, in the order of its files."""
    seen = set[tuple[str, str]]()
    for found in itertools.chain(_in_the_source(), _elsewhere()):
        key = (found.context, found.text)
        if key not in seen and (found.context or found.text not in NEVER_SHOWN):
            seen.add(key)
            yield found


def _in_the_source() -> Iterator[Found]:
    for pattern in FILES:
        for path in sorted(PACKAGE.glob(pattern)):
            if path.relative_to(PACKAGE).as_posix() in WITHOUT_WORDS_FOR_A_TERMINAL:
                continue
            reader = _Reader(path.relative_to(ROOT).as_posix())
            reader.visit(ast.parse(path.read_text(encoding="utf-8")))
            yield from reader.found


def _elsewhere() -> Iterator[Found]:
    listed: Iterable[tuple[str, Iterable[str]]] = (
        ("", SENTENCES),
        ("label", LABELS),
        ("word", WORDS),
        ("word", sorted({kind_of(prefix).name for prefix in countries_by_prefix()})),
        ("metavar", PLACEHOLDERS),
    )
    for context, texts in listed:
        for text in texts:
            yield Found(text, context=context)


def catalogue() -> Catalog:
    """Read the catalogue as it is kept."""
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="ru", domain="smspilot")


def updated(kept: Catalog) -> Catalog:
    """Return a catalogue of the messages that there are now, with the translations kept so far."""
    new = Catalog(
        "ru",
        domain="smspilot",
        header_comment=kept.header_comment,
        project="smspilot",
        version="ru",
        msgid_bugs_address="https://github.com/smspilot-async/smspilot-async/issues",
        creation_date=kept.creation_date,
        revision_date=kept.revision_date,
        last_translator="The smspilot_async developers",
        language_team="Russian",
        fuzzy=False,
    )
    for found in extract():
        id_ = (found.text, found.plural) if found.plural else found.text
        old = kept.get(found.text, found.context or None)
        is_kept = old is not None and isinstance(old.id, tuple) == bool(found.plural)
        places = [(found.file, None)] if found.file else []
        new.add(id_, old.string if old is not None and is_kept else None, places, context=found.context or None)  # type: ignore[arg-type]
    return new


def write(made: Catalog) -> None:
    """Write the catalogue, and compile it."""
    with CATALOGUE.open("wb") as file:
        write_po(file, made, width=_MOST_COLUMNS, include_lineno=False)
    with CATALOGUE.with_suffix(".mo").open("wb") as file:
        write_mo(file, made)


def untranslated(made: Catalog) -> list[Message]:
    """Return the messages without a translation."""
    return [one for one in made if one.id and not all(one.string if isinstance(one.string, tuple) else [one.string])]


if __name__ == "__main__":
    result = updated(catalogue())
    write(result)
    missing = untranslated(result)
    for message in missing:
        sys.stdout.write(f"not translated yet: {message.id!r}\n")
    sys.stdout.write(f"{CATALOGUE.relative_to(ROOT)}: {len(result)} messages, {len(missing)} without a translation\n")
