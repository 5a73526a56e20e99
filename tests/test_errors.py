"""The tree of errors is exactly the documented one, and every code of the gateway has its class and its outcome."""

from __future__ import annotations

import copy
import inspect
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

import smspilot_async
from smspilot_async import (
    ERROR_CODES,
    AccountBlocked,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConnectionFailed,
    CursorError,
    CursorInUse,
    DuplicateMessage,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    InvalidMessage,
    Message,
    MessageRefused,
    MessageStatus,
    MessageVetoed,
    NotFinal,
    NotFound,
    Outcome,
    OutcomeUnknown,
    Packet,
    Reason,
    SmsPilotError,
    Unanswered,
    VetoFailed,
    errors,
)
from smspilot_async._network.base import Reply
from smspilot_async._requests.interpret import interpret
from smspilot_async._requests.retry import may_repeat
from smspilot_async.wire import Balance, Check, CheckPacket, Command, Cost, Inbound, Info, Send

NOW = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
PAIR = [Message("79087964781", "a"), Message("79131437355", "b")]
ONE, SEVERAL = Send(PAIR[:1], [1]), Send(PAIR, [1, 2])
READS: list[Command[Any]] = [
    Cost(PAIR, [1, 2]),
    Check(["1"]),
    CheckPacket("1"),
    Balance(),
    Info(),
    Inbound(),
    Inbound(NOW),
    Inbound("new"),
]

REFUSED, NOT_SENT, UNKNOWN = Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN


# --- the tree ------------------------------------------------------------------------------------


def is_of_the_client(module: str) -> bool:
    """Durable sending, which another test may have imported, has a tree of its own."""
    return module.startswith("smspilot_async") and not module.startswith("smspilot_async.outbox")


def tree(cls: type[SmsPilotError]) -> dict[str, Any]:
    ours = [child for child in cls.__subclasses__() if is_of_the_client(child.__module__)]
    return {child.__name__: tree(child) for child in ours}


def test_the_tree_is_exactly_the_documented_one() -> None:
    assert tree(SmsPilotError) == {
        "InvalidMessage": {},
        "ClientClosed": {},
        "MessageVetoed": {"VetoFailed": {}},
        "ConnectionFailed": {},
        "GatewayError": {
            "AuthenticationError": {},
            "AccountBlocked": {},
            "InsufficientFunds": {},
            "MessageRefused": {"DuplicateMessage": {}},
            "GatewayBusy": {},
            "NotFound": {},
            "BadRequest": {},
        },
        "Unanswered": {"OutcomeUnknown": {}},
        "NotFinal": {},
        "CursorError": {"CursorInUse": {}},
    }
    assert issubclass(InvalidMessage, ValueError)
    assert issubclass(NotFinal, TimeoutError)
    assert SmsPilotError.__bases__ == (Exception,)


ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}


def test_the_drawing_at_the_top_of_the_module_shows_every_error() -> None:
    drawing = (errors.__doc__ or "").split("\n\n")[1]
    assert {word for word in drawing.replace("(", " ").split() if word in vars(errors)} == ERRORS


@pytest.mark.parametrize(
    ("error", "outcome", "may_retry"),
    [
        (SmsPilotError, NOT_SENT, True),
        (InvalidMessage, REFUSED, False),
        (ClientClosed, NOT_SENT, True),
        (MessageVetoed, REFUSED, False),
        (VetoFailed, NOT_SENT, True),
        (ConnectionFailed, NOT_SENT, True),
        (GatewayError, REFUSED, False),
        (AuthenticationError, NOT_SENT, True),
        (AccountBlocked, NOT_SENT, True),
        (InsufficientFunds, NOT_SENT, True),
        (MessageRefused, REFUSED, False),
        (DuplicateMessage, REFUSED, False),
        (GatewayBusy, NOT_SENT, True),
        (NotFound, REFUSED, False),
        (BadRequest, REFUSED, False),
        (Unanswered, UNKNOWN, True),
        (OutcomeUnknown, UNKNOWN, False),
        (NotFinal, UNKNOWN, False),
        (CursorError, NOT_SENT, True),
        (CursorInUse, NOT_SENT, True),
    ],
)
def test_a_class_has_its_outcome(error: type[SmsPilotError], outcome: Outcome, may_retry: bool) -> None:  # noqa: FBT001
    assert error.outcome is outcome
    made = error.__new__(error)
    vars(made)["_is_repeatable"] = error is Unanswered
    assert made.may_retry is may_retry


