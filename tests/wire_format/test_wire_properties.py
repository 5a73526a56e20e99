"""Whatever is written arrives to the character; whatever is answered is a value or an error of ours."""

from __future__ import annotations

import asyncio
import json
import pickle
import warnings
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import answer_samples as samples
import attrs
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smspilot_async import (
    AccountInfo,
    Client,
    ExposureWarning,
    InboundMessage,
    Message,
    MessageStatus,
    OutcomeUnknown,
    Packet,
    Retry,
    SentMessage,
    SmsPilotError,
    measure,
)
from smspilot_async._network.base import Reply
from smspilot_async._requests.interpret import interpret
from smspilot_async.emulator import AcceptedMessage, Emulator
from smspilot_async.wire import (
    Balance,
    Check,
    CheckPacket,
    Command,
    Cost,
    Credentials,
    Inbound,
    Info,
    Send,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async.wire import RequestStyle, WireFormat

NOW = datetime.now(UTC).replace(microsecond=0)

# --- messages ------------------------------------------------------------------------------------

characters = st.one_of(
    st.sampled_from(" \t\r\n&<>\"'\\;#]/%+=\u00a0\u0085\u2028\u2029\ufeff\ufffd€^{}😀я@"),
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    st.sampled_from("абвABC 123"),
)
texts = st.text(characters, min_size=1, max_size=200).filter(lambda text: measure(text).parts <= 10)
phones = st.one_of(
    st.from_regex(r"79[0-9]{9}", fullmatch=True),
    st.from_regex(r"\+7 \(9[0-9]{2}\) [0-9]{3}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.from_regex(r"\+849[0-9]{8}", fullmatch=True),
)
senders = st.none() | st.from_regex(r"[A-Za-z0-9.\-]{3,11}|[0-9]{10,16}", fullmatch=True)
moments = st.none() | st.builds(
    lambda minutes, zone: (NOW + timedelta(minutes=minutes)).astimezone(timezone(timedelta(minutes=zone))),
    st.integers(60, 100_000),
    st.integers(-14 * 60, 14 * 60),
)
callbacks = st.none() | st.builds(
    "http://127.0.0.1:9/{}?{}".format,
    *[st.text(st.sampled_from("abc/&<>\"'%+=;#яжЯ😀[]{}|\\^~"), max_size=20)] * 2,
)
valid_messages = st.builds(
    Message,
    phones,
    texts,
    sender=senders,
    id=st.none() | st.integers(0, 2**63 - 1),
    send_at=moments,
    callback=callbacks,
    callback_method=st.sampled_from([None, "get", "post"]),
    ttl=st.none() | st.integers(1, 1440),
)
packets = st.lists(valid_messages, min_size=1, max_size=4)


async def sent_through(
    messages: list[Message], wire: WireFormat, style: RequestStyle, profile: Any
) -> tuple[Packet, Emulator]:
    emulator = Emulator(profile=profile, loop_protection=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExposureWarning)  # the style "query" is warned of
        client = Client(
            emulator.api_key, url=emulator.url, wire=wire, request_style=style, transport=emulator.transport
        )
    async with client:
        return await client.send_packet(messages), emulator


@pytest.mark.parametrize("wire", ["json", "xml"])
@pytest.mark.parametrize("style", ["body", "form", "query"])
@given(messages=packets, profile=st.sampled_from(["2.4.16", "2.6"]))
@example(messages=[Message("79087964781", "\r")], profile="2.6")
@example(messages=[Message("79087964781", "]]>")], profile="2.6")
@settings(max_examples=60, deadline=None)
def test_every_field_of_every_message_arrives_and_comes_back(
    messages: list[Message], wire: WireFormat, style: RequestStyle, profile: str
) -> None:
    packet, emulator = asyncio.run(sent_through(messages, wire, style, profile))
    assert [row.accepted for row in packet.messages] == [True] * len(messages)
    for message, row, kept in zip(messages, packet.messages, emulator.messages, strict=True):
        assert (kept.text, kept.to, kept.ttl, kept.send_at, kept.callback) == (
            message.text,
            message.to,
            message.ttl,
            message.send_at,
            message.callback,
        )
        assert kept.callback_method == (message.callback_method or "get")
        assert kept.sender == (message.sender or "SMSPILOT")
        assert (row.text, row.to, row.sender, row.send_at) == (kept.text, kept.to, kept.sender, kept.send_at)
        assert (row.server_id, row.parts, row.price, row.id) == (kept.server_id, kept.parts, kept.price, kept.id)
        assert row.parts == message.size.parts
    given_ids = [message.id for message in messages if message.id]
    if len(set(given_ids)) == len(given_ids):
        assert [row.id for row, message in zip(packet.messages, messages, strict=True) if message.id] == given_ids
    assert len({row.id for row in packet.messages}) == len(messages)


@given(messages=packets)
@settings(max_examples=100, deadline=None)
def test_both_languages_say_the_same(messages: list[Message]) -> None:
    command = Send(messages, range(1, len(messages) + 1), "SENDER")
    in_json, in_xml = (asyncio.run(kept_of(command, wire)) for wire in ("json", "xml"))
    assert len(in_json) == len(messages)
    assert in_json == in_xml


async def kept_of(command: Send, wire: WireFormat) -> list[AcceptedMessage]:
    emulator = Emulator(loop_protection=None)
    body = encode(command, Credentials((("apikey", emulator.api_key),)), wire)
    async with httpx.AsyncClient(transport=emulator.transport) as http:
        await http.post(emulator.url, content=body)
    return [attrs.evolve(sms, accepted_at=NOW, modified=NOW, history=()) for sms in emulator.messages]


@pytest.mark.parametrize("wire", ["json", "xml"])
@given(text=st.text(characters, max_size=100), phone=st.from_regex("[0-9]{3,15}", fullmatch=True))
@settings(max_examples=60, deadline=None)
def test_every_inbound_text_comes_to_the_character(text: str, wire: WireFormat, phone: str) -> None:
    async def fetched() -> list[InboundMessage]:
        emulator = Emulator()
        emulator.inbound(phone, text)
        async with Client(emulator.api_key, url=emulator.url, wire=wire, transport=emulator.transport) as client:
            return await client.inbound("new")

    (sms,) = asyncio.run(fetched())
    assert (sms.text or "", sms.phone) == (text, phone)


# --- answers -------------------------------------------------------------------------------------

TEXT = "Совершенно секретно 4921"
PAIR = [Message("79087964781", TEXT), Message("79131437355", "b" + TEXT)]
COMMANDS: dict[str, Command[Any]] = {
    "send": Send(PAIR[:1], [12345]),
    "packet": Send(PAIR, [12345, 12346]),
    "cost": Cost(PAIR, [12345, 12346]),
    "check": Check(["10005", "10006"]),
    "check packet": CheckPacket("1234"),
    "balance": Balance("rur"),
    "balance in SMS": Balance("sms"),
    "info": Info(),
    "inbound": Inbound(),
    "inbound since": Inbound(NOW),
    "inbound new": Inbound("new"),
}
SAMPLES = sorted(body.encode() for body in samples.EVERY_ANSWER.values())

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 700),
    st.floats(allow_nan=False),
    st.text(max_size=10),
    st.sampled_from(["", "0", "-2", "243", "12345", "79087964781", "0000-00-00 00:00:00", "2012-10-18 18:00"]),
)
KEYS = ["id", "server_id", "status", "error", "to", "text", "price", "parts", "send_datetime", "modified", "created"]
KEYS += ["seen ", "apikey", "code", "description", "senders", "date", "server_packet_id", "balance", "cost", "sms", "0"]
names = st.sampled_from([*KEYS, "send", "check", "info", "inbound", "#text", "extra", "failure"]) | st.text(max_size=5)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6), max_leaves=20
)
roots = st.sampled_from(["send", "cost", "check", "balance", "info", "inbound", "error"])
json_answers = st.dictionaries(roots | names, trees, min_size=1, max_size=4).map(lambda tree: json.dumps(tree).encode())

