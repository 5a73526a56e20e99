"""The commands of ``smspilot``, one thin function each: parse the options, call the client, print the result.

``--json`` prints what a program reads, errors included. The exit codes are :class:`Exit`.
"""

from __future__ import annotations

import errno
import logging
import platform
import sys
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import click

from smspilot_async import __version__
from smspilot_async.cli import _check, _options, _outbox, _page, _queries, _send, _status, _streaming
from smspilot_async.cli._books_app import books
from smspilot_async.cli._commands import Commands
from smspilot_async.cli._connection import read_key
from smspilot_async.cli._errors import Problem
from smspilot_async.cli._extras import need_emulator
from smspilot_async.cli._output import SaidLines, print_line
from smspilot_async.cli._times import parse_since
from smspilot_async.cli.bulk import _bulk
from smspilot_async.cli.bulk._list import BulkOptions
from smspilot_async.cli.bulk._sending import IN_FLIGHT, PATIENCE
from smspilot_async.cli.campaign._app import campaign
from smspilot_async.cli.doctor import _doctor
from smspilot_async.wire import JSON_LIBRARY

if TYPE_CHECKING:
    from datetime import datetime, timedelta, tzinfo
    from decimal import Decimal

    from smspilot_async.cli._connection import ConnectionOptions
    from smspilot_async.emulator import Profile
    from smspilot_async.text import Country


_as_json, _connected, _deadline, _test = _options.as_json, _options.connected, _options.deadline, _options.in_test
_sender, _country, _zone = _options.sender_name, _options.phone_country, _options.time_zone
_ledger, _actor, _checking = _options.ledger, _options.actor, _options.check
_roubles_type, _duration_type = _options.roubles_type, _options.duration_type
_rate_type, _seconds = _options.rate_type, _options.seconds
_time, _exit = _options.moment_of, _options.exit_with

# The commands report what the library would log. Without a handler, Python would print the log on stderr as well.
logging.getLogger("smspilot_async").addHandler(logging.NullHandler())


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's callback
    if value and not ctx.resilient_parsing:
        by = "the standard library" if JSON_LIBRARY == "json" else JSON_LIBRARY
        versions = f"Python {platform.python_version()}, httpx {installed('httpx')}, JSON by {by}"
        print_line(f"smspilot {__version__} ({versions})")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the versions."
)
def app() -> None:
    """Send SMS through SMSPILOT.RU, and always know whether they were sent.

    The API key is read from SMSPILOT_API_KEY, or from the file that SMSPILOT_API_KEY_FILE names; SMSPILOT_URL names
    another gateway (an emulator, say), and with SMSPILOT_TEST=1 no message reaches an operator.

    \b
    Exit codes:
      0    success
      1    some messages were refused
      2    wrong usage; nothing was sent
      3    it is not known whether a message was sent
      4    gateway or network failure, or messages not sent
      5    success, but the output could not be written
      129  ended by SIGHUP: the terminal was closed
      130  interrupted: Ctrl-C
      143  ended by SIGTERM
    """  # noqa: D301 - click looks for the character itself
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal without Cyrillic must not end a run


_packets = click.option(
    "--packet",
    "packets",
    metavar="ID",
    multiple=True,
    help="All messages of the packet with this server_packet_id; may be given several times.",
)


@app.command()
@click.argument("to")
@click.argument("text")
@_sender
@_country
@click.option("--id", "message_id", type=int, metavar="N", help="Your own number for the message, returned in answers.")
@click.option("--send-at", metavar="TIME", help="When to send: 2026-12-31 18:00, with an offset or --tz.")
@_zone
@click.option("--ttl", type=int, metavar="MINUTES", help="How long delivery may be attempted, 1 to 1440.")
@click.option("--callback", metavar="URL", help="Called by the gateway at each change of status.")
@click.option("--callback-method", type=click.Choice(["get", "post"]))
@_test
@_deadline
@_as_json
@_connected
def send(
    *,
    to: str,
    text: str,
    sender: str | None,
    country: Country | None,
    message_id: int | None,
    send_at: str | None,
    zone: tzinfo | None,
    ttl: int | None,
    callback: str | None,
    callback_method: Literal["get", "post"] | None,
    test: bool,
    as_json: bool,
    connection: ConnectionOptions,
) -> None:
    """Send TEXT to the phone TO. A TEXT of - is read from stdin, and does not appear in the process list."""
    message = _send.make_message(
        to,
        _text(text),
        country=country,
        sender=sender,
        id=message_id,
        send_at=_time(send_at, zone, "--send-at"),
        ttl=ttl,
        callback=callback,
        callback_method=callback_method,
    )
    _exit(_send.send(message, connection.client(test=test), as_json=as_json))


