"""The exact bytes of every request, in both languages and all styles, as API-2 documents them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

import attrs
import httpx
import pytest
import respx

from smspilot_async import Client, ExposureWarning, Message
from smspilot_async._tools import clock as _clock
from smspilot_async.wire import Command, Credentials, Inbound, Send, encode, wrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async.wire import RequestStyle, WireFormat

    Call = Callable[[Client], Awaitable[object]]

GATEWAY = "https://smspilot.ru/api2.php"
JSON_TYPE, XML_TYPE, FORM_TYPE = "application/json; charset=utf-8", "text/xml", "application/x-www-form-urlencoded"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


class ClockOf2012(_clock.Clock):
    """The document's samples are of then, and nothing is sent into the past."""

    def now(self) -> datetime:
        return datetime(2012, 10, 1, tzinfo=UTC)


@attrs.frozen
class Sent:
    """What went over the wire."""

    method: str
    target: str
    content_type: str | None
    body: bytes


def answer_to(request: httpx.Request) -> httpx.Response:
    """Answer so that the call comes to a good end; which command it was is found out without the code under test."""
    document = dict(parse_qsl(urlsplit(str(request.url)).query)) | dict(parse_qsl(request.content.decode()))
    text = document.get("json") or document.get("xml") or request.content.decode()
    ids = [int(piece[: piece.index('"')]) for piece in text.split('id="')[1:] + text.split('"id":"')[1:]]
    rows = [{"id": id_, "server_id": "1", "status": 0, "error": 0} for id_ in dict.fromkeys(ids)]
    is_priced_only = '"cost":1' in text or 'cost="1"' in text
    answers: dict[str, dict[str, Any]] = {
        "send": {"cost": "1.25"} if is_priced_only else {"send": rows},
        "check": {"check": []},
        "balance": {"balance": 405},
        "info": {"info": {"id": 1}},
        "inbound": {"inbound": []},
    }
    name = next(name for name in answers if f'"{name}":' in text or f"<{name} " in text)
    return httpx.Response(200, json=answers[name])


async def request_of(call: Call, **settings: Any) -> Sent:
    """Let a client make a call, and return the one request that it made."""
    credentials: dict[str, Any] = {} if "login" in settings else {"api_key": "XYZ"}
    with respx.mock() as router, _clock.use(ClockOf2012()):
        route = router.route().mock(side_effect=answer_to)
        async with Client(**credentials, **settings) as client:
            await call(client)
    assert route.call_count == 1
    request = route.calls.last.request
    url = request.url.raw_path.decode()
    assert f"{request.url.scheme}://{request.url.host}{urlsplit(url).path}" == GATEWAY
    return Sent(request.method, url, request.headers.get("content-type"), request.content)


def packet(client: Client) -> Awaitable[object]:
    return client.send_packet(
        [
            Message("79131437355", 'Ура "SMSPILOT"!', id=12345, sender="SMSPILOT"),
            Message(
                "89087964782",
                "Не забываем <htmlspecialchars> & json_encode!",
                id="12346",
                sender="ADVOKAT",
                send_at=datetime(2012, 10, 18, 18, 0, tzinfo=UTC),
            ),
        ]
    )


