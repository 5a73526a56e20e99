"""The commands of ``smspilot campaign``, one thin function each: parse the options, and hand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from smspilot_async.cli import _options
from smspilot_async.cli._commands import Commands
from smspilot_async.cli._options import exit_with
from smspilot_async.cli.bulk._sending import IN_FLIGHT
from smspilot_async.cli.campaign import _create, _orders, _running, _showing
from smspilot_async.cli.campaign._window import WindowOptions
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo
    from decimal import Decimal

    from smspilot_async.cli._connection import ConnectionOptions
    from smspilot_async.outbox import SettleAs

__all__ = ["campaign"]


def _mapped(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not (name.strip() and equals and column.strip()) for name, equals, column in pairs):
        raise click.BadParameter("write it as NAME=COLUMN, such as to=Телефон.")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _in_ledger(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command here: which campaign, which ledger, and how to print."""
    return click.argument("name")(_options.ledger(_options.as_json(command)))


_expect = click.option(
    "--expect",
    type=click.IntRange(1),
    metavar="N",
    help="How many messages that are: nothing is done to any other number.",
)
_select = click.option(
    "--select",
    required=True,
    metavar="WORDS",
    help="Which messages: unknown, refused, not_sent, expired, suppressed, a code such as 204; several by commas.",
)
_first = click.option(
    "--first", type=click.IntRange(1), metavar="N", help="Pause after so many messages, to look at them."
)


@click.group(cls=Commands, short_help="Import, approve, send and steer campaigns.")
def campaign() -> None:
    """Import a list into a ledger, look at it, approve it, send it in waves, and report."""


@campaign.command("create", short_help="Import a list.")
@click.argument("name")
@click.argument("file", required=False)
@click.option("--template", metavar="TEXT", help="What to send: 'Привет, {name|друг}!', filled from the columns.")
@click.option("--sender", metavar="NAME", help="Sender name; without it, the account's default.")
@click.option(
    "--map",
    "columns",
    metavar="NAME=COLUMN",
    multiple=True,
    callback=_mapped,
    help="Which column is meant by a name: to=Телефон; may be given several times.",
)
@click.option("--encoding", metavar="NAME", help="The file's encoding, such as cp1251.  [default: utf-8]")
@click.option("--sql", metavar="QUERY", help="Import the rows of a query, in place of a FILE; give it an ORDER BY.")
@click.option("--database", metavar="URL", help="Where to ask the query.")
@click.option("--from", "from_", metavar="CAMPAIGN", help="Import rows of another campaign, in place of a FILE.")
@click.option(
    "--select",
    metavar="WORDS",
    default="undelivered,expired",
    show_default=True,
    help="Which rows of that campaign.",
)
@_options.phone_country
@click.option("--window", metavar="HH:MM-HH:MM", help="The hours in which it may send, in --tz or in --tz-column.")
@click.option("--days", metavar="DAYS", help="The days on which it may: mon-sat.  [default: mon-sun]")
@_options.time_zone
@click.option("--tz-column", metavar="COLUMN", help="The column with each row's own time zone.")
@click.option("--starts-at", metavar="TIME", help="Send nothing earlier: 2026-12-31 18:00, with an offset or --tz.")
@click.option("--expires-at", metavar="TIME", help="Send nothing later; what is left then is refused as expired.")
@click.option("--budget", type=_options.roubles_type, metavar="RUB", help="Pause once it has cost so much.")
@click.option(
    "--max-parts", type=click.IntRange(1, 10), default=10, show_default=True, help="Longer texts are bad rows."
)
@click.option("--rate-limit", type=_options.rate_type, metavar="N", help="Messages per second, at most.")
@click.option(
    "--unique",
    type=click.Choice(["phone", "text", "none"]),
    default="phone",
    show_default=True,
    help="Drop rows that repeat an earlier phone, or phone and text.",
)
@click.option("--kind", type=click.Choice(["marketing", "service"]), default="marketing", show_default=True)
@click.option(
    "--unknown",
    type=click.Choice(["hold", "assume_sent", "resend", "probe"]),
    default="hold",
    show_default=True,
    help="What happens to messages without an answer; resend may send some twice.",
)
@click.option(
    "--dup-window", type=_options.seconds, metavar="SECONDS", help="With probe: the account's loop protection."
)
@_options.actor
@_options.ledger
@_options.as_json
def create(
    *,
    window: str | None,
    days: str | None,
    zone: tzinfo | None,
    tz_column: str | None,
    starts_at: str | None,
    expires_at: str | None,
    **options: Any,
) -> None:
    """Import FILE as the campaign NAME: CSV, a spreadsheet or Parquet, with a row per message.

    Columns: to, text (or --template), and optionally sender, ttl, send_at, kind. Rows that make no message are kept by
    their line, with the reason. Nothing is sent. After a kill, the same command continues where it stopped.
    """
    times: dict[str, Any] = {
        "starts_at": _options.moment_of(starts_at, zone, "--starts-at"),
        "expires_at": _options.moment_of(expires_at, zone, "--expires-at"),
    }
    hours = WindowOptions(window=window, days=days, zone=zone, tz_column=tz_column)
    exit_with(_create.create(_create.CreateOptions(hours=hours, **times, **options)))


