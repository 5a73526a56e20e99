"""Bodies that mean harm, or mean nothing: refused with an error of ours, quickly, in memory that their size bounds."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import TYPE_CHECKING, Any

import answer_samples as samples
import httpx
import pytest
import xmltodict

from smspilot_async import Client, Message, OutcomeUnknown, Reason, Retry, SmsPilotError, Unanswered
from smspilot_async.wire import CheckPacket, Command, Inbound, Send, UnreadableAnswer, decode
from smspilot_async.wire._read import _MOST_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MIB = 1024 * 1024
KIB_256 = MIB // 4
MILLION = 1_000_000


def refusal(body: bytes, command: Command[Any] | None = None) -> str:
    with pytest.raises(UnreadableAnswer) as refused:
        decode(command or CheckPacket("1"), body)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return str(refused.value)


class peak_memory:  # noqa: N801 - reads as a statement
    """The most bytes that were allocated in the body."""

    def __enter__(self) -> Callable[[], int]:
        tracemalloc.start()
        self._peak = 0
        return lambda: self._peak

    def __exit__(self, *_: object) -> None:
        self._peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


# --- what is no document -------------------------------------------------------------------------

NOT_DOCUMENTS = {
    "nothing": (b"", "an empty body"),
    "white space": (b" \r\n\t", "an empty body"),
    "a byte order mark": ("\ufeff".encode(), "an empty body"),
    "a word": (b"OK", "neither JSON nor XML"),
    "a number": (b"1.25", "neither JSON nor XML"),
    "a JSON list": (b"[]", "neither JSON nor XML"),
    "a JSON string": (b'"send"', "neither JSON nor XML"),
    "NUL": (b"\x00", "UTF-16, or not text at all"),
    "cp1251": ('{"check":"Привет"}'.encode("cp1251"), "not UTF-8"),
    "latin-1": ('{"check":"é"}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": (samples.CHECK_JSON.encode("utf-16"), "not UTF-8"),
    "UTF-16, little end first": (samples.CHECK_JSON.encode("utf-16-le"), "UTF-16, or not text at all"),
    "UTF-16, big end first": (samples.CHECK_JSON.encode("utf-16-be"), "UTF-16, or not text at all"),
    "UTF-16, XML": (samples.CHECK_XML.encode("utf-16-le"), "UTF-16, or not text at all"),
    "UTF-32": (samples.CHECK_JSON.encode("utf-32"), "not UTF-8"),
    "a surrogate as UTF-8": (b'{"check":"\xed\xa0\x80"}', "not UTF-8"),
    "an overlong slash": (b'{"check":"\xc0\xaf"}', "not UTF-8"),
    "gzip": (gzip.compress(samples.CHECK_JSON.encode(), mtime=0), "not UTF-8"),
    "half of JSON": (samples.CHECK_JSON.encode()[:100], "broken JSON"),
    "JSON and more": (samples.CHECK_JSON.encode() + b"<!-- 0.01 s -->", "broken JSON"),
    "two documents": (samples.CHECK_JSON.encode() * 2, "broken JSON"),
    "single quotes": (b"{'check':[]}", "broken JSON"),
    "a comma too many": (b'{"check":[],}', "broken JSON"),
    "a raw line end in a string": (b'{"check":"a\nb"}', "broken JSON"),
    "NaN": (b'{"check":NaN}', "broken JSON"),
    "Infinity": (b'{"check":[{"id":Infinity}]}', "broken JSON"),
    "minus Infinity": (b'{"check":[],"x":-Infinity}', "broken JSON"),
    "a number out of all range": (b'{"check":[{"id":1e9999999999999999999}]}', "broken JSON"),
    "half of XML": (samples.CHECK_XML.encode()[:100], "broken XML"),
    "XML and more": (samples.CHECK_XML.encode() + b"OK", "broken XML"),
    "two roots": (b"<check/><check/>", "broken XML"),
    "a declaration alone": (b'<?xml version="1.0"?>', "broken XML"),
    "an unknown entity": (b"<check>&nbsp;</check>", "broken XML"),
    "an attribute twice": (b'<check><sms id="1" id="2"/></check>', "broken XML"),
    "a control character": (b"<check>\x01</check>", "broken XML"),
    "a reference to a control character": (b"<check>&#0;</check>", "broken XML"),
    "a reference to a surrogate": (b"<check>&#xD800;</check>", "broken XML"),
    "an angle bracket": (b"<", "broken XML"),
    "HTML": (b"<html><body>502 Bad Gateway</body></html>", "an HTML page"),
    "HTML with a document type": (b"<!DOCTYPE html><html></html>", "an HTML page"),
    "HTML in capitals": (b"\n<HTML>", "an HTML page"),
    "a piece of HTML": (b"<br />\n<b>Warning</b>: mysql_connect()" + samples.CHECK_JSON.encode(), "an HTML page"),
}


@pytest.mark.parametrize("name", NOT_DOCUMENTS)
def test_what_is_no_document_is_described_as_what_it_is(name: str) -> None:
    body, told = NOT_DOCUMENTS[name]
    assert refusal(body) == told


# --- lone surrogates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        r'{"check":[{"text":"\ud83d"}]}',
        r'{"check":[{"text":"\ude00\ud83d"}]}',
        r'{"check":[{"text":"\uD83D"}]}',
        r'{"check":[{"\ud83d":1}]}',
        r'{"check":[],"more":[["\udfff"]]}',
        r'{"check":[{"text":"\\\ud83d"}]}',
    ],
)
def test_half_an_emoji_is_no_character(body: str) -> None:
    assert refusal(body.encode()) == "a lone surrogate in a string"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'{"inbound":[{"text":"a\ud83d"},{}]}', "a\ufffd"),
        (rb'{"inbound":[{"text":"\ude00\ud83db"},{}]}', "\ufffd\ufffdb"),
        (rb'{"inbound":[{"text":"\uD83D","\ud83d":{"\ud83d":["\udfff"]}},{}]}', "\ufffd"),
        (rb'{"inbound":[{"text":"\\\ud83d"},{}]}', "\\\ufffd"),
        (b'{"inbound":[{"text":"a\xed\xa0\xbd"},{}]}', "a\ufffd"),
        (b'{"inbound":[{"text":"a\xed\xa0\xbd\xed\xb8\x80"},{}]}', "a😀"),
        (b"<inbound><sms>&#xD83D;a</sms><sms/></inbound>", "\ufffda"),
        (b"<inbound><sms>&#55357;&#xDE00;&#57344;</sms><sms/></inbound>", "😀\ue000"),
        (b"<inbound><sms>a\xed\xa0\xbd</sms><sms/></inbound>", "a\ufffd"),
    ],
)
def test_in_an_inbound_message_it_is_shown_as_such_and_keeps_no_other_message_back(body: bytes, text: str) -> None:
    first, other = decode(Inbound(), body)
    assert (first.text, other.text) == (text, None)
    str(first.extra).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [(r'{"inbound":[{"text":"\ud83d\ude00"}]}', "😀"), (r'{"inbound":[{"text":"\\ud83d"}]}', r"\ud83d")],
)
def test_a_whole_one_is(body: str, text: str) -> None:
    assert decode(Inbound(), body.encode())[0].text == text


# --- entities ------------------------------------------------------------------------------------

BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]><check>&a9;</check>"
)
QUADRATIC = f'<!DOCTYPE check [<!ENTITY a "{"a" * 100_000}">]><check>{"&a;" * 10_000}</check>'


@pytest.mark.parametrize(
    "body",
    [
        BILLION_LAUGHS,
        QUADRATIC,
        '<!DOCTYPE check [<!ENTITY x SYSTEM "file:///etc/passwd">]><check><sms id="1">&x;</sms></check>',
        '<!DOCTYPE check SYSTEM "http://127.0.0.1:9/evil.dtd"><check/>',
        '<!DOCTYPE check [<!ENTITY % x SYSTEM "http://127.0.0.1:9/"> %x;]><check/>',
        "<!DOCTYPE check><check/>",
    ],
    ids=["laughs", "quadratic", "file", "external", "parameter", "bare"],
)
def test_a_document_type_is_refused_before_any_entity_is_looked_at(body: str) -> None:
    with peak_memory() as peak:
        assert refusal(body.encode()) == "XML with a document type"
    assert peak() < 4 * len(body) + MIB


# --- too much ------------------------------------------------------------------------------------


DEEP = {
    "lists": b'{"check":' + b"[" * MILLION,
    "closed lists": b'{"check":' + b"[" * MILLION + b"]" * MILLION + b"}",
    "objects": b'{"check":' * MILLION,
    "lists beyond sense only": b'{"check":' + b"[" * 40 + b"]" * 40 + b"}",
    "elements": b"<check>" * MILLION,
    "closed elements": b"<check>" * MILLION + b"</check>" * MILLION,
    "elements beyond sense only": b"<check>" + b"<a>" * 40 + b"</a>" * 40 + b"</check>",
}


@pytest.mark.parametrize("name", DEEP)
def test_what_is_nested_deep_is_refused_before_anything_recurses(name: str) -> None:
    body = DEEP[name]
    with peak_memory() as peak:
        assert "nested too deep" in refusal(body)
    assert peak() < 4 * len(body) + MIB


@pytest.mark.parametrize("depth", [1, 10, 28])
def test_what_is_nested_with_sense_is_read(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    (row,) = decode(CheckPacket("1"), b'{"check":[{"id":1,"more":' + nested + b"}]}")
    assert row.id == 1


def test_a_swarm_of_elements_is_refused_before_a_tree_is_built() -> None:
    body = b"<check>" + b"<sms/>" * (KIB_256 // 6) + b"</check>"
    with peak_memory() as peak:
        assert refusal(body) == "too many elements"
    assert peak() < 4 * len(body) + MIB


def with_attributes(*numbers: int) -> bytes:
    rows = (b"<sms " + b" ".join(b'a%x=""' % at for at in range(number)) + b"/>" for number in numbers)
    return b"<check>" + b"".join(rows) + b"</check>"


@pytest.mark.parametrize(
    "body",
    [
        with_attributes(_MOST_ATTRIBUTES + 1),
        with_attributes(*[60] * 200),
        b"<check " + b" ".join(b'attribute%x=""' % n for n in range(MILLION // 2)) + b"/>",
    ],
    ids=["in one row", "in all rows", "in the root"],
)
def test_a_swarm_of_attributes_is_refused_before_a_tree_is_built(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmltodict, "parse", lambda *_, **__: pytest.fail("a tree was built"))
    assert refusal(body) == "too many attributes"


def test_as_many_attributes_as_rows_have_are_read() -> None:
    row = b'<sms id="1" server_id="2" status="0"/>'
    assert len(decode(CheckPacket("1"), b"<check>" + row * 10_000 + b"</check>")) == 10_000
    (row_of_all,) = decode(CheckPacket("1"), with_attributes(_MOST_ATTRIBUTES))
    assert len(row_of_all.extra) == _MOST_ATTRIBUTES


def test_a_swarm_of_rows_is_refused_before_they_become_models() -> None:
    body = b'{"check":[' + b"{}," * (KIB_256 // 3) + b"{}]}"
    with peak_memory() as peak:
        assert refusal(body) == "too many rows"
    assert peak() < 60 * len(body)


WIDE = {
    "objects": b'{"check":[],"more":[' + b"{}," * (KIB_256 // 3) + b"{}]}",
    "lists": b'{"check":[],"more":[' + b"[]," * (KIB_256 // 3) + b"[]]}",
    "numbers": b'{"check":[],"more":[' + b"9," * (KIB_256 // 2) + b"9]}",
    "fields": b'{"check":[{' + b",".join(b'"%x":0' % n for n in range(KIB_256 // 10)) + b"}]}",
    "the same field": b'{"check":[{' + b",".join([b'"id":0'] * (KIB_256 // 7)) + b"}]}",
    "one long attribute": b'<check><sms server_id="' + b"1" * KIB_256 + b'"/></check>',
    "one long text": b"<check><sms>" + b"&amp;" * (KIB_256 // 5) + b"</sms></check>",
    "rows": b"<check>" + b'<sms id="1" server_id="2" status="0"/>' * (KIB_256 // 38) + b"</check>",
}


@pytest.mark.parametrize("name", WIDE)
def test_a_wide_document_is_read_in_a_fixed_multiple_of_its_size(name: str) -> None:
    body = WIDE[name]
    with peak_memory() as peak:
        decode(CheckPacket("1"), body)
    assert peak() < 60 * len(body)


@pytest.mark.parametrize(
    "number", ["9" * 100_000, "-" + "9" * 100_000, "0." + "9" * 100_000, "1e999999999", "1e-999999999", "0e999999999"]
)
@pytest.mark.parametrize("quoted", ["", '"'], ids=["number", "string"])
def test_a_number_without_sense_costs_nothing(number: str, quoted: str) -> None:
    field = f"{quoted}{number}{quoted}"
    row = f'{{"id":{field},"price":{field},"parts":{field},"to":{field},"send_datetime":{field}}}'
    body = f'{{"send":[{row}]}}'.encode()
    with peak_memory() as peak:
        try:
            (message,) = decode(Send([], []), body).messages
        except UnreadableAnswer as refused:
            assert str(refused) == "broken JSON"  # noqa: PT017 - thousands of digits are more than int() reads
        else:
            assert message.parts in {None, 0}
            assert message.send_at is None
    assert peak() < 20 * len(body) + MIB


def test_a_duplicate_key_counts_once() -> None:
    (row,) = decode(CheckPacket("1"), b'{"check":[{"id":1,"id":2,"id ":3,"ID":4}]}')
    assert (row.id, row.extra) == (3, {"ID": 4})


# --- the same, through the client ----------------------------------------------------------------


class Answering(httpx.AsyncBaseTransport):
    """Answers every request with the same bytes, and counts them."""

    def __init__(self, body: bytes, *, status: int = 200, chunk: int = 65_536) -> None:
        self.asked = 0
        self.given = 0
        self._body = body
        self._status = status
        self._chunk = chunk

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.asked += 1
        return httpx.Response(self._status, stream=_Chunks(self, self._body, self._chunk))


class _Chunks(httpx.AsyncByteStream):
    def __init__(self, owner: Answering, body: bytes, size: int) -> None:
        self._owner, self._body, self._size = owner, body, size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._size):
            self._owner.given += 1
            yield self._body[start : start + self._size]


PAIR = [Message("79087964781", "secret text"), Message("79087964782", "b")]
CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "send": lambda client: client.send("79087964781", "secret text"),
    "send_packet": lambda client: client.send_packet(PAIR),
    "cost": lambda client: client.cost([Message("79087964781", "secret text")]),
    "check": lambda client: client.check(["1"]),
    "check_packet": lambda client: client.check_packet("1"),
    "balance": lambda client: client.balance(),
    "balance_sms": lambda client: client.balance_sms(),
    "info": lambda client: client.info(),
    "inbound": lambda client: client.inbound(),
    "inbound new": lambda client: client.inbound("new"),
}
HOSTILE = {
    "HTML": b"<html>secret text</html>",
    "laughs": BILLION_LAUGHS.encode(),
    "deep JSON": b'{"a":' * 10_000,
    "deep XML": b"<a>" * 10_000,
    "half": samples.SEND_JSON.encode()[:200],
    "cp1251": '{"x":"Привет"}'.encode("cp1251"),
    "nothing": b"",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_is_an_unknown_outcome_of_a_send_and_no_answer_of_a_read(call: str, name: str) -> None:
    transport = Answering(HOSTILE[name])
    async with Client("SECRETKEY", transport=transport, retry=Retry(attempts=1)) as client:
        with pytest.raises(SmsPilotError) as raised:
            await CALLS[call](client)
    error = raised.value
    assert type(error) is (OutcomeUnknown if call.startswith("send") else Unanswered)
    assert isinstance(error, Unanswered)
    assert error.reason is Reason.UNREADABLE
    assert error.http_status == 200
    assert error.__context__ is None
    assert error.__cause__ is None
    for private in ("9087964", "SECRETKEY"):
        assert private not in f"{error} {error!r} {vars(error)}"
    assert "secret" not in f"{error} {error!r} {vars(error) | {'excerpt': ''}}"  # which quotes it, on request


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_too_large_for_its_request_is_given_up_early(call: str) -> None:
    transport = Answering(b'{"x":"' + b"x" * (32 * MIB))
    async with Client("SECRETKEY", transport=transport, retry=Retry(attempts=1)) as client:
        with peak_memory() as peak, pytest.raises(Unanswered) as raised:
            await CALLS[call](client)
    assert raised.value.reason is Reason.TOO_LARGE
    assert transport.given < 32 * MIB / 65_536
    assert peak() < 40 * MIB


async def test_a_read_is_asked_again_after_an_unreadable_answer_and_a_send_is_not() -> None:
    transport = Answering(b"<html>")
    retry = Retry(attempts=3, first_delay=0.001)
    async with Client("KEY", transport=transport, retry=retry) as client:
        with pytest.raises(Unanswered):
            await client.balance()
        assert transport.asked == 3
        with pytest.raises(Unanswered):
            await client.inbound("new")
        assert transport.asked == 4
        with pytest.raises(OutcomeUnknown):
            await client.send("79087964781", "x")
        assert transport.asked == 5


def test_the_largest_honest_answer_fits_under_the_cap() -> None:
    escaped = r"\u044f" * 670
    row = f'{{"id":{2**63 - 1},"server_id":"{2**63 - 1}","from":"SMSPILOT","to":"123456789012345","text":"{escaped}"}}'
    messages = [Message("79087964781", "я" * 670)] * 100
    assert 100 * len(row) < Send(messages, range(100)).largest_answer
    quoted = (
        f'<sms id="{2**63 - 1}" server_id="{2**63 - 1}" from="SMSPILOT" to="123456789012345">{"&quot;" * 1530}</sms>'
    )
    assert 100 * len(quoted) < Send(messages, range(100)).largest_answer
