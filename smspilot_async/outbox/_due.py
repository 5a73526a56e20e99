"""Whether anything may leave now: what a sender asks before it claims, without any lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smspilot_async.outbox._ledger import MAX_UNKNOWNS, AccountState
from smspilot_async.outbox._schema import MARKETING

if TYPE_CHECKING:
    from smspilot_async.outbox._steps import Steps

__all__ = ["DUE", "FIRST_DUE", "account_and_due", "is_due"]

# Not by EXISTS: that is a join, which PostgreSQL may begin with all that is pending.
FIRST_DUE: Final = """
(SELECT m.id FROM {t}message m WHERE m.stream_id = s.id AND m.{pending} AND m.due <= {now}
   AND (m.due, m.id) >= (s.floor_due, s.floor_id)
 ORDER BY m.due, m.id LIMIT 1)
"""
"""The first message of the stream `s` that is due; NULL where none is."""
# As in the claim: what is due in a stream that is open now, and not behind a pause, a halt or the brake.
DUE: Final = f"""
SELECT s.lane FROM {{t}}account a, {{t}}stream s LEFT JOIN {{t}}campaign c ON c.id = s.campaign_id
WHERE a.id = 1 AND a.paused IS NULL AND (a.unknowns < :most_unknowns OR a.brake_until <= {{now}})
  AND (a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < :marketing))
  AND s.lane <= :last_lane AND s.open_from <= {{now}} AND {{now}} < s.open_until
  AND (s.campaign_id IS NULL OR (
    c.state = 'running' AND c.starts_at <= {{now}} AND {{now}} < c.expires_at
    AND (NOT c.is_windowed OR s.closes_at IS NOT NULL)
  ))
  AND CASE WHEN c.state IS NULL OR c.state = 'running' THEN {FIRST_DUE} END IS NOT NULL
LIMIT 1
"""
_ACCOUNT: Final = f"""
SELECT paused, halted, halted_why, unknowns, brake_until, {{now}}, EXISTS ({DUE}) FROM {{t}}account
"""


def is_due(last_lane: int) -> Steps[bool]:
    """Return whether anything up to a lane may leave now, or is to be decided by a claim."""
    return bool((yield DUE, _values(last_lane)))


def account_and_due() -> Steps[tuple[AccountState, bool]]:
    """Return what holds for the account, and whether anything may leave now or is to be decided by a claim."""
    [(paused, halted, halted_why, unknowns, brake_until, now, is_due)] = yield _ACCOUNT, _values(MARKETING)
    account = AccountState(
        paused=paused,
        halted=halted,
        halted_why=halted_why,
        unknowns=unknowns,
        brake_until=brake_until,
        now=now,
    )
    return account, bool(is_due)


def _values(last_lane: int) -> dict[str, int]:
    return {"marketing": MARKETING, "last_lane": last_lane, "most_unknowns": MAX_UNKNOWNS}
