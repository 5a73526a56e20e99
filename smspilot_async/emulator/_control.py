"""The control API: what the Python object can do, for tests in any other language.

All answers are JSON; bodies are JSON objects, whatever their content type.

``GET /_emulator/health``
    ``{"ok": true}`` as soon as it listens.
``GET /_emulator/state``
    The time and how many messages, test messages, inbound messages, callbacks and planned faults there are;
    ``settled`` says whether all callbacks are answered.
``GET /_emulator/messages?to=79087964781&status=2``
    ``{"messages": [...]}``: every accepted message, in order, or those whose fields have the values of the query.
``GET /_emulator/messages/100000001``
    ``{"message": {...}, "callbacks": [...]}``: one message, and the status callbacks made for it with their answers.
``POST /_emulator/status``
    ``{"server_id", "status", "error"?}``: a message moves to a status now, unless it has its last one already.
``GET /_emulator/inbound``
    ``{"inbound": [...]}``: every message that came in, in order.
``POST /_emulator/inbound``
    ``{"phone", "text", "num"?}``: somebody sends an SMS to the first account's service number.
``POST /_emulator/fail-next``
    ``{"fault", "command"?, "times"?, "delay"?, "retry_after"?, "status"?, "row"?}``: the next requests fail; the faults
    are the values of `Fault`, such as ``"accept-then-reset"``.
``POST /_emulator/no-more-faults``
    The faults that wait, and the random ones, are forgotten.
``POST /_emulator/clock``
    ``{"advance": seconds}`` or ``{"set": "2026-01-31T12:00:00+00:00"}``; answers ``{"now": ...}``.
``POST /_emulator/release``
    The answers that the fault ``slow`` holds back go now.
``POST /_emulator/reset``
    Messages, faults and switches are forgotten.
``GET /_emulator/events``
    Server-sent events, which keep the page at ``/_emulator`` live (`_page`).

A mistake answers 400 and ``{"error": "..."}``. A browser's page from elsewhere is turned away (403, `_visitors`).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.responses import Response
from starlette.routing import Route

from smspilot_async.emulator._emulator import SERVICE_NUMBER, Emulator
from smspilot_async.emulator._messages import MESSAGE_FIELDS, as_json
from smspilot_async.emulator._visitors import is_ours

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from smspilot_async.emulator._messages import AcceptedMessage

    Action = Callable[[dict[str, Any]], dict[str, Any]]
    Endpoint = Callable[[Request], Awaitable[Response]]

_LARGEST_BODY: Final = 1024 * 1024


def control_routes(emulator: Emulator) -> list[Route]:
    """The routes of the control API."""
    control = _Control(emulator)
    return [
        Route("/health", _reading(lambda _query: {"ok": True}), methods=["GET"]),
        Route("/state", _reading(lambda _query: emulator.state()), methods=["GET"]),
        Route("/messages", _reading(control.messages), methods=["GET"]),
        Route("/messages/{server_id}", _reading(control.message), methods=["GET"]),
        Route("/status", _writing(control.status), methods=["POST"]),
        Route("/inbound", _reading(control.inbound_messages), methods=["GET"]),
        Route("/inbound", _writing(control.inbound), methods=["POST"]),
        Route("/fail-next", _writing(control.fail_next), methods=["POST"]),
        Route("/no-more-faults", _writing(control.no_more_faults), methods=["POST"]),
        Route("/clock", _writing(control.clock), methods=["POST"]),
        Route("/release", _writing(control.release), methods=["POST"]),
        Route("/reset", _writing(control.reset), methods=["POST"]),
    ]


@attrs.frozen
class _Control:
    emulator: Emulator

    def messages(self, query: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(query.keys() - MESSAGE_FIELDS):
            raise ValueError(f"a message has no field {unknown[0]!r}")
        shown = map(as_json, self.emulator.messages)
        return {"messages": [message for message in shown if _has(message, query)]}

    def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        calls = (call for call in self.emulator.callbacks if call.server_id == asked["server_id"])
        return {
            "message": as_json(self._find(asked["server_id"])),
            "callbacks": [{**as_json(call), "acknowledged": call.acknowledged} for call in calls],
        }

    def status(self, body: dict[str, Any]) -> dict[str, Any]:
        message = self._find(str(body["server_id"]))
        if message.test:
            raise ValueError("a test message goes nowhere and has no other status")
        self.emulator.set_status(message.server_id, int(body["status"]), int(body.get("error", 0)))
        return {"ok": True}

    def inbound_messages(self, _query: dict[str, Any]) -> dict[str, Any]:
        return {"inbound": list(map(as_json, self.emulator.inbound_messages))}

    def inbound(self, body: dict[str, Any]) -> dict[str, Any]:
        num = str(body.get("num", SERVICE_NUMBER))
        sms = self.emulator.inbound(str(body["phone"]), str(body["text"]), num=num)
        return {"id": sms.id}

    def fail_next(self, body: dict[str, Any]) -> dict[str, Any]:
        self.emulator.fail_next(**{"command": "*", **body})
        return {"ok": True}

    def no_more_faults(self, _body: dict[str, Any]) -> dict[str, Any]:
        self.emulator.no_more_faults()
        return {"ok": True}

    def clock(self, body: dict[str, Any]) -> dict[str, Any]:
        clock = self.emulator.clock
        if "set" in body:
            clock.set(datetime.fromisoformat(body["set"]))
        else:
            clock.advance(seconds=body["advance"])
        return {"now": clock.now().isoformat()}

    def release(self, _body: dict[str, Any]) -> dict[str, Any]:
        self.emulator.release()
        return {"ok": True}

    def reset(self, _body: dict[str, Any]) -> dict[str, Any]:
        self.emulator.reset()
        return {"ok": True}

    def _find(self, server_id: str) -> AcceptedMessage:
        for message in self.emulator.look_up([server_id]):
            return message
        raise ValueError(f"there is no message {server_id}")


def _has(message: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(_as_query(message[name]) == value for name, value in wanted.items())


def _as_query(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _reading(action: Action) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if not is_ours(request):
            return _turned_away()
        return _answer(action, {**request.query_params, **request.path_params})

    return endpoint


def _writing(action: Action) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if not is_ours(request):
            return _turned_away()
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST_BODY:
                return _json({"error": "the body is too large"}, 413)
        try:
            arguments = json.loads(body or b"{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return _json({"error": "the body is not a JSON object"}, 400)
        return _answer(action, arguments)

    return endpoint


def _answer(action: Action, arguments: dict[str, Any]) -> Response:
    try:
        return _json(action(arguments), 200)
    except KeyError as missing:
        return _json({"error": f"{missing.args[0]} is missing"}, 400)
    except (TypeError, ValueError, OverflowError) as mistake:
        return _json({"error": str(mistake)}, 400)


def _turned_away() -> Response:
    return _json({"error": "this page may not drive the emulator"}, 403)


def _json(value: Any, status: int) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
