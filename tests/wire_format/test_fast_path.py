"""The fast path for usual answers: taken for what the gateway usually says, and never read differently."""

from __future__ import annotations

import json
import pickle
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smspilot_async import Client, Message, MessageStatus, Packet, SentMessage
from smspilot_async.emulator import Emulator
from smspilot_async.wire import (
    Balance,
    CheckPacket,
    Command,
    ErrorDocument,
    Send,
    UnreadableAnswer,
    _decode,
    _fast_path,
    decode,
)
from smspilot_async.wire._json import JSON_LIBRARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async.emulator.gateway._wire import Profile
    from smspilot_async.wire import WireFormat

ROW: dict[str, Any] = {
    "id": 7,
    "server_id": "10005",
    "from": "INFORM",
    "to": "79087964781",
    "text": "Ваш код 1234",
    "parts": 1,
    "price": 1.69,
    "status": 0,
    "error": 0,
    "send_datetime": "",
    "country": "RU",
    "operator": "MTS",
}
ANSWER: dict[str, Any] = {"send": [ROW], "server_packet_id": "10003", "balance": 20006.97, "cost": 1.69}
SEND = Send([Message("79087964781", "text")], [7])

CHECK = CheckPacket("10003")
STATUS: dict[str, Any] = {"id": 7, "server_id": "10005", "status": 2, "modified": "2030-01-02 03:04:05"}
LIBRARIES: dict[str, Callable[[bytes], Packet]] = {
    "stdlib": _fast_path._packet_with_json,
    "msgspec": _fast_path._packet_with_msgspec(),
}


@pytest.fixture(params=list(LIBRARIES))
def read_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Read a send's answer, or another's, on the fast path with either JSON library; ``None`` if it is not usual."""
    monkeypatch.setattr(_fast_path, "_packet_from_json", LIBRARIES[request.param])
    return lambda body, command=SEND: _fast_path.read_fast(command, body)


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Read without the short cut: an answer, or what is wrong with it."""
    monkeypatch.setattr(_decode, "read_fast", lambda *_: None)
    return plainly


def plainly(body: bytes, command: Command[Any] = SEND) -> Any:
    try:
        return decode(command, body)
    except (ErrorDocument, UnreadableAnswer) as error:
        return repr(error)


def in_xml(name: str, document: dict[str, Any], rows: list[dict[str, Any]]) -> bytes:
    """Write a document as the gateway does in XML."""
    texts = [escape(row.get("text", "")) for row in rows]
    rows = [{key: value for key, value in row.items() if key != "text"} for row in rows]
    lines = [f"<sms{attributes(row)}>{text}</sms>" for row, text in zip(rows, texts, strict=True)]
    return f'<?xml version="1.0" encoding="utf-8"?>\n<{name}{attributes(document)}>{"".join(lines)}</{name}>'.encode()


def attributes(fields: dict[str, Any]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in fields.items())


PACKET = {name: value for name, value in ANSWER.items() if name != "send"}
ANSWER_IN_XML = in_xml("send", PACKET, [ROW])
STATUSES = json.dumps({"check": [STATUS]}).encode()
STATUSES_IN_XML = in_xml("check", {}, [STATUS])


def written(answer: Any, **row: Any) -> bytes:
    return json.dumps({**answer, "send": [{**ROW, **row}]}, ensure_ascii=False).encode()


class Recording(httpx.AsyncBaseTransport):
    """Passes everything on, and keeps the answers."""

    def __init__(self, emulator: Emulator) -> None:
        self.bodies: list[bytes] = []
        self._emulator = emulator

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._emulator.transport.handle_async_request(request)
        self.bodies.append(await response.aread())
        return httpx.Response(response.status_code, content=self.bodies[-1])


@pytest.mark.parametrize(
    ("profile", "wire", "is_fast"),
    [("2.6", "json", True), ("2.6", "xml", True), ("2.4.16", "json", False), ("2.4.16", "xml", True)],
)
async def test_the_gateways_usual_answers_are_read_fast(
    profile: Profile, wire: WireFormat, read_fast: Callable[..., Any], lenient: Callable[..., Any], *, is_fast: bool
) -> None:
    emulator = Emulator(profile=profile)
    recording = Recording(emulator)
    later = emulator.clock.now() + timedelta(days=1)
    async with Client(emulator.api_key, url=emulator.url, transport=recording, wire=wire) as client:
        packet = await client.send_packet(
            [Message("79087964781", "Привет\n<😀>"), Message("79087964782", "x", send_at=later)]
        )
        await client.check_packet(packet.server_packet_id or "")
    sent, checked = recording.bodies
    fast = read_fast(sent)
    assert (fast is not None) is is_fast
    statuses = read_fast(checked, CHECK)
    assert (statuses is not None) is is_fast
    if fast is not None:
        assert fast == lenient(sent)
        assert [vars(row) for row in fast.messages] == [vars(row) for row in lenient(sent).messages]
        assert [vars(row) for row in statuses] == [vars(row) for row in lenient(checked, CHECK)]


