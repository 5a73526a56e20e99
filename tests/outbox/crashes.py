# ruff: noqa: S603 - the program that runs here is ours
"""Senders of a ledger killed with SIGKILL, at every point and at random moments, and gone on with.

The gateway is the judge, message by message: none is accepted twice, none is lost, and the gateway may or may not have
only what the ledger calls unknown; of everything else, both say the same. A kill makes no more unknown than its sender
had in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa
from corner_worker import state_of
from crash_worker import IN_FLIGHT, LEASE

from smspilot_async import Message
from smspilot_async.emulator import Fault
from smspilot_async.outbox._campaign_rows import tend
from smspilot_async.outbox._deliver import URGENT_PLACES

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from smspilot_async import Client
    from smspilot_async.emulator import AcceptedMessage, Emulator
    from smspilot_async.outbox import Campaign, Outbox

WORKER: Final = Path(__file__).with_name("crash_worker.py")
PATIENCE: Final = 120.0
FAULTS: Final = {
    Fault.BUSY: 0.05,
    Fault.TOO_MANY_REQUESTS: 0.03,
    Fault.RESET_BEFORE_READ: 0.03,
    Fault.ACCEPT_THEN_RESET: 0.04,
}
_REFUSED_EACH: Final = 97  # so many messages, and one is for a phone that the gateway refuses
_UNSUPPORTED_ZONE: Final = 213


@attrs.frozen(kw_only=True)
class Verdict:
    """What the gateway says about what the ledger says.

    Attributes:
        messages, kills: How many there were.
        accepted, refused, unknown: In the ledger.
        agree: Of the accepted and refused ones, those of which the gateway says the same: it has the one with this
            number, phone, text, parts and price, once; or it has none, and refuses this phone with this code.
        strange: Messages that the gateway has and the ledger does not know.
        unknown_at_gateway: Of the unknown ones, how many the gateway has.
        twice: Messages that the gateway has more than once.
        lost: Messages that the ledger forgot.
        most_by_one_kill: Unknown messages of the kill that made most of them.
        bound: How many it may make: packets in flight × packet size.
        by_faults: Unknown because the gateway did not answer.
    """

    messages: int
    kills: int
    accepted: int
    refused: int
    agree: int
    strange: int
    unknown: int
    unknown_at_gateway: int
    twice: int
    lost: int
    most_by_one_kill: int
    bound: int
    by_faults: int

    @property
    def is_good(self) -> bool:
        """Nothing twice, nothing lost, everything known is so at the gateway, and the bound holds."""
        is_known = self.agree == self.accepted + self.refused and self.agree + self.unknown == self.messages
        return is_known and not (self.twice or self.lost or self.strange) and self.most_by_one_kill <= self.bound


class Crashes:
    """Senders of one ledger, one after the other, in processes of their own; to be closed at the end.

    Args:
        outbox: The ledger.
        gateway: Counts what it accepts.
        rows: Messages.
        packet_size: Messages in a packet.
    """

    def __init__(self, outbox: Outbox, gateway: Emulator, *, rows: int, packet_size: int) -> None:
        self._outbox = outbox
        self._gateway = gateway
        self._rows = rows
        self._packet_size = packet_size
        self._packets = IN_FLIGHT
        self._killed: set[int] = set()
        self._senders = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the process that the senders come from."""
        self._senders.communicate()

    @property
    def kills(self) -> int:
        """How many senders were killed."""
        return len(self._killed)

    async def fill(self) -> None:
        """Enqueue all messages; some are for phones that the gateway refuses."""
        async with self._outbox._writing() as connection:
            for number, (phone, text) in enumerate(self._list()):
                await self._outbox.enqueue(Message(phone, text), key=str(number), connection=connection)
        self._packets = IN_FLIGHT + URGENT_PLACES
        self._refuse()

    async def fill_campaign(self, client: Client) -> Campaign:
        """Import all messages as a campaign, approve it and let it send."""
        campaign = await self._outbox.campaigns.create("promo-11", self._list())
        await campaign.estimate(client)
        await campaign.approve()
        await campaign.start()
        self._refuse()
        return campaign

    def _list(self) -> Iterator[tuple[str, str]]:
        return ((f"7908{number:07d}", f"Text {number}") for number in range(self._rows))

    def _refuse(self) -> None:
        for number in range(_REFUSED_EACH, self._rows, _REFUSED_EACH):
            self._gateway.refuse(code=_UNSUPPORTED_ZONE, to=f"7908{number:07d}")

    def break_the_gateway(self, seed: int) -> None:
        """Let a part of the requests fail, in all ways that a gateway fails."""
        self._gateway.random_faults(FAULTS, command="send", seed=seed)

    async def kill_at(self, point: str, nth: int) -> None:
        """Run a sender that kills itself at the nth time that it passes a point."""
        ended = await asyncio.to_thread(self._run, point, nth)
        assert ended == -signal.SIGKILL, f"it ended with {ended}"

    async def kill_sometime(self, chance: random.Random, accepted: int) -> bool:
        """Run a sender and kill it at a random moment; return whether it lived that long.

        Args:
            chance: Decides.
            accepted: Messages that the gateway accepts meanwhile, at most.
        """
        goal = len(self._gateway.messages) + chance.randrange(1, accepted)
        delay = chance.uniform(0, 0.02)

        def kill(pid: int) -> None:
            until = time.monotonic() + PATIENCE
            while len(self._gateway.messages) < goal and _lives(pid) and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)  # its number stays its own until the next one is started

        ended = await asyncio.to_thread(self._run, "never", 1, kill)
        assert ended in {0, -signal.SIGKILL}, f"it ended with {ended}"
        return ended != 0

    def _run(self, point: str, nth: int, meanwhile: Callable[[int], None] | None = None) -> int:
        """Run a sender, and return how it ended."""
        assert self._senders.stdin is not None
        assert self._senders.stdout is not None
        ledger = self._outbox._url.render_as_string()
        arguments = [ledger, self._gateway.url, self._gateway.api_key, point, str(nth), str(self._packet_size)]
        self._senders.stdin.write(json.dumps(arguments) + "\n")
        self._senders.stdin.flush()
        pid = int(self._senders.stdout.readline())
        if meanwhile is not None:
            meanwhile(pid)
        ended = int(self._senders.stdout.readline())
        if ended:
            self._killed.add(pid)
        return ended

    async def to_the_end(self, wait: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Run a sender until nothing is left to send, and wait until every lease is over.

        Args:
            wait: Lets seconds pass by the ledger's clock.
        """
        ended = await asyncio.to_thread(self._run, "never", 1)
        assert ended == 0, f"it ended with {ended}"
        await wait(LEASE + 1)
        hot = self._outbox._hot_path()
        await hot.open()
        await hot.recover()
        await hot.aclose()
        while await tend(self._outbox._access()):
            pass

    async def judge(self) -> Verdict:
        """Compare the ledger with the gateway, message by message."""
        tables = self._outbox._tables
        message, attempt = tables.message, tables.attempt
        query = sa.select(message, attempt.c.sender.label("owner"), attempt.c.evidence)
        async with self._outbox._reading() as connection:
            joined = query.join(attempt, attempt.c.id == message.c.attempt_id, isouter=True)
            rows: list[Any] = list((await connection.execute(joined)).all())
        there: dict[int, list[AcceptedMessage]] = {}
        for taken in self._gateway.messages:
            there.setdefault(int(taken.id or 0), []).append(taken)
        states = Counter(row.state for row in rows)
        unknown = [row for row in rows if row.state == "unknown"]
        by_process = Counter(_process(row.owner) for row in unknown if row.evidence == "lease_over")
        assert set(by_process) <= self._killed
        return Verdict(
            messages=len(rows),
            kills=self.kills,
            accepted=states["accepted"],
            refused=states["refused"],
            agree=sum(self._agrees(row, there.get(row.id, [])) for row in rows),
            strange=len(there.keys() - {row.id for row in rows}),
            unknown=len(unknown),
            unknown_at_gateway=sum(row.id in there for row in unknown),
            twice=sum(len(taken) > 1 for taken in there.values()),
            lost=self._rows - len(rows),
            most_by_one_kill=max(by_process.values(), default=0),
            bound=self._packets * self._packet_size,
            by_faults=len(unknown) - sum(by_process.values()),
        )

    def _agrees(self, row: Any, taken: list[AcceptedMessage]) -> bool:
        """Return whether the gateway says of a message what the ledger says."""
        if row.state == "refused":
            number = int(row.phone.removeprefix("7908"))
            return not taken and row.code == _UNSUPPORTED_ZONE and number > 0 == number % _REFUSED_EACH
        if row.state != "accepted" or len(taken) != 1:
            return False
        [one] = taken
        said = (one.server_id, one.to, one.text, one.parts, one.price)
        return said == (row.server_id, row.phone, row.text, row.parts, row.price)


def _lives(pid: int) -> bool:
    """Return whether a sender has not ended."""
    return state_of(pid) != "Z"


def _process(sender: str) -> int:
    """Return which process a sender was, of host, process and its own number there."""
    return int(sender.split(":")[-2])
