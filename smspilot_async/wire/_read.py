"""Bytes into a plain document of one shape, whichever language they are in.

Both readers refuse what is no document quickly and in bounded memory: not UTF-8, HTML, entities, deep nesting, NaN,
lone surrogates. XML is brought into the shape of JSON: attributes and children are keys, the content of ``<sms>`` is
``text``.

People write the texts of inbound messages, and their phones cut emoji in half: there half a character is read as
U+FFFD, since one such text must not keep all the others from being read, today and at every poll to come.
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

_AROUND: Final = "\ufeff \t\r\n"  # a byte order mark is what PHP files saved by some editors begin with
_DEEPEST: Final = 32
_SHORTEST_ELEMENT: Final = 24  # bytes, on average: a swarm of shorter ones costs seconds, and is no answer
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
    """The bytes are no answer of the gateway. Its text tells what they are instead, and nothing of their content."""


def read(body: bytes, *, repair_surrogates: bool = False) -> dict[str, Any]:
    """Parse an answer, JSON or XML as its first character says.

    Args:
        body: The answer.
        repair_surrogates: Read a lone surrogate as U+FFFD; otherwise no document holds one.

    Raises:
        UnreadableAnswer: for anything but a JSON object or an XML document.
    """
    try:
        text = _repaired(body.decode(errors="surrogatepass")) if repair_surrogates else body.decode()
    except UnicodeDecodeError:
        raise UnreadableAnswer("not UTF-8") from None
    text = text.strip(_AROUND)
    if not text:
        raise UnreadableAnswer("an empty body")
    if b"\0" in body:
        raise UnreadableAnswer("UTF-16, or no text at all")  # which expat would read, whatever it is told
    if text[0] == "{":
        return _read_json(text, body, repair_surrogates=repair_surrogates)
    if text[0] == "<" and not _html(text):
        return _read_xml(_without_references_to_surrogates(text) if repair_surrogates else text)
    raise UnreadableAnswer("an HTML page" if text[0] == "<" else "neither JSON nor XML")


def _read_json(text: str, body: bytes, *, repair_surrogates: bool) -> dict[str, Any]:
    """Read an object; what is only looked for is looked for in the bytes, where that is quicker."""
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
    """Refuse nesting that no answer has, level by level, so that nothing recurses.

    Args:
        document: What was read.
        containers: Objects and lists in it, at most: its text has so many brackets. Rows, the last level of an answer,
            need no look into them once all are found.
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
    """Give a node's children, if a container is among them; most nodes are rows without."""
    children = node.values() if isinstance(node, dict) else node
    return () if _CONTAINERS.isdisjoint(map(type, children)) else children


def _refuse_lone_surrogates(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise UnreadableAnswer("a lone surrogate in a string") from None


def _repaired(text: str) -> str:
    """Join surrogates that make a pair, and read each that is left as U+FFFD."""
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
            strip_whitespace=False,  # an SMS may begin with a space
        )
    except (expat.ExpatError, ValueError):
        raise UnreadableAnswer("broken XML") from None
    ((name, content),) = document.items()
    return _as_json(name, content)


def _guard_xml(data: bytes) -> None:
    """Refuse entities, deep nesting and a swarm of elements or attributes before a tree is built of them."""
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
    """An ``<sms>``: xmltodict makes a string of one without attributes, and nothing of an empty one."""
    if not isinstance(content, dict):
        return {} if content is None else {"text": content}
    if _CONTENT in content:
        text = content.pop(_CONTENT)
        content.setdefault("text", text)
    return content
