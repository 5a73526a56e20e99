"""``smspilot campaign create``: a file, a query or another campaign imported as a draft."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._language import word
from smspilot_async.cli._outbox import actor_of, with_outbox
from smspilot_async.cli._output import note, print_facts, print_json, print_line, print_table
from smspilot_async.cli.campaign._showing import info_as_json
from smspilot_async.cli.campaign._window import WindowOptions
from smspilot_async.text import Country

if TYPE_CHECKING:
    from smspilot_async.outbox import CampaignInfo, ListRows, Outbox, SendingWindow, UnknownPolicy

__all__ = ["CreateOptions", "create"]

_BAD_SHOWN: Final = 20
_A_LINE_EACH: Final = 10.0  # seconds


@attrs.frozen(kw_only=True)
class CreateOptions:
    """The options of the command."""

    name: str
    file: str | None
    template: str | None
    sender: str | None
    columns: Mapping[str, str]
    encoding: str | None
    sql: str | None
    database: str | None
    from_: str | None
    select: str
    country: Country | None
    hours: WindowOptions
    starts_at: datetime | None
    expires_at: datetime | None
    budget: Decimal | None
    max_parts: int
    rate_limit: float | None
    unique: Literal["phone", "text", "none"]
    kind: Literal["marketing", "service"]
    unknown: Literal["hold", "assume_sent", "resend", "probe"]
    dup_window: float | None
    actor: str | None
    ledger: str | None
    as_json: bool


def create(options: CreateOptions) -> int:
    """Import a list."""
    _check_source(options)
    try:
        rows, window = None if options.from_ else _rows(options), options.hours.make()
    except (ImportError, ValueError) as wrong:
        is_unnamed = getattr(wrong, "missing", None) == "to"
        hint = " Say which one holds the phones: --map to=COLUMN." if is_unnamed else ""
        raise Problem(f"{str(wrong).removesuffix('.')}. Nothing was sent.{hint}") from None
    made, bad = with_outbox(options.ledger, lambda outbox: _create_noting(outbox, options, rows, window))
    if options.as_json:
        print_json(info_as_json(made))
        return Exit.FINE
    print_facts(
        {
            "campaign": f"{made.name}, {word(made.state)}",
            "rows": f"{made.rows:,}",
            "messages": f"{made.messages:,}",
            "bad rows": f"{made.bad:,}" if made.bad else "none",
            "repeated": f"{made.duplicates:,} dropped" if made.duplicates else "none",
        }
    )
    if bad:
        print_line()
        print_table(("line", "bad row, not sent"), bad, right=("line",))
        if made.bad > len(bad):
            print_line(
                f"... and {made.bad - len(bad):,} more: smspilot campaign messages {made.name} --outcome invalid"
            )
    print_line(f"Nothing was sent. Look at it: smspilot campaign preview {made.name}")
    return Exit.FINE


def _check_source(options: CreateOptions) -> None:
    sources = [options.file, options.sql, options.from_]
    if sum(source is not None for source in sources) != 1:
        raise Problem("give one list: a FILE, a query with --sql, or another campaign with --from. Nothing was sent.")
    if (options.sql is None) != (options.database is None):
        raise Problem("--sql needs --database, and the other way round. Nothing was sent.")


async def _create_noting(
    outbox: Outbox, options: CreateOptions, rows: ListRows | None, window: SendingWindow | None
) -> tuple[CampaignInfo, list[tuple[int, str | None]]]:
    """Import, and say from time to time how far that is."""
    noting = asyncio.ensure_future(_note_rows(outbox, options.name))
    try:
        return await _create(outbox, options, rows, window)
    finally:
        noting.cancel()
        await asyncio.wait({noting})


async def _note_rows(outbox: Outbox, name: str) -> None:
    while True:
        await asyncio.sleep(_A_LINE_EACH)
        for info in await outbox.campaigns.list():
            if (info.name, info.state) == (name, "importing"):
                note(f"{info.rows:,} rows imported")


async def _create(
    outbox: Outbox, options: CreateOptions, rows: ListRows | None, window: SendingWindow | None
) -> tuple[CampaignInfo, list[tuple[int, str | None]]]:
    source: dict[str, Any] = {"from_": options.from_, "select": options.select} if options.from_ else {}
    campaign = await outbox.campaigns.create(
        options.name,
        rows,
        template=options.template,
        sender=options.sender,
        country=options.country,
        window=window,
        starts_at=options.starts_at,
        expires_at=options.expires_at,
        budget=options.budget,
        max_parts=options.max_parts,
        rate_limit=options.rate_limit,
        unique=None if options.unique == "none" else options.unique,
        kind=options.kind,
        unknown=_policy(options),
        actor=actor_of(options.actor),
        **source,
    )
    bad = []
    async for row in campaign.messages(outcome="invalid"):
        bad.append((row.line, row.why))
        if len(bad) == _BAD_SHOWN:
            break
    return await campaign.info(), bad


def _rows(options: CreateOptions) -> ListRows:
    from smspilot_async.outbox import read_rows, sql_rows  # noqa: PLC0415 - an extra

    if options.sql is not None and options.database is not None:
        return sql_rows(options.database, options.sql, map=options.columns)
    more = {} if options.encoding is None else {"encoding": options.encoding}
    return read_rows(options.file or "", map=options.columns, **more)


def _policy(options: CreateOptions) -> UnknownPolicy:
    from smspilot_async.outbox import AssumeSent, Hold, Probe, Resend  # noqa: PLC0415 - an extra

    if options.unknown == "probe":
        if options.dup_window is None:
            raise Problem("--unknown probe needs --dup-window, the account's loop protection. Nothing was sent.")
        return Probe(options.dup_window)
    return {"hold": Hold, "assume_sent": AssumeSent, "resend": Resend}[options.unknown]()
