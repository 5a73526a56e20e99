"""What the command is given: its options, and a list that can be read more than once."""

from __future__ import annotations

import os
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import attrs

from smspilot_async._tools.csv_list import STDIN, UTF8, CsvList, ListError
from smspilot_async.cli._connection import gateway_of, host_of
from smspilot_async.cli._errors import Problem
from smspilot_async.cli.bulk._ledger import Fingerprint
from smspilot_async.cli.bulk._recipients import Composer, Recipient
from smspilot_async.cli.bulk._sending import IN_FLIGHT, PATIENCE
from smspilot_async.text import Country

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async import Client

_PIPES: Final = ("/dev/stdin", "/dev/fd/", "/proc/")  # pipes of the shell: no file can be kept beside them


@attrs.frozen(kw_only=True)
class BulkOptions:
    """The options of the command."""

    path: str
    template: str | None = None
    encoding: str = UTF8
    zone: tzinfo | None = None
    sender: str | None = None
    country: Country | None = None
    only: Country | None = None
    results: str | None = None
    keep_duplicates: bool = False
    max_cost: Decimal | None = None
    rate_limit: float | None = None
    in_flight: int = IN_FLIGHT
    patience: float = PATIENCE
    dry_run: bool = False
    resume: bool = False
    follow: bool = False
    yes: bool = False
    test: bool = False
    as_json: bool = False

    @property
    def results_path(self) -> str:
        """The path of the results."""
        if self.results is not None:
            return self.results
        if self.path == STDIN or self.path.startswith(_PIPES):
            name = "stdin" if self.path == STDIN else self.path
            raise Problem(f"a list from {name} needs --results FILE, for its results.")
        return f"{self.path}.results.csv"

    @property
    def ledger_path(self) -> str:
        """The path of the ledger."""
        return f"{self.results_path}.ledger"

    @property
    def journal_path(self) -> str:
        """The path of the journal that versions up to 0.6 have left."""
        return f"{self.results_path}.journal"


@attrs.frozen
class RecipientList:
    """A list that can be read more than once."""

    source: CsvList
    composer: Composer

    @classmethod
    def open(cls, options: BulkOptions) -> RecipientList:
        """Read the list.

        Raises:
            Problem: It cannot be used.
        """
        try:
            source = CsvList.open(options.path, options.encoding)
        except ListError as wrong:
            hint = " Call the column with the phones 'to'." if wrong.missing == "to" else ""
            raise Problem(f"{wrong}{hint} Nothing was sent.") from None
        composer = Composer.plan(
            source,
            options.template,
            zone=options.zone,
            sender=options.sender,
            country=options.country,
            only=options.only,
        )
        if next(source.rows(), None) is None:
            raise Problem(f"{source.name} has a header and no rows below it; there is nothing to send.")
        return cls(source, composer)

    def __iter__(self) -> Iterator[Recipient]:
        return self.composer.recipients(self.source)

    def fingerprint(self, options: BulkOptions, client: Client, account_mark: str) -> Fingerprint:
        """Return what identifies the run: list, options that decide what is sent, gateway, account."""
        parts = {
            "list": self.source.digest,
            "--encoding": options.encoding,
            "--template": options.template,
            "--tz": str(options.zone),
            "--from": options.sender,
            "--keep-duplicates": options.keep_duplicates,
            # A test run sends nothing, so a live one cannot continue it.
            "--test": (options.test, os.environ.get("SMSPILOT_TEST", "")),
        }
        countries = {"--country": options.country, "--only": options.only}
        return Fingerprint(
            {**parts, **countries, "gateway": gateway_of(client), "API key": account_mark},
            # What identified a run in 0.4.0, which had no --country; lines it has sent are not sent again.
            former_parts={**parts, "gateway": host_of(client)},
        )
