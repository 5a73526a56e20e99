"""Messages are checked when they are made; models show no personal data, and can be copied, changed and pickled."""

from __future__ import annotations

import copy
import json
import pickle
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from smspilot_async import (
    Accepted,
    AccountInfo,
    DeliveryStatus,
    InboundMessage,
    InvalidMessage,
    Message,
    MessageRefused,
    MessageStatus,
    NotSent,
    OutcomeUnknown,
    Packet,
    Reason,
    Refused,
    SentMessage,
    TextSize,
    Unknown,
    errors,
    models,
)
from smspilot_async._tools import clock as _clock
from smspilot_async.models import status_word

if TYPE_CHECKING:
    from collections.abc import Iterator

PHONE, TEXT = "79087964781", "Ваш код 4921"
NOW = datetime(2030, 1, 15, 12, 0, tzinfo=UTC)


class StandingClock(_clock.Clock):
    """It is always the same time."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@contextmanager
def time_is(now: datetime) -> Iterator[None]:
    with _clock.use(StandingClock(now)):
        yield


class Nowhere(tzinfo):
    """A zone that does not say where it is."""

    def utcoffset(self, _: datetime | None, /) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, _: datetime | None, /) -> str | None:
        return None


def refusal(**fields: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as refused:
        Message(**{"to": PHONE, "text": TEXT, **fields})
    return refused.value


# --- what is a message ---------------------------------------------------------------------------


def test_a_message_needs_only_a_phone_and_a_text() -> None:
    message = Message("+7 (908) 796-47-81", TEXT)
    assert attrs.asdict(message) == {
        "to": PHONE,
        "text": TEXT,
        "sender": None,
        "id": None,
        "send_at": None,
        "callback": None,
        "callback_method": None,
        "ttl": None,
    }


def test_a_message_keeps_every_field_it_is_given() -> None:
    with time_is(NOW):
        message = Message(
            89087964781,
            " \r\nтекст\n ",
            sender="SMSPILOT",
            id="12345",
            send_at=NOW + timedelta(hours=1),
            callback="https://example.com/status?x=1&y=2",
            callback_method="post",
            ttl=1440,
        )
    assert message.to == "79087964781"
    assert message.text == " \r\nтекст\n "
    assert message.sender == "SMSPILOT"
    assert message.id == 12345
    assert message.send_at == NOW + timedelta(hours=1)
    assert message.callback == "https://example.com/status?x=1&y=2"
    assert message.callback_method == "post"
    assert message.ttl == 1440


def test_a_message_knows_its_size() -> None:
    assert Message(PHONE, "я" * 71).size == TextSize("UCS-2", 71, 2)


FAULTS: list[tuple[dict[str, Any], str, int]] = [
    ({"to": ""}, "to", 108),
    ({"to": "phone"}, "to", 111),
    ({"to": None}, "to", 111),
    ({"to": True}, "to", 111),
    ({"to": 79087964781.0}, "to", 111),
    ({"to": b"79087964781"}, "to", 111),
    ({"to": "123"}, "to", 215),
    ({"text": ""}, "text", 220),
    ({"text": None}, "text", 220),
    ({"text": b"text"}, "text", 220),
    ({"text": 1}, "text", 220),
    ({"text": "я" * 671}, "text", 221),
    ({"text": "\x00"}, "text", 12),
    ({"text": "\ud83d"}, "text", 12),
    ({"sender": ""}, "sender", 115),
    ({"sender": "ИМЯ"}, "sender", 115),
    ({"sender": 79087964781}, "sender", 115),
    ({"id": -1}, "id", 230),
    ({"id": 2**63}, "id", 230),
    ({"id": "9" * 19}, "id", 230),
    ({"id": "9" * 5000}, "id", 230),
    ({"id": ""}, "id", 230),
    ({"id": "12a"}, "id", 230),
    ({"id": "١٢"}, "id", 230),
    ({"id": 1.0}, "id", 230),
    ({"id": True}, "id", 230),
    ({"send_at": datetime(2030, 1, 15, 13, 0)}, "send_at", 250),  # noqa: DTZ001 - the fault
    ({"send_at": datetime(2030, 1, 15, 13, 0, tzinfo=Nowhere())}, "send_at", 250),
    ({"send_at": NOW - timedelta(microseconds=1)}, "send_at", 250),
    ({"send_at": datetime(2030, 1, 15, 14, 59, tzinfo=models.MOSCOW)}, "send_at", 250),
    ({"send_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-3)))}, "send_at", 250),
    ({"send_at": "2030-01-15 13:00:00"}, "send_at", 250),
    ({"send_at": 1_900_000_000}, "send_at", 250),
    ({"callback": ""}, "callback", 260),
    ({"callback": "example.com/status"}, "callback", 260),
    ({"callback": "/status"}, "callback", 260),
    ({"callback": "ftp://example.com/"}, "callback", 260),
    ({"callback": "http://"}, "callback", 260),
    ({"callback": "http://:80/"}, "callback", 260),
    ({"callback": "http://example.com:99999/"}, "callback", 260),
    ({"callback": "http://example.com:0/"}, "callback", 260),
    ({"callback": "http://[::1/"}, "callback", 260),
    ({"callback": "http://example.com/ x"}, "callback", 260),
    ({"callback": "http://example.com/\n"}, "callback", 260),
    ({"callback": "http://example.com/\ud800"}, "callback", 260),
    ({"callback": "http://example.com/\uffff"}, "callback", 260),
    ({"callback": b"http://example.com/"}, "callback", 260),
    ({"callback_method": "GET"}, "callback_method", 260),
    ({"callback_method": "put"}, "callback_method", 260),
    ({"callback_method": ["get"]}, "callback_method", 260),
    ({"ttl": 0}, "ttl", 270),
    ({"ttl": 1441}, "ttl", 270),
    ({"ttl": "10"}, "ttl", 270),
    ({"ttl": True}, "ttl", 270),
    ({"ttl": 10.0}, "ttl", 270),
]


@pytest.mark.parametrize(("fields", "field", "code"), FAULTS, ids=lambda value: ascii(value)[:40])
def test_a_fault_names_its_field_and_the_gateways_code(fields: dict[str, Any], field: str, code: int) -> None:
    with time_is(NOW):
        error = refusal(**fields)
    assert (error.field, error.code) == (field, code)
    assert isinstance(error, ValueError)
    assert error.outcome is errors.Outcome.REFUSED
    assert str(error).startswith(f"{field}: ")
    assert str(code) in str(error)
    assert "9087964" not in f"{error} {error!r}"
    assert error.__cause__ is None


@pytest.mark.parametrize("id_", [0, 1, "0", "007", 2**63 - 1, "9223372036854775807", None])
def test_an_id_is_a_whole_number_as_int_or_str(id_: Any) -> None:
    assert Message(PHONE, TEXT, id=id_).id == (None if id_ is None else int(id_))


@pytest.mark.parametrize("ttl", [1, 9, 10, 1440])
def test_a_ttl_from_1_to_1440_minutes_is_left_to_the_gateway(ttl: int) -> None:
    assert Message(PHONE, TEXT, ttl=ttl).ttl == ttl


@pytest.mark.parametrize(
    "url", ["http://example.com", "https://example.com:8443/a?b=%20#c", "http://[::1]/", "HTTP://пример.рф/"]
)
def test_a_callback_is_any_absolute_web_address(url: str) -> None:
    assert Message(PHONE, TEXT, callback=url).callback == url


def test_send_at_may_be_now_and_in_any_zone() -> None:
    with time_is(NOW):
        assert Message(PHONE, TEXT, send_at=NOW).send_at == NOW
        assert Message(PHONE, TEXT, send_at=datetime(2030, 1, 15, 15, 0, tzinfo=models.MOSCOW)).send_at == NOW


def test_send_at_is_compared_with_the_clock_in_use() -> None:
    moment = NOW + timedelta(days=1)
    with time_is(NOW):
        Message(PHONE, TEXT, send_at=moment)
    with time_is(NOW + timedelta(days=2)):
        assert refusal(send_at=moment).code == 250


def test_the_phone_and_the_text_are_positional_and_nothing_else_is() -> None:
    with pytest.raises(TypeError):
        Message(PHONE, TEXT, "SMSPILOT")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_message_cannot_be_changed_in_place() -> None:
    message = Message(PHONE, TEXT)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.text = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_changed_copy_is_checked_again() -> None:
    message = Message(PHONE, TEXT, id=1)
    assert attrs.evolve(message, to="89161234567").to == "79161234567"
    assert attrs.evolve(message, id="2") == Message(PHONE, TEXT, id=2)
    with pytest.raises(InvalidMessage):
        attrs.evolve(message, text="")


def test_messages_are_equal_by_value_and_hash_alike() -> None:
    assert Message("+7 908 796 47 81", TEXT) == Message(PHONE, TEXT)
    assert len({Message("+7 908 796 47 81", TEXT), Message(PHONE, TEXT)}) == 1


# --- personal data -------------------------------------------------------------------------------


def every_model() -> list[Any]:
    refused = MessageRefused("send of message 5: refused", code=111, command="send", message_id=5)
    unknown = OutcomeUnknown("send of message 5: unknown", reason=Reason.TIMEOUT, message_id=5, packet_size=1)
    with time_is(NOW):
        message = Message(
            PHONE,
            TEXT,
            sender="79161234567",
            id=5,
            send_at=NOW,
            callback="https://example.com/?token=4921",
            callback_method="post",
            ttl=10,
        )
    sent = SentMessage(
        id=5,
        server_id="10005",
        server_packet_id="1234",
        sender="79161234567",
        to=PHONE,
        text=TEXT,
        parts=1,
        price=Decimal("1.25"),
        status=0,
        error=0,
        send_at=NOW,
        country="RU",
        operator="MTS",
        extra={"phone": PHONE},
        failure=refused,
    )
    return [
        message,
        sent,
        Packet(messages=(sent,), server_packet_id="1234", balance=Decimal(1), cost=Decimal(2), extra={"to": PHONE}),
        MessageStatus(id=5, server_id="10005", status=2, error=0, modified=datetime(2011, 8, 11, 14, 35)),  # noqa: DTZ001
        InboundMessage(id=1, phone=PHONE, num="79161234567", text=TEXT, created=NOW, seen=False, extra={"x": PHONE}),
        AccountInfo(
            id=1,
            name="Иванов 4921",
            email="person@4921.ru",
            phone=PHONE,
            senders=("79161234567",),
            default_sender="79161234567",
            extra={"x": PHONE},
        ),
        Accepted(message, attrs.evolve(sent, failure=None)),
        Refused(message, refused, sent),
        Unknown((PHONE, TEXT), unknown),
        NotSent({"to": PHONE, "text": TEXT}),
        TextSize("GSM-7", 1, 1),
    ]


@pytest.mark.parametrize("model", every_model(), ids=lambda model: type(model).__name__)
def test_a_model_shows_no_phone_text_or_sender(model: Any) -> None:
    for shown in (repr(model), str(model), f"{model}", f"{[model]}"):
        for private in ("9087964", "код", "4921", "9161234", "Иванов", "person"):
            assert private not in shown


def test_a_message_shows_what_is_not_private() -> None:
    message, *_ = every_model()
    assert repr(message) == "Message(id=5, to=…, text=…, sender=…, callback=…, send_at=2030-01-15T12:00:00Z, ttl=10)"
    assert repr(Message(PHONE, TEXT)) == "Message(id=None, to=…, text=…)"


@pytest.mark.parametrize("model", every_model(), ids=lambda model: type(model).__name__)
def test_a_model_can_be_pickled_and_copied(model: Any) -> None:
    with time_is(NOW + timedelta(days=1)):  # a stored message is not checked again: its time may have passed
        for again in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):  # noqa: S301
            assert type(again) is type(model)
            assert repr(again) == repr(model)
            if not isinstance(model, (Refused, Unknown)):  # errors are equal by identity
                assert again == model


@pytest.mark.parametrize("model", every_model()[1:], ids=lambda model: type(model).__name__)
def test_a_model_can_be_evolved(model: Any) -> None:
    assert attrs.evolve(model) == model


def test_unknown_fields_do_not_stand_in_the_way_of_hashing() -> None:
    assert len({MessageStatus(id=1, extra={"a": []}), MessageStatus(id=1, extra={"a": []})}) == 1


# --- what they say -------------------------------------------------------------------------------


def test_a_sent_message_is_accepted_refused_or_unknown() -> None:
    accepted = SentMessage(server_id="1", status=0)
    refused = SentMessage(failure=MessageRefused("no"))
    unknown = SentMessage(failure=OutcomeUnknown("?", reason=Reason.DUPLICATE))
    packet = Packet(messages=(accepted, refused, unknown))
    assert [(each.accepted, each.refused, each.unknown) for each in packet.messages] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert (packet.accepted, packet.refused, packet.unknown) == ((accepted,), (refused,), (unknown,))


@pytest.mark.parametrize(
    ("status", "is_final", "delivered"),
    [
        (-2, True, False),
        (-1, True, False),
        (0, False, False),
        (1, False, False),
        (2, True, True),
        (3, False, False),
        (4, False, False),
        (-3, False, False),
        (None, False, False),
    ],
)
def test_a_status_is_final_when_it_cannot_change(status: int | None, is_final: bool, delivered: bool) -> None:  # noqa: FBT001
    answer = MessageStatus(status=status)
    assert (answer.is_final, answer.delivered) == (is_final, delivered)


@pytest.mark.parametrize("model", [MessageStatus, SentMessage])
def test_a_status_that_is_known_is_a_delivery_status_and_any_other_number_a_plain_int(
    model: type[MessageStatus | SentMessage],
) -> None:
    known = [model(status=number).status for number in (-2, -1, 0, 1, 2, 3)]
    assert list(map(repr, known)) == [
        "<DeliveryStatus.UNKNOWN: -2>",
        "<DeliveryStatus.NOT_DELIVERED: -1>",
        "<DeliveryStatus.ACCEPTED: 0>",
        "<DeliveryStatus.WITH_OPERATOR: 1>",
        "<DeliveryStatus.DELIVERED: 2>",
        "<DeliveryStatus.SCHEDULED: 3>",
    ]
    assert [type(model(status=number).status) for number in (4, -3, 999)] == [int, int, int]
    assert model().status is None


def test_a_delivery_status_is_its_number_for_whoever_writes_or_compares_it() -> None:
    status = attrs.evolve(MessageStatus(status=0), status=2).status
    assert status is DeliveryStatus.DELIVERED
    assert (int(status), f"{status}", json.dumps({"status": status})) == (2, "2", '{"status": 2}')
    assert [status_word(status) for status in (DeliveryStatus.DELIVERED, 2, 7, None)] == [
        "delivered",
        "delivered",
        "status 7",
        "",
    ]


def test_every_delivery_status_has_a_word() -> None:
    assert "" not in {status_word(status).replace(f"status {status}", "") for status in DeliveryStatus}


def test_moscow_time_is_three_hours_ahead_and_has_no_summer() -> None:
    assert {datetime(2020, month, 1, tzinfo=models.MOSCOW).utcoffset() for month in (1, 7)} == {timedelta(hours=3)}
