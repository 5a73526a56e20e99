"""Whether anything may leave now: what a sender asks before it claims, without any lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._ledger import MAX_UNKNOWNS
from smspilot_async.outbox._schema import MARKETING

if TYPE_CHECKING:
    from smspilot_async.outbox._steps import Steps

__all__ = ["DUE", "is_due"]

# As in the claim: what is due in a stream that is open now, and not behind a pause, a halt or the brake. Not by EXISTS:
# that is a join, which PostgreSQL may begin with all that is pending.
DUE: Final = """
SELECT s.lane FROM {t}account a, {t}stream s LEFT JOIN {t}campaign c ON c.id = s.campaign_id
WHERE a.id = 1 AND a.paused IS NULL AND (a.unknowns < :most_unknowns OR a.brake_until <= {now})
  AND (a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < :marketing))
  AND s.lane <= :last_lane AND s.open_from <= {now} AND {now} < s.open_until
  AND (s.campaign_id IS NULL OR (
    c.state = 'running' AND c.starts_at <= {now} AND {now} < c.expires_at
    AND (NOT c.is_windowed OR s.closes_at IS NOT NULL)
  ))
  AND CASE WHEN c.state IS NULL OR c.state = 'running' THEN (
    SELECT m.id FROM {t}message m WHERE m.stream_id = s.id AND m.{pending} AND m.due <= {now}
      AND (m.due, m.id) >= (s.floor_due, s.floor_id)
    ORDER BY m.due, m.id LIMIT 1
  ) END IS NOT NULL
LIMIT 1
"""


def is_due(last_lane: int) -> Steps[bool]:
    """Return whether anything up to a lane may leave now, or is to be decided by a claim."""
    values = {"marketing": MARKETING, "last_lane": last_lane, "most_unknowns": MAX_UNKNOWNS}
    return bool((yield DUE, values))