tags = st.sampled_from(["send", "cost", "check", "balance", "info", "inbound", "error", "sms", "code", "id", "html"])
contents = st.sampled_from(["", " ", "\n", "0", "-2", "243", "x", "&amp;", "&#13;", "<![CDATA[]]>", "<!-- -->", "&x;"])
attributes = st.dictionaries(
    st.sampled_from([key for key in KEYS if key.isidentifier()]),
    st.sampled_from(["", "0", "-2", "243", "12345", "x"]),
    max_size=4,
).map(lambda fields: "".join(f' {name}="{value}"' for name, value in fields.items()))


def element(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inner = st.lists(children | contents, max_size=4).map("".join)
    return st.builds(lambda tag, fields, content: f"<{tag}{fields}>{content}</{tag}>", tags, attributes, inner)


xml_answers = st.recursive(contents, element, max_leaves=10).map(str.encode)


PIECES = [b"null", b'"', b"{}", b"[]", b"<sms/>", b"<", b"-2", b"NaN"]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An honest answer in which something went wrong: bytes lost, swapped, repeated or put in."""
    body = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 30))
        body[start:end] = draw(st.binary(max_size=4) | st.sampled_from(PIECES))
    return bytes(body)


answers = st.one_of(st.binary(max_size=200), mutated(), json_answers, xml_answers, st.sampled_from(SAMPLES))
VALUES: dict[type[Command[Any]], Callable[[Any], bool]] = {
    Send: lambda value: isinstance(value, Packet) and all(isinstance(row, SentMessage) for row in value.messages),
    Cost: lambda value: type(value) is Decimal,
    Check: lambda value: all(isinstance(row, MessageStatus) for row in value),
    CheckPacket: lambda value: all(isinstance(row, MessageStatus) for row in value),
    Balance: lambda value: type(value) is Decimal,
    Info: lambda value: isinstance(value, AccountInfo),
    Inbound: lambda value: all(isinstance(row, InboundMessage) for row in value),
}


def is_private(shown: str) -> bool:
    return any(private in shown for private in ("9087964", "9131437", "секретно", "4921"))


@pytest.mark.parametrize("name", COMMANDS)
@given(body=answers, status=st.sampled_from([200, 200, 200, 301, 404, 429, 500, 503]), tried_before=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_answer_is_a_value_or_an_error_of_ours(name: str, body: bytes, status: int, tried_before: bool) -> None:  # noqa: FBT001
    command = COMMANDS[name]
    outcome = interpret(command, Reply(status, body), now=NOW, tried_before=tried_before)
    assert isinstance(outcome, SmsPilotError) or VALUES[type(command)](outcome)
    if isinstance(outcome, SmsPilotError):
        again = pickle.loads(pickle.dumps(outcome))  # noqa: S301
        assert (type(again), vars(again), str(again)) == (type(outcome), vars(outcome), str(outcome))
        told = {**vars(outcome), "server_packet_id": None}  # the gateway's own number, whatever it is
        assert not is_private(f"{outcome} {outcome!r} {told}")
    if isinstance(outcome, Packet):
        assert [row.id for row in outcome.messages] == list(command.ids)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue,]
        assert not is_private(repr(outcome))
        assert all(isinstance(row.failure, SmsPilotError | None) for row in outcome.messages)


@given(raw=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
@example(raw="Mon, 01 Jan 99999999999 00:00:00 GMT")
@example(raw="Mon, 01 Jan 2024 00:00:00 +999999999999999")
@example(raw="Mon, 01 Jan 0001 00:00:00 +2359")
@example(raw="9" * 5000)
@settings(max_examples=300, deadline=None)
def test_any_retry_after_is_seconds_or_nothing(raw: str) -> None:
    outcome: Any = interpret(Balance(), Reply(429, b"", raw), now=NOW)
    assert outcome.retry_after is None or outcome.retry_after >= 0


class Answering(httpx.AsyncBaseTransport):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(200, content=self._body)


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "send": lambda client: client.send("79087964781", TEXT, id=12345),
    "packet": lambda client: client.send_packet(PAIR),
    "cost": lambda client: client.cost(PAIR),
    "check": lambda client: client.check(["10005"]),
    "check packet": lambda client: client.check_packet("1234"),
    "balance": lambda client: client.balance(),
    "balance in SMS": lambda client: client.balance_sms(),
    "info": lambda client: client.info(),
    "inbound": lambda client: client.inbound(),
    "inbound new": lambda client: client.inbound("new"),
}


@pytest.mark.parametrize("name", CALLS)
@given(body=answers)
@settings(max_examples=40, deadline=None)
def test_a_call_returns_a_value_or_raises_an_error_of_ours(name: str, body: bytes) -> None:
    async def call() -> object:
        client = Client("KEY", transport=Answering(body), retry=Retry(attempts=1), deadline=20)
        async with client:
            return await CALLS[name](client)

    try:
        asyncio.run(call())
    except SmsPilotError as error:
        assert not is_private(f"{error} {error!r}")  # noqa: PT017 - both ends are right
        assert error.__context__ is None  # noqa: PT017


@given(cut=st.integers(0, 10_000), sample=st.sampled_from([samples.SEND_JSON, samples.SEND_XML, samples.SEND_26]))
@settings(max_examples=100, deadline=None)
def test_a_piece_of_an_answer_to_a_send_is_never_taken_for_a_whole_one(cut: int, sample: str) -> None:
    whole = sample.encode()
    outcome = interpret(COMMANDS["packet"], Reply(200, whole[: cut % len(whole)]), now=NOW)
    assert isinstance(outcome, OutcomeUnknown)
