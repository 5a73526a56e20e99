"""The commands of ``smspilot outbox`` that keep the books of a ledger: adopt, settle, reconcile and so on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from smspilot_async.cli import _bookkeeping, _options
from smspilot_async.cli._commands import Commands
from smspilot_async.cli._options import exit_with, moment_of
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from datetime import tzinfo

    from smspilot_async.outbox import SettleAs

_why = click.option("--why", metavar="TEXT", help="For the log.")
_expect = click.option(
    "--expect",
    type=click.IntRange(0),
    metavar="N",
    help="How many messages that are: nothing is done to any other number. Without it, it says how many they are.",
)
_NOW = "now"


@click.group(cls=Commands)
def books() -> None:
    """Keep the books of a ledger."""


@books.command("adopt", short_help="Take over a ledger that was restored, copied or moved.")
@click.option(
    "--restored-to",
    "written",
    required=True,
    metavar="TIME",
    help="From when its contents are: 2026-11-28 03:00 +03:00; or now, if it was only moved, and has lost nothing.",
)
@_options.time_zone
@_why
@_options.actor
@_options.ledger
@_options.as_json
def adopt(
    *, written: str, zone: tzinfo | None, why: str | None, actor: str | None, ledger: str | None, as_json: bool
) -> None:
    """Take over a ledger that was restored, copied or moved; until then nothing is sent from it.

    It has forgotten what was sent since its backup. What may have been sent since TIME becomes unknown: it is not sent
    again until it is settled or retried by an order. Make sure that nothing sends from the original any more.
    """
    restored_to = None if written == _NOW else moment_of(written, zone, "--restored-to")
    exit_with(_bookkeeping.adopt(ledger, restored_to, actor=actor, why=why, as_json=as_json))


@books.command("settle", short_help="Settle unknown messages of the outbox.")
@click.argument("as_", metavar="AS", type=click.Choice(["assume_sent", "proven_duplicate", Outcome.NOT_SENT.value]))
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@_expect
@_why
@_options.actor
@_options.ledger
@_options.as_json
def settle(
    *,
    as_: SettleAs,
    keys: tuple[str, ...],
    expect: int | None,
    why: str | None,
    actor: str | None,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Settle unknown messages of the outbox as assume_sent, proven_duplicate or not_sent. Nothing is sent.

    Without keys, all that are unknown and not settled. A proof that one was accepted still wins afterwards.
    """
    exit_with(_bookkeeping.settle(ledger, as_, keys, expect=expect, actor=actor, why=why, as_json=as_json))


@books.command("reconcile", short_help="Clear up unknown messages by the vendor's list.")
@click.argument("file", type=click.Path(path_type=Path))
@_expect
@_options.actor
@_options.ledger
@_options.as_json
def reconcile(*, file: Path, expect: int | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Mark unknown messages as accepted that are in the vendor's own list, a CSV file exported from the cabinet.

    A row counts if it can mean one message and no other. The rest stays unknown and is listed.
    """
    exit_with(_bookkeeping.reconcile(ledger, file, expect=expect, actor=actor, as_json=as_json))


@books.command("forget", short_help="Erase a phone and its texts.")
@click.argument("phone")
@_options.actor
@_options.ledger
@_options.as_json
def forget(*, phone: str, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Erase a phone, and the texts of its messages, from a ledger; messages that were not sent yet are cancelled.

    Counts, prices and hashes stay, and so does its suppression.
    """
    exit_with(_bookkeeping.forget(ledger, phone, actor=actor, as_json=as_json))


@books.command("evidence", short_help="Print everything that a ledger knows of a phone.")
@click.argument("phone")
@_options.ledger
@_options.as_json
def evidence(*, phone: str, ledger: str | None, as_json: bool) -> None:
    """Print everything that a ledger knows of a phone: messages, requests, orders and suppressions."""
    exit_with(_bookkeeping.evidence(ledger, phone, as_json=as_json))


@books.command("purge", short_help="Remove old messages.")
@click.argument("written", metavar="BEFORE")
@_options.time_zone
@_options.actor
@_options.ledger
@_options.as_json
def purge(*, written: str, zone: tzinfo | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Remove messages that were settled before a time, at least 41 days ago. Unknown ones and used keys stay."""
    before = moment_of(written, zone, "BEFORE")
    assert before is not None  # noqa: S101 - the argument is required
    exit_with(_bookkeeping.purge(ledger, before, actor=actor, as_json=as_json))


@books.command("statement", short_help="Print what a month's messages cost.")
@click.option("--month", required=True, metavar="MONTH", help="Such as 2026-11, by Moscow time.")
@_options.ledger
@_options.as_json
def statement(*, month: str, ledger: str | None, as_json: bool) -> None:
    """Print what a month's messages cost, by kind, campaign and sender, and how many of them are unknown."""
    exit_with(_bookkeeping.statement(ledger, month, as_json=as_json))


@books.command("log", short_help="Print the last orders.")
@click.option("--since", "written", metavar="TIME", help="Only those since then: 2026-11-28 03:00 +03:00.")
@_options.time_zone
@click.option("--limit", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="At most so many.")
@_options.ledger
@_options.as_json
def log(*, written: str | None, zone: tzinfo | None, limit: int, ledger: str | None, as_json: bool) -> None:
    """Print the last orders, the newest first: who ordered what, of how many messages, when and why.

    With --json, an object per line.
    """
    exit_with(_bookkeeping.log(ledger, limit, moment_of(written, zone, "--since"), as_json=as_json))
