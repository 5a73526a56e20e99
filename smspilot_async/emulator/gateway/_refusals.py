"""What the gateway refused: whole requests, and single messages of a packet. The newest are remembered."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.emulator.gateway._errors import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT: Final = 1000
LONGEST_PHONE: Final = 40
_LONGEST_TEXT: Final = 1000  # a text may be refused because it is far too long
_TOO_MANY_REQUESTS: Final = 429


@attrs.frozen(kw_only=True)
class Refusal:
    """A request, or a message of one, that was refused.

    Attributes:
        number: They are counted from 1 since the start, or the last reset.
        at: By the emulator's clock.
        command: ``"send"``, ``"cost"`` for a send that only asks for the price, ``"check"``, ``"inbound"``,
            ``"balance"``, ``"info"``; empty if the document could not be read.
        code: The protocol's error code, or 429 for the HTTP status of that number.
        reason: What the protocol says of the code.
        to: The phone, where one message was refused; its first 40 characters.
        text: The beginning of that message's text.
        request: The `number` of the `RecordedRequest` that it was part of.
    """

    number: int
    at: datetime
    command: str
    code: int
    reason: str
    to: str | None = attrs.field(default=None, repr=False)
    text: str | None = attrs.field(default=None, repr=False)
    request: int = 0


@attrs.define
class Refusals:
    """The newest refusals, and how many there were.

    Attributes:
        request: The number of the request that is being answered.
    """

    count: int = 0
    request: int = 0
    _kept: deque[Refusal] = attrs.field(factory=lambda: deque(maxlen=KEPT))

    @property
    def kept(self) -> tuple[Refusal, ...]:
        """The newest, in order."""
        return tuple(self._kept)

    def note(self, code: int, command: str, now: datetime, row: Mapping[str, Any] | None = None) -> None:
        """Remember one; `row` is the message's, if it was one message alone."""
        self.count += 1
        self._kept.append(
            Refusal(
                number=self.count,
                at=now,
                command=command,
                code=code,
                reason="Too Many Requests" if code == _TOO_MANY_REQUESTS else texts(code)[0],
                to=None if row is None else str(row["to"])[:LONGEST_PHONE],
                text=None if row is None else str(row["text"])[:_LONGEST_TEXT],
                request=self.request,
            )
        )

    def first_code_after(self, count: int) -> int | None:
        """The code of the first refusal after so many; `None` if there is none, or it is forgotten."""
        newer = self.count - count
        return self._kept[-newer].code if 0 < newer <= len(self._kept) else None

    def clear(self) -> None:
        """Forget them all, and count anew."""
        self.count = 0
        self._kept.clear()