def test_a_read_that_may_have_marked_messages_as_read_may_not_be_asked_again() -> None:
    for read in READS:
        error = interpret(read, Reply(502, b"<html>"), now=NOW)
        assert type(error) is Unanswered
        assert error.may_retry is (read != Inbound("new"))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(None, UNKNOWN), (-2, UNKNOWN), (0, Outcome.ACCEPTED), (1, Outcome.ACCEPTED), (3, Outcome.ACCEPTED)],
)
def test_a_message_that_has_a_status_was_accepted_though_its_delivery_is_open(
    status: int | None, outcome: Outcome
) -> None:
    error = NotFinal("words", status=MessageStatus(status=status))
    assert (error.outcome, error.may_retry) == (outcome, False)


def test_machine_values_are_one_word() -> None:
    values = [value.value for value in (*Outcome, *Reason)]
    assert all(value.isidentifier() and value.islower() for value in values)


def test_the_public_names_are_exactly_the_documented_ones() -> None:
    client = {
        "Client",
        "ExposureWarning",
        "Health",
        "Hooks",
        "Observed",
        "RequestInfo",
        "RequestOutcome",
        "Retry",
        "__version__",
    }
    models = {"Accepted", "AccountInfo", "InboundMessage", "Message", "MessageStatus", "NotSent", "Packet", "Refused"}
    models |= {"SendResult", "Sendable", "SentMessage", "Unknown", "TextSize", "measure", "normalize_phone", "to_dicts"}
    models |= {"DeliveryStatus", "PhoneKind", "describe_phone"}
    streams = {"BulkRun", "BulkStats", "PacketCheck", "PacketChecks", "Tracking"}
    cursors = {"CursorError", "CursorInUse", "CursorState", "FileCursor", "InboundCursor", "InboundListener"}
    catalogue = {"NotFinal", "ERROR_CODES", "ErrorCode", "Outcome", "Reason"}
    assert set(smspilot_async.__all__) == client | models | streams | cursors | catalogue | ERRORS
    assert len(smspilot_async.__all__) == len(set(smspilot_async.__all__))
    assert all(hasattr(smspilot_async, name) for name in smspilot_async.__all__)


def test_what_the_modules_export_is_exported_by_the_package() -> None:
    assert set(errors.__all__) <= set(smspilot_async.__all__)


# --- every code ----------------------------------------------------------------------------------


@attrs.frozen
class Row:
    """What is expected of a code: how a document with it answers one message, several messages, and a read."""

    error: type[GatewayError]
    retried: bool = False
    of_several: type[SmsPilotError] | None = None  # the same


_request, _key, _blocked = Row(BadRequest), Row(AuthenticationError), Row(AccountBlocked)
_message, _found = Row(MessageRefused), Row(NotFound)
_money, _no_money = Row(InsufficientFunds, of_several=OutcomeUnknown), Row(InsufficientFunds)
_anything = Row(GatewayError, of_several=OutcomeUnknown)

