"""The hot path on PostgreSQL: a claim and an outcome are one statement each, over connections of its own.

One connection claims, one is kept for outcomes, so that an answer never waits behind a claim, and one takes grants and
looks after streams (:mod:`._postgres_connection`). No statement holds message rows and a shared row, but for the
campaign's ``FOR SHARE``: a pause waits for the claims that began before it. Writers of several rows lock them by
ascending id.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from smspilot_async.outbox import _steps
from smspilot_async.outbox._due import account_and_due
from smspilot_async.outbox._grants import PARTS, PRICE
from smspilot_async.outbox._ledger import (
    BRAKE_FIRST,
    BRAKE_LONGEST,
    HALT_LOCK,
    MAX_UNKNOWNS,
    AccountState,
    Claim,
    ClaimedMessages,
    Why,
)
from smspilot_async.outbox._postgres_connection import LedgerConnection
from smspilot_async.outbox._schema import CODE, MARKETING
from smspilot_async.outbox._states import Event, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smspilot_async.outbox._ledger import Answer, ClaimRequest
    from smspilot_async.outbox._steps import Work
    from smspilot_async.outbox._tokens import SentToken

__all__ = ["PostgresHotPath"]

Value = TypeVar("Value")

_HELD: Final = ", ".join(f"'{state}'" for state in sources(Event.ACCEPTED))

_CLAIM: Final = (
    """
