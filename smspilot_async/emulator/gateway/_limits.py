"""How often, and over how many connections, one account may ask: limits that have not been measured.

They count by the emulator's clock, so with a frozen clock an allowance comes back only when it is advanced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from datetime import datetime

import attrs

from smspilot_async.emulator.gateway._errors import Refused, TooManyRequests
from smspilot_async.emulator.gateway._unknowns import Unknowns


@attrs.define
class _Spent:
    second: datetime
    requests: int = 0
    messages: int = 0


@attrs.define
class Limits:
    """What each account has used up of its allowances."""

    _unknowns: Unknowns
    _spent: dict[int, _Spent] = attrs.Factory(dict)
    _connections: defaultdict[int, set[Hashable]] = attrs.field(factory=lambda: defaultdict(set))

    def count_request(self, account: int, connection: Hashable, now: datetime) -> None:
        """Count a request, or refuse it.

        Raises:
            TooManyRequests: Beyond an allowance.
            Refused: The same, where the gateway answers it with error 110.
        """
        spent = self._of(account, now)
        spent.requests += 1
        self._hold(spent.requests, self._unknowns.requests_per_second)
        if connection is not None:
            self._connections[account].add(connection)
            try:
                self._hold(len(self._connections[account]), self._unknowns.connections_per_key)
            except (TooManyRequests, Refused):
                self._connections[account].discard(connection)
                raise

    def count_messages(self, account: int, number: int, now: datetime) -> None:
        """Count a packet's messages, or refuse it as `count_request` does."""
        spent = self._of(account, now)
        self._hold(spent.messages + number, self._unknowns.messages_per_second)
        spent.messages += number

    def forget(self, connection: Hashable) -> None:
        """Stop counting a connection that was closed."""
        for connections in self._connections.values():
            connections.discard(connection)

    def _of(self, account: int, now: datetime) -> _Spent:
        second = now.replace(microsecond=0)
        spent = self._spent.get(account)
        if spent is None or spent.second != second:
            spent = self._spent[account] = _Spent(second)
        return spent

    def _hold(self, number: int, allowed: int | None) -> None:
        if allowed is not None and number > allowed:
            raise Refused(110) if self._unknowns.limit_answer == 110 else TooManyRequests(1)  # noqa: PLR2004
