"""What an answer proves: whose row is whose, what is certainly accepted, and which of the gateway's words are shown."""

from __future__ import annotations

import html
import json
import pickle
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async import (
    AuthenticationError,
    ConnectionFailed,
    DuplicateMessage,
    GatewayBusy,
    GatewayError,
    InsufficientFunds,
    Message,
    MessageRefused,
    OutcomeUnknown,
    Packet,
    Reason,
    SentMessage,
    SmsPilotError,
    Unanswered,
)
from smspilot_async._network.base import Failure, Reply
from smspilot_async._requests.interpret import interpret
from smspilot_async._requests.retry import may_repeat
from smspilot_async.wire import Balance, Check, Command, Cost, Inbound, Info, Send
from smspilot_async.wire._redact import excerpt, redact

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
A, B, C = "79087964781", "79131437355", "79161234567"
THREE = Send([Message(A, "first"), Message(B, "second"), Message(C, "third")], [11, 12, 13])
ONE = Send([Message(A, "first")], [11])


def row(id_: Any, server_id: Any = "10005", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "server_id": server_id, "status": 0, "error": 0, **fields}


def answered(command: Command[Any], *rows: dict[str, Any], tried_before: bool = False, **head: Any) -> Any:
    body = json.dumps({"send": rows, "server_packet_id": "1234", **head}).encode()
    return interpret(command, Reply(200, body), now=NOW, tried_before=tried_before)


def refused(command: Command[Any], code: int | None, *, tried_before: bool = False, description: str = "words") -> Any:
    body = json.dumps({"error": {"code": code, "description": description}}).encode()
    return interpret(command, Reply(200, body), now=NOW, tried_before=tried_before)


def server_ids(outcome: Any) -> list[str | None]:
    assert isinstance(outcome, Packet)
    assert [each.id for each in outcome.messages] == [11, 12, 13]
    assert all(each.accepted for each in outcome.messages)
    return [each.server_id for each in outcome.messages]


def is_mismatch(outcome: Any) -> bool:
    return type(outcome) is OutcomeUnknown and outcome.reason is Reason.MISMATCH


# --- whose row is whose --------------------------------------------------------------------------

MATCHED: dict[str, list[dict[str, Any]]] = {
    "the ids that were sent, in order": [row(11, "a"), row(12, "b"), row(13, "c")],
    "as strings": [row("11", "a"), row("12", "b"), row("13", "c")],
    "reordered": [row(13, "c"), row(11, "a"), row(12, "b")],
    "reordered, with phones": [row(13, "c", to=C), row(11, "a", to=A), row(12, "b", to=B)],
    "reordered, and ids count more than phones": [row(13, "c", to=A), row(11, "a", to=B), row(12, "b", to=C)],
    "all ids 0": [row(0, "a"), row(0, "b"), row(0, "c")],
    "all ids 0, with phones": [row(0, "a", to=A), row(0, "b", to=B), row(0, "c", to=C)],
    "no ids": [row(None, "a"), row(None, "b"), row(None, "c")],
    "one id 0": [row(11, "a"), row(0, "b"), row(13, "c")],
    "phones as 8…": [row(0, "a", to="89087964781"), row(0, "b", to="89131437355"), row(0, "c", to="+79161234567")],
    "phones as numbers": [row(0, "a", to=int(A)), row(0, "b", to=int(B)), row(0, "c", to=int(C))],
    "empty phones": [row(0, "a", to=""), row(0, "b", to=""), row(0, "c", to=None)],
    "other texts": [row(0, "a", text="third"), row(0, "b", text="first"), row(0, "c", text="")],
}


@pytest.mark.parametrize("name", MATCHED)
def test_rows_are_matched_by_unique_ids_or_else_by_position(name: str) -> None:
    assert server_ids(answered(THREE, *MATCHED[name])) == ["a", "b", "c"]


