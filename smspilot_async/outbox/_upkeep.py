"""What a sender does beside sending, so that claims find what they rely on: short transactions of its own.

Streams of campaigns with a sending window are opened for the next interval once theirs is over; floors follow what is
pending; texts of codes are erased once their time is over, whatever became of them.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.outbox._grants import AGAIN, IDLE, grant_campaign, limited_campaigns
from smspilot_async.outbox._ledger import SECOND, Why
from smspilot_async.outbox._windows import SendingWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._steps import Steps

__all__ = ["SOON", "Upkeep", "erase_codes", "move_floors", "next_interval", "pause_campaign"]

LAST_TTLS: Final = (60, 15, 5)
"""Minutes that messages have at least, when the last of them leaves before a window closes: the longest that fits."""
SOON: Final = 0.05
"""Seconds until a sender that has used up its grants asks again."""
FLOOR_MARGIN: Final = 60 * SECOND
"""No transaction that puts a message back takes as long: its ``due`` is no earlier than the transaction's begin."""

_OVER: Final = """
SELECT s.id, s.zone, s.open_until, c.settings, {now}, c.id FROM {t}stream s JOIN {t}campaign c ON c.id = s.campaign_id
WHERE c.state = 'running' AND c.is_windowed AND (s.closes_at IS NULL OR s.open_until <= {now})
ORDER BY s.id
"""
_OPEN: Final = """
UPDATE {t}stream SET open_from = :begin, open_until = :end, closes_at = :closes WHERE id = :id AND open_until = :before
"""


PAUSE: Final = "UPDATE {t}campaign SET state = 'paused', reason = :reason WHERE id = :campaign AND state = 'running'"


def pause_campaign(campaign: int, reason: str) -> Steps[None]:
    """Let nothing more of a campaign leave, and say why."""
    yield PAUSE, {"campaign": campaign, "reason": reason}


def streams_to_open() -> Steps[list[Any]]:
    """Return the streams whose interval is over, or was never looked at."""
    return (yield _OVER, {})


def open_streams(moves: Iterable[dict[str, Any]]) -> Steps[None]:
    """Open streams for the intervals of :func:`next_move`, and pause the campaigns that have none."""
    for move in moves:
        yield (PAUSE if "reason" in move else _OPEN), move


def next_move(row: Any) -> dict[str, Any]:
    """Return the next interval of a stream, or why its campaign pauses: no message can arrive in its window.

    It reads files, of time zones.
    """
    id_, zone, before, settings, now, campaign = row
    window = SendingWindow.from_json(json.loads(settings)["window"])
    try:
        begin, end, closes = next_interval(window, now, zone)
    except ValueError:
        return {"campaign": campaign, "reason": "window"}
    return {"id": id_, "before": before, "begin": begin, "end": end, "closes": closes}


def next_interval(window: SendingWindow, now: int, zone: str) -> tuple[int, int, int]:
    """Return when messages of a zone may leave, now or next, and when the window closes.

    Raises:
        ValueError: The window is too short for any message to arrive in it.
    """
    for ttl in LAST_TTLS:
        try:
            begin, end = window.interval(now, zone or None, ttl)
        except ValueError:
            if ttl == LAST_TTLS[-1]:
                raise
        else:
            return begin, end, end + ttl * 60 * SECOND
    raise AssertionError  # pragma: no cover - the loop returns or raises


_FLOORS: Final = """
UPDATE {t}stream SET floor_due = f.due, floor_id = f.id
FROM (
  SELECT s.id AS stream, least(d.due, n.margin) AS due, CASE WHEN d.due <= n.margin THEN d.id ELSE 0 END AS id
  FROM (SELECT {now} - :margin AS margin) n,
    {t}stream s JOIN {t}campaign c ON c.id = s.campaign_id AND c.state = 'running'
  CROSS JOIN LATERAL (
    SELECT m.due, m.id FROM {t}message m
    WHERE m.stream_id = s.id AND m.{pending}
      AND (m.due, m.id) >= (s.floor_due * :from_floor, s.floor_id * :from_floor)
    ORDER BY m.due, m.id LIMIT 1
  ) d
) f
WHERE {t}stream.id = f.stream AND ({t}stream.floor_due, {t}stream.floor_id) <> (f.due, f.id)
"""


