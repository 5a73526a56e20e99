"""Which of a campaign's messages an order, or a listing, is about: words, as people say them.

An outcome or a state (``unknown``, ``refused``, ``pending``), a reason of the ledger's (``expired``, ``suppressed``,
``cancelled``, ``gave_up``), a delivery status (``delivered``, ``undelivered``), or a code of the gateway (``204``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from smspilot_async.models import DeliveryStatus
from smspilot_async.outbox._ledger import Why
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspilot_async.outbox._schema import Tables

__all__ = ["Selection", "Selects"]

_REASONS: Final = {
    "suppressed": (State.REFUSED, Why.SUPPRESSED),
    "invalid": (State.REFUSED, Why.INVALID),
    "expired": (State.REFUSED, Why.EXPIRED),
    "cancelled": (State.NOT_SENT, Why.CANCELLED),
    "gave_up": (State.NOT_SENT, Why.GAVE_UP),
}
_STATUSES: Final = {
    "delivered": (DeliveryStatus.DELIVERED,),
    "undelivered": (DeliveryStatus.NOT_DELIVERED, DeliveryStatus.UNKNOWN),
}
WORDS: Final = (*(state.value for state in State), *_REASONS, *_STATUSES)


def _words(given: str | Iterable[str]) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else [str(one) for one in given]
    words = tuple(dict.fromkeys(part.strip().casefold().replace(" ", "_") for part in parts))
    for word in words:
        if word not in WORDS and not (word.isascii() and word.isdigit() and len(word) <= 4):  # noqa: PLR2004
            raise ValueError(f"{word!r} selects nothing: a selection is a code of the gateway, or {', '.join(WORDS)}")
    return words


@attrs.frozen
class Selection:
    """Messages of a campaign: those that one of the words fits.

    ::

        Selection("undelivered, expired")
        Selection(["204"])
        Selection("unknown", lines=(17, 18))

    Args:
        words: States and outcomes; ``expired``, ``suppressed``, ``cancelled``, ``gave_up``; ``delivered``,
            ``undelivered``; codes of the gateway.
        lines: Only those of these lines of the list; all by default.

    Raises:
        ValueError: A word means nothing.
    """

    words: tuple[str, ...] = attrs.field(converter=_words)
    lines: tuple[int, ...] | None = attrs.field(default=None, kw_only=True)

    def where(self, tables: Tables, pending_as: State = State.PENDING, why: Why | None = None) -> Any:
        """Return the condition of these messages, for a WHERE.

        Args:
            tables: The ledger's.
            pending_as: As what those that are pending are seen, and
            why: for what reason.
        """
        fits = sa.or_(*(_fits(tables, word, pending_as, why) for word in self.words))
        return fits if self.lines is None else fits & tables.message.c.line.in_(self.lines)

    @property
    def has_bad_rows(self) -> bool:
        """Rows that made no message belong to it: they were refused, as invalid."""
        return bool({State.REFUSED.value, Why.INVALID.value} & {*self.words})

    def has_line(self, line: int) -> bool:
        """Return whether a line is one of those."""
        return self.lines is None or line in self.lines


Selects: TypeAlias = Selection | str | tuple[str, ...] | list[str]


def selection_of(given: Selects) -> Selection:
    """Return a selection, as people may write it."""
    return given if isinstance(given, Selection) else Selection(given)


def _fits(tables: Tables, word: str, pending_as: State, why: Why | None) -> Any:
    message = tables.message
    if word in _REASONS:
        state, reason = _REASONS[word]
        decided = (message.c.state == state.value) & (message.c.reason == reason.value)
        return decided | tables.is_pending if why is reason else decided
    if word in _STATUSES:
        return (message.c.state == State.ACCEPTED.value) & message.c.status.in_([int(one) for one in _STATUSES[word]])
    if word.isdigit():
        return message.c.code == int(word)
    if word == State.PENDING:
        return tables.is_pending if why is None else sa.false()
    fits = tables.is_unknown if word == State.UNKNOWN else message.c.state == word
    return fits | tables.is_pending if why is not None and word == pending_as else fits
