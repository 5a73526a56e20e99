"""The command ``bulk``: send a list, and account for every row.

First the plan, then the confirmation, then the sending. This module feeds rows to the engine, and records, counts and
shows its results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterable
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from smspilot_async._tools.csv_list import STDIN, UTF8, CsvList, ListError
from smspilot_async.cli._connection import Mode, gateway_of, host_of
from smspilot_async.cli._errors import Exit, Problem, error_as_json, exit_code, explain_end, reason
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._output import (
    count,
    for_reading,
    lines_as_ranges,
    money,
    note,
    on_terminal,
    outcome_words,
    print_json,
    print_line,
    progress_bar,
    to_json,
)
from smspilot_async.cli.bulk._journal import Fingerprint, Journal
from smspilot_async.cli.bulk._plan import Plan, Target
from smspilot_async.cli.bulk._recipients import Composer, Recipient
from smspilot_async.cli.bulk._results import Results, RowOutcome, check_free, lines_sent
from smspilot_async.cli.bulk._sending import IN_FLIGHT, PACKET_SIZE, PATIENCE, BulkEngine
from smspilot_async.cli.bulk._summary import Summary
from smspilot_async.errors import AccountBlocked, AuthenticationError, ConnectionFailed, Outcome, SmsPilotError
from smspilot_async.text import Country

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.progress import Progress, TaskID

    from smspilot_async import AccountInfo, Client
    from smspilot_async.cli._connection import ConnectionOptions
    from smspilot_async.cli.bulk._sending import Engine
    from smspilot_async.errors import GatewayBusy

_PIPES: Final = ("/dev/stdin", "/dev/fd/", "/proc/")  # pipes of the shell: no file can be kept beside them
_BALANCE_DEADLINE: Final = 5.0  # seconds for asking the balance, which is optional
_LOOK: Final = 1.0  # seconds between two checks whether a retry is waiting


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
    def journal_path(self) -> str:
        """The path of the journal."""
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
            raise Problem(str(wrong)) from None
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


@attrs.frozen
class _Remaining:
    """The rows of a list that an earlier run has not sent and cannot have sent."""

    recipients: Iterable[Recipient]
    journal: Journal | None

    def __iter__(self) -> Iterator[Recipient]:
        for row in self.recipients:
            if self.journal is None or self.journal.outcome_of(row) is None:
                yield row


def bulk(options: BulkOptions, connection: ConnectionOptions) -> int:
    """Send a list and return the exit code.

    Raises:
        Problem: Nothing was sent, and the line says why.
        SmsPilotError: The gateway could not be asked for the price; nothing was sent.
    """
    client = connection.client()
    recipients = RecipientList.open(options)
    fingerprint = recipients.fingerprint(options, client, connection.account_mark)
    options = attrs.evolve(options, test=options.test or client.is_test)
    with contextlib.ExitStack() as held:
        journal = None
        if options.resume:
            journal = held.enter_context(Journal.resume(options.journal_path, fingerprint))
            journal.check(lines_sent(options.results_path), options.results_path)
        elif not options.dry_run:
            check_free(options.results_path)
            _check_no_journal(options.journal_path)
        settled = 0 if journal is None else journal.settled
        target = Target(client.url, Mode.TEST if options.test else connection.mode(client))
        plan = Plan(keep_duplicates=options.keep_duplicates, target=target, test=options.test, settled=settled)
        if not _is_wanted(plan, options, client, recipients, journal):
            return Exit.REFUSED if plan.faults else Exit.FINE
        if journal is None:
            journal = held.enter_context(Journal.create(options.journal_path, fingerprint))
            results = _first_results(options, plan, journal)
        else:
            results = Results.rewrite(options.results_path)
        with results:
            engine = BulkEngine(
                client,
                intend=journal.intend,
                test=options.test,
                in_flight=options.in_flight,
                rate_limit=options.rate_limit,
                patience=options.patience,
            )
            run = Run(options, engine, results, journal)
            asyncio.run(run.send(client, recipients, total=plan.messages))
        if run.is_complete:
            journal.remove()
    return run.finish()


def _check_no_journal(path: str) -> None:
    if os.path.lexists(path):
        raise Problem(
            f"{path} already exists: a run that was sending this list did not finish. Nothing was sent. "
            "--resume continues it; to send the list from the start, name another file with --results."
        )


def _first_results(options: BulkOptions, plan: Plan, journal: Journal) -> Results:
    try:
        if not options.keep_duplicates:
            journal.leave_out(plan.duplicates)
        return Results.create(options.results_path)
    except Problem:
        journal.remove()
        raise


def _is_wanted(
    plan: Plan, options: BulkOptions, client: Client, recipients: RecipientList, journal: Journal | None
) -> bool:
    """Make the plan, show it, and ask for confirmation; ``False`` for a dry run."""
    try:
        # The question blocks, so it is asked between two event loops: Ctrl-C then works as usual.
        with _watched(recipients) as rows:
            _price(plan, client, _Remaining(rows, journal))
        _show_plan(plan, options, recipients)
        if options.dry_run:
            return False
        _decide(plan, options)
    except (KeyboardInterrupt, click.Abort):
        raise Problem("interrupted: nothing was sent.", Exit.INTERRUPTED) from None
    except OSError as wrong:
        raise Problem(
            f"you cannot confirm ({wrong.strerror or wrong}); --yes sends without asking. Nothing was sent."
        ) from None
    return True


@contextlib.contextmanager
def _watched(recipients: RecipientList) -> Iterator[Iterator[Recipient]]:
    """Show the progress of reading and pricing; without a terminal, only that it begins."""
    source, lines = recipients.source, recipients.source.lines
    with progress_bar(transient=True) as progress:
        if progress.disable:
            note(f"{source.name}: reading {count(lines, 'line')}, and asking what they cost")
        yield _showing(progress, recipients, lines)


def _showing(progress: Progress, recipients: Iterable[Recipient], lines: int) -> Iterator[Recipient]:
    bar = progress.add_task("lines read and priced", total=lines)
    for row in recipients:
        if row.position % PACKET_SIZE == 0:
            progress.update(bar, completed=row.line)
        yield row


def _price(plan: Plan, client: Client, recipients: _Remaining) -> None:
    try:
        asyncio.run(_ask_price(plan, client, recipients))
    except SmsPilotError as error:
        failure = error
    else:
        return
    raise Problem(explain_end(failure), exit_code(failure), error=failure)


async def _ask_price(plan: Plan, client: Client, recipients: _Remaining) -> None:
    async with client:
        if plan.target is not None:
            plan.target = attrs.evolve(plan.target, account=await _account(client))
        await plan.price_by(client, recipients)


async def _account(client: Client) -> AccountInfo | None:
    try:
        return await client.info()
    except (AuthenticationError, AccountBlocked, ConnectionFailed):
        raise
    except SmsPilotError:  # useful but optional
        return None


def _show_plan(plan: Plan, options: BulkOptions, recipients: RecipientList) -> None:
    unused = recipients.composer.unused
    if options.as_json:
        print_json({"event": "plan", **plan.as_json(), "unused_columns": unused, "dry_run": options.dry_run})
        return
    plan.show(unused=unused)
    print_line()


def _decide(plan: Plan, options: BulkOptions) -> None:
    if options.max_cost is not None:
        _check_price(plan, options.max_cost)
    if not plan.is_covered:
        note(
            f"the balance of {money(plan.balance)} does not cover the price of {money(plan.price)}: "
            "the gateway will refuse messages beyond it, and the run will stop there"
        )
    if options.yes or not plan.messages:
        return
    if not on_terminal():
        raise Problem("stdin is not a terminal, so you cannot confirm; --yes sends without asking. Nothing was sent.")
    as_a_test = ", as a test" if plan.test else ""
    question = f"Send {count(plan.messages, 'message')} for {money(plan.price)}{as_a_test}? [y/N]"
    if not click.confirm(for_reading(question, sys.stderr), show_default=False, err=True):
        raise Problem("nothing was sent.")


def _check_price(plan: Plan, limit: Decimal) -> None:
    if plan.unpriced:
        raise Problem(
            f"--max-cost cannot be enforced: {count(plan.unpriced, 'message')} could not be priced "
            f"({plan.price_error}). Nothing was sent."
        )
    if plan.price is None or plan.price > limit:
        raise Problem(f"the price is {money(plan.price)}, more than --max-cost {limit:f}: nothing was sent.")


class Run:
    """One run over a list: feeds the engine, and records its results.

    Args:
        options: The options of the command.
        engine: The engine that sends.
        results: The file of results; ``None`` to write none.
        journal: The journal; rows it knows from an earlier run are not sent again.
    """

    def __init__(
        self, options: BulkOptions, engine: Engine, results: Results | None = None, journal: Journal | None = None
    ) -> None:
        self.summary = Summary(test=options.test)
        self._options = options
        self._engine = engine
        self._results = results
        self._journal = journal
        self._interrupts = Interrupts(engine.stop, engine.quit)

    async def send(self, client: Client, recipients: Iterable[Recipient], *, total: int) -> None:
        """Send the list, with a progress bar on a terminal; then ask for the balance."""
        async with client:
            with progress_bar() as progress, self._interrupts:
                bar = progress.add_task("", total=total)
                watching = asyncio.ensure_future(self._watch(progress, bar))
                try:
                    await self._send_all(recipients, progress, bar)
                finally:
                    watching.cancel()
            await self._ask_balance(client)

    async def _send_all(self, recipients: Iterable[Recipient], progress: Progress, bar: TaskID) -> None:
        async for results in self._engine.results(self._sendable(recipients)):
            for result in results:
                self._settle(result.item, RowOutcome.of(result))
            await self._save()
            progress.update(bar, advance=len(results), description=self._progress_text())
        await self._save()

    async def _watch(self, progress: Progress, bar: TaskID) -> None:
        """Show that a busy gateway is being retried: in the bar, or without a terminal in one line per wait."""
        is_said = False
        while True:
            await asyncio.sleep(_LOOK)
            busy = self._engine.waits_for
            progress.update(bar, description=self._progress_text())
            if busy is not None and not is_said and progress.disable:
                note(self._waiting(busy))
            is_said = busy is not None

    def _waiting(self, busy: GatewayBusy) -> str:
        return f"{reason(busy)}: asking again for up to {self._options.patience:,.0f} s, see --patience"

    def _sendable(self, recipients: Iterable[Recipient]) -> Iterator[Recipient]:
        for row in recipients:
            if self._journal is not None and (before := self._journal.outcome_of(row)) is not None:
                self._settle(row, before)
            elif row.error is not None:
                self._settle(row, RowOutcome.invalid(row))
            elif row.duplicate_of is not None and not self._options.keep_duplicates:
                self._settle(row, RowOutcome.duplicate(row))
            else:
                yield row

    def _settle(self, row: Recipient, outcome: RowOutcome) -> None:
        self.summary.add(outcome)
        if self._options.as_json:
            print_json({"event": "result", **attrs.asdict(outcome)})
        if self._results is not None:
            self._results.settle(row.position, outcome)
        if self._journal is not None:
            self._journal.settle(outcome)

    async def _save(self) -> None:
        if self._journal is not None:
            await self._journal.flush()
        if self._results is not None:
            self._results.flush()
        if self._failed_files:
            self._engine.stop()

    @property
    def _failed_files(self) -> Sequence[Results | Journal]:
        return [file for file in (self._results, self._journal) if file is not None and file.failure is not None]

    def _progress_text(self) -> str:
        counts = self.summary.counts
        words = ", ".join(f"{counts[outcome]:,} {outcome_words(outcome)}" for outcome in Outcome)
        busy = self._engine.waits_for
        now = f"{self._engine.rate:,.0f} messages/s" if busy is None else self._waiting(busy)
        return f"{words}\n{now}, {money(self.summary.cost)}"

    async def _ask_balance(self, client: Client) -> None:
        if isinstance(self._engine.stopped_by, ConnectionFailed):
            return  # not reachable
        with contextlib.suppress(SmsPilotError):
            self.summary.balance = await client.balance(deadline=_BALANCE_DEADLINE)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is unknown and nothing is left to send."""
        return not (self.summary.unknown or self.summary.cut_short or self._failed_files)

    def finish(self) -> int:
        """Show the summary and remarks, and return the exit code."""
        if self._options.as_json:
            print_json(self._as_json())
        else:
            self.summary.show()
            self.summary.show_reasons()
        for line in self._remarks():
            note(line)
        return self._exit_code()

    def _as_json(self) -> Mapping[str, Any]:
        stopped_by = self._engine.stopped_by
        return {
            "event": "bill",
            **self.summary.as_json(),
            "results": self._results and self._results.path,
            "journal": None if self._journal is None or self.is_complete else self._journal.path,
            "interrupted": self._interrupts.exit_code is not None,
            "stopped_by": stopped_by and error_as_json(stopped_by),
        }

    def _remarks(self) -> Iterator[str]:
        if self._interrupts.exit_code is not None:
            yield "interrupted."
        if error := self._engine.stopped_by:
            left = count(self.summary.counts[Outcome.NOT_SENT], "row")
            yield f"stopped early, with {left} not sent: {explain_end(error)}"
        if self.summary.unknown:
            yield (
                f"{count(len(self.summary.unknown), 'message')} may or may not have been sent; "
                "resending may send them twice; the vendor's cabinet lists what arrived."
            )
        if self.summary.unknown_packets:
            yield "where the results name a packet, smspilot check --packet shows which of its messages were accepted."
        if self._results is not None:
            yield from self._results_remarks(self._results)
        if self._journal is not None and not self.is_complete:
            yield from self._journal_remarks(self._journal)

    def _results_remarks(self, results: Results) -> Iterator[str]:
        if results.failure is None:
            yield f"results: {results.path}"
            return
        why = results.failure.strerror or results.failure
        yield f"{results.path} could not be written completely ({why}), so the run was stopped. Missing from it:"
        yield from (to_json(attrs.asdict(each)) for each in results.unwritten if each.outcome is not Outcome.NOT_SENT)

    def _journal_remarks(self, journal: Journal) -> Iterator[str]:
        if journal.failure is not None:
            why = journal.failure.strerror or journal.failure
            yield f"{journal.path} could not be written ({why}), so the run was stopped."
        if journal.unwritten:
            yield self._not_in_journal(journal.unwritten)
        yield f"journal: {journal.path}; --resume sends what was not sent, and nothing that may have been."

    def _not_in_journal(self, unwritten: Sequence[RowOutcome]) -> str:
        rows, lines = count(len(unwritten), "row"), lines_as_ranges(sorted(outcome.line for outcome in unwritten))
        results = self._results
        kept = "the results" if results is None else results.path
        if results is not None and results.failure is not None:
            kept = f"{results.path} and the lines above"
        return (
            f"The outcome of {rows} is not in the journal (lines {lines}): --resume will report them as unknown, and "
            f"rewrite the results. First free disk space, and keep a copy of {kept}: it is the only record."
        )

    def _exit_code(self) -> int:
        counts, stopped_by = self.summary.counts, self._engine.stopped_by
        if counts[Outcome.UNKNOWN]:
            return Exit.UNKNOWN
        if self._interrupts.exit_code is not None:
            return self._interrupts.exit_code
        if self._failed_files:
            return Exit.FAILED
        if self.summary.cut_short or (stopped_by is not None and exit_code(stopped_by) == Exit.FAILED):
            return Exit.FAILED
        return Exit.REFUSED if counts[Outcome.REFUSED] else Exit.FINE
