"""The summary of a run: how many messages had which outcome, and what they cost. It grows with every outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._output import (
    NOTHING_HANDED_OVER,
    count,
    lines_as_ranges,
    money,
    outcome_words,
    print_facts,
    print_line,
    print_table,
)
from smspilot_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.cli.bulk._results import RowOutcome

_LEFT_OUT: Final = (Outcome.NOT_SENT, "duplicate of an earlier row")


@attrs.define
class Summary:
    """The counts and costs of a run.

    Attributes:
        test: Whether nothing was handed to operators.
        counts: The number of rows with each outcome; together, all rows that were read.
        parts, cost: Of the accepted messages, as counted by the gateway.
        unpriced: Accepted messages for which the gateway gave no price.
        balance: The remaining balance, if the gateway gave it.
        reasons: For each reason, the lines that were refused, not sent or left unknown for it.
        unknown: The lines whose outcome is unknown.
        unknown_packets: The gateway's ids of packets with such lines, if an answer named them.
        statuses: Accepted messages by delivery status in words, once they were followed.
    """

    test: bool = False
    counts: Counter[Outcome] = attrs.Factory(Counter)
    parts: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    balance: Decimal | None = None
    reasons: defaultdict[tuple[Outcome, str], list[int]] = attrs.Factory(lambda: defaultdict(list))
    unknown: list[int] = attrs.Factory(list)
    unknown_packets: set[str] = attrs.Factory(set)
    statuses: Counter[str] = attrs.Factory(Counter)

    def add(self, outcome: RowOutcome) -> None:
        """Add the outcome of a row."""
        self.counts[outcome.outcome] += 1
        if outcome.outcome is Outcome.ACCEPTED:
            self._add_accepted(outcome)
        else:
            self.reasons[outcome.outcome, _reason(outcome)].append(outcome.line)
        if outcome.outcome is Outcome.UNKNOWN:
            self.unknown.append(outcome.line)
            self.unknown_packets.update({outcome.packet} if outcome.packet else ())

    def _add_accepted(self, outcome: RowOutcome) -> None:
        self.parts += outcome.parts or 0
        if outcome.price is None:
            self.unpriced += 1
        else:
            self.cost += outcome.price

    @property
    def cut_short(self) -> bool:
        """Whether rows were not sent, other than duplicates."""
        return any(key[0] is Outcome.NOT_SENT and key != _LEFT_OUT for key in self.reasons)

    @property
    def read(self) -> int:
        """The number of rows."""
        return self.counts.total()

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        return {
            "test": self.test,
            "read": self.read,
            **{outcome.value: self.counts[outcome] for outcome in Outcome},
            "parts": self.parts,
            "cost": self.cost,
            "unpriced": self.unpriced,
            "balance": self.balance,
            "unknown_lines": sorted(self.unknown),
            **({"statuses": dict(self.statuses)} if self.statuses else {}),
        }

    def show(self) -> None:
        """Print it for a person."""
        unpriced = f" (without {count(self.unpriced, 'message')} without a price)" if self.unpriced else ""
        print_facts(
            {
                "test": NOTHING_HANDED_OVER if self.test else None,
                outcome_words(Outcome.ACCEPTED): f"{self.counts[Outcome.ACCEPTED]:,} of {count(self.read, 'row')}",
                outcome_words(Outcome.REFUSED): f"{self.counts[Outcome.REFUSED]:,}",
                outcome_words(Outcome.UNKNOWN): self._unknown_line(),
                outcome_words(Outcome.NOT_SENT): f"{self.counts[Outcome.NOT_SENT]:,}",
                "delivery": ", ".join(f"{number:,} {status}" for status, number in self.statuses.most_common()) or None,
                "parts": f"{self.parts:,}",
                "cost": money(self.cost) + unpriced,
                "balance": money(self.balance),
            }
        )

    def _unknown_line(self) -> str:
        if not self.unknown:
            return "0"
        lines = lines_as_ranges(sorted(self.unknown), most=5)
        return f"{len(self.unknown):,} - these may have been sent: lines {lines}"

    def show_reasons(self) -> None:
        """Print why messages were refused, left out, or are unknown, with their lines, for a person."""
        rows = [
            (f"{len(lines):,}", outcome_words(outcome), reason, lines_as_ranges(sorted(lines), most=4))
            for (outcome, reason), lines in sorted(self.reasons.items(), key=lambda item: (-len(item[1]), item[0]))
        ]
        if rows:
            print_line()
            print_table(("rows", "outcome", "reason", "lines"), rows, right=("rows",))


def _reason(outcome: RowOutcome) -> str:
    if outcome.error is not None and outcome.error.startswith("duplicate of line "):
        return _LEFT_OUT[1]  # they differ only in the line they repeat: one reason
    return outcome.error or "the run was stopped before it"
