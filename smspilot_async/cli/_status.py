"""``smspilot outbox status``: one screen that says what stops the sending, what waits, who sends, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async import Outcome
from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._outbox import with_outbox
from smspilot_async.cli._output import count, print_facts, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from smspilot_async import Client
    from smspilot_async.cli._connection import ConnectionOptions
    from smspilot_async.outbox import AccountState, Outbox, OutboxStatus, Overview, WorkerInfo

_CLOCKS_AGREE: Final = 1.0  # seconds
_KIB: Final = 1024


def status(ledger: str | None, connection: ConnectionOptions, *, as_json: bool) -> int:
    """Show the state of a ledger."""

    async def look(outbox: Outbox) -> tuple[OutboxStatus, Overview]:
        client = _client(connection)
        if client is None:
            return await outbox.status(), await outbox.overview()
        async with client:
            return await outbox.status(), await outbox.overview(client)

    found, seen = with_outbox(ledger, look)
    if as_json:
        print_json(_as_json(found, seen))
    else:
        print_facts(dict(_facts(found, seen)))
    return Exit.FINE


def _client(connection: ConnectionOptions) -> Client | None:
    """Return what asks for the balance; a machine without a key shows everything else."""
    try:
        return connection.client()
    except Problem:
        return None


def _as_json(found: OutboxStatus, seen: Overview) -> dict[str, Any]:
    account = seen.account
    return {
        "messages": found.messages,
        "paused": account.paused,
        "halted": account.halted,
        "halted_why": account.halted_why,
        "unknown_packets_in_a_row": account.unknowns,
        "braked": account.is_braked,
        "unsettled": seen.unsettled,
        "waiting": [{**attrs.asdict(one), "oldest": _seconds(one.oldest)} for one in seen.waiting],
        "requests": seen.requests,
        "expired_leases": seen.expired,
        "workers": [attrs.asdict(one) for one in seen.workers],
        "campaigns": [attrs.asdict(one) for one in seen.campaigns],
        "per_second": round(seen.per_second, 2),
        "rate_limit": seen.rate_limit,
        "balance": seen.balance,
        "spent_per_hour": seen.spent_per_hour,
        "hours_left": None if seen.hours_left is None else round(seen.hours_left, 1),
        "drift": _seconds(seen.drift),
        "called_at": seen.called_at,
        "following": seen.following,
        "next_poll": seen.next_poll,
        "account": seen.account_id,
        "endpoint": seen.endpoint,
        "mode": "test" if seen.is_test else "live",
        "database": seen.database,
        "size": seen.size,
        "at": seen.at,
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)


def _facts(found: OutboxStatus, seen: Overview) -> Iterator[tuple[str, object]]:
    yield from _obstacles(seen.account)
    for state, number in found.messages.items():
        more = f", {seen.unsettled:,} not settled" if state == Outcome.UNKNOWN.value and number else ""
        yield state.replace("_", " "), f"{number:,}{more}"
    yield "due", _due(seen)
    yield "on the wire", _on_the_wire(seen)
    yield "campaigns", "; ".join(f"{one.name} {_stands(one.state, one.reason)}" for one in seen.campaigns)
    yield "workers", "; ".join(_worker(one, seen.at) for one in seen.workers) or "none"
    limit = "" if seen.rate_limit is None else f"; limit {seen.rate_limit:g}"
    yield "pace", f"{seen.per_second:,.1f} messages a second in the last minute{limit}"
    yield "balance", _balance(seen)
    yield "statuses", f"{count(seen.following, 'packet')} followed; last callback {_ago(seen.called_at, seen.at)}"
    yield "clocks", _drift(seen.drift)
    mode = "test" if seen.is_test else "live"
    yield "ledger", f"{seen.database}, {_size(seen.size)}; account {seen.account_id}, {seen.endpoint}, {mode}"


def _obstacles(account: AccountState) -> Iterator[tuple[str, object]]:
    if account.paused:
        yield "paused", f"{account.paused}; after fixing that: smspilot outbox release"
    if account.halted:
        yield "halted", f"{account.halted}: {account.halted_why}; smspilot outbox release lets it go on"
    if account.is_braked:
        yield "brake", f"on, after {count(account.unknowns, 'packet')} in a row without an answer"


def _stands(state: str, reason: str | None) -> str:
    return f"{state}: {reason}" if reason else state


def _due(seen: Overview) -> str:
    kinds = [
        f"{one.messages:,} {one.kind}, the oldest for {_span(one.oldest)}"
        for one in seen.waiting
        if one.oldest is not None
    ]
    return "; ".join(kinds) or "nothing"


def _on_the_wire(seen: Overview) -> str:
    wire = f"{count(seen.in_flight, 'message')} in {count(seen.requests, 'request')}"
    return f"{wire}; {seen.expired:,} beyond their lease" if seen.expired else wire


def _worker(one: WorkerInfo, now: datetime) -> str:
    slots = f", {count(one.slots, 'connection')}" if one.slots else ""
    lost = "" if one.is_running else f", lost: last seen {_ago(one.seen_at, now)}"
    return f"{one.name} ({one.version}{slots}{lost})"


def _balance(seen: Overview) -> str | None:
    if seen.balance is None:
        return "not known: the gateway was not asked, or did not answer"
    hours = "" if seen.hours_left is None else f", enough for {seen.hours_left:,.1f} hours at the pace of the last hour"
    return f"{seen.balance:f} RUB{hours}"


def _drift(drift: timedelta) -> str | None:
    seconds = drift.total_seconds()
    if abs(seconds) < _CLOCKS_AGREE:
        return None
    return f"this machine's is {abs(seconds):,.1f} s {'ahead of' if seconds > 0 else 'behind'} the database's"


def _ago(when: datetime | None, now: datetime) -> str:
    return "never" if when is None else f"{_span(now - when)} ago"


def _span(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {word}"
    return f"{seconds:,.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIB:
            return f"{size:,.0f} {unit}"
        size /= _KIB
    return f"{size:,.1f} TiB"