CODES: dict[int | None, Row] = {
    # the document's
    10: _request,
    11: _request,
    12: _request,
    13: _request,
    14: _request,
    100: _key,
    101: _key,
    106: _blocked,
    108: _message,
    110: Row(GatewayBusy, retried=True),
    111: _message,
    112: _no_money,
    113: _key,
    115: _message,
    204: _message,
    212: _message,
    213: _message,
    215: _message,
    220: _message,
    221: _message,
    223: _message,
    230: _message,
    231: _request,
    240: _request,
    241: _money,
    242: _message,
    243: Row(DuplicateMessage),
    250: _message,
    260: _message,
    270: _message,
    300: _request,
    301: _found,
    302: _found,
    303: _request,
    304: _found,
    400: _key,
    401: _key,
    500: _request,
    # of delivery
    600: _message,
    601: _message,
    602: _message,
    603: _message,
    # seen live
    102: _key,
    105: _blocked,
    107: _blocked,
    122: _blocked,
    200: _message,
    201: _message,
    214: _message,
    224: _message,
    225: _message,
    226: _message,
    247: _message,
    248: _message,
    275: _request,
    604: _message,
    605: _message,
    **dict.fromkeys(range(630, 635), _message),
    **dict.fromkeys(range(640, 646), _message),
}
UNKNOWN_CODES: list[int | None] = [1, 9, 99, 103, 199, 429, 606, 700, 715, 1000, 99_999, -1, None]
EVERY_CODE: dict[int | None, Row] = dict(CODES)
EVERY_CODE.update((code, _anything) for code in UNKNOWN_CODES)
OF_READS = {300, 301, 302, 303, 304, 500, None}
"""What cannot be the gateway's answer to a send: the codes of check and inbound, and none at all."""


def test_the_catalogue_holds_exactly_the_codes_of_the_protocol() -> None:
    assert set(ERROR_CODES) == set(CODES)
    for code, known in ERROR_CODES.items():
        assert known.code == code
        assert known.text
        assert known.advice.endswith(".")


def document(
    command: Command[Any], code: int | None, *, status: int = 200, tried_before: bool = False
) -> SmsPilotError:
    """What an error document makes of a command."""
    written = "null" if code is None else f'"{code}"'
    body = f'{{"error":{{"code":{written},"description":"words"}}}}'.encode()
    error = interpret(command, Reply(status, body), now=NOW, tried_before=tried_before)
    assert isinstance(error, SmsPilotError)
    return error


@pytest.mark.parametrize("code", EVERY_CODE.keys() - OF_READS)
def test_a_document_error_of_one_message(code: int | None) -> None:
    error, row = document(ONE, code), EVERY_CODE[code]
    assert type(error) is row.error
    assert isinstance(error, GatewayError)
    assert error.outcome is row.error.outcome
    assert may_repeat(ONE, error) is row.retried
    assert (error.code, error.description, error.http_status) == (code, "words", 200)
    assert (error.command, error.message_id, error.packet_size) == ("send", 1, 1)


@pytest.mark.parametrize("code", EVERY_CODE.keys() - OF_READS)
def test_a_document_error_of_several_messages(code: int | None) -> None:
    error, row = document(SEVERAL, code), EVERY_CODE[code]
    assert type(error) is (row.of_several or row.error)
    assert may_repeat(SEVERAL, error) is row.retried
    assert (error.command, error.message_id, error.packet_size) == ("send", None, 2)
    if isinstance(error, OutcomeUnknown):
        assert (error.reason, error.code) == (Reason.PARTIAL, code)


@pytest.mark.parametrize("code", OF_READS)
@pytest.mark.parametrize("command", [ONE, SEVERAL], ids=["one", "several"])
def test_a_document_error_that_cannot_be_about_a_send_says_nothing_of_it(command: Send, code: int | None) -> None:
    error = document(command, code)
    assert type(error) is OutcomeUnknown
    assert (error.reason, error.http_status, error.may_retry) == (Reason.UNREADABLE, 200, False)


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("command", READS, ids=lambda command: f"{command.name}{getattr(command, 'since', '')}"[:12])
def test_a_document_error_of_a_read(command: Command[Any], code: int | None) -> None:
    error, row = document(command, code), EVERY_CODE[code]
    assert type(error) is row.error
    assert error.outcome is row.error.outcome
    assert may_repeat(command, error) is row.retried
    assert error.command == command.name