@app.command()
@click.argument("to")
@click.argument("text")
@_sender
@_country
@_deadline
@_as_json
@_connected
def cost(
    *, to: str, text: str, sender: str | None, country: Country | None, as_json: bool, connection: ConnectionOptions
) -> None:
    """Show what sending TEXT to TO would cost. Nothing is sent. For a list, use bulk --dry-run."""
    message = _send.make_message(to, _text(text), country=country, sender=sender)
    _exit(_queries.cost(connection.client(), message, as_json=as_json))


@app.command()
@click.argument("server_ids", nargs=-1, metavar="[SERVER_ID]...")
@_packets
@_deadline
@_as_json
@_connected
def check(
    *, server_ids: tuple[str, ...], packets: tuple[str, ...], as_json: bool, connection: ConnectionOptions
) -> None:
    """Check the statuses of messages or packets.

    The exit code says whether the gateway answered, not what the statuses are. With --json: a list of statuses, or, for
    several packets, a list of packets with their statuses.
    """
    if bool(server_ids) == bool(packets):
        raise click.UsageError("Name the messages by their server ids, or else their packets with --packet.")
    if len(packets) > 1:
        _exit(
            _queries.check_packets(connection.client(), tuple(dict.fromkeys(map(str.strip, packets))), as_json=as_json)
        )
    _exit(_queries.check(connection.client(), server_ids, packets[0] if packets else None, as_json=as_json))


@app.command(short_help="Follow messages until their status is final.")
@click.argument("server_ids", nargs=-1, metavar="[SERVER_ID]...")
@_packets
@click.option(
    "--poll-interval",
    type=_seconds,
    metavar="SECONDS",
    help="Time between checks.  [default: 1 minute, then 2, and growing]",
)
@click.option("--timeout", type=_seconds, metavar="SECONDS", help="Give up after this long.  [default: 40 days]")
@_as_json
@_connected
def track(
    *,
    server_ids: tuple[str, ...],
    packets: tuple[str, ...],
    poll_interval: float | None,
    timeout: float | None,
    as_json: bool,
    connection: ConnectionOptions,
) -> None:
    """Follow messages or packets, a line for each change, until every status is final.

    With --json each line is an object. The exit code is 4 if the timeout ends it first. Ctrl-C ends it.
    """
    if not server_ids and not packets:
        raise click.UsageError("Name the messages by their server ids, or their packets with --packet.")
    _exit(
        _streaming.track(
            connection.client(),
            server_ids,
            _once(packets),
            poll_interval=poll_interval,
            timeout=timeout,
            as_json=as_json,
        )
    )


@app.command(short_help="Print inbound messages as they arrive.")
@click.option(
    "--poll-interval",
    type=_seconds,
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Time between polls.",
)
@click.option("--cursor", metavar="FILE", help="Keep the position in this file, so that a restart loses nothing.")
@_as_json
@_connected
def listen(*, poll_interval: float, cursor: str | None, as_json: bool, connection: ConnectionOptions) -> None:
    """Print the messages sent to the account's numbers as they arrive, until Ctrl-C.

    Each is printed at least once; with --cursor, at most one is repeated after a kill. With --json each line is an
    object.
    """
    _exit(_streaming.listen(connection.client(), poll_interval=poll_interval, cursor=cursor, as_json=as_json))


@app.command()
@click.option("--sms", is_flag=True, help="As a rough count of SMS.")
@_deadline
@_as_json
@_connected
def balance(*, sms: bool, as_json: bool, connection: ConnectionOptions) -> None:
    """Show the balance, in roubles."""
    _exit(_queries.balance(connection.client(), sms=sms, as_json=as_json))


@app.command(short_help="Show what the gateway knows about the account.")
@_deadline
@_as_json
@_connected
def info(*, as_json: bool, connection: ConnectionOptions) -> None:
    """Show what the gateway knows about the account."""
    _exit(_queries.info(connection.client(), as_json=as_json))