WITH clock AS MATERIALIZED (SELECT smspilot.now_us() AS now, pg_advisory_xact_lock_shared({HALT_LOCK})),
open_stream AS MATERIALIZED (
  SELECT s.id, s.campaign_id, s.lane, s.floor_due, s.floor_id, s.closes_at, c.expires_at, a.unknowns,
    clock.now,
    c.budget IS NOT NULL OR c.first IS NOT NULL OR c.rate_limit IS NOT NULL AS is_limited
  FROM clock, smspilot.account a, smspilot.stream s LEFT JOIN smspilot.campaign c ON c.id = s.campaign_id
    LEFT JOIN smspilot.grants g ON g.campaign_id = c.id AND g.owner = %(sender)s
  WHERE a.id = 1 AND a.paused IS NULL AND (a.unknowns < %(most_unknowns)s OR %(is_probe)s)
    AND (a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < %(marketing)s))
    AND s.lane <= %(last_lane)s AND s.open_from <= clock.now AND clock.now < s.open_until
    AND (s.campaign_id IS NULL OR (
      c.state = 'running' AND c.starts_at <= clock.now AND clock.now < c.expires_at
      AND (NOT c.is_windowed OR s.closes_at IS NOT NULL)
      AND ((c.budget IS NULL AND c.first IS NULL AND c.rate_limit IS NULL)
        OR (g.until > clock.now AND coalesce(g.messages, 1) > 0))
    ))
    -- Not EXISTS: a join, which may begin with all that is pending. CASE: to be evaluated after the campaign's join.
    AND CASE WHEN c.state IS NULL OR c.state = 'running' THEN (
      SELECT m.id FROM smspilot.message m
      WHERE m.stream_id = s.id AND m.is_pending AND m.due <= clock.now
        AND (m.due, m.id) >= (s.floor_due, s.floor_id)
      ORDER BY m.due, m.id LIMIT 1
    ) END IS NOT NULL
  ORDER BY s.lane, s.open_until, s.id LIMIT 1
),
running AS MATERIALIZED (
  SELECT c.id FROM smspilot.campaign c WHERE c.id = (SELECT campaign_id FROM open_stream) AND c.state = 'running'
  FOR SHARE
),
granted AS MATERIALIZED (  -- its row once the campaign is locked; gone, if its time was over by then
  SELECT g.campaign_id, g.messages, g.amount, g.is_whole FROM smspilot.grants g
  WHERE g.campaign_id = (SELECT campaign_id FROM open_stream WHERE is_limited) AND g.owner = %(sender)s
    AND EXISTS (SELECT 1 FROM running)
  FOR UPDATE
),
due AS MATERIALIZED (  -- by values, not by a join: so the index gives the order, whatever the statistics say
  SELECT m.id, m.due, m.phone, m.hash, m.valid_until, m.most, (SELECT lane FROM open_stream) AS lane,
    (SELECT now FROM open_stream) AS now,
    CASE WHEN (SELECT amount FROM granted) IS NOT NULL THEN {PRICE} * {PARTS} END AS cost
  FROM smspilot.message m
  WHERE m.stream_id = (SELECT id FROM open_stream) AND m.is_pending
    AND m.due <= (SELECT now FROM open_stream)
    AND (m.due, m.id) >= ((SELECT floor_due FROM open_stream), (SELECT floor_id FROM open_stream))
    AND ((SELECT campaign_id FROM open_stream) IS NULL OR EXISTS (SELECT 1 FROM running))
    AND ((SELECT is_limited FROM open_stream) IS NOT TRUE OR EXISTS (SELECT 1 FROM granted))
  ORDER BY m.due, m.id LIMIT least(%(size)s, (SELECT messages FROM granted)) FOR UPDATE OF m SKIP LOCKED
),
judged AS MATERIALIZED (
  SELECT due.*, CASE WHEN due.valid_until <= due.now THEN 'expired'
    WHEN EXISTS (
      SELECT 1 FROM smspilot.suppression x
      WHERE x.phone = due.phone AND (x.list = 'all' OR due.lane = %(marketing)s)
    ) THEN 'suppressed' END AS against
  FROM due
),
refused AS (
  UPDATE smspilot.message m
  SET state = CASE WHEN m.resends > 0 THEN 'unknown' ELSE 'refused' END, reason = j.against, settled_at = j.now,
    text = CASE WHEN m.stream_id = %(code)s THEN NULL ELSE m.text END
  FROM judged j WHERE m.id = j.id AND j.against IS NOT NULL AND m.state = 'pending' RETURNING m.id
),
leaving AS MATERIALIZED (
  SELECT id, due, hash, now, cost FROM (
    SELECT j.*, row_number() OVER w AS n, min(j.most) OVER w AS largest, sum(j.cost) OVER w AS total,
      bool_or(j.cost IS NULL) OVER w AS is_unpriced
    FROM judged j WHERE j.against IS NULL WINDOW w AS (ORDER BY j.due, j.id)
  ) counted LEFT JOIN granted g ON true
  WHERE n <= coalesce(largest, n)
    AND (g.amount IS NULL OR (NOT is_unpriced AND total <= g.amount) OR (is_unpriced AND n = 1 AND g.is_whole))
),
packet AS MATERIALIZED (
  SELECT count(*) AS messages, CASE WHEN g.amount IS NOT NULL THEN coalesce(sum(l.cost), g.amount) END AS amount
  FROM leaving l LEFT JOIN granted g ON true GROUP BY g.amount
),
used AS (
  UPDATE smspilot.grants g SET messages = g.messages - p.messages, amount = g.amount - p.amount
  FROM packet p, granted WHERE g.campaign_id = granted.campaign_id AND g.owner = %(sender)s
),
intent AS (
  INSERT INTO smspilot.attempt (token, sender, stream_id, intent_at, lease, message_ids, hash, amount)
  SELECT %(token)s, %(sender)s, (SELECT id FROM open_stream), min(now), min(now) + %(lease)s,
    array_agg(id ORDER BY due, id), sha256(string_agg(hash, ''::bytea ORDER BY due, id)), (SELECT amount FROM packet)
  FROM leaving HAVING count(*) > 0 RETURNING id
),
taken AS (
  UPDATE smspilot.message m SET state = 'in_flight', attempt_id = intent.id, tries = m.tries + 1
  FROM leaving l, intent WHERE m.id = l.id AND m.state = 'pending'  -- not `is_pending`, which has an index
  RETURNING m.id, m.phone, m.text, m.sender, m.ttl, m.valid_until, m.callback, m.callback_method, m.tries,
    m.send_at, m.due
)
SELECT clock.now, s.campaign_id, s.closes_at, s.expires_at, (SELECT amount FROM packet), s.lane, s.unknowns,
  (SELECT count(*) FROM refused), intent.id,
  t.id, t.phone, t.text, t.sender, t.ttl, t.valid_until, t.callback, t.callback_method, t.tries, t.send_at
