"""What the demo's campaign came to: its ledger compared with the gateway's own record, and shown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._language import word
from smspilot_async.cli._output import Tone, count, lines_as_ranges, print_line, print_table
from smspilot_async.cli.demo import _proofs
from smspilot_async.cli.demo._proofs import Doubt
from smspilot_async.errors import ERROR_CODES, Outcome
from smspilot_async.models import status_word
from smspilot_async.outbox import CampaignInfo, Estimate

if TYPE_CHECKING:
    from smspilot_async.emulator import AcceptedMessage
    from smspilot_async.outbox import CampaignMessage

__all__ = ["MOMENTS", "Ending", "Played", "compare", "show"]

MOMENTS: Final = ("killed", "sent", "proven")
_TITLES: Final = ("", "after kill -9", "sent to the end", "after callbacks")
_ACCEPTED, _REFUSED, _UNKNOWN = Outcome.ACCEPTED.value, Outcome.REFUSED.value, Outcome.UNKNOWN.value
_STATES: Final = ("pending", "in_flight", _ACCEPTED, _REFUSED, _UNKNOWN)
_WHY: Final = {"disconnected": "the connection broke before the answer came, and no callback has come"}


@attrs.frozen(kw_only=True)
class Ending:
    """What ledger and gateway say in the end.

    Attributes:
        rows: Of the list, by what became of them: dropped ones are ``repeated``.
        reasons: For each outcome but acceptance, why, and the lines of the list.
        twice: Messages that the gateway accepted more than once.
        lost: Messages that the gateway has not, although the ledger calls them accepted.
        unknown_at_gateway: How many of the unknown ones the gateway has.
        statuses: Messages by their delivery status.
    """

    rows: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, Sequence[int]]]
    twice: int
    lost: int
    unknown_at_gateway: int
    statuses: Mapping[str, int]


@attrs.frozen(kw_only=True)
class Played:
    """Everything that the scene shows.

    Attributes:
        info: The campaign, in the end.
        estimate: What it costs.
        moments: Messages by state, at each of :data:`MOMENTS`.
        doubts: The packets without an answer.
        ending: The comparison.
    """

    info: CampaignInfo
    estimate: Estimate
    moments: Mapping[str, Mapping[str, int]]
    doubts: Sequence[Doubt]
    ending: Ending

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        return {
            "rows": self.info.rows,
            "messages": self.info.messages,
            "state": self.info.state,
            "parts": self.estimate.parts,
            "price": self.estimate.price,
            "moments": self.moments,
            "ending": attrs.asdict(self.ending),
        }


def compare(info: CampaignInfo, messages: Sequence[CampaignMessage], at_gateway: Sequence[AcceptedMessage]) -> Ending:
    """Compare a ledger with the gateway, message by message."""
    times = Counter(message.id for message in at_gateway)
    reasons: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for message in messages:
        if message.outcome is not Outcome.ACCEPTED:
            reasons[message.state][_why(message)].append(message.line)
    rows = Counter(message.state for message in messages)
    accepted = [message.id for message in messages if message.outcome is Outcome.ACCEPTED]
    unknown = [message.id for message in messages if message.outcome is Outcome.UNKNOWN]
    return Ending(
        rows={**rows, "repeated": info.duplicates},
        reasons=reasons,
        twice=sum(number > 1 for number in times.values()),
        lost=sum(not times[id_] for id_ in accepted),
        unknown_at_gateway=sum(times[id_] > 0 for id_ in unknown),
        statuses=dict(Counter(status_word(message.status) for message in at_gateway).most_common()),
    )


def _why(message: CampaignMessage) -> str:
    if message.why is not None:
        return message.why
    if message.code is not None:
        known = ERROR_CODES.get(message.code)
        return f"refused by the gateway: {message.code}{f', {known.text}' if known else ''}"
    return _WHY.get(message.reason or "", message.reason or "")


def show(played: Played) -> None:
    """Print it for a person."""
    info, ending = played.info, played.ending
    moments = [played.moments[name] for name in MOMENTS]
    rows = [(f"   {word(state.replace('_', ' '))}", *(f"{one[state]:,}" for one in moments)) for state in _STATES]
    print_table(_TITLES, rows, right=_TITLES[1:])
    print_line()
    _show_doubts(played)
    print_line()
    _say("By the gateway's own record:", "title")
    _say(f"{ending.twice:,} of {info.messages:,} reached twice, {ending.lost:,} lost", _tone_of(ending))
    _say(", ".join(f"{number:,} {status}" for status, number in ending.statuses.items()))
    print_line()
    _show_refused(ending)
    print_line()
    _say(f"All {count(info.rows, 'row')} are accounted for:", "title")
    _say(", ".join(f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in ending.rows.items()))


def _tone_of(ending: Ending) -> Tone:
    return "bad" if ending.twice or ending.lost else "good"


def _show_doubts(played: Played) -> None:
    left = {line for lines in played.ending.reasons.get(_UNKNOWN, {}).values() for line in lines}
    number = sum(len(doubt.lines) for doubt in played.doubts)
    _say(f"{count(number, 'message')} may or may not have been sent. Callbacks prove them one by one:", "title")
    for line, tone in _proofs.rows(played.doubts, left, is_over=True):
        print_line(line, indent=3, tone=tone)
    _say(f"{number - len(left):,} were accepted. {len(left):,} stay unknown, and are not sent again.")
    _say(f"(The gateway has {played.ending.unknown_at_gateway:,} of them, which no sender can see.)", "quiet")


def _show_refused(ending: Ending) -> None:
    reasons = sorted(ending.reasons.get(_REFUSED, {}).items(), key=lambda one: (-len(one[1]), one[0]))
    rows = [(f"{len(lines):,}", reason, lines_as_ranges(sorted(lines))) for reason, lines in reasons]
    print_table(("rows", "refused, and why", "lines"), rows, right=("rows",))


def _say(line: str, tone: Tone = "plain") -> None:
    print_line(f"   {line}", indent=3, tone=tone)