@pytest.mark.parametrize("body", [written(ANSWER), ANSWER_IN_XML])
def test_a_message_made_in_the_short_way_is_whole(body: bytes, read_fast: Callable[..., Any]) -> None:
    (made,) = read_fast(body).messages
    fields = {attribute.name: getattr(made, attribute.name) for attribute in attrs.fields(SentMessage)}
    assert list(vars(made)) == list(fields)
    assert made == SentMessage(**fields)
    assert hash(made) == hash(SentMessage(**fields))
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.status = 1


@pytest.mark.parametrize("body", [STATUSES, STATUSES_IN_XML])
def test_a_status_made_in_the_short_way_is_whole(body: bytes, read_fast: Callable[..., Any]) -> None:
    (made,) = read_fast(body, CHECK)
    fields = {attribute.name: getattr(made, attribute.name) for attribute in attrs.fields(MessageStatus)}
    assert list(vars(made)) == list(fields)
    assert made == MessageStatus(**fields)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own


@pytest.mark.parametrize(
    "body",
    [
        written(ANSWER, id="7"),
        written(ANSWER, extra=1),
        written({**ANSWER, "apikey": "XXX"}),
        written(ANSWER, price="1.69"),
        written(ANSWER, price="nan"),
        written(ANSWER, price={"a": [1]}),
        written({**ANSWER, "balance": None}),
        written(ANSWER, status=100_000),
        written(ANSWER, parts=True),
        json.dumps(ANSWER).encode().replace(b'"text": "', b'"text": "\\ud83d '),
        written(ANSWER).replace(b"MTS", b"M\0S"),
        written(ANSWER).replace(b"MTS", b"\xff"),
        b"\xef\xbb\xbf" + written(ANSWER),
        b'{"send":[{}],"server_packet_id":"1","balance":1,"cost":1}',
        b'{"error":{"code":110}}',
        b"",
        b"[]",
        written({**ANSWER, "more": 1}),
        json.dumps({**ANSWER, "send": {"0": ROW}}).encode(),
        json.dumps({**ANSWER, "send": [[1]]}).encode(),
        b'{"send":' + b"[" * 100_000,
        b"<",
        ANSWER_IN_XML.decode().encode("utf-16-le"),
        ANSWER_IN_XML.replace(b"<send ", b'<send apikey="XXX" '),
        ANSWER_IN_XML.replace(b' cost="1.69"', b""),
        ANSWER_IN_XML.replace(b' price="1.69"', b""),
        ANSWER_IN_XML.replace(b' price="1.69"', b' zone="1"'),
        ANSWER_IN_XML.replace(b"<sms ", b'<sms text="x" '),
        ANSWER_IN_XML.replace(b"</sms>", b"<b/></sms>"),
        ANSWER_IN_XML.replace(b"<sms ", b"<row ").replace(b"</sms>", b"</row>"),
        ANSWER_IN_XML.replace(b"?>", b"?><!DOCTYPE send>"),
        ANSWER_IN_XML.replace(b'status="0"', b'status="x"'),
        ANSWER_IN_XML.replace("Ваш код 1234".encode(), b""),
        ANSWER_IN_XML.replace(b"MTS", b"M&x;S"),
        ANSWER_IN_XML.replace(b"MTS", b"M\xffS"),
        b'<?xml version="1.0" encoding="utf-8"?><error><code>110</code></error>',
        STATUSES_IN_XML,
    ],
)
def test_an_unusual_answer_is_left_to_the_lenient_reader(body: bytes, read_fast: Callable[..., Any]) -> None:
    assert read_fast(body) is None


@pytest.mark.parametrize(
    "body",
    [
        STATUSES.replace(b"7", b'"7"'),
        STATUSES.replace(b"{", b'{"error":1,', 1),
        STATUSES.replace(b'"id"', b'"error":0,"id"'),
        STATUSES.replace(b'"id"', b'"ID"'),
        STATUSES_IN_XML.replace(b"<check", b'<check error="1"'),
        STATUSES_IN_XML.replace(b"<sms ", b'<sms error="600" '),
        ANSWER_IN_XML,
        written(ANSWER),
    ],
)
def test_unusual_statuses_are_left_to_the_lenient_reader(body: bytes, read_fast: Callable[..., Any]) -> None:
    assert read_fast(body, CHECK) is None


def test_other_commands_have_no_short_cut(read_fast: Callable[..., Any]) -> None:
    assert read_fast(b'{"balance":1}', Balance()) is None