FROM clock LEFT JOIN open_stream s ON true LEFT JOIN intent ON true LEFT JOIN taken t ON true
ORDER BY t.due, t.id
""".replace("{HALT_LOCK}", str(HALT_LOCK))
    .replace("{PRICE}", _steps.POSTGRESQL.written(PRICE))
    .replace("{PARTS}", _steps.POSTGRESQL.written(PARTS))
)

_RECORD: Final = f"""
WITH clock AS MATERIALIZED (SELECT smspilot.now_us() AS now),
answered AS MATERIALIZED (
  SELECT * FROM unnest(
    %(ids)s::bigint[], %(states)s::text[], %(reasons)s::text[], %(codes)s::int[], %(on_wire)s::int[],
    %(delays)s::bigint[], %(most)s::int[], %(server_ids)s::text[], %(parts)s::smallint[], %(prices)s::numeric[],
    %(statuses)s::smallint[]
  ) AS t (id, state, reason, code, on_wire, delay, most, server_id, parts, price, status)
),
held AS MATERIALIZED (
  SELECT m.id, m.wanted_at FROM smspilot.message m JOIN answered USING (id)
  WHERE m.attempt_id = %(attempt)s AND m.state IN ({_HELD}) ORDER BY m.id FOR UPDATE OF m
),
decided AS MATERIALIZED (
  SELECT a.*, clock.now, a.state = 'pending' AND held.wanted_at + %(give_up_after)s <= clock.now AS gives_up
  FROM answered a JOIN held USING (id), clock
),
settled AS (
  UPDATE smspilot.message m
  SET state = CASE WHEN m.resends > 0 AND (d.gives_up OR d.state = 'refused') THEN 'unknown'
      WHEN d.gives_up THEN 'not_sent' ELSE d.state END,
    reason = CASE WHEN d.gives_up THEN 'gave_up' ELSE d.reason END,
    code = d.code, on_wire = m.on_wire + d.on_wire, most = d.most, wanted_at = least(m.wanted_at, d.now),
    settled_at = CASE WHEN d.state = 'pending' AND NOT d.gives_up THEN NULL ELSE d.now END,
    due = CASE WHEN d.state = 'pending' THEN d.now + d.delay ELSE m.due END,
    server_id = d.server_id, parts = coalesce(d.parts, m.parts), price = d.price, status = d.status,
    text = CASE WHEN m.stream_id = {CODE} AND (d.gives_up OR d.state IN ('accepted', 'refused', 'not_sent'))
      THEN NULL ELSE m.text END
  FROM decided d WHERE m.id = d.id RETURNING m.id
),
closed AS (
  UPDATE smspilot.attempt SET outcome = %(outcome)s, evidence = %(evidence)s, recorded_at = clock.now,
    server_packet_id = %(server_packet_id)s, cost = %(cost)s,
    amount = CASE WHEN amount IS NULL OR is_counted THEN amount ELSE coalesce(%(spent)s, amount) END
  FROM clock WHERE id = %(attempt)s RETURNING id
)
SELECT count(*) FROM settled
"""
_PROVE: Final = """
WITH proof AS MATERIALIZED (
  SELECT * FROM unnest(%(ids)s::bigint[], %(server_ids)s::text[], %(parts)s::smallint[], %(prices)s::numeric[])
    AS t (id, server_id, parts, price)
),
held AS MATERIALIZED (SELECT m.id FROM smspilot.message m JOIN proof USING (id) ORDER BY m.id FOR UPDATE OF m)
UPDATE smspilot.message m
SET sent_twice = m.sent_twice OR (m.state = 'accepted' AND coalesce(m.server_id <> p.server_id, false)),
  server_id = CASE WHEN m.state = 'accepted' THEN coalesce(m.server_id, p.server_id) ELSE p.server_id END,
  parts = coalesce(p.parts, m.parts), price = coalesce(p.price, m.price),
  settled_at = CASE WHEN m.state = 'accepted' THEN m.settled_at ELSE smspilot.now_us() END,
  text = CASE WHEN m.stream_id = 0 THEN NULL ELSE m.text END,
  reason = NULL, code = NULL, on_wire = greatest(m.on_wire, 1), state = 'accepted'
