"""A run over a list: the campaign is sent, and its rows are counted, shown and written down as they are decided."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._collector import loaded_is_spared
from smspilot_async.cli._errors import Exit, error_as_json, exit_code, explain_end, reason
from smspilot_async.cli._interrupts import WAITING, Interrupts
from smspilot_async.cli._output import count, money, note, outcome_words, print_json, progress_bar, to_json
from smspilot_async.cli.bulk._ledger import without
from smspilot_async.cli.bulk._progress import noting
from smspilot_async.cli.bulk._results import Results, RowOutcome
from smspilot_async.cli.bulk._sending import Sending
from smspilot_async.cli.bulk._summary import Summary
from smspilot_async.errors import ERROR_CODES, ConnectionFailed, Outcome, SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.progress import Progress, TaskID

    from smspilot_async import Client
    from smspilot_async.cli.bulk._ledger import LedgerFile
    from smspilot_async.cli.bulk._list import BulkOptions, RecipientList
    from smspilot_async.cli.bulk._old_journal import OldJournal
    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.cli.bulk._sending import Trouble
    from smspilot_async.outbox import Campaign, CampaignMessage, Outbox

_BALANCE_DEADLINE: Final = 5.0  # seconds for asking the balance, which is optional
_FAULT: Final = "fault "
_numbered = re.compile(r"\Asend of message \d+:")


class _StoppedError(Exception):
    """A signal came while the list was taken into the ledger."""


class Run:
    """One run over a list.

    Args:
        options: The options of the command.
        ledger: The ledger beside the results.
        trouble: What ends the sending, among the client's hooks.
        journal: What a run of an earlier version has left.
    """

    def __init__(
        self, options: BulkOptions, ledger: LedgerFile, trouble: Trouble, *, journal: OldJournal | None = None
    ) -> None:
        self.summary = Summary(test=options.test)
        self._options = options
        self._ledger = ledger
        self._trouble = trouble
        self._journal = journal
        self._results: Results | None = None
        self._sending: Sending | None = None
        self._is_left_to_follow = False
        self._interrupts = Interrupts(self._stop, self._quit, announcement=None)
        self._is_stopped = False

    # --- sending ---------------------------------------------------------------------------------

    async def send(
        self, client: Client, recipients: RecipientList, results: Results, *, account_id: int, total: int
    ) -> None:
        """Send the list, with a progress bar on a terminal; then ask for the balance.

        Args:
            client: What sends.
            recipients: The list.
            results: Where its outcomes are written.
            account_id: What the ledger is bound to.
            total: How many messages are to be sent.
        """
        self._results = results
        async with client, self._ledger.outbox(account_id) as outbox:
            with progress_bar() as progress, self._interrupts:
                bar = progress.add_task("", total=total)
                async with noting(self._progress_line if progress.disable else None):
                    try:
                        campaign = await self._ledger.campaign(outbox)
                        is_continued = campaign is not None
                        campaign = campaign or await self._begin(outbox, client, recipients)
                    except _StoppedError:
                        self._leave_out(recipients)
                    else:
                        self._sending = sending = Sending(
                            outbox,
                            campaign,
                            client,
                            self._trouble,
                            in_flight=self._options.in_flight,
                            is_continued=is_continued,
                        )
                        if self._is_stopped:
                            sending.stop()
                        with loaded_is_spared():
                            await self._send_all(sending, iter(recipients), progress, bar)
            await self._ask_balance(client)

    async def _begin(self, outbox: Outbox, client: Client, recipients: RecipientList) -> Campaign:
        known: set[int] = set()
        if self._journal is not None:
            earlier = self._journal.earlier()
            known = earlier.settled | earlier.repeats
        rows = self._until_stopped(without(recipients, known))
        keep = self._options.keep_duplicates
        return await self._ledger.begin(outbox, client, rows, keep_duplicates=keep)

    def _until_stopped(self, rows: Iterable[Recipient]) -> Iterator[Recipient]:
        for row in rows:
            if self._is_stopped:
                raise _StoppedError
            yield row

    def _stop(self) -> None:
        self._is_stopped = True
        if self._sending is None:
            note("stopping: nothing is on the wire")
        else:
            note(WAITING)
            self._sending.stop()

    def _quit(self) -> None:
        if self._sending is not None:
            self._sending.quit()

    async def _send_all(
        self, sending: Sending, recipients: Iterator[Recipient], progress: Progress, bar: TaskID
    ) -> None:
        is_said = False
        async for messages in sending.rows():
            for message in messages:
                for row, outcome in self._outcomes_to(message, recipients):
                    self._settle(row, outcome)
            self._save()
            progress.update(bar, completed=self._done, description=self._progress_text())
            busy = self._trouble.busy
            if busy is not None and not is_said and progress.disable:
                note(self._waiting())
            is_said = busy is not None
        self._leave_out(recipients)

    def _outcomes_to(
        self, message: CampaignMessage, recipients: Iterator[Recipient]
    ) -> Iterator[tuple[Recipient, RowOutcome]]:
        """Yield the rows up to the one that a message was made of; those before it are known from an older journal."""
        for row in recipients:
            if row.line == message.line:
                yield row, self._outcome_of(row, message)
                return
            yield row, self._outcome_before(row)
        raise AssertionError  # pragma: no cover - the ledger's campaign was made of this very list

    def _outcome_before(self, row: Recipient) -> RowOutcome:
        before = None if self._journal is None else self._journal.outcome_of(row)
        return before or RowOutcome(line=row.line, to=row.to, outcome=Outcome.NOT_SENT, cells=row.cells)

    def _outcome_of(self, row: Recipient, message: CampaignMessage) -> RowOutcome:
        outcome = RowOutcome.of(row, message)
        if outcome.outcome is Outcome.NOT_SENT and outcome.error is None and (error := self._stopped_by) is not None:
            return attrs.evolve(outcome, error=reason(error), error_code=getattr(error, "code", None))
        return outcome

    def _leave_out(self, recipients: Iterable[Recipient]) -> None:
        """Account for rows of which the ledger has no message."""
        for row in recipients:
            self._settle(row, self._outcome_before(row))
        self._save()

    def _settle(self, row: Recipient, outcome: RowOutcome) -> None:
        self.summary.add(outcome)
        if self._options.as_json:
            print_json({"event": "result", **outcome.as_json()})
        if self._results is not None:
            self._results.settle(row.position, outcome)

    def _save(self) -> None:
        if self._results is not None:
            self._results.flush()
            if self._results.failure is not None and self._sending is not None:
                self._sending.stop()

    @property
    def _done(self) -> int:
        return 0 if self._sending is None or self._sending.progress is None else self._sending.progress.done

    def _progress_text(self) -> str:
        counts = self.summary.counts
        words = ", ".join(f"{counts[outcome]:,} {outcome_words(outcome)}" for outcome in Outcome)
        now = self._pace() if self._trouble.busy is None else self._waiting()
        return f"{words}\n{now}, {money(self.summary.cost)}"

    def _progress_line(self) -> str:
        """Return how far it is, by the ledger: results are in the order of the list, and may wait for a row."""
        if self._sending is None or (progress := self._sending.progress) is None:
            return "the list is being taken into the ledger"
        counts = progress.messages
        words = ", ".join(f"{counts[outcome]:,} {outcome_words(outcome)}" for outcome in Outcome if counts[outcome])
        now = self._pace() if self._trouble.busy is None else self._waiting()
        return f"{progress.done:,} of {count(progress.total, 'message')}: {words or 'nothing decided'}; {now}"

    def _pace(self) -> str:
        return f"{0.0 if self._sending is None else self._sending.rate:,.0f} messages/s"

    def _waiting(self) -> str:
        assert self._trouble.busy is not None  # noqa: S101 - its callers have looked
        return f"{reason(self._trouble.busy)}: asking again for up to {self._options.patience:,.0f} s, see --patience"

    async def _ask_balance(self, client: Client) -> None:
        if isinstance(self._stopped_by, ConnectionFailed):
            return  # not reachable
        with contextlib.suppress(SmsPilotError):
            self.summary.balance = await client.balance(deadline=_BALANCE_DEADLINE)

    # --- following -------------------------------------------------------------------------------

    @property
    def has_something_to_follow(self) -> bool:
        """Whether messages were accepted, and nothing is in the way of following them."""
        is_stopped = self._interrupts.exit_code is not None or self._failed_files
        return not is_stopped and self.summary.counts[Outcome.ACCEPTED] > 0

    async def follow(self, client: Client, *, account_id: int) -> None:
        """Wait until every delivery status is final, or for a signal.

        Args:
            client: What asks.
            account_id: What the ledger is bound to.
        """
        stopping = asyncio.Event()
        self._interrupts = Interrupts(stopping.set, stopping.set, announcement=None)
        async with client, self._ledger.outbox(account_id) as outbox:
            with self._interrupts:
                note("following the delivery statuses; Ctrl-C ends that, and --resume --follow continues it")
                following = asyncio.ensure_future(outbox.follow(client))
                stopped = asyncio.ensure_future(stopping.wait())
                async with noting(lambda: self._following_line(outbox)):
                    await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                if not following.done():
                    following.cancel()
                    await asyncio.wait({following})
                    self._is_left_to_follow = True
                else:
                    following.result()

    async def _following_line(self, outbox: Outbox) -> str:
        from smspilot_async.outbox import LedgerUnavailable  # noqa: PLC0415 - an extra

        messages = count(self.summary.counts[Outcome.ACCEPTED], "message")
        try:
            left = (await outbox.overview()).following
        except LedgerUnavailable as away:
            return f"following {messages}: {away}"
        return f"following {messages}: the statuses of {count(left, 'packet')} are not final yet"

    async def write_statuses(self, recipients: RecipientList, results: Results) -> None:
        """Write the results anew, with the statuses.

        Args:
            recipients: The list.
            results: Where they are written.
        """
        rows = iter(recipients)
        self._results = results
        self.summary.statuses = Counter()
        async with self._ledger.outbox() as outbox:
            campaign = await self._ledger.campaign(outbox)
            assert campaign is not None  # noqa: S101 - it was sent
            async for message in campaign.messages():
                for row, outcome in self._outcomes_to(message, rows):
                    self._write_status(results, row, outcome)
        for row in rows:
            self._write_status(results, row, self._outcome_before(row))

    def _write_status(self, results: Results, row: Recipient, outcome: RowOutcome) -> None:
        results.settle(row.position, outcome)
        if outcome.outcome is Outcome.ACCEPTED:
            self.summary.statuses[outcome.status or "not known"] += 1
            if self._options.as_json:
                event = {"line": outcome.line, "server_id": outcome.server_id, "status": outcome.status}
                print_json({"event": "status", **event})

    # --- the end ---------------------------------------------------------------------------------

    @property
    def _stopped_by(self) -> SmsPilotError | None:
        """The error that ended the run early; ``None`` if none did, or if a signal did."""
        return None if self._interrupts.exit_code is not None else self._trouble.ended_by

    @property
    def _failed_files(self) -> bool:
        is_ledger_full = self._sending is not None and self._sending.failure is not None
        return is_ledger_full or (self._results is not None and self._results.failure is not None)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is unknown, and nothing is left to send or to follow."""
        return not (self.summary.unknown or self.summary.cut_short or self._failed_files or self._is_left_to_follow)

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
        return {
            "event": "bill",
            **self.summary.as_json(),
            "results": self._results and self._results.path,
            "ledger": None if self.is_complete else self._ledger.path,
            "interrupted": self._interrupts.exit_code is not None,
            "stopped_by": self._stopped_by and error_as_json(self._stopped_by),
        }

    def _remarks(self) -> Iterator[str]:
        left = count(self.summary.counts[Outcome.NOT_SENT], "row")
        if self._interrupts.exit_code is not None:
            yield "interrupted."
        if (error := self._stopped_by) is not None:
            yield f"stopped early, with {left} not sent: {_unnumbered(explain_end(error))}"
        elif self._sending is not None and (why := self._sending.paused) is not None:
            yield f"stopped early, with {left} not sent: {_paused_in_words(why)}"
        if self.summary.unknown:
            yield (
                f"{count(len(self.summary.unknown), 'message')} may or may not have been sent; "
                "resending may send them twice; the vendor's cabinet lists what arrived."
            )
        if self.summary.unknown_packets:
            yield "where the results name a packet, smspilot check --packet shows which of its messages were accepted."
        if self._results is not None:
            yield from self._results_remarks(self._results)
        if not self.is_complete:
            yield from self._ledger_remarks()

    def _results_remarks(self, results: Results) -> Iterator[str]:
        if results.failure is None:
            yield f"results: {results.path}"
            return
        why = results.failure.strerror or results.failure
        yield f"{results.path} could not be written completely ({why}), so the run was stopped. Missing from it:"
        yield from (to_json(each.as_json()) for each in results.unwritten if each.outcome is not Outcome.NOT_SENT)

    def _ledger_remarks(self) -> Iterator[str]:
        if self._sending is not None and (failure := self._sending.failure) is not None:
            yield f"{self._ledger.path} could not be written, so the run was stopped: {failure}"
        if self._is_left_to_follow and not (self.summary.unknown or self.summary.cut_short):
            yield f"ledger: {self._ledger.path}; --resume --follow continues to follow the statuses."
            return
        if self.summary.cut_short or self._failed_files:
            yield f"ledger: {self._ledger.path}; --resume sends what was not sent, and nothing that may have been."
            return
        yield (
            f"ledger: {self._ledger.path}; nothing is left to send. smspilot outbox reconcile, with the vendor's list, "
            "finds in it which of the unknown messages were accepted; --resume then completes the results."
        )

    def _exit_code(self) -> int:
        counts, stopped_by = self.summary.counts, self._stopped_by
        if counts[Outcome.UNKNOWN]:
            return Exit.UNKNOWN
        if self._interrupts.exit_code is not None:
            return self._interrupts.exit_code
        if self._failed_files:
            return Exit.FAILED
        if self.summary.cut_short or (stopped_by is not None and exit_code(stopped_by) == Exit.FAILED):
            return Exit.FAILED
        return Exit.REFUSED if counts[Outcome.REFUSED] else Exit.FINE


def _unnumbered(line: str) -> str:
    """Leave out a message's number in the ledger, which is in no list."""
    return _numbered.sub("send of a message:", line, count=1)


def _paused_in_words(why: str) -> str:
    code = why.removeprefix(_FAULT)
    if not (why.startswith(_FAULT) and code.isdecimal()):
        return f"the campaign was paused ({why})."
    text = ERROR_CODES[int(code)].text if int(code) in ERROR_CODES else "an unknown code"
    return (
        f"the gateway refuses one message after the other: {code}, {text}. After fixing that, --resume sends the rest; "
        "those that were refused are in the results."
    )
