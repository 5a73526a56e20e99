# ruff: noqa: S603 - the program that runs here is ours
"""Workers in processes of their own, and what the gateway says about what the ledger says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import sqlalchemy as sa

from smspilot_async import Client
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from postgres import Postgres

    from smspilot_async.emulator import Emulator

_PROGRAM: Final = Path(__file__).with_name("fleet_process.py")
_GATEWAY: Final = Path(__file__).with_name("gateway_process.py")
_PORT: Final = 8099


@contextlib.contextmanager
def gateway_beside(
    store: Path, *, delay: float, address: str = "127.0.0.1", on: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """Run a gateway in a process of its own, for the key ``KEY``; give its URL, and the number of its process.

    Args:
        store: Gets a line for each message that it accepts: its number and when.
        delay: Seconds until it answers.
        address: Where it listens.
        on: What runs it on a host of its own (:mod:`hosts`).
    """
    arguments = [address, str(_PORT), "KEY", str(store), str(delay)]
    with subprocess.Popen(
        [*on, sys.executable, str(_GATEWAY), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as gateway:
        assert gateway.stdout is not None
        gateway.stdout.readline()
        yield f"http://{address}:{_PORT}/api2.php", gateway.pid
        gateway.communicate()


async def new_ledger(cluster: Postgres, url: str) -> str:
    """Make a ledger in a database of its own for :func:`gateway_beside`, and return its URL."""
    ledger = cluster.database()
    async with Client("KEY", url=url) as client:
        await Outbox.create(ledger, client)
    return ledger


class Member:
    """One worker.

    Args:
        process: It runs.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> None:
        """Wait until it works."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "ready\n", f"it ended with {self.process.wait()}"

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> dict[str, int]:
        """End it well, by SIGTERM, and return what it has sent."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        sent: dict[str, int] = json.loads(said.splitlines()[-1])
        return sent


class Fleet:
    """The workers of a ledger.

    Args:
        ledger: Its URL.
        url: The gateway's.
        key: The account's.
        folder: Each keeps its state in a folder of its own there, as on a machine of its own.
    """

    def __init__(self, ledger: str, url: str, key: str, folder: Path) -> None:
        self._settings = {"ledger": ledger, "url": url, "key": key}
        self._folder = folder
        self.members: list[Member] = []

    def start(
        self,
        *,
        prefix: Sequence[str] = (),
        timeout: float = 3.0,
        packet_size: int = 10,
        in_flight: int = 4,
        **more: Any,
    ) -> Member:
        """Start a worker; it is not ready yet.

        Args:
            prefix: What runs its command elsewhere.
            timeout: Of a request, in seconds.
            packet_size: Messages in a packet.
            in_flight: Packets of all workers.
            more: Of ``fleet_process.py``.
        """
        size = {"timeout": timeout, "packet_size": packet_size, "in_flight": in_flight}
        settings = json.dumps({**self._settings, **size, **more})
        state = self._folder / f"machine-{len(self.members)}"
        process = subprocess.Popen(
            [*prefix, sys.executable, str(_PROGRAM), settings],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SMSPILOT_STATE": str(state)},
        )
        self.members.append(Member(process))
        return self.members[-1]

    def start_ready(self, count: int, **more: Any) -> list[Member]:
        """Start so many workers, and wait until all work."""
        members = [self.start(**more) for _ in range(count)]
        for member in members:
            member.ready()
        return members

    def kill_all(self) -> None:
        for member in self.members:
            if member.process.poll() is None:
                member.kill()


@attrs.frozen(kw_only=True)
class Verdict:
    """What the gateway says about what the ledger says.

    Attributes:
        states: How many messages stand in each state.
        twice: Messages that the gateway accepted more than once.
        lost: Messages that the ledger calls accepted and the gateway has not, or the other way round.
        by_sender: Accepted messages of each process.
    """

    states: dict[str, int]
    twice: int
    lost: int
    by_sender: dict[int, int]


async def judge(outbox: Outbox, accepted: Iterable[int]) -> Verdict:
    """Compare the ledger with what the gateway accepted, message by message.

    Args:
        outbox: The ledger.
        accepted: The numbers of the messages, as often as the gateway took each.
    """
    tables = outbox._tables
    message, attempt = tables.message, tables.attempt
    query = sa.select(message.c.id, message.c.state, attempt.c.sender)
    async with outbox._reading() as connection:
        joined = query.join(attempt, attempt.c.id == message.c.attempt_id, isouter=True)
        rows: list[Any] = list((await connection.execute(joined)).all())
    there = Counter(accepted)
    return Verdict(
        states=dict(Counter(row.state for row in rows)),
        twice=sum(count > 1 for count in there.values()),
        lost=sum((row.state == "accepted") != (row.id in there) for row in rows if row.state != "unknown"),
        by_sender=dict(_by_sender(row.sender for row in rows if row.state == "accepted")),
    )


def _by_sender(senders: Iterable[str]) -> Counter[int]:
    return Counter(int(sender.split(":")[-2]) for sender in senders)


def taken_by(gateway: Emulator) -> list[int]:
    """Return the numbers of the messages that an emulator accepted."""
    return [int(taken.id or 0) for taken in gateway.messages]


async def fill(outbox: Outbox, rows: int, *, name: str = "promo", state: str = "running") -> None:
    """Write a campaign of so many messages."""
    tables: Any = outbox._tables
    async with outbox._writing() as connection:
        now = await outbox._now(connection)
        insert = sa.insert(tables.campaign).values(name=name, state=state, created_at=now)
        campaign = (await connection.execute(insert.returning(tables.campaign.c.id))).scalar_one()
        stream = sa.insert(tables.stream).values(campaign_id=campaign, lane=2).returning(tables.stream.c.id)
        number = (await connection.execute(stream)).scalar_one()
        await connection.exec_driver_sql(
            "INSERT INTO smspilot.message (stream_id, due, wanted_at, phone, text, hash, created_at) "
            f"SELECT {number}, {now}, {now}, '7908' || lpad(n::text, 7, '0'), 'Text ' || n, sha256(n::text::bytea), "
            f"{now} FROM generate_series(1, {rows}) n"
        )


async def is_over(outbox: Outbox) -> bool:
    """Return whether nothing waits or is under way."""
    messages = (await outbox.status()).messages
    return not messages["pending"] and not messages["in_flight"]