FROM proof p, held WHERE m.id = p.id AND m.id = held.id
"""
_VOID: Final = """
INSERT INTO smspilot.attempt (token, sender, intent_at, lease, message_ids, outcome, recorded_at)
SELECT %(token)s, '', now, now, '{}', 'void', now FROM (SELECT smspilot.now_us() AS now) clock
ON CONFLICT (token) DO NOTHING
"""
_RELEASE: Final = """
WITH mine AS MATERIALIZED (SELECT id FROM smspilot.attempt WHERE token = %(token)s AND outcome IS DISTINCT FROM 'void'),
held AS MATERIALIZED (
  SELECT m.id FROM smspilot.message m JOIN smspilot.attempt a ON m.id = ANY (a.message_ids) JOIN mine ON a.id = mine.id
  WHERE m.attempt_id = mine.id AND m.state IN ('in_flight', 'unknown') ORDER BY m.id FOR UPDATE OF m
),
released AS (
  UPDATE smspilot.message m SET state = 'pending', due = smspilot.now_us() FROM held WHERE m.id = held.id
)
UPDATE smspilot.attempt a
SET outcome = 'not_sent', evidence = 'void', recorded_at = smspilot.now_us(), amount = 0 * amount
FROM mine WHERE a.id = mine.id
"""
_RECOVER: Final = f"""
WITH clock AS MATERIALIZED (SELECT smspilot.now_us() AS now),
over AS MATERIALIZED (
  SELECT a.id, a.message_ids FROM smspilot.attempt a, clock
  WHERE a.outcome IS NULL AND a.lease <= clock.now ORDER BY a.id LIMIT 100 FOR UPDATE OF a SKIP LOCKED
),
held AS MATERIALIZED (
  SELECT m.id FROM smspilot.message m JOIN over ON m.attempt_id = over.id
    AND m.id IN (SELECT unnest(o.message_ids) FROM over o)
  WHERE m.state = 'in_flight' ORDER BY m.id FOR UPDATE OF m
),
lost AS (
  UPDATE smspilot.message m SET state = 'unknown', reason = '{Why.LEASE_OVER}', on_wire = m.on_wire + 1,
    settled_at = clock.now
  FROM held, clock WHERE m.id = held.id RETURNING m.id
),
closed AS (
  UPDATE smspilot.attempt a SET outcome = 'unknown', evidence = '{Why.LEASE_OVER}', recorded_at = clock.now
  FROM over, clock WHERE a.id = over.id RETURNING a.id
)
SELECT (SELECT count(*) FROM lost), (SELECT count(*) FROM closed)
"""
_TRIED: Final = """
SELECT m.id FROM smspilot.message m WHERE m.id = ANY (%s) AND (m.on_wire > 0 OR EXISTS (
  SELECT 1 FROM smspilot.message o WHERE o.hash = m.hash AND o.id <> m.id AND (o.on_wire > 0 OR o.state = 'in_flight')
))
"""
_TRIED_BY_OTHERS: Final = """
SELECT m.id FROM smspilot.message m WHERE m.id = ANY (%s) AND EXISTS (
  SELECT 1 FROM smspilot.message o JOIN smspilot.attempt a ON a.id = o.attempt_id
  WHERE o.hash = m.hash AND o.id <> m.id AND a.intent_at > %s
)
"""
_COUNT_UNKNOWN: Final = f"""
UPDATE smspilot.account SET unknowns = unknowns + 1,
  brake_until = CASE WHEN unknowns + 1 = {MAX_UNKNOWNS} THEN smspilot.now_us() + {BRAKE_FIRST} ELSE brake_until END,
  brake_pause = CASE WHEN unknowns + 1 = {MAX_UNKNOWNS} THEN {BRAKE_FIRST} ELSE brake_pause END
RETURNING unknowns
"""
_COUNT_ANSWER: Final = "UPDATE smspilot.account SET unknowns = 0, brake_until = 0, brake_pause = 0 WHERE unknowns > 0"
_RELEASE_BRAKE: Final = f"""
UPDATE smspilot.account SET brake_pause = least(brake_pause * 2, {BRAKE_LONGEST}),
  brake_until = smspilot.now_us() + least(brake_pause * 2, {BRAKE_LONGEST})
