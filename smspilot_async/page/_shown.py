"""What the page shows of a ledger, as JSON: no phone whole, and no text of a one-time code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._tools.masks import masked_phone

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from smspilot_async.outbox import (
        CampaignInfo,
        CampaignMessage,
        Estimate,
        Order,
        Overview,
        Preview,
        PreviewRow,
        Progress,
    )

__all__ = ["as_info", "as_order", "as_overview", "as_preview", "as_progress", "as_row", "masked_runs"]

_phone_like = re.compile(r"\+?\d[\d\s().\u2010-\u2015-]{5,}\d")
_SHORTEST_PHONE: Final = 7


def masked_runs(text: str) -> str:
    """Return a text with everything masked in it that may be a phone."""

    def mask(found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0])
        return masked_phone(digits) if len(digits) >= _SHORTEST_PHONE else found[0]

    return _phone_like.sub(mask, text)


def when(moment: datetime | None) -> str | None:
    """Return a time."""
    return None if moment is None else moment.isoformat()


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 1)


def as_overview(seen: Overview) -> dict[str, Any]:
    """Return what the page shows under *Now*."""
    account = seen.account
    return {
        "at": when(seen.at),
        "paused": account.paused,
        "halted": account.halted,
        "halted_why": account.halted_why,
        "braked": account.is_braked,
        "unanswered": account.unknowns,
        "waiting": [
            {"kind": one.kind, "messages": one.messages, "oldest": _seconds(one.oldest)} for one in seen.waiting
        ],
        "requests": seen.requests,
        "in_flight": seen.in_flight,
        "expired": seen.expired,
        "unknown": seen.unknown,
        "unsettled": seen.unsettled,
        "campaigns": [attrs.asdict(one) for one in seen.campaigns],
        "workers": [
            {
                "name": one.name,
                "version": one.version,
                "slots": one.slots,
                "is_running": one.is_running,
                "seen": _seconds(seen.at - one.seen_at),
            }
            for one in seen.workers
        ],
        "per_second": round(seen.per_second, 1),
        "rate_limit": seen.rate_limit,
        "spent_per_hour": str(seen.spent_per_hour),
        "balance": None if seen.balance is None else str(seen.balance),
        "hours_left": None if seen.hours_left is None else round(seen.hours_left, 1),
        "drift": _seconds(seen.drift),
        "called_at": when(seen.called_at),
        "following": seen.following,
        "database": seen.database,
        "size": seen.size,
    }


def as_order(order: Order) -> dict[str, Any]:
    """Return an order of the log."""
    return {**attrs.asdict(order), "at": when(order.at)}


def as_info(info: CampaignInfo) -> dict[str, Any]:
    """Return a campaign, as a list shows it."""
    settings = info.settings
    return {
        "name": info.name,
        "state": info.state,
        "reason": info.reason,
        "rows": info.rows,
        "messages": info.messages,
        "bad": info.bad,
        "duplicates": info.duplicates,
        "created_by": info.created_by,
        "created_at": when(info.created_at),
        "starts_at": when(info.starts_at),
        "expires_at": when(info.expires_at),
        "started_at": when(info.started_at),
        "finished_at": when(info.finished_at),
        "budget": None if info.budget is None else str(info.budget),
        "first": info.first,
        "template": settings.template,
        "sender": settings.sender,
        "kind": settings.kind,
        "window": settings.window,
        "rate_limit": settings.rate_limit,
    }


def as_progress(progress: Progress) -> dict[str, Any]:
    """Return how far a campaign is."""
    return {
        "state": progress.state,
        "reason": progress.reason,
        "messages": progress.messages,
        "total": progress.total,
        "done": progress.done,
        "spent": str(progress.spent),
        "at": when(progress.at),
    }


def as_estimate(found: Estimate | None) -> dict[str, Any] | None:
    """Return an estimate."""
    if found is None:
        return None
    return {
        "at": when(found.at),
        "messages": found.messages,
        "bad": found.bad,
        "bad_rows": [{"line": line, "why": masked_runs(why)} for line, why in found.bad_rows],
        "duplicates": found.duplicates,
        "overlap": found.overlap,
        "suppressed": found.suppressed,
        "parts": found.parts,
        "price": None if found.price is None else str(found.price),
        "price_error": found.price_error,
        "balance": None if found.balance is None else str(found.balance),
        "fits": found.fits,
        "ends_at": when(found.ends_at),
        "mixed": found.mixed,
        "mixed_lines": list(found.mixed_lines),
    }


def as_preview(found: Preview) -> dict[str, Any]:
    """Return a preview; its texts are the campaign's, its phones are masked."""
    return {
        "rows": [_preview_row(row) for row in found.rows],
        "longest": None if found.longest is None else _preview_row(found.longest),
        "long_messages": found.long_messages,
        "further_parts": found.further_parts,
        "further_price": None if found.further_price is None else str(found.further_price),
        "mixed": [{"line": line, "words": list(words)} for line, words in found.mixed],
    }


def _preview_row(row: PreviewRow) -> dict[str, Any]:
    text = row.text.replace(row.to, masked_phone(row.to))
    return {"line": row.line, "to": masked_phone(row.to), "text": text, "sender": row.sender, "parts": row.parts}


def as_row(row: CampaignMessage) -> dict[str, Any]:
    """Return a row of a campaign's list, and what became of it; without its text and columns."""
    return {
        "line": row.line,
        "to": None if row.to is None else masked_phone(row.to),
        "state": row.state,
        "reason": row.reason,
        "why": None if row.why is None else masked_runs(row.why),
        "code": row.code,
        "at": when(row.settled_at),
    }