@app.command(short_help="List inbound messages.")
@click.option(
    "--since",
    metavar="TIME|DATE|new",
    help="Only messages from this time on (with an offset or --tz), from the start of this date (in --tz, or else in "
    "Moscow time, UTC+3, in which they are shown), or new: those that no answer has returned yet.",
)
@_zone
@_deadline
@_as_json
@_connected
def inbound(*, since: str | None, zone: tzinfo | None, as_json: bool, connection: ConnectionOptions) -> None:
    """List the messages sent to the account's numbers.

    With --since new the gateway marks what it returns as read: if the answer is lost, ask again by time.
    """
    moment: datetime | Literal["new"] | None = "new" if since == "new" else _time(since, zone, "--since", parse_since)
    _exit(_queries.inbound(connection.client(), moment, as_json=as_json))


@app.command(short_help="Send a CSV list, a row per message.")
@click.argument("path", metavar="FILE")
@click.option("--template", metavar="TEXT", help="What to send: 'Hello, {name}', filled from the columns.")
@click.option(
    "--encoding", metavar="NAME", default="utf-8", show_default=True, help="The file's encoding, such as cp1251."
)
@_zone
@_sender
@_country
@click.option("--only", type=click.Choice(["RU"]), help="Refuse the rows with phones of other countries.")
@click.option(
    "--results",
    metavar="FILE",
    help="Where to write the result of each row; FILE.results.csv by default. Never overwritten.",
)
@click.option("--keep-duplicates", is_flag=True, help="Also send rows that repeat an earlier phone and text.")
@click.option(
    "--max-cost",
    type=_roubles_type,
    metavar="RUB",
    help="Send nothing if it costs more, with earlier runs of the list.",
)
@click.option("--rate-limit", type=_rate_type, metavar="N", help="Messages per second, at most: start low.")
@click.option(
    "--in-flight",
    type=click.IntRange(1),
    metavar="N",
    default=IN_FLIGHT,
    show_default=True,
    help="Packets in flight at once, at most.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long to retry while the gateway is busy (110, HTTP 429).",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@click.option("--resume", is_flag=True, help="Continue a run that did not finish: the same FILE and options.")
@click.option("--follow", is_flag=True, help="Then wait for the delivery statuses, and write them into the results.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; send nothing if the balance does not cover it.")
@_test
@_as_json
@_connected
def bulk(*, connection: ConnectionOptions, as_json: bool, **options: Any) -> None:
    """Send a list: a CSV FILE with a header, and a row per message.

    Columns: to, text (or --template), and optionally from, send_at, ttl. Rows that cannot be sent are refused with
    their line number; the others are sent. A row that repeats the phone and text of an earlier one is not sent, unless
    --keep-duplicates is given.

    First the plan is shown: gateway, account, live or test, sender, rows, bad rows, foreign numbers, landlines, price,
    balance, samples; then you are asked to confirm. --dry-run ends there, with exit code 1 if there are bad rows. With
    --json: JSON lines, an object per event (plan, result, bill).

    Ctrl-C waits for the answers to packets in flight, then reports; a second one does not wait.

    A run is a campaign in a ledger of its own, the SQLite file RESULTS.ledger: each packet is written down in it, and
    synced to disk, before it is sent. After a kill, a full disk or Ctrl-C, the same command with --resume sends what
    was not sent, lists as unknown what may have been sent, never sends that again, and completes the results. The
    ledger holds the list's phones and texts. It is removed once nothing is unknown and nothing is left to send, and
    kept otherwise.
    """
    bulk_options = BulkOptions(as_json=as_json, **options)
    _exit(_bulk.bulk(bulk_options, connection))


@app.command(short_help="Check everything that sending needs.")
@click.option("--from", "sender", metavar="NAME", help="Sender name that you intend to use.")
@click.option(
    "--timeout",
    type=_seconds,
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="How long each step may take.",
)
@_as_json
@_connected
def doctor(*, sender: str | None, timeout: float, as_json: bool, connection: ConnectionOptions) -> None:
    """Check everything that sending needs, and say what to do where something is wrong.

    DNS, TCP, proxy, TLS, the gateway's answer, the key, this machine's address, the sender, the balance, the clock,
    test mode, versions. It sends no SMS, costs nothing, and prints nothing secret. The exit code is 4 if something
    failed; warnings do not change it.
    """
    _exit(_doctor.doctor(connection, sender=sender, timeout=timeout, as_json=as_json))


@app.command(short_help="Serve an emulated gateway, for tests.")
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8025, show_default=True, help="0: any free one."
)
@click.option("--key", metavar="KEY", help="The account's key; a new one by default. It protects only play money.")
@click.option("--key-file", metavar="FILE", help="Read the account's key from this file, and print it nowhere.")
@click.option("--seed", type=int, metavar="N", help="Makes everything random repeatable, the key included.")
@click.option(
    "--speed",
    type=click.FloatRange(0),
    metavar="N",
    default=1.0,
    show_default=True,
    help="Emulated seconds per second.",
)
@click.option("--balance", type=_roubles_type, metavar="RUB", help="The account's balance; 1000000 by default.")
@click.option(
    "--delivery", type=_duration_type, metavar="SECONDS", default="30", show_default=True, help="Time until delivery."
)
@click.option(
    "--undelivered",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.0,
    show_default=True,
    help="The share of messages that are not delivered, such as 0.05.",
)
@click.option(
    "--loop-protection",
    type=_duration_type,
    metavar="SECONDS",
    default="300",
    show_default=True,
    help="How long the same text to the same phone is refused; 0: never.",
)
@click.option(
    "--login",
    "logins",
    metavar="EMAIL:PASSWORD",
    multiple=True,
    help="Another account, with the same balance; may be given several times.",
)
@click.option("--profile", type=click.Choice(["2.6", "2.4.16"]), default="2.6", show_default=True, help="API version.")
@click.option("--allow-remote", is_flag=True, help="Listen and call back beyond this machine.")
@click.option(
    "--callbacks-to",
    metavar="URL",
    help="Send all callbacks to a local URL such as http://127.0.0.1:8000, wherever they lead; paths and queries stay.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no line for each request.")
