"""The control API: what the Python object can do, for tests in any other language.

All answers are JSON; bodies are JSON objects, whatever their content type. Lists are paged: `limit` is
the size of a page (1000 by default, 10,000 at most), and ``next`` is the `after` of the next one, or `null` at the end.

``GET /_emulator/health``
    ``{"ok": true}`` as soon as it listens.
``GET /_emulator/state``
    The time and how many messages, test messages, inbound messages, refusals, callbacks and planned faults there are;
    ``settled`` says whether all callbacks are answered.
``GET /_emulator/messages?to=79087964781&status=2&limit=1000&after=100000000``
    ``{"messages": [...], "next"}``: the accepted messages, in order; those whose fields have the values of the query.
``GET /_emulator/messages/100000001``
    ``{"message": {...}, "callbacks": [...]}``: one message, and the status callbacks made for it with their answers.
``GET /_emulator/test-messages``
    ``{"messages": [...], "next"}``: the same of test packets and the test key.
``GET /_emulator/refusals``
    ``{"refusals": [...], "next"}``: what was refused, with codes and reasons.
``GET /_emulator/callbacks``
    ``{"callbacks": [...], "next"}``: the finished calls, with their answers.
``GET /_emulator/wait?to=79087964781&timeout=5``
    ``{"message": {...}}``: the first message with these values, now or when it comes; 404 after so many seconds (5 by
    default, 600 at most).
``GET /_emulator/settled?timeout=5``
    ``{"settled": true}`` when all callbacks are answered; false after so many seconds.
``POST /_emulator/status``
    ``{"server_id", "status", "error"?}``: a message moves to a status now, unless its status is final.
``GET /_emulator/inbound``
    ``{"inbound": [...], "next"}``: the messages that came in, in order.
``POST /_emulator/inbound``
    ``{"phone", "text", "num"?, "account"?}``: an SMS to an account's service number, the first one's by
    default; accounts are named by their `id`.
``POST /_emulator/fail-next``
    ``{"fault", "command"?, "times"?, "delay"?, "retry_after"?, "status"?, "row"?}``: the next requests fail; the faults
    are the values of `Fault`, such as ``"accept-then-reset"``.
``POST /_emulator/random-faults``
    ``{"shares": {fault: share}, "command"?, "seed"?, "delay"?, "retry_after"?, "row"?}``: a share of the requests fails
    from now on.
``POST /_emulator/no-more-faults``
    The faults that wait, and the random ones, are forgotten.
``POST /_emulator/refuse``
    ``{"code", "to"?, "text"?}``: messages to a phone, with a text, or all are refused from now on.
``POST /_emulator/fail-delivery``
    ``{"code"?, "to"?, "text"?}``: the same are accepted, and not delivered (601 by default).
``GET /_emulator/accounts``
    ``{"accounts": [...], "next"}``: all fields of each `Account` but the password.
``POST /_emulator/accounts``
    An `Account`'s fields: another account is there; answers ``{"account": {...}}``, with the key that it got.
``POST /_emulator/accounts/1``
    Some of its fields: the account with this `id` changes, now.
``GET /_emulator/settings``
    ``{"settings": {...}}``: all fields of `Settings`: loop protection, delivery, profile.
``POST /_emulator/settings``
    Some of them: they change, now. Durations are seconds.
``GET /_emulator/unknowns``
    ``{"unknowns": {...}}``: all fields of `Unknowns`.
``POST /_emulator/unknowns``
    Some of them: they change, now.
``GET /_emulator/clock``
    ``{"now", "speed"}``.
``POST /_emulator/clock``
    ``{"advance": seconds}``, ``{"set": "2026-01-31T12:00:00+00:00"}``, ``{"speed": 60}``; answers ``{"now", "speed"}``.
``POST /_emulator/release``
    The answers that the fault ``slow`` holds back go now.
``POST /_emulator/drop-connections``
    Every connection that a client keeps open is closed, this one included.
``POST /_emulator/reset``
    Messages, faults, settings and switches are forgotten.
``GET /_emulator/events``
    Server-sent events, which keep the page at ``/_emulator`` live (`_page`).

A mistake answers 400 and ``{"error": "..."}``; what is not there 404, and a wrong method 405, in the same form. A
browser's page from elsewhere is turned away (403, `_origin_guard`).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import Route

from smspilot_async.emulator._core import SERVICE_NUMBER, EmulatorCore
from smspilot_async.emulator.gateway._accounts import Account
from smspilot_async.emulator.gateway._faults import COMMANDS, Fault
from smspilot_async.emulator.gateway._messages import MESSAGE_FIELDS, SCHEDULED, UNKNOWN, as_json
from smspilot_async.emulator.server._asgi import disconnected
from smspilot_async.emulator.server._fields import as_plain, plain, read_fields
from smspilot_async.emulator.server._http import PAGE_PATH
from smspilot_async.emulator.server._origin_guard import is_same_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from starlette.requests import Request

    from smspilot_async.emulator._callbacks import CallbackCall
    from smspilot_async.emulator.gateway._messages import AcceptedMessage

    Action = Callable[[dict[str, Any]], dict[str, Any]]
    Waiting = Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]
    Endpoint = Callable[[Request], Awaitable[Response]]

Item = TypeVar("Item", bound=attrs.AttrsInstance)

_LARGEST_BODY: Final = 1024 * 1024
_MOST_FAULTS: Final = 1_000_000
_AT_ONCE: Final = 1000
_MOST_AT_ONCE: Final = 10_000
_PATIENCE: Final = 5.0
_LONGEST_PATIENCE: Final = 600
_OK: Final = 200
_ASKED_FOR: Final = MESSAGE_FIELDS - {"history"}
_FASTEST: Final = 100_000.0  # seconds per second
_HIDDEN: Final = ("password",)
_UNCHANGING: Final = ("id", "api_key")


def control_routes(emulator: EmulatorCore) -> list[Route]:
    """The routes of the control API."""
    control = _Control(emulator)
    return [
        Route("/health", _reading(lambda _query: {"ok": True}), methods=["GET"]),
        Route("/state", _reading(lambda _query: emulator.state()), methods=["GET"]),
        Route("/messages", _reading(control.messages), methods=["GET"]),
        Route("/messages/{server_id}", _reading(control.message), methods=["GET"]),
        Route("/test-messages", _reading(control.test_messages), methods=["GET"]),
        Route("/refusals", _reading(control.refusals), methods=["GET"]),
        Route("/callbacks", _reading(control.callbacks), methods=["GET"]),
        Route("/wait", _waiting(control.wait), methods=["GET"]),
        Route("/settled", _waiting(control.settled), methods=["GET"]),
        Route("/status", _writing(control.status), methods=["POST"]),
        Route("/inbound", _reading(control.inbound_messages), methods=["GET"]),
        Route("/inbound", _writing(control.inbound), methods=["POST"]),
        Route("/fail-next", _writing(control.fail_next), methods=["POST"]),
        Route("/random-faults", _writing(control.random_faults), methods=["POST"]),
        Route("/no-more-faults", _writing(control.no_more_faults), methods=["POST"]),
        Route("/refuse", _writing(control.refuse), methods=["POST"]),
        Route("/fail-delivery", _writing(control.fail_delivery), methods=["POST"]),
        Route("/accounts", _reading(control.accounts), methods=["GET"]),
        Route("/accounts", _writing(control.add_account), methods=["POST"]),
        Route("/accounts/{account}", _writing(control.change_account), methods=["POST"]),
        Route("/settings", _reading(control.settings), methods=["GET"]),
        Route("/settings", _writing(control.change_settings), methods=["POST"]),
        Route("/unknowns", _reading(control.unknowns), methods=["GET"]),
        Route("/unknowns", _writing(control.change_unknowns), methods=["POST"]),
        Route("/clock", _reading(control.clock), methods=["GET"]),
        Route("/clock", _writing(control.turn_clock), methods=["POST"]),
        Route("/release", _writing(control.release), methods=["POST"]),
        Route("/drop-connections", _writing(control.nothing, after=emulator.drop_connections), methods=["POST"]),
        Route("/reset", _writing(control.reset), methods=["POST"]),
    ]


@attrs.frozen
class _Control:
    emulator: EmulatorCore

    # --- what is there ----------------------------------------------------------------------------------------------

    def messages(self, query: dict[str, Any]) -> dict[str, Any]:
        numbered = ((int(message.server_id), message) for message in self.emulator.messages)
        return self._listed_messages(numbered, query)

    def test_messages(self, query: dict[str, Any]) -> dict[str, Any]:
        kept = self.emulator.test_messages  # under the test key many have the same number
        first = self.emulator.state()["test_messages"] - len(kept) + 1
        return self._listed_messages(enumerate(kept, first), query)

    def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        calls = [call for call in self.emulator.callbacks if call.server_id == asked["server_id"]]
        return {
            "message": as_json(self._find(asked["server_id"])),
            "callbacks": [_call(call) for call in calls[-_AT_ONCE:]],
        }

    def refusals(self, query: dict[str, Any]) -> dict[str, Any]:
        numbered = ((refusal.number, refusal) for refusal in self.emulator.refusals)
        return _listed("refusals", numbered, as_json, query)

    def callbacks(self, query: dict[str, Any]) -> dict[str, Any]:
        return _listed("callbacks", enumerate(self.emulator.callbacks, 1), _call, query)

    def inbound_messages(self, query: dict[str, Any]) -> dict[str, Any]:
        numbered = ((sms.id, sms) for sms in self.emulator.inbound_messages)
        return _listed("inbound", numbered, as_json, query)

    async def wait(self, query: dict[str, Any]) -> dict[str, Any]:
        wanted = dict(query)
        patience = _patience(wanted)
        _check_message_fields(wanted)
        message = await self.emulator.first_message(lambda message: _has(message, wanted), patience)
        if message is None:
            raise _Mistake(f"no message with this {' and '.join(wanted)} within {patience:g} s", 404)
        return {"message": as_json(message)}

    async def settled(self, query: dict[str, Any]) -> dict[str, Any]:
        wanted = dict(query)
        patience = _patience(wanted)
        _check_names(wanted, ("timeout",))
        try:
            async with asyncio.timeout(patience):
                await self.emulator.called_back()
        except TimeoutError:
            return {"settled": False}
        return {"settled": True}

    # --- what befalls it --------------------------------------------------------------------------------------------

    def status(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("server_id", "status", "error"))
        server_id, status = _text(body, "server_id"), _whole(body, "status", least=UNKNOWN, most=SCHEDULED)
        error = _whole({"error": 0, **body}, "error", least=0)
        message = self._find(server_id)
        if message.test:
            raise _Mistake("the status of a test message does not change")
        self.emulator.set_status(message.server_id, status, error)
        return {"ok": True}

    def inbound(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("phone", "text", "num", "account"))
        num = _text({"num": SERVICE_NUMBER, **body}, "num")
        account = self._account(body["account"]) if body.get("account") is not None else None
        sms = self.emulator.inbound(_text(body, "phone"), _text(body, "text"), num=num, account=account)
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

    def random_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("shares", "command", "seed", "delay", "retry_after", "row"))
        body = {"command": "*", "seed": None, "delay": 0.05, "retry_after": 1, "row": 0, **body}
        shares = _shares(body)
        try:
            self.emulator.random_faults(
                shares,
                command=_one_of(body, "command", COMMANDS),
                seed=None if body["seed"] is None else _whole(body, "seed", least=0),
                delay=None if body["delay"] is None else _seconds(body, "delay"),
                retry_after=_whole(body, "retry_after", least=0),
                row=_whole(body, "row", least=0),
            )
        except ValueError as wrong:
            raise _Mistake(str(wrong)) from None
        return {"ok": True}

    def no_more_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.no_more_faults()
        return {"ok": True}

    def refuse(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("code", "to", "text"))
        self.emulator.refuse(code=_whole(body, "code", least=1), **_rule(body))
        return {"ok": True}

    def fail_delivery(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("code", "to", "text"))
        self.emulator.fail_delivery(code=_whole({"code": 601, **body}, "code", least=1), **_rule(body))
        return {"ok": True}

    def turn_clock(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ("advance", "set", "speed"))
        clock = self.emulator.clock
        if not body:
            raise _Mistake("advance, set or speed is missing")
        speed = _seconds(body, "speed", most=_FASTEST) if "speed" in body else None
        try:
            if "set" in body:
                clock.set(_moment(body, "set"))
            if "advance" in body:
                clock.advance(seconds=_seconds(body, "advance"))
        except OverflowError:
            raise _Mistake("that time is out of range") from None
        if speed is not None:
            clock.speed = speed
        return self.clock({})

    def clock(self, _query: dict[str, Any]) -> dict[str, Any]:
        return {"now": self.emulator.clock.now().isoformat(), "speed": self.emulator.clock.speed}

    def release(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.release()
        return {"ok": True}

    def nothing(self, body: dict[str, Any]) -> dict[str, Any]:
        """What happens comes after the answer."""
        _check_names(body, ())
        return {"ok": True}

    def reset(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_names(body, ())
        self.emulator.reset()
        return {"ok": True}

    # --- how it is set up -------------------------------------------------------------------------------------------

    def accounts(self, query: dict[str, Any]) -> dict[str, Any]:
        accounts = sorted(self.emulator.accounts, key=lambda account: account.id)
        numbered = ((account.id, account) for account in accounts)
        return _listed("accounts", numbered, _account, query)

    def add_account(self, body: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(Account, body)
        try:
            account = self.emulator.add_account(**fields)
        except ValueError as wrong:
            raise _Mistake(str(wrong)) from None
        return {"account": _account(account)}

    def change_account(self, body: dict[str, Any]) -> dict[str, Any]:
        account = self._account(body.pop("account"))
        for name in _UNCHANGING:
            if name in body:
                raise _Mistake(f"the {name} of an account cannot be changed; add another account")
        self._change(account, body)
        return {"account": _account(account)}

    def settings(self, _query: dict[str, Any]) -> dict[str, Any]:
        return {"settings": as_plain(self.emulator.settings)}

    def change_settings(self, body: dict[str, Any]) -> dict[str, Any]:
        self._change(self.emulator.settings, body)
        return self.settings({})

    def unknowns(self, _query: dict[str, Any]) -> dict[str, Any]:
        return {"unknowns": as_plain(self.emulator.unknowns)}

    def change_unknowns(self, body: dict[str, Any]) -> dict[str, Any]:
        self._change(self.emulator.unknowns, body)
        return self.unknowns({})

    def _change(self, record: attrs.AttrsInstance, body: dict[str, Any]) -> None:
        for name, value in _fields(type(record), body).items():
            setattr(record, name, value)
        self.emulator.feed.note()

    # --- looking up -------------------------------------------------------------------------------------------------

    def _listed_messages(
        self, numbered: Iterable[tuple[int, AcceptedMessage]], query: dict[str, Any]
    ) -> dict[str, Any]:
        wanted = {name: value for name, value in query.items() if name not in ("limit", "after")}
        _check_message_fields(wanted)
        found = (pair for pair in numbered if _has(pair[1], wanted))
        return _listed("messages", found, as_json, {name: query[name] for name in query.keys() - wanted.keys()})

    def _find(self, server_id: str) -> AcceptedMessage:
        for message in self.emulator.look_up([server_id]):
            return message
        raise _Mistake(f"there is no message {server_id}", 404)

    def _account(self, number: Any) -> Account:
        for account in self.emulator.accounts:
            if str(account.id) == str(number):
                return account
        raise _Mistake(f"there is no account {number}", 404)


class _Mistake(Exception):
    """What was wrong with a request, in words, and the HTTP status of the answer."""

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
        raise _Mistake(f"{name} must be a string")
    return value


def _whole(body: dict[str, Any], name: str, *, least: int, most: int | None = None) -> int:
    value = _given(body, name)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" to {most}"
        raise _Mistake(f"{name} must be a whole number from {least}{limit}")
    return value


def _seconds(body: dict[str, Any], name: str, *, most: float = sys.float_info.max) -> float:
    value = _given(body, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        raise _Mistake(f"{name} must be seconds, 0 {'or more' if most == sys.float_info.max else f'to {most:g}'}")
    return value


def _moment(body: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(body[name])
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _Mistake(f"{name} must be a time with its zone, such as 2026-01-31T12:00:00+00:00")
    return moment


def _one_of(body: dict[str, Any], name: str, known: Sequence[str]) -> str:
    value = _given(body, name)
    if value not in known:
        raise _Mistake(f"there is no {name} {value!r}; there are {', '.join(known)}")
    return str(value)


def _shares(body: dict[str, Any]) -> dict[Fault, float]:
    shares = _given(body, "shares")
    if not isinstance(shares, dict) or not all(type(share) in (int, float) for share in shares.values()):
        raise _Mistake('shares must be an object such as {"busy": 0.02}')
    known = [fault.value for fault in Fault]
    return {Fault(_one_of({"fault": name}, "fault", known)): share for name, share in shares.items()}


def _rule(body: dict[str, Any]) -> dict[str, str]:
    return {name: _text(body, name) for name in ("to", "text") if body.get(name) is not None}


def _fields(cls: type[attrs.AttrsInstance], body: dict[str, Any]) -> dict[str, Any]:
    try:
        return read_fields(cls, body)
    except ValueError as wrong:
        raise _Mistake(str(wrong)) from None


def _patience(query: dict[str, Any]) -> float:
    """The time that a query gives, taken out of it."""
    try:
        patience = float(query.pop("timeout", _PATIENCE))
    except ValueError:
        patience = -1
    if not 0 <= patience <= _LONGEST_PATIENCE:
        raise _Mistake(f"timeout must be seconds, from 0 to {_LONGEST_PATIENCE}")
    return patience


def _listed(
    name: str, numbered: Iterable[tuple[int, Item]], shown: Callable[[Item], dict[str, Any]], query: dict[str, Any]
) -> dict[str, Any]:
    """A piece of a list whose items have rising numbers, and the number after which to go on."""
    _check_names(query, ("limit", "after"))
    limit = _whole({"limit": str(_AT_ONCE), **query}, "limit", least=1, most=_MOST_AT_ONCE)
    after = _whole({"after": "0", **query}, "after", least=0)
    piece = list(islice((pair for pair in numbered if pair[0] > after), limit + 1))
    following = piece[limit - 1][0] if len(piece) > limit else None
    return {name: [shown(item) for _, item in piece[:limit]], "next": following}


def _call(call: CallbackCall) -> dict[str, Any]:
    return {**as_json(call), "acknowledged": call.acknowledged}


def _account(account: Account) -> dict[str, Any]:
    return as_plain(account, without=_HIDDEN)


def _check_message_fields(query: dict[str, Any]) -> None:
    if unknown := sorted(query.keys() - _ASKED_FOR):
        raise _Mistake(f"a message has no field {unknown[0]!r}; it has {', '.join(sorted(_ASKED_FOR))}")


def _has(message: AcceptedMessage, wanted: dict[str, Any]) -> bool:
    return all(_as_query(getattr(message, name)) == value for name, value in wanted.items())


def _as_query(value: Any) -> str:
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value)


async def _until_disconnected(work: Coroutine[Any, Any, dict[str, Any]], request: Request) -> dict[str, Any]:
    """The result of some work, which is cancelled if the client disconnects."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else {}
    finally:
        working.cancel()
        leaving.cancel()


