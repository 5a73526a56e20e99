"""What a campaign was made with, as its row keeps it: JSON in one spelling, so that equal settings give equal texts.

The claim reads `rate_limit`, `window` and `unknown` from it; the import reads the rest. What an approval binds is
:func:`approval_digest`: these settings, the times, the budget, and every row as it would be sent.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from smspilot_async.outbox._template import Template
from smspilot_async.outbox._windows import SendingWindow
from smspilot_async.text import MAX_PARTS, Country, check_country, check_sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from decimal import Decimal

__all__ = ["CampaignKind", "CampaignSettings", "Scheduler", "Unique", "approval_digest", "rows_digest"]

Unique: TypeAlias = Literal["phone", "text"]
CampaignKind: TypeAlias = Literal["marketing", "service"]
Scheduler: TypeAlias = Literal["ledger", "gateway"]

_KINDS: Final = ("marketing", "service")
_UNIQUE: Final = ("phone", "text", None)
_SCHEDULERS: Final = ("ledger", "gateway")


@attrs.frozen(kw_only=True)
class CampaignSettings:
    """How a campaign's rows become messages, and how they leave.

    Attributes:
        template: Of the texts; ``None`` takes the rows' own.
        sender: Of rows that name none.
        country: How phones are read; with ``"RU"``, foreign numbers and landlines are bad rows.
        window: The hours in which it may send, as JSON.
        rate_limit: Messages a second, at most.
        unknown: The policy for what has no answer, as JSON; ``None`` holds it.
        max_parts: A longer text makes a bad row.
        unique: What a second row may not repeat: a phone, a phone with its text, or nothing.
        kind: Of rows that name none.
        scheduled_by: Who keeps a message with a `send_at` until then.
        source: What the rows are made of, in the words of whoever made it.
    """

    template: str | None = None
    sender: str | None = None
    country: Country | None = "RU"
    window: str | None = None
    rate_limit: float | None = None
    unknown: Any = None
    max_parts: int = MAX_PARTS
    unique: Unique | None = "phone"
    kind: CampaignKind = "marketing"
    scheduled_by: Scheduler = "ledger"
    source: str | None = None

    def check(self) -> None:
        """Check that they make sense. It may read files, of time zones.

        Raises:
            ValueError: They do not.
        """
        if self.template is not None:
            Template.parse(self.template)
            if "\0" in self.template:
                raise ValueError("no SMS can carry a NUL")
        if self.sender is not None:
            check_sender(self.sender)
        check_country(self.country)
        if self.window is not None:
            SendingWindow.from_json(self.window)
        if self.rate_limit is not None and not 0 < self.rate_limit < math.inf:
            raise ValueError("rate_limit is a number of messages a second, above 0")
        if not 1 <= self.max_parts <= MAX_PARTS:
            raise ValueError(f"max_parts is from 1 to {MAX_PARTS}")
        if self.unique not in _UNIQUE:
            raise ValueError(f"unique is 'phone', 'text' or None, not {self.unique!r}")
        if self.scheduled_by not in _SCHEDULERS:
            raise ValueError(f"scheduled_by is 'ledger' or 'gateway', not {self.scheduled_by!r}")
        if self.kind not in _KINDS:
            raise ValueError(f"a campaign's kind is 'marketing' or 'service', not {self.kind!r}")

    def to_json(self) -> str:
        """Return it as JSON, in one spelling."""
        return json.dumps(attrs.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, written: str) -> CampaignSettings:
        """Return what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(written)
        return cls(**fields)


async def rows_digest(rows: AsyncIterable[Any]) -> bytes:
    """Return the digest of the rows as they would be sent: tuples of lines, phones, texts, senders, and limits."""
    digest = hashlib.sha256()
    async for row in rows:
        digest.update(repr(tuple(row)).encode())
    return digest.digest()


def approval_digest(rows: bytes, settings: str, *, starts_at: int, expires_at: int, budget: Decimal | None) -> str:
    """Return what an approval binds."""
    bound = (rows.hex(), settings, starts_at, expires_at, None if budget is None else f"{budget.normalize():f}")
    return hashlib.sha256(json.dumps(bound).encode()).hexdigest()