MISMATCHED: dict[str, list[dict[str, Any]]] = {
    "no rows": [],
    "a row missing": [row(11), row(12)],
    "a row missing, ids 0": [row(0), row(0)],
    "a row more": [row(11), row(12), row(13), row(14)],
    "a row twice": [row(11), row(12), row(13), row(13)],
    "an id twice": [row(11), row(12), row(12)],
    "an id twice in place of the first": [row(12), row(12), row(13)],
    "a foreign id": [row(11), row(12), row(99)],
    "only foreign ids": [row(97), row(98), row(99)],
    "ids reordered, one of them 0": [row(13), row(0), row(11)],
    "a negative id": [row(-11), row(12), row(13)],
    "phones in another order, ids 0": [row(0, to=B), row(0, to=A), row(0, to=C)],
    "a foreign phone": [row(0, to=A), row(0, to=B), row(0, to="79160000000")],
    "half a phone": [row(0, to=A), row(0, to=B), row(0, to="4567")],
}


@pytest.mark.parametrize("name", MISMATCHED)
def test_rows_that_cannot_be_matched_leave_the_whole_packet_unknown(name: str) -> None:
    outcome = answered(THREE, *MISMATCHED[name])
    assert is_mismatch(outcome)
    assert (outcome.server_packet_id, outcome.packet_size, outcome.message_id) == ("1234", 3, None)
    assert not may_repeat(THREE, outcome)


def test_a_single_message_is_matched_by_the_same_rules() -> None:
    assert answered(ONE, row(0, "a", to=A)).messages[0].server_id == "a"
    assert is_mismatch(answered(ONE, row(99)))
    assert is_mismatch(answered(ONE, row(0, to=B)))
    assert is_mismatch(answered(ONE))


def test_a_domestic_number_is_the_international_one_on_either_side() -> None:
    domestic = Send([Message("+89087964781", "x")], [11])  # with a plus it goes out as it is
    assert answered(domestic, row(0, "a", to="79087964781")).messages[0].accepted


def test_the_packet_keeps_what_stood_around_the_rows() -> None:
    packet = answered(ONE, row(11), balance="99.50", cost=1.25, credits="7")
    assert (packet.server_packet_id, packet.balance, packet.cost) == ("1234", Decimal("99.50"), Decimal("1.25"))
    assert packet.extra == {"credits": "7"}
    assert packet.messages[0].server_packet_id == "1234"


# --- what a row proves ---------------------------------------------------------------------------


def judged(*, tried_before: bool = False, **fields: Any) -> SentMessage:
    packet = answered(ONE, {"id": 11, **fields}, tried_before=tried_before)
    assert isinstance(packet, Packet)
    (message,) = packet.messages
    assert message.id == 11
    return message


ACCEPTED_ROWS: list[dict[str, Any]] = [
    {"server_id": "10005", "status": 0, "error": 0},
    {"server_id": "10005", "status": "3", "error": "0"},
    {"server_id": "10005", "status": 1, "error": 0},
    {"server_id": "10005", "status": 7, "error": 0},
    {"server_id": "10005", "status": 0},
    {"server_id": "10005", "error": 0},
    {"server_id": "10005", "error": "", "status": ""},
    {"server_id": "10005"},
    {"server_id": "0", "status": 0, "error": 0},
    {"status": 0, "error": 0},
    {"error": 0},
]


