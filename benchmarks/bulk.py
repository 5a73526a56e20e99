"""``bulk`` beside a hand-written loop over packets on httpx, and beside a bare socket: client CPU per message.

All are handed the same objects, ready made: messages, or pairs ``(to, text)``, of which ours and the loop make
messages. All give :class:`SentMessage` objects. The loop on httpx uses this library's codec, and nothing else of it: no
outcomes, no matching, no circuit breaker, no statistics, no deadlines. The bare socket does without httpx and without
the codec: rows are built by hand, for messages that have nothing but a phone and a text, and nothing is checked. It is
the floor that a transport and a codec of our own could reach.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx

from benchmarks.bench import Bench, Goal, Run, Side, at_most
from benchmarks.messages import CREDENTIALS, HEADERS, KEY, packets, ready, ready_pairs
from benchmarks.side import Figures, Options, expect, measured, peer
from smspilot_async import Accepted, Client, Message, SentMessage
from smspilot_async.wire import JSON_LIBRARY, Send, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_IN_FLIGHT = 8
_WARM_UP = 2  # packets for each connection
_INSTALLS = {"base": "stdlib", "speed": "msgspec"}  # the base install, and with the extra


def run(bench: Bench) -> None:
    for size in (100, 200):
        runs, missing = bench.in_turn(_sides(bench, size))
        for ours, theirs, words, beside, goal in _lines():
            what = f"bulk, packets of {size}, {words}"
            if why := missing.get(ours) or missing.get(theirs):
                bench.leave_out("bulk", what, beside, goal, why)
                continue
            bench.compare(
                "bulk",
                what,
                runs,
                ours=_cpu_of(ours),
                theirs=_cpu_of(theirs),
                unit="µs CPU/message",
                beside=beside,
                goal=goal,
            )


def _lines() -> Iterator[tuple[str, str, str, str, Goal | None]]:
    """Give for each line our side, the other one, both in words, and the goal."""
    for install, words in (("base", "base install"), ("speed", "with speed")):
        pairs = f"{words}, from (to, text)"
        yield f"{install} ours", f"{install} httpx", words, "loop on httpx", at_most(1.3)
        yield f"{install} ours, pairs", f"{install} httpx, pairs", pairs, "the loop, making Message", None
        is_goal = install == "speed"
        yield f"{install} ours", f"{install} raw", words, "raw socket", at_most(1.6) if is_goal else None
        yield f"{install} ours, pairs", f"{install} raw", pairs, "raw socket", at_most(2) if is_goal else None
        yield f"{install} ours, XML", f"{install} ours", f"{words}, XML", "JSON", at_most(2)
    yield "base ours", "speed ours", "base install", "with speed", at_most(1.7)


def _sides(bench: Bench, size: int) -> dict[str, Side]:
    options = {"url": bench.endpoint(), "messages": bench.amount(200_000, 20_000), "size": size}
    kinds: dict[str, tuple[str, Options]] = {
        "ours": ("smspilot", {}),
        "ours, pairs": ("smspilot", {"pairs": True}),
        "ours, XML": ("smspilot", {"wire": "xml"}),
        "httpx": ("over_httpx", {}),
        "httpx, pairs": ("over_httpx", {"pairs": True}),
        "raw": ("raw_socket", {}),
    }
    return {
        f"{install} {kind}": Side(f"benchmarks.bulk:{function}", {**options, **more}, {"SMSPILOT_JSON": library})
        for install, library in _INSTALLS.items()
        for kind, (function, more) in kinds.items()
    }


def _cpu_of(side: str) -> Callable[[Run], float]:
    return lambda run: run[side]["cpu_per_message"]


# --- the sides -----------------------------------------------------------------------------------


def _items(options: Options, count: int) -> Iterator[Any]:
    return ready_pairs(count) if options.get("pairs") else ready(count)


def _figures(figures: Figures, options: Options) -> Figures:
    return {**figures, "cpu_per_message": figures["cpu"] / options["messages"] * 1e6}


async def smspilot(options: Options) -> Figures:
    figures: Figures = {}
    size = options["size"]
    async with Client(KEY, url=options["url"], wire=options.get("wire", "json")) as client:
        await _bulk(client, options, size * _IN_FLIGHT * _WARM_UP)
        with measured(figures):
            accepted = await _bulk(client, options, options["messages"])
    expect(accepted, options["messages"])
    return _figures(figures, options)


async def _bulk(client: Client, options: Options, count: int) -> int:
    accepted = 0
    items = _items(options, count)
    async with client.bulk(items, packet_size=options["size"], in_flight=_IN_FLIGHT) as run:
        async for result in run:
            accepted += isinstance(result, Accepted)
    return accepted


async def over_httpx(options: Options) -> Figures:
    """What a careful person writes in an afternoon."""
    figures: Figures = {}
    limits = httpx.Limits(max_connections=_IN_FLIGHT, max_keepalive_connections=_IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, timeout=30) as http:
        await _loop(http, options, options["size"] * _IN_FLIGHT * _WARM_UP)
        with measured(figures):
            accepted = await _loop(http, options, options["messages"])
    expect(accepted, options["messages"])
    return _figures(figures, options)


async def _loop(http: httpx.AsyncClient, options: Options, count: int) -> int:
    accepted = 0
    ids = itertools.count(1)
    source = packets(_items(options, count), options["size"])

    async def work() -> None:
        nonlocal accepted
        for packet in source:
            messages = [Message(*item) for item in packet] if options.get("pairs") else packet
            command = Send(messages, [next(ids) for _ in messages])
            body = encode(command, CREDENTIALS, "json")
            response = await http.post(options["url"], content=body, headers=HEADERS)
            for row in decode(command, response.content).messages:
                accepted += row.error == 0

    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return accepted


async def raw_socket(options: Options) -> Figures:
    figures: Figures = {}
    dumps, loads = _json_functions()
    parts = urlsplit(options["url"])
    host, port = parts.hostname or "", parts.port or 80
    connect = asyncio.get_running_loop().create_connection
    connections = [(await connect(_Connection, host, port))[1] for _ in range(_IN_FLIGHT)]
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "

    async def send(count: int) -> int:
        accepted = 0
        ids = itertools.count(1)
        source = packets(ready(count), options["size"])

        async def work(connection: _Connection) -> None:
            nonlocal accepted
            for packet in source:
                rows = [{"id": str(next(ids)), "to": message.to, "text": message.text} for message in packet]
                body = dumps({"apikey": KEY, "send": rows})
                document = loads(await connection.post(f"{head}{len(body)}\r\n\r\n".encode() + body))
                for row in _rows_by_hand(document):
                    accepted += row.error == 0

        await asyncio.gather(*map(work, connections))
        return accepted

    await send(options["size"] * _IN_FLIGHT * _WARM_UP)
    with measured(figures):
        accepted = await send(options["messages"])
    expect(accepted, options["messages"])
    for connection in connections:
        connection.close()
    return _figures(figures, options)


def _json_functions() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """The same library that the codec uses."""
    if JSON_LIBRARY == "json":
        return (
            lambda document: json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
            lambda body: json.loads(body, parse_float=Decimal),
        )
    msgspec = peer("msgspec", "msgspec")
    return msgspec.json.encode, msgspec.json.Decoder(float_hook=Decimal).decode


def _rows_by_hand(document: dict[str, Any]) -> Iterator[SentMessage]:
    packet = document["server_packet_id"]
    for row in document["send"]:
        yield SentMessage(
            id=row["id"],
            server_id=row["server_id"],
            server_packet_id=packet,
            sender=row["from"],
            to=row["to"],
            text=row["text"],
            parts=row["parts"],
            price=row["price"],
            status=row["status"],
            error=row["error"],
            country=row["country"],
            operator=row["operator"],
        )


class _Connection(asyncio.Protocol):
    """One request at a time, on one connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._whole = 0
        self._start = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def close(self) -> None:
        self._transport.close()

    async def post(self, request: bytes) -> bytes:
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._whole:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = self._buffer.find(b"Content-Length: ", 0, end) + 16
            self._start = end + 4
            self._whole = self._start + int(self._buffer[length : self._buffer.find(b"\r\n", length)])
        if len(self._buffer) >= self._whole:
            answer = bytes(self._buffer[self._start : self._whole])
            self._buffer.clear()
            self._whole = 0
            self._answer.set_result(answer)
