"""Which workers there are: a row for each process that sends, with its version and when it was last seen.

It is for people to look at, and for workers to know how many share the account's slots. Who may send what is decided
by leases and claims alone: a row that is missing, or stays behind, costs no message.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import sqlalchemy as sa

from smspilot_async._version import __version__
from smspilot_async.outbox._ledger import SECOND

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from smspilot_async.outbox._schema import Tables
    from smspilot_async.outbox._steps import Steps

__all__ = ["LIVES_FOR", "SEEN_EVERY", "WorkerInfo", "leave_worker", "read_workers", "see_worker"]

SEEN_EVERY: Final = 2.0
"""Seconds between two signs of a worker."""
LIVES_FOR: Final = 10.0
"""Seconds after its last sign for which a worker counts as running."""
_FORGOTTEN_AFTER: Final = 86_400.0

_SEE: Final = """
INSERT INTO {t}worker (name, version, started_at, seen_at, rate_limit)
VALUES (:name, :version, {now}, {now}, :rate_limit)
ON CONFLICT (name) DO UPDATE SET seen_at = {now}
"""
_FORGET: Final = "DELETE FROM {t}worker WHERE seen_at < {now} - :forgotten"
_LEAVE: Final = "DELETE FROM {t}worker WHERE name = :name"


@attrs.frozen(kw_only=True)
class WorkerInfo:
    """A worker, as the ledger knows it.

    Attributes:
        name: Host, process, and a number of its own.
        version: Of the library.
        started_at, seen_at: When it began, and its last sign; aware, UTC, by the ledger's clock.
        is_running: Its last sign is no older than ten seconds; else it was killed, or is cut off. One that ended well
            has no row.
        rate_limit: Messages a second that it holds the account to, with all others; ``None`` without a limit.
        slots: Connections of the account that it holds now; 0 on SQLite, where one sender has them all.
    """

    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    is_running: bool
    rate_limit: float | None
    slots: int

    @property
    def host(self) -> str:
        """The name of the machine that it runs on."""
        return self.name.rsplit(":", 2)[0]


async def read_workers(connection: AsyncConnection, tables: Tables, now: int) -> list[WorkerInfo]:
    """Return the workers of a ledger by their names, those that were lost within the last day included.

    Args:
        connection: To the ledger.
        tables: Its tables.
        now: By its clock, in microseconds.
    """
    worker, slot = tables.worker, tables.slot
    held = sa.select(sa.func.count()).where(slot.c.owner == worker.c.name, slot.c.lease > now).scalar_subquery()
    rows = await connection.execute(sa.select(worker, held.label("slots")).order_by(worker.c.name))
    return [
        WorkerInfo(
            name=row.name,
            version=row.version,
            started_at=datetime.fromtimestamp(row.started_at / SECOND, UTC),
            seen_at=datetime.fromtimestamp(row.seen_at / SECOND, UTC),
            is_running=timedelta(microseconds=now - row.seen_at) <= timedelta(seconds=LIVES_FOR),
            rate_limit=row.rate_limit,
            slots=row.slots,
        )
        for row in rows
    ]


def see_worker(name: str, rate_limit: float | None) -> Steps[None]:
    """Write down that a worker is there; one whose row was deleted has it again."""
    yield _SEE, {"name": name, "version": __version__, "rate_limit": rate_limit}


def leave_worker(name: str) -> Steps[None]:
    """Take back the row of a worker that ends, and those of workers that were lost long ago."""
    yield _LEAVE, {"name": name}
    yield _FORGET, {"forgotten": int(_FORGOTTEN_AFTER * SECOND)}