@pytest.mark.parametrize("code", [code for code in EVERY_CODE if code is not None])
def test_an_error_on_a_row(code: int) -> None:
    body = (
        f'{{"send":[{{"id":1,"server_id":"0","status":-2,"error":"{code}"}},'
        '{"id":2,"server_id":"10006","status":0,"error":0}],"server_packet_id":"5"}'
    )
    packet = interpret(SEVERAL, Reply(200, body.encode()), now=NOW)
    assert isinstance(packet, Packet)
    refused, accepted = packet.messages
    assert accepted.accepted
    assert refused.outcome is EVERY_CODE[code].error.outcome
    assert (refused.refused, refused.not_sent) == (refused.outcome is REFUSED, refused.outcome is NOT_SENT)
    failure = refused.failure
    assert isinstance(failure, GatewayError)
    assert type(failure) is EVERY_CODE[code].error
    assert (failure.code, failure.message_id, failure.packet_size) == (code, 1, 2)
    assert may_repeat(ONE, failure) is EVERY_CODE[code].retried


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("command", [ONE, SEVERAL, Balance(), Inbound("new")], ids=["one", "several", "read", "new"])
def test_http_429_says_busy_where_the_code_says_nothing_else(command: Command[Any], code: int | None) -> None:
    error, row = document(command, code, status=429), EVERY_CODE[code]
    if row.error is GatewayError or (isinstance(command, Send) and code in OF_READS):
        assert type(error) is GatewayBusy
        assert may_repeat(command, error)
    elif command is SEVERAL and row.of_several:
        assert type(error) is row.of_several
    else:
        assert type(error) is row.error
        assert may_repeat(command, error) is row.retried


@pytest.mark.parametrize("command", [ONE, SEVERAL, *READS])
def test_http_429_with_a_page_says_busy(command: Command[Any]) -> None:
    error = interpret(command, Reply(429, b"<html>", "7"), now=NOW)
    assert type(error) is GatewayBusy
    assert (error.code, error.retry_after, error.http_status) == (None, 7, 429)
    assert error.outcome is NOT_SENT
    assert may_repeat(command, error)


EVERY_STATUS = [200, 201, 301, 400, 401, 403, 404, 500, 502, 503, 504]


@pytest.mark.parametrize("status", EVERY_STATUS)
@pytest.mark.parametrize("command", [ONE, SEVERAL, *READS])
def test_an_error_document_with_a_known_code_counts_whatever_the_http_status(
    status: int, command: Command[Any]
) -> None:
    error = document(command, 101, status=status)
    assert type(error) is AuthenticationError
    assert error.http_status == status


@pytest.mark.parametrize("status", EVERY_STATUS[2:])
@pytest.mark.parametrize("code", [*UNKNOWN_CODES, *OF_READS])
@pytest.mark.parametrize("command", [ONE, SEVERAL], ids=["one", "several"])
def test_a_proxys_error_page_in_json_says_nothing_about_a_send(status: int, code: int | None, command: Send) -> None:
    error = document(command, code, status=status)
    assert type(error) is OutcomeUnknown
    assert (error.reason, error.http_status, error.may_retry) == (Reason.HTTP_STATUS, status, False)


@pytest.mark.parametrize("status", EVERY_STATUS[2:])
@pytest.mark.parametrize("command", READS)
def test_a_proxys_error_page_in_json_is_no_answer_to_a_read(status: int, command: Command[Any]) -> None:
    error = document(command, status, status=status)
    assert type(error) is (NotFound if status in ERROR_CODES and status == 301 else type(error))
    if status not in ERROR_CODES:
        assert type(error) is Unanswered
        assert may_repeat(command, error) is (command != Inbound("new"))


@pytest.mark.parametrize("body", [b'{"error":"Bad Gateway"}', b'{"error":"502"}', b"<error>Bad Gateway</error>"])
@pytest.mark.parametrize("status", EVERY_STATUS)
def test_an_error_in_bare_text_is_not_the_gateways(body: bytes, status: int) -> None:
    error = interpret(SEVERAL, Reply(status, body), now=NOW)
    assert type(error) is OutcomeUnknown


