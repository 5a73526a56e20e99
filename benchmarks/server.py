"""The gateway of the benchmarks: as little work as a server can do, so that the client is what is measured.

It runs in a process of its own, on this machine only, and ends when its standard input does. It is no emulator: nothing
is checked and nothing is remembered, answers are made from byte templates. The first part of a path says how long an
answer takes, in milliseconds: ``/0/api2.php`` at once, ``/50-200/api2.php`` evenly spread between the two.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import sys
from typing import Final, cast

_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_latency = re.compile(rb"[A-Z]+ /(\d+)-?(\d*)/").match
_ids = re.compile(rb'"id": ?"?(\d+)').findall
_phones = re.compile(rb'"to": ?"?(\d+)').findall
_ids_in_xml = re.compile(rb' id="(\d+)').findall
_phones_in_xml = re.compile(rb' to="(\d+)').findall
_packet_id = re.compile(rb'"server_packet_id": ?"?(\d+)').search

# The types of gateway 2.6, and a text of the usual length: it is not compared with the one that was sent.
_TEXT: Final = "Ваш код 1234, никому его не сообщайте".encode()
_ROW: Final = (
    b'{"id":%b,"server_id":"%d","from":"INFORM","to":"%b","text":"' + _TEXT + b'","parts":1,"price":1.69,"status":0,'
    b'"error":0,"send_datetime":"","country":"RU","operator":"MTS"}'
)
_PACKET: Final = b'{"send":[%b],"server_packet_id":"%d","balance":20006.97,"cost":%d.69}'
_ROW_IN_XML: Final = (
    b'<sms id="%b" server_id="%d" from="INFORM" to="%b" parts="1" price="1.69" status="0" error="0" send_datetime=""'
    b' country="RU" operator="MTS">' + _TEXT + b"</sms>"
)
_PACKET_IN_XML: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><send server_packet_id="%d" balance="20006.97" cost="%d.69">%b</send>'
)
_STATUS: Final = b'{"id":%d,"server_id":"%d","status":2,"modified":"2024-08-13 12:00:00"}'
_HEAD: Final = (
    b"HTTP/1.1 %b\r\nDate: Tue, 13 Aug 2024 12:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_INFO: Final = b'{"info":{"id":"10000","name":"Bench","email":"","balance":20006.97,"sender":["INFORM"]}}'
_STATUSES_A_PACKET: Final = 100
PACKETS_OF_ONE: Final = 1_000_000_000
"""Above this number packets hold one message."""

_numbers = itertools.count(100_000_000)


class Gateway(asyncio.Protocol):
    """One connection: reads requests, answers each after its latency."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _length(self._buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            head, body = bytes(self._buffer[:end]), bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            self._answer_later(head, body)

    def _answer_later(self, head: bytes, body: bytes) -> None:
        status, answer = respond(head, body)
        whole = _HEAD % (status, len(answer)) + answer
        delay = latency(head)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._write, whole)
        else:
            self._write(whole)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def latency(head: bytes) -> float:
    """Seconds that the path of a request asks the answer to take."""
    asked = _latency(head)
    if asked is None:
        return 0.0
    shortest = int(asked[1])
    return random.uniform(shortest, int(asked[2] or shortest)) / 1000


def respond(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Make the answer to one request: Twilio's, or SMSPILOT's to ``info``, ``check`` or ``send``."""
    if b"/2010-04-01/" in head:
        return b"201 Created", TWILIO
    if packet := _packet_id(body):
        first = int(packet[1]) * 1000
        count = 1 if int(packet[1]) > PACKETS_OF_ONE else _STATUSES_A_PACKET
        statuses = b",".join(_STATUS % (number, first + number) for number in range(1, count + 1))
        return b"200 OK", b'{"check":[%b]}' % statuses
    if b'"info"' in body:
        return b"200 OK", _INFO
    if body.startswith(b"<"):
        return b"200 OK", _sent_in_xml(_ids_in_xml(body), _phones_in_xml(body))
    ids, phones = _ids(body), _phones(body)
    rows = b",".join(_ROW % (id_, next(_numbers), phone) for id_, phone in zip(ids, phones, strict=True))
    return b"200 OK", _PACKET % (rows, next(_numbers), len(ids))


def _sent_in_xml(ids: list[bytes], phones: list[bytes]) -> bytes:
    rows = b"".join(_ROW_IN_XML % (id_, next(_numbers), phone) for id_, phone in zip(ids, phones, strict=True))
    return _PACKET_IN_XML % (next(_numbers), len(ids), rows)


TWILIO: Final = json.dumps(
    {
        "account_sid": "AC" + "0" * 32,
        "api_version": "2010-04-01",
        "body": _TEXT.decode(),
        "date_created": "Tue, 13 Aug 2024 12:00:00 +0000",
        "date_sent": None,
        "date_updated": "Tue, 13 Aug 2024 12:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": "+15017122661",
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": "SM" + "0" * 32,
        "status": "queued",
        "subresource_uris": {"media": "/2010-04-01/Accounts/AC0/Messages/SM0/Media.json"},
        "to": "+79087964781",
        "uri": "/2010-04-01/Accounts/AC0/Messages/SM0.json",
    }
).encode()


async def serve() -> None:
    """Serve on a free port of this machine, print it, and end with the standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Gateway, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
