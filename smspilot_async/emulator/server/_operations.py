"""All that can be asked of the control API. Its routes and its OpenAPI document are made of this table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smspilot_async.emulator.gateway._accounts import Account
from smspilot_async.emulator.gateway._faults import COMMANDS, Fault
from smspilot_async.emulator.gateway._settings import Settings
from smspilot_async.emulator.gateway._unknowns import Unknowns
from smspilot_async.emulator.server._control import ASKED_FOR, FASTEST, MOST_FAULTS, UNCHANGING, Control
from smspilot_async.emulator.server._endpoints import Endpoint, listing, reading, waiting, writing
from smspilot_async.emulator.server._exports import Exports
from smspilot_async.emulator.server._lists import AT_ONCE, MOST_AT_ONCE
from smspilot_async.emulator.server._openapi import JSON, Operation, document
from smspilot_async.emulator.server._page import Events
from smspilot_async.emulator.server._schemas import (
    BOOLEAN,
    MOMENT,
    NATURAL,
    PHONE,
    SECONDS,
    STRING,
    WHOLE,
    Schema,
    array,
    described,
    nullable,
    obj,
    ref,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.routing import Route

    from smspilot_async.emulator._core import EmulatorCore


def control_routes(emulator: EmulatorCore) -> list[Route]:
    """The routes of the control API."""
    return [operation.route() for operation in operations(emulator)]


def operations(emulator: EmulatorCore) -> list[Operation]:
    """All that can be asked, the document that says so included."""
    every: list[Operation] = []
    about = _get("/openapi.json", "This document.", reading(lambda _query: document(every)), {"type": "object"})
    every += [*_what_is_there(emulator), *_what_befalls_it(emulator), *_how_it_is_set_up(emulator), about]
    return every


_PAGING: Final[Mapping[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE, "default": AT_ONCE},
    "after": described({**NATURAL, "default": 0}, "The next of the page before."),
}
_OF_A_MESSAGE: Final[Mapping[str, Schema]] = dict.fromkeys(ASKED_FOR, STRING)
_TIMEOUT: Final[Mapping[str, Schema]] = {"timeout": described({**SECONDS, "maximum": 600, "default": 5}, "Seconds.")}
_OK: Final = obj(ok={"const": True})
_CLOCK: Final = obj(now=MOMENT, speed=SECONDS)
_CALLBACKS_TO: Final = obj(url=nullable(STRING), in_process=BOOLEAN)
_FAULT: Final[Mapping[str, Schema]] = {
    "command": {"enum": list(COMMANDS), "default": "*"},
    "delay": described(nullable(SECONDS), "Seconds that slow holds an answer back; null waits for release."),
    "retry_after": {**NATURAL, "default": 1},
    "row": described({**NATURAL, "default": 0}, "The message of the packet that busy-message refuses."),
}
_RULE: Final[Mapping[str, Schema]] = {"to": nullable(PHONE), "text": nullable(PHONE)}
_NAMES: Final = [fault.value for fault in Fault]


def _get(path: str, summary: str, endpoint: Endpoint, answer: Schema, **more: Any) -> Operation:
    return Operation(method="GET", path=path, summary=summary, endpoint=endpoint, answer=answer, **more)


def _post(path: str, summary: str, endpoint: Endpoint, answer: Schema = _OK, **more: Any) -> Operation:
    return Operation(method="POST", path=path, summary=summary, endpoint=endpoint, answer=answer, **more)


def _list(path: str, summary: str, endpoint: Endpoint, name: str, of: Schema, **fields: Schema) -> Operation:
    answer = obj(**{name: array(of), "next": nullable(WHOLE)})
    return _get(path, summary, endpoint, answer, fields={**fields, **_PAGING})


def _export(path: str, summary: str, endpoint: Endpoint) -> Operation:
    media_type = JSON if path.endswith(".json") else "text/csv"
    return Operation(method="GET", path=path, summary=summary, endpoint=endpoint, media_type=media_type)


def _what_is_there(emulator: EmulatorCore) -> list[Operation]:
    control, exports = Control(emulator), Exports(emulator)
    found: dict[str, Any] = {"is_found": True}
    message, request = ref("AcceptedMessage"), ref("RecordedRequest")
    one = obj(message=message, callbacks=array(ref("CallbackCall")))
    return [
        _get("/health", "Answers as soon as it listens.", reading(lambda _query: {"ok": True}), _OK),
        _get("/state", "The time, and counts of everything.", reading(lambda _query: emulator.state()), ref("State")),
        _list("/messages", "The accepted messages.", listing(control.messages), "messages", message, **_OF_A_MESSAGE),
        _get("/messages/{server_id}", "One message, and its callbacks.", waiting(control.message), one, **found),
        _list(
            "/test-messages",
            "The messages of test packets and of the vendor's test key: the newest 10,000.",
            listing(control.test_messages),
            "messages",
            message,
            **_OF_A_MESSAGE,
        ),
        _list(
            "/requests",
            "The requests to the gateway's address: the newest 1000.",
            listing(control.requests),
            "requests",
            request,
            refused=described({"enum": ["true", "false"]}, "Only those that were refused or met a fault; or the rest."),
        ),
        _get(
            "/requests/{number}",
            "One request, word for word, and its answer; keys and passwords are masked.",
            reading(control.request),
            obj(request=ref("WholeRequest")),
            **found,
        ),
        _list("/refusals", "What was refused: the newest 1000.", listing(control.refusals), "refusals", ref("Refusal")),
        _list("/callbacks", "The finished calls.", listing(control.callbacks), "callbacks", ref("CallbackCall")),
        _list("/inbound", "What came in, in order.", listing(control.inbound_messages), "inbound", ref("InboundSms")),
        _list(
            "/conversations/{phone}",
            "What was said with one phone, both ways, in order.",
            listing(control.conversation),
            "conversation",
            ref("Said"),
        ),
        _get(
            "/wait",
            "The first message with these values, now or when it comes; 404 after a while.",
            waiting(control.wait),
            obj(message=message),
            fields={**_OF_A_MESSAGE, **_TIMEOUT},
            **found,
        ),
        _get(
            "/settled",
            "True when all callbacks are answered; false after a while.",
            waiting(control.settled),
            obj(settled=BOOLEAN),
            fields=_TIMEOUT,
        ),
        _export("/messages.csv", "All accepted messages, as a file.", exports.messages_csv()),
        _export("/messages.json", "The same, with their histories.", exports.messages_json()),
        _export("/requests.csv", "The requests with their texts and answers, as a file.", exports.requests_csv()),
        _export("/requests.json", "The same.", exports.requests_json()),
        Operation(
            method="GET",
            path="/events",
            summary="Server-sent events of all changes, which keep the page live.",
            endpoint=Events(emulator),
            fields={"after": STRING},
            media_type="text/event-stream",
        ),
    ]


def _what_befalls_it(emulator: EmulatorCore) -> list[Operation]:
    control = Control(emulator)
    return [
        _post(
            "/status",
            "Move a message to a status now, unless its status is final.",
            writing(control.status),
            fields={"server_id": PHONE, "status": {"type": "integer", "minimum": -2, "maximum": 3}, "error": NATURAL},
            required=("server_id", "status"),
            is_found=True,
        ),
        _post(
            "/inbound",
            "Receive an SMS at the service number of an account, by default the first one's.",
            writing(control.inbound),
            obj(id=WHOLE),
            fields={"phone": PHONE, "text": PHONE, "num": PHONE, "account": nullable(PHONE)},
            required=("phone", "text"),
            is_found=True,
        ),
        _post(
            "/fail-next",
            "Let the next requests fail.",
            writing(control.fail_next),
            fields={
                "fault": {"enum": _NAMES},
                **_FAULT,
                "times": {"type": "integer", "minimum": 1, "maximum": MOST_FAULTS, "default": 1},
                "status": described(nullable({"type": "integer", "minimum": 100, "maximum": 599}), "Of server errors."),
            },
            required=("fault",),
        ),
        _post(
            "/random-faults",
            "Let a share of the requests fail from now on.",
            writing(control.random_faults),
            fields={
                "shares": {"type": "object", "propertyNames": {"enum": _NAMES}, "additionalProperties": SECONDS},
                **_FAULT,
                "seed": nullable(NATURAL),
            },
            required=("shares",),
        ),
        _post("/no-more-faults", "Cancel planned and random faults.", writing(control.no_more_faults)),
        _post(
            "/refuse",
            "Refuse messages to a phone, with a text, or all, from now on.",
            writing(control.refuse),
            fields={"code": {"type": "integer", "minimum": 1}, **_RULE},
            required=("code",),
        ),
        _post(
            "/fail-delivery",
            "Accept the same, and do not deliver them.",
            writing(control.fail_delivery),
            fields={"code": {"type": "integer", "minimum": 1, "default": 601}, **_RULE},
        ),
        _post("/release", "Send the answers that the fault slow holds back.", writing(control.release)),
        _post(
            "/drop-connections",
            "Close every connection that clients keep open, this one included.",
            writing(control.nothing, after=emulator.drop_connections),
        ),
        _post("/reset", "Forget messages, requests, faults, settings and switches.", writing(control.reset)),
    ]


def _how_it_is_set_up(emulator: EmulatorCore) -> list[Operation]:
    control = Control(emulator)
    account = obj(account=ref("Account"))
    settings, unknowns = obj(settings=ref("Settings")), obj(unknowns=ref("Unknowns"))
    return [
        _list("/accounts", "The accounts, without passwords.", listing(control.accounts), "accounts", ref("Account")),
        _post("/accounts", "Add an account.", writing(control.add_account), account, fields=written(Account)),
        _post(
            "/accounts/{account}",
            "Change the account with this id, now.",
            writing(control.change_account),
            account,
            fields=written(Account, without=UNCHANGING),
            is_found=True,
        ),
        _get("/settings", "The settings.", reading(control.settings), settings),
        _post("/settings", "Change some, now.", writing(control.change_settings), settings, fields=written(Settings)),
        _get("/unknowns", "What is not known of the live gateway.", reading(control.unknowns), unknowns),
        _post("/unknowns", "Change some, now.", writing(control.change_unknowns), unknowns, fields=written(Unknowns)),
        _get("/clock", "The emulator's time.", reading(control.clock), _CLOCK),
        _post(
            "/clock",
            "Advance it by seconds, set it, or change its speed.",
            writing(control.turn_clock),
            _CLOCK,
            fields={"advance": SECONDS, "set": MOMENT, "speed": {**SECONDS, "maximum": FASTEST}},
        ),
        _get("/callbacks-to", "Where callbacks go.", reading(control.callbacks_to), _CALLBACKS_TO),
        _post(
            "/callbacks-to",
            "Send all callbacks to a local URL, their paths and queries kept; null calls their own URLs.",
            writing(control.send_callbacks_to),
            _CALLBACKS_TO,
            fields={"url": nullable(STRING)},
            required=("url",),
        ),
    ]