@pytest.mark.parametrize("command", [ONE, SEVERAL])
def test_243_after_an_attempt_of_ours_says_that_it_may_have_been_taken(command: Send) -> None:
    error = document(command, 243, tried_before=True)
    assert type(error) is OutcomeUnknown
    assert (error.reason, error.code) == (Reason.DUPLICATE, 243)
    assert not may_repeat(command, error)


@pytest.mark.parametrize("command", READS)
def test_a_read_without_an_answer_may_be_asked_again_unless_it_is_destructive(command: Command[Any]) -> None:
    error = interpret(command, Reply(502, b"<html>"), now=NOW)
    assert type(error) is Unanswered
    assert may_repeat(command, error) is (command != Inbound("new"))


# --- values --------------------------------------------------------------------------------------


def every_error() -> list[SmsPilotError]:
    about: dict[str, Any] = {"command": "send", "message_id": 5, "packet_size": 2}
    refused: dict[str, Any] = {"code": 111, "description": "d", "http_status": 200, "retry_after": 1.5, **about}
    classes: list[type[GatewayError]] = [GatewayError, *GatewayError.__subclasses__(), DuplicateMessage]
    return [
        SmsPilotError("words", **about),
        InvalidMessage("words", field="to", code=111, message_id=5),
        ClientClosed("words"),
        ConnectionFailed("words", **about),
        *(cls("words", **refused) for cls in classes),
        Unanswered("words", reason=Reason.TIMEOUT, http_status=502, **about),
        NotFinal("words", status=MessageStatus(id=5, status=1), message_id=5),
        OutcomeUnknown("words", reason=Reason.PARTIAL, code=241, server_packet_id="9", http_status=200, **about),
        document(ONE, 111),
        document(SEVERAL, 241),
        document(ONE, 243, tried_before=True),
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_and_copying_with_everything_it_knows(error: SmsPilotError) -> None:
    error.add_note("noted by the caller")
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for again in [*pickled, copy.copy(error), copy.deepcopy(error)]:
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert again.outcome is error.outcome
        assert again is not error


def test_an_error_of_a_class_that_a_user_derived_survives_too() -> None:
    error = Derived("words", reason=Reason.TIMEOUT)
    error.more = 7
    again = copy.copy(error)
    assert (type(again), again.more, again.reason) == (Derived, 7, Reason.TIMEOUT)


class Derived(OutcomeUnknown):
    more = 0


def test_an_error_that_was_never_about_a_message_says_none() -> None:
    error = SmsPilotError("words")
    assert (error.command, error.message_id, error.packet_size) == (None, None, None)
    refused = GatewayError("words")
    assert (refused.code, refused.description, refused.http_status, refused.retry_after) == (None, "", None, None)
    lost = OutcomeUnknown("words", reason=Reason.TIMEOUT)
    assert (lost.command, lost.code, lost.server_packet_id, lost.http_status) == ("send", None, None, None)


def test_an_invalid_message_names_its_field_and_code_in_its_words() -> None:
    error = InvalidMessage("is wrong", field="ttl", code=270)
    assert str(error) == "ttl: is wrong (the gateway's code 270)"
    with pytest.raises(ValueError, match="ttl: is wrong"):
        raise error


def test_the_words_of_a_refusal_say_what_to_do() -> None:
    assert str(document(ONE, 112)) == (
        "send of message 1: the gateway answered 112, No money. It was not sent. "
        "Top up the balance; then the messages that were not sent can be sent."
    )
    assert str(document(ONE, 111)).startswith(
        "send of message 1: refused by the gateway with 111, Invalid phone. It was not sent. "
    )
    assert "999, which this library does not know" in str(document(ONE, 999))
    assert "with no code" in str(document(Balance(), None))
