"""``smspilot outbox adopt|settle|reconcile|forget|evidence|purge|statement|log``: the books of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._language import label, said, word
from smspilot_async.cli._outbox import actor_of, with_outbox
from smspilot_async.cli._output import count, lines_as_ranges, note, print_facts, print_json, print_line, print_verbatim
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from smspilot_async.outbox import Order, Outbox, Reconciled, SettleAs, Statement, StatementRow

_AT_MOST_SHOWN = 20


def adopt(
    ledger: str | None, restored_to: datetime | None, *, actor: str | None, why: str | None, as_json: bool
) -> int:
    """Take over a ledger that was restored, copied or moved."""
    adopted = with_outbox(ledger, lambda outbox: outbox.adopt(restored_to=restored_to, actor=actor_of(actor), why=why))
    if as_json:
        print_json({Outcome.UNKNOWN: adopted.unknown})
    elif restored_to is None:
        print_line("The ledger was adopted where it is now. Nothing of it was lost, and it is sent from again.")
    else:
        print_line(
            f"The ledger was adopted. {count(adopted.unknown, 'message')} may have left since then: unknown now, and "
            "not sent again. Everything else is sent as usual."
        )
    return Exit.FINE


def settle(
    ledger: str | None,
    as_: SettleAs,
    keys: Sequence[str],
    *,
    expect: int | None,
    actor: str | None,
    why: str | None,
    as_json: bool,
) -> int:
    """Settle unknown messages of the outbox; without a count, say how many they are."""
    chosen = list(keys) or None
    if expect is None:
        found = with_outbox(ledger, lambda outbox: outbox.count_unsettled(chosen))
        if as_json:
            print_json({"unsettled": found})
        else:
            print_line(f"{count(found, 'unknown message')} would be settled. To do it: --expect {found}")
        return Exit.FINE
    settled = with_outbox(
        ledger, lambda outbox: outbox.settle(chosen, as_=as_, expect=expect, actor=actor_of(actor), why=why)
    )
    if as_json:
        print_json({"settled": settled, "as": as_})
    else:
        print_line(f"{count(settled, 'message')} settled as {as_.replace('_', ' ')}.")
    return Exit.FINE


def reconcile(ledger: str | None, file: Path, *, expect: int | None, actor: str | None, as_json: bool) -> int:
    """Make accepted what the vendor's list proves; without a count, say what it proves.

    Raises:
        Problem: The file cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror}.") from None
    found = with_outbox(ledger, lambda outbox: outbox.reconcile(content, expect=expect, actor=actor_of(actor)))
    if as_json:
        print_json(attrs.asdict(found))
    else:
        _show_reconciled(found, is_done=expect is not None)
    return Exit.FINE


def _show_reconciled(found: Reconciled, *, is_done: bool) -> None:
    print_facts(
        {
            Outcome.ACCEPTED if is_done else "proven accepted": len(found.accepted),
            "ambiguous": _listed(found.ambiguous),
            "not in the list": _listed(found.missing),
            "lines not read": _listed(found.unread),
        }
    )
    for why in dict.fromkeys(found.unread_why.values()):
        print_line(f"- {why}: lines {lines_as_ranges(line for line, said in found.unread_why.items() if said == why)}")
    if not is_done:
        print_line(f"Nothing was changed. To do it: --expect {len(found.accepted)}")


def _listed(numbers: Any) -> str:
    chosen = [str(number) for number in numbers]
    more = f", and {len(chosen) - _AT_MOST_SHOWN} more" if len(chosen) > _AT_MOST_SHOWN else ""
    return f"{len(chosen)} ({', '.join(chosen[:_AT_MOST_SHOWN])}{more})" if chosen else "0"


def forget(ledger: str | None, phone: str, *, actor: str | None, as_json: bool) -> int:
    """Erase a phone and its texts."""
    forgotten = with_outbox(ledger, lambda outbox: outbox.forget(phone, actor=actor_of(actor)))
    if as_json:
        print_json(attrs.asdict(forgotten))
    else:
        print_line(
            f"The phone was erased from {count(forgotten.messages, 'message')}, {forgotten.cancelled} of which had not "
            "left and are cancelled."
        )
    if forgotten.in_flight:
        note(f"{count(forgotten.in_flight, 'message')} in flight: give the same command again in a few minutes.")
    return Exit.FINE


def evidence(ledger: str | None, phone: str, *, as_json: bool) -> int:
    """Print everything that the ledger knows of a phone."""
    found = with_outbox(ledger, lambda outbox: outbox.evidence(phone))
    if as_json:
        print_json(found.to_json())
    else:
        for line in str(found).split("\n"):
            print_verbatim(line)
    return Exit.FINE


def purge(ledger: str | None, before: datetime, *, actor: str | None, as_json: bool) -> int:
    """Remove what was settled before a moment."""
    purged = with_outbox(ledger, lambda outbox: outbox.purge(before, actor=actor_of(actor)))
    if as_json:
        print_json(attrs.asdict(purged))
    else:
        print_line(f"{count(purged.messages, 'message')} and {count(purged.attempts, 'request')} removed.")
    return Exit.FINE


def statement(ledger: str | None, month: str, *, as_json: bool) -> int:
    """Print what a month's messages cost."""
    found = with_outbox(ledger, lambda outbox: outbox.statement(month))
    if as_json:
        print_json(found.to_json())
    else:
        _show_statement(found)
    return Exit.FINE


def _show_statement(found: Statement) -> None:
    header = ("kind", "campaign", "sender", *(Outcome.ACCEPTED, "parts", "roubles", Outcome.REFUSED, Outcome.UNKNOWN))
    table = [tuple(map(label, header)), *map(_cells, found.rows), (label("total"), *_cells(found.total)[1:])]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.ljust(width) if column < 3 else cell.rjust(width)  # noqa: PLR2004 - words left, numbers right
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print_verbatim("  ".join(cells).rstrip())
    total = found.total
    if total.unknown:
        note(f"{count(total.unknown, 'message')} unknown: they may have been sent, and may have cost something.")
    if total.without_price:
        note(f"{count(total.without_price, 'accepted message')} without a price: proven by a callback or by a list.")
    if total.sent_twice:
        note(f"{count(total.sent_twice, 'message')} sent twice: the second price is not in the sum.")


def _cells(row: StatementRow) -> tuple[str, ...]:
    numbers = (row.accepted, row.parts, row.cost, row.refused, row.unknown)
    return (word(row.kind), row.campaign, row.sender, *(said(str(number)) for number in numbers))


def log(ledger: str | None, limit: int, since: datetime | None, *, as_json: bool) -> int:
    """Print the last orders, the newest first."""

    async def read(outbox: Outbox) -> list[Order]:
        return await outbox.log(limit, since=since)

    orders = with_outbox(ledger, read)
    if as_json:
        for order in orders:
            print_json({**attrs.asdict(order), "at": order.at.isoformat()})
        return Exit.FINE
    for order in orders:
        words = (order.action, order.campaign, order.detail)
        what = " ".join(word for word in words if word is not None)
        counted = "phone" if order.action == "opt_out" else "message"
        number = "" if order.count is None else f", {count(order.count, counted)}"
        why = "" if order.why is None else f": {order.why}"
        print_verbatim(f"{order.at:%Y-%m-%d %H:%M:%S} UTC  {order.actor}  {what}{said(number)}{why}")
    return Exit.FINE
