"""The ledger of a list, beside its results: a campaign of its own, in which each packet's intent is durable.

It is a SQLite ledger as of ``smspilot outbox``, with one campaign in it. The campaign's ``source`` has fingerprints of
the list and of each option, so that a run is continued by the same list and options only. The ledger's home and what it
is bound to are the outbox's own. It is removed at a clean end: nothing is unknown, and nothing is left to send.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._output import count, lines_as_ranges
from smspilot_async.cli.bulk._results import REPEAT, repeated_line
from smspilot_async.errors import InvalidMessage, Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlalchemy.engine import URL

    from smspilot_async import Client
    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.models import Message
    from smspilot_async.outbox import Campaign, CampaignMessage, Outbox

ACTOR: Final = "smspilot bulk"
_CAMPAIGN: Final = "bulk"
_LONGEST_MARK: Final = 16
_DUPLICATE: Final = 243
_BEFORE_THE_START: Final = ("importing", "draft", "estimated", "approved")
_BESIDE: Final = ("-wal", "-shm", "-journal", ".sender", ".*.sent", ".*.answers")
_UNDECIDED: Final = "pending"


@attrs.frozen
class Fingerprint:
    """What identifies the run of a list: runs with the same fingerprint send the same to the same place.

    Attributes:
        parts: The list, the options that decide what is sent, the gateway and the account, as JSON data.
        former_parts: The same as in journals of versions 1 and 2, which identified the gateway by its host alone.
    """

    parts: Mapping[str, Any] = attrs.field(repr=False)
    former_parts: Mapping[str, Any] = attrs.field(repr=False)

    def source(self) -> str:
        """Return it as the campaign keeps it: marks, from which nothing can be read."""
        return json.dumps(
            {name: digest(value)[:_LONGEST_MARK] for name, value in self.parts.items()}, ensure_ascii=False
        )

    def differences(self, source: str | None) -> list[str]:
        """Return the names of the parts that differ from a campaign's."""
        return differing(json.loads(self.source()), json.loads(source or "{}"))


