"""The fast path for the usual answer to a send: taken for what the gateway usually says, and never read differently."""

from __future__ import annotations

import json
import pickle
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smspilot_async import Client, Message, Packet, SentMessage
from smspilot_async.emulator import Emulator
from smspilot_async.wire import ErrorDocument, Send, UnreadableAnswer, _decode, _fast_path, decode
from smspilot_async.wire._json import JSON_LIBRARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspilot_async.emulator.gateway._wire import Profile

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

read_fast = _fast_path._with_msgspec()


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Packet | str]:
    """Read without the short cut: a packet, or what is wrong with it."""
    monkeypatch.setattr(_decode, "read_fast", lambda _: None)
    return plainly


def plainly(body: bytes) -> Packet | str:
    try:
        return decode(SEND, body)
    except (ErrorDocument, UnreadableAnswer) as error:
        return repr(error)


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


@pytest.mark.parametrize(("profile", "is_fast"), [("2.6", True), ("2.4.16", False)])
async def test_the_gateways_answer_to_a_packet_that_it_took_is_read_fast(
    profile: Profile, lenient: Callable[[bytes], Any], *, is_fast: bool
) -> None:
    emulator = Emulator(profile=profile)
    recording = Recording(emulator)
    later = emulator.clock.now() + timedelta(days=1)
    async with Client(emulator.api_key, url=emulator.url, transport=recording) as client:
        await client.send_packet([Message("79087964781", "Привет 😀"), Message("79087964782", "x", send_at=later)])
    (body,) = recording.bodies
    fast = read_fast(body)
    assert (fast is not None) is is_fast
    if fast is not None:
        assert fast == lenient(body)
        assert [vars(row) for row in fast.messages] == [vars(row) for row in lenient(body).messages]


def test_a_message_made_in_the_short_way_is_whole() -> None:
    (made,) = read_fast(written(ANSWER)).messages  # type: ignore[union-attr]
    fields = {attribute.name: getattr(made, attribute.name) for attribute in attrs.fields(SentMessage)}
    assert list(vars(made)) == list(fields)
    assert made == SentMessage(**fields)
    assert hash(made) == hash(SentMessage(**fields))
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.status = 1  # type: ignore[misc]


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
        written(ANSWER, id=2**63),
        written(ANSWER, parts=True),
        json.dumps(ANSWER).encode().replace(b'"text": "', b'"text": "\\ud83d '),
        written(ANSWER).replace(b"MTS", b"M\0S"),
        written(ANSWER).replace(b"MTS", b"\xff"),
        b"\xef\xbb\xbf" + written(ANSWER),
        b'{"send":[{}],"server_packet_id":"1","balance":1,"cost":1}',
        b'{"error":{"code":110}}',
        b"",
    ],
)
def test_an_unusual_answer_is_left_to_the_lenient_reader(body: bytes) -> None:
    assert read_fast(body) is None


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
VALUES = sorted({found.span() for found in re.finditer(r'(?<=": )("[^"]*"|[-0-9.]+)', written(ANSWER).decode())})


@given(place=st.sampled_from(VALUES), put=pieces | st.text(max_size=5), rows=st.integers(1, 3))
@example(place=VALUES[list(ROW).index("id")], put="7", rows=2)
@example(place=VALUES[list(ROW).index("server_id")], put='" 10005 "', rows=1)
@example(place=VALUES[list(ROW).index("price")], put="1e99999999999999999999", rows=1)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_short_cut_never_reads_anything_in_another_way(
    lenient: Callable[[bytes], Packet | str], place: tuple[int, int], put: str, rows: int
) -> None:
    text = written(ANSWER).decode()
    text = text[: place[0]] + put + text[place[1] :]
    row = text[text.index("[") + 1 : text.rindex("]")]
    body = text.replace(row, ",".join([row] * rows), 1).encode("utf-8", "surrogatepass")
    if (fast := read_fast(body)) is not None:
        assert repr_of(fast) == repr_of(lenient(body))


@pytest.mark.parametrize("money", ["12345678901234567.89", "1.50", "0.10", "7", "-0.5", "1e2", "9" * 31])
def test_money_is_read_as_ever(money: str, lenient: Callable[[bytes], Any]) -> None:
    body = written(ANSWER).replace(b"20006.97", money.encode())
    fast = read_fast(body)
    assert fast is not None
    assert str(fast.balance) == str(lenient(body).balance)


@pytest.mark.parametrize("money", ["1E+400", "1e-40", "0." + "9" * 40])
def test_an_unusual_amount_is_left_to_the_lenient_reader(money: str) -> None:
    assert read_fast(written(ANSWER).replace(b"20006.97", money.encode())) is None


def repr_of(packet: Packet | str) -> Any:
    """Everything that two packets could differ in, the digits of money included."""
    return packet if isinstance(packet, str) else (str(attrs.asdict(packet)), packet)


def test_it_is_taken_where_msgspec_is() -> None:
    body = written(ANSWER)
    assert (_fast_path.read_fast(body) is None) is (JSON_LIBRARY == "json")
