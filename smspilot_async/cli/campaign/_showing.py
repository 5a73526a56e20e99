"""What ``smspilot campaign`` shows: previews, estimates, states, rows. Nothing here sends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._language import label, said, word
from smspilot_async.cli._outbox import actor_of, with_outbox
from smspilot_async.cli._output import count, money, print_facts, print_json, print_line, print_table, print_verbatim
from smspilot_async.errors import ERROR_CODES, Outcome
from smspilot_async.models import status_word

if TYPE_CHECKING:
    from decimal import Decimal

    from smspilot_async import Client
    from smspilot_async.outbox import (
        CampaignInfo,
        CampaignMessage,
        Estimate,
        Outbox,
        Preview,
        PreviewRow,
        Progress,
    )

_MIXED_SHOWN: Final = 5
_REASONS: Final = {
    "first": "the first wave is out",
    "budget": "it is used up",
    "window": "no message can arrive before it closes",
}
_WIDTHS: Final = (7, 12, 9, 22, 12, 5, 7, 0)  # of the columns of a list of messages


def info_as_json(info: CampaignInfo) -> dict[str, Any]:
    """Return a campaign as JSON data."""
    return {**attrs.asdict(info, recurse=False), "settings": attrs.asdict(info.settings)}


def progress_as_json(progress: Progress) -> dict[str, Any]:
    """Return how far a campaign is as JSON data."""
    return {
        "campaign": progress.name,
        "state": progress.state,
        "reason": progress.reason,
        "messages": progress.messages,
        "spent": progress.spent,
        "per_second": round(progress.per_second, 1),
        "at": progress.at,
    }


# --- before it is sent ---------------------------------------------------------------------------


def preview(ledger: str | None, name: str, *, rows: int, as_json: bool) -> int:
    """Show some messages as people would get them."""

    async def look(outbox: Outbox) -> Preview:
        return await (await outbox.campaigns.get(name)).preview(rows=rows)

    found = with_outbox(ledger, look)
    if as_json:
        print_json(attrs.asdict(found))
        return Exit.FINE
    print_table(("line", "to", "parts", "text"), map(_cells, found.rows), right=("line", "parts"))
    print_line()
    longest = found.longest
    print_facts(
        {
            "longest": longest and f"line {longest.line}, {count(longest.parts, 'part')}: {longest.text}",
            "further parts": _further(found),
            "Latin letters in Cyrillic words": _mixed(found) if found.mixed else None,
        }
    )
    print_line(f"Nothing was sent. One to your own phone: smspilot campaign test {name} --to PHONE")
    print_line(f"What all of it would cost: smspilot campaign estimate {name}")
    return Exit.FINE


def _cells(row: PreviewRow) -> tuple[object, ...]:
    return row.line, row.to, row.parts, row.text


def _further(found: Preview) -> str:
    if not found.long_messages:
        return "none: every message is one SMS"
    price = "" if found.further_price is None else f", {money(found.further_price)}"
    return f"{count(found.further_parts, 'SMS', 'SMS')} beyond the first of {found.long_messages:,} messages{price}"


def _mixed(found: Preview) -> str:
    shown = "; ".join(f"line {line}: {', '.join(words)}" for line, words in found.mixed[:_MIXED_SHOWN])
    return f"{shown}{' …' if len(found.mixed) > _MIXED_SHOWN else ''}: the gateway refuses them (248)"


def estimate(
    ledger: str | None, name: str, client: Client, *, rate: float | None, actor: str | None, as_json: bool
) -> int:
    """Show what a campaign would do."""

    async def ask(outbox: Outbox) -> tuple[Estimate, Decimal | None]:
        async with client:
            campaign = await outbox.campaigns.get(name)
            found = await campaign.estimate(client, rate=rate, actor=actor_of(actor))
            return found, (await campaign.info()).budget

    found, budget = with_outbox(ledger, ask)
    if as_json:
        print_json(attrs.asdict(found))
        return Exit.FINE
    print_facts(
        {
            "rows": f"{found.rows:,}",
            "messages": f"{found.messages:,}; {count(found.bad, 'bad row')}, {found.duplicates:,} repeated",
            "bad rows": "; ".join(f"line {line}: {why}" for line, why in found.bad_rows) or None,
            "reached lately": f"{found.overlap:,} by campaigns of the last 14 days" if found.overlap else "none",
            "suppressed": f"{found.suppressed:,}, not sent" if found.suppressed else "none",
            "248": f"{found.mixed:,} with Latin letters in a Cyrillic word" if found.mixed else None,
            "parts": f"{found.parts:,} SMS",
            "price": money(found.price) if found.price_error is None else f"not known: {found.price_error}",
            "budget": None if budget is None else f"{money(budget)}{_short(budget, found.price)}",
            "balance": None if found.balance is None else f"{money(found.balance)}{_short(found.balance, found.price)}",
            "fits": _fits(found),
            "ends": None if found.ends_at is None else f"{found.ends_at:%Y-%m-%d %H:%M} UTC, if started now",
        }
    )
    print_line(f"Nothing was sent. If this is right: smspilot campaign approve {name}")
    return Exit.FINE


def _short(roubles: Decimal, price: Decimal | None) -> str:
    return ": less than the price, so it pauses before all are sent" if price is not None and roubles < price else ""


def _fits(found: Estimate) -> str:
    if found.fits is None:
        return "not known without a rate: give --rate"
    if found.fits >= found.messages:
        return "all of them"
    return f"{found.fits:,} of {found.messages:,}: the rest would expire"


# --- while it is sent, and after -----------------------------------------------------------------


def status(ledger: str | None, name: str, *, as_json: bool) -> int:
    """Show the state of a campaign."""

    async def look(outbox: Outbox) -> tuple[CampaignInfo, Progress]:
        campaign = await outbox.campaigns.get(name)
        return await campaign.info(), await campaign.status()

    info, progress = with_outbox(ledger, look)
    if as_json:
        print_json({**progress_as_json(progress), "rows": info.rows, "bad": info.bad, "duplicates": info.duplicates})
        return Exit.FINE
    print_facts(
        {
            "campaign": name,
            "state": stands(progress),
            **{state.replace("_", " "): f"{number:,}" for state, number in progress.messages.items()},
            "bad rows": f"{info.bad:,}" if info.bad else None,
            "repeated": f"{info.duplicates:,}" if info.duplicates else None,
            "spent": money(progress.spent) if progress.spent else None,
            "budget": None if info.budget is None else money(info.budget),
        }
    )
    if unknown := progress.messages[Outcome.UNKNOWN]:
        print_line(
            f"{count(unknown, 'message')} may have been sent: smspilot campaign messages {name} --outcome unknown"
        )
    return Exit.FINE


def stands(progress: Progress) -> str:
    """Return a campaign's state in words."""
    if not progress.reason:
        return progress.state
    why = _REASONS.get(progress.reason)
    code = progress.reason.removeprefix("fault ")
    if code != progress.reason and code.isdecimal() and int(code) in ERROR_CODES:
        why = ERROR_CODES[int(code)].text
    return f"{progress.state}: {progress.reason}{f' ({why})' if why else ''}"


