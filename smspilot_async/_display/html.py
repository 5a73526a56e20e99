"""Display of answers in notebooks: HTML tables.

All data is escaped. Personal data is masked, unless requested. Only dots have colours, so that tables are readable on
dark and light pages; and text between dollar signs is not rendered as a formula.
"""

from __future__ import annotations

import html
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._display.colours import COLOURS
from smspilot_async._display.rows import to_dicts
from smspilot_async._sending.bulk import BulkRun, BulkStats
from smspilot_async.models import AccountInfo, Packet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smspilot_async._display.rows import Row

_PRIVATE: Final = frozenset({"to", "text", "sender", "phone", "num", "name", "email", "senders", "default_sender"})
_PHONES: Final = frozenset({"to", "phone"})
_MASK: Final = "•••"
_MOST_ROWS: Final = 20
_SHORTEST_PHONE: Final = 7
_UNITS: Final = {
    "price": "price, RUB",
    "balance": "balance, RUB",
    "parts": "parts, SMS",
    "created": "created, UTC",
    "send_at": "send at, UTC",
    "modified": "modified, zone not known",
    "date": "registered, zone not known",
    "error": "error code",
}
"""Headings that say in what a column is given."""
# MathJax, which notebooks run over every output, ignores these classes; an SMS may contain two dollar signs.
_PAGE: Final = '<div class="smspilot tex2jax_ignore mathjax_ignore">{}</div>'


def page(shown: Any, *, private: bool = False) -> str:
    """Return the HTML of an answer of this library, or of a list of answers.

    Args:
        shown: An answer, or answers of one kind.
        private: Whether phones, texts and names are shown.

    Raises:
        TypeError: It is none of these.
    """
    match shown:
        case BulkRun():
            body = _stats(shown.stats)
        case BulkStats():
            body = _stats(shown)
        case AccountInfo():
            body = _account(shown, private=private)
        case _:
            rows = to_dicts(shown)
            packet = _only_packet(rows)
            body = _line(*_summary(shown, rows, packet)) + _rows(rows, private=private, hidden=_repeated(rows, packet))
    return _PAGE.format(body)


# --- the kinds -----------------------------------------------------------------------------------


def _only_packet(rows: Sequence[Row]) -> str | None:
    """Return the packet that all rows are of, if it is one."""
    packets = {row.get("server_packet_id") for row in rows}
    return packets.pop() if len(packets) == 1 else None


def _repeated(rows: Sequence[Row], packet: str | None) -> frozenset[str]:
    """Return columns that say in every row what another one, or the line above, says already."""
    hidden = {"status"}  # the column "state" has it in words
    if packet is not None:
        hidden.add("server_packet_id")
    if all("outcome" in row and not _has_moved_on(row) for row in rows):
        hidden.add("state")
    if all(str(row["error"]) in (row.get("failure") or "") for row in rows if row.get("error")):
        hidden.add("error")
    return frozenset(hidden)


def _has_moved_on(row: Row) -> bool:
    """Return whether a state says more than the outcome: of what was not accepted it never does."""
    return row["outcome"] == "accepted" and row["state"] not in {None, "accepted"}


def _summary(shown: Any, rows: Sequence[Row], packet: str | None) -> Iterable[str]:
    if packet is None and isinstance(shown, Packet):
        packet = shown.server_packet_id
    if packet is not None:
        yield f"packet {packet}"
    words = Counter(map(_word, rows))
    yield from (f"{count:,} {word}" for word, count in words.most_common()) if rows else ("nothing",)
    if isinstance(shown, Packet):
        money = {"cost": shown.cost, "balance": shown.balance}
        yield from (f"{name} {value:f} RUB" for name, value in money.items() if value is not None)


def _word(row: Row) -> str:
    if "outcome" in row:
        return str(row["outcome"]).replace("_", " ")
    return (row["state"] or "not known") if "state" in row else "received"