@pytest.mark.parametrize("fields", ACCEPTED_ROWS, ids=str)
def test_a_row_without_an_error_is_an_accepted_message(fields: dict[str, Any]) -> None:
    assert judged(**fields).accepted


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"server_id": "0", "status": -2, "error": 111}, MessageRefused, 111),
        ({"server_id": "0", "status": "-2", "error": "243"}, DuplicateMessage, 243),
        ({"server_id": "10005", "status": -2, "error": 112}, InsufficientFunds, 112),
        ({"server_id": "10005", "status": -1, "error": 602}, MessageRefused, 602),
        ({"server_id": "0", "status": 0, "error": 110}, GatewayBusy, 110),
        ({"status": 0, "error": 999}, GatewayError, 999),
        ({"error": 999}, GatewayError, 999),
        ({"server_id": "10005", "error": 111}, MessageRefused, 111),
        ({"server_id": "0", "status": -2, "error": 0}, MessageRefused, None),
        ({"status": -2}, MessageRefused, None),
    ],
    ids=str,
)
def test_a_row_with_an_error_or_status_minus_2_is_a_refused_one(
    fields: dict[str, Any], error: type[GatewayError], code: int | None
) -> None:
    message = judged(**fields)
    assert not message.accepted
    assert message.outcome is error.outcome
    failure = message.failure
    assert isinstance(failure, GatewayError)
    assert type(failure) is error
    assert (failure.code, failure.command, failure.message_id, failure.packet_size) == (code, "send", 11, 1)
    assert A not in str(failure)


@pytest.mark.parametrize(
    "fields",
    [
        {"server_id": "10005", "status": 0, "error": 111},  # taken, says the status; refused, says the error
        {"server_id": "10005", "status": 3, "error": 999},
        {"server_id": "10005", "status": 2, "error": 243},
        {},  # says nothing
        {"server_id": "0"},
        {"server_id": "", "status": None, "error": ""},
    ],
    ids=str,
)
def test_a_row_that_contradicts_itself_or_says_nothing_is_unknown(fields: dict[str, Any]) -> None:
    message = judged(**fields)
    assert message.unknown
    failure = message.failure
    assert isinstance(failure, OutcomeUnknown)
    assert failure.reason is Reason.UNREADABLE
    assert (failure.message_id, failure.server_packet_id, failure.code) == (11, "1234", fields.get("error") or None)
    assert message.server_id == (fields.get("server_id") or None)


def test_each_message_of_a_packet_has_its_own_fate() -> None:
    packet = answered(THREE, row(12, "0", status=-2, error=111), row(13, error=5), row(11, "a"))
    first, second, third = packet.messages
    assert (first.accepted, second.refused, third.unknown) == (True, True, True)
    assert [failure.message_id for each in packet.messages if (failure := each.failure)] == [12, 13]


@pytest.mark.parametrize("status", [200, 400, 429, 500, 502])
def test_rows_count_whatever_the_http_status(status: int) -> None:
    body = json.dumps({"send": [row(11)]}).encode()
    packet = interpret(ONE, Reply(status, body), now=NOW)
    assert isinstance(packet, Packet)
    assert packet.messages[0].accepted


# --- error documents -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [241, 715, 999])
def test_an_error_for_several_messages_may_have_come_after_the_first_were_taken(code: int) -> None:
    outcome = refused(THREE, code)
    assert type(outcome) is OutcomeUnknown
    assert (outcome.reason, outcome.code, outcome.http_status) == (Reason.PARTIAL, code, 200)
    assert not may_repeat(THREE, outcome)


@pytest.mark.parametrize(("code", "error"), [(112, InsufficientFunds), (241, InsufficientFunds), (999, GatewayError)])
def test_the_same_error_for_one_message_is_its_refusal(code: int, error: type[GatewayError]) -> None:
    assert type(refused(ONE, code)) is error


@pytest.mark.parametrize(
    ("code", "error"), [(101, AuthenticationError), (111, MessageRefused), (110, GatewayBusy), (112, InsufficientFunds)]
)
def test_an_error_that_comes_up_before_any_message_is_taken_is_about_all(code: int, error: type[GatewayError]) -> None:
    assert type(refused(THREE, code)) is error


def test_too_many_requests_refuse_a_packet_even_with_an_unknown_code() -> None:
    body = b'{"error":{"code":429,"description":"Too many requests"}}'
    outcome = interpret(THREE, Reply(429, body, "3"), now=NOW)
    assert type(outcome) is GatewayBusy
    assert (outcome.code, outcome.retry_after) == (429, 3.0)


# --- duplicates of our own -----------------------------------------------------------------------


