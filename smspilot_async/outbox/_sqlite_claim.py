"""The claim on SQLite: what a packet takes from a stream, in the transaction that writes its intent."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.outbox import _ledger, _steps
from smspilot_async.outbox._grants import PARTS, PRICE
from smspilot_async.outbox._ledger import MAX_UNKNOWNS, Claim, ClaimedMessages
from smspilot_async.outbox._schema import CODE, MARKETING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from smspilot_async.outbox._ledger import ClaimRequest

__all__ = ["claim_from", "open_stream"]

_HASH: Final = 32
"""Hexadecimal digits of a message's hash."""
_NOTHING: Final = (None,) * 7

_OPEN_STREAM: Final = """
SELECT s.id, s.campaign_id, s.lane, s.closes_at, c.expires_at, a.unknowns, g.messages, g.amount, g.is_whole
FROM smspilot_account a, smspilot_stream s LEFT JOIN smspilot_campaign c ON c.id = s.campaign_id
  LEFT JOIN smspilot_grants g ON g.campaign_id = c.id AND g.owner = :sender AND g.until > :now
WHERE a.id = 1 AND a.paused IS NULL AND (a.unknowns < :most_unknowns OR :is_probe)
  AND (a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < :marketing))
  AND s.lane <= :last_lane AND s.open_from <= :now AND :now < s.open_until
  AND (s.campaign_id IS NULL OR (
    c.state = 'running' AND c.starts_at <= :now AND :now < c.expires_at
    AND (NOT c.is_windowed OR s.closes_at IS NOT NULL)
    AND ((c.budget IS NULL AND c.first IS NULL AND c.rate_limit IS NULL)
      OR coalesce(g.messages, g.owner IS NOT NULL) > 0)
  ))
  AND EXISTS (
    SELECT 1 FROM smspilot_message m WHERE m.stream_id = s.id AND m.state = 'pending' AND m.due <= :now
  )
ORDER BY s.lane, s.open_until, s.id LIMIT 1
"""
_DUE: Final = """
SELECT json_group_array(id), json_group_array(phone), json_group_array(text), json_group_array(sender),
  json_group_array(tries + 1), group_concat(hex(hash), ''),
  json_group_array(json_array(id, ttl, valid_until, callback, callback_method, send_at, most, against))
    FILTER (WHERE coalesce(ttl, valid_until, callback, callback_method, send_at, most, against) IS NOT NULL)
FROM (
  SELECT m.id, m.phone, m.text, m.sender, m.ttl, m.valid_until, m.callback, m.callback_method, m.send_at, m.tries,
    m.most, m.hash,
    CASE WHEN m.valid_until <= :now THEN 'expired'
         WHEN EXISTS (
           SELECT 1 FROM smspilot_suppression x WHERE x.phone = m.phone AND (x.list = 'all' OR :lane = :marketing)
         ) THEN 'suppressed' END AS against
  FROM smspilot_message m
  WHERE m.stream_id = :stream AND m.state = 'pending' AND m.due <= :now
  ORDER BY m.due, m.id LIMIT :size
)
"""
"""One row of columns: each step of a statement lets another thread have the interpreter, which it keeps for a while."""
_INTENT: Final = """
INSERT INTO smspilot_attempt (token, sender, stream_id, intent_at, lease, message_ids, hash, amount)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_COSTS: Final = _steps.SQLITE.written(
    f"SELECT m.id, {PRICE}, {PARTS} FROM smspilot_message m WHERE m.id IN (SELECT value FROM json_each(?))"
)
_USE: Final = """
UPDATE smspilot_grants SET messages = messages - ?, amount = ? WHERE campaign_id = ? AND owner = ?
"""
_TAKE: Final = """
UPDATE smspilot_message SET state = 'in_flight', attempt_id = ?, tries = tries + 1
WHERE id IN (SELECT value FROM json_each(?)) AND state = 'pending'
"""
_DECIDE_AGAINST: Final = """
UPDATE smspilot_message
SET state = CASE WHEN resends > 0 THEN 'unknown' ELSE 'refused' END, reason = :reason, settled_at = :now,
  text = CASE WHEN stream_id = :code THEN NULL ELSE text END
