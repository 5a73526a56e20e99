"""The command ``bulk``: send a list, and account for every row.

First the plan, then the confirmation, then the sending (:mod:`._run`), which is a campaign in a ledger beside the
results (:mod:`._ledger`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from smspilot_async.cli._errors import Exit, Problem, exit_code, explain_end
from smspilot_async.cli._output import (
    count,
    is_confirmed,
    money,
    note,
    on_terminal,
    print_json,
    print_line,
    progress_bar,
)
from smspilot_async.cli.bulk._ledger import Earlier, LedgerFile, code_of_outbox, without
from smspilot_async.cli.bulk._list import BulkOptions, RecipientList
from smspilot_async.cli.bulk._old_journal import OldJournal
from smspilot_async.cli.bulk._plan import Plan, Target
from smspilot_async.cli.bulk._progress import noting
from smspilot_async.cli.bulk._results import Results, check_free, lines_sent
from smspilot_async.cli.bulk._run import Run
from smspilot_async.cli.bulk._sending import PACKET_SIZE, Trouble
from smspilot_async.errors import AccountBlocked, AuthenticationError, ConnectionFailed, SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from decimal import Decimal

    from rich.progress import Progress

    from smspilot_async import AccountInfo, Client
    from smspilot_async.cli._connection import ConnectionOptions
    from smspilot_async.cli.bulk._recipients import Recipient

Answer = TypeVar("Answer")


@attrs.frozen
class _Task:
    """What a run has to do: a list, where its ledger is, and what earlier runs have done.

    Attributes:
        options: Of the command.
        recipients: The list.
        ledger: Where it is, or will be.
        earlier: What earlier runs have come to.
        is_new: The ledger is still to be made: nothing in one can have been sent.
        journal: What a run of an earlier version has left.
    """

    options: BulkOptions
    recipients: RecipientList
    ledger: LedgerFile
    earlier: Earlier
    is_new: bool = True
    journal: OldJournal | None = None


def bulk(options: BulkOptions, connection: ConnectionOptions) -> int:
    """Send a list and return the exit code.

    Raises:
        Problem: Nothing was sent, and the line says why.
        SmsPilotError: The gateway could not be asked for the price; nothing was sent.
    """
    trouble = Trouble(options.patience)
    client = connection.client(test=options.test, hooks=[trouble], rate_limit=options.rate_limit)
    recipients = RecipientList.open(options)
    fingerprint = recipients.fingerprint(options, client, connection.account_mark)
    ledger = LedgerFile(options.ledger_path if _needs_ledger(options) else "", fingerprint)
    options = attrs.evolve(options, test=client.is_test)
    with contextlib.ExitStack() as held:
        task = _task(options, recipients, ledger, held)
        plan = Plan(
            keep_duplicates=options.keep_duplicates,
            target=Target(client.url, connection.mode(client)),
            test=options.test,
            settled=len(task.earlier.settled),
            spent=task.earlier.spent,
        )
        if not _is_wanted(plan, task, client):
            return Exit.REFUSED if plan.faults else Exit.FINE
        account = plan.target.account
        # If the gateway does not say whose account it is, the ledger is bound to the key, by a number of no contract.
        account_id = (account and account.id) or -int(connection.account_mark, 16)
        run = Run(options, ledger, trouble, journal=task.journal)
        with _results(task, client, account_id) as results:
            _asking(lambda: run.send(client, recipients, results, account_id=account_id, total=plan.messages))
        if options.follow and run.has_something_to_follow:
            _asking(lambda: run.follow(client, account_id=account_id))
            with Results.rewrite(options.results_path, recipients.source.columns) as results:
                _asking(lambda: run.write_statuses(recipients, results))
        if run.is_complete:
            ledger.remove()
            if task.journal is not None:
                task.journal.remove()
    return run.finish()


def _needs_ledger(options: BulkOptions) -> bool:
    """Return whether there must be a place for a ledger: a dry run of what comes from a pipe needs none."""
    return options.resume or not options.dry_run


def _task(options: BulkOptions, recipients: RecipientList, ledger: LedgerFile, held: contextlib.ExitStack) -> _Task:
    if not options.resume:
        if not options.dry_run:
            check_free(options.results_path)
            _check_not_begun(ledger.path, options.journal_path)
        return _Task(options, recipients, ledger, Earlier())
    ledger.check_own()
    journal = None
    if os.path.lexists(options.journal_path):
        journal = held.enter_context(OldJournal.read(options.journal_path, ledger.fingerprint))
    elif not ledger.exists:
        raise _nothing_to_resume(ledger.path, options.results_path)
    found = None
    if ledger.exists:
        may_be_empty = not os.path.lexists(options.results_path)  # they are made after it, before anything is sent
        found = _asking(lambda: _read(ledger, may_be_empty=may_be_empty))
    earlier = Earlier() if journal is None else journal.earlier()
    if found is not None:
        earlier.merge(found)
    earlier.check(lines_sent(options.results_path), ledger.path, options.results_path)
    return _Task(options, recipients, ledger, earlier, is_new=found is None, journal=journal)


def _nothing_to_resume(ledger: str, results: str) -> Problem:
    why = f"there is nothing to resume: there is no ledger {ledger} of an earlier run. Nothing was sent now."
    sent = len(lines_sent(results))
    if not sent:
        return Problem(why)
    return Problem(
        f"{why} By {results}, {count(sent, 'row')} of this list were sent before, or may have been. If that run had "
        "not ended, do not send the list again: make a list of the rows that are not_sent there."
    )


async def _read(ledger: LedgerFile, *, may_be_empty: bool) -> Earlier | None:
    from smspilot_async.outbox import LedgerMissing  # noqa: PLC0415 - an extra

    try:
        async with ledger.outbox() as outbox:
            return await ledger.earlier(outbox)
    except LedgerMissing:
        if may_be_empty:
            return None
    raise Problem(
        f"{ledger.path} is empty, so it does not show what was sent. Nothing was sent now. The results beside it have "
        "what is known about its run."
    )


def _check_not_begun(*paths: str) -> None:
    for path in paths:
        if os.path.lexists(path):
            raise Problem(
                f"{path} already exists: a run that was sending this list did not finish. Nothing was sent. "
                "--resume continues it; to send the list from the start, name another file with --results."
            )


def _results(task: _Task, client: Client, account_id: int) -> Results:
    """Make the ledger, and then the results: a run that is killed in between can be continued."""
    if task.is_new:
        task.ledger.remove()  # one that was made, but from which nothing can have been sent
        _asking(lambda: task.ledger.make(client, account_id))
    columns = task.recipients.source.columns
    if task.options.resume:
        return Results.rewrite(task.options.results_path, columns)
    try:
        return Results.create(task.options.results_path, columns)
    except Problem:
        task.ledger.remove()
        raise


def _asking(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run it, and turn what is wrong with the ledger into one line.

    Raises:
        Problem: The ledger cannot be used.
    """
    from smspilot_async.outbox import OutboxError  # noqa: PLC0415 - an extra, which takes its time

    try:
        return asyncio.run(work())
    except OutboxError as error:
        raise Problem(explain_end(error), code_of_outbox(error), error=error) from None