@pytest.mark.parametrize("command", [ONE, THREE])
def test_243_at_the_first_attempt_is_a_refusal(command: Send) -> None:
    assert type(refused(command, 243)) is DuplicateMessage


@pytest.mark.parametrize("command", [ONE, THREE])
def test_243_after_an_earlier_attempt_says_that_the_earlier_one_was_accepted(command: Send) -> None:
    outcome = refused(command, 243, tried_before=True)
    assert type(outcome) is OutcomeUnknown
    assert (outcome.reason, outcome.code) == (Reason.DUPLICATE, 243)
    assert (outcome.packet_size, outcome.message_id) == (command.size, 11 if command is ONE else None)


def test_243_on_a_row_after_an_earlier_attempt_says_so_of_this_message_alone() -> None:
    rows = [row(11), row(12, "0", status=-2, error=243), row(13, "0", status=-2, error=111)]
    first, second, third = answered(THREE, *rows, tried_before=True).messages
    assert (first.accepted, second.unknown, third.refused) == (True, True, True)
    failure = second.failure
    assert isinstance(failure, OutcomeUnknown)
    assert (failure.reason, failure.code, failure.message_id) == (Reason.DUPLICATE, 243, 12)


def test_243_for_a_read_is_only_an_error() -> None:
    assert type(refused(Check(["1"]), 243, tried_before=True)) is DuplicateMessage


# --- a price -------------------------------------------------------------------------------------

COST = Cost([Message(A, "first"), Message(B, "second")], [11, 12])


@pytest.mark.parametrize("rows", [[row(11), row(12)], [row(99)], []])
def test_a_price_answered_with_a_send_was_a_real_send(rows: list[dict[str, Any]]) -> None:
    outcome = answered(COST, *rows, cost="2.50")
    assert type(outcome) is OutcomeUnknown
    assert (outcome.reason, outcome.command, outcome.server_packet_id) == (Reason.SENT_BY_COST, "cost", "1234")
    assert not may_repeat(COST, outcome)
    assert "as if it had sent" in str(outcome)


def test_a_send_answered_with_a_price_is_unknown() -> None:
    outcome = interpret(ONE, Reply(200, b'{"cost":"1.25"}'), now=NOW)
    assert type(outcome) is OutcomeUnknown
    assert outcome.reason is Reason.UNREADABLE


# --- no answer -----------------------------------------------------------------------------------

PAGE = b"<html>502</html>"


@pytest.mark.parametrize(
    "command", [ONE, THREE, COST, Balance(), Check(["1"]), Inbound("new")], ids=lambda each: each.name
)
def test_nothing_sent_is_certain_for_every_command(command: Command[Any]) -> None:
    failure = Failure(Reason.DISCONNECTED, "could not connect", request_started=False)
    outcome = interpret(command, failure, now=NOW)
    assert type(outcome) is ConnectionFailed
    assert may_repeat(command, outcome)
    assert "could not connect" in str(outcome)
    assert "Nothing was sent" in str(outcome)


@pytest.mark.parametrize("reason", list(Reason))
def test_whatever_else_happens_to_a_send_leaves_it_unknown(reason: Reason) -> None:
    outcome = interpret(THREE, Failure(reason, "words", http_status=502), now=NOW)
    assert type(outcome) is OutcomeUnknown
    assert (outcome.reason, outcome.http_status, outcome.packet_size) == (reason, 502, 3)
    assert not may_repeat(THREE, outcome)
    read = interpret(Balance(), Failure(reason, "words", http_status=502), now=NOW)
    assert type(read) is Unanswered
    assert (read.reason, read.http_status, read.command) == (reason, 502, "balance")
    assert may_repeat(Balance(), read)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, Reason.UNREADABLE),
        (204, Reason.UNREADABLE),
        (301, Reason.HTTP_STATUS),
        (404, Reason.HTTP_STATUS),
        (413, Reason.HTTP_STATUS),
        (500, Reason.HTTP_STATUS),
        (503, Reason.HTTP_STATUS),
    ],
)
def test_a_page_in_place_of_an_answer_names_its_status(status: int, reason: Reason) -> None:
    sent = interpret(ONE, Reply(status, PAGE), now=NOW)
    assert type(sent) is OutcomeUnknown
    assert (sent.reason, sent.http_status) == (reason, status)
    assert "an HTML page" in str(sent)
    read = interpret(Balance(), Reply(status, PAGE), now=NOW)
    assert type(read) is Unanswered
    assert (read.reason, read.http_status) == (reason, status)