@campaign.command("preview", short_help="Show some messages as people would get them.")
@click.option("--rows", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N", help="How many.")
@_in_ledger
def preview(*, name: str, rows: int, ledger: str | None, as_json: bool) -> None:
    """Show some messages at random, the longest, and what further parts cost."""
    exit_with(_showing.preview(ledger, name, rows=rows, as_json=as_json))


@campaign.command("test", short_help="Send one real row to your own phone.")
@click.option("--to", required=True, metavar="PHONE", help="Your phone.")
@click.option("--line", type=int, metavar="N", help="Which row of the list; any by default.")
@_options.actor
@_options.in_test
@_options.connected
@_in_ledger
def test(
    *,
    name: str,
    to: str,
    line: int | None,
    actor: str | None,
    test: bool,
    connection: ConnectionOptions,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Send the text of one row to your own phone. The campaign does not change."""
    exit_with(_running.test(ledger, name, connection.client(test=test), to=to, line=line, actor=actor, as_json=as_json))


@campaign.command("estimate", short_help="Show what it would cost, and when it would end.")
@click.option("--rate", type=_options.rate_type, metavar="N", help="Messages per second that you expect.")
@_options.actor
@_options.in_test
@_options.connected
@_in_ledger
def estimate(
    *,
    name: str,
    rate: float | None,
    actor: str | None,
    test: bool,
    connection: ConnectionOptions,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Ask the gateway for prices, and show rows, overlap, price and windows. Nothing is sent."""
    client = connection.client(test=test)
    exit_with(_showing.estimate(ledger, name, client, rate=rate, actor=actor, as_json=as_json))


@campaign.command("approve", short_help="Approve it as it was estimated.")
@click.option("--second-person", is_flag=True, help="Refuse if the same person made it.")
@click.option("--overlap-ok", is_flag=True, help="It may reach people whom others reached in the last 14 days.")
@_options.actor
@_in_ledger
def approve(
    *, name: str, second_person: bool, overlap_ok: bool, actor: str | None, ledger: str | None, as_json: bool
) -> None:
    """Approve its rows, texts, senders, window, rate and budget as they are. A change makes the approval void."""
    more = {"second_person": second_person, "overlap_ok": overlap_ok}
    exit_with(_orders.approve(ledger, name, actor=actor, as_json=as_json, **more))


@campaign.command("change", short_help="Change its hours, times, budget or rate.")
@click.option("--window", metavar="HH:MM-HH:MM", help="The hours in which it may send.")
@click.option("--days", metavar="DAYS", help="The days on which it may: mon-sat.")
@click.option("--budget", type=_options.roubles_type, metavar="RUB", help="Pause once it has cost so much.")
@click.option("--rate-limit", type=_options.rate_type, metavar="N", help="Messages per second, at most.")
@click.option("--starts-at", metavar="TIME", help="Send nothing earlier.")
@click.option("--expires-at", metavar="TIME", help="Send nothing later.")
@_options.time_zone
@_options.actor
@_in_ledger
def change(
    *,
    name: str,
    window: str | None,
    days: str | None,
    budget: Decimal | None,
    rate_limit: float | None,
    starts_at: str | None,
    expires_at: str | None,
    zone: tzinfo | None,
    actor: str | None,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Change what it may use. It is a draft again then: estimate, approve and start it. What you do not name stays.

    --tz is also the zone of the hours, where --window or --days changes them. One that runs is paused first. A text, a
    sender or a list is never changed: make another campaign.
    """
    given = {
        "budget": budget,
        "rate_limit": rate_limit,
        "starts_at": _options.moment_of(starts_at, zone, "--starts-at"),
        "expires_at": _options.moment_of(expires_at, zone, "--expires-at"),
    }
    changes = {name_: value for name_, value in given.items() if value is not None}
    is_windowed = window is not None or days is not None
    if not changes and not is_windowed:
        raise click.UsageError("Say what to change.")
    hours = WindowOptions(window=window, days=days, zone=zone) if is_windowed else None
    exit_with(_orders.change(ledger, name, changes, hours, actor=actor, as_json=as_json))


@campaign.command("start", short_help="Let it send.")
@_first
@_options.actor
@_in_ledger
def start(*, name: str, first: int | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Let it send, by whatever worker runs on the ledger: smspilot worker, or smspilot campaign run."""
    exit_with(_orders.start(ledger, name, first=first, actor=actor, as_json=as_json))


@campaign.command("run", short_help="Send it here, until it is finished or paused.")
@click.option(
    "--in-flight", type=click.IntRange(1), metavar="N", default=IN_FLIGHT, show_default=True, help="Packets at once."
)
@click.option(
    "--packet-size", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="Messages in a packet."
)
@_options.in_test
@_options.connected
@_in_ledger
def run(
    *,
    name: str,
    in_flight: int,
    packet_size: int,
    test: bool,
    connection: ConnectionOptions,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Send what is due in the ledger, until this campaign is finished, cancelled or paused.

    Ctrl-C and SIGTERM claim nothing more, and wait for the answers to packets in flight. The exit code is 1 if messages
    were refused, 3 if it is not known of some whether they were sent, 4 if it was paused, but for the first wave's end.
    """
    client = connection.client(test=test)
    more = {"in_flight": in_flight, "packet_size": packet_size}
    exit_with(_running.run(ledger, name, client, as_json=as_json, **more))


@campaign.command("status", short_help="Show its state.")
@_in_ledger
def status(*, name: str, ledger: str | None, as_json: bool) -> None:
    """Show its state, and how many messages are in which."""
    exit_with(_showing.status(ledger, name, as_json=as_json))


@campaign.command("pause", short_help="Let nothing more leave.")
@_in_ledger
@click.argument("reason")
@_options.actor
def pause(*, name: str, reason: str, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Let nothing more leave, until resume. What is in flight is recorded."""
    exit_with(_orders.pause(ledger, name, reason, actor=actor, as_json=as_json))


@campaign.command("resume", short_help="Let it send again.")
@_first
@_options.actor
@_in_ledger
def resume(*, name: str, first: int | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Let it send again; with --first, pause again after so many messages."""
    exit_with(_orders.resume(ledger, name, first=first, actor=actor, as_json=as_json))


@campaign.command("cancel", short_help="End it for good.")
@_in_ledger
@click.argument("reason", required=False)
@_options.actor
def cancel(*, name: str, reason: str | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """End it for good: nothing more leaves. What has left cannot be called back."""
    exit_with(_orders.cancel(ledger, name, reason, actor=actor, as_json=as_json))


@campaign.command("messages", short_help="List its rows and what became of them.")
@click.option(
    "--outcome", metavar="WORDS", help="Only these: unknown, refused, invalid, expired, 204; several by commas."
)
@_in_ledger
def messages(*, name: str, outcome: str | None, ledger: str | None, as_json: bool) -> None:
    """List the rows of its list and what became of them; with --json, an object per line."""
    exit_with(_showing.messages(ledger, name, outcome=outcome, as_json=as_json))


@campaign.command("retry", short_help="Send some of its messages again.")
@_select
@_expect
@click.option("--why", metavar="TEXT", help="For the log.")
@_options.actor
@_in_ledger
def retry(
    *,
    name: str,
    select: str,
    expect: int | None,
    why: str | None,
    actor: str | None,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Send messages again that were refused, not sent or are unknown; never one that was accepted.

    Without --expect it says how many that would be. An unknown message may have been sent: naming unknown may send
    some twice.
    """
    exit_with(_orders.retry(ledger, name, select, expect=expect, why=why, actor=actor, as_json=as_json))


@campaign.command("settle", short_help="Settle unknown messages; nothing is sent.")
@click.option("--select", metavar="WORDS", default=Outcome.UNKNOWN.value, show_default=True, help="Which messages.")
@click.option(
    "--to",
    "as_",
    type=click.Choice(["assume_sent", "proven_duplicate", Outcome.NOT_SENT.value]),
    required=True,
    help="As what: not_sent may be sent again by retry.",
)
@_expect
@click.option("--why", metavar="TEXT", help="For the log.")
@_options.actor
@_in_ledger
def settle(
    *,
    name: str,
    select: str,
    as_: SettleAs,
    expect: int | None,
    why: str | None,
    actor: str | None,
    ledger: str | None,
    as_json: bool,
) -> None:
    """Decide what unknown messages are taken for. Nothing is sent; a proof of acceptance that comes later still wins.

    Without --expect it says how many that would be.
    """
    exit_with(_orders.settle(ledger, name, select, as_, expect=expect, why=why, actor=actor, as_json=as_json))


@campaign.command("report", short_help="Write its report.")
@_in_ledger
@click.argument("path")
@click.option("--phones", is_flag=True, help="A table with a column of phones; without it no report has any.")
def report(*, name: str, path: str, phones: bool, ledger: str | None, as_json: bool) -> None:
    """Write a report to a file: a page with plots (.html), a table for spreadsheets (.csv), or Parquet (.parquet)."""
    exit_with(_showing.report(ledger, name, path, phones=phones, as_json=as_json))


@campaign.command("list", short_help="List the campaigns.")
@_options.ledger
@_options.as_json
def list_(*, ledger: str | None, as_json: bool) -> None:
    """List the campaigns of the ledger."""
    exit_with(_showing.campaigns(ledger, as_json=as_json))
