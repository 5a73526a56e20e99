"""Inbound messages, and the flag that makes reading them destructive.

A message counts as seen once an answer carried it, whether or not the answer arrived. That is the gateway's rule, and
the reason why a lost answer to ``since=new`` loses messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from smspilot_async.emulator.gateway._messages import KEPT, InboundSms

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@attrs.define
class Inbox:
    """What one account has received, in order of arrival."""

    messages: list[InboundSms] = attrs.Factory(list)
    _unseen: dict[int, int] = attrs.Factory(dict)
    """Position by id: asking for new ones must not walk through the old."""

    def add(self, sms: InboundSms) -> None:
        """Take one in."""
        if not sms.seen:
            self._unseen[sms.id] = len(self.messages)
        self.messages.append(sms)

    @property
    def unseen(self) -> int:
        """How many no answer has carried."""
        return len(self._unseen)

    def read_new(self, now: datetime) -> list[InboundSms]:
        """Those that no answer has carried, as they were before this one does."""
        return self._mark_seen(list(self._unseen.values()), now)

    def read_since(self, since: datetime | None, now: datetime) -> list[InboundSms]:
        """Those created at or after a moment (or all), as they were before this answer."""
        wanted = [at for at, sms in enumerate(self.messages) if since is None or sms.created >= since]
        return self._mark_seen(wanted, now)

    def _mark_seen(self, positions: Iterable[int], now: datetime) -> list[InboundSms]:
        taken = []
        for position in positions:
            sms = self.messages[position]
            if now - sms.created > KEPT:
                continue
            taken.append(sms)
            if self._unseen.pop(sms.id, None) is not None:
                self.messages[position] = attrs.evolve(sms, seen=True)
        return taken
