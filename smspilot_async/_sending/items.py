"""Makes messages of the items that callers pass in: messages, mappings, and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from smspilot_async.errors import InvalidMessage
from smspilot_async.models import Message
from smspilot_async.text import Country, dialled

_LONGEST_NAME: Final = 32


_FIELDS: Final = frozenset(attribute.name for attribute in attrs.fields(Message))


def as_message(item: Any, country: Country | None = None) -> Message:
    """Make a message of an item: a :class:`Message`, a mapping with its fields, or a pair ``(to, text)``.

    Args:
        item: The item.
        country: How phones are read, except that of a :class:`Message`.

    Raises:
        InvalidMessage: It is none of these, or a field is invalid or unknown.
    """
    if isinstance(item, Message):
        return item
    if isinstance(item, (tuple, list)) and len(item) == 2:  # noqa: PLR2004
        return Message(item[0] if country is None else dialled(item[0], country), item[1])
    if isinstance(item, Mapping):
        return _from_mapping(item, country)
    raise InvalidMessage(
        f"needs a Message, a mapping, or a pair (to, text), not {type(item).__name__}", field="item", code=240
    )


def _from_mapping(item: Mapping[Any, Any], country: Country | None) -> Message:
    fields = {"sender" if name == "from" else name: value for name, value in item.items()}
    for name in fields:
        if name not in _FIELDS:
            shown = name if _is_field_name(name) else "…"
            raise InvalidMessage(f"a message has no field {shown!r}", field=shown, code=275)
    if len(fields) < len(item):
        raise InvalidMessage("is given twice, as 'from' and 'sender'", field="sender", code=275)
    for name, code in (("to", 108), ("text", 220)):
        if fields.get(name) is None:
            raise InvalidMessage("is missing", field=name, code=code)
    to = fields.pop("to")
    return Message(to if country is None else dialled(to, country), fields.pop("text"), **fields)


def _is_field_name(name: Any) -> bool:
    """Return whether a key looks like a field name, which may be shown, and not like a phone or a text."""
    return isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= _LONGEST_NAME