COMMANDS: dict[str, tuple[Call, str, str]] = {
    "send": (
        packet,
        (
            '{"apikey":"XYZ","test":0,"cost":0,"send":['
            r'{"id":"12345","from":"SMSPILOT","to":"79131437355","text":"Ура \"SMSPILOT\"!"},'
            '{"id":"12346","from":"ADVOKAT","to":"79087964782","send_datetime":"2012-10-18 18:00:00",'
            '"text":"Не забываем <htmlspecialchars> & json_encode!"}]}'
        ),
        (
            '<send apikey="XYZ" test="0" cost="0">'
            '<sms id="12345" from="SMSPILOT" to="79131437355">Ура "SMSPILOT"!</sms>'
            '<sms id="12346" from="ADVOKAT" to="79087964782" send_datetime="2012-10-18 18:00:00">'
            "Не забываем &lt;htmlspecialchars&gt; &amp; json_encode!</sms></send>"
        ),
    ),
    "cost": (
        lambda client: client.cost([Message("79131437355", "Сколько стоит SMS?", id=1)]),
        '{"apikey":"XYZ","test":0,"cost":1,"send":[{"id":"1","to":"79131437355","text":"Сколько стоит SMS?"}]}',
        '<send apikey="XYZ" test="0" cost="1"><sms id="1" to="79131437355">Сколько стоит SMS?</sms></send>',
    ),
    "check by message": (
        lambda client: client.check(["10005", 10006]),
        '{"apikey":"XYZ","check":[{"server_id":"10005"},{"server_id":"10006"}]}',
        '<check apikey="XYZ"><sms server_id="10005"/><sms server_id="10006"/></check>',
    ),
    "check by packet": (
        lambda client: client.check_packet("1234"),
        '{"apikey":"XYZ","check":true,"server_packet_id":"1234"}',
        '<check apikey="XYZ" server_packet_id="1234"/>',
    ),
    "balance in roubles": (
        lambda client: client.balance(),
        '{"apikey":"XYZ","balance":"rur"}',
        '<balance apikey="XYZ" return="rur"/>',
    ),
    "balance in SMS": (
        lambda client: client.balance_sms(),
        '{"apikey":"XYZ","balance":"sms"}',
        '<balance apikey="XYZ" return="sms"/>',
    ),
    "info": (
        lambda client: client.info(),
        '{"apikey":"XYZ","info":true}',
        '<info apikey="XYZ"/>',
    ),
    "inbound, all": (
        lambda client: client.inbound(),
        '{"apikey":"XYZ","inbound":true}',
        '<inbound apikey="XYZ"/>',
    ),
    "inbound since a date": (
        lambda client: client.inbound(datetime(2011, 9, 20, 23, 15, 9, 999_999, tzinfo=timezone(timedelta(hours=3)))),
        '{"apikey":"XYZ","inbound":true,"since":"2011-09-20 20:15:09"}',
        '<inbound apikey="XYZ" since="2011-09-20 20:15:09"/>',
    ),
    "inbound, new ones": (
        lambda client: client.inbound("new"),
        '{"apikey":"XYZ","inbound":true,"since":"new"}',
        '<inbound apikey="XYZ" since="new"/>',
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_in_json(command: str) -> None:
    call, document, _ = COMMANDS[command]
    assert await request_of(call, wire="json") == Sent("POST", "/api2.php", JSON_TYPE, document.encode())


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_in_xml(command: str) -> None:
    call, _, document = COMMANDS[command]
    expected = Sent("POST", "/api2.php", XML_TYPE, (DECLARATION + document).encode())
    assert await request_of(call, wire="xml") == expected


# --- a message's fields --------------------------------------------------------------------------

FIELDS: list[tuple[dict[str, Any], str, str]] = [
    (
        {},
        '{"id":"7","to":"79087964781","text":"x"}',
        '<sms id="7" to="79087964781">x</sms>',
    ),
    (
        {"sender": "SMSPILOT"},
        '{"id":"7","from":"SMSPILOT","to":"79087964781","text":"x"}',
        '<sms id="7" from="SMSPILOT" to="79087964781">x</sms>',
    ),
    (
        {"send_at": datetime(2012, 10, 18, 18, 0, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))},
        '{"id":"7","to":"79087964781","send_datetime":"2012-10-18 21:30:00","text":"x"}',
        '<sms id="7" to="79087964781" send_datetime="2012-10-18 21:30:00">x</sms>',
    ),
    (
        {"send_at": datetime(2012, 10, 18, 18, 0, 5, 999_999, tzinfo=UTC)},  # whole seconds, none of them rounded up
        '{"id":"7","to":"79087964781","send_datetime":"2012-10-18 18:00:05","text":"x"}',
        '<sms id="7" to="79087964781" send_datetime="2012-10-18 18:00:05">x</sms>',
    ),
    (
        {"callback": "http://ya.ru/status.php?a=1&b=\"<'"},
        r'{"id":"7","to":"79087964781","callback":"http://ya.ru/status.php?a=1&b=\"<' + """'","text":"x"}""",
        '<sms id="7" to="79087964781" callback="http://ya.ru/status.php?a=1&amp;b=&quot;&lt;\'">x</sms>',
    ),
    (
        {"callback": "https://ya.ru/", "callback_method": "post"},
        '{"id":"7","to":"79087964781","callback":"https://ya.ru/","callback_method":"post","text":"x"}',
        '<sms id="7" to="79087964781" callback="https://ya.ru/" callback_method="post">x</sms>',
    ),
    (
        {"callback": "http://ya.ru/", "callback_method": "get"},
        '{"id":"7","to":"79087964781","callback":"http://ya.ru/","callback_method":"get","text":"x"}',
        '<sms id="7" to="79087964781" callback="http://ya.ru/" callback_method="get">x</sms>',
    ),
    (
        {"ttl": 60},
        '{"id":"7","to":"79087964781","ttl":"60","text":"x"}',
        '<sms id="7" to="79087964781" ttl="60">x</sms>',
    ),
]


@pytest.mark.parametrize(
    ("fields", "in_json", "in_xml"), FIELDS, ids=lambda value: ",".join(value) if value else "none"
)
async def test_a_field_of_a_message(fields: dict[str, Any], in_json: str, in_xml: str) -> None:
    def call(client: Client) -> Awaitable[object]:
        return client.send("79087964781", "x", id=7, **fields)

    by_json, by_xml = await request_of(call, wire="json"), await request_of(call, wire="xml")
    assert by_json.body.decode() == f'{{"apikey":"XYZ","test":0,"cost":0,"send":[{in_json}]}}'
    assert by_xml.body.decode() == f'{DECLARATION}<send apikey="XYZ" test="0" cost="0">{in_xml}</send>'


@pytest.mark.parametrize(
    ("text", "in_json", "in_xml"),
    [
        (" leading and trailing ", " leading and trailing ", " leading and trailing "),
        ("a\nb\r\nc\rd\te", r"a\nb\r\nc\rd\te", "a\nb&#13;\nc&#13;d\te"),
        ("&<>\"'", "&<>\\\"'", "&amp;&lt;&gt;\"'"),
        ("]]>&amp;&#13;", "]]>&amp;&#13;", "]]&gt;&amp;amp;&amp;#13;"),
        ("\\", r"\\", "\\"),
        ("😀\u2028\u0085", "😀\u2028\u0085", "😀\u2028\u0085"),
    ],
    ids=ascii,
)
async def test_a_text_is_written_character_by_character(text: str, in_json: str, in_xml: str) -> None:
    for wire, written in (("json", f'"text":"{in_json}"'), ("xml", f">{in_xml}</sms>")):
        sent = await request_of(lambda client: client.send("79087964781", text, id=7), wire=wire)
        assert written.encode() in sent.body


@pytest.mark.parametrize("wire", ["json", "xml"])
async def test_a_message_without_an_id_gets_one(wire: Literal["json", "xml"]) -> None:
    sent = await request_of(lambda client: client.send("79087964781", "x"), wire=wire)
    before, after = (b'{"id":"', b'","to"') if wire == "json" else (b'<sms id="', b'" to=')
    number = sent.body.partition(before)[2].partition(after)[0]
    assert number.isdigit()
    assert number != b"0"


# --- a client's settings -------------------------------------------------------------------------


async def test_the_clients_sender_is_for_messages_that_name_none() -> None:
    messages = [Message("79087964781", "x", id=1), Message("79087964782", "x", id=2, sender="OTHER")]
    sent = await request_of(lambda client: client.send_packet(messages), sender="DEFAULT")
    rows = json.loads(sent.body)["send"]
    assert [row["from"] for row in rows] == ["DEFAULT", "OTHER"]


async def test_the_clients_sender_is_priced_too() -> None:
    sent = await request_of(lambda client: client.cost([Message("79087964781", "x", id=1)]), sender="DEFAULT")
    assert json.loads(sent.body)["send"][0]["from"] == "DEFAULT"


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("json", '{"apikey":"XYZ","test":1,"cost":0,"send":[{"id":"7","to":"79087964781","text":"x"}]}'),
        (
            "xml",
            DECLARATION + '<send apikey="XYZ" test="1" cost="0"><sms id="7" to="79087964781">x</sms></send>',
        ),
    ],
)
async def test_test_mode_of_a_client_and_of_a_packet(wire: Literal["json", "xml"], body: str) -> None:
    by_client = await request_of(lambda client: client.send("79087964781", "x", id=7), wire=wire, test=True)
    messages = [Message("79087964781", "x", id=7)]
    by_packet = await request_of(lambda client: client.send_packet(messages, test=True), wire=wire)
    assert by_client.body == by_packet.body == body.encode()


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("json", '{"login":"info@smspilot.ru","password":"12\\"3<4&5\'6","info":true}'),
        ("xml", DECLARATION + '<info login="info@smspilot.ru" password="12&quot;3&lt;4&amp;5\'6"/>'),
    ],
)
async def test_login_and_password_in_place_of_a_key(wire: Literal["json", "xml"], body: str) -> None:
    sent = await request_of(lambda client: client.info(), wire=wire, login="info@smspilot.ru", password="12\"3<4&5'6")
    assert sent.body == body.encode()