@_checking
@_as_json
def emulator(
    *,
    host: str,
    port: int,
    key: str | None,
    key_file: str | None,
    seed: int | None,
    speed: float,
    balance: Decimal | None,
    delivery: timedelta,
    undelivered: float,
    loop_protection: timedelta,
    logins: tuple[str, ...],
    profile: Profile,
    allow_remote: bool,
    callbacks_to: str | None,
    quiet: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Serve an emulated gateway to develop and test against. Nothing leaves this machine.

    Prints a line for each request: its time by the emulator's clock, command, count, outcome and duration.
    """
    if check:
        _exit(_check.emulator(host, port, as_json=as_json))
    if key_file is not None:
        if key is not None:
            raise Problem("--key and --key-file both name the account's key: give one of them.")
        key = read_key(key_file)
    if key is not None and key.split() != [key]:
        raise Problem("--key needs a key without white space; omit the option to get a new one.")
    need_emulator("emulator")
    from smspilot_async.emulator import TEST_KEY, Account, Emulator, run  # noqa: PLC0415 - an extra

    if key == TEST_KEY:
        raise Problem("--key cannot be the vendor's test key, which every emulator accepts anyway: choose another.")
    passwords = dict(map(_login, logins))
    if len(passwords) < len(logins):
        raise Problem("--login names the same account twice: give each a login of its own.")
    funds = Account().balance if balance is None else balance
    try:
        Emulator(callbacks_to=callbacks_to, allow_remote_callbacks=allow_remote)
    except ValueError as wrong:
        raise Problem(f"--callbacks-to: {wrong}.") from None
    try:
        run(
            host=host,
            port=port,
            key=key,
            key_is_secret=key_file is not None,
            out=None if as_json else cast("TextIO", SaidLines()),
            seed=seed,
            json=as_json,
            allow_remote=allow_remote,
            profile=profile,
            speed=speed,
            balance=balance,
            delivery=delivery,
            undelivered=undelivered,
            loop_protection=loop_protection or None,
            accounts=[Account(login=login, password=password, balance=funds) for login, password in passwords.items()],
            callbacks_to=callbacks_to,
            quiet=quiet,
        )
    except ValueError as wrong:
        raise Problem(f"{wrong}: add --allow-remote, or use 127.0.0.1.") from None
    except OSError as wrong:
        raise Problem(f"{wrong.strerror or wrong}; {_elsewhere(wrong)}.") from None


def _login(given: str) -> tuple[str, str]:
    login, _, password = given.partition(":")
    if "@" not in login.strip("@") or not password or given.split() != [given]:
        raise Problem("--login needs an e-mail address and a password, such as someone@example.com:secret.")
    return login, password


def _elsewhere(failure: OSError) -> str:
    if failure.errno == errno.EADDRINUSE:
        return "choose another port with --port, 0 for any free one"
    if failure.errno == errno.EACCES:
        return "choose a port from 1024 up with --port, or 0 for any free one"
    return "check --host, or omit it to listen at 127.0.0.1"


_everything = click.option("--all", "everything", is_flag=True, help="Codes and services too.")


@app.group(cls=Commands, short_help="Make, watch and halt a ledger of durable sending.")
def outbox() -> None:
    """Make, watch and halt the ledger of durable sending."""


@outbox.command("init", short_help="Make a ledger.")
@_ledger
@_test
@_as_json
@_connected
def outbox_init(*, ledger: str | None, test: bool, as_json: bool, connection: ConnectionOptions) -> None:
    """Make a ledger, bound to this account, this address, and live or test."""
    _exit(_outbox.init(ledger, connection.client(test=test), as_json=as_json))


@outbox.command("upgrade", short_help="Upgrade a ledger's tables.")
@_ledger
@_as_json
def outbox_upgrade(*, ledger: str | None, as_json: bool) -> None:
    """Bring a ledger's tables to this version of smspilot, with everything in them."""
    _exit(_outbox.upgrade(ledger, as_json=as_json))


@outbox.command("status", short_help="Say what delays messages, and who sends them.")
@_ledger
@_as_json
@_connected
def outbox_status(*, ledger: str | None, as_json: bool, connection: ConnectionOptions) -> None:
    """Show on one screen what delays messages, what is due, who sends how fast, and for how long the balance lasts.

    With a key, the gateway is asked for the balance; without one, everything else is shown.
    """
    _exit(_status.status(ledger, connection, as_json=as_json))


@outbox.command("halt", short_help="Stop marketing messages, or all messages.")
@click.argument("reason")
@_everything
@_actor
@_ledger
@_as_json
def outbox_halt(*, reason: str, everything: bool, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Stop marketing messages; with --all, all messages.

    Returns once none is in flight, and says how many were still sent after the order.
    """
    _exit(_outbox.halt(ledger, reason, everything=everything, actor=actor, as_json=as_json))


@outbox.command("release", short_help="Resume sending.")
@click.argument("reason", required=False)
@_actor
@_ledger
@_as_json
def outbox_release(*, reason: str | None, actor: str | None, ledger: str | None, as_json: bool) -> None:
    """Resume sending after a halt, a pause for an account error, or a trip of the circuit breaker."""
    _exit(_outbox.release(ledger, reason, actor=actor, as_json=as_json))


@outbox.command("suppress", short_help="Send no marketing to these phones.")
@click.argument("phones", nargs=-1, required=True, metavar="PHONE...")
@_everything
@_actor
@_ledger
@_as_json
def outbox_suppress(
    *, phones: tuple[str, ...], everything: bool, actor: str | None, ledger: str | None, as_json: bool
) -> None:
    """Send no marketing to these phones; with --all, nothing at all."""
    _exit(_outbox.suppress(ledger, phones, everything=everything, actor=actor, as_json=as_json))


@outbox.command("page", short_help="Serve the page of a ledger in the browser.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), metavar="PORT", default=8026, show_default=True)
@click.option("--users", metavar="FILE", help="A line NAME ROLE SECRET for each person; or SMSPILOT_PAGE_USERS.")
@click.option(
    "--name", "names", metavar="NAME", multiple=True, help="The page's name in the browser, such as sms.example.com."
)
@click.option("--https", "is_https", is_flag=True, help="Browsers reach it by HTTPS, through a proxy.")
@click.option("--proxy-header", metavar="HEADER", help="In which a proxy names the person: X-Remote-User.")
@click.option(
    "--proxy",
    "proxies",
    metavar="ADDRESS",
    multiple=True,
    help="From where that header is believed.  [default: this machine]",
)
@click.option("--second-person", is_flag=True, help="The maker of a campaign cannot approve it.")
@_checking
@_ledger
@_test
@_as_json
@_connected
def outbox_page(
    *, ledger: str | None, test: bool, check: bool, as_json: bool, connection: ConnectionOptions, **options: Any
) -> None:
    """Serve a page that shows and steers the ledger, until Ctrl-C or SIGTERM. It sends nothing; workers do.

    Roles are view, operate and approve. Beyond this machine it belongs behind a proxy that speaks HTTPS.
    """
    if check:
        _exit(_check.page(options["host"], options["port"], as_json=as_json))
    _exit(_page.page(ledger, connection.client(test=test), _page.PageOptions(**options)))


for _command in books.commands.values():
    outbox.add_command(_command)
app.add_command(campaign)


@app.command(short_help="Send what is due in a ledger, until it is stopped.")
@click.option(
    "--in-flight", type=click.IntRange(1), metavar="N", default=IN_FLIGHT, show_default=True, help="Packets at once."
)
@click.option(
    "--packet-size", type=click.IntRange(1), metavar="N", default=100, show_default=True, help="Messages in a packet."
)
@click.option(
    "--rate-limit", type=_rate_type, metavar="N", help="Messages per second, of all workers of the ledger together."
)
@click.option(
    "--unknown",
    metavar="POLICY",
    default="hold",
    show_default=True,
    help="What to do about messages of the outbox that may have been sent: hold, assume_sent, resend, or "
    "probe:SECONDS, the account's loop-protection window.",
)
@click.option(
    "--callbacks",
    metavar="URL",
    help="Where your web application takes status callbacks; the secret they share is in SMSPILOT_CALLBACK_SECRET.",
)
@click.option("--opt-outs", is_flag=True, help="Suppress marketing to whoever sends STOP to the account's numbers.")
@click.option(
    "--purge-after",
    type=click.IntRange(41),
    metavar="DAYS",
    help="Purge messages that were settled so long ago; by default, none.",
)
@click.option("--metrics", metavar="[ADDRESS:]PORT", help="Serve the ledger's metrics for Prometheus at /metrics.")
@_checking
@_ledger
@_test
@_as_json
@_connected
def worker(
    *,
    in_flight: int,
    packet_size: int,
    rate_limit: float | None,
    unknown: str,
    callbacks: str | None,
    opt_outs: bool,
    purge_after: int | None,
    metrics: str | None,
    check: bool,
    ledger: str | None,
    test: bool,
    as_json: bool,
    connection: ConnectionOptions,
) -> None:
    """Send what is due in a ledger, and what becomes due, until Ctrl-C or SIGTERM.

    It then claims nothing more, and exits once the answers to packets in flight are recorded. On SQLite only one worker
    may send at a time: a second one names the first, and exits with 2. On PostgreSQL any number share the ledger, on
    any number of machines.
    """
    if check:
        _exit(_check.worker(ledger, as_json=as_json))
    inbox = _outbox.inbox_of(callbacks)
    client = connection.client(test=test, callbacks=inbox, rate_limit=rate_limit)
    options = _outbox.WorkerOptions(
        in_flight=in_flight,
        packet_size=packet_size,
        unknown=unknown,
        opt_outs=opt_outs,
        purge_after=purge_after,
        metrics=metrics,
    )
    _exit(_outbox.worker(ledger, client, inbox, options))


@app.command(short_help="Show on an emulator what this library prevents.")
@click.option("--seed", type=int, metavar="N", default=7, show_default=True, help="Which requests fail.")
@click.option(
    "--people",
    type=click.IntRange(1, 39_999),
    metavar="N",
    default=1000,
    show_default=True,
    help="How many recipients, in scene one.",
)
@_as_json
def demo(*, seed: int, people: int, as_json: bool) -> None:
    """Show on an emulated gateway what this library prevents. Nothing leaves this machine; takes less than a minute."""
    need_emulator("demo")
    from smspilot_async.cli.demo import _demo  # noqa: PLC0415 - it needs an extra

    _exit(_demo.demo(seed=seed, people=people, as_json=as_json))


def _once(packets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str.strip, packets)))


def _text(argument: str) -> str:
    if argument != "-":
        return argument
    try:
        read = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError("The text on stdin is not UTF-8.") from None
    return read.removesuffix("\n")  # the one that echo adds