def digest(value: Any) -> str:
    """Return what identifies JSON data, and from which it cannot be read."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def differing(own: Mapping[Any, object], other: Mapping[Any, object]) -> list[str]:
    """Return the names whose values differ, or that only one side has."""
    return [name for name in dict.fromkeys([*own, *other]) if own.get(name) != other.get(name)]


@attrs.define
class Earlier:
    """What the ledger knows of earlier runs.

    Attributes:
        settled: Lines that were sent, or may have been, or were refused by the gateway.
        repeats: Lines that repeat an earlier one, and are not sent.
        unknown: Those of the settled lines that may have been sent.
        spent: Roubles for the accepted ones.
    """

    settled: set[int] = attrs.Factory(set)
    repeats: set[int] = attrs.Factory(set)
    unknown: set[int] = attrs.Factory(set)
    spent: Decimal = Decimal(0)

    def add(self, message: CampaignMessage) -> None:
        """Count a row."""
        if message.id is None:
            if repeated_line(message) is not None:
                self.repeats.add(message.line)
        elif message.state != _UNDECIDED:
            self.settled.add(message.line)
            self.spent += message.price or 0
            if message.outcome in {None, Outcome.UNKNOWN}:
                self.unknown.add(message.line)

    def merge(self, other: Earlier) -> None:
        """Add what is known of further runs."""
        self.settled |= other.settled
        self.repeats |= other.repeats
        self.unknown |= other.unknown
        self.spent += other.spent

    def check(self, reported: Iterable[int], ledger: str, results: str) -> None:
        """Check that nothing is still to be sent that the results report as sent or unknown.

        Raises:
            Problem: It is: the ledger has lost something.
        """
        missing = sorted(line for line in reported if line not in self.settled)
        if missing:
            rows, lines = count(len(missing), "row"), lines_as_ranges(missing)
            raise Problem(
                f"{ledger} is damaged: it does not know of {rows} that {results} reports as sent or unknown (lines "
                f"{lines}). Nothing was sent now; both files were left unchanged. To send to the others, make a list "
                "of them, and name other results."
            )


@attrs.frozen
class LedgerFile:
    """The ledger's file, and the name of its campaign.

    Attributes:
        path: Where it is.
        fingerprint: Of the run that it is for.
    """

    path: str
    fingerprint: Fingerprint

    @property
    def exists(self) -> bool:
        """There is one, or something in its place."""
        return os.path.lexists(self.path)

    def check_own(self) -> None:
        """Check that it is a file of its own: ledgers are made in place, so a link is not one of ours.

        Raises:
            Problem: It is not.
        """
        if Path(self.path).is_symlink():
            raise Problem(f"the ledger {self.path} is a symbolic link, so no run has made it. Nothing was sent.")

    @property
    def url(self) -> URL:
        """Its URL."""
        from sqlalchemy.engine import URL  # noqa: PLC0415 - an extra, which takes its time

        return URL.create("sqlite", database=self.path)

    async def make(self, client: Client, account_id: int) -> None:
        """Make it.

        Raises:
            Problem: It cannot be made.
            OutboxError: There is one, or its file system will not do.
        """
        from smspilot_async.outbox import Outbox  # noqa: PLC0415 - an extra

        problem: Problem
        try:
            await Outbox.create(self.url, client, account_id=account_id)
        except OSError as wrong:
            problem = self._not_made(wrong.strerror or str(wrong))
        except Exception as wrong:
            if not _is_of_the_database(wrong):
                raise
            problem = self._not_made(str(getattr(wrong, "orig", wrong)))
        else:
            return
        raise problem

    def _not_made(self, why: str) -> Problem:
        return Problem(f"the ledger {self.path} cannot be made: {why}. Nothing was sent.")

    def outbox(self, account_id: int | None = None) -> Outbox:
        """Return its outbox, still to be opened."""
        from smspilot_async.outbox import Outbox  # noqa: PLC0415 - an extra

        return Outbox(self.url, account_id=account_id)

    async def campaign(self, outbox: Outbox) -> Campaign | None:
        """Return the campaign, once it has begun to send; ``None`` while nothing of it can have been sent.

        Raises:
            Problem: It belongs to another list, or to other options.
        """
        from smspilot_async.outbox import CampaignMissing  # noqa: PLC0415 - an extra

        try:
            campaign = await outbox.campaigns.get(_CAMPAIGN)
        except CampaignMissing:
            if any((await outbox.status()).messages.values()):
                raise Problem(f"{self.path} is the ledger of something else. Nothing was sent.") from None
            return None
        info = await campaign.info()
        if others := self.fingerprint.differences(info.settings.source):
            raise Problem(
                f"{self.path} belongs to a run with another {' and another '.join(others)}: --resume needs the same "
                "FILE, options, URL and API key as the run that it continues. Nothing was sent."
            )
        return None if info.state in _BEFORE_THE_START else campaign

    async def earlier(self, outbox: Outbox) -> Earlier | None:
        """Return what is known of earlier runs; ``None`` if nothing can have been sent by one."""
        campaign = await self.campaign(outbox)
        if campaign is None:
            return None
        earlier = Earlier()
        async for message in campaign.messages():
            earlier.add(message)
        return earlier

    async def begin(
        self, outbox: Outbox, client: Client, recipients: Iterable[Recipient], *, keep_duplicates: bool
    ) -> Campaign:
        """Make a campaign of the list, and start it."""
        campaign = await outbox.campaigns.create(
            _CAMPAIGN,
            _rows(recipients, keep_duplicates=keep_duplicates),
            country=None,
            unique=None,
            scheduled_by="gateway",
            source=self.fingerprint.source(),
            actor=ACTOR,
        )
        await campaign.estimate(client, actor=ACTOR)
        await campaign.approve(actor=ACTOR)
        await campaign.start(actor=ACTOR)
        return campaign

    def remove(self) -> None:
        """Delete it: there is nothing to continue."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink(missing_ok=True)
            self._clear_rest()

    def _clear_rest(self) -> None:
        """Delete what belongs to a ledger that is gone; beside a new one it would be taken for that one's."""
        for pattern in _BESIDE:
            for name in glob.glob(f"{glob.escape(self.path)}{pattern}"):  # noqa: PTH207 - Path's takes no whole path
                Path(name).unlink(missing_ok=True)


def _is_of_the_database(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - an extra

    return isinstance(error, SQLAlchemyError)


def _rows(recipients: Iterable[Recipient], *, keep_duplicates: bool) -> Iterator[tuple[int, Message | InvalidMessage]]:
    """Yield the rows as the campaign takes them; a repeat is a bad row that names the line that it repeats."""
    for row in recipients:
        if row.error is not None or row.message is None:
            yield row.line, row.error or InvalidMessage("no message", field="row", code=0)
        elif row.duplicate_of is not None and not keep_duplicates:
            yield row.line, InvalidMessage(str(row.duplicate_of), field=REPEAT, code=_DUPLICATE)
        else:
            yield row.line, row.message


def without(recipients: Iterable[Recipient], *lines: Collection[int]) -> Iterator[Recipient]:
    """Yield the rows whose lines are in none of these."""
    for row in recipients:
        if not any(row.line in some for some in lines):
            yield row


def code_of_outbox(error: Exception) -> int:
    """Return the exit code for an error of the outbox: wrong use, unless the database failed."""
    from smspilot_async.outbox import LedgerUnavailable  # noqa: PLC0415 - an extra

    return Exit.FAILED if isinstance(error, LedgerUnavailable) else Exit.USAGE
