"""Whole campaigns against an emulator, held against its record message by message."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

import attrs
from watched import phone

from smspilot_async import (
    Accepted,
    BulkRun,
    BulkStats,
    Client,
    NotSent,
    Refused,
    Retry,
    SendResult,
    SmsPilotError,
    Unknown,
)
from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspilot_async.emulator import Fault
    from smspilot_async.emulator._core import Options

IMPATIENT = Retry(attempts=4, first_delay=0.0001, longest_delay=0.0002)


@attrs.define
class Sent:
    """A campaign that is over, and the record of the gateway.

    Attributes:
        stats: Of all its runs together.
        record: The numbers that the gateway gave to each message.
        errors: What stopped its runs.
    """

    results: dict[int, SendResult[Numbered]] = attrs.Factory(dict)
    stats: BulkStats = attrs.Factory(BulkStats)
    record: dict[int, list[str]] = attrs.Factory(dict)
    errors: list[SmsPilotError] = attrs.Factory(list)

    def count(self, kind: type) -> int:
        return sum(isinstance(result, kind) for result in self.results.values())

    def add(self, run: BulkStats) -> None:
        for name in ("read", "accepted", "refused", "unknown", "not_sent"):
            setattr(self.stats, name, getattr(self.stats, name) + getattr(run, name))

    def assert_true(self) -> None:
        """Every message has one result, which the record confirms; none was accepted twice."""
        stats = self.stats
        assert stats.accepted + stats.refused + stats.unknown + stats.not_sent == stats.read == len(self.results)
        assert (stats.accepted, stats.refused) == (self.count(Accepted), self.count(Refused))
        assert (stats.unknown, stats.not_sent) == (self.count(Unknown), self.count(NotSent))
        assert [number for number, taken in self.record.items() if len(taken) > 1] == []
        for number, result in self.results.items():
            taken = self.record.get(number, [])
            match result:
                case Accepted(sent=sent):
                    assert taken == [sent.server_id], (number, result)
                case Refused() | NotSent():
                    assert taken == [], (number, result)
                case Unknown():
                    pass
        assert self.record.keys() <= self.results.keys()


class Hurried(_clock.Clock):
    """Sleeps a thousandth of what it should: a gateway that says "in a second" is asked again soon."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


class Numbered(dict[str, str]):
    """A mapping that knows its number, so that results need no searching."""

    def __init__(self, number: int, *, to: str | None = None, **fields: str) -> None:
        super().__init__(to=to or phone(number), text=f"text {number}", **fields)
        self.number = number


async def campaign(
    emulator: Emulator, items: Iterable[Numbered], *, goes_on: bool = False, over_a_socket: bool = False, **options: Any
) -> Sent:
    """Send messages to an emulator.

    Args:
        goes_on: What an error stopped is gone on with, by another run.
    """
    options = {"packet_size": 100, "in_flight": 8, "max_unknown": 10**9, **options}
    with _clock.use(Hurried()):
        transport = None if over_a_socket else emulator.transport
        client = Client(emulator.api_key, url=emulator.url, transport=transport, retry=IMPATIENT)
    sent = Sent()
    async with client:
        while await _has_stopped(client.bulk(items, **options), sent) and goes_on:
            pass
    for message in emulator.messages:
        sent.record.setdefault(int(message.text[5:]), []).append(message.server_id)
    return sent


async def _has_stopped(run: BulkRun[Numbered], sent: Sent) -> bool:
    has_stopped = False
    async with run:
        try:
            async for result in run:
                assert result.item.number not in sent.results
                sent.results[result.item.number] = result
        except SmsPilotError as error:
            sent.errors.append(error)
            has_stopped = True
    sent.add(run.stats)
    return has_stopped


def quiet(protection: str, **options: Unpack[Options]) -> Options:
    """The arguments of an emulator with loop protection "on" or "off", whose messages stay as they were accepted.

    What becomes of them later is no matter of sending, and costs as much as taking them in.
    """
    long = timedelta(days=400)
    settings: Options = {**options, "handover": long, "delivery": long}
    return settings if protection == "on" else {**settings, "loop_protection": None}


def stormy(seed: int, protection: str = "off", *, shares: dict[Fault, float]) -> Emulator:
    """An emulator where so large a share of the packets meets each fault."""
    emulator = Emulator(**quiet(protection, seed=seed))
    raise_storm(emulator, seed, shares)
    return emulator


def raise_storm(emulator: Emulator, seed: int, shares: dict[Fault, float]) -> None:
    """Let so large a share of an emulator's packets meet each fault; there is money for all of them."""
    emulator.account.balance *= 1000
    emulator.random_faults(shares, command="send", delay=0.001, retry_after=0, row=seed)