def _waiting(action: Waiting) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if not is_same_origin(request):
            return _forbidden()
        try:
            return _json(await _until_disconnected(action(dict(request.query_params)), request), 200)
        except _Mistake as mistake:
            return _json({"error": str(mistake)}, mistake.status)

    return endpoint


def _reading(action: Action) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if not is_same_origin(request):
            return _forbidden()
        return _answer(action, {**request.query_params, **request.path_params})

    return endpoint


def _writing(action: Action, *, after: Callable[[], None] | None = None) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if not is_same_origin(request):
            return _forbidden()
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST_BODY:
                return _json({"error": "the body is too large"}, 413)
        answer = _answer(lambda path: action({**_read(body), **path}), dict(request.path_params))
        if after is not None and answer.status_code == _OK:
            answer.background = BackgroundTask(after)  # in a thread, once the answer is written
        return answer

    return endpoint


def _read(body: bytearray) -> dict[str, Any]:
    try:
        arguments = json.loads(body or b"{}")
    except json.JSONDecodeError as wrong:
        raise _Mistake(f"the body is not JSON (line {wrong.lineno}, column {wrong.colno})") from None
    except (ValueError, RecursionError):  # bytes that are no text, or far too many brackets
        raise _Mistake("the body is not JSON") from None
    if not isinstance(arguments, dict):
        raise _Mistake('the body must be a JSON object, such as {"fault": "busy"}')
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


def _forbidden() -> Response:
    return _json({"error": "this page may not control the emulator"}, 403)


def _json(value: Any, status: int) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