def _account(info: AccountInfo, *, private: bool) -> str:
    facts = attrs.asdict(info, filter=lambda field, _: field.name != "extra")
    facts["senders"] = ", ".join(info.senders) or None
    rows = [(name, value) for name, value in facts.items() if value is not None]
    return _table(_head(name, "left") + _cell(name, value, private=private) for name, value in rows)


def _stats(stats: BulkStats) -> str:
    figures = {
        "read": stats.read,
        "accepted": stats.accepted,
        "refused": stats.refused,
        "unknown": stats.unknown,
        "not_sent": stats.not_sent,
        "waiting": stats.waiting,
        "parts": stats.parts,
        "cost, RUB": stats.cost,
        "balance": stats.balance,
        "messages/s": round(stats.rate),
        "time, h:mm:ss": _duration(stats.seconds),
        "left, h:mm:ss": None if stats.eta is None else _duration(stats.eta),
    }
    return _progress(stats) + _rows([figures], private=False)


def _progress(stats: BulkStats) -> str:
    if stats.total is None:
        return _line(f"{stats.done:,} done")
    bar = f'<progress max="{stats.total}" value="{stats.done}" style="width: 20em"></progress>'
    return f"<div>{bar} {stats.done:,} of {stats.total:,}</div>"


# --- tables --------------------------------------------------------------------------------------


def _rows(rows: Sequence[Row], *, private: bool, hidden: frozenset[str] = frozenset()) -> str:
    if len(rows) <= _MOST_ROWS:
        return _grid(rows, hidden, private=private)
    # Among many rows, those that were not accepted are of interest.
    first = sorted(rows, key=lambda row: row.get("outcome", "accepted") == "accepted")[:_MOST_ROWS]
    return _grid(first, hidden, private=private) + _line(f"… and {len(rows) - _MOST_ROWS:,} more")


def _grid(rows: Sequence[Row], hidden: frozenset[str], *, private: bool) -> str:
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in hidden]
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns = {name: values for name, values in columns.items() if _has_content(name, values)}
    if not columns:
        return ""
    head = "".join(_head(name, _align(*values)) for name, values in columns.items())
    cells = [[_cell(name, value, private=private) for value in values] for name, values in columns.items()]
    return _table([head, *map("".join, zip(*cells, strict=True))])


def _has_content(name: str, values: Sequence[Any]) -> bool:
    return any(values) if name == "error" else any(value not in {None, ""} for value in values)


def _table(rows: Iterable[str]) -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table style="color: inherit">{body}</table>'  # some pages' own style supports only a light theme


def _head(name: str, align: str) -> str:
    return f'<th style="text-align: {align}">{_UNITS.get(name) or name.replace("_", " ")}</th>'


def _cell(name: str, value: Any, *, private: bool) -> str:
    text = _masked(name, value) if name in _PRIVATE and not private else _plain(value)
    dot = ""
    if name in {"outcome", "state"}:
        text = text.replace("_", " ")
        dot = f'<span style="color: {COLOURS[value]}">●</span> ' if value in COLOURS else ""
    return f'<td style="text-align: {_align(value)}; white-space: pre-wrap">{dot}{_escape(text)}</td>'


def _align(*values: Any) -> str:
    return "right" if any(isinstance(value, (int, Decimal)) for value in values) else "left"


def _masked(name: str, value: Any) -> str:
    """Mask personal data; a phone's last two digits stay, to distinguish rows."""
    if value in {None, ""}:
        return ""
    return _MASK + (value[-2:] if name in _PHONES and len(value) >= _SHORTEST_PHONE else "")


def _plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.replace(tzinfo=None).isoformat(" ", "seconds")  # the heading says which zone it is
    return str(value)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _line(*words: str) -> str:
    return f"<div>{_escape(', '.join(words))}</div>"


def _escape(text: str) -> str:
    return html.escape(text).encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair cannot be displayed