# --- request styles ------------------------------------------------------------------------------

BALANCE_JSON = "json=%7B%22apikey%22%3A%22XYZ%22%2C%22balance%22%3A%22rur%22%7D"
BALANCE_XML = (
    "xml=%3C%3Fxml+version%3D%221.0%22+encoding%3D%22utf-8%22%3F%3E"
    "%3Cbalance+apikey%3D%22XYZ%22+return%3D%22rur%22%2F%3E"
)
SEND_JSON = (
    "json=%7B%22apikey%22%3A%22XYZ%22%2C%22test%22%3A0%2C%22cost%22%3A0%2C%22send%22%3A%5B%7B%22id%22%3A%227%22%2C"
    "%22to%22%3A%2279087964781%22%2C%22text%22%3A%22%D0%AF+%2B%26%3D%25+%5Cn%22%7D%5D%7D"
)
SEND_XML = (
    "xml=%3C%3Fxml+version%3D%221.0%22+encoding%3D%22utf-8%22%3F%3E%3Csend+apikey%3D%22XYZ%22+test%3D%220%22+"
    "cost%3D%220%22%3E%3Csms+id%3D%227%22+to%3D%2279087964781%22%3E%D0%AF+%2B%26amp%3B%3D%25+%0A%3C%2Fsms%3E%3C%2Fsend%3E"
)
STYLED: dict[tuple[str, WireFormat], tuple[Call, str]] = {
    ("balance", "json"): (lambda client: client.balance(), BALANCE_JSON),
    ("balance", "xml"): (lambda client: client.balance(), BALANCE_XML),
    ("send", "json"): (lambda client: client.send("79087964781", "Я +&=% \n", id=7), SEND_JSON),
    ("send", "xml"): (lambda client: client.send("79087964781", "Я +&=% \n", id=7), SEND_XML),
}


