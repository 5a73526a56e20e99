"""A campaign's report as one HTML file: no script, nothing from elsewhere, no phone and no text but the template."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

from smspilot_async._tools.zones import zone_of
from smspilot_async.models import DeliveryStatus
from smspilot_async.outbox._report_plots import COLOURS, bars, over_time
from smspilot_async.outbox._report_words import NOT_SAID, why_of
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from smspilot_async.outbox._report_data import Group, ReportData

__all__ = ["render"]

_STATES: Final = {
    State.PENDING.value: "waiting",
    State.IN_FLIGHT.value: "on the wire",
    State.REFUSED.value: "refused",
    State.NOT_SENT.value: "not sent",
    State.UNKNOWN.value: "unknown",
}
_MOST_ZONES: Final = 30
_MOST_REASONS: Final = 12
_MOST_ORDERS: Final = 40
_STYLE: Final = f"""
:root {{ color-scheme: light; --ink: {COLOURS["ink"]}; --faint: #6b7280; --line: {COLOURS["grid"]}; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f5f6f9; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }}
main {{ max-width: 980px; margin: 0 auto; padding: 32px 20px 48px; }}
h1 {{ font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }}
h2 {{ font-size: 16px; margin: 0 0 2px; }}
p.note {{ margin: 0 0 10px; color: var(--faint); font-size: 13px; }}
.badge {{ display: inline-block; vertical-align: 4px; margin-left: 8px; padding: 1px 10px; border-radius: 99px;
  background: #e4e8f5; font-size: 13px; font-weight: 600; }}
.badge.warn {{ background: #fdf0d5; color: #7a5200; }}
section {{ background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin-top: 16px;
  break-inside: avoid; overflow-x: auto; min-width: 0; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(136px, 1fr)); gap: 12px; margin-top: 20px; }}
.tile {{ background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }}
.tile b {{ display: block; font-size: 21px; line-height: 1.25; font-variant-numeric: tabular-nums; }}
.tile span {{ color: var(--faint); font-size: 13px; }}
.two {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(380px, 100%), 1fr)); gap: 0 16px; }}
svg.plot {{ display: block; width: 100%; height: auto; }}
svg.plot text {{ font-family: inherit !important; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }}
th {{ color: var(--faint); font-weight: 500; font-size: 13px; }}
th:first-child, td:first-child, td.text, th.text {{ text-align: left; padding-left: 0; }}
td.text, th.text {{ padding-left: 8px; }}
td:not(.text), .nowrap {{ white-space: nowrap; }}
tr:last-child td {{ border-bottom: 0; }}
blockquote {{ margin: 8px 0 12px; padding: 10px 14px; background: #f5f6f9; border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; }}
dt {{ color: var(--faint); }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
i.dot {{ display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 5px 0 12px; }}
footer {{ color: var(--faint); font-size: 13px; margin-top: 18px; }}
@media print {{ body {{ background: #fff; }} main {{ padding: 0; }} }}
"""
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def render(data: ReportData) -> str:
    """Return the report of a campaign."""
    parts = [
        _head(data),
        _tiles(data),
        _timeline(data),
        _funnel(data),
        '<div class="two">',
        _unsent(data),
        _cost(data),
        "</div>",
        _zones(data),
        _bad_rows(data),
        _settings(data),
        _orders(data),
        _foot(data),
    ]
    title = escape(f"Campaign {data.name}")
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(part for part in parts if part))


# --- sections ------------------------------------------------------------------------------------


def _head(data: ReportData) -> str:
    stands = f"{data.state}: {data.reason}" if data.reason else data.state
    is_fine = data.state in {"finished", "running"}
    badges = f'<span class="badge{"" if is_fine else " warn"}">{escape(stands)}</span>'
    if data.is_test:
        badges += '<span class="badge warn">test: nothing was really sent</span>'
    times = [("made", data.created_at), ("started", data.started_at), ("over", data.finished_at)]
    line = " · ".join(f"{word} {_time(when, data)}" for word, when in times if when is not None)
    by = f" by {escape(data.created_by)}" if data.created_by else ""
    return f'<h1>{escape(data.name)}{badges}</h1>\n<p class="note">{line.replace(" · ", f"{by} · ", 1)}</p>'


def _tiles(data: ReportData) -> str:
    accepted, delivered = data.count_state(State.ACCEPTED), _delivered(data)
    tiles = [
        (f"{data.rows:,}", "rows in the list"),
        (f"{data.count():,}", "messages"),
        (f"{accepted:,}", "accepted by the gateway"),
        (f"{delivered:,}", f"delivered{_share(delivered, accepted, ' of the accepted')}"),
        (f"{data.count_state(State.UNKNOWN):,}", "unknown: may have been sent"),
        (f"{data.spent:,.0f}", "roubles spent"),
    ]
    inside = "".join(f'<div class="tile"><b>{number}</b><span>{escape(word)}</span></div>' for number, word in tiles)
    return f'<div class="tiles">{inside}</div>'


def _timeline(data: ReportData) -> str:
    if data.series is None:
        return _section("Sent and delivered over time", "Nothing has left yet.", "")
    keys = [("sent", "sent"), ("delivered", "delivered, when that became known")]
    legend = "".join(f'<i class="dot" style="background: {COLOURS[key]}"></i>{word}' for key, word in keys)
    if data.window is not None:
        shaded = "the window is open" if len(data.zones()) <= 1 else "the window is open in one of its zones"
        legend += f'<i class="dot" style="background: #cfe8d2"></i>{shaded}'
    note = f"Local time of {escape(data.zone)}.{legend}"
    return _section("Sent and delivered over time", note, over_time(data, data.series))


def _funnel(data: ReportData) -> str:
    messages, accepted, delivered = data.count(), data.count_state(State.ACCEPTED), _delivered(data)
    left = data.count(where=_has_left)
    steps = [
        ("rows", data.rows, "", "planned"),
        ("messages", messages, _of(data.bad, "bad row") + _of(data.duplicates, "repeat"), "planned"),
        ("sent", left, _of(messages - left, "not sent"), "sent"),
        ("accepted", accepted, _lost_after_sending(data), "accepted"),
        ("delivered", delivered, _undelivered(data), "delivered"),
    ]
    rows = [
        (name, number, f"{number:,}{_share(number, data.rows)}{beside}", COLOURS[colour])
        for name, number, beside, colour in steps
    ]
    note = "From the rows of the list to delivered messages; beside each bar, what was lost on the way to it."
    return _section("From rows to delivered", note, bars(rows))


def _has_left(group: Group) -> bool:
    """The gateway may have seen them, whatever it said."""
    return group.state in {State.ACCEPTED, State.UNKNOWN} or (group.state == State.REFUSED and group.code is not None)


def _lost_after_sending(data: ReportData) -> str:
    refused = data.count(where=lambda group: group.state == State.REFUSED and group.code is not None)
    return _of(refused, "refused", many="refused") + _of(data.count_state(State.UNKNOWN), "unknown", many="unknown")


def _undelivered(data: ReportData) -> str:
    words: Counter[str] = Counter()
    for group in data.groups:
        if group.is_accepted and not group.is_delivered:
            words[_status(group.status)] += group.messages
    return "".join(_of(number, word, many=word) for word, number in words.most_common(2))


def _status(status: int | None) -> str:
    match status:
        case DeliveryStatus.NOT_DELIVERED:
            return "not delivered"
        case DeliveryStatus.UNKNOWN:
            return "unknown to the gateway"
        case _:
            return "on the way"


def _unsent(data: ReportData) -> str:
    reasons: Counter[tuple[str, str]] = Counter()
    for group in data.groups:
        if not group.is_accepted:
            reasons[group.state, why_of(group.state, group.reason, group.code)] += group.messages
    rows = [
        (f'<span class="nowrap">{_dot(state)}{_STATES[state]}</span>', escape(_why(state, why)), f"{number:,}")
        for (state, why), number in reasons.most_common(_MOST_REASONS)
    ]
    if more := len(reasons) - _MOST_REASONS:
        rest = reasons.total() - sum(number for _, number in reasons.most_common(_MOST_REASONS))
        rows += [("", f"and {more} more reasons", f"{rest:,}")] if more > 0 else []
    table = _table(("state", "why", "messages"), rows, texts=2) if rows else ""
    note = "Everything else was accepted." if rows else "Every message was accepted."
    return _section("What was not accepted, and why", note, table)


def _why(state: str, why: str) -> str:
    return "" if state in {State.PENDING, State.IN_FLIGHT} and why == NOT_SAID else why


def _cost(data: ReportData) -> str:
    waiting = data.count_state(State.PENDING) + data.count_state(State.IN_FLIGHT)
    unpriced = data.prices.get(None, 0)
    rows = [("planned by the estimate", _money(data.planned))] if data.planned is not None else []
    rows += [("budget", _money(data.budget))] if data.budget is not None else []
    rows.append(("spent: the price of accepted messages", _money(data.spent)))
    if unpriced:
        rows.append(("accepted, but the gateway named no price", f"{unpriced:,} messages"))
    unknown = data.count_state(State.UNKNOWN)
    if unknown:
        rows.append((f"open: {unknown:,} unknown, at the dearest price seen", _money(data.open)))
    if waiting:
        rows.append(("not sent yet", f"{waiting:,} messages"))
    parts = sum(group.parts for group in data.groups if group.is_accepted)
    rows.append(("SMS accepted, in parts", f"{parts:,}"))
    note = "Unknown messages may have been billed; they are settled when a proof or the vendor's bill says so."
    amounts = [("planned", data.planned), ("budget", data.budget), ("spent", data.spent), ("open", data.open or None)]
    colours = {"planned": "planned", "budget": "planned", "spent": "accepted", "open": "open"}
    drawn = [
        (name, int(amount * 100), _money(amount), COLOURS[colours[name]])
        for name, amount in amounts
        if amount is not None
    ]
    plot = bars(drawn, width=4.6) if len(drawn) > 1 else ""
    return _section("Cost", note, plot + _table(("", ""), [(escape(word), number) for word, number in rows], texts=1))


def _zones(data: ReportData) -> str:
    zones = data.zones()
    if len(zones) <= 1:
        return ""
    rows = []
    for zone, groups in list(zones.items())[:_MOST_ZONES]:
        accepted = _sum(groups, lambda group: group.is_accepted)
        delivered = _sum(groups, lambda group: group.is_delivered)
        unknown = _sum(groups, lambda group: group.state == State.UNKNOWN)
        total = _sum(groups, lambda _: True)
        share = _share(delivered, accepted).strip(" ()")
        rows.append((escape(zone), *(f"{number:,}" for number in (total, accepted, delivered)), share, f"{unknown:,}"))
    note = f"The {_MOST_ZONES} largest of {len(zones)}." if len(zones) > _MOST_ZONES else ""
    head = ("zone", "messages", "accepted", "delivered", "of the accepted", "unknown")
    return _section("By time zone", note, _table(head, rows, texts=1))


def _bad_rows(data: ReportData) -> str:
    if not data.bad_rows:
        return ""
    rows = [
        (escape(why_of(State.REFUSED, None, code)), f"{number:,}")
        for code, number in sorted(data.bad_rows.items(), key=lambda pair: -pair[1])
    ]
    note = "By the code with which the gateway would have refused them; the CSV report names their lines."
    return _section("Bad rows", note, _table(("why", "rows"), rows, texts=1))


def _settings(data: ReportData) -> str:
    window = data.window
    facts = [
        ("sender", data.sender or "each row's own, or the account's default"),
        ("window", "none" if window is None else f"{window.opens} to {window.closes}, {window.days}, {_where(data)}"),
    ]
    listed = "".join(f"<dt>{word}</dt><dd>{escape(said)}</dd>" for word, said in facts)
    text = (
        f"<blockquote>{escape(data.template)}</blockquote>"
        if data.template is not None
        else "<p>Each row has its own text.</p>"
    )
    return _section("What was sent", "", f"{text}<dl>{listed}</dl>")


def _where(data: ReportData) -> str:
    assert data.window is not None  # noqa: S101 - the caller has looked
    if data.window.column is not None:
        return f"in the zone of each row (column {data.window.column!r})"
    return f"time of {data.window.tz}"


def _orders(data: ReportData) -> str:
    if not data.orders:
        return ""
    rows = [
        (
            _time(order.at, data),
            escape(order.actor),
            escape(order.action),
            escape(order.why or ""),
            "" if order.count is None else f"{order.count:,}",
        )
        for order in data.orders[-_MOST_ORDERS:]
    ]
    note = f"The last {_MOST_ORDERS} of {len(data.orders):,}." if len(data.orders) > _MOST_ORDERS else ""
    return _section("Who ordered what", note, _table(("when", "who", "what", "why", "messages"), rows, texts=4))


def _foot(data: ReportData) -> str:
    return (
        f"<footer>Counted {_time(data.made_at, data)} ({escape(data.zone)}). Delivery by operator is not shown: "
        "numbers move between operators and keep their digits, so a prefix does not say whose they are.</footer>"
    )


# --- pieces ---------------------------------------------------------------------------------------


def _section(title: str, note: str, inside: str) -> str:
    said = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{title}</h2>{said}{inside}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int) -> str:
    """Return a table; its first columns are texts, aligned to the left."""
    kinds = [' class="text"' if number < texts else "" for number in range(len(head))]
    cells = "".join(f"<th{kind}>{word}</th>" for word, kind in zip(head, kinds, strict=True))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{cells}</tr>' if any(head) else ''}{lines}</table>"


def _dot(state: str) -> str:
    return f'<i class="dot" style="margin-left: 0; background: {COLOURS.get(state, COLOURS["planned"])}"></i>'


def _time(when: datetime, data: ReportData) -> str:
    return when.astimezone(zone_of(data.zone)).strftime("%Y-%m-%d %H:%M")


def _money(amount: Decimal | None) -> str:
    return "not known" if amount is None else f"{amount:,.2f} RUB"


def _share(part: int, whole: int, of: str = "") -> str:
    return f" ({100 * part / whole:.1f} %{of})" if whole else ""


def _of(number: int, one: str, *, many: str | None = None) -> str:
    words = one if number == 1 else many or (one if one.startswith("not") else f"{one}s")
    return f" · {number:,} {words}" if number > 0 else ""


def _delivered(data: ReportData) -> int:
    return data.count(where=lambda group: group.is_delivered)


def _sum(groups: Iterable[Group], where: Callable[[Group], bool]) -> int:
    return sum(group.messages for group in groups if where(group))
