"""The emulator's own XML: a small reader that trusts no input, and a writer that loses no character.

Documents of this protocol are a root with attributes and a flat list of elements, so a reader of three handlers is
enough. It refuses every document type declaration, and with it all entities but XML's own five.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.parsers import expat

import attrs

from smspilot_async.emulator.gateway._errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
_DEEPEST: Final = 16
# Bytes per element and per attribute, on average, beyond the first few: denser documents would only fill the memory.
_SHORTEST_ELEMENT: Final = 16
_SHORTEST_ATTRIBUTE: Final = 8
_ALLOWED_ANYWAY: Final = 1000
_MOST_ATTRIBUTES: Final = 200  # of one element

# What XML 1.0 cannot carry even as a reference; it may be in an inbound text.
_NOT_IN_XML: Final = {
    **dict.fromkeys((*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")
}
# A parser turns a bare carriage return into a line feed, and all white space of an attribute into spaces.
_TEXT: Final = _NOT_IN_XML | str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE: Final = _TEXT | str.maketrans({'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


@attrs.define
class Node:
    """An element: its name, attributes, own text and children."""

    name: str
    attributes: dict[str, str]
    pieces: list[str] = attrs.Factory(list)
    children: list[Node] = attrs.Factory(list)

    @property
    def text(self) -> str:
        """The text directly inside it."""
        return "".join(self.pieces)


def read(body: bytes) -> Node:
    """The root of a document.

    Raises:
        Refused: 12, it is not well-formed, has a document type, is nested too deeply, or is a swarm of elements or
            attributes.
    """
    reader = _Reader()
    try:
        root = reader.read(body)
    except (expat.ExpatError, ValueError, LookupError):
        root = None
    if root is None:
        raise Refused(12)
    return root


class _Reader:
    def __init__(self) -> None:
        self._open: list[Node] = []
        self._root: Node | None = None
        self._elements_left = 0
        self._attributes_left = 0

    def read(self, body: bytes) -> Node | None:
        self._elements_left = _ALLOWED_ANYWAY + len(body) // _SHORTEST_ELEMENT
        self._attributes_left = _ALLOWED_ANYWAY + len(body) // _SHORTEST_ATTRIBUTE
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.Parse(body, True)  # noqa: FBT003 - expat takes it by position only
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEEPEST:
            raise ValueError("nested too deeply")
        self._elements_left -= 1
        self._attributes_left -= len(attributes)
        if min(self._elements_left, self._attributes_left) < 0 or len(attributes) > _MOST_ATTRIBUTES:
            raise ValueError("too many elements or attributes")
        node = Node(name, attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self._root = node
        self._open.append(node)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _text(self, piece: str) -> None:
        self._open[-1].pieces.append(piece)


def _refuse_doctype(*_declaration: object) -> None:
    raise ValueError("a document type declaration")


def element(name: str, attributes: Mapping[str, str], content: str = "") -> str:
    """An element whose `content` is XML already."""
    head = "".join(f' {key}="{value.translate(_ATTRIBUTE)}"' for key, value in attributes.items())
    return f"<{name}{head}>{content}</{name}>" if content else f"<{name}{head}/>"


def escaped(text: str) -> str:
    """A text as an element's content."""
    return text.translate(_TEXT)