WHERE unknowns >= {MAX_UNKNOWNS} AND brake_until <= smspilot.now_us() RETURNING id
"""
_PAUSE: Final = """
UPDATE smspilot.account SET paused = coalesce(paused, %s), paused_at = coalesce(paused_at, smspilot.now_us())
"""
_STATES: Final = {
    Event.ACCEPTED: "accepted",
    Event.REFUSED: "refused",
    Event.PUT_BACK: "pending",
    Event.UNANSWERED: "unknown",
}


class PostgresHotPath:
    """A ledger on PostgreSQL, as a sender uses it.

    Args:
        conninfo: How to connect, as libpq writes it.
        is_pooled: Through pgbouncer in transaction mode: nothing is kept in a session.
    """

    def __init__(self, conninfo: str, *, is_pooled: bool = False) -> None:
        self._is_pooled = is_pooled
        self._claims, self._outcomes, self._others, self._notices = (
            LedgerConnection(conninfo, is_pooled=is_pooled) for _ in range(4)
        )

    @property
    def is_shared(self) -> bool:
        return True

    async def open(self, home: str | None = None, sent: Callable[[], Sequence[SentToken]] = tuple) -> None:
        self._claims.home, self._claims.sent = home, sent
        await self._claims.fetch("SELECT 1")

    async def aclose(self) -> None:
        for line in (self._claims, self._outcomes, self._others, self._notices):
            await line.aclose()

    async def wait_for_code(self) -> None:
        if self._is_pooled:  # LISTEN is taken there, and never notifies
            await asyncio.get_running_loop().create_future()
        await self._notices.wait_for_notice()

    async def transact(self, work: Work[Value]) -> Value:
        return await self._others.transact(work)

    async def look(self, work: Work[Value]) -> Value:
        return await self._others.look(work)

    async def claim(self, request: ClaimRequest) -> Claim:
        rows = await self._claims.fetch(
            _CLAIM,
            {
                "token": request.token,
                "sender": request.sender,
                "size": request.size,
                "lease": request.lease,
                "last_lane": request.last_lane,
                "is_probe": request.is_probe,
                "most_unknowns": MAX_UNKNOWNS,
                "marketing": MARKETING,
                "code": CODE,
            },
        )
        now, campaign_id, closes_at, expires_at, reserved, lane, unknowns, settled, attempt_id = rows[0][:9]
        return Claim(
            attempt_id=attempt_id,
            intent_at=now,
            campaign_id=campaign_id,
            closes_at=closes_at,
            expires_at=expires_at,
            reserved=reserved,
            lane=lane or 0,
            messages=ClaimedMessages([row[9:] for row in rows if row[9] is not None]),
            settled=settled,
            unknowns=unknowns or 0,
        )

    async def record(self, answer: Answer) -> None:
        rows = answer.rows
        settled = await self._outcomes.fetch(
            _RECORD,
            {
                "attempt": answer.attempt_id,
                "ids": [row.id for row in rows],
                "states": [_STATES[row.event] for row in rows],
                "reasons": [row.reason for row in rows],
                "codes": [row.code for row in rows],
                "on_wire": [int(row.on_wire) for row in rows],
                "delays": [row.delay for row in rows],
                "most": [row.most for row in rows],
                "server_ids": [row.server_id for row in rows],
                "parts": [row.parts for row in rows],
                "prices": [row.price for row in rows],
                "statuses": [row.status for row in rows],
                "give_up_after": answer.give_up_after,
                "outcome": answer.outcome,
                "evidence": answer.evidence,
                "server_packet_id": answer.server_packet_id,
                "cost": answer.cost,
                "spent": answer.spent,
            },
        )
        if settled[0][0] < len(rows) and (accepted := [row for row in rows if row.event is Event.ACCEPTED]):
            await self._outcomes.fetch(
                _PROVE,
                {
                    "ids": [row.id for row in accepted],
                    "server_ids": [row.server_id for row in accepted],
                    "parts": [row.parts for row in accepted],
                    "prices": [row.price for row in accepted],
                },
            )

    async def void(self, token: str) -> None:
        # A claim that is not decided yet makes this wait, at most for the lock's time; then it is asked again.
        await self._outcomes.fetch(_VOID, {"token": token})
        await self._outcomes.fetch(_RELEASE, {"token": token})

    async def recover(self) -> int:
        count: int = 0
        while True:
            lost, closed = (await self._outcomes.fetch(_RECOVER))[0]
            count += lost
            if not closed:
                return count

    async def tried_before(self, ids: Sequence[int]) -> set[int]:
        return {row[0] for row in await self._outcomes.fetch(_TRIED, (list(ids),))}

    async def tried_by_others(self, ids: Sequence[int], since: int) -> set[int]:
        return {row[0] for row in await self._outcomes.fetch(_TRIED_BY_OTHERS, (list(ids), since))}

    async def account(self) -> AccountState:
        return (await self.account_and_due())[0]

    async def account_and_due(self) -> tuple[AccountState, bool]:
        return await self._outcomes.look(account_and_due)

    async def pause(self, reason: str) -> None:
        await self._outcomes.fetch(_PAUSE, (reason,))

    async def count_unknown(self) -> int:
        count: int = (await self._outcomes.fetch(_COUNT_UNKNOWN))[0][0]
        return count

    async def count_answer(self) -> None:
        await self._outcomes.fetch(_COUNT_ANSWER)

    async def release_brake(self) -> bool:
        return bool(await self._outcomes.fetch(_RELEASE_BRAKE))