@pytest.mark.parametrize(
    ("status", "is_elsewhere"),
    [(200, False), (301, True), (308, True), (403, False), (404, True), (405, True), (413, False), (502, False)],
)
def test_a_status_that_says_there_is_no_such_place_sends_the_reader_to_the_url(
    status: int, *, is_elsewhere: bool
) -> None:
    for command in (ONE, Balance()):
        answer = interpret(command, Reply(status, PAGE), now=NOW)
        assert ("check that the url is the gateway's" in str(answer)) is is_elsewhere


# --- Retry-After ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("9" * 400, 999_999_999.0),
        ("Tue, 15 Jan 2030 12:01:30 GMT", 90.0),
        ("Tue, 15 Jan 2030 15:01:30 +0300", 90.0),
        ("Tuesday, 15-Jan-30 12:01:30 GMT", 90.0),
        ("Tue, 15 Jan 2030 12:01:30 -0000", 90.0),
        ("Tue, 15 Jan 2030 12:01:30", 90.0),
        ("Tue, 15 Jan 2030 11:59:59 GMT", 0.0),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2030 00:00:00 +9999999999", None),
        ("Mon, 99 Jan 2030 00:00:00 GMT", None),
        ("1.5", None),
        ("-1", None),
        ("soon", None),
        ("٧", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(written: str | None, seconds: float | None) -> None:
    for body in (PAGE, b'{"error":{"code":110}}', b'{"error":{"code":999}}'):
        outcome = interpret(Balance(), Reply(429, body, written), now=NOW)
        assert type(outcome) is GatewayBusy
        assert outcome.retry_after == seconds


# --- the gateway's words -------------------------------------------------------------------------

KEY = "XYZ0" * 16
TEXTS = ["Ваш код 4921, не говорите его никому", "Иванов, долг 35 руб"]
PRIVATE = ["9087964", "908 796", "796-47", "XYZ", "4921", "код", "Иванов", "ИВАНОВ", "никому", "info@", "token"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("You don't have enough money", "You don't have enough money"),
        ("Invalid length 12 of 1530", "Invalid length 12 of 1530"),
        ("", ""),
        ("Invalid phone 79087964781", "Invalid phone …"),
        ("Invalid phone +7 (908) 796-47-81!", "Invalid phone …!"),
        ("Invalid phone 8.908.796.47.81", "Invalid phone …"),
        ("phone:79087964781;", "phone:…;"),
        (f"APIKEY {KEY} is invalid", "APIKEY … is invalid"),
        ("User info@smspilot.ru not found", "User … not found"),
        ("Invalid callback https://smspilot.ru/?token=4921", "Invalid callback …"),
        ("Duplicate of 'Ваш код 4921, не говорите его никому'", ""),
        ("Forbidden: Ваш код 4921, не говорите его ник", "Forbidden: … … …, не … … ник"),
        ("Forbidden word ИВАНОВ", "Forbidden word …"),
        ("Code 4921", "Code …"),
        ("a\x1b[31m\r\n\tb\x00c\x9fd", "a [31m b c d"),
        ("x" * 300, "…"),
        ("words " * 100, ("words " * 34)[:200].strip()),
        ("! " * 490 + "79087964781 " + "79087964781", "! " * 99 + "!"),
        ("ab " * 333 + "79087964781", ("ab " * 67)[:200].strip()),
    ],
)
def test_the_gateways_words_lose_what_may_be_somebodys(said: str, kept: str) -> None:
    shown = redact(said, TEXTS)
    assert shown == kept
    assert not any(private in shown for private in PRIVATE)