def move_floors(*, from_floor: bool) -> Steps[None]:
    """Let the floors of PostgreSQL's streams follow what is pending.

    Args:
        from_floor: Look from where they are; without it from the beginning, past all dead entries: then a floor falls
            back, too, where a message was put back below it.
    """
    yield _FLOORS, {"margin": FLOOR_MARGIN, "from_floor": int(from_floor)}


_WAITING_CODES: Final = """
SELECT m.id, m.state FROM {t}message m
WHERE m.stream_id = 0 AND m.{pending} AND m.valid_until <= {now}
ORDER BY m.id
"""
_UNKNOWN_CODES: Final = """
SELECT m.id, m.state FROM {t}message m
WHERE m.stream_id = 0 AND m.{unknown} AND m.valid_until <= {now} AND m.text IS NOT NULL
ORDER BY m.id
"""
# Two statements, for no index serves both: with OR, SQLite reads the whole table, every second.
SPENT_CODES: Final = (_WAITING_CODES, _UNKNOWN_CODES)
_ERASE: Final = "UPDATE {t}message SET text = NULL WHERE id = :id"
_EXPIRE: Final = f"""
UPDATE {{t}}message SET state = CASE WHEN resends > 0 THEN 'unknown' ELSE 'refused' END,
  reason = '{Why.EXPIRED}', settled_at = {{now}}, text = NULL
WHERE id = :id AND state = 'pending'
"""


def spent_codes(lock: str = "") -> Steps[list[Any]]:
    """Return the codes whose time is over, and whose text is still there."""
    found: list[Any] = []
    for statement in SPENT_CODES:
        found += yield f"{statement} {lock}", {}
    return found


def erase_codes() -> Steps[int]:
    """Erase the texts of codes whose time is over; return how many those were.

    One that still waits, behind a pause or a brake, is refused as expired; an unknown one stays unknown.
    """
    spent = yield from spent_codes("{lock}")
    for id_, state in spent:
        yield (_EXPIRE if state == "pending" else _ERASE), {"id": id_}
    return len(spent)


class Upkeep:
    """What one sender does beside sending, when it is time.

    Args:
        hot: The ledger.
        owner: The sender's name, as in its claims.
    """

    def __init__(self, hot: HotPath, owner: str) -> None:
        self.is_waiting = False
        """A campaign has something due, and grants that it waits for."""
        self._hot = hot
        self._owner = owner
        self._busy = asyncio.Lock()
        self._next_look = self._next_grants = self._next_floors = 0.0

    async def do(self) -> None:
        """Do what is due; while someone does it, the others go on with what there is.

        Raises:
            LedgerUnavailable: The database cannot be used.
        """
        if self._busy.locked():
            return
        async with self._busy:
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + IDLE
                await self._move_windows()
                if await self._hot.look(spent_codes):
                    await self._hot.transact(erase_codes)
                if self._hot.is_shared:
                    await self._move_floors()
            if time.monotonic() >= self._next_grants:
                await self._take_grants()

    def hurry(self) -> None:
        """Take grants soon: what there was is used up."""
        if self.is_waiting:
            self._next_grants = min(self._next_grants, time.monotonic() + SOON)

    async def _move_windows(self) -> None:
        if over := await self._hot.look(streams_to_open):
            moves = await asyncio.to_thread(lambda: [next_move(row) for row in over])
            await self._hot.transact(lambda: open_streams(moves))

    async def _move_floors(self) -> None:
        from_floor = time.monotonic() < self._next_floors
        if not from_floor:
            self._next_floors = time.monotonic() + FLOOR_MARGIN / SECOND
        await self._hot.transact(lambda: move_floors(from_floor=from_floor))

    async def _take_grants(self) -> None:
        campaigns = await self._hot.look(limited_campaigns)
        self._next_grants = time.monotonic() + (AGAIN if campaigns else IDLE)
        is_waiting = False
        for campaign in campaigns:
            decision = await self._hot.transact(partial(grant_campaign, campaign, self._owner))
            is_waiting = is_waiting or (decision is not None and decision.pause is None)
        self.is_waiting = is_waiting
