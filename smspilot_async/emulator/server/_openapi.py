"""The OpenAPI document of the control API, at ``/_emulator/openapi.json``: made of the operations that are served."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs
from starlette.routing import Route
from starlette.types import ASGIApp

from smspilot_async._version import __version__
from smspilot_async.emulator._callbacks import CallbackCall
from smspilot_async.emulator.gateway._accounts import Account
from smspilot_async.emulator.gateway._messages import AcceptedMessage, InboundSms, StatusChange
from smspilot_async.emulator.gateway._refusals import Refusal
from smspilot_async.emulator.gateway._requests import RecordedRequest
from smspilot_async.emulator.gateway._settings import Settings
from smspilot_async.emulator.gateway._unknowns import Unknowns
from smspilot_async.emulator.server._control import HIDDEN
from smspilot_async.emulator.server._endpoints import Endpoint
from smspilot_async.emulator.server._http import PAGE_PATH
from smspilot_async.emulator.server._schemas import (
    BOOLEAN,
    MOMENT,
    NATURAL,
    STRING,
    Schema,
    nullable,
    obj,
    record,
    ref,
)

JSON: Final = "application/json"
_ABOUT: Final = (
    "What Python can do to the emulator, over HTTP. Bodies are JSON objects, whatever their content type. Lists are "
    "paged: while next is not null, ask again with it as after. Durations are seconds, money is a string of digits."
)


@attrs.frozen(kw_only=True)
class Operation:
    """One thing that can be asked.

    Attributes:
        path: Below ``/_emulator``; what is in braces is the caller's.
        summary: What it does, in a sentence.
        endpoint: What answers.
        answer: The schema of the answer, if it is JSON.
        fields: Those of the query, or of the body.
        required: The fields that must be there.
        is_found: Whether the answer may be 404.
        media_type: What the answer is labelled with.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    endpoint: Endpoint | ASGIApp
    answer: Schema = attrs.Factory(dict)
    fields: Mapping[str, Schema] = attrs.Factory(dict)
    required: Sequence[str] = ()
    is_found: bool = False
    media_type: str = JSON

    def route(self) -> Route:
        """Its route."""
        return Route(self.path, self.endpoint, methods=[self.method])


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document that describes some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SMSPILOT emulator", "version": __version__, "description": _ABOUT},
        "servers": [{"url": PAGE_PATH}],
        "paths": paths,
        "components": {"schemas": _components()},
    }


def _described(operation: Operation) -> dict[str, Any]:
    of_path = [
        {"name": name, "in": "path", "required": True, "schema": STRING}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": operation.summary,
        "parameters": of_path,
        "responses": _responses(operation),
    }
    if operation.method == "POST":
        schema = {"type": "object", "properties": dict(operation.fields), "additionalProperties": False}
        if operation.required:
            schema["required"] = list(operation.required)
        content = {JSON: {"schema": schema}}
        described["requestBody"] = {"required": bool(operation.required), "content": content}
    else:
        described["parameters"] += [
            {"name": name, "in": "query", "required": name in operation.required, "schema": schema}
            for name, schema in operation.fields.items()
        ]
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    mistakes = {"400": "The request makes no sense.", "403": "A browser's page from elsewhere asked."}
    if operation.is_found:
        mistakes["404"] = "It is not there."
    if operation.method == "POST":
        mistakes["413"] = "The body is larger than 1 MiB."
    content: dict[str, Any] = {operation.media_type: {"schema": operation.answer} if operation.answer else {}}
    error = {JSON: {"schema": ref("Error")}}
    return {
        "200": {"description": operation.summary, "content": content},
        **{status: {"description": words, "content": error} for status, words in mistakes.items()},
    }


def _name(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", f"{operation.method.lower()} {operation.path}".replace("_", " "))
    return "_".join(words)


def _components() -> dict[str, Schema]:
    return {
        "AcceptedMessage": record(AcceptedMessage),
        "StatusChange": record(StatusChange),
        "InboundSms": record(InboundSms),
        "Said": obj(
            direction={"enum": ["out", "in"]},
            message=nullable(ref("AcceptedMessage")),
            inbound=nullable(ref("InboundSms")),
        ),
        "CallbackCall": record(CallbackCall, acknowledged=BOOLEAN),
        "Refusal": record(Refusal),
        "RecordedRequest": record(RecordedRequest),
        "WholeRequest": record(RecordedRequest, request=STRING, answer=STRING),
        "Account": record(Account, without=HIDDEN),
        "Settings": record(Settings),
        "Unknowns": record(Unknowns),
        "State": _state(),
        "Error": obj(error=STRING),
    }


def _state() -> Schema:
    counted = ("messages", "test_messages", "inbound", "requests", "refusals", "callbacks", "pending_faults")
    return obj(now=MOMENT, **dict.fromkeys(counted, NATURAL), settled=BOOLEAN)
