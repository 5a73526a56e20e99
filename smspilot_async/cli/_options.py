"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import functools
import math
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import click

from smspilot_async.cli._connection import ConnectionOptions
from smspilot_async.cli._times import parse_time, parse_zone

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, tzinfo

P = ParamSpec("P")


def zone_type(value: str) -> tzinfo:
    try:
        return parse_zone(value)
    except ValueError as wrong:
        raise click.BadParameter(f"{wrong}.") from None


def roubles_type(value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise click.BadParameter(f"{value!r} is not an amount of roubles; write it as 150 or 150.50.")
    return amount


def duration_type(value: str) -> timedelta:
    try:
        duration = timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        duration = timedelta(-1)
    if not timedelta(0) <= duration < timedelta(days=36_500):
        raise click.BadParameter(f"{value!r} is not a number of seconds; write it as 90 or 0.5.")
    return duration


def rate_type(value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise click.BadParameter(f"{value!r} is not a number of messages per second; write it as 5 or 0.5.")
    return rate


def moment_of(
    written: str | None,
    zone: tzinfo | None,
    option: str,
    parse: Callable[[str, tzinfo | None], datetime] = parse_time,
) -> datetime | None:
    if written is None:
        return None
    try:
        return parse(written, zone)
    except ValueError as wrong:
        raise click.BadParameter(f"{wrong}.", param_hint=f"'{option}'") from None


def connected(command: Callable[P, None]) -> Callable[..., None]:
    """Add the options that say where the gateway is; the command gets a :class:`ConnectionOptions`."""

    @click.option("--key-file", metavar="FILE", help="Read the API key from this file.")
    @click.option("--url", metavar="URL", help="The gateway's address, instead of SMSPILOT_URL.")
    @click.option("--wire", type=click.Choice(["json", "xml"]), default="json", show_default=True)
    @functools.wraps(command)
    def with_connection(*args: Any, key_file: str | None, url: str | None, wire: Any, **options: Any) -> None:
        connection = ConnectionOptions(key_file, url, wire, options.pop("deadline", None))
        command(*args, connection=connection, **options)  # type: ignore[arg-type]

    return with_connection


seconds = click.FloatRange(0, min_open=True)
check = click.option(
    "--check", is_flag=True, help="Start nothing, and say whether the one that runs here is well; if not, exit with 4."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")
deadline = click.option(
    "--deadline",
    type=seconds,
    metavar="SECONDS",
    help="Give up after this long, retries included.  [default: 60]",
)
in_test = click.option("--test", is_flag=True, help="Do everything except hand the messages to the operators.")
sender_name = click.option("--from", "sender", metavar="NAME", help="Sender name; without it, the account's default.")
phone_country = click.option(
    "--country",
    type=click.Choice(["RU", "none"]),
    default="RU",
    show_default=True,
    callback=lambda _ctx, _param, value: None if value == "none" else value,
    help="How to read phones without +: RU takes ten digits and 8... as Russian, none takes them unchanged.",
)
time_zone = click.option(
    "--tz", "zone", type=zone_type, metavar="ZONE", help="Time zone of times that name none: Europe/Moscow, +03:00."
)


ledger = click.option("--ledger", metavar="URL", help="sqlite:///FILE or postgresql://..., instead of SMSPILOT_LEDGER.")
actor = click.option(
    "--as", "actor", metavar="NAME", help="Who gives the order, for the log; the current user by default."
)


def exit_with(code: int) -> NoReturn:
    raise click.exceptions.Exit(code)