def messages(ledger: str | None, name: str, *, outcome: str | None, as_json: bool) -> int:
    """List the rows of a campaign."""

    async def listed(outbox: Outbox) -> None:
        campaign = await outbox.campaigns.get(name)
        if not as_json:
            print_verbatim(
                _columns(*map(label, ("line", "to", "state", "why", "server id", "parts", "price", "status")))
            )
        async for row in campaign.messages(outcome=outcome):
            print_json(_row_as_json(row)) if as_json else print_verbatim(_line(row))

    with_outbox(ledger, listed)
    return Exit.FINE


def _line(row: CampaignMessage) -> str:
    why = row.why or row.reason or ("" if row.code is None else f"code {row.code}")
    state, status = word(row.state.replace("_", " ")), word(status_word(row.status))
    return _columns(row.line, row.to, state, said(why), row.server_id, row.parts, said(str(row.price or "")), status)


def _columns(*cells: object) -> str:
    """Return cells one below the other, as far as they fit: the rows of a list are printed as they are read."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    padded = [
        texts[0].rjust(_WIDTHS[0]),
        *(text.ljust(width) for text, width in zip(texts[1:], _WIDTHS[1:], strict=True)),
    ]
    return "  ".join(padded).rstrip()


def _row_as_json(row: CampaignMessage) -> dict[str, Any]:
    fields = attrs.asdict(row) | {"outcome": None if row.outcome is None else row.outcome.value}
    return fields | {"extra": None if row.extra is None else json.loads(row.extra)}


def campaigns(ledger: str | None, *, as_json: bool) -> int:
    """List the campaigns of a ledger."""
    found = with_outbox(ledger, lambda outbox: outbox.campaigns.list())
    if as_json:
        print_json([info_as_json(info) for info in found])
    elif not found:
        print_line("There are no campaigns. Make one: smspilot campaign create NAME FILE")
    else:
        rows = [(one.name, one.state, one.reason, f"{one.messages:,}", f"{one.created_at:%Y-%m-%d}") for one in found]
        print_table(("name", "state", "reason", "messages", "made"), rows, right=("messages",))
    return Exit.FINE


# --- after it ------------------------------------------------------------------------------------


def report(ledger: str | None, name: str, path: str, *, phones: bool, as_json: bool) -> int:
    """Write a campaign's report."""

    async def write(outbox: Outbox) -> None:
        await (await outbox.campaigns.get(name)).report(path, phones=phones)

    try:
        with_outbox(ledger, write)
    except OSError as wrong:
        raise Problem(f"the report cannot be written to {path}: {wrong.strerror or wrong}.", Exit.FAILED) from None
    if as_json:
        print_json({"campaign": name, "report": path})
    else:
        print_line(f"The report is in {path}.")
    return Exit.FINE
