"""Parses bytes, JSON or XML, into a plain document of one shape.

Both readers reject anything else quickly and in bounded memory: not UTF-8, HTML, entities, deep nesting, NaN, lone
surrogates. XML is converted to the shape of JSON: attributes and children are keys, the content of ``<sms>`` is
``text``.

The texts of inbound messages come from phones, which may cut emoji in half: there half a character is read as U+FFFD,
since one such text must not make all others unreadable, now and at every later poll.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn
from xml.parsers import expat

import xmltodict

from smspilot_async.wire._json import loads

if TYPE_CHECKING:
    from collections.abc import Iterable

_AROUND: Final = "\ufeff \t\r\n"  # PHP files that some editors save begin with a byte order mark
_DEEPEST: Final = 32
_SHORTEST_ELEMENT: Final = 24  # bytes, on average: masses of shorter ones cost seconds, and are not an answer
_FEW_ELEMENTS: Final = 1000
_SHORTEST_ATTRIBUTE: Final = 8  # bytes, on average, as for elements
_FEW_ATTRIBUTES: Final = 1000
_MOST_ATTRIBUTES: Final = 200  # of one element; the gateway's rows have a dozen
_html = re.compile(r"<(!doctype\s+html|html|head|body|center|h1|p|br|div)\b", re.IGNORECASE).match
_escaped_surrogate = re.compile(r"\\u[dD][89a-fA-F]").search
_character_reference = re.compile(r"&#(?:x0*([dD][89a-fA-F][0-9a-fA-F]{2})|0*(5[5-7][0-9]{3}));")
_SURROGATES: Final = range(0xD800, 0xE000)
_CONTAINERS: Final = frozenset({dict, list})
_ROWS: Final = ("sms",)
_CONTENT: Final = "#text"


class UnreadableAnswer(Exception):
    """The bytes are not an answer of the gateway. The text says what they are instead, without their content."""


def read(body: bytes, *, repair_surrogates: bool = False) -> dict[str, Any]:
    """Parse an answer, JSON or XML depending on its first character.

    Args:
        body: The answer.
        repair_surrogates: Read a lone surrogate as U+FFFD; otherwise a document with one is rejected.

    Raises:
        UnreadableAnswer: It is neither a JSON object nor an XML document.
    """
    try:
        text = _repaired(body.decode(errors="surrogatepass")) if repair_surrogates else body.decode()
    except UnicodeDecodeError:
        raise UnreadableAnswer("not UTF-8") from None
    text = text.strip(_AROUND)
    if not text:
        raise UnreadableAnswer("an empty body")
    if b"\0" in body:
        raise UnreadableAnswer("UTF-16, or not text at all")  # expat would read UTF-16 despite its arguments
    if text[0] == "{":
        return _read_json(text, body, repair_surrogates=repair_surrogates)
    if text[0] == "<" and not _html(text):
        return _read_xml(_without_references_to_surrogates(text) if repair_surrogates else text)
    raise UnreadableAnswer("an HTML page" if text[0] == "<" else "neither JSON nor XML")


def _read_json(text: str, body: bytes, *, repair_surrogates: bool) -> dict[str, Any]:
    """Read an object; searches run over the bytes, which is faster."""
    try:
        document = loads(text)
    except RecursionError:
        raise UnreadableAnswer("JSON nested too deep") from None
    except (ValueError, ArithmeticError):
        raise UnreadableAnswer("broken JSON") from None
    _check_depth(document, containers=body.count(b"{") + body.count(b"["))
    if b"\\u" in body and _escaped_surrogate(text):
        if repair_surrogates:
            document = _all_repaired(document)
        _refuse_lone_surrogates(document)
    assert isinstance(document, dict)  # noqa: S101 - it began with a brace
    return document


def _check_depth(document: Any, containers: int) -> None:
    """Reject deep nesting, level by level, without recursion.

    Args:
        document: The document.
        containers: The maximum number of objects and lists in it: the number of brackets in its text. Once all are
            found, rows, the last level of an answer, need not be searched.
    """
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        containers -= len(level)
        if containers <= 0:
            return
        level = [child for node in level for child in _containers(node) if type(child) in _CONTAINERS]
        if not level:
            return
    raise UnreadableAnswer("nested too deep")


def _containers(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    """Return a node's children, if a container is among them; most nodes are rows without one."""
    children = node.values() if isinstance(node, dict) else node
    return () if _CONTAINERS.isdisjoint(map(type, children)) else children


def _refuse_lone_surrogates(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise UnreadableAnswer("a lone surrogate in a string") from None


def _repaired(text: str) -> str:
    """Join pairs of surrogates, and replace lone ones by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _all_repaired(node: Any) -> Any:
    if isinstance(node, str):
        return _repaired(node)
    if isinstance(node, list):
        return [_all_repaired(child) for child in node]
    if isinstance(node, dict):
        return {_repaired(name): _all_repaired(child) for name, child in node.items()}
    return node


def _without_references_to_surrogates(text: str) -> str:
    return _repaired(_character_reference.sub(_surrogate, text))


def _surrogate(reference: re.Match[str]) -> str:
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    return chr(number) if number in _SURROGATES else reference[0]


def _read_xml(text: str) -> dict[str, Any]:
    data = text.encode()
    try:
        _guard_xml(data)
        document = xmltodict.parse(
            data,
            encoding="utf-8",
            attr_prefix="",
            cdata_key=_CONTENT,
            force_list=_ROWS,
            strip_whitespace=False,  # an SMS may start with a space
        )
    except (expat.ExpatError, ValueError):
        raise UnreadableAnswer("broken XML") from None
    ((name, content),) = document.items()
    return _as_json(name, content)


def _guard_xml(data: bytes) -> None:
    """Reject entities, deep nesting and masses of elements or attributes before a tree is built from them."""
    parser = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True  # a list of names and values, which is cheaper to make than a dict
    depth = 0
    elements_left = _FEW_ELEMENTS + len(data) // _SHORTEST_ELEMENT
    attributes_left = _FEW_ATTRIBUTES + len(data) // _SHORTEST_ATTRIBUTE

    def start(_name: str, attributes: list[str]) -> None:
        nonlocal depth, elements_left, attributes_left
        number = len(attributes) // 2
        depth += 1
        elements_left -= 1
        attributes_left -= number
        if depth > _DEEPEST:
            raise UnreadableAnswer("nested too deep")
        if elements_left < 0:
            raise UnreadableAnswer("too many elements")
        if attributes_left < 0 or number > _MOST_ATTRIBUTES:
            raise UnreadableAnswer("too many attributes")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> NoReturn:
        raise UnreadableAnswer("XML with a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(data, True)  # noqa: FBT003 - expat takes no keyword


def _as_json(name: str, content: Any) -> dict[str, Any]:
    if name in {"cost", "balance"}:
        return {name: content.get(_CONTENT) if isinstance(content, dict) else content}
    if name == "error" and isinstance(content, str):
        return {name: content}
    fields = content if isinstance(content, dict) else {}
    fields.pop(_CONTENT, None)  # white space between the elements
    if name in {"info", "error"}:
        return {name: fields}
    if name not in {"send", "check", "inbound"}:
        return {}
    rows = fields.pop("sms", [])
    return {**fields, name: list(map(_row, rows)) if isinstance(rows, list) else rows}


def _row(content: Any) -> Any:
    """Convert an ``<sms>``: xmltodict makes a string of one without attributes, and ``None`` of an empty one."""
    if not isinstance(content, dict):
        return {} if content is None else {"text": content}
    if _CONTENT in content:
        text = content.pop(_CONTENT)
        content.setdefault("text", text)
    return content
