"""Every answer sample of the vendor's document, decoded field by field; and what later gateways make of the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import answer_samples as samples
import attrs
import pytest

from smspilot_async import AccountInfo, InboundMessage, Message, MessageStatus, Packet, SentMessage
from smspilot_async.wire import (
    Balance,
    Check,
    CheckPacket,
    Command,
    Cost,
    ErrorDocument,
    Inbound,
    Info,
    Send,
    decode,
)

MOSCOW = timezone(timedelta(hours=3))
MESSAGES = [Message("79131437355", "x"), Message("79087964782", "y")]
SEND = Send(MESSAGES, [12345, 12346])

FIRST = SentMessage(
    id=12345,
    server_id="10005",
    server_packet_id="1234",
    sender="SMSPILOT",
    to="79131437355",
    text='Ура "SMSPILOT" работает!',
    parts=1,
    price=Decimal("0.29"),
    status=0,
    error=0,
    send_at=None,
    country="RU",
    operator="MTS",
)
SECOND = SentMessage(
    id=12346,
    server_id="10006",
    server_packet_id="1234",
    sender="ADVOKAT",
    to="79087964782",
    text="json_encode в помощь!",
    parts=1,
    price=Decimal("0.60"),
    status=0,
    error=0,
    send_at=datetime(2012, 10, 18, 18, 0, tzinfo=UTC),
    country="RU",
    operator="TELE2",
)
PACKET = Packet(
    messages=(FIRST, SECOND), server_packet_id="1234", balance=Decimal(10000), cost=Decimal("0.89"), extra={}
)
SECOND_IN_XML = attrs.evolve(SECOND, text="Не забываем htmlspecialchars!", status=3)
OF_2013 = SentMessage(
    id=12345,
    server_id="10005",
    server_packet_id="1234",
    sender="SMSPILOT",
    to="79131437355",
    text="Test",
    parts=1,
    status=0,
    error=0,
    country="RU",
    extra={"zone": "1"},
)
STATUSES = [
    MessageStatus(id=12345, server_id="10005", status=1, modified=datetime(2011, 8, 11, 14, 35)),  # noqa: DTZ001
    MessageStatus(id=12346, server_id="10006", status=2, modified=datetime(2011, 8, 11, 15, 12, 22)),  # noqa: DTZ001
]
ACCOUNT = AccountInfo(
    id=1,
    tariff_id=1,
    email="info@smspilot.ru",
    phone="79087964781",
    balance=Decimal(999737),
    date=datetime(2012, 1, 21, 7, 25),  # noqa: DTZ001
    senders=("mySHOP", "SCHOOL", "SERVER4", "my-site.ru"),
    default_sender="SERVER4",
    any_sender=True,
)
ACCOUNT_IN_XML = attrs.evolve(
    ACCOUNT,
    balance=Decimal("405.60"),
    senders=("smspilot.ru", "TestSMS"),
    default_sender="smspilot",
    any_sender=False,
)
INBOUND = [
    InboundMessage(
        id=12345,
        phone="79087964781",
        num="79021121075",
        text="1234 Ура работает!",
        created=datetime(2011, 9, 20, 20, 15, tzinfo=MOSCOW),
        seen=False,
    ),
    InboundMessage(
        id=12346,
        phone="79087964782",
        num="79021121075",
        text="1234 Дима Билан!",
        created=datetime(2011, 9, 20, 21, 11, tzinfo=MOSCOW),
        seen=True,
    ),
]

ANSWERS: dict[str, tuple[Command[Any], str, Any]] = {
    "send, json": (SEND, samples.SEND_JSON, PACKET),
    "send, xml": (SEND, samples.SEND_XML, attrs.evolve(PACKET, messages=(FIRST, SECOND_IN_XML))),
    "send, 2.6": (SEND, samples.SEND_26, PACKET),
    "send, 2013, json": (
        SEND,
        samples.SEND_2013_JSON,
        Packet(messages=(OF_2013,), server_packet_id="1234", extra={"credits": "9999"}),
    ),
    "send, 2013, xml": (
        SEND,
        samples.SEND_2013_XML,
        Packet(messages=(OF_2013,), server_packet_id="1234", extra={"credits": "9999"}),
    ),
    "cost, json": (Cost(MESSAGES, [1, 2]), samples.COST_JSON, Decimal("1.25")),
    "cost, xml": (Cost(MESSAGES, [1, 2]), samples.COST_XML, Decimal("1.25")),
    "cost, 2.6": (Cost(MESSAGES, [1, 2]), samples.COST_26, Decimal("1.25")),
    "check, json": (Check(["10005", "10006"]), samples.CHECK_JSON, STATUSES),
    "check, xml": (Check(["10005", "10006"]), samples.CHECK_XML, STATUSES),
    "check, 2.6": (Check(["10005", "10006"]), samples.CHECK_26, STATUSES),
    "check by packet, json": (CheckPacket("1234"), samples.CHECK_JSON, STATUSES),
    "check by packet, xml": (CheckPacket("1234"), samples.CHECK_XML, STATUSES),
    "check by packet, 2.6": (CheckPacket("1234"), samples.CHECK_26, STATUSES),
    "balance, json": (Balance("rur"), samples.BALANCE_JSON, Decimal("405.60")),
    "balance, xml": (Balance("rur"), samples.BALANCE_XML, Decimal("405.60")),
    "balance, 2.6": (Balance("rur"), '{"balance":20006.97}', Decimal("20006.97")),
    "balance as a count of SMS": (Balance("sms"), '{"balance":16005}', Decimal(16005)),
    "info, json": (Info(), samples.INFO_JSON, ACCOUNT),
    "info, xml": (Info(), samples.INFO_XML, ACCOUNT_IN_XML),
    "info, 2.6": (Info(), samples.INFO_26, attrs.evolve(ACCOUNT, name="Иван")),
    "inbound, json": (Inbound(), samples.INBOUND_JSON, INBOUND),
    "inbound, xml": (Inbound(), samples.INBOUND_XML, INBOUND),
    "inbound, 2.6": (Inbound(), samples.INBOUND_26, INBOUND),
}


def exactly(value: Any) -> Any:
    """A value with its types and digits, since 1 == True == Decimal("1.00") and times in two zones may be equal."""
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        return type(value), {field.name: exactly(getattr(value, field.name)) for field in fields}
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return type(value), str(value)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_becomes_typed_values(name: str) -> None:
    command, body, expected = ANSWERS[name]
    assert exactly(decode(command, body.encode())) == exactly(expected)


@pytest.mark.parametrize("body", [samples.ERROR_JSON, samples.ERROR_XML, samples.ERROR_26, samples.ERROR_INT])
@pytest.mark.parametrize("command", [SEND, Cost(MESSAGES, [1, 2]), Check(["1"]), Balance(), Info(), Inbound()])
def test_an_error_document_is_understood_by_every_command(command: Command[Any], body: str) -> None:
    with pytest.raises(ErrorDocument) as raised:
        decode(command, body.encode())
    assert (raised.value.code, raised.value.description) == (241, "You don't have enough money")


def test_times_are_aware_where_their_zone_is_known_and_naive_where_it_is_not() -> None:
    packet = decode(SEND, samples.SEND_JSON.encode())
    assert packet.messages[1].send_at is not None
    assert packet.messages[1].send_at.tzinfo is UTC
    inbound = decode(Inbound(), samples.INBOUND_JSON.encode())
    assert inbound[0].created is not None
    assert inbound[0].created.utcoffset() == timedelta(hours=3)
    statuses = decode(CheckPacket("1"), samples.CHECK_JSON.encode())
    assert statuses[0].modified is not None
    assert statuses[0].modified.tzinfo is None
    date = decode(Info(), samples.INFO_JSON.encode()).date
    assert date is not None
    assert date.tzinfo is None


KEY_IN_JSON = [
    '{"apikey":"SECRET","info":{"id":1}}',
    '{"info":{"id":1,"apikey":"SECRET"}}',
    '{"info":{"id":1,"APIKEY":"SECRET","ApiKey ":"SECRET"}}',
    '{"info":{"id":1,"login":"SECRET","Password":"SECRET"}}',
    '{"info":{"id":1,"account":{"apikey":"SECRET","keys":[{"apiKey":"SECRET"},[{"PASSWORD ":"SECRET"}]]}}}',
    '<info apikey="SECRET"><id>1</id></info>',
    "<info><id>1</id><apikey>SECRET</apikey></info>",
    '<info><id>1</id><account apikey="SECRET"><ApiKey>SECRET</ApiKey></account></info>',
]


@pytest.mark.parametrize("body", KEY_IN_JSON)
def test_an_echoed_key_is_never_kept(body: str) -> None:
    info = decode(Info(), body.encode())
    assert info.id == 1
    assert "SECRET" not in str(attrs.asdict(info))


@pytest.mark.parametrize("command", [SEND, Check(["1"]), Inbound()])
def test_a_key_echoed_in_a_row_or_beside_the_rows_is_never_kept(command: Command[Any]) -> None:
    body = f'{{"apikey":"SECRET","ApiKey":"SECRET","{command.name}":[{{"id":7,"APIKEY":"SECRET","more":1}}],"more":2}}'
    answer = decode(command, body.encode())
    rows = answer.messages if isinstance(answer, Packet) else answer
    assert (rows[0].id, rows[0].extra) == (7, {"more": 1})
    assert "SECRET" not in str([attrs.asdict(row) for row in rows])
    if isinstance(answer, Packet):
        assert answer.extra == {"more": 2}
