"""Public names say where users import them from, in tracebacks, pickles and help, and keep what the rest needs."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import typing
from typing import Any

import attrs
import cattrs
import pytest

import smspilot_async

ROOMS = [
    "smspilot_async",
    "smspilot_async.audit",
    "smspilot_async.callbacks",
    "smspilot_async.callbacks.aiohttp",
    "smspilot_async.callbacks.asgi",
    "smspilot_async.emulator",
    "smspilot_async.errors",
    "smspilot_async.hooks",
    "smspilot_async.models",
    "smspilot_async.notebook",
    "smspilot_async.otel",
    "smspilot_async.text",
    "smspilot_async.wire",
]
NAMES = [(room, name) for room in ROOMS for name in importlib.import_module(room).__all__]
KINDS = [(room, name) for room, name in NAMES if isinstance(getattr(importlib.import_module(room), name), type)]


def public(room: str, name: str) -> Any:
    return getattr(importlib.import_module(room), name)


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_a_public_name_says_the_public_place_where_it_is_found(room: str, name: str) -> None:
    one = public(room, name)
    if isinstance(one, type) or inspect.isfunction(one):
        assert one.__module__ in {room, "smspilot_async"}
        assert public(one.__module__, one.__name__) is one


@pytest.mark.parametrize(("room", "name"), KINDS)
def test_a_public_class_is_pickled_by_that_place(room: str, name: str) -> None:
    kind = public(room, name)
    assert pickle.loads(pickle.dumps(kind)) is kind  # noqa: S301 - our own
    assert copy.deepcopy(kind) is kind


@pytest.mark.parametrize(("room", "name"), KINDS)
def test_the_types_of_a_public_class_can_be_resolved(room: str, name: str) -> None:
    kind = public(room, name)
    typing.get_type_hints(kind)
    if attrs.has(kind):
        attrs.resolve_types(kind)
        assert not [field.name for field in attrs.fields(kind) if isinstance(field.type, str)]


def test_answers_can_be_written_down_and_read_again_by_cattrs() -> None:
    sent = smspilot_async.SentMessage(id=1, server_id="10005", parts=1, status=0)
    fields = cattrs.unstructure(sent)
    assert fields["server_id"] == "10005"
    assert fields["status"] == 0


def test_a_traceback_names_an_error_by_its_public_path() -> None:
    with pytest.raises(smspilot_async.InvalidMessage) as caught:
        smspilot_async.Message("12", "Hello")
    assert f"{type(caught.value).__module__}.{type(caught.value).__qualname__}" == "smspilot_async.InvalidMessage"