def _is_wanted(plan: Plan, task: _Task, client: Client) -> bool:
    """Make the plan, show it, and ask for confirmation; ``False`` for a dry run."""
    try:
        # The question blocks, so it is asked between two event loops: Ctrl-C then works as usual.
        with _watched(task.recipients) as (rows, line):
            _price(plan, client, task, rows, line)
        _show_plan(plan, task.options, task.recipients)
        if task.options.dry_run:
            return False
        _decide(plan, task.options)
    except (KeyboardInterrupt, click.Abort):
        raise Problem("interrupted: nothing was sent.", Exit.INTERRUPTED) from None
    except OSError as wrong:
        raise Problem(
            f"you cannot confirm ({wrong.strerror or wrong}); --yes sends without asking. Nothing was sent."
        ) from None
    return True


@contextlib.contextmanager
def _watched(recipients: RecipientList) -> Iterator[tuple[Iterator[Recipient], Callable[[], str] | None]]:
    """Show the progress of reading and pricing; without a terminal, that it begins, and a line from time to time."""
    source, lines = recipients.source, recipients.source.lines
    with progress_bar(transient=True) as progress:
        if progress.disable:
            note(f"{source.name}: reading {count(lines, 'line')}, and asking what they cost")
        bar = progress.add_task("lines read and priced", total=lines)

        def line() -> str:
            return f"{progress.tasks[0].completed:,.0f} of {count(lines, 'line')} read and priced"

        yield _showing(progress, bar, recipients), line if progress.disable else None


def _showing(progress: Progress, bar: Any, recipients: Iterable[Recipient]) -> Iterator[Recipient]:
    for row in recipients:
        if row.position % PACKET_SIZE == 0:
            progress.update(bar, completed=row.line)
        yield row


def _price(plan: Plan, client: Client, task: _Task, rows: Iterable[Recipient], line: Callable[[], str] | None) -> None:
    try:
        asyncio.run(_ask_price(plan, client, task, rows, line))
    except SmsPilotError as error:
        failure = error
    else:
        return
    raise Problem(explain_end(failure), exit_code(failure), error=failure)


async def _ask_price(
    plan: Plan, client: Client, task: _Task, rows: Iterable[Recipient], line: Callable[[], str] | None
) -> None:
    earlier = task.earlier
    async with client, noting(line):
        plan.target = attrs.evolve(plan.target, account=await _account(client))
        await plan.price_by(
            client,
            without(rows, earlier.settled, earlier.repeats),
            doubtful=(row for row in task.recipients if row.line in earlier.unknown) if earlier.unknown else (),
            rate_limit=task.options.rate_limit,
        )


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
        short = f"the balance of {money(plan.balance)} does not cover the price of {money(plan.price)}"
        if options.yes:
            raise Problem(f"{short}: nothing was sent. Without --yes, you are asked whether to begin all the same.")
        note(f"{short}: the gateway will refuse messages beyond it, and the run will stop there")
    if options.yes or not plan.messages:
        return
    if not on_terminal():
        raise Problem("stdin is not a terminal, so you cannot confirm; --yes sends without asking. Nothing was sent.")
    as_a_test = ", as a test" if plan.test else ""
    question = f"Send {count(plan.messages, 'message')} for {money(plan.price)}{as_a_test}? [y/N]"
    if not is_confirmed(question):
        raise Problem("nothing was sent.")


def _check_price(plan: Plan, limit: Decimal) -> None:
    if unpriced := plan.unpriced + plan.unpriced_before:
        raise Problem(
            f"--max-cost cannot be enforced: {count(unpriced, 'message')} could not be priced "
            f"({plan.price_error}). Nothing was sent."
        )
    if plan.cost is None or plan.cost > limit:
        before = f", and with earlier runs of the list {money(plan.cost)}" if plan.spent else ""
        raise Problem(f"the price is {money(plan.price)}{before}, more than --max-cost {limit:f}: nothing was sent.")