@pytest.mark.parametrize(("name", "wire"), STYLED)
async def test_a_form_holds_the_document_as_a_field(name: str, wire: WireFormat) -> None:
    call, encoded = STYLED[name, wire]
    sent = await request_of(call, wire=wire, request_style="form")
    assert sent == Sent("POST", "/api2.php", FORM_TYPE, encoded.encode())


@pytest.mark.parametrize(("name", "wire"), STYLED)
async def test_a_query_holds_the_document_as_a_parameter_and_warns(name: str, wire: WireFormat) -> None:
    call, encoded = STYLED[name, wire]
    with pytest.warns(ExposureWarning, match="URLs"):
        sent = await request_of(call, wire=wire, request_style="query")
    assert sent == Sent("GET", f"/api2.php?{encoded}", None, b"")


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_is_the_same_document_in_every_style(command: str, wire: WireFormat) -> None:
    call, in_json, in_xml = COMMANDS[command]
    document = in_json if wire == "json" else DECLARATION + in_xml
    in_form = await request_of(call, wire=wire, request_style="form")
    with pytest.warns(ExposureWarning, match="URLs"):
        in_query = await request_of(call, wire=wire, request_style="query")
    encoded = in_form.body.decode()
    assert re.fullmatch(rf"{wire}=([\w.~+-]|%[0-9A-F]{{2}})*", encoded, re.ASCII)
    assert parse_qsl(encoded, strict_parsing=True) == [(wire, document)]
    assert in_form == Sent("POST", "/api2.php", FORM_TYPE, encoded.encode())
    assert in_query == Sent("GET", f"/api2.php?{encoded}", None, b"")


