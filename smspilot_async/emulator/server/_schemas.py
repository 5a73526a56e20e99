"""JSON Schemas of the control API's records, from the classes themselves: each field by its type and docstring.

They are those of OpenAPI 3.1, which are JSON Schema's of 2020-12.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import attrs

from smspilot_async.emulator.server._fields import LONGEST, alternatives

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
NUMBER: Final[Schema] = {"type": "number"}
WHOLE: Final[Schema] = {"type": "integer"}
NATURAL: Final[Schema] = {"type": "integer", "minimum": 0}
SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
PHONE: Final[Schema] = {"type": ["string", "integer"]}

_SHOWN: Final[dict[Any, Schema]] = {
    NoneType: {"type": "null"},
    bool: BOOLEAN,
    str: STRING,
    int: WHOLE,
    float: NUMBER,
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    timedelta: SECONDS,
    tzinfo: STRING,
    datetime: {"type": "string", "format": "date-time"},
    Collection[str]: {"type": "array", "items": STRING},
    Sequence[str]: {"type": "array", "items": STRING},
    Mapping[str, Decimal]: {"type": "object", "additionalProperties": STRING},
}
_WRITTEN: Final[dict[Any, Schema]] = {
    **_SHOWN,
    int: NATURAL,
    float: {"type": "number", "minimum": 0, "maximum": 1},
    Decimal: {"type": ["string", "number"]},
    timedelta: {"type": "number", "minimum": 0, "maximum": LONGEST},
    Mapping[str, Decimal]: {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
}


def record(cls: type[attrs.AttrsInstance], *, without: Collection[str] = (), **more: Schema) -> Schema:
    """The schema of a record in an answer: all its fields, and `more`."""
    properties = {**_properties(cls, _SHOWN, without), **more}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def written(cls: type[attrs.AttrsInstance], *, without: Collection[str] = ()) -> dict[str, Schema]:
    """The fields of a record that a body may have."""
    return _properties(cls, _WRITTEN, without)


def obj(**properties: Schema) -> Schema:
    """The schema of an object that has just these."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def array(of: Schema) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": of}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """A schema that stands among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def described(schema: Schema, description: str) -> Schema:
    """The same with a description."""
    return {**schema, "description": description}


def _properties(
    cls: type[attrs.AttrsInstance], kinds: Mapping[Any, Schema], without: Collection[str]
) -> dict[str, Schema]:
    hints, words = get_type_hints(cls), _attribute_words(cls)
    names = [each.name for each in attrs.fields(cls) if each.init and each.name not in without]
    shown = [name for name in names if not name.startswith("_")]
    return {name: {**_schema(hints[name], kinds), **words.get(name, {})} for name in shown}


def _schema(kind: Any, kinds: Mapping[Any, Schema]) -> Schema:
    options = [_one(each, kinds) for each in alternatives(kind)]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _one(kind: Any, kinds: Mapping[Any, Schema]) -> Schema:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:  # of records, which stand among the components
        return array(ref(get_args(kind)[0].__name__))
    return dict(kinds[kind])


def _attribute_words(cls: type[attrs.AttrsInstance]) -> dict[str, Schema]:
    """The descriptions of the attributes, out of the docstring."""
    _, _, attributes = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    return {name: {"description": " ".join(words.replace("`", "").split())} for name, words in found}
