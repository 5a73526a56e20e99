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
_FINE, _BAD, _UNCERTAIN = "#2a9d55", "#d64545", "#b87a00"
_DOTS: Final = {
    "accepted": _FINE,
    "delivered": _FINE,
    "refused": _BAD,
    "not delivered": _BAD,
    "unknown": _UNCERTAIN,
    "not_sent": _UNCERTAIN,
}
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
            body = _line(*_summary(shown, rows)) + _rows(rows, private=private)
    return _PAGE.format(body)


# --- the kinds -----------------------------------------------------------------------------------


def _summary(shown: Any, rows: Sequence[Row]) -> Iterable[str]:
    if isinstance(shown, Packet) and shown.server_packet_id is not None:
        yield f"packet {shown.server_packet_id}"
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
        "messages/s": round(stats.rate),
        "time": _duration(stats.seconds),
        "left": None if stats.eta is None else _duration(stats.eta),
    }
    return _progress(stats) + _rows([figures], private=False)


def _progress(stats: BulkStats) -> str:
    if stats.total is None:
        return _line(f"{stats.done:,} done")
    bar = f'<progress max="{stats.total}" value="{stats.done}" style="width: 20em"></progress>'
    return f"<div>{bar} {stats.done:,} of {stats.total:,}</div>"


# --- tables --------------------------------------------------------------------------------------


def _rows(rows: Sequence[Row], *, private: bool) -> str:
    if len(rows) <= _MOST_ROWS:
        return _grid(rows, private=private)
    # Among many rows, those that were not accepted are of interest.
    first = sorted(rows, key=lambda row: row.get("outcome", "accepted") == "accepted")[:_MOST_ROWS]
    return _grid(first, private=private) + _line(f"… and {len(rows) - _MOST_ROWS:,} more")


def _grid(rows: Sequence[Row], *, private: bool) -> str:
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    columns = {name: values for name, values in columns.items() if _has_content(name, values)}
    if not columns:
        return ""
    head = "".join(_head(name, _align(*values)) for name, values in columns.items())
    cells = [[_cell(name, value, private=private) for value in values] for name, values in columns.items()]
    return _table([head, *map("".join, zip(*cells, strict=True))])


def _has_content(name: str, values: Sequence[Any]) -> bool:
    if name == "status":  # the column "state" has it in words
        return False
    return any(values) if name == "error" else any(value not in {None, ""} for value in values)


def _table(rows: Iterable[str]) -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table style="color: inherit">{body}</table>'  # some pages' own style supports only a light theme


def _head(name: str, align: str) -> str:
    return f'<th style="text-align: {align}">{name.replace("_", " ")}</th>'


def _cell(name: str, value: Any, *, private: bool) -> str:
    text = _masked(name, value) if name in _PRIVATE and not private else _plain(value)
    dot = ""
    if name in {"outcome", "state"}:
        text = text.replace("_", " ")
        dot = f'<span style="color: {_DOTS[value]}">●</span> ' if value in _DOTS else ""
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
            return value.isoformat(" ", "seconds")
    return str(value)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _line(*words: str) -> str:
    return f"<div>{_escape(', '.join(words))}</div>"


def _escape(text: str) -> str:
    return html.escape(text).encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair cannot be displayed