pieces = st.sampled_from(
    [
        "1e400",
        "1e9",
        "-0",
        "1.0",
        "0.10",
        "9" * 30,
        "9" * 5000,
        "NaN",
        r'"\ud83d"',
        r"\u0041",
        "null",
        "true",
        "{}",
        "[]",
        '"',
        '"7"',
        "7",
        "01",
        "\t",
        '" 10005 "',
        '""',
        '"0000-00-00 00:00:00"',
        '"2030-01-02 03:04:05"',
        '"1_0"',
        '"a":1,',
    ]
)
ANSWERS = {"send": written(ANSWER).decode(), "check": STATUSES.decode()}
IN_XML = {"send": ANSWER_IN_XML.decode(), "check": STATUSES_IN_XML.decode()}
COMMANDS: dict[str, Command[Any]] = {"send": SEND, "check": CHECK}
SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(text: str, pattern: str) -> list[tuple[int, int]]:
    return sorted({found.span() for found in re.finditer(pattern, text)})


PLACES = {name: places(text, r'(?<=": )("[^"]*"|[-0-9.]+)') for name, text in ANSWERS.items()}
PLACES_IN_XML = {
    name: places(text, r'(?<==")[^"]*(?=")|(?<=>)[^<]*(?=<)| [a-z_]+(?==)') for name, text in IN_XML.items()
}


@given(
    name=st.sampled_from(["send", "check"]),
    place=st.integers(0, 15),
    put=pieces | st.text(max_size=5),
    rows=st.integers(1, 3),
)
@example(name="send", place=list(ROW).index("id"), put="7", rows=2)
@example(name="send", place=list(ROW).index("server_id"), put='" 10005 "', rows=1)
@example(name="send", place=list(ROW).index("price"), put="1e99999999999999999999", rows=1)
@example(name="send", place=list(ROW).index("status"), put="9" * 30, rows=1)
@SETTINGS
def test_the_short_cut_never_reads_json_in_another_way(
    read_fast: Callable[..., Any], lenient: Callable[..., Any], *, name: str, place: int, put: str, rows: int
) -> None:
    begin, end = PLACES[name][place % len(PLACES[name])]
    text = ANSWERS[name][:begin] + put + ANSWERS[name][end:]
    row = text[text.index("[") + 1 : text.rindex("]")]
    body = text.replace(row, ",".join([row] * rows), 1).encode("utf-8", "surrogatepass")
    assert_the_same(read_fast(body, COMMANDS[name]), lenient(body, COMMANDS[name]))


@given(
    name=st.sampled_from(["send", "check"]),
    place=st.integers(0, 31),
    put=pieces
    | st.text(max_size=5)
    | st.sampled_from(["<b>x</b>", "<!--x-->", "<![CDATA[<]]>", "&lt;", "&#13;", "&#0;", " ", ' x="']),
    rows=st.integers(1, 3),
)
@SETTINGS
def test_the_short_cut_never_reads_xml_in_another_way(
    read_fast: Callable[..., Any], lenient: Callable[..., Any], *, name: str, place: int, put: str, rows: int
) -> None:
    begin, end = PLACES_IN_XML[name][place % len(PLACES_IN_XML[name])]
    text = IN_XML[name][:begin] + put + IN_XML[name][end:]
    if "<sms" in text and "</sms>" in text:
        row = text[text.index("<sms") : text.rindex("</sms>") + 6]
        text = text.replace(row, row * rows, 1)
    body = text.encode("utf-8", "surrogatepass")
    assert_the_same(read_fast(body, COMMANDS[name]), lenient(body, COMMANDS[name]))


def assert_the_same(fast: Any, slow: Any) -> None:
    """Hold everything together that two answers could differ in, the digits of money included."""
    if isinstance(fast, Packet):
        assert (str(attrs.asdict(fast)), fast) == (str(attrs.asdict(slow)), slow)
    elif fast is not None:
        assert [(str(vars(row)), row) for row in fast] == [(str(vars(row)), row) for row in slow]


@pytest.mark.parametrize("money", ["12345678901234567.89", "1.50", "0.10", "7", "-0.5", "1e2", "9" * 31])
def test_money_is_read_as_ever(money: str, read_fast: Callable[..., Any], lenient: Callable[..., Any]) -> None:
    body = written(ANSWER).replace(b"20006.97", money.encode())
    fast = read_fast(body)
    assert fast is not None
    assert str(fast.balance) == str(lenient(body).balance)


@pytest.mark.parametrize("number", [2**63, 10**29, 10**30, -(2**63)])
def test_a_huge_id_is_read_as_ever(number: int, read_fast: Callable[..., Any], lenient: Callable[..., Any]) -> None:
    body = written(ANSWER, id=number)
    assert_the_same(read_fast(body), lenient(body))


@pytest.mark.parametrize("money", ["1E+400", "1e-40", "0." + "9" * 40])
def test_an_unusual_amount_is_left_to_the_lenient_reader(money: str, read_fast: Callable[..., Any]) -> None:
    assert read_fast(written(ANSWER).replace(b"20006.97", money.encode())) is None


def test_packets_are_read_by_msgspec_where_it_is_installed() -> None:
    is_msgspec = _fast_path._packet_from_json is not _fast_path._packet_with_json
    assert is_msgspec is (JSON_LIBRARY != "json")
