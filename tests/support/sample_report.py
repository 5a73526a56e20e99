"""A campaign's report with something of everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import attrs

from smspilot_async.outbox._report_data import Group, Order, ReportData, Series
from smspilot_async.outbox._windows import SendingWindow

NOON: Final = datetime(2026, 11, 26, 9, tzinfo=UTC)
HOUR: Final = 3600 * 10**6


def us(when: datetime) -> int:
    return int(when.timestamp()) * 10**6


def group(state: str, messages: int, **more: Any) -> Group:
    fields = {"zone": "", "reason": None, "code": None, "status": None, "parts": 2 * messages, **more}
    return Group(state=state, messages=messages, **fields)


def report(**changes: Any) -> ReportData:
    """A campaign of a thousand rows with something of everything."""
    data = ReportData(
        name="promo-11",
        state="paused",
        reason="wrong text",
        is_test=False,
        made_at=NOON + timedelta(days=1),
        created_at=NOON - timedelta(days=1),
        created_by="anna",
        started_at=NOON,
        finished_at=None,
        template="Привет, {name|друг}!",
        sender="MYSHOP",
        window=SendingWindow("10:00", "20:00", tz="Europe/Moscow"),
        zone="Europe/Moscow",
        rows=1000,
        bad=40,
        duplicates=10,
        bad_rows={111: 30, 213: 10},
        groups=(
            group("accepted", 700, status=2),
            group("accepted", 50, status=-1),
            group("accepted", 30, status=1),
            group("refused", 20, reason="gateway", code=204),
            group("refused", 40, reason="suppressed"),
            group("unknown", 5, reason="timeout"),
            group("unknown", 5, reason="lease_over"),
            group("pending", 100),
        ),
        prices={Decimal("2.50"): 700, Decimal("1.25"): 70, None: 10},
        dearest=Decimal("1.25"),
        planned=Decimal(2500),
        budget=Decimal(3000),
        series=Series(start=us(NOON), width=HOUR, bins=24, sent={0: 500, 1: 290}, delivered={0: 300, 1: 300, 2: 100}),
        orders=(Order(at=NOON, actor="boris", action="pause", why="wrong text", count=None),),
    )
    return attrs.evolve(data, **changes)
