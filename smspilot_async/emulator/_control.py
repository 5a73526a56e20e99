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

A mistake answers 400 and ``{"error": "..."}``; what is not there 404, and a wrong method 405, in the same form. A
browser's page from elsewhere is turned away (403, `_visitors`).
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.responses import Response
from starlette.routing import Route

from smspilot_async.emulator._emulator import SERVICE_NUMBER, Emulator
from smspilot_async.emulator._faults import COMMANDS, Fault
from smspilot_async.emulator._http import PAGE_PATH
from smspilot_async.emulator._messages import MESSAGE_FIELDS, SCHEDULED, UNKNOWN, as_json
from smspilot_async.emulator._visitors import is_ours

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request

    from smspilot_async.emulator._messages import AcceptedMessage

    Action = Callable[[dict[str, Any]], dict[str, Any]]
    Endpoint = Callable[[Request], Awaitable[Response]]

_LARGEST_BODY: Final = 1024 * 1024
_MOST_FAULTS: Final = 1_000_000


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
            raise _Mistake(f"a message has no field {unknown[0]!r}; it has {', '.join(sorted(MESSAGE_FIELDS))}")
        shown = map(as_json, self.emulator.messages)
        return {"messages": [message for message in shown if _has(message, query)]}

    def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        calls = (call for call in self.emulator.callbacks if call.server_id == asked["server_id"])
        return {
            "message": as_json(self._find(asked["server_id"])),
            "callbacks": [{**as_json(call), "acknowledged": call.acknowledged} for call in calls],
        }

    def status(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("server_id", "status", "error"))
        server_id, status = _text(body, "server_id"), _whole(body, "status", least=UNKNOWN, most=SCHEDULED)
        error = _whole({"error": 0, **body}, "error", least=0)
        message = self._find(server_id)
        if message.test:
            raise _Mistake("a test message goes nowhere and has no other status")
        self.emulator.set_status(message.server_id, status, error)
        return {"ok": True}

    def inbound_messages(self, _query: dict[str, Any]) -> dict[str, Any]:
        return {"inbound": list(map(as_json, self.emulator.inbound_messages))}

    def inbound(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("phone", "text", "num"))
        num = _text({"num": SERVICE_NUMBER, **body}, "num")
        sms = self.emulator.inbound(_text(body, "phone"), _text(body, "text"), num=num)
        return {"id": sms.id}

    def fail_next(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("fault", "command", "times", "delay", "retry_after", "status", "row"))
        body = {"command": "*", "times": 1, "delay": None, "retry_after": 1, "status": None, "row": 0, **body}
        self.emulator.fail_next(
            _one_of(body, "command", COMMANDS),
            _one_of(body, "fault", [fault.value for fault in Fault]),
            times=_whole(body, "times", least=1, most=_MOST_FAULTS),
            delay=None if body["delay"] is None else _seconds(body, "delay"),
            retry_after=_whole(body, "retry_after", least=0),
            status=None if body["status"] is None else _whole(body, "status", least=100, most=599),
            row=_whole(body, "row", least=0),
        )
        return {"ok": True}

    def no_more_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.no_more_faults()
        return {"ok": True}

    def clock(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("advance", "set"))
        clock = self.emulator.clock
        if not body:
            raise _Mistake("advance or set is missing")
        try:
            if "set" in body:
                clock.set(_moment(body, "set"))
            else:
                clock.advance(seconds=_seconds(body, "advance"))
        except OverflowError:
            raise _Mistake("no clock goes as far as that") from None
        return {"now": clock.now().isoformat()}

    def release(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.release()
        return {"ok": True}

    def reset(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.reset()
        return {"ok": True}

    def _find(self, server_id: str) -> AcceptedMessage:
        for message in self.emulator.look_up([server_id]):
            return message
        raise _Mistake(f"there is no message {server_id}", 404)


class _Mistake(Exception):
    """What the caller did wrong, in words for a person, and the HTTP status that goes with it."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


def _check_names(body: dict[str, Any], known: Sequence[str]) -> None:
    for name in body:
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "there is none here"
            raise _Mistake(f"there is no field {name!r}; {there_are}")


def _given(body: dict[str, Any], name: str) -> Any:
    if name not in body:
        raise _Mistake(f"{name} is missing")
    return body[name]


def _text(body: dict[str, Any], name: str) -> str:
    value = _given(body, name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a phone or a server_id may be written as a number
    if not isinstance(value, str):
        raise _Mistake(f"{name} has to be a string")
    return value


def _whole(body: dict[str, Any], name: str, *, least: int, most: int | None = None) -> int:
    value = _given(body, name)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise _Mistake(f"{name} has to be a whole number from {least}{limit}")
    return value


def _seconds(body: dict[str, Any], name: str) -> float:
    value = _given(body, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise _Mistake(f"{name} has to be seconds, 0 or more")
    return value


def _moment(body: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(body[name])
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _Mistake(f"{name} has to be a time with its zone, such as 2026-01-31T12:00:00+00:00")
    return moment


def _one_of(body: dict[str, Any], name: str, known: Sequence[str]) -> str:
    value = _given(body, name)
    if value not in known:
        raise _Mistake(f"there is no {name} {value!r}; there are {', '.join(known)}")
    return str(value)


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
        return _answer(lambda _nothing: action(_read(body)), {})

    return endpoint


def _read(body: bytearray) -> dict[str, Any]:
    try:
        arguments = json.loads(body or b"{}")
    except json.JSONDecodeError as wrong:
        raise _Mistake(f"the body is not JSON (line {wrong.lineno}, column {wrong.colno})") from None
    except (ValueError, RecursionError):  # bytes that are no text, or far too many brackets
        raise _Mistake("the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise _Mistake('the body has to be a JSON object, such as {"fault": "busy"}')
    return arguments


def _answer(action: Action, arguments: dict[str, Any]) -> Response:
    try:
        return _json(action(arguments), 200)
    except _Mistake as mistake:
        return _json({"error": str(mistake)}, mistake.status)


def nothing_there(path: str, routes: Sequence[Route]) -> Response:
    """Answer a request for a path that is not there with those that are."""
    known = [f"{_methods(route)[0]} {PAGE_PATH}{route.path}" for route in routes]
    return _json({"error": f"there is no {path}; there are {', '.join(known)}"}, 404)


def wrong_method(path: str, method: str, routes: Sequence[Route]) -> Response:
    """Answer a request that a path does not take with the methods that it does."""
    taken = [
        name for route in routes if route.path_regex.match(path.removeprefix(PAGE_PATH)) for name in _methods(route)
    ]
    answer = _json({"error": f"{path} takes {' or '.join(taken)}, not {method}"}, 405)
    answer.headers["Allow"] = ", ".join(taken)
    return answer


def _methods(route: Route) -> list[str]:
    return sorted((route.methods or set()) - {"HEAD"})


def _turned_away() -> Response:
    return _json({"error": "this page may not drive the emulator"}, 403)


def _json(value: Any, status: int) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
