"""What the gateway's versions do differently, and what PHP makes of data, is read all the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import answer_samples as samples
import pytest

from smspilot_async import InboundMessage, MessageStatus, SentMessage
from smspilot_async.models import MOSCOW
from smspilot_async.wire import (
    Balance,
    CheckPacket,
    Command,
    Cost,
    ErrorDocument,
    Inbound,
    Info,
    Send,
    UnreadableAnswer,
    decode,
)

SEND, CHECK, INBOUND = Send([], []), CheckPacket("1"), Inbound()


def sent(row: str) -> SentMessage:
    """The one message of an answer whose row is written as JSON."""
    (message,) = decode(SEND, f'{{"send":[{row}]}}'.encode()).messages
    return message


def status(row: str) -> MessageStatus:
    (answer,) = decode(CHECK, f'{{"check":[{row}]}}'.encode())
    return answer


def inbound(row: str) -> InboundMessage:
    (message,) = decode(INBOUND, f'{{"inbound":[{row}]}}'.encode())
    return message


def unreadable(command: Command[Any], body: str) -> str:
    with pytest.raises(UnreadableAnswer) as refused:
        decode(command, body.encode())
    return str(refused.value)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("5", 5),
        ('"5"', 5),
        ('" 5 "', 5),
        ("-2", -2),
        ('"-2"', -2),
        ('"+5"', 5),
        ('"007"', 7),
        ("5.0", 5),
        ("5e0", 5),
        ("0e999999999", 0),
        ("true", 1),
        ("9" * 29, int("9" * 29)),
        (f'"{"9" * 20}"', int("9" * 20)),
        ("null", None),
        ('""', None),
        ('"five"', None),
        ('"٥"', None),
        ("5.5", None),
        ('"5.0"', None),
        ("[5]", None),
        ("{}", None),
        ("1e30", None),
        ("-1e30", None),
        ("1e999999999", None),
        ("9" * 4000, None),
        (f'"{"9" * 21}"', None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_whole_number_is_a_number_or_a_string(written: str, number: int | None) -> None:
    assert sent(f'{{"parts":{written}}}').parts == number
    assert status(f'{{"id":{written}}}').id == number


@pytest.mark.parametrize(
    ("written", "money"),
    [
        ("405.60", "405.60"),
        ('"405.60"', "405.60"),
        ('" 405.60\\n"', "405.60"),
        ('"405,60"', "405.60"),
        ("20006.97", "20006.97"),
        ("12345678901234567.89", "12345678901234567.89"),
        ('"12345678901234567.89"', "12345678901234567.89"),
        ("10000", "10000"),
        ('"10000"', "10000"),
        ("0", "0"),
        ("-1.50", "-1.50"),
        ('"-1.50"', "-1.50"),
        ("0.1", "0.1"),
        ("0.000000000000000000000000000001", "1E-30"),
        ("1e3", "1E+3"),
        ("0.0000000000000000000000000000001", None),
        ("0e31", None),
        ("1e30", None),
        ("1e999999999", None),
        ("1e-999999999", None),
        ("9" * 4000, None),
        ('"' + "9" * 31 + '"', None),
        ('"1e3"', None),
        ('"1 000"', None),
        ('"NaN"', None),
        ('"Infinity"', None),
        ('"٤"', None),
        ('""', None),
        ("null", None),
        ("true", None),
        ("[1]", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_money_keeps_the_digits_that_were_sent(written: str, money: str | None) -> None:
    price = sent(f'{{"price":{written}}}').price
    assert (None if price is None else str(price)) == money
    if money is None:
        assert unreadable(Balance(), f'{{"balance":{written}}}') == "an amount that is not a number"
        assert unreadable(Cost([], []), f'{{"cost":{written}}}') == "an amount that is not a number"
    else:
        assert str(decode(Balance(), f'{{"balance":{written}}}'.encode())) == money
        assert str(decode(Cost([], []), f'{{"cost":{written}}}'.encode())) == money


@pytest.mark.parametrize(
    "body", ['{"balance":324}', '{"balance":"324"}', "<balance>324</balance>", "<balance>\n324 </balance>"]
)
def test_a_balance_may_be_a_count_of_sms(body: str) -> None:
    assert decode(Balance("sms"), body.encode()) == 324


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"79087964781"', "79087964781"),
        ("79087964781", "79087964781"),
        ("405.60", "405.60"),
        ('""', ""),
        ("null", None),
        ("true", None),
        ("[1]", None),
        ("{}", None),
        ("1e999999999", None),
    ],
)
def test_a_string_may_come_as_a_number(written: str, text: str | None) -> None:
    assert sent(f'{{"to":{written}}}').to == text


@pytest.mark.parametrize(
    ("written", "id_"), [('"10005"', "10005"), ("10005", "10005"), ('" 10005 "', "10005"), ('""', None), ("null", None)]
)
def test_an_id_of_the_gateway_is_a_string_or_nothing(written: str, id_: str | None) -> None:
    assert status(f'{{"server_id":{written}}}').server_id == id_
    packet = decode(SEND, f'{{"send":[{{}}],"server_packet_id":{written}}}'.encode())
    assert (packet.server_packet_id, packet.messages[0].server_packet_id) == (id_, id_)


@pytest.mark.parametrize(
    ("written", "flag"),
    [
        ("0", False),
        ("1", True),
        ('"0"', False),
        ('"1"', True),
        ("true", True),
        ("false", False),
        ('""', None),
        ("null", None),
    ],
)
def test_a_flag_is_0_or_1(written: str, flag: bool | None) -> None:  # noqa: FBT001
    assert inbound(f'{{"seen":{written}}}').seen is flag
    assert inbound(f'{{"seen ":{written}}}').seen is flag
    assert decode(Info(), f'{{"info":{{"any_sender":{written}}}}}'.encode()).any_sender is flag


NO_DATES = ["null", '""', '" "', '"0000-00-00 00:00:00"', '"0000-00-00"', '"0000-00-00 00:00"', '"2012-13-45 00:00:00"']
NO_DATES += ['"soon"', "true", "[]", "{}", '"2012-10-18T18:00:00+99:99"', '"10000-01-01 00:00:00"']


@pytest.mark.parametrize("written", NO_DATES)
def test_no_date_has_many_forms(written: str) -> None:
    assert sent(f'{{"send_datetime":{written}}}').send_at is None
    assert status(f'{{"modified":{written}}}').modified is None
    assert inbound(f'{{"created":{written}}}').created is None
    assert decode(Info(), f'{{"info":{{"date":{written}}}}}'.encode()).date is None


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2012-10-18 18:00:05", datetime(2012, 10, 18, 18, 0, 5)),  # noqa: DTZ001
        ("2012-10-18 18:00", datetime(2012, 10, 18, 18, 0)),  # noqa: DTZ001
        (" 2012-10-18 18:00:05\\n", datetime(2012, 10, 18, 18, 0, 5)),  # noqa: DTZ001
        ("2012-10-18", datetime(2012, 10, 18)),  # noqa: DTZ001
        ("2012-10-18T18:00:05", datetime(2012, 10, 18, 18, 0, 5)),  # noqa: DTZ001
    ],
)
def test_a_date_has_seconds_or_has_not(written: str, moment: datetime) -> None:
    assert sent(f'{{"send_datetime":"{written}"}}').send_at == moment.replace(tzinfo=UTC)
    assert inbound(f'{{"created":"{written}"}}').created == moment.replace(tzinfo=MOSCOW)
    assert status(f'{{"modified":"{written}"}}').modified == moment


def test_a_date_that_names_its_zone_is_taken_at_its_word() -> None:
    created = inbound('{"created":"2012-10-18T18:00:05+05:00"}').created
    assert created == datetime(2012, 10, 18, 18, 0, 5, tzinfo=timezone(timedelta(hours=5)))


@pytest.mark.parametrize("written", ["1350583200", '"1350583200"', '" 1350583200 "'])
def test_a_scheduled_time_may_be_a_unix_stamp(written: str) -> None:
    assert sent(f'{{"send_datetime":{written}}}').send_at == datetime(2012, 10, 18, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ('"mySHOP,SCHOOL, my-site.ru"', ("mySHOP", "SCHOOL", "my-site.ru")),
        ('"one"', ("one",)),
        ('",one,,"', ("one",)),
        ("79087964781", ("79087964781",)),
        ('["one"," two ","",79087964781,null,{}]', ("one", "two", "79087964781")),
        ('""', ()),
        ("null", ()),
        ("{}", ()),
    ],
)
def test_senders_are_a_list_however_it_is_written(written: str, names: tuple[str, ...]) -> None:
    assert decode(Info(), f'{{"info":{{"senders":{written}}}}}'.encode()).senders == names


@pytest.mark.parametrize("field", ["status", "error"])
@pytest.mark.parametrize("written", ['"soon"', "{}", "[]", "0.5", "1e999999999", "79087964781"])
def test_what_decides_about_a_message_must_be_a_number(field: str, written: str) -> None:
    assert (
        unreadable(SEND, f'{{"send":[{{"server_id":"1","{field}":{written}}}]}}')
        == "a status or error that is not a number"
    )


@pytest.mark.parametrize("code", [-3, 4, 99, 715, 99_999])
def test_an_unknown_status_and_an_unknown_code_are_kept_as_they_came(code: int) -> None:
    assert sent(f'{{"status":"{code}","error":{code}}}').status == code
    assert sent(f'{{"status":"{code}","error":{code}}}').error == code
    assert status(f'{{"status":"{code}","error":"{code}"}}').status == code
    assert status(f'{{"status":"{code}","error":"{code}"}}').error == code


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["{}", '{"id":null,"server_id":null,"status":null,"error":null,"text":null}'])
def test_missing_and_null_fields_are_none(row: str) -> None:
    assert sent(row) == SentMessage()
    assert status(row.replace('"text":null', '"modified":null')) == MessageStatus()
    assert inbound(row.replace('"server_id":null,"status":null,"error":null', '"created":null')) == InboundMessage()


def test_unknown_fields_are_kept() -> None:
    assert sent('{"id":1,"new":{"a":[1,2.50]}," spaced ":"x"}').extra == {
        "new": {"a": [1, Decimal("2.50")]},
        "spaced": "x",
    }
    packet = decode(SEND, b'{"send":[],"credits":"5","balance":1}')
    assert packet.extra == {"credits": "5"}
    assert packet.balance == Decimal(1)
    info = decode(Info(), b"<info><id>1</id><vip>yes</vip>\n<gift/></info>")
    assert (info.id, info.extra) == (1, {"vip": "yes", "gift": None})


@pytest.mark.parametrize("name", ["sender", "send_at", "failure", "extra", "messages", "__class__", "self"])
def test_a_field_named_like_an_attribute_of_ours_is_only_an_unknown_one(name: str) -> None:
    message = sent(f'{{"id":1,"{name}":"x"}}')
    assert message == SentMessage(id=1, extra={name: "x"})
    assert message.failure is None


ONE_ROW = {
    "a list of one": '{"check":[{"id":1,"server_id":"2"}]}',
    "a row alone": '{"check":{"id":1,"server_id":"2"}}',
    "PHP's object for a list": '{"check":{"0":{"id":1,"server_id":"2"}}}',
    "PHP's object for a list with gaps": '{"check":{"7":{"id":1,"server_id":"2"}}}',
    "XML": '<check><sms id="1" server_id="2"/></check>',
    "XML with white space": '\n <?xml version="1.0"?>'.strip()
    + '\n<check>\n\t<sms id="1" server_id="2" />\n</check>\n',
    "XML with a comment": '<check><!-- <sms id="9"/> --><sms id="1" server_id="2"/><?php x ?></check>',
    "XML with children": "<check><sms>\n<id>1</id>\n<server_id>2</server_id>\n</sms></check>",
}


@pytest.mark.parametrize("name", ONE_ROW)
def test_one_row_is_a_row_in_whatever_shape(name: str) -> None:
    (row,) = decode(CHECK, ONE_ROW[name].encode())
    assert (row.id, row.server_id) == (1, "2")


@pytest.mark.parametrize(
    "body",
    [
        '{"check":[{"id":1},{"id":2}]}',
        '{"check":{"1":{"id":1},"2":{"id":2}}}',
        '<check><sms id="1"/><sms id="2"/></check>',
        '<check><sms id="1"/>\n<other/>\n<sms id="2"></sms></check>',
    ],
)
def test_many_rows_come_in_their_order(body: str) -> None:
    assert [row.id for row in decode(CHECK, body.encode())] == [1, 2]


@pytest.mark.parametrize("written", ["[]", "{}", '""', "null"])
def test_no_rows_have_many_forms(written: str) -> None:
    assert decode(INBOUND, f'{{"inbound":{written}}}'.encode()) == []
    assert decode(SEND, f'{{"send":{written}}}'.encode()).messages == ()


@pytest.mark.parametrize(
    "body", ["<inbound/>", "<inbound></inbound>", "<inbound>\n</inbound>", '<inbound apikey="XYZ"/>']
)
def test_no_rows_in_xml(body: str) -> None:
    assert decode(INBOUND, body.encode()) == []


@pytest.mark.parametrize("written", ["1", "true", '"x"', "[1]", "[null]", '["x"]', "[[]]", '[{"id":1},2]'])
def test_rows_that_are_no_rows_are_unreadable(written: str) -> None:
    assert unreadable(CHECK, f'{{"check":{written}}}') == "rows that are not objects"


def test_an_attribute_named_like_the_rows_is_no_row() -> None:
    assert unreadable(CHECK, '<check sms="1"/>') == "rows that are not objects"


# --- texts ---------------------------------------------------------------------------------------

TEXTS = [
    " leading",
    "trailing ",
    "  ",
    "a\nb",
    "a\r\nb",
    "a\rb",
    "\r",
    "\n\n",
    "\t",
    "&amp;<b>\"'",
    "😀",
    "\u2028\u0085",
    "a]]>b",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_keeps_white_space_and_line_ends(text: str) -> None:
    in_json = json.dumps({"inbound": [{"id": 1, "text": text}]}).encode()
    references = "".join(f"&#{ord(char)};" for char in text)
    in_xml = f'<inbound>\n <sms id="1">{references}</sms>\n</inbound>'.encode()
    assert [sms.text for sms in decode(INBOUND, in_json) + decode(INBOUND, in_xml)] == [text, text]


def test_a_text_in_cdata_and_between_comments_is_whole() -> None:
    body = b'<inbound><sms id="1"> a<![CDATA[<b>&amp;]]><!-- no -->c&#32;</sms></inbound>'
    assert decode(INBOUND, body)[0].text == " a<b>&amp;c "


def test_a_row_of_nothing_but_text_loses_none_of_it() -> None:
    rows = decode(INBOUND, b"<inbound><sms> STOP</sms><sms/><sms>two</sms></inbound>")
    assert [row.text for row in rows] == [" STOP", None, "two"]


@pytest.mark.parametrize(
    "row",
    ['<sms id="1" text="STOP"/>', '<sms id="1" text="STOP">\n</sms>', "<sms>\n <id>1</id>\n <text>STOP</text>\n</sms>"],
)
def test_a_text_may_be_in_a_field_of_its_own(row: str) -> None:
    (message,) = decode(INBOUND, f"<inbound>{row}</inbound>".encode())
    assert (message.id, message.text, message.extra) == (1, "STOP", {})


# --- documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["\ufeff", " ", "\n", "\r\n\t ", "\ufeff\n", "\n\ufeff", "\ufeff\ufeff"], ids=ascii)
@pytest.mark.parametrize("body", [samples.BALANCE_JSON, samples.BALANCE_XML])
def test_a_byte_order_mark_and_white_space_around_a_document_do_no_harm(before: str, body: str) -> None:
    assert decode(Balance(), f"{before}{body}\n{before}".encode()) == Decimal("405.60")


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "windows-1251", "utf-16", "no-such-thing"])
def test_what_xml_says_of_its_encoding_is_not_believed(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?><inbound><sms id="1">Привет</sms></inbound>'
    assert decode(INBOUND, body.encode())[0].text == "Привет"


@pytest.mark.parametrize(
    "body", ["<balance>1</balance>", '<balance currency="RUR">1</balance>', "<balance> 1\n</balance>"]
)
def test_an_amount_in_xml_may_have_attributes_around_it(body: str) -> None:
    assert decode(Balance(), body.encode()) == 1


@pytest.mark.parametrize(
    "body", ["<balance/>", "<balance><rur>1</rur></balance>", "<balance></balance>", '<balance rur="1"/>']
)
def test_what_is_not_an_amount_is_unreadable(body: str) -> None:
    assert unreadable(Balance(), body) == "an amount that is not a number"


@pytest.mark.parametrize("written", ["1", '"x"', "[]", "null", "true"])
def test_an_account_is_a_set_of_fields(written: str) -> None:
    assert unreadable(Info(), f'{{"info":{written}}}') == "an info without fields"


@pytest.mark.parametrize(
    "body", ["{}", '{"balances":1}', '{"ok":true}', "<ok/>", "<response><balance>1</balance></response>"]
)
def test_a_document_without_the_answer_is_unreadable(body: str) -> None:
    assert unreadable(Balance(), body) == "a document without 'balance'"


def test_a_price_with_a_send_is_a_packet_and_with_an_empty_one_only_a_price() -> None:
    assert decode(Cost([], []), b'{"cost":1.25,"send":null}') == Decimal("1.25")
    packet = decode(Cost([], []), samples.SEND_JSON.encode())
    assert not isinstance(packet, Decimal)
    assert len(packet.messages) == 2


# --- error documents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "description"),
    [
        ('{"error":{"code":"112","description":"No money"}}', 112, "No money"),
        ('{"error":{"code":112,"description":"No money"}}', 112, "No money"),
        ('{"error":{"code":" 112 "}}', 112, ""),
        ('{"error":{"code":112.0,"description":null}}', 112, ""),
        ('{"error":{"code":715,"description":42}}', 715, "42"),
        ('{"error":{"code":-1}}', -1, ""),
        ('{"error":{"code":79087964781}}', None, ""),  # a phone, and so nothing to show
        ('{"error":{"code":"E112","description":"No money"}}', None, "No money"),
        ('{"error":{"code":null,"description":"No money"}}', None, "No money"),
        ('{"error":{"code":true,"description":"No money"}}', None, "No money"),
        ('{"error":{"description":"No money"}}', None, "No money"),
        ('{"error":{"description":["No money"]}}', None, ""),
        ('{"error":[{"code":112,"description":"No money"}]}', 112, "No money"),
        ('{"error":112}', 112, ""),
        ('{"error":"112"}', 112, ""),
        ('{"error":"No money"}', None, "No money"),
        ('{"error":true}', None, ""),
        ('{"error":{"code":112},"balance":null}', 112, ""),
        ("<error><code>112</code><description>No money</description></error>", 112, "No money"),
        ("<error>\n<code>\n112</code>\n<description/></error>", 112, ""),
        ('<error code="112" description="No money"/>', 112, "No money"),
        ("<error>112</error>", 112, ""),
        ("<error>No money</error>", None, "No money"),
    ],
)
def test_an_error_has_many_shapes(body: str, code: int | None, description: str) -> None:
    for command in (Balance(), Cost([], [])):
        with pytest.raises(ErrorDocument) as raised:
            decode(command, body.encode())
        assert (raised.value.code, raised.value.description) == (code, description)


@pytest.mark.parametrize(
    "body", ['{"error":null}', '{"error":0}', '{"error":""}', '{"error":{}}', '{"error":[]}', "<error/>"]
)
def test_an_empty_error_is_no_refusal(body: str) -> None:
    assert unreadable(SEND, body) == "a document without 'send'"


@pytest.mark.parametrize(
    "body", ['{"error":{"code":0}}', '{"error":"0"}', "<error><code>0</code></error>", "<error>0</error>"]
)
def test_error_code_0_is_no_refusal(body: str) -> None:
    assert unreadable(SEND, body) == "an error document without an error"


@pytest.mark.parametrize("error", ["null", "0", '"0"', '{"code":0}', '{"code":112}'])
def test_an_answer_counts_more_than_an_error_beside_it(error: str) -> None:
    assert decode(Balance(), f'{{"error":{error},"balance":"5"}}'.encode()) == 5