@pytest.mark.parametrize(("style", "rest"), [("body", ""), ("form", ""), ("query", f"&{BALANCE_JSON}")])
async def test_debug_and_referral_are_in_the_url_whatever_the_style(style: RequestStyle, rest: str) -> None:
    with pytest.warns(ExposureWarning):
        sent = await request_of(
            lambda client: client.balance(), request_style=style, debug_email="info+x@smspilot.ru", referral=51
        )
    assert sent.target == f"/api2.php?debug=info%2Bx%40smspilot.ru&r=51{rest}"


@pytest.mark.parametrize("referral", [51, "51"])
async def test_a_referral_alone(referral: int | str) -> None:
    sent = await request_of(lambda client: client.info(), referral=referral)
    assert sent.target == "/api2.php?r=51"


async def test_a_url_keeps_the_parameters_it_had() -> None:
    sent = await request_of(lambda client: client.info(), url=f"{GATEWAY}?route=2", referral=51)
    assert sent.target == "/api2.php?route=2&r=51"


# --- the codec alone -----------------------------------------------------------------------------

KEY = Credentials((("apikey", "XYZ"),))


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01 00:00:00"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=3))), "0001-01-01 00:00:00"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-3))), "9999-12-31 23:59:59"),
    ],
)
def test_every_date_there_is_can_be_asked_from(moment: datetime, written: str) -> None:
    assert f'"since":"{written}"'.encode() in encode(Inbound(moment), KEY, "json")


@pytest.mark.parametrize("wire", ["json", "xml"])
def test_credentials_and_requests_show_nothing(wire: WireFormat) -> None:
    message = Message("79087964781", "secret", id=1, sender="79161234567")
    command = Send([message], [1])
    envelope = wrap(encode(command, KEY, wire), url=GATEWAY, wire=wire, style="query", parameters={})
    shown = f"{KEY!r} {command!r} {envelope!r}"
    for private in ("XYZ", "9087964", "secret", "9161234"):
        assert private not in shown


def test_what_is_too_large_for_a_gateway_knows_it() -> None:
    def envelope(text: str, style: RequestStyle) -> Any:
        return wrap(text.encode(), url=GATEWAY, wire="json", style=style, parameters={})

    assert not envelope("x" * 1_000_000, "body").is_too_large
    assert envelope("x" * 1_000_001, "body").is_too_large
    assert not envelope("x" * 6000, "query").is_too_large
    assert envelope("x" * 6144, "query").is_too_large


def test_what_is_no_command_is_a_mistake_of_this_librarys_own() -> None:
    with pytest.raises(TypeError, match="not a command"):
        encode(Command(), KEY, "json")
