"""A proxy's error pages, in JSON like the gateway's own errors, are not the gateway's word about a send.

Between client and gateway stands Debian's nginx. The gateway dies after it has accepted messages, or answers too late,
and comes back. What it has stored is the judge: nothing that it accepted is called refused or not sent.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from mortal_gateway import MORTAL, SLOW
from nginx import error_pages, reserved_ports

from smspilot_async import Client, ConnectionFailed, Message, Outcome, SmsPilotError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

PROGRAM: Final = Path(__file__).parent.parent / "support" / "mortal_gateway.py"
KEY: Final = "KEY"
PAGES: Final = [
    ('{"error":{"code":504}}', ""),
    ('{"error":{"code":500}}', ""),
    ('{"error":{"code":500}}', "=200"),
    ('{"error":"Bad Gateway"}', ""),
    ('{"error":"Bad Gateway"}', "=200"),
]
AT_ONCE: Final = 6
IN_A_PACKET: Final = 5


class Gateway:
    """The gateway, reached without nginx.

    Args:
        port: Where it listens.
        store: The file of what it has accepted.
    """

    def __init__(self, port: int, store: Path) -> None:
        self._client = Client(KEY, url=f"http://127.0.0.1:{port}/api2.php")
        self._store = store

    async def is_up(self) -> None:
        """Wait until it answers."""
        while True:
            try:
                await self._client.balance()
            except ConnectionFailed:
                continue
            return

    def accepted(self) -> Counter[int]:
        """How often it has accepted each message, by its own store."""
        return Counter(map(int, self._store.read_text(encoding="ascii").split()))

    async def aclose(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def mortal_gateway(folder: Path) -> AsyncGenerator[tuple[Gateway, int]]:
    with reserved_ports(1) as [port]:
        store = folder / "accepted"
        command = (sys.executable, str(PROGRAM), str(port), str(store))
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        gateway = Gateway(port, store)
        try:
            yield gateway, port
        finally:
            process.stdin.close()
            await process.wait()
            await gateway.aclose()


# --- ways to send --------------------------------------------------------------------------------

Outcomes = dict[int, Outcome]


async def one_by_one(client: Client, messages: Sequence[Message], outcomes: Outcomes, gateway: Gateway) -> None:
    left = iter(messages)

    async def send() -> None:
        for message in left:
            try:
                await client.send_message(message)
            except SmsPilotError as error:
                outcomes[number(message)] = error.outcome
                await gateway.is_up()
            else:
                outcomes[number(message)] = Outcome.ACCEPTED

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))


async def in_packets(client: Client, messages: Sequence[Message], outcomes: Outcomes, gateway: Gateway) -> None:
    for start in range(0, len(messages), IN_A_PACKET):
        packet = messages[start : start + IN_A_PACKET]
        try:
            answer = await client.send_packet(packet)
        except SmsPilotError as error:
            outcomes |= dict.fromkeys(map(number, packet), error.outcome)
            await gateway.is_up()
        else:
            outcomes |= {number(message): row.outcome for message, row in zip(packet, answer.messages, strict=True)}


async def in_bulk(client: Client, messages: Sequence[Message], outcomes: Outcomes, gateway: Gateway) -> None:
    may_be_down = False

    async def source() -> AsyncIterator[Message]:
        nonlocal may_be_down
        for message in messages:
            if may_be_down:
                await gateway.is_up()
                may_be_down = False
            yield message

    async with client.bulk(source(), packet_size=IN_A_PACKET, in_flight=2, max_unknown=len(messages)) as run:
        async for result in run:
            outcomes[number(result.item)] = result.outcome
            may_be_down = may_be_down or result.outcome is not Outcome.ACCEPTED


def number(message: Message) -> int:
    assert message.id is not None
    return message.id


# --- the trial -----------------------------------------------------------------------------------


async def stand_trial(folder: Path, count: int) -> Counter[Outcome]:
    """Send so many messages through each page in each way, one of them fatal, and compare what is said with the store.

    Returns:
        What the accepted ones are called.
    """
    outcomes: Outcomes = {}
    fatal: list[int] = []
    async with mortal_gateway(folder) as (gateway, port), error_pages(folder, port, PAGES) as urls:
        for url in urls:
            for way, word in product((one_by_one, in_packets, in_bulk), (MORTAL, SLOW)):
                first = len(outcomes) + 1
                texts = {first + count // 2: word}
                messages = [
                    Message(f"7908{id_:07}", texts.get(id_, "text"), id=id_) for id_ in range(first, first + count)
                ]
                fatal += texts
                await gateway.is_up()
                async with Client(KEY, url=url) as client:
                    await way(client, messages, outcomes, gateway)
        accepted = gateway.accepted()
    assert set(accepted.values()) == {1}
    assert outcomes.keys() >= accepted.keys()
    assert {outcomes[id_] for id_ in fatal if id_ in accepted} == {Outcome.UNKNOWN}
    assert accepted.keys() >= set(fatal)  # else nothing would be tried here
    assert {id_ for id_, outcome in outcomes.items() if outcome is Outcome.ACCEPTED} <= accepted.keys()
    return Counter(outcomes[id_] for id_ in accepted)


async def test_a_proxys_error_page_in_json_is_no_refusal(tmp_path: Path) -> None:
    called = await stand_trial(tmp_path, 12)

    assert set(called) == {Outcome.ACCEPTED, Outcome.UNKNOWN}


@pytest.mark.volume
async def test_of_3000_messages_no_accepted_one_is_called_anything_but_accepted_or_unknown(tmp_path: Path) -> None:
    called = await stand_trial(tmp_path, 100)

    assert set(called) == {Outcome.ACCEPTED, Outcome.UNKNOWN}