WHERE id = :id AND state = 'pending'
"""


def open_stream(connection: sqlite3.Connection, request: ClaimRequest, now: int) -> Any:
    """Return the most urgent stream from which something may leave now."""
    values = {
        "now": now,
        "sender": request.sender,
        "last_lane": request.last_lane,
        "marketing": MARKETING,
        "most_unknowns": MAX_UNKNOWNS,
        "is_probe": request.is_probe,
    }
    return connection.execute(_OPEN_STREAM, values).fetchone()


def claim_from(connection: sqlite3.Connection, request: ClaimRequest, stream: Any, now: int) -> Claim:
    """Take a packet from a stream, and write its intent."""
    stream_id, campaign_id, lane, closes_at, expires_at, unknowns, granted, amount, is_whole = stream
    due = connection.execute(
        _DUE,
        {
            "now": now,
            "stream": stream_id,
            "lane": lane,
            "marketing": MARKETING,
            "size": request.size if granted is None else min(request.size, granted),
        },
    ).fetchone()
    leaving, hashes, against = judged(due)
    if against:
        values = [{"id": id_, "reason": reason, "now": now, "code": CODE} for id_, reason in against]
        connection.executemany(_DECIDE_AGAINST, values)
    cost = None
    if amount is not None:
        leaving, cost = affordable(connection, leaving, Decimal(amount), is_whole=is_whole)
    if not leaving:
        return Claim(attempt_id=None, intent_at=now, lane=lane, settled=len(against), unknowns=unknowns)
    ids = json.dumps(leaving.ids)
    body = _ledger.packet_hash([bytes.fromhex(hashes[: len(leaving) * _HASH])])
    reserved = None if cost is None else str(cost)
    intent = (request.token, request.sender, stream_id, now, now + request.lease, ids, body, reserved)
    attempt_id = connection.execute(_INTENT, intent).lastrowid
    connection.execute(_TAKE, (attempt_id, ids))
    if granted is not None or cost is not None:
        left = None if cost is None else str(Decimal(amount or 0) - cost)
        connection.execute(_USE, (len(leaving), left, campaign_id, request.sender))
    return Claim(
        attempt_id=attempt_id,
        intent_at=now,
        campaign_id=campaign_id,
        closes_at=closes_at,
        expires_at=expires_at,
        reserved=cost,
        lane=lane,
        messages=leaving,
        settled=len(against),
        unknowns=unknowns,
    )


def judged(due: Sequence[str | None]) -> tuple[ClaimedMessages, str, list[tuple[int, str]]]:
    """Return what may leave in one packet, with its hashes, and what is decided against, with the reasons."""
    ids, phones, texts, senders, tries = [json.loads(column or "[]") for column in due[:5]]
    none = itertools.repeat(None)
    rows = list(zip(ids, phones, texts, senders, none, none, none, none, tries, none, strict=False))
    hashes, special = due[5] or "", json.loads(due[6] or "[]")
    if not special:
        return ClaimedMessages(rows), hashes, []
    return _told_apart(rows, hashes, {id_: values for id_, *values in special})


def _told_apart(
    rows: Sequence[tuple[Any, ...]], hashes: str, special: Mapping[int, Sequence[Any]]
) -> tuple[ClaimedMessages, str, list[tuple[int, str]]]:
    """Add what few messages have. The packet ends where a message may not leave in so large a one."""
    leaving: list[tuple[Any, ...]] = []
    theirs: list[str] = []
    against: list[tuple[int, str]] = []
    largest: int | None = None
    for number, row in enumerate(rows):
        *more, send_at, most, reason = special.get(row[0], _NOTHING)
        if reason is not None:
            against.append((row[0], reason))
            continue
        if most is not None:
            largest = most if largest is None else min(largest, most)
        if largest is not None and len(leaving) >= largest:
            break
        leaving.append((*row[:4], *more, row[-2], send_at))
        theirs.append(hashes[number * _HASH : (number + 1) * _HASH])
    return ClaimedMessages(leaving), "".join(theirs), against


def affordable(
    connection: sqlite3.Connection, messages: ClaimedMessages, amount: Decimal, *, is_whole: bool
) -> tuple[ClaimedMessages, Decimal]:
    """Cut what is due where a grant of a budget ends, and return what the rest costs at most.

    One whose country has no price yet may only leave alone, with all that the budget has.
    """
    found = connection.execute(_COSTS, (json.dumps(messages.ids),))
    costs = {id_: None if price is None else Decimal(price) * parts for id_, price, parts in found}
    total = Decimal(0)
    for number, id_ in enumerate(messages.ids):
        cost = costs[id_]
        if cost is None:
            return (messages[:1], amount) if is_whole and not number else (messages[:number], total)
        if total + cost > amount:
            return messages[:number], total
        total += cost
    return messages, total