@pytest.mark.parametrize("text", ["я и ты", " я и ты ", "a"])
def test_a_text_of_short_words_is_recognised_as_a_whole(text: str) -> None:
    assert redact(f"Forbidden: {text.strip()}", [text]) == ""


def test_half_a_phone_at_the_cut_does_not_survive() -> None:
    for length in range(950, 1005):
        shown = redact("1" * length + "/79087964781/", [])
        assert "9087" not in shown


@pytest.mark.parametrize("char", ["!", "a", "1", " ", "@", "1 ", "a@", "://", "-", "1-", "é"])
def test_long_words_of_the_gateway_are_read_in_no_time(char: str) -> None:
    said = char * (4_000_000 // len(char))  # was quadratic: this took days
    assert len(redact(said, TEXTS)) <= 200


@pytest.mark.parametrize(("command", "code"), [(ONE, 799), (Balance(), 799), (Balance(), None)])
def test_a_code_that_is_not_known_comes_with_the_redacted_words_of_the_gateway(
    command: Command[Any], code: int | None
) -> None:
    outcome = refused(command, code, description=f"Quota of {A} is used up.")
    assert outcome.description == "Quota of … is used up."
    assert ": Quota of … is used up. " in str(outcome)


def test_a_packet_that_may_be_taken_in_part_shows_the_words_for_its_unknown_code() -> None:
    outcome = refused(THREE, 799, description=f"Quota of {A} is used up")
    assert type(outcome) is OutcomeUnknown
    assert "799, which this library does not know: Quota of … is used up, for the whole packet" in str(outcome)


def test_the_words_for_a_known_code_are_the_vendor_s_list_s() -> None:
    assert "111, Invalid phone. It was not sent." in str(refused(ONE, 111, description="anything"))


def test_an_error_keeps_only_the_redacted_words() -> None:
    outcome = refused(ONE, 111, description=f"Invalid phone {A} of {KEY}")
    assert isinstance(outcome, GatewayError)
    assert outcome.description == "Invalid phone … of …"
    assert A not in f"{outcome!r} {vars(outcome)}"


def test_the_words_of_a_price_lose_its_texts_too() -> None:
    outcome = refused(COST, 247, description="Filter: SECOND")
    assert isinstance(outcome, GatewayError)
    assert outcome.description == "Filter: …"


def test_errors_are_values_without_a_past() -> None:
    for outcome in (refused(ONE, 111), interpret(ONE, Reply(200, b"{"), now=NOW)):
        assert isinstance(outcome, SmsPilotError)
        assert outcome.__traceback__ is None
        assert outcome.__context__ is None
        assert outcome.__cause__ is None


# --- an answer that could not be read ------------------------------------------------------------

SECRET = "short-KEY.7"
TOLD: dict[bytes, str] = {
    b"": "",
    b"Bad Gateway": "Bad Gateway",
    b"<html><head><title>502 Bad Gateway</title><style>p {color: red}</style></head><body>nginx</body></html>": (
        "502 Bad Gateway nginx"
    ),
    b'{"error":{"code":504}}': '{"error":{"code":504}}',
    b'{"error":"\\u0421\\u0431\\u043e\\u0439"}': '{"error":"\u0421\u0431\u043e\u0439"}',
    "Сервис временно недоступен".encode(): "Сервис временно недоступен",
    "Сервис".encode("cp1251") + b" down": "… down",
    "Сервис".encode("utf-16"): "",
    b"error&#x20;&amp;quot;504&amp;quot; at%20+once": 'error "504" at once',
    b"no route for short-KEY.7 to 79087964781 or +7 (908) 796-47-81": "no route for …-….… to … or … (…",
    b"no route for KEY": "no route for …",
    b"cGFja2V0IG9mIHRoZSByZXF1ZXN0 of 79087964781 by a@b.example": "… of … by …",
    b"words " * 1000: ("words " * 34)[:200].strip(),
}


@pytest.mark.parametrize(("said", "kept"), TOLD.items(), ids=repr)
def test_an_excerpt_holds_the_first_words_of_an_answer_without_markup_and_secrets(said: bytes, kept: str) -> None:
    assert excerpt(said, ["first", SECRET]) == kept


@pytest.mark.parametrize("command", [ONE, THREE, Cost([Message(A, "first")], [11]), Check(["1"]), Balance()])
def test_an_unreadable_answer_comes_with_an_excerpt_that_no_other_text_of_the_error_holds(
    command: Command[Any],
) -> None:
    error = interpret(command, Reply(502, b"<h1>Down for repair</h1> 79087964781"), now=NOW, secrets=[SECRET])

    assert isinstance(error, Unanswered)
    assert error.excerpt == "Down for repair …"
    assert "repair" not in f"{error} {error!r} {error.args}"
    assert pickle.loads(pickle.dumps(error)).excerpt == error.excerpt  # noqa: S301 - our own


def test_an_error_document_that_is_not_believed_comes_with_an_excerpt() -> None:
    error = interpret(ONE, Reply(502, b'{"error":{"code":504,"description":"timed out"}}'), now=NOW)

    assert isinstance(error, OutcomeUnknown)
    assert error.excerpt == '{"error":{"code":504,"description":"timed out"}}'


@pytest.mark.parametrize(
    "body", [b'{"inbound":[{"text":"Hello', b"<sms>Hello", b'{"send":"Hello', b'{"info":{"name":"Hello']
)
@pytest.mark.parametrize("command", [Inbound(), Info(), Balance(), Check(["1"])])
def test_there_is_no_excerpt_of_what_others_may_have_written(command: Command[Any], body: bytes) -> None:
    error = interpret(command, Reply(200, body), now=NOW)

    assert isinstance(error, Unanswered)
    assert error.excerpt == ""


@pytest.mark.parametrize("command", [Inbound(), Info()])
def test_there_is_no_excerpt_of_whatever_answers_for_people(command: Command[Any]) -> None:
    error = interpret(command, Reply(502, b"Hello"), now=NOW)

    assert isinstance(error, Unanswered)
    assert error.excerpt == ""


def test_there_is_no_excerpt_where_nothing_came() -> None:
    error = interpret(ONE, Failure(Reason.TIMEOUT, "no answer in time"), now=NOW)

    assert isinstance(error, OutcomeUnknown)
    assert error.excerpt == ""


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "in HTML": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace"),
    "in HTML twice": lambda text: html.escape(html.escape(text).encode("ascii", "xmlcharrefreplace").decode()).encode(),
    "in JSON": lambda text: json.dumps(text).encode(),
    "in a form": lambda text: quote_plus(text).encode(),
    "in a URL": lambda text: quote(text).encode(),
    "in JSON in a form": lambda text: quote_plus(json.dumps(text)).encode(),
    "in base64": lambda text: b64encode(text.encode()),
    "in another encoding": lambda text: text.encode("cp1251", "replace"),
    "in the wrong encoding": lambda text: text.encode().decode("latin-1").encode(),
}
WORDS = st.text(st.sampled_from("abcАбвгд0123"), min_size=3, max_size=9)


@pytest.mark.parametrize("way", WRITTEN.values(), ids=WRITTEN)
@given(words=st.lists(WORDS, min_size=3, max_size=8), before=st.integers(0, 2100))
def test_no_word_of_a_text_is_in_an_excerpt_however_a_page_writes_it(
    way: Callable[[str], bytes], words: list[str], before: int
) -> None:
    text = " ".join(words)
    page = b"<pre>" + b"x " * before + way(text) + b"</pre>"

    shown = excerpt(page, [text])

    assert [word for word in words if word.casefold() in shown.casefold()] == []
